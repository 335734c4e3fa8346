//! What containers print, and commands in them: `pods/log`, `pods/exec`, `pods/attach`.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::Request;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::proxy::{container_of, container_status, refusal};
use super::{DataPlane, admin, body};
use crate::base::clock::Clock as _;
use crate::base::virtual_clock::Waiting;
use crate::sandbox::api::{Api, Ended, ExecStreams, LogRequest, Status};
use crate::sandbox::controllers::kinds::PODS;
use crate::sandbox::controllers::object;
use crate::sandbox::node::images::{self, Program};
use crate::sandbox::node::shell::{self, Around, Input, Output, Streams, Terminal, Time};
use crate::sandbox::node::{Log, LogLine, World, volumes};

fn lines_text(lines: &[LogLine], timestamps: bool) -> String {
    let mut text = String::new();
    for line in lines {
        if timestamps {
            text.push_str(&line.time);
            text.push(' ');
        }
        text.push_str(&line.text);
        if !line.open {
            text.push('\n');
        }
    }
    text
}

fn is_running(pod: &Value, container: &str) -> bool {
    container_status(pod, container).is_some_and(|status| !status["state"]["running"].is_null())
}

impl DataPlane {
    /// `pods/log`, as a kubelet answers it.
    ///
    /// # Errors
    /// There is no such pod or container, or it has not begun to run.
    pub(super) fn logs(
        &self,
        namespace: &str,
        pod: &str,
        request: &LogRequest,
    ) -> Result<BoxStream<'static, Bytes>, Status> {
        let pod = self.pod(namespace, pod)?;
        let container = container_of(&pod, request.container.as_deref(), "")?;
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        readable(&pod, &name, request)?;
        let id = object::uid(&pod).to_owned();
        let log = self.world.outputs().log(&id, &name, request.previous).unwrap_or_default();
        let begins = request.since_seconds.and_then(|seconds| {
            let span = std::time::Duration::from_secs(seconds);
            self.api.clock().now().checked_sub(span).ok()
        });
        let begins = begins.max(request.since_time);
        let follows = request.follow && !request.previous;
        let mut lines: Vec<LogLine> = log.lines;
        let seen = log.n_gone + lines.len();
        let skip = request.tail_lines.map_or(0, |tail| lines.len().saturating_sub(tail));
        lines.drain(..skip);
        lines.retain(|line| {
            let time = || line.time.parse().is_ok_and(|time: Timestamp| Some(time) >= begins);
            begins.is_none() || time()
        });
        // A line that is being written is told when it is whole.
        let open = follows && lines.last().is_some_and(|line| line.open);
        if open {
            lines.pop();
        }
        let first = lines_text(&lines, request.timestamps);
        let rest = if follows {
            let follow = Follow {
                world: Arc::clone(&self.world),
                api: Arc::clone(&self.api),
                changes: self.world.outputs().changes(),
                pod: object::key(&pod),
                id,
                container: name,
                seen: seen - usize::from(open),
                timestamps: request.timestamps,
                life: log.life,
                ended: false,
                _waiting: self.api.clock().waiting(),
            };
            stream::unfold(follow, Follow::next).boxed()
        } else {
            stream::empty().boxed()
        };
        let all = stream::iter([Bytes::from(first)]).chain(rest);
        let all = all.filter(|text| futures::future::ready(!text.is_empty()));
        Ok(match request.limit_bytes {
            None => all.boxed(),
            Some(limit) => all
                .scan(limit, |left, text| {
                    let some = text.slice(..text.len().min(*left));
                    *left -= some.len();
                    futures::future::ready((!some.is_empty()).then_some(some))
                })
                .boxed(),
        })
    }

    /// `pods/exec`.
    ///
    /// # Errors
    /// There is no such pod or container, or it does not run.
    pub(super) fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
        client: ExecStreams,
    ) -> Result<Ended, Status> {
        let (pod, container) = self.running(namespace, pod, container)?;
        let has_shell = images::has_shell(container["image"].as_str().unwrap_or_default());
        let own = admin::agent_request(command).map(|(port, path)| {
            let request = Request::builder().uri(path).body(()).unwrap_or_default();
            admin::answer(self, &pod, Program::of_pod(&pod), port, &request)
        });
        if let Some(response) = own {
            return Ok(Box::pin(async move {
                let answer = body::whole(response.into_body()).await.unwrap_or_default();
                // A client that is gone hears nothing.
                let _ = client.stdout.send(answer).await;
                Ok(0)
            }));
        }
        if let Some(why) = shell::not_there(command, has_shell) {
            let id = self.api.random_uid().replace('-', "");
            let text = format!(
                "Internal error occurred: Internal error occurred: error executing command in container: failed to exec in container: failed to start \
                 exec \"{id}{id}\": OCI runtime exec failed: exec failed: unable to start container process: {why}: unknown"
            );
            return Ok(Box::pin(async move { Err(refusal(500, "InternalError", text)) }));
        }
        let around = Around {
            environment: shell::environment(&pod, &container),
            files: volumes::files(&*self.api, &self.world, &pod, &container),
            folder: container["workingDir"].as_str().unwrap_or("/").to_owned(),
            time: Time::Clock(self.api.clock()),
            terminal: client.tty,
        };
        let command = command.to_vec();
        if client.tty {
            let screen = Output::Client(client.stdout);
            let (terminal, streams) = Terminal::new(client.stdin, screen);
            let program = async move { shell::run(&command, &around, &streams).await };
            return Ok(Box::pin(async move { Ok(terminal.carry(program).await) }));
        }
        let streams = Streams {
            stdin: Input::client(client.stdin),
            stdout: Output::Client(client.stdout),
            stderr: Output::Client(client.stderr),
        };
        Ok(Box::pin(async move { Ok(shell::run(&command, &around, &streams).await) }))
    }

    /// `pods/attach`.
    ///
    /// # Errors
    /// There is no such pod or container, or it does not run.
    pub(super) fn attach(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        mut client: ExecStreams,
    ) -> Result<Ended, Status> {
        let (pod, container) = self.running(namespace, pod, container)?;
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let id = object::uid(&pod).to_owned();
        let key = object::key(&pod);
        let world = Arc::clone(&self.world);
        let mut attached = world.outputs().attach(&id, &name);
        let waiting = self.api.clock().waiting();
        Ok(Box::pin(async move {
            let _waiting = waiting;
            let mut open = attached.stdin.is_some();
            loop {
                tokio::select! {
                    printed = attached.output.recv() => match printed {
                        Some(bytes) => if client.stdout.send(bytes).await.is_err() { return Ok(0) },
                        None => return Ok(0),
                    },
                    typed = client.stdin.recv(), if open => {
                        match (typed, &attached.stdin) {
                            (Some(bytes), Some(stdin)) => open = stdin.send(bytes).await.is_ok(),
                            _ => {
                                open = false;
                                attached.stdin = None;
                                world.outputs().detach(&id, &name);
                            }
                        }
                        world.wake(&key.0, &key.1);
                    }
                }
            }
        }))
    }

    fn running(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<(Arc<Value>, Value), Status> {
        let pod = self.pod(namespace, pod)?;
        let container = container_of(&pod, container, "")?.clone();
        let name = container["name"].as_str().unwrap_or_default();
        if !is_running(&pod, name) {
            return Err(refusal(500, "InternalError", format!("container not found (\"{name}\")")));
        }
        Ok((pod, container))
    }
}

/// Whether a container has a log to be read.
fn readable(pod: &Value, name: &str, request: &LogRequest) -> Result<(), Status> {
    let status = container_status(pod, name);
    let state = status.map(|status| status["state"].clone()).unwrap_or_default();
    let began = !state["running"].is_null()
        || !state["terminated"].is_null()
        || status.is_some_and(|status| status["restartCount"].as_u64() > Some(0));
    if request.previous && status.is_none_or(|status| status["lastState"]["terminated"].is_null()) {
        let text = format!(
            "previous terminated container \"{name}\" in pod \"{}\" not found",
            object::name(pod)
        );
        return Err(refusal(400, "BadRequest", text));
    }
    if began {
        return Ok(());
    }
    let reason = state["waiting"]["reason"].as_str().unwrap_or("ContainerCreating");
    let why = match reason {
        "ErrImagePull" | "ImagePullBackOff" => "trying and failing to pull image".to_owned(),
        other => other.to_owned(),
    };
    let text =
        format!("container \"{name}\" in pod \"{}\" is waiting to start: {why}", object::name(pod));
    Err(refusal(400, "BadRequest", text))
}

/// A log that is followed: new lines as they come, until the container's life or its pod is over.
struct Follow {
    world: Arc<World>,
    api: Arc<dyn Api>,
    changes: watch::Receiver<()>,
    pod: (String, String),
    id: String,
    container: String,
    /// Lines that were told.
    seen: usize,
    timestamps: bool,
    /// Which life of the container it is.
    life: u32,
    ended: bool,
    /// Whoever follows waits: time may pass.
    _waiting: Option<Waiting>,
}

impl Follow {
    /// The log, wherever it is when the container lives again already.
    fn of_this_life(&mut self) -> Log {
        let outputs = self.world.outputs();
        let log = outputs.log(&self.id, &self.container, false).unwrap_or_default();
        if log.life == self.life {
            return log;
        }
        self.ended = true;
        let previous = outputs.log(&self.id, &self.container, true).unwrap_or_default();
        if previous.life == self.life { previous } else { Log::default() }
    }

    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.ended {
                return None;
            }
            // What comes after this look is told by the next change.
            self.changes.mark_unchanged();
            let pod = self.api.get(&PODS, &self.pod.0, &self.pod.1);
            self.ended = pod.is_none_or(|pod| {
                object::uid(&pod) != self.id || !is_running(&pod, &self.container)
            });
            let log = self.of_this_life();
            let from = self.seen.saturating_sub(log.n_gone).min(log.lines.len());
            let mut fresh = &log.lines[from..];
            if let [whole @ .., last] = fresh
                && last.open
                && !self.ended
            {
                fresh = whole;
            }
            if !fresh.is_empty() {
                self.seen = self.seen.max(log.n_gone) + fresh.len();
                return Some((lines_text(fresh, self.timestamps).into(), self));
            }
            if !self.ended && self.changes.changed().await.is_err() {
                return None;
            }
        }
    }
}
