//! Compares the sandbox's answers with the recorded ones, but for the reviewed differences.

use libtest_mimic::Failed;
use serde::Deserialize;
use serde_json::Value;

use crate::harness;

/// Where the sandbox may answer otherwise, and why: an entry of `differences.yaml`; of `moments.yaml`, the real server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    case: String,
    /// Which step of the script, counted from 1, and its line.
    step: usize,
    request: String,
    /// JSON pointers of what may differ; none is the whole answer.
    #[serde(default)]
    fields: Vec<String>,
    /// For whoever reads the list.
    #[serde(rename = "reason")]
    _reason: String,
}

/// The entries of a list that concern a case.
fn entries(list: &str, case: &str) -> Result<Vec<Difference>, Failed> {
    let list = std::fs::read_to_string(harness::folder("api_server").join(list))?;
    let mut entries: Vec<Difference> = serde_yaml::from_str(&list)?;
    entries.retain(|entry| entry.case == case);
    Ok(entries)
}

/// Fails with what differs, and with reviewed differences that are none any more.
pub(super) fn compare(case: &str, recorded: &str, ours: &str) -> Result<(), Failed> {
    let allowed = entries("differences.yaml", case)?;
    let mut used = vec![false; allowed.len()];
    let (theirs, ours) = (steps(recorded), steps(ours));
    if theirs.iter().map(|(head, _)| head).ne(ours.iter().map(|(head, _)| head)) {
        return Err("the recording is of another script: BLESS=1 on the test bed".into());
    }
    let mut wrong = Vec::new();
    for (at, ((head, theirs), (_, ours))) in theirs.iter().zip(&ours).enumerate() {
        if theirs == ours {
            continue;
        }
        let (mut left, mut right) = (theirs.clone(), ours.clone());
        for (entry, used) in allowed
            .iter()
            .zip(&mut used)
            .filter(|(entry, _)| entry.step == at + 1 && entry.request == *head)
        {
            *used = true;
            left = without(&left, &entry.fields);
            right = without(&right, &entry.fields);
        }
        if left != right {
            wrong.push(format!("step {}: {head}\n{}", at + 1, harness::difference(theirs, ours)));
        }
    }
    for (entry, _) in allowed.iter().zip(used).filter(|(_, used)| !used) {
        let Difference { step, request, .. } = entry;
        wrong.push(format!(
            "step {step} (`{request}`) differs no more: take it out of differences.yaml"
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} steps differ\n{}", wrong.len(), ours.len(), wrong.join("\n")).into())
}

/// How often the real server is asked before an answer counts as another one.
const TURNS: usize = 5;

/// Fails with the steps that the real server answers otherwise than it was recorded, in every turn and beyond what
/// `moments.yaml` says.
pub(super) fn witness(
    case: &str,
    recorded: &str,
    play: impl Fn(usize) -> Result<String, Failed>,
) -> Result<(), Failed> {
    let moments = entries("moments.yaml", case)?;
    let recorded = steps(recorded);
    let known = |at: usize| {
        let of_step = |entry: &&Difference| entry.step == at + 1 && entry.request == recorded[at].0;
        moments.iter().find(of_step).map(|entry| entry.fields.as_slice())
    };
    let mut open: Vec<usize> = (0..recorded.len()).collect();
    let mut told = Vec::new();
    for turn in 0..TURNS {
        let answered = steps(&play(turn)?);
        if recorded.iter().map(|(head, _)| head).ne(answered.iter().map(|(head, _)| head)) {
            return Err("the recording is of another script: BLESS=1 on the test bed".into());
        }
        open.retain(|at| match known(*at) {
            None => recorded[*at] != answered[*at],
            Some(fields) => without(&recorded[*at].1, fields) != without(&answered[*at].1, fields),
        });
        let tell = |at: &usize| {
            let (head, before) = &recorded[*at];
            let differs = harness::difference(before, &answered[*at].1);
            format!("step {}: {head}\n{differs}", at + 1)
        };
        told = open.iter().map(tell).collect();
        if told.is_empty() {
            return Ok(());
        }
    }
    Err(format!("the real server answers otherwise than recorded\n{}", told.join("\n")).into())
}

/// The steps' lines with what was answered.
fn steps(text: &str) -> Vec<(String, String)> {
    let parts = format!("\n{text}");
    let parts = parts.split("\n### ").skip(1);
    parts
        .map(|part| {
            let (head, answer) = part.split_once('\n').unwrap_or((part, ""));
            (head.to_owned(), answer.trim_end().to_owned())
        })
        .collect()
}

/// An answer without some of its fields.
fn without(answer: &str, fields: &[String]) -> String {
    if fields.is_empty() {
        return String::new();
    }
    let body = answer
        .lines()
        .skip_while(|line| line.starts_with("warning: ") || line.parse::<u16>().is_ok());
    let head: Vec<&str> = answer
        .lines()
        .take_while(|line| line.starts_with("warning: ") || line.parse::<u16>().is_ok())
        .collect();
    let body: Vec<&str> = body.collect();
    let Ok(mut value) = serde_yaml::from_str::<Value>(&body.join("\n")) else {
        return answer.to_owned();
    };
    for field in fields {
        let (parent, name) = field.rsplit_once('/').unwrap_or(("", field));
        match value.pointer_mut(parent) {
            Some(Value::Object(parent)) => {
                parent.remove(name);
            }
            Some(Value::Array(parent)) => {
                if let Ok(at) = name.parse::<usize>()
                    && at < parent.len()
                {
                    parent.remove(at);
                }
            }
            _ => {}
        }
    }
    format!("{}\n{value}", head.join("\n"))
}
