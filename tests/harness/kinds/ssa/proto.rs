//! Protobuf bodies beside their JSON, both from kube-apiserver 1.36.3.
//!
//! `tests/cases/proto/NAME.pb` is what the server sends for an object when asked for protobuf, `NAME.json` for JSON.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::proto::{self, ProtoError};
use serde_json::Value;

use super::bed::{self, Bed};
use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = harness::each("proto", Some("pb"), same_as_json);
    trials.push(Trial::test("proto/damaged_bodies_are_errors", damaged));
    trials.push(Trial::test("proto/all_objects_of_the_server", all_objects));
    trials
}

fn same_as_json(path: &Path) -> Result<(), Failed> {
    let json: Value = serde_json::from_str(&fs::read_to_string(path.with_extension("json"))?)?;
    compare(&fs::read(path)?, &json)
}

fn compare(body: &[u8], json: &Value) -> Result<(), Failed> {
    let ours = proto::decode(body)?;
    let (ours, theirs) = (without_nulls(&ours), without_nulls(json));
    if ours == theirs {
        return Ok(());
    }
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    Err(harness::difference(&pretty(&theirs), &pretty(&ours)).into())
}

/// Protobuf does not tell a null list from none.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

/// Prefixes and changed bytes of real bodies: an error or a value, never a panic.
fn damaged() -> Result<(), Failed> {
    let mut paths: Vec<_> =
        fs::read_dir(harness::folder("proto"))?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "pb")) {
        let body = fs::read(&path)?;
        for end in (0..body.len()).step_by(5) {
            let _ = proto::decode(&body[..end]);
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut changed = body.clone();
                changed[end] = byte;
                let _ = proto::decode(&changed);
            }
        }
    }
    for (body, wanted) in [
        (&b"{}"[..], ProtoError::NoEnvelope),
        (&b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], ProtoError::Damaged { at: 11 }),
    ] {
        match proto::decode(body) {
            Err(found) if found == wanted => {}
            other => return Err(format!("{other:?}, not {wanted:?}").into()),
        }
    }
    Ok(())
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What the cases are recorded from: resources that a fresh test bed has.
const LISTED: &[&str] = &[
    "/api/v1/namespaces/default",
    "/api/v1/nodes",
    "/api/v1/namespaces/kube-system/configmaps",
    "/api/v1/namespaces/default/services",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/apiregistration.k8s.io/v1/apiservices",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/coordination.k8s.io/v1/leases",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/apps/v1/deployments",
    "/api/v1/pods",
];

fn all_objects() -> Result<(), Failed> {
    if !bed::is_up() {
        println!("skipped: no test bed");
        return Ok(());
    }
    let bed = Bed::open("proto")?;
    let mut n_objects = 0;
    for path in LISTED {
        let (code, list) = bed.send("GET", path, "application/json", None)?;
        if code != 200 {
            return Err(format!("{path}: {list}").into());
        }
        let items = match list.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None => vec![list.clone()],
        };
        for item in items {
            let metadata = &item["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            let path = match metadata["namespace"].as_str() {
                Some(namespace) if !path.contains("/namespaces/") => {
                    let (group, plural) = path.rsplit_once('/').unwrap_or_default();
                    format!("{group}/namespaces/{namespace}/{plural}/{name}")
                }
                _ if path.ends_with(&format!("/{name}")) => (*path).to_owned(),
                _ => format!("{path}/{name}"),
            };
            let (_, json) = bed.fetch(&path, "application/json")?;
            let (code, body) = bed.fetch(&path, PROTOBUF)?;
            if code != 200 {
                continue;
            }
            let json: Value = serde_json::from_slice(&json)?;
            let (_, again) = bed.fetch(&path, "application/json")?;
            // Leases and nodes are written all the time.
            if json != serde_json::from_slice::<Value>(&again)? {
                continue;
            }
            if let Err(error) = compare(&body, &json) {
                return Err(format!("{path}\n{}", error.message().unwrap_or_default()).into());
            }
            n_objects += 1;
        }
    }
    println!("{n_objects} objects agree");
    Ok(())
}
