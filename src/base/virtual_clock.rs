//! The clock of a sandbox: time jumps to the next thing that is due once nobody has work to do.
//!
//! Two kinds of sleepers: *events* of the simulated world (a pod becoming ready) fire as soon as the
//! world is idle; *deadlines* of clients (time-outs, `sleep`) fire only when the world has been idle for
//! a while of real time, since a client may be computing. While no deadline is set nobody waits, and time stands still.
//! Work that must hold time still takes a `Busy` guard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::clock::{Clock, SystemClock, Working};

/// Real time that the world must have been idle before an event of the simulated world fires.
const EVENT_GRACE: Duration = Duration::from_micros(300);
/// Real time that the world must have been idle before a client's deadline fires.
const DEADLINE_GRACE: Duration = Duration::from_millis(150);
/// Real time after which bytes under way no longer hold the clock: whoever should read them does not.
const STALLED: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleeper {
    Event,
    Deadline,
}

struct State {
    /// Virtual time since the clock began.
    elapsed: Duration,
    /// Due time and arrival order give each sleeper its place.
    sleepers: BTreeMap<(Duration, u64), (Sleeper, oneshot::Sender<()>)>,
    arrivals: u64,
    /// Whether sleepers were ever moved from the place that they took.
    moved: bool,
}

impl State {
    fn postpone_deadlines(&mut self, span: Duration) {
        let keys: Vec<_> = self
            .sleepers
            .iter()
            .filter(|(_, (kind, _))| *kind == Sleeper::Deadline)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(sleeper) = self.sleepers.remove(&key) {
                self.sleepers.insert((key.0.saturating_add(span), key.1), sleeper);
                self.moved = true;
            }
        }
    }

    fn leave(&mut self, key: (Duration, u64)) {
        if self.sleepers.remove(&key).is_none() && self.moved {
            self.sleepers.retain(|(_, arrival), _| *arrival != key.1);
        }
    }
}

/// Virtual time; share it in an `Arc`.
pub struct VirtualClock {
    epoch: Timestamp,
    state: Mutex<State>,
    busy: AtomicUsize,
    waiting: AtomicUsize,
    activity: AtomicU64,
    /// Bytes of the world's connections that were written and not yet read.
    under_way: AtomicUsize,
    changed: Notify,
    this: Weak<Self>,
    /// Set where time passes by itself.
    wall: Option<Wall>,
}

/// Time that passes by itself.
struct Wall {
    clock: SystemClock,
    speed: u32,
}

/// While it lives, virtual time stands still.
pub struct Busy(Arc<VirtualClock>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
        self.0.touch();
    }
}

/// While it lives, somebody waits for the world to change: time may pass.
pub struct Waiting(Arc<VirtualClock>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl VirtualClock {
    /// A clock whose world begins at `epoch`. Drive it with [`run`](Self::run) on a runtime.
    pub fn starting_at(epoch: Timestamp) -> Arc<Self> {
        Arc::new_cyclic(|this| Self::new(epoch, this.clone()))
    }

    fn new(epoch: Timestamp, this: Weak<Self>) -> Self {
        Self {
            epoch,
            wall: None,
            state: Mutex::new(State {
                elapsed: Duration::ZERO,
                sleepers: BTreeMap::new(),
                arrivals: 0,
                moved: false,
            }),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            activity: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            changed: Notify::new(),
            this,
        }
    }

    /// Time since the clock began: what was jumped, and what passed on the wall.
    fn elapsed(&self) -> Duration {
        let passed = self.wall.as_ref().map_or(Duration::ZERO, |wall| wall.clock.monotonic());
        self.state.lock().elapsed + passed
    }

    /// A clock on which time passes as on the wall, from `epoch` on; events of the simulated world take `speed` times less
    /// than they say. It needs no [`run`](Self::run).
    pub fn on_the_wall(epoch: Timestamp, speed: u32) -> Arc<Self> {
        let wall = Wall { clock: SystemClock::new(), speed: speed.max(1) };
        Arc::new_cyclic(|this| Self { wall: Some(wall), ..Self::new(epoch, this.clone()) })
    }

    /// Holds time still until the guard is dropped.
    pub fn busy(&self) -> Option<Busy> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        self.this.upgrade().map(Busy)
    }

    /// Lets time pass until the guard is dropped, for a client that waits without a deadline on this clock, such as by a watch.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
        self.this.upgrade().map(Waiting)
    }

    /// Tells that something happened: the world is not idle right now.
    pub fn touch(&self) {
        self.activity.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Bytes left for the other end of a connection.
    pub fn sent(&self, bytes: usize) {
        self.under_way.fetch_add(bytes, Ordering::SeqCst);
        self.touch();
    }

    /// Bytes were read, or nobody will.
    pub fn arrived(&self, bytes: usize) {
        self.under_way.fetch_sub(bytes, Ordering::SeqCst);
        self.touch();
    }

    /// Completes when `span` has passed in the simulated world; for the world's own events.
    pub fn event_in(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.enter(span, Sleeper::Event)
    }

    /// Lets time jump: events that are due on the way fire in order. Deadlines keep the time that they have left, as a
    /// client's patience does when somebody sets the clock of its machine.
    pub fn advance(&self, span: Duration) {
        let until = {
            let mut state = self.state.lock();
            state.postpone_deadlines(span);
            state.elapsed.saturating_add(span)
        };
        while self.fire_next(until) {}
        let mut state = self.state.lock();
        state.elapsed = state.elapsed.max(until);
    }

    /// Lets time jump while the world is idle; runs until the clock is dropped.
    #[expect(clippy::disallowed_methods, reason = "idleness is measured in real time")]
    pub async fn run(this: Weak<Self>) {
        let mut abandoned = 0;
        loop {
            let Some(clock) = this.upgrade() else { return };
            let next = {
                let state = clock.state.lock();
                // Time passes only while somebody waits: a client that computes finds the world as it left it.
                let awaited = clock.waiting.load(Ordering::SeqCst) > 0
                    || state.sleepers.values().any(|(kind, _)| *kind == Sleeper::Deadline);
                let next = state.sleepers.iter().next();
                next.filter(|_| awaited).map(|(key, (kind, _))| (key.0, *kind))
            };
            let Some((due, kind)) = next else {
                // Parked until somebody waits; the bounded wait lets a dropped clock end this task.
                let _ = tokio::time::timeout(Duration::from_millis(500), clock.changed.notified())
                    .await;
                continue;
            };
            let grace = if kind == Sleeper::Event { EVENT_GRACE } else { DEADLINE_GRACE };
            let seen = clock.activity.load(Ordering::SeqCst);
            if kind == Sleeper::Deadline {
                // Whatever happens meanwhile may bring an event that is due before.
                tokio::select! {
                    () = tokio::time::sleep(grace) => {}
                    () = clock.changed.notified() => continue,
                }
            } else {
                tokio::time::sleep(grace).await;
            }
            let quiet = clock.busy.load(Ordering::SeqCst) == 0
                && clock.activity.load(Ordering::SeqCst) == seen;
            let under_way = clock.under_way.load(Ordering::SeqCst);
            abandoned = abandoned.min(under_way);
            if quiet && under_way > abandoned {
                tokio::select! {
                    () = tokio::time::sleep(STALLED) => abandoned = under_way,
                    () = clock.changed.notified() => continue,
                }
            }
            if quiet {
                clock.fire_next(due);
            }
        }
    }

    fn enter(&self, span: Duration, kind: Sleeper) -> BoxFuture<'static, ()> {
        if let Some(wall) = &self.wall {
            let faster = if kind == Sleeper::Event { wall.speed } else { 1 };
            // A timer may be set by a thread that is outside of the runtime; it is awaited inside.
            return Box::pin(async move { SystemClock::new().sleep(span / faster).await });
        }
        let (wake, woken) = oneshot::channel();
        let key = {
            let mut state = self.state.lock();
            state.arrivals += 1;
            let key = (state.elapsed.saturating_add(span), state.arrivals);
            state.sleepers.insert(key, (kind, wake));
            key
        };
        self.touch();
        let leave = Leave { clock: self.this.clone(), key };
        Box::pin(async move {
            // A dropped clock fires nothing any more: its world is gone and so is the wait.
            let _ = woken.await;
            drop(leave);
        })
    }

    fn fire_next(&self, until: Duration) -> bool {
        let mut state = self.state.lock();
        let Some((&key, _)) = state.sleepers.iter().next() else { return false };
        if key.0 > until {
            return false;
        }
        state.elapsed = state.elapsed.max(key.0);
        let fired = state.sleepers.remove(&key);
        drop(state);
        if let Some((_, wake)) = fired {
            let _ = wake.send(());
        }
        self.touch();
        true
    }
}

/// Removes a sleeper whose future was dropped, so that nothing jumps to a time nobody waits for.
struct Leave {
    clock: Weak<VirtualClock>,
    key: (Duration, u64),
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(clock) = self.clock.upgrade() {
            clock.state.lock().leave(self.key);
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.epoch.checked_add(self.elapsed()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.enter(span, Sleeper::Deadline)
    }

    fn pause(&self, span: Duration) -> BoxFuture<'static, ()> {
        let waiting = self.waiting();
        let event = self.event_in(span);
        Box::pin(async move {
            event.await;
            drop(waiting);
        })
    }

    fn touch(&self) {
        Self::touch(self);
    }

    fn working(&self) -> Option<Working> {
        Some(Box::new(self.busy()?))
    }
}
