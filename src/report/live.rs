//! Lines on a terminal that are redrawn while something goes on: the waits of the moment and why they wait.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use super::state::StepId;
use crate::base::duration::human;
use crate::base::progress::Waiting;

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// The redrawn lines; off, it does nothing.
pub(super) struct Live {
    bars: Option<MultiProgress>,
    steps: Mutex<BTreeMap<StepId, ProgressBar>>,
    waits: Mutex<BTreeMap<String, ProgressBar>>,
    style: ProgressStyle,
}

impl Live {
    pub(super) fn new(on: bool, color: bool) -> Self {
        let template = if color { "{spinner:.cyan} {wide_msg}" } else { "{spinner} {wide_msg}" };
        Self {
            bars: on
                .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12))),
            steps: Mutex::default(),
            waits: Mutex::default(),
            style: ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.bars.is_some()
    }

    /// Writes ordinary lines while the redrawn ones are away.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn bar(&self, bars: &MultiProgress, message: String) -> ProgressBar {
        let bar = bars.add(ProgressBar::new_spinner().with_style(self.style.clone()));
        bar.set_message(message);
        bar.enable_steady_tick(TURN);
        bar
    }

    pub(super) fn step_started(&self, id: StepId, path: &str) {
        if let Some(bars) = &self.bars {
            let bar = self.bar(bars, path.to_owned());
            self.steps.lock().insert(id, bar);
        }
    }

    pub(super) fn step_ended(&self, id: StepId) {
        if let Some(bar) = self.steps.lock().remove(&id) {
            bar.finish_and_clear();
        }
    }

    pub(super) fn waiting(&self, waiting: &Waiting, _: Option<StepId>) {
        let Some(bars) = &self.bars else { return };
        let message = if waiting.reason.is_empty() {
            format!("  {} ({})", waiting.what, human(waiting.since))
        } else {
            format!("  {} ({}) — {}", waiting.what, human(waiting.since), waiting.reason)
        };
        let mut waits = self.waits.lock();
        match waits.get(&waiting.what) {
            Some(bar) => bar.set_message(message),
            None => {
                let bar = self.bar(bars, message);
                waits.insert(waiting.what.clone(), bar);
            }
        }
    }

    pub(super) fn waited(&self, what: &str) {
        if let Some(bar) = self.waits.lock().remove(what) {
            bar.finish_and_clear();
        }
    }

    /// Takes every redrawn line away.
    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            std::mem::take(&mut *self.waits.lock())
                .into_values()
                .for_each(|bar| bar.finish_and_clear());
            std::mem::take(&mut *self.steps.lock())
                .into_values()
                .for_each(|bar| bar.finish_and_clear());
            let _ = bars.clear();
        }
    }
}
