//! A small shell with small programs, for `exec` and for containers that run a command: enough of `sh` to say something,
//! look at files, loop, sleep and end.
//!
//! Nothing here is a process of this machine. `parse` reads scripts, `evaluate` runs them, `programs` and `archive` are
//! what an image with a shell has beside it, `terminal` is the line that a person types on. Waiting is on the cluster's clock, or,
//! for the main process of a container, step by step with its kubelet.

mod archive;
mod evaluate;
mod io;
mod parse;
mod programs;
mod sum;
mod terminal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

pub use io::{Input, Output, Streams};
pub use terminal::Terminal;

use super::files::{Entry, Files, Refusal};
use crate::base::clock::Clock as _;
use crate::base::virtual_clock::VirtualClock;
use crate::sandbox::controllers::object;

/// What a program finds around it.
#[derive(Clone)]
pub struct Around {
    pub environment: BTreeMap<String, String>,
    pub files: Files,
    /// Where it is: an absolute path.
    pub folder: String,
    pub time: Time,
    /// A person types: the shell asks for each line.
    pub terminal: bool,
}

impl Around {
    /// Writes a file; one that is there keeps its mode.
    fn write(&self, path: &str, bytes: Bytes) -> Result<(), Refusal> {
        let mode = match self.files.entry(path) {
            Some(Entry::File { mode, .. }) => mode,
            _ => 0o644,
        };
        self.files.write(path, mode, bytes, self.time.seconds())
    }
}

/// How a program waits.
#[derive(Clone)]
pub enum Time {
    /// On the cluster's clock.
    Clock(Arc<VirtualClock>),
    /// In steps that somebody else makes.
    Steps(Arc<Mutex<Steps>>),
}

/// The time of a program that is run step by step.
#[derive(Debug, Default)]
pub struct Steps {
    pub now: Duration,
    pub date: Timestamp,
    /// When it wants to go on.
    pub due: Option<Duration>,
}

/// How long a program rests that never does by itself.
const REST: Duration = Duration::from_secs(1);
/// Nobody waits for the end of a longer sleep: a clock that jumps to the next thing that is due must not jump there.
const LONG: Duration = Duration::from_secs(3_600);

impl Time {
    async fn sleep(&self, span: Duration) {
        match self {
            Self::Clock(_) if span >= LONG => std::future::pending().await,
            Self::Clock(clock) => clock.event_in(span).await,
            Self::Steps(steps) => {
                let until = steps.lock().now.saturating_add(span);
                std::future::poll_fn(|_| {
                    let mut steps = steps.lock();
                    if steps.now >= until {
                        steps.due = None;
                        return Poll::Ready(());
                    }
                    steps.due = (span < LONG).then_some(until);
                    Poll::Pending
                })
                .await;
            }
        }
    }

    async fn rest(&self) {
        self.sleep(REST).await;
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Clock(clock) => clock.now(),
            Self::Steps(steps) => steps.lock().date,
        }
    }

    fn seconds(&self) -> u64 {
        u64::try_from(self.now().as_second()).unwrap_or_default()
    }

    /// What `date` prints, in a form or in its own.
    fn date(&self, form: Option<&str>) -> String {
        let form = form.unwrap_or("%a %b %e %H:%M:%S UTC %Y");
        jiff::fmt::strtime::format(form, self.now()).unwrap_or_else(|_| form.to_owned())
    }
}

/// A path from a folder.
fn absolute(folder: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    format!("/{}", super::files::normal(&joined))
}

/// The environment of a container: its plain variables and the pod's fields.
pub fn environment(pod: &Value, container: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([
        ("HOSTNAME".to_owned(), object::name(pod).to_owned()),
        (
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
    ]);
    for variable in object::items(container, "env") {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match field {
            Some(path) => path
                .split('.')
                .fold(pod, |value, key| &value[key])
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        found.insert(name, value);
    }
    found
}

/// Whether everything that a command runs is known here, so that it can be run instead of taken for a server.
pub fn understands(command: &[String]) -> bool {
    let Some(first) = command.first() else { return false };
    if !programs::is_program(first) {
        return false;
    }
    let script = match programs::base(first) {
        "sh" | "bash" | "ash" => {
            command[1..].iter().position(|word| word.starts_with('-') && word.contains('c'))
        }
        _ => return true,
    };
    let Some(at) = script else { return command.len() == 1 };
    let Ok(list) = parse::script(command.get(at + 2).map_or("", String::as_str)) else {
        return false;
    };
    let mut found = Vec::new();
    parse::programs(&list, &mut found);
    found.iter().all(|word| programs::is_known(word))
}

/// Why a command cannot be started in a container, in containerd's and runc's words.
pub fn not_there(command: &[String], has_shell: bool) -> Option<String> {
    let word = command.first().map_or("", String::as_str);
    if has_shell && programs::is_program(word) {
        return None;
    }
    Some(if word.contains('/') {
        format!("exec: \"{word}\": stat {word}: no such file or directory")
    } else {
        format!("exec: \"{word}\": executable file not found in $PATH")
    })
}

/// Runs a command to its end.
pub async fn run(command: &[String], around: &Around, streams: &Streams) -> i32 {
    if command.is_empty() {
        return 0;
    }
    programs::run(command, around, streams, false).await
}
