//! One container of a pod on its way: pulled, started, probed, restarted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::images::{self, Program};
use super::process::Process;
use super::shell::{self, Around, Input, Output, Streams, Terminal, Time};
use super::{Fault, World, volumes};
use crate::sandbox::api::Api;
use crate::sandbox::controllers::object;

/// The first and the longest wait before another try.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// From a failed pull until the kubelet looks at the pod again and finds it backing off.
const NEXT_LOOK: Duration = Duration::from_secs(2);
/// From the image being there to the process running.
const START: Duration = Duration::from_millis(120);
/// How long a command that ends by itself runs.
const SHORT_RUN: Duration = Duration::from_millis(400);
/// How long a program lives that crashes.
const CRASH_AFTER: Duration = Duration::from_millis(700);
/// A container that ran this long starts over with the shortest back-off.
const HEALED_AFTER: Duration = Duration::from_secs(600);

/// Where a container is in its life. Times are those of the cluster's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    /// Nothing happened yet.
    New,
    /// `failed` is what the last try showed, which stays in sight during the next one.
    Pulling {
        until: Duration,
        began: Duration,
        failed: Option<(&'static str, String)>,
    },
    /// The pull failed or the process ended; the next try comes at `until`.
    BackOff {
        until: Duration,
        reason: &'static str,
        message: String,
    },
    Starting {
        until: Duration,
    },
    Running {
        since: Duration,
        ends: Option<(Duration, i32)>,
    },
    Ended {
        code: i32,
    },
}

/// A container and what the kubelet knows of it.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    image: String,
    program: Program,
    life: Life,
    id: String,
    started_at: String,
    /// The startup probe has succeeded, or there is none.
    started: bool,
    pub(super) ready: bool,
    /// The time of the next probe that may change something.
    probe_at: Option<Duration>,
    warned: bool,
    restarts: u32,
    tries: u32,
    last: Value,
    /// The command that it runs, when that is known here.
    process: Option<Process>,
}

/// What a step needs to know of the pod.
pub(super) struct Surroundings<'a> {
    pub(super) api: &'a dyn Api,
    pub(super) world: &'a Arc<World>,
    pub(super) pod: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) now: Duration,
    /// Whether istiod serves, for what depends on it.
    pub(super) istiod: bool,
    /// `Always`, `OnFailure`, `Never`
    pub(super) restart: &'a str,
    /// Whether the image is on the node already.
    pub(super) image_there: bool,
}

impl Surroundings<'_> {
    fn event(&self, kind: &str, reason: &str, message: &str) {
        self.api.event("kubelet", self.pod, kind, reason, message);
    }

    fn log(&self, container: &str, lines: &[String]) {
        self.world.log(object::uid(self.pod), container, &self.api.clock_text(), lines);
    }
}

/// The time with fractions, as logs begin.
trait ClockText {
    fn clock_text(&self) -> String;
}

impl ClockText for dyn Api + '_ {
    fn clock_text(&self) -> String {
        use crate::base::clock::Clock as _;
        clock_text(self.clock().now())
    }
}

fn clock_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn seconds(value: &Value, default: u64) -> Duration {
    Duration::from_secs(value.as_u64().unwrap_or(default))
}

impl Container {
    pub(super) fn new(spec: &Value) -> Self {
        let image = spec["image"].as_str().unwrap_or_default().to_owned();
        Self {
            name: spec["name"].as_str().unwrap_or_default().to_owned(),
            program: Program::of(&image),
            image,
            life: Life::New,
            id: String::new(),
            started_at: String::new(),
            started: false,
            ready: false,
            probe_at: None,
            warned: false,
            restarts: 0,
            tries: 0,
            last: json!({}),
            process: None,
        }
    }

    /// A container that another kubelet started, as its status tells: one that runs goes on running.
    pub(super) fn adopted(spec: &Value, status: &Value, now: Duration) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut container = Self::new(spec);
        container.restarts =
            status["restartCount"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        container.id = text(&status["containerID"]);
        container.last = status["lastState"].clone();
        if let Some(running) = status["state"].get("running") {
            container.started_at = text(&running["startedAt"]);
            container.started = status["started"] == true;
            container.ready = status["ready"] == true;
            container.life = Life::Running { since: now, ends: None };
        } else if let Some(ended) = status["state"].get("terminated") {
            let code = ended["exitCode"].as_i64().and_then(|code| i32::try_from(code).ok());
            container.last = status["state"].clone();
            container.life = Life::Ended { code: code.unwrap_or(1) };
        }
        container
    }

    pub(super) fn image(&self) -> &str {
        &self.image
    }

    pub(super) fn program(&self) -> Program {
        self.program
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.life, Life::Running { .. })
    }

    /// The exit code of a container that will not run again.
    pub(super) fn exit_code(&self) -> Option<i32> {
        match self.life {
            Life::Ended { code } => Some(code),
            _ => None,
        }
    }

    /// When something is due for this container by itself.
    pub(super) fn due(&self) -> Option<Duration> {
        match &self.life {
            Life::New | Life::Ended { .. } => None,
            Life::Pulling { until, .. }
            | Life::BackOff { until, .. }
            | Life::Starting { until } => Some(*until),
            Life::Running { ends, .. } => {
                let goes_on = self.process.as_ref().and_then(Process::due);
                [ends.map(|(at, _)| at), self.probe_at, goes_on].into_iter().flatten().min()
            }
        }
    }

    /// Does everything that is due now.
    pub(super) fn step(&mut self, around: &Surroundings<'_>) {
        loop {
            let before = self.life.clone();
            match before.clone() {
                Life::New => self.pull(around),
                Life::Pulling { until, began, .. } if until <= around.now => {
                    self.pulled(around, began);
                }
                Life::Starting { until } if until <= around.now => self.start(around),
                Life::Running { since, ends: Some((at, code)) } if at <= around.now => {
                    self.end(around, since, code);
                }
                Life::Running { since, ends } => {
                    self.meet_fault(around, ends.is_some());
                    self.run(around, since);
                    self.probe(around, since);
                }
                Life::BackOff { until, .. } if until <= around.now => self.try_again(around),
                _ => {}
            }
            if self.life == before {
                return;
            }
        }
    }

    fn fault(&self, around: &Surroundings<'_>) -> Option<Fault> {
        let (namespace, name) = object::key(around.pod);
        around.world.fault(&namespace, &name, &self.image)
    }

    fn pull(&mut self, around: &Surroundings<'_>) {
        let policy = around.spec["imagePullPolicy"].as_str().unwrap_or("IfNotPresent");
        let broken = self.broken(around).is_some();
        if around.image_there && policy != "Always" && !broken {
            let message = format!(
                "Container image \"{}\" already present on machine and can be accessed by the pod",
                self.image
            );
            around.event("Normal", "Pulled", &message);
            self.life = Life::Starting { until: around.now + START };
            return;
        }
        if policy == "Never" {
            let message = format!(
                "Container image \"{}\" is not present with pull policy of Never",
                self.image
            );
            around.event("Warning", "ErrImageNeverPull", &message);
            let until = around.now + BACK_OFF.0;
            self.life = Life::BackOff { until, reason: "ErrImageNeverPull", message };
            return;
        }
        around.event("Normal", "Pulling", &format!("Pulling image \"{}\"", self.image));
        let span = if around.image_there || broken {
            Duration::from_millis(300)
        } else {
            images::pull_cost(&self.image).1
        };
        let failed = match &self.life {
            Life::BackOff { reason, message, .. } => Some((*reason, message.clone())),
            _ => None,
        };
        self.life = Life::Pulling { until: around.now + span, began: around.now, failed };
    }

    /// Why the image cannot be had.
    fn broken(&self, around: &Surroundings<'_>) -> Option<String> {
        match self.fault(around) {
            Some(Fault::Unpullable(answer)) if answer.is_empty() => {
                Some(images::not_found(&self.image))
            }
            Some(Fault::Unpullable(answer)) => Some(answer),
            _ => images::certain_failure(&self.image),
        }
    }

    fn pulled(&mut self, around: &Surroundings<'_>, began: Duration) {
        if let Some(answer) = self.broken(around) {
            around.event(
                "Warning",
                "Failed",
                &format!("Failed to pull image \"{}\": {answer}", self.image),
            );
            around.event("Warning", "Failed", "Error: ErrImagePull");
            self.tries += 1;
            self.life = Life::BackOff {
                until: around.now + NEXT_LOOK,
                reason: "ErrImagePull",
                message: answer,
            };
            return;
        }
        let (size, _) = images::pull_cost(&self.image);
        let spent = (around.now - began).as_millis();
        let span = if spent >= 1_000 {
            format!("{}.{:03}s", spent / 1_000, spent % 1_000)
        } else {
            format!("{spent}ms")
        };
        around.event(
            "Normal",
            "Pulled",
            &format!(
                "Successfully pulled image \"{}\" in {span} ({span} including waiting). Image size: {size} bytes.",
                self.image
            ),
        );
        self.tries = 0;
        self.life = Life::Starting { until: around.now + START };
    }

    fn start(&mut self, around: &Surroundings<'_>) {
        // Made of what the container is, and not drawn: of pods that start at the same moment none comes first.
        let (namespace, pod) = object::key(around.pod);
        let whose = format!("{namespace}/{pod}/{}/{}", self.name, self.restarts);
        self.id = format!("containerd://{}", hex::encode(Sha256::digest(whose)));
        self.started_at = object::now(around.api);
        around.event("Normal", "Created", "Container created");
        around.event("Normal", "Started", "Container started");
        let time = around.api.clock_text();
        around.log(&self.name, &self.program.first_words(&time));
        let ends = self.ending(around);
        self.started = around.spec["startupProbe"].is_null();
        self.ready = false;
        self.warned = false;
        self.probe_at = None;
        self.life = Life::Running { since: around.now, ends };
    }

    /// When and how the process ends by itself.
    fn ending(&mut self, around: &Surroundings<'_>) -> Option<(Duration, i32)> {
        if let Some(Fault::Crash(code)) = self.fault(around) {
            let time = around.api.clock_text();
            around.log(&self.name, &[format!("{time}\tfatal\texiting with code {code}")]);
            return Some((around.now + CRASH_AFTER, code));
        }
        let command = self.command(around);
        if shell::understands(&command) {
            self.process = Some(self.process(around, command));
            return None;
        }
        let by_itself = around.restart != "Always" && self.program == Program::Other;
        by_itself.then(|| (around.now + SHORT_RUN, 0))
    }

    /// What the container runs: what its spec says, or what its image is known to run for somebody who types.
    fn command(&self, around: &Surroundings<'_>) -> Vec<String> {
        let command: Vec<String> = ["command", "args"]
            .iter()
            .flat_map(|field| object::items(around.spec, field))
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        let asked = around.spec["stdin"] == true && self.program == Program::Other;
        if command.is_empty() && asked && images::has_shell(&self.image) {
            return vec!["sh".to_owned()];
        }
        command
    }

    fn process(&self, around: &Surroundings<'_>, command: Vec<String>) -> Process {
        let steps = Arc::default();
        let uid = object::uid(around.pod).to_owned();
        let sink = |world: Arc<World>, name: String, steps: Arc<Mutex<shell::Steps>>| {
            Output::Sink(Arc::new(move |bytes: &[u8]| {
                let time = clock_text(steps.lock().date);
                world.outputs().write(&uid, &name, &time, bytes);
            }))
        };
        let stdout = sink(around.world.clone(), self.name.clone(), Arc::clone(&steps));
        let typed = (around.spec["stdin"] == true).then(|| {
            let once = around.spec["stdinOnce"] == true;
            around.world.outputs().open_stdin(object::uid(around.pod), &self.name, once)
        });
        let tty = around.spec["tty"] == true;
        let program = Around {
            environment: shell::environment(around.pod, around.spec),
            files: volumes::files(around.api, around.world, around.pod, around.spec),
            folder: around.spec["workingDir"].as_str().unwrap_or("/").to_owned(),
            time: Time::Steps(Arc::clone(&steps)),
            terminal: tty,
        };
        let (terminal, streams) = match typed {
            Some(typed) if tty => {
                let (terminal, streams) = Terminal::new(typed, stdout);
                (Some(terminal), streams)
            }
            typed => {
                let stdin = typed.map(Input::client).unwrap_or_default();
                (None, Streams { stdin, stdout: stdout.clone(), stderr: stdout })
            }
        };
        Process::new(command, program, streams, terminal, steps)
    }

    /// Lets the command run as far as it comes.
    fn run(&mut self, around: &Surroundings<'_>, since: Duration) {
        use crate::base::clock::Clock as _;
        let Some(process) = &self.process else { return };
        let Some(code) = process.step(around.now, around.api.clock().now()) else { return };
        self.process = None;
        if let Life::Running { ends: ends @ None, .. } = &mut self.life {
            *ends = Some((around.now.max(since + SHORT_RUN), code));
        }
    }

    fn end(&mut self, around: &Surroundings<'_>, since: Duration, code: i32) {
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.last = json!({ "terminated": {
            "containerID": self.id,
            "exitCode": code,
            "finishedAt": object::now(around.api),
            "reason": reason,
            "startedAt": self.started_at,
        } });
        self.ready = false;
        self.started = false;
        self.probe_at = None;
        self.process = None;
        around.world.outputs().end(object::uid(around.pod), &self.name);
        let again = match around.restart {
            "Always" => true,
            "OnFailure" => code != 0,
            _ => false,
        };
        if !again {
            self.life = Life::Ended { code };
            return;
        }
        if around.now - since > HEALED_AFTER {
            self.tries = 0;
        }
        // The first restart is immediate.
        let wait = if self.tries == 0 { Duration::ZERO } else { back_off(self.tries) };
        self.tries += 1;
        let (namespace, name) = object::key(around.pod);
        let place = format!("{name}_{namespace}({})", object::uid(around.pod));
        if !wait.is_zero() {
            let message =
                format!("Back-off restarting failed container {} in pod {place}", self.name);
            around.event("Warning", "BackOff", &message);
        }
        self.life = Life::BackOff {
            until: around.now + wait,
            reason: "CrashLoopBackOff",
            message: format!(
                "back-off {} restarting failed container={} pod={place}",
                go_span(wait),
                self.name
            ),
        };
    }

    fn try_again(&mut self, around: &Surroundings<'_>) {
        let Life::BackOff { reason, message, .. } = self.life.clone() else { return };
        match reason {
            "CrashLoopBackOff" => {
                self.restarts += 1;
                around.world.turn(object::uid(around.pod), &self.name);
                let message = format!(
                    "Container image \"{}\" already present on machine and can be accessed by the pod",
                    self.image
                );
                around.event("Normal", "Pulled", &message);
                self.life = Life::Starting { until: around.now + START };
            }
            "ErrImagePull" => {
                // One look at the back-off in the status, then the next pull.
                let text = format!("Back-off pulling image \"{}\"", self.image);
                around.event("Normal", "BackOff", &text);
                around.event("Warning", "Failed", "Error: ImagePullBackOff");
                self.life = Life::BackOff {
                    until: around.now + back_off(self.tries).saturating_sub(NEXT_LOOK),
                    reason: "ImagePullBackOff",
                    message: format!("{text}: ErrImagePull: {message}"),
                };
            }
            _ => self.pull(around),
        }
    }

    /// Probes as the real kubelet's: the first after the initial delay, then once a period.
    fn probe(&mut self, around: &Surroundings<'_>, since: Duration) {
        if self.ready {
            return;
        }
        let readiness = &around.spec["readinessProbe"];
        let startup = &around.spec["startupProbe"];
        let probe = if self.started { readiness } else { startup };
        if probe.is_null() {
            self.started = true;
            if readiness.is_null() {
                self.ready = true;
                self.serve(around);
            }
            return;
        }
        let serves_at = since + self.program.startup();
        let delay = seconds(&probe["initialDelaySeconds"], 0);
        let period = seconds(&probe["periodSeconds"], 10).max(Duration::from_secs(1));
        let at = *self.probe_at.get_or_insert(since + delay);
        if at > around.now {
            return;
        }
        let blocked = self.fault(around) == Some(Fault::NeverReady)
            || (self.program.needs_istiod() && !around.istiod);
        if blocked || around.now < serves_at {
            self.warn(around, probe);
            // Probes that must fail are skipped: the next one that may succeed, or none until istiod serves.
            let wanted = if blocked {
                None
            } else {
                let ticks = (serves_at.saturating_sub(at)).as_nanos().div_ceil(period.as_nanos());
                Some(at + period * u32::try_from(ticks.max(1)).unwrap_or(1))
            };
            self.probe_at = wanted;
            return;
        }
        if self.started {
            self.ready = true;
            self.probe_at = None;
            self.serve(around);
        } else {
            self.started = true;
            let delay = seconds(&readiness["initialDelaySeconds"], 0);
            self.probe_at = Some((since + delay).max(around.now));
            self.probe(around, since);
        }
    }

    /// What a fault that was set meanwhile does to a container that runs.
    fn meet_fault(&mut self, around: &Surroundings<'_>, ends: bool) {
        let Some(fault) = self.fault(around) else { return };
        match (fault, &mut self.life) {
            (Fault::Crash(code), Life::Running { ends: at, .. }) if !ends => {
                *at = Some((around.now + CRASH_AFTER, code));
                let time = around.api.clock_text();
                around.log(&self.name, &[format!("{time}\tfatal\texiting with code {code}")]);
            }
            (Fault::NeverReady, _) if self.ready && !around.spec["readinessProbe"].is_null() => {
                self.ready = false;
                self.warned = false;
                self.warn(around, &around.spec["readinessProbe"]);
            }
            _ => {}
        }
    }

    /// Makes a blocked probe due again: what it waited for may have come.
    pub(super) fn wake(&mut self, now: Duration) {
        if self.is_running() && !self.ready && self.probe_at.is_none() {
            self.probe_at = Some(now + Duration::from_secs(1));
        }
    }

    fn serve(&self, around: &Surroundings<'_>) {
        let time = around.api.clock_text();
        around.log(&self.name, &self.program.ready_words(&time));
    }

    fn warn(&mut self, around: &Surroundings<'_>, probe: &Value) {
        if std::mem::replace(&mut self.warned, true) {
            return;
        }
        let kind = if self.started { "Readiness" } else { "Startup" };
        let ip = around.pod["status"]["podIP"].as_str().unwrap_or("10.244.0.2");
        let port = probe["httpGet"]["port"].as_u64().unwrap_or(8080);
        let path = probe["httpGet"]["path"].as_str().unwrap_or("/");
        let answer = match self.program.unready_answer() {
            refused if refused.starts_with("connect") => {
                format!("Get \"http://{ip}:{port}{path}\": dial tcp {ip}:{port}: {refused}")
            }
            answer => answer.to_owned(),
        };
        around.event("Warning", "Unhealthy", &format!("{kind} probe failed: {answer}"));
    }

    /// The entry of `status.containerStatuses`.
    pub(super) fn status(&self) -> Value {
        let waiting = |reason: &str, message: &str| {
            let mut waiting = json!({ "reason": reason });
            if !message.is_empty() {
                waiting["message"] = json!(message);
            }
            json!({ "waiting": waiting })
        };
        let state = match &self.life {
            Life::Pulling { failed: Some((reason, message)), .. } => waiting(reason, message),
            Life::New | Life::Pulling { .. } | Life::Starting { .. } => {
                waiting("ContainerCreating", "")
            }
            Life::BackOff { reason, message, .. } => waiting(reason, message),
            Life::Running { .. } => json!({ "running": { "startedAt": self.started_at } }),
            Life::Ended { .. } => self.last.clone(),
        };
        let ended = matches!(self.life, Life::Ended { .. });
        let mut status = json!({
            "image": self.image,
            "imageID": if self.id.is_empty() { String::new() } else { self.image_id() },
            "lastState": if ended { json!({}) } else { self.last.clone() },
            "name": self.name,
            "ready": self.ready,
            "restartCount": self.restarts,
            "started": self.is_running() && self.started,
            "state": state,
        });
        if !self.id.is_empty() {
            status["containerID"] = json!(self.id);
        }
        status
    }

    /// The entry of `status.ephemeralContainerStatuses`: such a container is never ready.
    pub(super) fn ephemeral_status(&self) -> Value {
        let mut status = self.status();
        status["ready"] = false.into();
        if let Some(status) = status.as_object_mut() {
            status.remove("started");
        }
        status
    }

    fn image_id(&self) -> String {
        let digest = object::short_hash(&json!(self.image));
        format!("{}@sha256:{:0<64}", images::repository(&self.image), hex::encode(digest))
    }
}

fn back_off(tries: u32) -> Duration {
    let factor = 1_u32 << tries.saturating_sub(1).min(5);
    (BACK_OFF.0 * factor).min(BACK_OFF.1)
}

/// A span as Go prints it: `10s`, `1m20s`, `5m0s`.
fn go_span(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}
