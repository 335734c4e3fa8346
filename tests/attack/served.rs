//! The sandbox under attack: a process of its own, and how one sees that it is well.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::wire::{self, Answer, Identity, Place};

/// Where the checks write; nobody else does.
pub(crate) const WELL: &str = "attack-well";
/// How long an honest request may take on a machine that is busy with the attack.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running `meshscript sandbox`; it ends with this value.
pub(crate) struct Served {
    process: Child,
    errors: PathBuf,
    pub(crate) door: Door,
    _folder: tempfile::TempDir,
}

/// How its administrator gets in; copies go to the attackers' threads.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) place: Place,
    pub(crate) admin: Arc<Identity>,
    pub(crate) as_admin: Arc<ClientConfig>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    /// Starts a program's sandbox.
    pub(crate) fn start(program: &Path) -> Result<Self, String> {
        let said = |error: io::Error| format!("{}: {error}", program.display());
        let folder = tempfile::tempdir().map_err(said)?;
        let (kubeconfig, errors) = (folder.path().join("kubeconfig"), folder.path().join("stderr"));
        let mut process = Command::new(program)
            .args(["sandbox", "--speed", "100", "--kubeconfig"])
            .arg(&kubeconfig)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).map_err(said)?)
            .spawn()
            .map_err(said)?;
        let began = Instant::now();
        let text = loop {
            // It is written whole and then named.
            match fs::read_to_string(&kubeconfig) {
                Ok(text) if text.contains("current-context") => break text,
                _ if began.elapsed() > PATIENCE => {
                    let _ = process.kill();
                    return Err("the sandbox does not come up".to_owned());
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let door = Door::of(&text).ok_or_else(|| format!("no kubeconfig: {text}"))?;
        Ok(Self { process, errors, door, _folder: folder })
    }

    /// Mebibytes that the process holds.
    pub(crate) fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|text| text.trim().split(' ').next()?.parse().ok());
        kilobytes.unwrap_or(0.0) / 1024.0
    }

    /// Files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).map_or(0, Iterator::count)
    }

    /// It lives, it has not panicked, and an honest client is served: health, a write, the same read.
    pub(crate) fn check(&mut self, turn: u64) -> Result<(), String> {
        let said = fs::read_to_string(&self.errors).unwrap_or_default();
        if said.contains("panicked") {
            return Err(format!("it has panicked:\n{said}"));
        }
        if let Some(status) = self.process.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("it has ended with {status}:\n{said}"));
        }
        self.door.honest(turn).map_err(|why| format!("an honest client is not served: {why}"))
    }
}

/// `GET path` and the like, as a well-formed request of HTTP/1.1.
pub(crate) fn request(method: &str, path: &str, media: &str, body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: sandbox\r\naccept: application/json\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    text.extend_from_slice(body);
    text
}

impl Door {
    fn of(kubeconfig: &str) -> Option<Self> {
        let config: Value = serde_yaml::from_str(kubeconfig).ok()?;
        let data = |value: &Value| STANDARD.decode(value.as_str()?).ok();
        let cluster = &config["clusters"][0]["cluster"];
        let address = cluster["server"].as_str()?.strip_prefix("https://")?.parse().ok()?;
        let root = data(&cluster["certificate-authority-data"])?;
        let root = CertificateDer::from_pem_slice(&root).ok()?;
        let user = &config["users"][0]["user"];
        let chain = data(&user["client-certificate-data"])?;
        let key = PrivateKeyDer::from_pem_slice(&data(&user["client-key-data"])?).ok()?;
        let admin = Identity { chain: vec![CertificateDer::from_pem_slice(&chain).ok()?], key };
        let place = Place { address, root };
        let as_admin = place.config(Some(&admin), &[]);
        Some(Self { place, admin: Arc::new(admin), as_admin })
    }

    /// One request of the administrator over a connection of its own.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let media =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let asked = request(method, path, media, text.as_bytes());
        self.place
            .tls(&self.as_admin, Duration::from_millis(500))
            .and_then(|mut stream| wire::ask(&mut stream, &asked, PATIENCE))
            .map_err(|error| format!("{method} {path}: {error}"))
    }

    fn honest(&self, turn: u64) -> Result<(), String> {
        let ready = self.ask("GET", "/readyz", None)?;
        if ready.code != 200 {
            return Err(format!("/readyz answers {}", ready.code));
        }
        let at = format!("/api/v1/namespaces/{WELL}/configmaps/well");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "well"},
            "data": {"turn": turn.to_string()}});
        let mut written = self.ask("PUT", &at, Some(&object))?;
        if written.code == 404 {
            written = self.ask("POST", at.trim_end_matches("/well"), Some(&object))?;
        }
        let read = self.ask("GET", &at, None)?.json();
        if written.code > 201 || read["data"] != object["data"] {
            let said = String::from_utf8_lossy(&written.body);
            return Err(format!("a write answers {}: {said}; then it reads {read}", written.code));
        }
        Ok(())
    }

    /// Every resource that can be listed: its path for all namespaces, and whether it has namespaces.
    pub(crate) fn resources(&self) -> Result<Vec<Resource>, String> {
        let mut roots = vec!["/api/v1".to_owned()];
        for group in
            self.ask("GET", "/apis", None)?.json()["groups"].as_array().into_iter().flatten()
        {
            for version in group["versions"].as_array().into_iter().flatten() {
                roots.push(format!(
                    "/apis/{}",
                    version["groupVersion"].as_str().unwrap_or_default()
                ));
            }
        }
        let mut found = Vec::new();
        for root in roots {
            for resource in
                self.ask("GET", &root, None)?.json()["resources"].as_array().into_iter().flatten()
            {
                let text = |name: &str| resource[name].as_str().unwrap_or_default().to_owned();
                let can = |verb: &str| {
                    resource["verbs"].as_array().is_some_and(|all| all.iter().any(|it| it == verb))
                };
                let (plural, subresource) = match text("name").split_once('/') {
                    Some((plural, subresource)) => (plural.to_owned(), subresource.to_owned()),
                    None => (text("name"), String::new()),
                };
                found.push(Resource {
                    root: root.clone(),
                    plural,
                    subresource,
                    kind: text("kind"),
                    namespaced: resource["namespaced"] == true,
                    listed: can("list"),
                    deleted: can("delete"),
                });
            }
        }
        if found.is_empty() { Err("the sandbox lists no resources".to_owned()) } else { Ok(found) }
    }

    /// All objects but those of the checks, by path.
    pub(crate) fn state(&self) -> Result<BTreeMap<String, Value>, String> {
        let mut found = BTreeMap::new();
        for resource in self.resources()?.into_iter().filter(|it| it.listed) {
            let answer = self.ask("GET", &resource.collection(""), None)?;
            if answer.code != 200 {
                return Err(format!("{} cannot be listed: {}", resource.plural, answer.code));
            }
            for mut item in
                answer.json()["items"].as_array_mut().into_iter().flatten().map(Value::take)
            {
                let metadata =
                    |name: &str| item["metadata"][name].as_str().unwrap_or_default().to_owned();
                let (namespace, name) = (metadata("namespace"), metadata("name"));
                if namespace == WELL {
                    continue;
                }
                let at = format!("{}/{name}", resource.collection(&namespace));
                if resource.plural == "componentstatuses" {
                    item = Value::Null;
                }
                found.insert(at, item);
            }
        }
        Ok(found)
    }
}

/// A resource as discovery tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// `/apis/apps/v1`
    pub(crate) root: String,
    pub(crate) plural: String,
    pub(crate) subresource: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) listed: bool,
    pub(crate) deleted: bool,
}

impl Resource {
    /// The path of its objects in a namespace, or of all of them.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        if self.namespaced && !namespace.is_empty() {
            format!("{}/namespaces/{namespace}/{}", self.root, self.plural)
        } else {
            format!("{}/{}", self.root, self.plural)
        }
    }
}
