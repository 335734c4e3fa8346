//! Ending a run from outside: one flag that script loops, native waits and parallel branches all see.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use super::error::{INTERRUPTED, TIMED_OUT};

/// Why a run was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The time of `--timeout` is up.
    TimedOut,
}

impl Cause {
    /// The token that `ErrorTerminated` carries.
    pub fn token(self) -> &'static str {
        match self {
            Self::Interrupted => INTERRUPTED,
            Self::TimedOut => TIMED_OUT,
        }
    }
}

/// The flag. Cancelling twice keeps the first cause.
#[derive(Debug, Default)]
pub struct Cancel {
    state: AtomicU8,
    changed: Notify,
}

impl Cancel {
    /// Ends the run.
    pub fn cancel(&self, cause: Cause) {
        let value = match cause {
            Cause::Interrupted => 1,
            Cause::TimedOut => 2,
        };
        let _ = self.state.compare_exchange(0, value, Ordering::SeqCst, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Makes the session usable again after a cancelled call.
    pub fn reset(&self) {
        self.state.store(0, Ordering::SeqCst);
    }

    /// Why the run was ended, `None` while it goes on.
    pub fn cause(&self) -> Option<Cause> {
        match self.state.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Cause::Interrupted),
            _ => Some(Cause::TimedOut),
        }
    }

    /// Completes when the run is ended.
    pub async fn cancelled(&self) -> Cause {
        loop {
            let changed = self.changed.notified();
            if let Some(cause) = self.cause() {
                return cause;
            }
            changed.await;
        }
    }
}
