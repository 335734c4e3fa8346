//! The step tree of a run and what was counted on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{CheckResult, Outcome, TargetLine};
use super::style::Style;
use crate::base::duration::human;
use crate::base::object_ref::ObjectRef;
use crate::base::progress::{Change, Waiting};

/// A step of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId(usize);

/// Waits shorter than this on the target's clock are not worth a line.
const QUIET_WAIT: Duration = Duration::from_secs(5);
/// Real time after which a wait that goes on is told again, so that nobody takes the run for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What happened to objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub created: usize,
    pub configured: usize,
    pub deleted: usize,
    pub unchanged: usize,
}

impl Counts {
    fn add(&mut self, change: Change) {
        match change {
            Change::Created => self.created += 1,
            Change::Configured => self.configured += 1,
            Change::Deleted => self.deleted += 1,
            Change::Unchanged => self.unchanged += 1,
        }
    }

    /// Objects that were written.
    pub fn changed(&self) -> usize {
        self.created + self.configured + self.deleted
    }

    /// `3 created, 1 unchanged`, empty when nothing happened.
    pub fn text(&self) -> String {
        [
            (self.created, "created"),
            (self.configured, "configured"),
            (self.deleted, "deleted"),
            (self.unchanged, "unchanged"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    parent: Option<StepId>,
    started: Duration,
    pub(super) span: Duration,
    pub(super) outcome: Option<Outcome>,
    /// Whether its name stands above its children already.
    headed: bool,
    pub(super) counts: Counts,
}

/// The tree and the counts.
#[derive(Debug, Default)]
pub struct State {
    pub(super) target: Option<TargetLine>,
    pub(super) steps: Vec<Step>,
    pub(super) total: Counts,
    pub(super) checks: Vec<CheckResult>,
    pub(super) facts: Vec<(String, String)>,
    warnings: BTreeSet<String>,
    /// For each wait: its last reason and when it was told.
    waits: BTreeMap<String, (Vec<String>, Duration)>,
    /// Objects by name, so that one written twice counts once.
    objects: BTreeMap<ObjectRef, Change>,
}

impl State {
    pub(super) fn start(&mut self, name: &str, parent: Option<StepId>, now: Duration) -> StepId {
        self.steps.push(Step {
            name: name.to_owned(),
            parent,
            started: now,
            span: Duration::ZERO,
            outcome: None,
            headed: false,
            counts: Counts::default(),
        });
        StepId(self.steps.len() - 1)
    }

    pub(super) fn end(&mut self, id: StepId, outcome: Outcome, now: Duration) {
        let step = &mut self.steps[id.0];
        step.outcome = Some(outcome);
        step.span = now.saturating_sub(step.started);
    }

    pub(super) fn parent(&self, id: StepId) -> Option<StepId> {
        self.steps[id.0].parent
    }

    pub(super) fn depth(&self, id: StepId) -> usize {
        let mut depth = 0;
        let mut step = self.steps[id.0].parent;
        while let Some(id) = step {
            depth += 1;
            step = self.steps[id.0].parent;
        }
        depth
    }

    pub(super) fn path(&self, id: StepId) -> String {
        let mut names = vec![self.steps[id.0].name.as_str()];
        let mut step = self.steps[id.0].parent;
        while let Some(id) = step {
            names.push(&self.steps[id.0].name);
            step = self.steps[id.0].parent;
        }
        names.reverse();
        names.join("/")
    }

    /// The steps from the outermost to `id` whose names do not stand in the output yet; they do from now on.
    pub(super) fn open_headings(&mut self, id: Option<StepId>) -> Vec<(usize, String)> {
        let mut headings = Vec::new();
        let mut step = id;
        while let Some(id) = step {
            if self.steps[id.0].headed {
                break;
            }
            self.steps[id.0].headed = true;
            headings.push((self.depth(id), self.steps[id.0].name.clone()));
            step = self.steps[id.0].parent;
        }
        headings.reverse();
        headings
    }

    pub(super) fn step_line(&self, id: StepId, style: &Style, timings: bool) -> String {
        let step = &self.steps[id.0];
        let mut notes = step.counts.text();
        if timings {
            if !notes.is_empty() {
                notes.push_str(", ");
            }
            notes.push_str(&human(step.span));
        }
        style.step(self.depth(id), &step.name, step.outcome.unwrap_or(Outcome::Done), &notes)
    }

    pub(super) fn skipped_line(&self, id: StepId, reason: &str, style: &Style) -> String {
        style.step(self.depth(id), &self.steps[id.0].name, Outcome::Skipped, reason)
    }

    pub(super) fn object(&mut self, step: Option<StepId>, object: &ObjectRef, change: Change) {
        let mut step = step;
        while let Some(id) = step {
            self.steps[id.0].counts.add(change);
            step = self.steps[id.0].parent;
        }
        self.total.add(change);
        self.objects.insert(object.clone(), change);
    }

    pub(super) fn fact(&mut self, label: &str, value: &str) {
        match self.facts.iter_mut().find(|(known, _)| known == label) {
            Some((_, old)) => value.clone_into(old),
            None => self.facts.push((label.to_owned(), value.to_owned())),
        }
    }

    /// Whether the warning was not given yet.
    pub(super) fn warn(&mut self, text: &str) -> bool {
        self.warnings.insert(text.to_owned())
    }

    /// Whether a wait is worth a line now.
    pub(super) fn wait_is_news(&mut self, waiting: &Waiting, now: Duration) -> bool {
        if waiting.since < QUIET_WAIT {
            return false;
        }
        match self.waits.get_mut(&waiting.what) {
            Some((reasons, told)) => {
                // A reason that comes and goes, such as the two words of an image that cannot be pulled, is told once.
                let is_new = !reasons.contains(&waiting.reason);
                let news = is_new || now.saturating_sub(*told) >= HEARTBEAT;
                if is_new {
                    reasons.push(waiting.reason.clone());
                }
                if news {
                    *told = now;
                }
                news
            }
            None => {
                self.waits.insert(waiting.what.clone(), (vec![waiting.reason.clone()], now));
                true
            }
        }
    }

    pub(super) fn waited(&mut self, what: &str) {
        self.waits.remove(what);
    }

    /// Steps by how they ended: done, failed, skipped. Only the innermost ones count.
    pub(super) fn outcomes(&self) -> (usize, usize, usize) {
        let parents: BTreeSet<StepId> = self.steps.iter().filter_map(|step| step.parent).collect();
        let count = |outcome| {
            self.steps
                .iter()
                .enumerate()
                .filter(|(index, step)| {
                    step.outcome == Some(outcome) && !parents.contains(&StepId(*index))
                })
                .count()
        };
        (count(Outcome::Done), count(Outcome::Failed), count(Outcome::Skipped))
    }

    /// Every step with its path.
    pub(super) fn paths(&self) -> impl Iterator<Item = (String, &Step)> {
        self.steps.iter().enumerate().map(|(index, step)| (self.path(StepId(index)), step))
    }

    pub(super) fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }
}
