//! The only door to time: a clock is injected everywhere, so that a rehearsal's waits cost no real time.
//!
//! `SystemClock` is the machine's; `virtual_clock::VirtualClock` belongs to a sandbox. Every wait and
//! time-out of a run is measured on the clock of its target.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

/// A source of time. `monotonic` never goes back; `now` is the wall clock of the target's world.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day in the target's world.
    fn now(&self) -> Timestamp;
    /// Time since the clock began, for measuring spans.
    fn monotonic(&self) -> Duration;
    /// Completes when `span` has passed on this clock.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;
    /// As `sleep`, for a client that only waits for its next turn: a simulated world need not suspect that the client is
    /// computing meanwhile.
    fn pause(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.sleep(span)
    }
    /// Tells that a client is at work: in a simulated world, time stands still for a moment.
    fn touch(&self) {}
    /// Says that a client computes until the guard is dropped: in a simulated world time stands still meanwhile, however
    /// long the machine takes.
    fn working(&self) -> Option<Working> {
        None
    }
}

/// While it lives, a client computes.
pub type Working = Box<dyn Any + Send>;

/// A clock shared by the parts of one run.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    began: std::time::Instant,
}

impl SystemClock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "the door to real time")]
    pub fn new() -> Self {
        Self { began: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the door to real time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the door to real time")]
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// The time given ran out before the future completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Runs `future` for at most `span` of the clock's time.
pub async fn timeout<T>(
    clock: &dyn Clock,
    span: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    tokio::select! {
        biased;
        value = future => Ok(value),
        () = clock.sleep(span) => Err(Elapsed),
    }
}
