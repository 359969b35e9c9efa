//! What must be true of the events of every run, whatever ran and however it went. Every test of
//! the machine, and every test of the driver that has an observer, feeds one.

use std::sync::Arc;

use holdpoint_core::Monotonic;
use holdpoint_hold::Mode;

use super::rig::outcome_text;
use crate::{
    Counts, EdgeKind, Hold, Outcome, Report, SkipCause, Source, TaskEvent, TaskEventKind, TaskId,
    Topology,
};

/// What the events have said of a task so far.
#[derive(Debug, Default, Clone)]
struct Seen {
    gate: bool,
    missed: bool,
    waits: bool,
    holds: bool,
    started: bool,
    retries: u32,
    end: Option<Outcome>,
    /// It had ended before the run.
    known: bool,
}

/// Takes in the events of a run, one after the other.
pub(super) struct Audit {
    topology: Arc<Topology>,
    predecessors: Vec<Vec<(TaskId, EdgeKind)>>,
    seen: Vec<Seen>,
    now: Monotonic,
}

impl Audit {
    pub(super) fn new(topology: &Arc<Topology>) -> Self {
        Self {
            predecessors: predecessors(topology),
            seen: vec![Seen::default(); topology.len()],
            now: Monotonic::ZERO,
            topology: Arc::clone(topology),
        }
    }

    /// The task had ended before the run: it does nothing but end, whenever.
    pub(super) fn knows(&mut self, task: TaskId) {
        self.seen[task.index()].known = true;
    }

    /// # Panics
    /// Where the event does not fit those before it.
    pub(super) fn take(&mut self, event: &TaskEvent) {
        let task = event.task;
        let name = self.topology.name(task).to_owned();
        assert!(event.at >= self.now, "{name}: time went back");
        self.now = event.at;
        let before = self.seen[task.index()].clone();
        assert!(before.end.is_none(), "{name}: {:?} after its end", event.kind);
        if before.known {
            let TaskEventKind::Ended(end) = &event.kind else {
                panic!("{name}: {:?} although it had ended", event.kind)
            };
            self.seen[task.index()].end = Some(end.clone());
            return;
        }
        let began = match &event.kind {
            TaskEventKind::Ended(outcome) => {
                let skipped = matches!(outcome, Outcome::Skipped(SkipCause::Condition(_)));
                skipped || !matches!(outcome, Outcome::Skipped(_) | Outcome::Cancelled { .. })
            }
            _ => true,
        };
        assert!(!began || self.may_begin(task), "{name}: {:?} before its turn", event.kind);
        let seen = &mut self.seen[task.index()];
        match &event.kind {
            TaskEventKind::GateAwaited => {
                assert!(!before.gate && !before.missed && !before.started, "{name}: a late gate");
                seen.gate = true;
            }
            TaskEventKind::Miss => {
                assert!(!before.missed && !before.started, "{name}: a late miss");
                seen.missed = true;
            }
            TaskEventKind::HoldWaiting => {
                assert!(!before.waits && !before.holds, "{name}: waits twice");
                seen.waits = true;
            }
            TaskEventKind::HoldAcquired => {
                assert!(!before.holds, "{name}: acquired twice");
                (seen.waits, seen.holds) = (false, true);
                self.check_holders(task);
            }
            TaskEventKind::HoldReleased => {
                assert!(before.holds, "{name}: released what it had not");
                seen.holds = false;
            }
            TaskEventKind::Started => {
                assert!(!before.started, "{name}: started twice");
                let needs_holds = !self.topology.holds(task).is_empty();
                assert_eq!(before.holds, needs_holds, "{name}: started without its holds");
                seen.started = true;
            }
            TaskEventKind::Retry { attempt, .. } => {
                assert!(before.started && !before.holds, "{name}: an early retry");
                assert_eq!(*attempt, before.retries + 2, "{name}: attempts in order");
                seen.retries += 1;
            }
            TaskEventKind::Ended(outcome) => {
                assert!(!before.holds, "{name}: ended with a hold");
                seen.end = Some(outcome.clone());
                self.check_end(task, &before, outcome);
            }
        }
    }

    /// Whether everything before `task` has ended, and well where it must.
    fn may_begin(&self, task: TaskId) -> bool {
        self.predecessors[task.index()].iter().all(|&(before, kind)| {
            let end = self.seen[before.index()].end.as_ref();
            end.is_some_and(|end| kind != EdgeKind::Hard || end.is_success())
        })
    }

    fn check_end(&self, task: TaskId, before: &Seen, outcome: &Outcome) {
        let name = self.topology.name(task);
        match outcome {
            Outcome::Succeeded(Source::Fresh) => assert!(before.started, "{name}: never started"),
            Outcome::Succeeded(Source::Cache) => {
                assert!(!before.started && !before.missed, "{name}: a hit that executed");
            }
            Outcome::Skipped(cause) => {
                assert!(!before.started, "{name}: skipped after it started");
                if let SkipCause::Upstream { root, .. } = cause {
                    let end = self.seen[root.index()].end.as_ref();
                    assert!(end.is_some_and(|end| !end.is_success()), "{name}: a wrong root");
                    assert!(self.needs(task, *root), "{name}: it does not need its root");
                }
            }
            Outcome::Failed { .. } | Outcome::Errored { .. } | Outcome::Cancelled { .. } => {}
        }
    }

    /// Whether `task` needs `root`, directly or through others.
    fn needs(&self, task: TaskId, root: TaskId) -> bool {
        let mut todo = vec![task];
        let mut known = vec![false; self.seen.len()];
        while let Some(task) = todo.pop() {
            if task == root {
                return true;
            }
            for &(before, kind) in &self.predecessors[task.index()] {
                if kind == EdgeKind::Hard && !std::mem::replace(&mut known[before.index()], true) {
                    todo.push(before);
                }
            }
        }
        false
    }

    /// Whether all who have the holds of `task` now go together.
    fn check_holders(&self, task: TaskId) {
        for hold in self.topology.holds(task) {
            let same = |other: &&Hold| (other.scope(), other.name()) == (hold.scope(), hold.name());
            let holders = (0..self.seen.len()).filter(|&other| self.seen[other].holds);
            let modes: Vec<Mode> = holders
                .flat_map(|other| self.topology.holds(TaskId(other as u32)).iter().filter(same))
                .map(Hold::mode)
                .collect();
            let units = modes.iter().map(|mode| if let Mode::Units(n) = mode { *n } else { 0 });
            let capacity = self.topology.capacities.iter();
            let capacity = capacity
                .filter(|(scope, name, _)| (scope, name.as_str()) == (hold.scope(), hold.name()));
            let most = capacity.map(|(_, _, units)| *units).next().unwrap_or(0);
            let name = self.topology.name(task);
            assert!(units.sum::<u32>() <= most, "{name}: more units of {hold:?} than there are");
            let alone = modes.len() == 1 || !modes.contains(&Mode::Exclusive);
            assert!(alone, "{name}: {hold:?} is held by another");
        }
    }

    /// # Panics
    /// Where the report says something else than the events did.
    pub(super) fn compare(&self, report: &Report) {
        assert_eq!(report.rows().len(), self.seen.len(), "one row a task");
        let mut counts = Counts::default();
        let mut good = true;
        for (index, seen) in self.seen.iter().enumerate() {
            let task = TaskId(index as u32);
            let row = report.row(task);
            let end = seen.end.as_ref().unwrap_or_else(|| panic!("{}: no end", row.task));
            let text = |outcome| outcome_text(&self.topology, outcome);
            assert_eq!(text(&row.outcome), text(end), "{}", row.task);
            assert_eq!(row.started.is_some(), seen.started, "{}", row.task);
            // The last attempt that was told of may not have begun.
            let told = u32::from(seen.started) + seen.retries;
            assert!((told - u32::from(seen.retries > 0)..=told).contains(&row.attempts));
            good &= match end {
                Outcome::Succeeded(_) => true,
                Outcome::Failed { allowed, .. } | Outcome::Errored { allowed, .. } => *allowed,
                Outcome::Skipped(cause) => !matches!(cause, SkipCause::Stopped { .. }),
                Outcome::Cancelled { .. } => false,
            };
            *match end {
                Outcome::Succeeded(Source::Fresh) => &mut counts.fresh,
                Outcome::Succeeded(Source::Cache) => &mut counts.cached,
                Outcome::Failed { allowed: true, .. } | Outcome::Errored { allowed: true, .. } => {
                    &mut counts.allowed
                }
                Outcome::Failed { .. } => &mut counts.failed,
                Outcome::Errored { .. } => &mut counts.errored,
                Outcome::Skipped(_) => &mut counts.skipped,
                Outcome::Cancelled { .. } => &mut counts.cancelled,
            } += 1;
        }
        assert_eq!(report.counts(), counts);
        assert_eq!(report.is_success(), good, "the run's outcome is the fold of its tasks'");
    }
}

fn predecessors(topology: &Topology) -> Vec<Vec<(TaskId, EdgeKind)>> {
    let mut predecessors = vec![Vec::new(); topology.len()];
    for task in topology.tasks() {
        for (after, kind) in topology.successors(task) {
            predecessors[after.index()].push((task, kind));
        }
    }
    predecessors
}
