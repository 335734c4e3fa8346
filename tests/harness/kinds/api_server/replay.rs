//! Plays a script on a server and writes down what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kube::client::Body;
use libtest_mimic::Failed;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::normalise::{self, normalise};
use super::script::{Action, Request, Step, Variables, Wanted};

/// How long an event may take that a script waits for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a watch is listened to for events that nobody expects.
const QUIET: Duration = Duration::from_millis(150);

struct Answer {
    code: u16,
    warnings: Vec<String>,
    text: String,
}

/// The answers to all steps, one after the other. Each of several `turn`s has names of its own.
pub(super) async fn replay(
    client: kube::Client,
    case: &str,
    steps: &[Step],
    turn: usize,
) -> Result<String, Failed> {
    let namespace = format!("case-{}-{}{turn}", case.replace('_', "-"), std::process::id());
    let mut variables = Variables::default();
    variables.set("NS", &namespace);
    let mut watches = BTreeMap::new();
    let mut out = String::new();
    for step in steps {
        out.push_str(&format!("### {}\n", step.head));
        match &step.action {
            Action::Send { request, until, keep } => {
                let request = variables.fill(request);
                let answer = send_until(&client, &request, *until).await?;
                if let Some((name, pointer)) = keep {
                    let value: Value = serde_json::from_str(&answer.text).unwrap_or_default();
                    let kept = value.pointer(pointer).and_then(Value::as_str);
                    let kept = kept.unwrap_or_default();
                    variables.set(name, kept);
                }
                write_answer(&mut out, answer)?;
            }
            Action::Watch { name, request } => {
                let request = variables.fill(request);
                match watch(&client, &request).await? {
                    Ok(events) => {
                        out.push_str("200\n");
                        watches.insert(name.clone(), events);
                    }
                    Err(answer) => write_answer(&mut out, answer)?,
                }
            }
            Action::Events { name, wanted } => {
                let Some(events) = watches.get_mut(name) else {
                    out.push_str("no such watch\n");
                    continue;
                };
                for event in collect(events, *wanted).await {
                    write_event(&mut out, &event)?;
                }
            }
        }
    }
    // A namespace may stay; the next run has another one.
    let gone = Request {
        method: "DELETE".to_owned(),
        path: format!("/api/v1/namespaces/{namespace}"),
        ..Request::default()
    };
    send(&client, &gone).await?;
    Ok(out.replace(&namespace, "$NS"))
}

async fn send_until(
    client: &kube::Client,
    request: &Request,
    until: Option<u16>,
) -> Result<Answer, Failed> {
    let mut answer = send(client, request).await?;
    for _ in 0..200 {
        if until.is_none_or(|code| code == answer.code) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = send(client, request).await?;
    }
    Ok(answer)
}

fn built(request: &Request) -> Result<http::Request<Body>, Failed> {
    let mut built = http::Request::builder().method(request.method.as_str()).uri(&request.path);
    let named = |name: &str| request.headers.iter().any(|(found, _)| found == name);
    if !request.body.is_empty() && !named("content-type") {
        built = built.header("content-type", "application/json");
    }
    if !named("user-agent") {
        built = built.header("user-agent", "case/1");
    }
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    Ok(built.body(Body::from(request.body.clone().into_bytes()))?)
}

async fn send(client: &kube::Client, request: &Request) -> Result<Answer, Failed> {
    let answered = async { read(client.send(built(request)?).await?).await };
    let limit = tokio::time::timeout(2 * PATIENCE, answered).await;
    limit.map_err(|_| format!("no answer to {} {}", request.method, request.path))?
}

async fn read(answer: http::Response<Body>) -> Result<Answer, Failed> {
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("warning").iter();
    let warnings = warnings.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(Answer { code, warnings, text: String::from_utf8_lossy(&body).into_owned() })
}

/// Opens a watch; its events come line by line.
async fn watch(
    client: &kube::Client,
    request: &Request,
) -> Result<Result<UnboundedReceiver<String>, Answer>, Failed> {
    let opened = tokio::time::timeout(2 * PATIENCE, client.send(built(request)?)).await;
    let answer = opened.map_err(|_| format!("no answer to the watch {}", request.path))??;
    if answer.status() != http::StatusCode::OK {
        return Ok(Err(read(answer).await?));
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut body = answer.into_body();
    tokio::spawn(async move {
        let mut rest: Vec<u8> = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(bytes): Result<Bytes, _> = frame.into_data() else { continue };
            rest.extend_from_slice(&bytes);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        }
    });
    Ok(Ok(receiver))
}

async fn collect(events: &mut UnboundedReceiver<String>, wanted: Wanted) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let enough = matches!(wanted, Wanted::Count(count) if found.len() >= count);
        let limit = if enough { QUIET } else { PATIENCE };
        match tokio::time::timeout(limit, events.recv()).await {
            Ok(Some(event)) => found.push(event),
            Ok(None) => {
                found.push("end".to_owned());
                return found;
            }
            Err(_) if enough => return found,
            Err(_) => {
                found.push("nothing more".to_owned());
                return found;
            }
        }
    }
}

fn write_answer(out: &mut String, answer: Answer) -> Result<(), Failed> {
    out.push_str(&format!("{}\n", answer.code));
    for warning in answer.warnings {
        out.push_str(&format!("warning: {warning}\n"));
    }
    match serde_json::from_str::<Value>(&answer.text) {
        Ok(mut value) => {
            normalise(&mut value, "");
            out.push_str(&serde_yaml::to_string(&value)?);
        }
        Err(_) => out.push_str(normalise::text(&answer.text).trim_end()),
    }
    out.push('\n');
    Ok(())
}

fn write_event(out: &mut String, event: &str) -> Result<(), Failed> {
    match serde_json::from_str::<Value>(event) {
        Ok(mut value) => {
            normalise(&mut value, "");
            out.push_str(&format!("- {}\n", value["type"].as_str().unwrap_or_default()));
            out.push_str(&serde_yaml::to_string(&value["object"])?);
        }
        Err(_) => out.push_str(&format!("- {event}\n")),
    }
    Ok(())
}
