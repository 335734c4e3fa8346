//! The state of a run that core functions share: parameters, which steps are done, the session's mode.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rhai::{Dynamic, Map};
use serde_json::Value;

use crate::config::{Settings, StepFilter};

/// A parameter that a script declared.
#[derive(Clone, Debug)]
pub struct Declared {
    pub script: String,
    pub name: String,
    pub default: Dynamic,
    pub doc: String,
}

/// What `run_script` hands to a script.
#[derive(Debug, Default)]
pub struct Frame {
    pub params: Map,
}

thread_local! {
    /// The script that this thread runs, innermost last.
    static FRAMES: RefCell<Vec<Arc<Frame>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a step is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Do,
    /// With the reason for the report.
    Skip(&'static str),
}

/// The state of one run.
pub struct Run {
    set: BTreeMap<String, String>,
    values: BTreeMap<String, Value>,
    steps: StepFilter,
    used: Mutex<BTreeSet<String>>,
    declared: Mutex<Vec<Declared>>,
    from_reached: AtomicBool,
    /// Paths of all steps met, for near names.
    met: Mutex<BTreeSet<String>>,
    matched: Mutex<BTreeSet<String>>,
    read_only: AtomicBool,
    failed_step: Mutex<Option<String>>,
}

impl Run {
    /// The state at the start.
    pub fn new(settings: &Settings) -> Self {
        Self {
            set: settings.set.iter().cloned().collect(),
            values: settings.values.clone(),
            steps: settings.steps.clone(),
            used: Mutex::default(),
            declared: Mutex::default(),
            from_reached: AtomicBool::new(settings.steps.from.is_none()),
            met: Mutex::default(),
            matched: Mutex::default(),
            read_only: AtomicBool::new(settings.read_only),
            failed_step: Mutex::default(),
        }
    }

    /// Whether functions that write are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Allows or refuses functions that write.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Notes a parameter that a script declared.
    pub fn declare(&self, declared: Declared) {
        self.used.lock().insert(declared.name.clone());
        self.declared.lock().push(declared);
    }

    /// What the calling script gave for a parameter.
    pub fn given(&self, name: &str) -> Option<Dynamic> {
        FRAMES.with_borrow(|frames| frames.last()?.params.get(name).cloned())
    }

    /// What `--set` gave for a parameter.
    pub fn set(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }

    /// What `--values` or `meshscript.toml` gave for a parameter.
    pub fn values(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Names of `--set` that no script declared, and the names that were declared.
    pub fn unused(&self) -> (Vec<String>, Vec<String>) {
        let used = self.used.lock();
        (
            self.set.keys().filter(|name| !used.contains(*name)).cloned().collect(),
            used.iter().cloned().collect(),
        )
    }

    /// Whether the step of this path is done.
    pub fn decide(&self, path: &str) -> Decision {
        self.met.lock().insert(path.to_owned());
        let StepFilter { only, skip, from } = &self.steps;
        let mut matches = |pattern: &String| {
            let found = fits(path, pattern);
            if found {
                self.matched.lock().insert(pattern.clone());
            }
            found
        };
        if skip.iter().any(&mut matches) {
            return Decision::Skip("--skip");
        }
        if !only.is_empty() {
            let inside = only.iter().any(|pattern| is_inside(path, pattern));
            let chosen = only.iter().any(&mut matches)
                || inside
                || only.iter().any(|pattern| leads_to(path, pattern));
            if !chosen {
                return Decision::Skip("not in --only");
            }
        }
        if let Some(from) = from
            && !self.from_reached.load(Ordering::SeqCst)
        {
            if matches(from) {
                self.from_reached.store(true, Ordering::SeqCst);
            } else if !leads_to(path, from) {
                return Decision::Skip("before --from");
            }
        }
        Decision::Do
    }

    /// Patterns of `--only`, `--skip` and `--from` that met no step, and the paths that were met.
    pub fn unmatched(&self) -> (Vec<String>, Vec<String>) {
        let matched = self.matched.lock();
        let StepFilter { only, skip, from } = &self.steps;
        let patterns = only.iter().chain(skip).chain(from);
        (
            patterns.filter(|pattern| !matched.contains(*pattern)).cloned().collect(),
            self.met.lock().iter().cloned().collect(),
        )
    }

    /// Notes the step that failed first.
    pub fn note_failure(&self, path: &str) {
        self.failed_step.lock().get_or_insert_with(|| path.to_owned());
    }

    /// Forgets a failure that the script caught.
    pub fn forget_failure(&self) {
        self.failed_step.lock().take();
    }

    /// The step from which a rerun would go on.
    pub fn failed_step(&self) -> Option<String> {
        self.failed_step.lock().clone()
    }
}

/// Whether a path is the step that a pattern means: the whole path, or its last parts.
fn fits(path: &str, pattern: &str) -> bool {
    path == pattern || path.strip_suffix(pattern).is_some_and(|before| before.ends_with('/'))
}

/// Whether a step lies inside of one that the pattern means.
fn is_inside(path: &str, pattern: &str) -> bool {
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        if fits(parent, pattern) {
            return true;
        }
        above = parent;
    }
    false
}

/// Whether a step contains the one that the pattern means.
fn leads_to(path: &str, pattern: &str) -> bool {
    pattern.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

/// The frames of this thread, to be handed to a branch.
pub fn frames() -> Vec<Arc<Frame>> {
    FRAMES.with_borrow(Clone::clone)
}

/// Gives this thread the frames of another.
pub fn adopt_frames(frames: Vec<Arc<Frame>>) {
    FRAMES.set(frames);
}

/// Runs something as the inside of a script with these parameters.
pub fn with_params<T>(params: Map, inside: impl FnOnce() -> T) -> T {
    FRAMES.with_borrow_mut(|frames| frames.push(Arc::new(Frame { params })));
    let done = inside();
    FRAMES.with_borrow_mut(Vec::pop);
    done
}
