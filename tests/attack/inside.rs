//! Attacks of somebody who may do everything: bodies of all encodings and of none on every verb, patches, watches, queries.
//!
//! What could lock out an honest client by right (webhooks, policies, API services) is only ever sent as a dry run.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};

use super::expressions;
use super::http1::{self, Parts};
use super::http2;
use super::objects;
use super::random::{Random, damage};
use super::served::{Door, PATIENCE, Resource};
use super::streams;
use super::wire::{self, Tls};

const MEDIA: &[&str] = &[
    "application/json",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
    "text/plain",
    "",
    "application/json; charset=utf-16",
    "application/json;;;",
];

const ACCEPT: &[&str] = &[
    "application/json",
    "*/*",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
    "application/vnd.kubernetes.protobuf,application/json",
    "application/cbor, application/json",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "text/html;q=0.9",
    ",;,=",
];

const QUERIES: &[&str] = &[
    "dryRun=All",
    "dryRun=",
    "dryRun=Some&dryRun=All",
    "fieldManager=a",
    "fieldManager=%00%ff",
    "fieldValidation=Strict",
    "fieldValidation=Ignore",
    "fieldValidation=x",
    "force=true",
    "force=maybe",
    "pretty=true",
    "watch=true&timeoutSeconds=1",
    "watch=1&resourceVersion=0&timeoutSeconds=1",
    "watch=true&resourceVersion=99999999999999999999&timeoutSeconds=1",
    "watch=true&resourceVersion=-1&timeoutSeconds=1",
    "watch=true&resourceVersion=1&timeoutSeconds=1&allowWatchBookmarks=true",
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1",
    "watch=true&timeoutSeconds=9223372036854775807",
    "watch=true&timeoutSeconds=-9223372036854775808",
    "limit=1",
    "limit=-1",
    "limit=9223372036854775807",
    "limit=1&continue=bm9uc2Vuc2U",
    "limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLyJ9",
    "resourceVersion=1&resourceVersionMatch=Exact",
    "resourceVersion=18446744073709551615",
    "labelSelector=a%3Db%2Cc+in+%28d%2Ce%29%2C%21f%2Cg%3E1",
    "labelSelector=%28%28%28",
    "labelSelector=a+in+%28",
    "labelSelector=a%3E99999999999999999999",
    "fieldSelector=metadata.name%3Da%5C%2Cb",
    "fieldSelector=%3D%3D%3D",
    "fieldSelector=status.phase%21%3DRunning%2Cspec.nodeName%3D",
    "fieldSelector=spec.name%3Dabc",
    "gracePeriodSeconds=-1",
    "gracePeriodSeconds=9223372036854775807",
    "propagationPolicy=Foreground",
    "propagationPolicy=Orphan&orphanDependents=true",
    "includeObject=Object",
    "includeObject=All",
    "timeout=1s",
    "timeout=-99999999999h",
    "tailLines=-1&sinceSeconds=0&limitBytes=1",
    "container=%00",
    "%",
    "%zz=%",
    "&&&=&=",
];

const PATCHES: &[&str] = &[
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"1e999",
    b"-",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"---\n",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!binary |",
    b"? ",
    b"- ",
    b"|\n",
    b"\t",
    b"%YAML 1.1\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"k8s\0",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x12\x80\x80\x80\x80\x08",
    b"\x9f\xbf\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\"metadata\":",
    b"\"$patch\":\"replace\",",
];

/// What is refused to attackers as they have all rights: these may end a rehearsal by what they mean.
const MEANT: &[&str] =
    &["admissionregistration.k8s.io", "apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io"];

/// An attacker with the administrator's certificate.
pub(crate) struct Insider {
    door: Door,
    resources: Vec<Resource>,
    objects: Vec<Value>,
    namespace: String,
    stream: Option<Tls>,
}

impl Insider {
    /// The `n`-th of them; it has a namespace of its own.
    pub(crate) fn new(door: &Door, resources: &[Resource], n: usize) -> Self {
        let namespace = format!("attack-{n}");
        let object = json!({"metadata": {"name": namespace}});
        // It may be there from before.
        let _ = door.ask("POST", "/api/v1/namespaces", Some(&object));
        Self {
            door: door.clone(),
            resources: resources.to_vec(),
            objects: objects::all(),
            namespace,
            stream: None,
        }
    }

    /// One attack: what was sent, and what is wrong with the server's behaviour.
    pub(crate) fn attack(&mut self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        match random.below(20) {
            0 => self.damaged(random),
            1 => (Vec::new(), streams::attack(random, &self.door)),
            _ => self.request(random),
        }
    }

    /// A request of the right form, whatever it says: it must be answered.
    fn request(&mut self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let parts = self.parts(random);
        let mut text = format!("{} {} HTTP/1.1\r\nhost: x\r\n", parts.method, parts.path);
        for (name, value) in &parts.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut sent = format!("{text}content-length: {}\r\n\r\n", parts.body.len()).into_bytes();
        sent.extend_from_slice(&parts.body);
        let follows = parts.path.contains("watch") || parts.path.contains("follow");
        let patience = Duration::from_millis(500);
        let fresh = || self.door.place.tls(&self.door.as_admin, patience);
        let kept = self.stream.take();
        if follows {
            let Ok(mut stream) = fresh() else { return (sent, None) };
            let _ = stream.get_ref().set_read_timeout(Some(Duration::from_millis(40)));
            wire::talk(&mut stream, &[&sent]);
            return (sent, None);
        }
        // A connection that was kept may be closed at any time; a new one must bring an answer.
        let mut asked = None;
        if let Some(mut stream) = kept {
            asked = wire::ask(&mut stream, &sent, PATIENCE).ok().map(|answer| (answer, stream));
        }
        if asked.is_none() {
            match fresh()
                .and_then(|mut stream| Ok((wire::ask(&mut stream, &sent, PATIENCE)?, stream)))
            {
                Ok(answered) => asked = Some(answered),
                // What was refused in the middle of its body may lose its answer on the way.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    let why = format!("{} {} is not answered: {error}", parts.method, parts.path);
                    return (sent, Some(why));
                }
            }
        }
        if let Some((answer, stream)) = asked
            && answer.open
            && answer.code != 101
        {
            self.stream = Some(stream);
        }
        (sent, None)
    }

    /// A request whose form is damaged too, by HTTP/1.1 or HTTP/2.
    fn damaged(&mut self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let parts = loop {
            let parts = self.parts(random);
            // Damage must not turn a dry run into the real thing.
            if !parts.path.contains("dryRun=All&meant") {
                break parts;
            }
        };
        let two = random.chance(50);
        let protocols: &[&[u8]] = if two { &[b"h2"] } else { &[] };
        let config = self.door.place.config(Some(&self.door.admin), protocols);
        let sent = if two { http2::bytes(random, &parts) } else { http1::bytes(random, &parts) };
        if let Ok(mut stream) = self.door.place.tls(&config, Duration::from_millis(80)) {
            wire::talk(&mut stream, &[&sent]);
        }
        (sent, None)
    }

    fn parts(&self, random: &mut Random) -> Parts {
        if random.chance(8) {
            let (collection, object) = expressions::object(random);
            return Parts {
                method: "POST".to_owned(),
                path: format!("{collection}?dryRun=All&meant"),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: object.to_string().into_bytes(),
            };
        }
        let mut object = self.objects[random.below(self.objects.len())].clone();
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let resource =
            match self.resources.iter().find(|it| it.kind == kind && it.subresource.is_empty()) {
                Some(resource) if random.chance(85) => resource,
                _ => &self.resources[random.below(self.resources.len())],
            };
        if random.chance(75) {
            objects::change(random, &mut object, &self.objects);
        }
        let methods =
            ["POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE", "GET", "GET", "HEAD", "OPTIONS"];
        let method = random.pick(&methods).to_owned();
        let on_collection = method == "POST" || (method == "GET" && random.chance(70));
        let name = match object["metadata"]["name"].as_str() {
            Some(name) if random.chance(80) && name.starts_with("attack") => name.to_owned(),
            Some("things.attack.example.com") => "things.attack.example.com".to_owned(),
            _ => random
                .pick(&["attack-a", "attack-b", "attack-%00", "attack-%2e%2e", "attack-é"])
                .to_owned(),
        };
        let mut path = resource.collection(&self.namespace);
        if !on_collection || !resource.subresource.is_empty() {
            path.push_str(&format!("/{name}"));
        }
        let subresources = [
            "status",
            "scale",
            "eviction",
            "log",
            "binding",
            "token",
            "ephemeralcontainers",
            "approval",
            "finalize",
            "resize",
            "proxy/x",
        ];
        if !resource.subresource.is_empty() {
            path.push_str(&format!("/{}", resource.subresource));
        } else if !on_collection && random.chance(25) {
            path.push_str(&format!("/{}", random.pick(&subresources)));
        }
        let mut query: Vec<&str> = Vec::new();
        if MEANT.iter().any(|group| resource.root.contains(group)) {
            query.push("dryRun=All&meant");
        }
        if method == "PATCH" && random.chance(80) {
            query.push("fieldManager=attack");
        }
        // A collection of attackers' own objects may go; one without a namespace holds those of others.
        let mut wanted = if method == "GET" { random.below(3) } else { random.below(2) };
        while wanted > 0 {
            query.push(random.pick(QUERIES));
            wanted -= 1;
        }
        if MEANT.iter().any(|group| resource.root.contains(group)) {
            query.retain(|part| !part.starts_with("dryRun=") || part.contains("meant"));
        }
        if !query.is_empty() {
            path.push_str(&format!("?{}", query.join("&")));
        }
        let (media, body) =
            if method == "PATCH" { self.patch(random, &object) } else { encoded(random, &object) };
        let mut headers = vec![
            ("content-type".to_owned(), media),
            ("accept".to_owned(), random.pick(ACCEPT).to_owned()),
            (
                "user-agent".to_owned(),
                random.pick(&["kubectl/v1.36", "", "a/b/c", "helm"]).to_owned(),
            ),
        ];
        if random.chance(3) {
            headers.push((
                "impersonate-user".to_owned(),
                random.pick(&["jane", "system:anonymous", "system:serviceaccount:a:b"]).to_owned(),
            ));
        }
        let body = if matches!(method.as_str(), "GET" | "HEAD") && random.chance(95) {
            Vec::new()
        } else {
            body
        };
        Parts { method, path, headers, body }
    }

    fn patch(&self, random: &mut Random, object: &Value) -> (String, Vec<u8>) {
        let media = random.pick(PATCHES).to_owned();
        let mut body = match media.as_str() {
            "application/json-patch+json" if random.chance(8) => {
                objects::growing_patch(random).to_string().into_bytes()
            }
            "application/json-patch+json" => {
                objects::json_patch(random, object, &self.objects).to_string().into_bytes()
            }
            "application/apply-patch+yaml" if random.chance(40) => {
                serde_yaml::to_string(object).unwrap_or_default().into_bytes()
            }
            "application/apply-patch+cbor" => objects::cbor(object),
            _ => object.to_string().into_bytes(),
        };
        if random.chance(15) {
            damage(random, &mut body, WORDS);
        }
        (media, body)
    }
}

fn encoded(random: &mut Random, object: &Value) -> (String, Vec<u8>) {
    let mut media = random.pick(MEDIA);
    let mut body = match media {
        "application/yaml" => serde_yaml::to_string(object).unwrap_or_default().into_bytes(),
        "application/vnd.kubernetes.protobuf" => {
            let text = |name: &str| object[name].as_str().unwrap_or_default();
            let length = random.below(300);
            let mut raw = random.bytes(length);
            if random.chance(70) {
                // Field numbers and lengths that often fit.
                raw = pseudo_message(random, 0);
            }
            objects::protobuf(text("apiVersion"), text("kind"), &raw)
        }
        "application/cbor" => objects::cbor(object),
        _ => object.to_string().into_bytes(),
    };
    match random.below(30) {
        0 => body = "[".repeat(1 << random.below(20)).into_bytes(),
        1 => body = "{\"a\":".repeat(1 << random.below(18)).into_bytes(),
        2 => body = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << random.below(22))).into_bytes(),
        3 => {
            media = "application/yaml";
            let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
            for at in 0..30 {
                let before = if at == 0 { "a".to_owned() } else { format!("a{}", at - 1) };
                let list = format!("*{before}, ").repeat(9);
                text.push_str(&format!("a{at}: &a{at} [{list}]\n"));
            }
            body = text.into_bytes();
        }
        4 => {
            // Every field twice.
            let fields: Vec<String> = (0..1 << random.below(17))
                .map(|at| format!("\"k{at}\":\"\",\"k{at}\":\"\""))
                .collect();
            body = format!(
                "{{\"kind\":\"ConfigMap\",\"data\":{{{}}},\"x\":1,\"y\":2}}",
                fields.join(",")
            )
            .into_bytes();
        }
        5 => {
            // A long name above many fields.
            let fields: Vec<String> =
                (0..1 << random.below(17)).map(|at| format!("\"k{at}\":1")).collect();
            let name = "n".repeat(1 << random.below(20));
            body = format!("{{\"metadata\":{{\"x\":1,\"{name}\":{{{}}}}}}}", fields.join(","))
                .into_bytes();
        }
        6..=10 => damage(random, &mut body, WORDS),
        _ => {}
    }
    (media.to_owned(), body)
}

/// Bytes that read as a message of protobuf.
fn pseudo_message(random: &mut Random, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..random.below(6) {
        let number = random.below(15) as u8 + 1;
        match random.below(5) {
            0 => {
                out.push(number << 3);
                let value = random.byte();
                out.extend_from_slice(&[value | 0x80, value & 0x7f]);
            }
            1 | 2 if depth < 6 => {
                let inner = pseudo_message(random, depth + 1);
                out.push(number << 3 | 2);
                out.push(inner.len().min(127) as u8);
                out.extend_from_slice(&inner[..inner.len().min(127)]);
            }
            3 => {
                let text = random.pick(&[&b"attack-a"[..], b"a", b"\xff\xfe", b"", b"{\"a\":[1]}"]);
                out.push(number << 3 | 2);
                out.push(text.len() as u8);
                out.extend_from_slice(text);
            }
            _ => {
                let length = random.below(4);
                out.extend_from_slice(&random.bytes(length));
            }
        }
    }
    out
}
