//! Plays requests on the server, and holds our functions against each answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use libtest_mimic::Failed;
use meshscript::sandbox::api::Status;
use meshscript::sandbox::patch;
use meshscript::sandbox::ssa::{self, ApplyRequest, Origin, Target, UpdateRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::bed::{self, Bed};
use super::schemas::{self, Kind};

/// One request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) resource: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) manager: String,
    #[serde(default)]
    pub(crate) force: bool,
    #[serde(default)]
    pub(crate) subresource: String,
    #[serde(default)]
    pub(crate) body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Op {
    Create,
    /// PUT of the body.
    Update,
    Apply,
    JsonPatch,
    MergePatch,
    StrategicPatch,
}

/// What the server said.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    /// The object before, where somebody else wrote since the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Value>,
}

pub(crate) fn read_steps(path: &Path) -> Result<Vec<Step>, Failed> {
    Ok(serde_yaml::from_str(&fs::read_to_string(path)?)?)
}

pub(crate) fn read_answers(text: &str) -> Result<Vec<Answer>, Failed> {
    #[derive(Deserialize)]
    struct Recording {
        answers: Vec<Answer>,
    }
    let recording: Recording = serde_json::from_str(text)?;
    Ok(recording.answers)
}

pub(crate) fn write_answers(answers: &[Answer]) -> Result<String, Failed> {
    let recording = json!({"recorded": "kube-apiserver 1.36.3", "answers": answers});
    Ok(format!("{}\n", serde_json::to_string_pretty(&recording)?))
}

/// Sends the requests, a second apart, so that times tell who wrote when.
pub(crate) fn record(bed: &Bed, steps: &[Step]) -> Result<Vec<Answer>, Failed> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut stored = BTreeMap::new();
    for step in steps {
        bed::pause(Duration::from_millis(1_050));
        let before = get(bed, step)?.filter(|before| {
            let last: Option<&Value> = stored.get(&key(step));
            last.is_none_or(|last| {
                last["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
            })
        });
        let answer = send(bed, step)?;
        if answer.code < 300 {
            stored.insert(key(step), answer.body.clone());
        }
        answers.push(Answer { before, ..answer });
    }
    Ok(answers)
}

/// The stored object, as a case sees it.
pub(crate) fn get(bed: &Bed, step: &Step) -> Result<Option<Value>, Failed> {
    let kind = kind(step)?;
    let path = format!("{}/{}", kind.path(&bed.namespace), step.name);
    let (code, mut body) = bed.send("GET", &path, "application/json", None)?;
    body["metadata"]["namespace"] = json!("case");
    Ok((code == 200).then_some(body))
}

/// Sends one request.
pub(crate) fn send(bed: &Bed, step: &Step) -> Result<Answer, Failed> {
    let kind = kind(step)?;
    let collection = kind.path(&bed.namespace);
    let slash = if step.subresource.is_empty() { "" } else { "/" };
    let object = format!("{collection}/{}{slash}{}", step.name, step.subresource);
    let options = format!("fieldManager={}&force={}", step.manager, step.force);
    let plain = format!("fieldManager={}", step.manager);
    let (method, path, media) = match step.op {
        Op::Create => ("POST", format!("{collection}?{plain}"), "application/json"),
        Op::Update => ("PUT", format!("{object}?{plain}"), "application/json"),
        Op::Apply => ("PATCH", format!("{object}?{options}"), "application/apply-patch+yaml"),
        Op::JsonPatch => ("PATCH", format!("{object}?{plain}"), "application/json-patch+json"),
        Op::MergePatch => ("PATCH", format!("{object}?{plain}"), "application/merge-patch+json"),
        Op::StrategicPatch => {
            ("PATCH", format!("{object}?{plain}"), "application/strategic-merge-patch+json")
        }
    };
    let (code, mut body) = bed.send(method, &path, media, Some(&step.body))?;
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.contains_key("namespace")
    {
        metadata.insert("namespace".to_owned(), json!("case"));
    }
    Ok(Answer { code, body, before: None })
}

/// Which object a step is about, in whatever version.
fn key(step: &Step) -> String {
    format!("{}/{}", step.resource.split('.').next().unwrap_or_default(), step.name)
}

fn kind(step: &Step) -> Result<&'static Kind, Failed> {
    schemas::kind(&step.resource).ok_or_else(|| format!("no kind `{}`", step.resource).into())
}

/// Holds our functions against every answer.
pub(crate) fn compare(steps: &[Step], answers: &[Answer]) -> Result<(), Failed> {
    if steps.len() != answers.len() {
        return Err("the recording has other steps: BLESS=1 in the test bed".into());
    }
    let mut stored: BTreeMap<String, Value> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (at, (step, answer)) in steps.iter().zip(answers).enumerate() {
        let key = key(step);
        if let Some(before) = &answer.before {
            stored.insert(key.clone(), before.clone());
        }
        if let Err(message) = check(step, stored.get(&key), answer, Times::Compared) {
            wrong.push(format!(
                "step {} ({:?} {} by `{}`): {message}",
                at + 1,
                step.op,
                step.resource,
                step.manager
            ));
        }
        if answer.code < 300 {
            stored.insert(key, answer.body.clone());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Whether requests came in different seconds, so that times mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Compared,
    Ignored,
}

/// Holds our functions against one answer, from the object as it was before.
pub(crate) fn check(
    step: &Step,
    live: Option<&Value>,
    answer: &Answer,
    times: Times,
) -> Result<(), String> {
    let kind = schemas::kind(&step.resource).ok_or("no such kind")?;
    let reset = ssa::reset_fields(
        kind.group,
        kind.resource,
        &step.subresource,
        kind.origin == Origin::Custom,
        kind.has_status,
    );
    let others: Vec<_> = kind
        .other_versions
        .iter()
        .map(|(version, schema)| (*version, Some(schema.as_ref())))
        .collect();
    // The recorded object is in the version of its last request.
    let live = live.cloned().map(|mut live| {
        live["apiVersion"] = json!(kind.api_version);
        live
    });
    let live = live.as_ref();
    let target = Target {
        schema: Some(&kind.schema),
        origin: kind.origin,
        api_version: kind.api_version,
        kind: kind.kind,
        other_versions: &others,
        subresource: &step.subresource,
        reset_fields: &reset,
        time: request_time(live, &answer.body),
    };
    let refused = answer.code >= 300;
    let ours = if step.op == Op::Apply {
        let request = ApplyRequest {
            target,
            live,
            applied: &step.body,
            manager: &step.manager,
            force: step.force,
        };
        ssa::apply(&request).map(|applied| applied.object).map_err(|error| error.to_status())
    } else {
        let patched = patched(step, kind, live).map_err(|error| error.to_status());
        patched.map(|patched| {
            if refused {
                return patched;
            }
            // What server and defaults made of it is what ownership is computed from.
            let mut new = answer.body.clone();
            if let Some(metadata) = new["metadata"].as_object_mut() {
                metadata.remove("managedFields");
                if let Some(entries) = patched["metadata"].get("managedFields") {
                    metadata.insert("managedFields".to_owned(), entries.clone());
                }
            }
            if live.is_none() {
                unallocated(&mut new);
            }
            if kind.origin == Origin::Custom && step.subresource.is_empty() {
                // Ownership is computed before the endpoint drops the status of the request.
                new["status"] = patched["status"].clone();
            }
            let request = UpdateRequest { target, live, new: &new, manager: &step.manager };
            let fields = ssa::update(&request)["metadata"].get("managedFields").cloned();
            let mut patched = patched;
            if let Some(metadata) = patched["metadata"].as_object_mut() {
                metadata.remove("managedFields");
                metadata.extend(fields.map(|fields| ("managedFields".to_owned(), fields)));
            }
            patched
        })
    };
    match (ours, refused) {
        (Ok(ours), false) => compare_objects(&ours, &answer.body, step, kind, times),
        (Err(ours), true) => compare_refusals(&ours, answer),
        // Validation is not ours.
        (Ok(_), true)
            if answer.body["reason"] == "Invalid" && answer.body["details"] != json!({}) =>
        {
            Ok(())
        }
        (Ok(_), true) => Err(format!("we accept, the server says {}", answer.body)),
        (Err(ours), false) => Err(format!("the server accepts, we say {ours:?}")),
    }
}

fn patched(step: &Step, kind: &Kind, live: Option<&Value>) -> Result<Value, patch::PatchError> {
    let before = live.cloned().unwrap_or(Value::Null);
    match step.op {
        Op::Create | Op::Update | Op::Apply => Ok(step.body.clone()),
        Op::JsonPatch => patch::json_patch(&before, &step.body),
        Op::MergePatch => patch::merge_patch(&before, &step.body),
        Op::StrategicPatch => patch::strategic_merge_patch(&before, &step.body, &kind.schema),
    }
}

/// The second of the request: that of the newest entry it wrote, or later than all if it wrote none.
fn request_time(live: Option<&Value>, answer: &Value) -> Timestamp {
    let newest = |object: &Value| -> Option<Timestamp> {
        let entries = object["metadata"]["managedFields"].as_array()?;
        entries.iter().filter_map(|entry| entry["time"].as_str()?.parse().ok()).max()
    };
    let before = live.and_then(newest);
    let after = newest(answer);
    match (before, after) {
        (Some(before), after) if after.is_none_or(|after| after <= before) => {
            before.saturating_add(SignedDuration::from_secs(5)).unwrap_or(before)
        }
        (_, Some(after)) => after,
        (_, None) => Timestamp::UNIX_EPOCH,
    }
}

/// Takes out what the server adds to a new object after ownership is recorded.
fn unallocated(object: &mut Value) {
    if object["kind"] == "Service"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(name);
        }
    }
}

fn compare_refusals(ours: &Status, answer: &Answer) -> Result<(), String> {
    let theirs = &answer.body;
    let causes = |details: &Value| {
        let mut causes = details["causes"].as_array().cloned().unwrap_or_default();
        causes.sort_by_key(ToString::to_string);
        causes
    };
    let same = ours.code == answer.code
        && theirs["reason"].as_str().unwrap_or_default() == ours.reason
        && theirs["message"].as_str() == Some(&ours.message)
        && causes(&theirs["details"]) == causes(&ours.details);
    if same { Ok(()) } else { Err(format!("refused otherwise\nserver: {theirs}\nours: {ours:?}")) }
}

fn compare_objects(
    ours: &Value,
    theirs: &Value,
    step: &Step,
    kind: &Kind,
    times: Times,
) -> Result<(), String> {
    let (mine, real) = (entries(ours, times), entries(theirs, times));
    if mine != real {
        let pretty = |value| serde_json::to_string_pretty(value).unwrap_or_default();
        return Err(format!(
            "managedFields differ\n{}",
            crate::harness::difference(&pretty(&real), &pretty(&mine))
        ));
    }
    let (mut mine, mut real) = (ours.clone(), theirs.clone());
    for object in [&mut mine, &mut real] {
        if let Some(annotations) =
            object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove("deployment.kubernetes.io/revision");
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for name in [
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "managedFields",
                "namespace",
                "name",
            ] {
                metadata.remove(name);
            }
        }
    }
    if step.subresource == "status" {
        mine = json!({"status": mine["status"]});
        real = json!({"status": real["status"]});
    } else if kind.has_status {
        for object in [&mut mine, &mut real] {
            object.as_object_mut().map(|object| object.remove("status"));
        }
    }
    let mut wrong = Vec::new();
    // A PUT by a body without defaults says nothing about the object.
    let exact = kind.resource == "configmaps";
    differences(&mine, &real, exact, "", &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(format!("objects differ: {}", wrong.join("; "))) }
}

/// The entries of `managedFields`, without those of the controllers of the test bed, which write when they like.
fn entries(object: &Value, times: Times) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut entries: Vec<Value> =
        entries.into_iter().filter(|entry| entry["manager"] != "kube-controller-manager").collect();
    if times == Times::Ignored {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries.sort_by_key(ToString::to_string);
    }
    entries
}

/// Values of ours that are not theirs; with `exact`, the other way round as well.
fn differences(ours: &Value, theirs: &Value, exact: bool, path: &str, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let empty = Map::new();
            for (name, value) in ours {
                match theirs.get(name) {
                    Some(other) => differences(value, other, exact, &format!("{path}.{name}"), out),
                    None if is_empty(value) => {}
                    None => out.push(format!("{path}.{name} is {value}, but not there")),
                }
            }
            for (name, value) in if exact { theirs } else { &empty } {
                if !ours.contains_key(name) {
                    out.push(format!("{path}.{name} is not there, but {value}"));
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(ours, theirs, exact, &format!("{path}[{at}]"), out);
            }
        }
        _ if ours == theirs => {}
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ => out.push(format!("{path} is {ours}, but {theirs}")),
    }
}

/// What Go writes as nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}
