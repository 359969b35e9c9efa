//! A machine with a hold set at its port, and everything it says as text.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::Monotonic;
use holdpoint_hold::{Claims, HoldSet, Ticket};

use super::audit::Audit;
use crate::{
    Effect, Input, Limits, Machine, OnFailure, Outcome, Report, SkipCause, Source, TaskEnd,
    TaskEvent, TaskEventKind, TaskId, Topology, UpstreamEnd,
};

/// What a driver is without its futures: it answers [`Effect::RequestHolds`] at once and keeps
/// what became due until somebody delivers it.
pub(super) struct Rig {
    pub(super) topology: Arc<Topology>,
    pub(super) machine: Machine,
    pub(super) now: Monotonic,
    /// Tasks whose tickets became due and that were not told yet.
    pub(super) due: VecDeque<TaskId>,
    set: HoldSet,
    /// For each task with holds.
    claims: Vec<Option<Claims>>,
    tickets: Vec<Option<Ticket>>,
    audit: Audit,
}

/// What a run keeps for later ones, and has of earlier ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) recorded: bool,
    pub(super) known: Vec<(TaskId, TaskEnd)>,
}

impl Rig {
    pub(super) fn new(
        topology: Arc<Topology>,
        limits: &Limits,
        on_failure: OnFailure,
        grace: Option<Duration>,
        life: Life,
    ) -> Self {
        let mut set = HoldSet::new();
        for (scope, name, units) in &topology.capacities {
            set.declare(scope, name, *units).expect("checked at build");
        }
        let claims_of = |index: usize| {
            let holds = topology.holds(TaskId(index as u32));
            (!holds.is_empty()).then(|| set.claims(holds).expect("checked at build"))
        };
        let claims = (0..topology.len()).map(claims_of).collect();
        let mut audit = Audit::new(&topology);
        let ended = |(_, end): &&(TaskId, TaskEnd)| !matches!(end, TaskEnd::Cancelled);
        life.known.iter().filter(ended).for_each(|(task, _)| audit.knows(*task));
        let mut machine = Machine::new(&topology, limits, on_failure, grace, 0);
        if life.recorded {
            machine = machine.with_recorded_ends();
        }
        Self {
            machine: machine.with_known_ends(life.known),
            now: Monotonic::ZERO,
            due: VecDeque::new(),
            set,
            claims,
            tickets: (0..topology.len()).map(|_| None).collect(),
            audit,
            topology,
        }
    }

    /// Feeds one input and gives what followed from it, one line an effect.
    pub(super) fn step(&mut self, input: Input) -> Vec<String> {
        self.feed(input);
        let mut lines = Vec::new();
        while let Some(effect) = self.carry_out_one() {
            lines.push(self.line(&effect));
        }
        lines
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.machine.handle(self.now, input);
    }

    /// Carries out the next effect, and gives it.
    pub(super) fn carry_out_one(&mut self) -> Option<Effect> {
        let effect = self.machine.next_effect()?;
        self.carry_out(&effect);
        Some(effect)
    }

    /// Tells the machine of the next ticket that became due.
    pub(super) fn deliver(&mut self) -> Vec<String> {
        let task = self.due.pop_front().expect("a ticket became due");
        self.step(Input::HoldsGranted(task))
    }

    pub(super) fn name(&self, task: TaskId) -> &str {
        self.topology.name(task)
    }

    /// The report of a run that has ended; nothing is held any more, and the events agree with it.
    pub(super) fn finish(self) -> Report {
        assert!(self.machine.is_done(), "it has not ended");
        assert!(self.set.is_empty(), "a hold outlived the run");
        assert_eq!(self.machine.next_deadline(), None, "a deadline outlived the run");
        let report = self.machine.into_report();
        self.audit.compare(&report);
        report
    }

    fn carry_out(&mut self, effect: &Effect) {
        match *effect {
            Effect::RequestHolds(task) => {
                let claims = self.claims[task.index()].as_ref().expect("it has holds");
                let ticket = self.set.request(claims, u64::from(task.0));
                let input = if self.set.is_granted(&ticket) {
                    Input::HoldsGranted(task)
                } else {
                    Input::HoldsQueued(task)
                };
                assert!(self.tickets[task.index()].replace(ticket).is_none(), "asked twice");
                self.machine.handle(self.now, input);
            }
            Effect::ReleaseHolds(task) => {
                let ticket = self.tickets[task.index()].take().expect("released exactly once");
                self.set.release(ticket);
                self.due.retain(|due| *due != task);
                let granted = std::iter::from_fn(|| self.set.next_granted());
                self.due.extend(granted.map(|owner| TaskId(owner as u32)));
            }
            Effect::Execute { task, .. } if self.claims[task.index()].is_some() => {
                assert!(self.set.is_granted(self.ticket(task)), "it executes without its holds");
            }
            Effect::LookUp(task) | Effect::AwaitGate(task) => {
                assert!(self.tickets[task.index()].is_none(), "it looks up with a hold");
            }
            Effect::Record { task, .. } => {
                assert!(self.tickets[task.index()].is_none(), "it is recorded with a hold");
            }
            Effect::Event(ref event) => self.audit.take(event),
            _ => {}
        }
    }

    fn ticket(&self, task: TaskId) -> &Ticket {
        self.tickets[task.index()].as_ref().expect("it has asked")
    }

    fn line(&self, effect: &Effect) -> String {
        match effect {
            Effect::AwaitGate(task) => format!("await gate of {}", self.name(*task)),
            Effect::DropGate(task) => format!("drop gate of {}", self.name(*task)),
            Effect::LookUp(task) => format!("look up {}", self.name(*task)),
            Effect::RequestHolds(task) => format!("ask for {}", self.name(*task)),
            Effect::ReleaseHolds(task) => format!("release {}", self.name(*task)),
            Effect::Execute { task, attempt: 1 } => format!("execute {}", self.name(*task)),
            Effect::Execute { task, attempt } => {
                format!("execute {} ({attempt})", self.name(*task))
            }
            Effect::Record { task, outcome, .. } => {
                let text = outcome_text(&self.topology, outcome);
                format!("record {}: {text}", self.name(*task))
            }
            Effect::Cancel(task, cause) => format!("cancel {}: {cause}", self.name(*task)),
            Effect::Abort(task) => format!("abort {}", self.name(*task)),
            Effect::Event(event) => event_line(&self.topology, event),
        }
    }
}

/// An event as `task what`.
pub(super) fn event_line(topology: &Topology, event: &TaskEvent) -> String {
    let name = topology.name(event.task);
    match &event.kind {
        TaskEventKind::GateAwaited => format!("{name} at its gate"),
        TaskEventKind::Miss => format!("{name} missed"),
        TaskEventKind::HoldWaiting => format!("{name} waits for holds"),
        TaskEventKind::HoldAcquired => format!("{name} has its holds"),
        TaskEventKind::HoldReleased => format!("{name} gave its holds back"),
        TaskEventKind::Started => format!("{name} started"),
        TaskEventKind::Retry { attempt, delay, failure } => {
            format!("{name} again ({attempt}) in {delay:?}: {failure}")
        }
        TaskEventKind::Ended(outcome) => format!("{name} {}", outcome_text(topology, outcome)),
    }
}

/// An outcome in a few words.
pub(super) fn outcome_text(topology: &Topology, outcome: &Outcome) -> String {
    let mark = |allowed: &bool| if *allowed { " (allowed)" } else { "" };
    match outcome {
        Outcome::Succeeded(Source::Fresh) => "succeeded".to_owned(),
        Outcome::Succeeded(Source::Cache) => "hit".to_owned(),
        Outcome::Failed { failure, allowed } => format!("failed{}: {failure}", mark(allowed)),
        Outcome::Errored { failure, allowed } => format!("errored{}: {failure}", mark(allowed)),
        Outcome::Skipped(SkipCause::Upstream { root, how }) => {
            let how = match how {
                UpstreamEnd::Failed => "failed",
                UpstreamEnd::Errored => "errored",
                UpstreamEnd::Skipped => "was skipped",
                UpstreamEnd::Cancelled => "was cancelled",
            };
            format!("skipped: {} {how}", topology.name(*root))
        }
        Outcome::Skipped(SkipCause::Stopped { root }) => {
            format!("skipped: stopped by {}", topology.name(*root))
        }
        Outcome::Skipped(SkipCause::Condition(reason)) => format!("skipped: {reason}"),
        Outcome::Cancelled { cause, root, aborted } => {
            let cause = cause.as_ref().map_or("by itself".to_owned(), ToString::to_string);
            let root = root.map_or(String::new(), |root| format!(", by {}", topology.name(root)));
            let aborted = if *aborted { ", aborted" } else { "" };
            format!("cancelled: {cause}{root}{aborted}")
        }
    }
}
