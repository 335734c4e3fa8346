//! What containers print and are told: their logs, and who is attached to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

/// Lines kept per container; the oldest go first.
const MAX_LINES: usize = 2_000;
/// Pieces of input on their way to a process.
const PIECES: usize = 64;

/// One line of a container's log, with the cluster's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time: String,
    pub text: String,
    /// Its end has not been written yet.
    pub open: bool,
}

/// The log of one life of a container.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub lines: Vec<LogLine>,
    /// Lines that are kept no more.
    pub n_gone: usize,
    /// Counts the lives of the container.
    pub life: u32,
}

#[derive(Default)]
struct Container {
    log: Log,
    /// The life before.
    previous: Option<Log>,
    stdin: Option<mpsc::Sender<Bytes>>,
    /// `stdinOnce`: standard input ends with whoever attached first.
    once: bool,
    attached: Vec<mpsc::UnboundedSender<Bytes>>,
}

/// The output and input of all containers, by pod uid and container.
pub struct Outputs {
    containers: Mutex<BTreeMap<(String, String), Container>>,
    changed: watch::Sender<()>,
}

impl Default for Outputs {
    fn default() -> Self {
        Self { containers: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

/// The streams of a process for one who attached.
pub struct Attached {
    /// Nothing for a process without standard input.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// What it prints from here on; ends with the process.
    pub output: mpsc::UnboundedReceiver<Bytes>,
}

fn key(uid: &str, container: &str) -> (String, String) {
    (uid.to_owned(), container.to_owned())
}

impl Outputs {
    /// Writes lines to a container's log.
    pub fn lines(&self, uid: &str, container: &str, time: &str, lines: &[String]) {
        for line in lines {
            self.write(uid, container, time, format!("{line}\n").as_bytes());
        }
    }

    /// Writes bytes, as a process does: to the log, and to everybody who is attached.
    pub fn write(&self, uid: &str, container: &str, time: &str, bytes: &[u8]) {
        let mut containers = self.containers.lock();
        let found = containers.entry(key(uid, container)).or_default();
        let text = String::from_utf8_lossy(bytes);
        for part in text.split_inclusive('\n') {
            let open = !part.ends_with('\n');
            let part = part.strip_suffix('\n').unwrap_or(part);
            match found.log.lines.last_mut().filter(|last| last.open) {
                Some(last) => {
                    last.text.push_str(part);
                    last.open = open;
                }
                None => {
                    let line = LogLine { time: time.to_owned(), text: part.to_owned(), open };
                    found.log.lines.push(line);
                }
            }
        }
        let excess = found.log.lines.len().saturating_sub(MAX_LINES);
        found.log.lines.drain(..excess);
        found.log.n_gone += excess;
        let bytes = Bytes::copy_from_slice(bytes);
        found.attached.retain(|client| client.send(bytes.clone()).is_ok());
        drop(containers);
        self.changed.send_replace(());
    }

    /// The log of a container, of its present or its last life.
    pub fn log(&self, uid: &str, container: &str, previous: bool) -> Option<Log> {
        let containers = self.containers.lock();
        let found = containers.get(&key(uid, container))?;
        if previous { found.previous.clone() } else { Some(found.log.clone()) }
    }

    /// Tells that a log has grown, or that a container may have ended.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Makes whoever follows a log look again.
    pub(super) fn touch(&self) {
        self.changed.send_replace(());
    }

    /// Opens the standard input of a new process.
    pub(super) fn open_stdin(
        &self,
        uid: &str,
        container: &str,
        once: bool,
    ) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let mut containers = self.containers.lock();
        let found = containers.entry(key(uid, container)).or_default();
        (found.stdin, found.once) = (Some(sender), once);
        receiver
    }

    /// Joins a process.
    pub fn attach(&self, uid: &str, container: &str) -> Attached {
        let (sender, output) = mpsc::unbounded_channel();
        let mut containers = self.containers.lock();
        let found = containers.entry(key(uid, container)).or_default();
        found.attached.push(sender);
        Attached { stdin: found.stdin.clone(), output }
    }

    /// One who gave a process its input has left.
    pub fn detach(&self, uid: &str, container: &str) {
        if let Some(found) = self.containers.lock().get_mut(&key(uid, container))
            && found.once
        {
            found.stdin = None;
        }
    }

    /// A process has ended: nobody hears more of it.
    pub(super) fn end(&self, uid: &str, container: &str) {
        if let Some(found) = self.containers.lock().get_mut(&key(uid, container)) {
            found.stdin = None;
            found.attached.clear();
        }
    }

    pub(super) fn turn(&self, uid: &str, container: &str) {
        if let Some(found) = self.containers.lock().get_mut(&key(uid, container)) {
            let next = Log { life: found.log.life + 1, ..Log::default() };
            found.previous = Some(std::mem::replace(&mut found.log, next));
        }
        self.touch();
    }

    pub(super) fn forget(&self, uid: &str) {
        self.containers.lock().retain(|(found, _), _| found != uid);
        self.touch();
    }
}
