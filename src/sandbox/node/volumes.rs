//! What is mounted into a container: the volumes of its pod, and what every container has.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::World;
use super::files::{Files, Mount, SharedTree, Tree, normal};
use crate::base::clock::Clock as _;
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{CONFIG_MAPS, SECRETS};
use crate::sandbox::controllers::object;

/// The directories of a Linux image.
const DIRECTORIES: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "home",
    "lib",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr/bin",
    "usr/local/bin",
    "var/log",
    "var/run",
];

/// The file system of a container as it is now.
pub fn files(api: &dyn Api, world: &World, pod: &Value, container: &Value) -> Files {
    let name = container["name"].as_str().unwrap_or_default();
    let seconds = u64::try_from(api.clock().now().as_second()).unwrap_or_default();
    let own = world.tree(object::uid(pod), &format!("container {name}"), || image(pod, seconds));
    let mut files = Files::default();
    files.mounts.insert(String::new(), Mount { tree: own, read_only: false });
    for mount in object::items(container, "volumeMounts") {
        let volumes = object::items(&pod["spec"], "volumes");
        let Some(volume) = volumes.iter().find(|volume| volume["name"] == mount["name"]) else {
            continue;
        };
        let volume_name = volume["name"].as_str().unwrap_or_default();
        let (tree, read_only) = match content(api, pod, volume, seconds) {
            Some(tree) => (Arc::new(Mutex::new(tree)), true),
            None => {
                let key = format!("volume {volume_name}");
                (world.tree(object::uid(pod), &key, Tree::default), mount["readOnly"] == true)
            }
        };
        let tree = match mount["subPath"].as_str().map(normal).filter(|path| !path.is_empty()) {
            Some(path) => below(&tree, &path),
            None => tree,
        };
        let at = normal(mount["mountPath"].as_str().unwrap_or_default());
        files.mounts.insert(at, Mount { tree, read_only });
    }
    files
}

/// What every container finds.
fn image(pod: &Value, seconds: u64) -> Tree {
    let mut tree = Tree::default();
    for path in DIRECTORIES {
        tree.put_directory(path);
    }
    let name = object::name(pod);
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    let namespace = object::namespace(pod);
    let hosts = format!(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{ip}\t{name}\n"
    );
    let dns = format!(
        "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
    );
    for (path, text) in
        [("etc/hostname", format!("{name}\n")), ("etc/hosts", hosts), ("etc/resolv.conf", dns)]
    {
        tree.put(path, 0o644, text.into(), seconds);
    }
    tree
}

/// The part of a volume below a path: a directory, or one file.
fn below(tree: &SharedTree, path: &str) -> SharedTree {
    let whole =
        Files { mounts: [(String::new(), Mount { tree: tree.clone(), read_only: true })].into() };
    let mut part = Tree::default();
    for (found, entry) in whole.walk(path) {
        if let super::files::Entry::File { mode, bytes, seconds } = entry {
            let inside = found.trim_start_matches('/');
            let inside = inside.strip_prefix(path).unwrap_or(inside);
            part.put(inside, mode, bytes, seconds);
        }
    }
    Arc::new(Mutex::new(part))
}

/// The files of a volume that objects of the API make; `None` for one that is written to.
fn content(api: &dyn Api, pod: &Value, volume: &Value, seconds: u64) -> Option<Tree> {
    let mut tree = Tree::default();
    let sources = match volume["projected"]["sources"].as_array() {
        Some(sources) => sources.iter().collect(),
        None if ["configMap", "secret", "downwardAPI"]
            .iter()
            .any(|kind| !volume[*kind].is_null()) =>
        {
            vec![volume]
        }
        None => return None,
    };
    for source in sources {
        let files = of_object(api, pod, source)
            .or_else(|| of_fields(pod, &source["downwardAPI"]))
            .or_else(|| of_token(pod, &source["serviceAccountToken"]))
            .unwrap_or_default();
        for (path, bytes) in files {
            tree.put(&path, 0o644, bytes, seconds);
        }
    }
    Some(tree)
}

type Contents = Vec<(String, Bytes)>;

fn of_object(api: &dyn Api, pod: &Value, source: &Value) -> Option<Contents> {
    let namespace = object::namespace(pod);
    let (reference, resource) = match (&source["configMap"], &source["secret"]) {
        (Value::Object(_), _) => (&source["configMap"], &*CONFIG_MAPS),
        (_, Value::Object(_)) => (&source["secret"], &*SECRETS),
        _ => return None,
    };
    let name = reference["secretName"].as_str().or_else(|| reference["name"].as_str())?;
    let found = api.get(resource, namespace, name)?;
    let plain = resource.plural == "configmaps";
    let value = |field: &str, text: &str| match (plain, field) {
        (true, "data") => Bytes::copy_from_slice(text.as_bytes()),
        _ => STANDARD.decode(text).unwrap_or_default().into(),
    };
    let mut all: Contents = Vec::new();
    for field in ["data", "binaryData"] {
        let entries = found[field].as_object().into_iter().flatten();
        all.extend(
            entries.filter_map(|(key, text)| Some((key.clone(), value(field, text.as_str()?)))),
        );
    }
    let items = object::items(reference, "items");
    if items.is_empty() {
        return Some(all);
    }
    let chosen = items.iter().filter_map(|item| {
        let (_, bytes) = all.iter().find(|(key, _)| item["key"] == key.as_str())?;
        Some((item["path"].as_str()?.to_owned(), bytes.clone()))
    });
    Some(chosen.collect())
}

/// Fields of the pod as files: labels and annotations as lines, anything else as its text.
fn of_fields(pod: &Value, source: &Value) -> Option<Contents> {
    let items = source["items"].as_array()?;
    let files = items.iter().filter_map(|item| {
        let field = item["fieldRef"]["fieldPath"].as_str()?;
        let found = field.split('.').fold(pod, |value, key| &value[key]);
        let text = match found {
            Value::Object(all) => {
                let lines = all.iter().map(|(key, value)| format!("{key}={value}"));
                lines.collect::<Vec<_>>().join("\n")
            }
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        Some((item["path"].as_str()?.to_owned(), text.into()))
    });
    Some(files.collect())
}

/// A token has the form of a real one here, and opens nothing.
fn of_token(pod: &Value, source: &Value) -> Option<Contents> {
    let path = source["path"].as_str()?.to_owned();
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    let subject = format!("system:serviceaccount:{}:{account}", object::namespace(pod));
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims =
        serde_json::json!({"iss": "https://kubernetes.default.svc.cluster.local", "sub": subject});
    let token = format!(
        "{}.{}.c2FuZGJveA",
        engine.encode(r#"{"alg":"RS256"}"#),
        engine.encode(claims.to_string())
    );
    Some(vec![(path, token.into())])
}
