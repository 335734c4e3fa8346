//! The main process of a container that runs a command: the shell as a machine that its kubelet steps.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::shell::{self, Around, Steps, Streams, Terminal};

/// A command on its way.
pub(super) struct Process {
    running: Mutex<BoxFuture<'static, i32>>,
    steps: Arc<Mutex<Steps>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("steps", &self.steps).finish_non_exhaustive()
    }
}

/// Whether one part of a process has done something that another waits for.
#[derive(Default)]
struct Moved(AtomicBool);

impl Wake for Moved {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Process {
    /// A command that has not begun; `around` waits by `steps`.
    pub(super) fn new(
        command: Vec<String>,
        around: Around,
        streams: Streams,
        terminal: Option<Terminal>,
        steps: Arc<Mutex<Steps>>,
    ) -> Self {
        let program = async move { shell::run(&command, &around, &streams).await };
        let running: BoxFuture<'static, i32> = match terminal {
            Some(terminal) => Box::pin(terminal.carry(program)),
            None => Box::pin(program),
        };
        Self { running: Mutex::new(running), steps }
    }

    /// Runs as far as it comes; the exit code once it has ended.
    pub(super) fn step(&self, now: Duration, date: Timestamp) -> Option<i32> {
        {
            let mut steps = self.steps.lock();
            (steps.now, steps.date) = (now, date);
        }
        let moved = Arc::new(Moved::default());
        let waker = Waker::from(Arc::clone(&moved));
        loop {
            match self.running.lock().as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(code) => return Some(code),
                Poll::Pending if moved.0.swap(false, Ordering::SeqCst) => {}
                Poll::Pending => return None,
            }
        }
    }

    /// When it goes on by itself.
    pub(super) fn due(&self) -> Option<Duration> {
        self.steps.lock().due
    }
}
