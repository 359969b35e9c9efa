//! The one stream of events of a run: what the graph, its processes and the session tell, in one
//! order and with dense numbers (CORE-006).
//!
//! # Invariants
//! 1. Every event passes `Stream::publish`, under the lock, so that numbers and order agree for
//!    every sink.
//! 2. Session events come from the core's session machine, never from here.
//! 3. That a cancel was requested is told before the first task that ends by it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdpoint_core::event::{CacheSource, FailCause, Sequencer, SkipCause, Stream as StreamId};
use holdpoint_core::session::{BodyEnd, Owner, SessionInput};
use holdpoint_core::{
    CancelCode, CancelInfo, Clock, EventKind, EventSink, SessionId, SessionMachine, SessionState,
    TaskName,
};
use holdpoint_graph::{
    Outcome, SkipCause as GraphSkip, Source, TaskEvent, TaskEventKind, TaskFailure, TaskId,
    UpstreamEnd,
};
use holdpoint_process::{Exit, Status};

use crate::commands::ProcessFailed;
use crate::plan::Plan;

/// Without a store a run is its own owner, from its first claim to its end.
const OWNER: Owner = Owner { instance: 1, epoch: 1 };

/// Tells the sinks what happens in one run.
pub(crate) struct Recorder {
    plan: Plan,
    stream: Mutex<Stream>,
}

struct Stream {
    session: SessionMachine,
    numbers: Sequencer,
    clock: Arc<dyn Clock>,
    sinks: Vec<Arc<dyn EventSink>>,
}

impl Recorder {
    /// The session is planned and claimed, and both are told.
    pub(crate) fn begin(
        plan: Plan,
        session: SessionId,
        clock: Arc<dyn Clock>,
        sinks: Vec<Arc<dyn EventSink>>,
    ) -> Self {
        let numbers = Sequencer::new(StreamId::Session(session));
        let (session, planned) = SessionMachine::plan();
        let mut stream = Stream { session, numbers, clock, sinks };
        planned.into_iter().for_each(|kind| stream.publish(kind));
        stream.apply(SessionInput::Claim(OWNER));
        Self { plan, stream: Mutex::new(stream) }
    }

    /// Which start of the session this is, from 1.
    pub(crate) fn start(&self) -> u32 {
        self.stream().session.starts()
    }

    /// Something happened in the graph.
    pub(crate) fn task(&self, event: &TaskEvent) {
        let mut stream = self.stream();
        if let TaskEventKind::Ended(Outcome::Cancelled { cause: Some(cause), root: None, .. }) =
            &event.kind
        {
            stream.request_cancel(cause);
        }
        if let Some(kind) = translate(&self.plan, event) {
            stream.publish(kind);
        }
    }

    /// The process of an attempt runs.
    pub(crate) fn process_started(&self, task: TaskId, attempt: u32, pid: u32) {
        let mut stream = self.stream();
        let task = self.plan.name(task).clone();
        let start = stream.session.starts();
        stream.publish(EventKind::ProcessStarted { task, pid, start, attempt });
    }

    /// The process of an attempt has ended.
    pub(crate) fn process_exited(&self, task: TaskId, exit: &Exit) {
        let (exit_code, signal) = match exit.status {
            Status::Code(code) => (Some(code), None),
            Status::Signal(signal) => (None, Some(signal)),
        };
        let task = self.plan.name(task).clone();
        self.stream().publish(EventKind::ProcessExited { task, pid: exit.pid, exit_code, signal });
    }

    /// Somebody asks the run to end.
    pub(crate) fn cancel_requested(&self, cause: &CancelInfo) {
        self.stream().request_cancel(cause);
    }

    /// The run is over. Returns where its session stands now.
    pub(crate) fn end(&self, end: BodyEnd) -> SessionState {
        let mut stream = self.stream();
        stream.apply(SessionInput::End(end));
        stream.session.state().clone()
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        // A sink that panicked has cost no event but its own.
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn request_cancel(&mut self, cause: &CancelInfo) {
        if self.session.cancel_requested().is_none() {
            self.apply(SessionInput::Cancel(cause.clone()));
        }
    }

    fn apply(&mut self, input: SessionInput) {
        match self.session.apply(input) {
            Ok(transition) => transition.into_iter().for_each(|kind| self.publish(kind)),
            Err(refused) => debug_assert!(false, "BUG: {refused}"),
        }
    }

    fn publish(&mut self, kind: EventKind) {
        let event = self.numbers.event(self.clock.now().wall, kind);
        for sink in &self.sinks {
            sink.event(&event);
        }
    }
}

/// A graph's event in the words of the core; none for what the core has no word for.
fn translate(plan: &Plan, event: &TaskEvent) -> Option<EventKind> {
    let task = plan.name(event.task).clone();
    let holds = || Arc::clone(plan.holds(event.task));
    Some(match &event.kind {
        TaskEventKind::HoldWaiting => {
            EventKind::HoldWaiting { task: Some(task), holds: holds(), holder: None }
        }
        TaskEventKind::HoldAcquired => EventKind::HoldAcquired { task: Some(task), holds: holds() },
        TaskEventKind::HoldReleased => EventKind::HoldReleased { task: Some(task), holds: holds() },
        TaskEventKind::Started => EventKind::TaskStarted { task },
        TaskEventKind::Retry { attempt, delay, failure } => EventKind::TaskRetry {
            task,
            // The graph names the attempt to come, the event the one that failed.
            attempt: attempt - 1,
            delay_ms: millis(*delay),
            message: failure.message().into(),
        },
        TaskEventKind::Ended(outcome) => return ended(plan, task, outcome),
        // A lookup is an `if` here: its miss is no news, for nothing was looked for.
        _ => return None,
    })
}

fn ended(plan: &Plan, task: TaskName, outcome: &Outcome) -> Option<EventKind> {
    Some(match outcome {
        Outcome::Succeeded(source) => {
            let source = match source {
                Source::Cache => CacheSource::Cache,
                _ => CacheSource::Fresh,
            };
            EventKind::TaskSucceeded { task, source }
        }
        Outcome::Failed { failure, allowed } => {
            let (cause, exit_code) = fail_cause(failure);
            let message = failure.message().into();
            EventKind::TaskFailed { task, cause, message, exit_code, allowed: *allowed }
        }
        Outcome::Errored { failure, allowed } => {
            EventKind::TaskErrored { task, message: failure.message().into(), allowed: *allowed }
        }
        Outcome::Skipped(cause) => {
            let (cause, upstream, message) = skip_cause(cause)?;
            let upstream = upstream.map(|root| plan.name(root).clone());
            EventKind::TaskSkipped { task, cause, upstream, message }
        }
        Outcome::Cancelled { cause, root, .. } => {
            let upstream = root.map(|root| plan.name(root).clone());
            let (cause, text) = match cause {
                Some(cause) => (cause.code, Arc::clone(&cause.text)),
                None => (CancelCode::Internal, Arc::from("it stopped by itself")),
            };
            let text = Some(text).filter(|text| !text.is_empty());
            EventKind::TaskCancelled { task, cause, text, upstream }
        }
        _ => return None,
    })
}

/// What kind of no it was, and the exit code where that is it.
fn fail_cause(failure: &TaskFailure) -> (FailCause, Option<i32>) {
    let process = failure.source().and_then(|source| source.downcast_ref::<ProcessFailed>());
    match (process, failure.code()) {
        (Some(ProcessFailed(Status::Code(code))), _) => (FailCause::Exit, Some(*code)),
        (Some(ProcessFailed(Status::Signal(_))), _) => (FailCause::Signal, None),
        (None, Some("timeout")) => (FailCause::Timeout, None),
        (None, Some("panic")) => (FailCause::Panic, None),
        (None, _) => (FailCause::Error, None),
    }
}

fn skip_cause(cause: &GraphSkip) -> Option<(SkipCause, Option<TaskId>, Option<Arc<str>>)> {
    Some(match cause {
        GraphSkip::Upstream { root, how } => {
            let cause = match how {
                UpstreamEnd::Failed => SkipCause::UpstreamFailed,
                UpstreamEnd::Errored => SkipCause::UpstreamErrored,
                UpstreamEnd::Cancelled => SkipCause::UpstreamCancelled,
                _ => SkipCause::UpstreamSkipped,
            };
            (cause, Some(*root), None)
        }
        GraphSkip::Stopped { root } => (SkipCause::Stopped, Some(*root), None),
        GraphSkip::Condition(reason) => (SkipCause::Condition, None, Some(Arc::clone(reason))),
        _ => return None,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
