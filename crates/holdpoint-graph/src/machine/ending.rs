//! How tasks end, and what that does to others.

use std::collections::HashMap;
use std::sync::Arc;

use holdpoint_core::{CancelCode, CancelInfo, Monotonic};

use super::deadlines::Due;
use super::{Effect, Machine, Phase, State};
use crate::options::OnFailure;
use crate::report::{Outcome, Source, TaskEventKind};
use crate::runner::{TaskEnd, TaskFailure};
use crate::topology::{TaskId, Topology};

impl Machine {
    pub(super) fn end_failed(
        &mut self,
        now: Monotonic,
        task: TaskId,
        state: State,
        failure: TaskFailure,
    ) {
        self.detail(task).failure = Some(failure);
        self.end(now, task, state);
        self.count_failure(now, task);
    }

    /// How a task that executed ends is decided: it ends at once, or when that is recorded.
    pub(super) fn end_executed(&mut self, now: Monotonic, task: TaskId, state: State) {
        if self.records {
            self.settle(now, task, state);
        } else {
            self.end_for_good(now, task, state);
        }
    }

    pub(super) fn settle(&mut self, now: Monotonic, task: TaskId, state: State) {
        self.set(task, State::Settling);
        self.finished[task.index()] = now;
        self.settling.insert(task, state);
        let attempt = self.attempts.get(&task).copied().unwrap_or(1);
        let allowed = self.topology.settings(task).allow_failure;
        let counts = state != State::Succeeded && !allowed;
        self.failing |= counts && self.on_failure != OnFailure::KeepGoing;
        let failure = self.details.get(&task).and_then(|detail| detail.failure.clone());
        let outcome = match (state, failure) {
            (State::Failed, Some(failure)) => Outcome::Failed { failure, allowed },
            (State::Errored, Some(failure)) => Outcome::Errored { failure, allowed },
            _ => Outcome::Succeeded(Source::Fresh),
        };
        self.effects.push_back(Effect::Record { task, attempt, outcome });
    }

    pub(super) fn recorded(&mut self, now: Monotonic, task: TaskId) {
        if let Some(state) = self.settling.remove(&task) {
            self.end_for_good(now, task, state);
        }
    }

    fn end_for_good(&mut self, now: Monotonic, task: TaskId, state: State) {
        self.end(now, task, state);
        if state != State::Succeeded {
            self.count_failure(now, task);
        }
    }

    /// Ends what had ended in an earlier life of the run: all states before what follows from
    /// any, so that none of these tasks is skipped or cancelled because of another.
    pub(super) fn take_up_known(&mut self, now: Monotonic) {
        if self.known.is_empty() {
            return;
        }
        let mut ends: HashMap<TaskId, TaskEnd> =
            std::mem::take(&mut self.known).into_iter().collect();
        let topology = Arc::clone(&self.topology);
        let mut taken_up = Vec::new();
        for &task in &topology.canonical {
            let (state, failure) = match ends.remove(&task) {
                Some(TaskEnd::Succeeded) => (State::Succeeded, None),
                Some(TaskEnd::Failed(failure)) => (State::Failed, Some(failure)),
                Some(TaskEnd::Errored(failure)) => (State::Errored, Some(failure)),
                Some(TaskEnd::Cancelled) | None => continue,
            };
            if failure.is_some() {
                self.detail(task).failure = failure;
            }
            self.conclude(now, task, state);
            taken_up.push((task, state));
        }
        for &(task, _) in &taken_up {
            self.follow(now, task);
        }
        for (task, state) in taken_up {
            if state != State::Succeeded {
                self.count_failure(now, task);
            }
        }
    }

    /// What a failure does to the rest of the run, where it counts and is the first.
    fn count_failure(&mut self, now: Monotonic, task: TaskId) {
        let counts = !self.topology.settings(task).allow_failure;
        if counts && matches!(self.phase, Phase::Running) {
            match self.on_failure {
                OnFailure::KeepGoing => return,
                OnFailure::Stop => self.phase = Phase::Stopping(task),
                OnFailure::FailFast => {
                    let text = format!("task {} failed", self.topology.name(task));
                    let info = CancelInfo::new(CancelCode::Internal, text, self.wall(now));
                    self.causes.failure = Some(Arc::new(info));
                    self.phase = Phase::FailingFast(task);
                }
            }
            self.end_rest(now);
            self.grant_grace(now);
        }
    }

    pub(super) fn end_skipped(&mut self, now: Monotonic, task: TaskId, reason: Arc<str>) {
        self.detail(task).condition = Some(reason);
        self.end(now, task, State::SkippedCondition);
    }

    /// Ends a task that stopped because of its token.
    pub(super) fn end_cancelled(&mut self, now: Monotonic, task: TaskId) {
        let finally = self.topology.settings(task).finally;
        match self.phase {
            // The first cause is kept, though the run was cancelled too before the task stopped.
            Phase::FailingFast(root) | Phase::Cancelled { failed_fast: Some(root) } if !finally => {
                self.end_by(now, task, State::CancelledByFailure, root);
            }
            Phase::Cancelled { .. } => self.end(now, task, State::Cancelled),
            Phase::FailingFast(_) | Phase::Running | Phase::Stopping(_) => {
                self.end(now, task, State::CancelledItself);
            }
        }
    }

    /// Ends a task that never began, as the phase says.
    pub(super) fn end_unstarted(&mut self, now: Monotonic, task: TaskId) {
        match self.phase {
            Phase::Stopping(root) => self.end_by(now, task, State::SkippedStopped, root),
            _ => self.end_cancelled(now, task),
        }
    }

    pub(super) fn end_by(&mut self, now: Monotonic, task: TaskId, state: State, root: TaskId) {
        self.word[task.index()] = root.0;
        self.end(now, task, state);
    }

    /// The one way to end a task: state, time, event, and what follows for its successors.
    pub(super) fn end(&mut self, now: Monotonic, task: TaskId, state: State) {
        self.conclude(now, task, state);
        self.follow(now, task);
    }

    /// What the end of a task means for its successors.
    fn follow(&mut self, now: Monotonic, task: TaskId) {
        let topology = Arc::clone(&self.topology);
        if self.succeeded(task) {
            for edge in topology.edges_of(task) {
                self.satisfy(now, edge.task());
            }
        } else {
            self.skip_descendants(now, task, &topology);
        }
    }

    /// State, time and event alone.
    pub(super) fn conclude(&mut self, now: Monotonic, task: TaskId, state: State) {
        // A record takes no time in the report: the task finished before it.
        if self.state[task.index()] != State::Settling {
            self.finished[task.index()] = now;
        }
        self.set(task, state);
        if self.observed {
            let outcome = self.terminal_outcome(task);
            self.event(now, task, TaskEventKind::Ended(outcome));
        }
    }

    /// One predecessor less.
    pub(super) fn satisfy(&mut self, now: Monotonic, task: TaskId) {
        let index = task.index();
        if self.state[index] != State::Pending {
            return;
        }
        self.word[index] -= 1;
        // Before the start all that may arrive is collected by the start itself.
        if self.word[index] == 0 && self.begun {
            self.arrive(now, task);
        }
    }

    /// Skips every transitive hard descendant once, with `root` as the cause, in order; then
    /// tells those who only waited for an end.
    pub(super) fn skip_descendants(&mut self, now: Monotonic, root: TaskId, topology: &Topology) {
        let mut skipped = Vec::new();
        let mut next = 0;
        let mut from = root;
        loop {
            for edge in topology.edges_of(from).iter().filter(|edge| edge.is_hard()) {
                let task = edge.task();
                if self.state[task.index()] == State::Pending {
                    // Marks it as seen; its event follows in order below.
                    self.set(task, State::SkippedUpstream);
                    self.word[task.index()] = root.0;
                    skipped.push(task);
                }
            }
            match skipped.get(next) {
                Some(&task) => from = task,
                None => break,
            }
            next += 1;
        }
        skipped.sort_unstable_by_key(|task| topology.rank(topology.position[task.index()]));
        for &task in &skipped {
            self.finished[task.index()] = now;
            let outcome = self.terminal_outcome(task);
            self.event(now, task, TaskEventKind::Ended(outcome));
        }
        for &task in std::iter::once(&root).chain(&skipped) {
            for edge in topology.edges_of(task).iter().filter(|edge| !edge.is_hard()) {
                self.satisfy(now, edge.task());
            }
        }
    }

    /// Ends, in canonical order, whatever is neither in flight nor allowed to begin.
    pub(super) fn end_rest(&mut self, now: Monotonic) {
        let topology = Arc::clone(&self.topology);
        let mut ended = Vec::new();
        for &task in &topology.canonical {
            let state = self.state[task.index()];
            let is_settled = state.is_terminal() || state == State::Settling;
            if is_settled || state.is_in_flight() || self.may_start(task) {
                continue;
            }
            match state {
                State::Gated => self.effects.push_back(Effect::DropGate(task)),
                State::Ready => self.admission.remove_ready(task),
                State::Waiting => self.effects.push_back(Effect::ReleaseHolds(task)),
                State::Reserved => {
                    self.effects.push_back(Effect::ReleaseHolds(task));
                    self.event(now, task, TaskEventKind::HoldReleased);
                }
                State::Backoff => self.deadlines.clear(task),
                _ => {}
            }
            let (state, root) = match self.phase {
                // It did fail; there is only no time for another attempt.
                Phase::Stopping(_) if self.attempts.contains_key(&task) => {
                    let errored = self.detail(task).errored;
                    let state = if errored { State::Errored } else { State::Failed };
                    if self.records {
                        self.settle(now, task, state);
                        continue;
                    }
                    (state, None)
                }
                Phase::Stopping(root) => (State::SkippedStopped, Some(root)),
                Phase::FailingFast(root) => (State::CancelledByFailure, Some(root)),
                _ => (State::Cancelled, None),
            };
            if let Some(root) = root {
                self.word[task.index()] = root.0;
            }
            self.conclude(now, task, state);
            ended.push(task);
        }
        let state = &self.state;
        self.admission.retain_reserved(|task| state[task.index()] == State::Reserved);
        // Only finally-tasks can still be pending now.
        for task in ended {
            self.follow(now, task);
        }
    }

    /// Fires the tokens of what is in flight where the run does not fire them itself, and
    /// sets the time after which it is dropped.
    pub(super) fn grant_grace(&mut self, now: Monotonic) {
        let fire = match self.phase {
            Phase::Cancelled { .. } => None,
            Phase::FailingFast(_) => self.causes.failure.clone(),
            Phase::Running | Phase::Stopping(_) => return,
        };
        for index in 0..self.state.len() {
            let task = TaskId(index as u32);
            // A task that asks for holds hears at once that it does not begin.
            let has_token = matches!(self.state[index], State::Lookup | State::Running);
            if !has_token || (fire.is_some() && self.may_start(task)) {
                continue;
            }
            if let Some(info) = &fire {
                self.effects.push_back(Effect::Cancel(task, info.clone()));
            }
            // The first cause decides: its grace is not prolonged, and no timeout follows it.
            match self.grace {
                Some(_) if self.deadlines.due(task) == Some(Due::Grace) => {}
                Some(grace) => self.deadlines.set(task, now + grace, Due::Grace),
                None => self.deadlines.clear(task),
            }
        }
    }
}
