//! Charts over the network: a repository and a registry on a loopback port, asked by us and by the test bed's helm.
//!
//! Each row is a chart as `helm template` is told of it and as a script is; where helm is there, both must render the same,
//! or both fail. Without it, the version that a row must find is compared alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::{Failed, Trial};
use meshscript::config::Environment;
use meshscript::report::ReportOptions;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::docs::packed;
use super::script;
use crate::harness::helm::Helm;

const LOGIN: (&str, &str) = ("someone", "a-password-for-tests");
const TOKEN: &str = "token-of-the-registry";

/// Options of helm, options of ours, and the version that is found; `None` when both must fail.
type Row = (&'static str, &'static [&'static str], &'static str, Option<&'static str>);

/// `REPO` and `OCI` stand for the addresses.
const ROWS: &[Row] = &[
    ("web", &["--repo", "REPO"], "repo: `REPO`", Some("1.10.0")),
    (
        "web",
        &["--repo", "REPO", "--version", "1.2.0"],
        "repo: `REPO`, version: `1.2.0`",
        Some("1.2.0"),
    ),
    (
        "web",
        &["--repo", "REPO", "--version", "~1.2"],
        "repo: `REPO`, version: `~1.2`",
        Some("1.2.0"),
    ),
    (
        "web",
        &["--repo", "REPO", "--version", ">1.10.0-0"],
        "repo: `REPO`, version: `>1.10.0-0`",
        Some("2.0.0-rc.1"),
    ),
    ("web", &["--repo", "REPO", "--version", "^3"], "repo: `REPO`, version: `^3`", None),
    ("wed", &["--repo", "REPO"], "repo: `REPO`", None),
    ("web", &["--repo", "REPO/nothing"], "repo: `REPO/nothing`", None),
    ("web", &["--repo", "REPO/private"], "repo: `REPO/private`", None),
    (
        "web",
        &["--repo", "REPO/private", "--username", LOGIN.0, "--password", LOGIN.1],
        "repo: `REPO/private`, username: `someone`, password: `a-password-for-tests`",
        Some("1.10.0"),
    ),
    ("REPO/web-1.2.0.tgz", &[], "", Some("1.2.0")),
    ("OCI/team/web", &["--plain-http"], "plain_http: true", None),
    (
        "OCI/team/web",
        &["--plain-http", "--username", LOGIN.0, "--password", LOGIN.1],
        "plain_http: true, username: `someone`, password: `a-password-for-tests`",
        Some("1.10.0"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "1.2.0"],
        "plain_http: true, version: `1.2.0`",
        Some("1.2.0"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "~1.2"],
        "plain_http: true, version: `~1.2`",
        Some("1.2.0"),
    ),
    ("OCI/open/web:1.10.0", &["--plain-http"], "plain_http: true", Some("1.10.0")),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "1.10.0+b"],
        "plain_http: true, version: `1.10.0+b`",
        Some("1.10.0+b"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "9.9.9"],
        "plain_http: true, version: `9.9.9`",
        None,
    ),
    (
        "OCI/open/image",
        &["--plain-http", "--version", "1.0.0"],
        "plain_http: true, version: `1.0.0`",
        None,
    ),
    ("OCI/open/web@DIGEST", &["--plain-http"], "plain_http: true", Some("1.2.0")),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("remote/as_helm_finds_them", as_helm),
        Trial::test("remote/wrong_answers_are_refused", wrong_answers),
        Trial::test("remote/an_archive_is_fetched_once", once),
        Trial::test("remote/credentials_stay_with_their_host", credentials),
    ]
}

fn as_helm() -> Result<(), Failed> {
    let server = Server::start()?;
    let helm = Helm::find();
    let home = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for (chart, flags, options, version) in ROWS {
        let chart = server.filled(chart);
        let ours = server.render(&chart, &server.filled(options), None);
        let label = format!("{chart} {options}");
        match (&ours, version) {
            (Ok(text), Some(version)) if text.contains(&format!("version: \"{version}\"")) => {}
            (Err(_), None) => {}
            (ours, version) => wrong.push(format!("{label}: {version:?}, but {ours:?}")),
        }
        let Some(helm) = helm else { continue };
        let flags: Vec<String> = flags.iter().map(|flag| server.filled(flag)).collect();
        let arguments =
            ["template", "r", chart.as_str()].map(str::to_owned).into_iter().chain(flags);
        let theirs = helm.run(home.path(), arguments)?;
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {}
            (Err(_), Err(_)) => {}
            (ours, theirs) => wrong.push(format!("{label}: helm {theirs:?}, ours {ours:?}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What a broken or hostile server says ends in an error that names it.
fn wrong_answers() -> Result<(), Failed> {
    let server = Server::start()?;
    for (chart, options, said) in [
        ("bad", "repo: `REPO`", "has the digest sha256:"),
        ("web", "repo: `REPO/html`", "is no index of a chart repository: it has no `apiVersion`"),
        ("wed", "repo: `REPO`", "did you mean `web`?"),
        ("web", "repo: `REPO`, version: `^3`", "there are: 2.0.0-rc.1, 1.10.0, 1.2.0"),
        ("web", "repo: `REPO`, digest: `sha256:00`", "not sha256:00"),
        ("web", "repo: `REPO/private`", "answered 401 Unauthorized"),
        (
            "OCI/open/image",
            "plain_http: true, version: `1.0.0`",
            "its config is `application/vnd.oci.image.config.v1+json`",
        ),
        ("OCI/open/lies", "plain_http: true, version: `1.0.0`", "has the digest sha256:"),
        ("OCI/open/loop", "plain_http: true", "no version that is no pre-release of chart `loop`"),
        ("oci://", "", "names no chart of a registry"),
        ("REPO/broken.tgz", "", "broken.tgz"),
    ] {
        let chart = server.filled(chart);
        match server.render(&chart, &server.filled(options), None) {
            Err(error) if error.contains(said) => {}
            found => return Err(format!("{chart} {options}: {said:?} is not in {found:?}").into()),
        }
    }
    Ok(())
}

/// The cache keeps an archive by its digest, also when many ask at once, and does not trust what is in it.
fn once() -> Result<(), Failed> {
    let server = Server::start()?;
    let cache = tempfile::tempdir()?;
    let options = server.filled("repo: `REPO`");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.render("web", &options, Some(cache.path()))))
            .collect();
        runs.into_iter().try_for_each(|run| match run.join() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failed::from(error)),
            Err(_) => Err("a thread ended".into()),
        })
    })?;
    let fetched = server.archives.load(Ordering::Relaxed);
    server.render("web", &options, Some(cache.path()))?;
    if server.archives.load(Ordering::Relaxed) != fetched {
        return Err("the archive was fetched again".into());
    }
    let kept: Vec<_> =
        std::fs::read_dir(cache.path().join("meshscript/charts"))?.flatten().collect();
    let [file] = &kept[..] else { return Err(format!("the cache holds {kept:?}").into()) };
    std::fs::write(file.path(), b"something else")?;
    server.render("web", &options, Some(cache.path()))?;
    if server.archives.load(Ordering::Relaxed) != fetched + 1 {
        return Err("a changed file of the cache was used".into());
    }
    Ok(())
}

/// An index that points at another host gets no password for it.
fn credentials() -> Result<(), Failed> {
    let other = Server::start()?;
    let server = Server::start_pointing_at(Some(other.port))?;
    let options = server
        .filled("repo: `REPO/elsewhere`, username: `someone`, password: `a-password-for-tests`");
    server.render("web", &options, None)?;
    let told = other.authorizations.lock().map_err(|error| error.to_string())?;
    if told[..] != [String::new()] {
        return Err(format!("the other host was told {told:?}").into());
    }
    Ok(())
}

/// A repository below `/charts` and a registry below `/v2`.
struct Server {
    port: u16,
    /// Archives that were sent.
    archives: Arc<AtomicUsize>,
    /// The header `authorization` of each request for an archive.
    authorizations: Arc<Mutex<Vec<String>>>,
    digest: String,
}

struct Pages {
    files: BTreeMap<String, Vec<u8>>,
    archives: Arc<AtomicUsize>,
    authorizations: Arc<Mutex<Vec<String>>>,
    port: u16,
}

fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

impl Server {
    fn start() -> Result<Self, Failed> {
        Self::start_pointing_at(None)
    }

    fn start_pointing_at(other: Option<u16>) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let mut files = BTreeMap::new();
        let (mut entries, mut tags) = (String::new(), Vec::new());
        let mut digest = String::new();
        for version in ["1.2.0", "1.10.0", "2.0.0-rc.1", "1.10.0+b"] {
            let archive = packed(version)?;
            let sum = sha256(&archive);
            if !version.contains('+') {
                entries.push_str(&format!(
                    "  - {{name: web, version: {version}, urls: [web-{version}.tgz], digest: {sum}}}\n"
                ));
            }
            let manifest = json!({
                "schemaVersion": 2,
                "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": format!("sha256:{}", sha256(b"{}")), "size": 2},
                "layers": [{
                    "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                    "digest": format!("sha256:{sum}"),
                    "size": archive.len(),
                }],
            })
            .to_string();
            let tag = version.replace('+', "_");
            let manifest_sum = format!("sha256:{}", sha256(manifest.as_bytes()));
            if version == "1.2.0" {
                digest.clone_from(&manifest_sum);
            }
            for place in ["team/web", "open/web"] {
                files.insert(format!("/v2/{place}/manifests/{tag}"), manifest.clone().into_bytes());
                files.insert(
                    format!("/v2/{place}/manifests/{manifest_sum}"),
                    manifest.clone().into_bytes(),
                );
                files.insert(format!("/v2/{place}/blobs/sha256:{sum}"), archive.clone());
                files.insert(format!("/v2/{place}/blobs/sha256:{}", sha256(b"{}")), b"{}".to_vec());
            }
            tags.push(tag);
            let lies = manifest.replace(&sum, &sha256(b"another"));
            files.insert("/v2/open/lies/manifests/1.0.0".to_owned(), lies.into_bytes());
            files.insert(
                format!("/v2/open/lies/blobs/sha256:{}", sha256(b"another")),
                archive.clone(),
            );
            files.insert(format!("/charts/web-{version}.tgz"), archive.clone());
            files.insert(format!("/charts/private/web-{version}.tgz"), archive);
        }
        let bad = format!(
            "  bad:\n  - {{name: bad, version: 1.0.0, urls: [web-1.2.0.tgz], digest: {}}}\n",
            sha256(b"other")
        );
        let index = format!("apiVersion: v1\nentries:\n  web:\n{entries}{bad}");
        files.insert("/charts/index.yaml".to_owned(), index.clone().into_bytes());
        files.insert("/charts/private/index.yaml".to_owned(), index.clone().into_bytes());
        files.insert("/charts/html/index.yaml".to_owned(), b"<html></html>".to_vec());
        files.insert("/charts/broken.tgz".to_owned(), b"no archive".to_vec());
        let there = format!("urls: [\"http://localhost:{}/charts/web-", other.unwrap_or(port));
        let elsewhere = index.replace("urls: [web-", &there).replace(".tgz]", ".tgz\"]");
        files.insert("/charts/elsewhere/index.yaml".to_owned(), elsewhere.into_bytes());
        for place in ["team/web", "open/web"] {
            let list = json!({"name": place, "tags": tags}).to_string();
            files.insert(format!("/v2/{place}/tags/list"), list.into_bytes());
        }
        files.insert("/v2/open/loop/tags/list".to_owned(), b"{\"tags\": [\"1.0.0-a\"]}".to_vec());
        let image = json!({"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:00", "size": 2}, "layers": []});
        files.insert("/v2/open/image/manifests/1.0.0".to_owned(), image.to_string().into_bytes());
        files.insert("/v2/".to_owned(), b"{}".to_vec());
        let (archives, authorizations) = (Arc::default(), Arc::default());
        let pages = Arc::new(Pages {
            files,
            archives: Arc::clone(&archives),
            authorizations: Arc::clone(&authorizations),
            port,
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || pages.serve(stream));
            }
        });
        Ok(Self { port, archives, authorizations, digest })
    }

    fn filled(&self, text: &str) -> String {
        text.replace("REPO", &format!("http://127.0.0.1:{}/charts", self.port))
            .replace("OCI", &format!("oci://127.0.0.1:{}", self.port))
            .replace("DIGEST", &self.digest)
    }

    /// What `helm::template` returns for a chart.
    fn render(
        &self,
        chart: &str,
        options: &str,
        cache: Option<&std::path::Path>,
    ) -> Result<String, String> {
        let workspace = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut settings = script::settings(workspace.path());
        if let Some(cache) = cache {
            let variables = [("XDG_CACHE_HOME".to_owned(), cache.display().to_string())];
            settings.environment = Environment::empty(workspace.path().to_owned()).with(variables);
        }
        let (session, captured) = script::session(settings, ReportOptions::default());
        match session.eval(&format!("helm::template(`r`, `{chart}`, #{{ {options} }})")) {
            Ok(text) => text.into_string().map_err(str::to_owned),
            Err(error) => {
                session.host.reporter.error(&error, &|name| session.text_of(name));
                Err(captured.lock().all.clone())
            }
        }
    }
}

impl Pages {
    /// Answers the requests of a connection.
    fn serve(&self, stream: TcpStream) {
        let Ok(mut out) = stream.try_clone() else { return };
        let mut input = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut words = line.split(' ').map(str::to_owned);
            let (method, path) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let mut authorization = String::new();
            loop {
                let mut header = String::new();
                if input.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) = header.split_once(':')
                    && name.eq_ignore_ascii_case("authorization")
                {
                    value.trim().clone_into(&mut authorization);
                }
            }
            if !path.contains("nothing") && path.ends_with(".tgz") {
                self.archives.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut told) = self.authorizations.lock() {
                    told.push(authorization.clone());
                }
            }
            let (status, headers, body) = self.answer(&path, &authorization);
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
            let body = if method == "HEAD" { Vec::new() } else { body };
            if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, authorization: &str) -> (&'static str, String, Vec<u8>) {
        let (plain, _) = path.split_once('?').unwrap_or((path, ""));
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", LOGIN.0, LOGIN.1)));
        let denied = |challenge: String| {
            ("401 Unauthorized", format!("www-authenticate: {challenge}\r\n"), b"{}".to_vec())
        };
        if plain.starts_with("/charts/private/") && authorization != basic {
            return denied("Basic realm=\"charts\"".to_owned());
        }
        if plain == "/token" {
            if authorization != basic {
                return denied("Basic realm=\"tokens\"".to_owned());
            }
            return ("200 OK", String::new(), json!({"token": TOKEN}).to_string().into_bytes());
        }
        if plain.starts_with("/v2/team/") && authorization != format!("Bearer {TOKEN}") {
            return denied(format!(
                "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"registry\",scope=\"repository:team/web:pull\"",
                self.port
            ));
        }
        let kind = if plain.contains("/manifests/") {
            "content-type: application/vnd.oci.image.manifest.v1+json\r\n"
        } else {
            ""
        };
        match self.files.get(plain) {
            Some(body) => {
                let sum = if plain.contains("/manifests/") {
                    format!("docker-content-digest: sha256:{}\r\n", sha256(body))
                } else {
                    String::new()
                };
                ("200 OK", format!("{kind}{sum}"), body.clone())
            }
            None => ("404 Not Found", String::new(), b"{}".to_vec()),
        }
    }
}
