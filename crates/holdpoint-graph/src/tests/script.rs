//! Scenarios of a few lines on the machine: what happens is called by task name, what follows is
//! given as lines.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{CancelCode, CancelInfo, Monotonic, Timestamp};

use super::rig::{Life, Rig, outcome_text};
use crate::{
    Gate, Input, Limits, Lookup, OnFailure, Report, TaskEnd, TaskFailure, TaskId, Topology,
    TopologyBuilder,
};

/// A graph with the settings of its run.
pub(super) struct Script {
    topology: Arc<Topology>,
    limits: Limits,
    on_failure: OnFailure,
    grace: Option<Duration>,
    life: Life,
}

/// Without limits, keeping going, with a grace of five seconds.
pub(super) fn script(define: impl FnOnce(&mut TopologyBuilder)) -> Script {
    let mut builder = Topology::builder();
    define(&mut builder);
    Script {
        topology: Arc::new(builder.build().expect("a good graph")),
        limits: Limits::unlimited(),
        on_failure: OnFailure::KeepGoing,
        grace: Some(Duration::from_secs(5)),
        life: Life::default(),
    }
}

impl Script {
    pub(super) fn jobs(self, slots: u32) -> Self {
        self.limits(Limits::jobs(slots))
    }

    pub(super) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    pub(super) fn without_grace(mut self) -> Self {
        self.grace = None;
        self
    }

    /// With recorded ends.
    pub(super) fn recorded(mut self) -> Self {
        self.life.recorded = true;
        self
    }

    /// The task had ended in an earlier life.
    pub(super) fn known(mut self, task: &str, end: TaskEnd) -> Self {
        let task = self.topology.find(task).unwrap_or_else(|| panic!("no task {task}"));
        self.life.known.push((task, end));
        self
    }

    /// Starts the run; gives what followed too.
    pub(super) fn start(self) -> (Run, Vec<String>) {
        let mut run = self.unstarted();
        let lines = run.begins();
        (run, lines)
    }

    pub(super) fn unstarted(self) -> Run {
        let Self { topology, limits, on_failure, grace, life } = self;
        Run { rig: Rig::new(topology, &limits, on_failure, grace, life) }
    }

    /// Starts a run whose first lines are not of interest.
    pub(super) fn run(self) -> Run {
        self.start().0
    }
}

/// A run under way. Tickets that become due are told at once, as the driver does.
pub(super) struct Run {
    rig: Rig,
}

impl Run {
    pub(super) fn begins(&mut self) -> Vec<String> {
        self.step(Input::Start(Timestamp::from_micros(0)))
    }

    /// The end of the task is recorded.
    pub(super) fn records(&mut self, task: &str) -> Vec<String> {
        let task = self.task(task);
        self.step(Input::Recorded(task))
    }

    pub(super) fn is_parked(&self) -> bool {
        self.rig.machine.is_parked()
    }

    pub(super) fn succeeds(&mut self, task: &str) -> Vec<String> {
        self.executed(task, TaskEnd::Succeeded)
    }

    /// Its attempt fails, with the message `boom`.
    pub(super) fn fails(&mut self, task: &str) -> Vec<String> {
        self.executed(task, TaskEnd::Failed(boom()))
    }

    pub(super) fn errs(&mut self, task: &str) -> Vec<String> {
        self.executed(task, TaskEnd::Errored(boom()))
    }

    /// It stops because of its token, or says so.
    pub(super) fn stops(&mut self, task: &str) -> Vec<String> {
        self.executed(task, TaskEnd::Cancelled)
    }

    pub(super) fn executed(&mut self, task: &str, end: TaskEnd) -> Vec<String> {
        let task = self.task(task);
        self.step(Input::Executed(task, end))
    }

    pub(super) fn hits(&mut self, task: &str) -> Vec<String> {
        self.looked_up(task, Lookup::Hit)
    }

    pub(super) fn misses(&mut self, task: &str) -> Vec<String> {
        self.looked_up(task, Lookup::Miss)
    }

    pub(super) fn looked_up(&mut self, task: &str, lookup: Lookup) -> Vec<String> {
        let task = self.task(task);
        self.step(Input::LookedUp(task, lookup))
    }

    /// Its gate opens.
    pub(super) fn opens(&mut self, task: &str) -> Vec<String> {
        self.gate(task, Gate::Open)
    }

    pub(super) fn gate(&mut self, task: &str, gate: Gate) -> Vec<String> {
        let task = self.task(task);
        self.step(Input::GateEnded(task, gate))
    }

    /// The run is cancelled, by a user who has enough.
    pub(super) fn cancel(&mut self) -> Vec<String> {
        let at = Timestamp::from_micros(0);
        self.step(Input::Cancel(CancelInfo::new(CancelCode::User, "enough", at)))
    }

    /// So many milliseconds pass, and the machine is told.
    pub(super) fn passes(&mut self, millis: u64) -> Vec<String> {
        self.rig.now = self.rig.now + Duration::from_millis(millis);
        self.step(Input::Time)
    }

    /// Milliseconds from the start to the next deadline.
    pub(super) fn deadline(&self) -> Option<u128> {
        let deadline = self.rig.machine.next_deadline()?;
        Some((deadline - Monotonic::ZERO).as_millis())
    }

    pub(super) fn is_done(&self) -> bool {
        self.rig.machine.is_done()
    }

    /// The report of the run, which has ended.
    pub(super) fn report(self) -> Report {
        self.rig.finish()
    }

    /// How every task ended, in canonical order.
    pub(super) fn outcomes(self) -> Vec<String> {
        let report = self.report();
        let outcome = |row: crate::Row<'_>| {
            format!("{} {}", row.task, outcome_text(report.topology(), &row.outcome))
        };
        report.rows().map(outcome).collect()
    }

    fn step(&mut self, input: Input) -> Vec<String> {
        let mut lines = self.rig.step(input);
        while !self.rig.due.is_empty() {
            lines.extend(self.rig.deliver());
        }
        lines
    }

    fn task(&self, name: &str) -> TaskId {
        self.rig.topology.find(name).unwrap_or_else(|| panic!("no task {name}"))
    }
}

pub(super) fn boom() -> TaskFailure {
    TaskFailure::new("boom")
}

/// The tasks that begin to execute, in order.
pub(super) fn executing(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.strip_prefix("execute ")).collect()
}
