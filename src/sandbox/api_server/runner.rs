//! Runs the controllers after each write, one at a time, until nothing is left to do.
//!
//! They run on a thread of their own: a client's write returns at once. From the write until the work it causes is done
//! the cluster's clock stands still, so that no time passes between a cause and its effect. Retries and requeues are
//! events of the clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::ApiServer;
use crate::base::virtual_clock::{Busy, VirtualClock};
use crate::sandbox::api::{Changed, Controller, Requeue, Resource};
use crate::sandbox::store::{GroupResource, StoredObject};

/// Reconciliations after one change before the runner takes it for a loop of controllers that disagree.
const MAX_STEPS: usize = 20_000;
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What a controller looks at: the controller's number, namespace, name.
type Key = (usize, String, String);

enum Message {
    Change(Change),
    Due(Key, Option<Busy>),
    /// Something beside the store changed for an object of the controller of that name.
    Wake(&'static str, String, String, Option<Busy>),
    Stop,
}

/// A write, parsed where it is looked at.
struct Change {
    resource: Arc<GroupResource>,
    event: crate::sandbox::api::EventType,
    object: Arc<StoredObject>,
    _busy: Option<Busy>,
}

/// The thread of the controllers; ends when dropped.
pub(crate) struct Runner {
    sender: Sender<Message>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Runner {
    /// Starts the controllers. They are told of every write from here on; `runtime` carries their timers.
    pub(crate) fn start(
        server: &Arc<ApiServer>,
        controllers: Vec<Box<dyn Controller>>,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let clock = server.clock.clone();
        let changes = Mutex::new(sender.clone());
        server.store.on_change(Box::new(move |event| {
            let change = Change {
                resource: event.resource.clone(),
                event: event.event,
                object: event.object.clone(),
                _busy: clock.busy(),
            };
            // Nobody listens any more when the cluster ends.
            let _ = changes.lock().send(Message::Change(change));
        }));
        let work = Work {
            server: Arc::downgrade(server),
            clock: Arc::downgrade(&server.clock),
            controllers,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            failures: BTreeMap::new(),
            timers: BTreeSet::new(),
            sender: sender.clone(),
            runtime,
        };
        let thread = std::thread::Builder::new()
            .name("controllers".to_owned())
            .spawn(move || work.run(&receiver))?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)) })
    }
}

/// Lets a controller look at an object although nothing was written: the world beside the store changed.
#[derive(Clone)]
pub(crate) struct Waker {
    sender: Sender<Message>,
    clock: Weak<VirtualClock>,
}

impl Waker {
    /// Time stands still until the controller has looked.
    pub(crate) fn wake(&self, controller: &'static str, namespace: &str, name: &str) {
        let busy = self.clock.upgrade().and_then(|clock| clock.busy());
        let message = Message::Wake(controller, namespace.to_owned(), name.to_owned(), busy);
        // Nobody listens any more when the cluster ends.
        let _ = self.sender.send(message);
    }
}

impl Runner {
    /// Wakes its controllers.
    pub(crate) fn waker(&self, server: &ApiServer) -> Waker {
        Waker { sender: self.sender.clone(), clock: Arc::downgrade(&server.clock) }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.sender.send(Message::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

struct Work {
    server: Weak<ApiServer>,
    clock: Weak<VirtualClock>,
    controllers: Vec<Box<dyn Controller>>,
    queue: VecDeque<Key>,
    queued: BTreeSet<Key>,
    failures: BTreeMap<Key, u32>,
    /// Keys that a timer brings back.
    timers: BTreeSet<(Key, Duration)>,
    sender: Sender<Message>,
    runtime: tokio::runtime::Handle,
}

impl Work {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut held = Vec::new();
        let mut steps = 0;
        loop {
            let message = if self.queue.is_empty() {
                // Time goes on while nothing is queued.
                match receiver.try_recv() {
                    Ok(message) => Some(message),
                    Err(_) => {
                        held.clear();
                        steps = 0;
                        receiver.recv().ok()
                    }
                }
            } else {
                receiver.try_recv().ok()
            };
            match message {
                Some(Message::Stop) => return,
                Some(Message::Change(change)) => self.look_at(&change, &mut held),
                Some(Message::Due(key, busy)) => {
                    held.extend(busy);
                    self.timers.retain(|(timed, _)| *timed != key);
                    self.enqueue(key);
                }
                Some(Message::Wake(controller, namespace, name, busy)) => {
                    held.extend(busy);
                    let index = self.controllers.iter().position(|one| one.name() == controller);
                    if let Some(index) = index {
                        self.enqueue((index, namespace, name));
                    }
                }
                None if self.queue.is_empty() => return,
                None => {
                    steps += 1;
                    if steps > MAX_STEPS {
                        self.give_up();
                        steps = 0;
                    } else {
                        self.step();
                    }
                }
            }
        }
    }

    fn look_at(&mut self, change: &Change, held: &mut Vec<Busy>) {
        let Some(server) = self.server.upgrade() else { return };
        held.extend(server.clock.busy());
        if held.len() > 2 {
            held.swap_remove(0);
        }
        let object = server.store.value(&change.object);
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let resource = Resource::new(&change.resource.group, version, &change.resource.plural);
        let changed = Changed { resource, event: change.event, object };
        for index in 0..self.controllers.len() {
            for (namespace, name) in self.controllers[index].keys(&*server, &changed) {
                self.enqueue((index, namespace, name));
            }
        }
    }

    fn enqueue(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.queue.push_back(key);
        }
    }

    fn step(&mut self) {
        let Some(key) = self.queue.pop_front() else { return };
        self.queued.remove(&key);
        let Some(server) = self.server.upgrade() else { return };
        let (index, namespace, name) = &key;
        match self.controllers[*index].reconcile(&*server, namespace, name) {
            Ok(requeue) => {
                self.failures.remove(&key);
                if let Requeue::After(span) = requeue {
                    self.come_back(key, span);
                }
            }
            Err(_) => {
                let failures = self.failures.entry(key.clone()).or_default();
                let span =
                    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(*failures)).min(LAST_RETRY);
                *failures += 1;
                self.come_back(key, span);
            }
        }
    }

    /// Looks at a key again when `span` of the cluster's time has passed.
    fn come_back(&mut self, key: Key, span: Duration) {
        let Some(clock) = self.clock.upgrade() else { return };
        // The same wish again, of a key that was looked at in between, is one timer.
        if !self.timers.insert((key.clone(), span)) {
            return;
        }
        let due = clock.event_in(span);
        let sender = self.sender.clone();
        let weak = Arc::downgrade(&clock);
        self.runtime.spawn(async move {
            due.await;
            let busy = weak.upgrade().and_then(|clock| clock.busy());
            let _ = sender.send(Message::Due(key, busy));
        });
    }

    fn give_up(&mut self) {
        if let Some(server) = self.server.upgrade() {
            let names: BTreeSet<&str> =
                self.queue.iter().map(|(index, _, _)| self.controllers[*index].name()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            server.note_not_modelled(&format!(
                "controllers that never come to rest: {}",
                names.join(", ")
            ));
        }
        self.queue.clear();
        self.queued.clear();
    }
}
