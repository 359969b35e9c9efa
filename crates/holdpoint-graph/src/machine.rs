//! Every decision about a running graph, without I/O, clock, locks or tasks.
//!
//! Inputs say what happened, effects say what to do; the driver carries them. The contract:
//! after each [`handle`](Machine::handle), drain [`next_effect`](Machine::next_effect); answer
//! [`Effect::RequestHolds`] at once; call `handle` with [`Input::Time`] when
//! [`next_deadline`](Machine::next_deadline) has passed; stop when [`is_done`](Machine::is_done).
//!
//! # Invariants
//! 1. [`set`](Machine::set) is the only function that changes a state, so that counters and
//!    events cannot drift.
//! 2. A task is in flight (slot and caps taken) in `Lookup`, `Asking` and `Running` only.
//! 3. A task has holds asked for or kept in `Asking`, `Waiting`, `Reserved` and `Running` only.
//! 4. A task ends once: no state follows a terminal one.
//! 5. A task in `Settling` has nothing taken and no deadline, and only its record ends it.

mod admission;
mod deadlines;
mod ending;
mod state;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{CancelCode, CancelInfo, Monotonic, Now, Timestamp};

use self::admission::Admission;
use self::deadlines::{Deadlines, Due};
pub(crate) use self::state::{Causes, Detail, NEVER, State, outcome};
use crate::options::{Limits, OnFailure};
use crate::report::{Outcome, Report, TaskEvent, TaskEventKind};
use crate::runner::{Gate, Lookup, TaskEnd, TaskFailure};
use crate::topology::{TaskId, Topology};

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// The run begins, at this wall time. Once, before all others but a cancel: where that came
    /// first, nothing is admitted.
    Start(Timestamp),
    /// The gate of a task ended.
    GateEnded(TaskId, Gate),
    /// The lookup of a task ended.
    LookedUp(TaskId, Lookup),
    /// The holds of a task are kept for it.
    HoldsGranted(TaskId),
    /// The holds of a task are not free; its ticket waits.
    HoldsQueued(TaskId),
    /// An attempt ended.
    Executed(TaskId, TaskEnd),
    /// The end of a task is recorded, or cannot be.
    Recorded(TaskId),
    /// The run is cancelled.
    Cancel(CancelInfo),
    /// Time has passed.
    Time,
}

/// What to do. In the order given: an event comes before what it announces.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Await the gate of the task.
    AwaitGate(TaskId),
    /// Drop the gate of the task: its answer is not wanted any more.
    DropGate(TaskId),
    /// Look the task up.
    LookUp(TaskId),
    /// Request the holds of the task and answer with `HoldsGranted` or `HoldsQueued` at once;
    /// where it was queued, with `HoldsGranted` when it is due.
    RequestHolds(TaskId),
    /// Release the holds of the task, or withdraw its request.
    ReleaseHolds(TaskId),
    /// Execute the task. The attempts count from 1.
    Execute {
        /// The task.
        task: TaskId,
        /// Which attempt this is.
        attempt: u32,
    },
    /// Record how the task ends, and answer with `Recorded`: it ends then. Only with
    /// [`with_recorded_ends`](Machine::with_recorded_ends). Not to be dropped, whatever happens
    /// to the run meanwhile.
    Record {
        /// The task.
        task: TaskId,
        /// Its last attempt.
        attempt: u32,
        /// How it ends.
        outcome: Outcome,
    },
    /// Fire the token of the task, which is in flight.
    Cancel(TaskId, Arc<CancelInfo>),
    /// Drop what the task is doing; it has not ended within the grace.
    Abort(TaskId),
    /// Tell the observer.
    Event(TaskEvent),
}

/// What the run as a whole is doing.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    /// The task failed; nothing more is admitted.
    Stopping(TaskId),
    /// The task failed; the rest is cancelled.
    FailingFast(TaskId),
    /// With the task whose failure had cancelled the rest before, where there is one.
    Cancelled {
        failed_fast: Option<TaskId>,
    },
}

/// The rules of one run. See the module's documentation for the contract with its driver.
///
/// Per task it keeps 21 bytes and a bit besides the topology, and a map entry where a task fails, is
/// retried, has a deadline or is being recorded.
#[derive(Debug)]
pub struct Machine {
    topology: Arc<Topology>,
    on_failure: OnFailure,
    grace: Option<Duration>,
    seed: u64,
    observed: bool,
    /// Whether the end of what executed is recorded first.
    records: bool,
    /// What had ended before the start; taken up by it.
    known: Vec<(TaskId, TaskEnd)>,
    begun: bool,
    began: Now,
    phase: Phase,
    causes: Causes,
    state: Vec<State>,
    /// Open predecessors of a pending task, the ticket number of one that asked for holds, the
    /// responsible task of a skipped one.
    word: Vec<u32>,
    /// How many tickets were asked for.
    requests: u32,
    /// Tasks whose request for holds is not answered yet. Whoever comes after them in order is
    /// considered after the answer: a task that has to wait for holds takes no slot from it.
    asking: u32,
    started: Vec<Monotonic>,
    finished: Vec<Monotonic>,
    open: usize,
    /// Tasks at their gates.
    gated: u32,
    /// Tasks that are [under way](State::is_under_way).
    under_way: u32,
    admission: Admission,
    deadlines: Deadlines,
    /// Attempts begun, of tasks that may have several.
    attempts: HashMap<TaskId, u32>,
    /// Running tasks whose timeout has passed.
    overdue: HashSet<TaskId>,
    /// How the tasks that are being recorded end.
    settling: HashMap<TaskId, State>,
    /// Whether one of them was a failure that stops the run; its record changes the phase.
    failing: bool,
    /// Ready tasks whose lookup has missed already, when nothing could begin.
    missed: HashSet<TaskId>,
    details: HashMap<TaskId, Detail>,
    effects: VecDeque<Effect>,
}

impl Machine {
    /// A run of `topology` that has not begun. The limits must be at least 1 each, and no task
    /// heavier than all slots: otherwise such tasks never start.
    #[must_use]
    pub fn new(
        topology: &Arc<Topology>,
        limits: &Limits,
        on_failure: OnFailure,
        grace: Option<Duration>,
        seed: u64,
    ) -> Self {
        let count = topology.len();
        Self {
            topology: Arc::clone(topology),
            on_failure,
            grace,
            seed,
            observed: true,
            records: false,
            known: Vec::new(),
            begun: false,
            began: Now { wall: Timestamp::default(), monotonic: Monotonic::ZERO },
            phase: Phase::Running,
            causes: Causes::default(),
            state: vec![State::Pending; count],
            word: topology.predecessors.clone(),
            requests: 0,
            asking: 0,
            started: vec![NEVER; count],
            finished: vec![Monotonic::ZERO; count],
            open: count,
            gated: 0,
            under_way: 0,
            admission: Admission::new(topology, limits),
            deadlines: Deadlines::default(),
            attempts: HashMap::new(),
            overdue: HashSet::new(),
            settling: HashMap::new(),
            failing: false,
            missed: HashSet::new(),
            details: HashMap::new(),
            effects: VecDeque::new(),
        }
    }

    /// Leaves out [`Effect::Event`], for a driver whose observer wants none.
    #[must_use]
    pub fn without_events(mut self) -> Self {
        self.observed = false;
        self
    }

    /// Has the end of every task that executed recorded before the task ends, see
    /// [`Effect::Record`]. Meanwhile the task is open and has nothing: no slot, cap or hold, and
    /// no deadline. No cancel and no failure of another changes its end; and while the failure
    /// at which the run stops is being recorded, nothing is admitted.
    #[must_use]
    pub fn with_recorded_ends(mut self) -> Self {
        self.records = true;
        self
    }

    /// Tells of tasks that had ended in an earlier life of the run. They end at the start, before
    /// anything else, and are not begun again; what follows from their ends follows then. A task
    /// that was cancelled is as one that had not ended. Tasks that the graph does not have are
    /// ignored; of several ends of one task the last counts.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use holdpoint_core::{Monotonic, Timestamp};
    /// use holdpoint_graph::{Effect, Input, Limits, Machine, OnFailure, TaskEnd, Topology};
    ///
    /// let mut builder = Topology::builder();
    /// let build = builder.task("build").id();
    /// let test = builder.task("test").needs(build).id();
    /// let topology = Arc::new(builder.build()?);
    /// let limits = Limits::jobs(1);
    /// let mut machine = Machine::new(&topology, &limits, OnFailure::KeepGoing, None, 0)
    ///     .without_events()
    ///     .with_known_ends([(build, TaskEnd::Succeeded)]);
    /// machine.handle(Monotonic::ZERO, Input::Start(Timestamp::from_micros(0)));
    /// assert!(matches!(machine.next_effect(), Some(Effect::Execute { task, .. }) if task == test));
    /// # Ok::<(), holdpoint_graph::BuildError>(())
    /// ```
    #[must_use]
    pub fn with_known_ends(mut self, ends: impl IntoIterator<Item = (TaskId, TaskEnd)>) -> Self {
        self.known.extend(ends);
        self
    }

    /// Takes in what happened. An input that fits no state (such as a late answer) is ignored.
    pub fn handle(&mut self, now: Monotonic, input: Input) {
        match input {
            Input::Start(wall) => self.start(now, wall),
            Input::GateEnded(task, gate) => self.gate_ended(now, task, gate),
            Input::LookedUp(task, lookup) => self.looked_up(now, task, lookup),
            Input::HoldsGranted(task) => self.holds_granted(now, task),
            Input::HoldsQueued(task) => self.holds_queued(now, task),
            Input::Executed(task, end) => self.executed(now, task, end),
            Input::Recorded(task) => self.recorded(now, task),
            Input::Cancel(info) => self.cancel(now, info),
            Input::Time => self.time(now),
        }
        self.admit(now);
    }

    /// The next thing to do, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Time`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.next()
    }

    /// Whether every task has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Whether the run waits for gates alone: one at least is awaited, and nothing else is under
    /// way or can begin before a gate has ended. Costs O(1). Of interest once all effects are
    /// carried out.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.gated > 0 && self.under_way == 0
    }

    /// The outcome of a task that has ended.
    #[must_use]
    pub fn outcome(&self, task: TaskId) -> Option<Outcome> {
        self.state[task.index()].is_terminal().then(|| self.terminal_outcome(task))
    }

    /// The report of what has happened. Tasks that have not ended have no row in it.
    #[must_use]
    pub fn into_report(self) -> Report {
        Report {
            topology: self.topology,
            state: self.state,
            word: self.word,
            began: self.began.monotonic,
            started: self.started,
            finished: self.finished,
            attempts: self.attempts,
            details: self.details,
            causes: self.causes,
            still_running: Vec::new(),
            observer_panic: None,
        }
    }

    fn start(&mut self, now: Monotonic, wall: Timestamp) {
        self.began = Now { wall, monotonic: now };
        self.take_up_known(now);
        self.begun = true;
        // By class and rank: a heap that is filled in order costs nothing to fill.
        for index in 0..self.topology.len() {
            let task = self.topology.order[index];
            if self.word[task.index()] == 0 && self.state[task.index()] == State::Pending {
                self.arrive(now, task);
            }
        }
    }

    /// All predecessors allow the task to go on.
    fn arrive(&mut self, now: Monotonic, task: TaskId) {
        if self.topology.settings(task).gate {
            self.set(task, State::Gated);
            self.event(now, task, TaskEventKind::GateAwaited);
            self.effects.push_back(Effect::AwaitGate(task));
        } else {
            self.make_ready(task);
        }
    }

    fn make_ready(&mut self, task: TaskId) {
        self.set(task, State::Ready);
        self.admission.add_ready(task);
    }

    /// Starts what slots and caps allow, in order.
    fn admit(&mut self, now: Monotonic) {
        while self.asking == 0
            && !self.is_failing()
            && let Some(task) = self.admission.take()
        {
            match self.state[task.index()] {
                State::Reserved => self.execute(now, task),
                State::Ready => self.admit_ready(now, task),
                // Taken back while it waited: its place goes to the next.
                _ => self.admission.give_back(task),
            }
        }
    }

    fn admit_ready(&mut self, now: Monotonic, task: TaskId) {
        let settings = self.topology.settings(task);
        if !self.missed.is_empty() && self.missed.remove(&task) {
            self.go_on_after_miss(now, task);
        } else if settings.lookup && !self.attempts.contains_key(&task) {
            self.set(task, State::Lookup);
            self.effects.push_back(Effect::LookUp(task));
        } else {
            self.ask_or_execute(now, task);
        }
    }

    fn go_on_after_miss(&mut self, now: Monotonic, task: TaskId) {
        self.event(now, task, TaskEventKind::Miss);
        self.ask_or_execute(now, task);
    }

    fn ask_or_execute(&mut self, now: Monotonic, task: TaskId) {
        if self.topology.settings(task).holds.is_some() {
            self.set(task, State::Asking);
            self.asking += 1;
            // Tickets are numbered as they are asked for, so this is their order too.
            self.requests = self.requests.wrapping_add(1);
            self.word[task.index()] = self.requests;
            self.effects.push_back(Effect::RequestHolds(task));
        } else {
            self.execute(now, task);
        }
    }

    /// Begins an attempt; slot, caps and holds are taken.
    fn execute(&mut self, now: Monotonic, task: TaskId) {
        self.set(task, State::Running);
        let settings = self.topology.settings(task);
        let timeout = settings.timeout;
        let mut attempt = 1;
        if settings.retry.is_some() {
            let attempts = self.attempts.entry(task).or_insert(0);
            *attempts += 1;
            attempt = *attempts;
        }
        if attempt == 1 {
            self.started[task.index()] = now;
            self.event(now, task, TaskEventKind::Started);
        }
        if let Some(limit) = timeout {
            self.deadlines.set(task, now + limit, Due::Timeout);
        }
        self.effects.push_back(Effect::Execute { task, attempt });
    }

    fn gate_ended(&mut self, now: Monotonic, task: TaskId, gate: Gate) {
        if self.state[task.index()] != State::Gated {
            return;
        }
        match gate {
            Gate::Open => self.make_ready(task),
            Gate::Failed(failure) => self.end_failed(now, task, State::Failed, failure),
            Gate::Skip(reason) => self.end_skipped(now, task, reason),
        }
    }

    fn looked_up(&mut self, now: Monotonic, task: TaskId, lookup: Lookup) {
        if self.state[task.index()] != State::Lookup {
            return;
        }
        self.deadlines.clear(task);
        if let Lookup::Miss = lookup {
            if !self.may_start(task) {
                self.leave_flight(now, task);
                self.end_unstarted(now, task);
            } else if self.is_failing() {
                self.leave_flight(now, task);
                self.missed.insert(task);
                self.make_ready(task);
            } else {
                self.go_on_after_miss(now, task);
            }
            return;
        }
        self.leave_flight(now, task);
        match lookup {
            Lookup::Hit => self.end(now, task, State::Hit),
            Lookup::Skip(reason) => self.end_skipped(now, task, reason),
            Lookup::Errored(failure) => self.end_failed(now, task, State::Errored, failure),
            Lookup::Miss => {}
        }
    }

    fn holds_granted(&mut self, now: Monotonic, task: TaskId) {
        self.answered(task);
        match self.state[task.index()] {
            State::Asking if !self.may_start(task) => {
                self.leave_flight(now, task);
                self.end_unstarted(now, task);
            }
            State::Asking if !self.is_failing() => {
                self.event(now, task, TaskEventKind::HoldAcquired);
                self.execute(now, task);
            }
            State::Asking => {
                self.admission.give_back(task);
                self.reserve(now, task);
            }
            State::Waiting => self.reserve(now, task),
            _ => {}
        }
    }

    fn reserve(&mut self, now: Monotonic, task: TaskId) {
        self.event(now, task, TaskEventKind::HoldAcquired);
        self.set(task, State::Reserved);
        self.admission.add_reserved(task, self.word[task.index()]);
    }

    fn holds_queued(&mut self, now: Monotonic, task: TaskId) {
        self.answered(task);
        if self.state[task.index()] != State::Asking {
            return;
        }
        if !self.may_start(task) {
            self.leave_flight(now, task);
            self.end_unstarted(now, task);
            return;
        }
        self.event(now, task, TaskEventKind::HoldWaiting);
        self.set(task, State::Waiting);
        self.admission.give_back(task);
    }

    fn answered(&mut self, task: TaskId) {
        self.asking -= u32::from(self.state[task.index()] == State::Asking);
    }

    fn executed(&mut self, now: Monotonic, task: TaskId, end: TaskEnd) {
        if self.state[task.index()] != State::Running {
            return;
        }
        self.deadlines.clear(task);
        let overdue = !self.overdue.is_empty() && self.overdue.remove(&task);
        self.leave_flight(now, task);
        match end {
            // What really finished is reported as finished, also after a cancel.
            TaskEnd::Succeeded => self.end_executed(now, task, State::Succeeded),
            TaskEnd::Failed(_) | TaskEnd::Errored(_) | TaskEnd::Cancelled if overdue => {
                let limit = self.topology.settings(task).timeout.unwrap_or_default();
                let failure =
                    TaskFailure::new(format!("timed out after {limit:?}")).with_code("timeout");
                self.attempt_failed(now, task, State::Failed, failure);
            }
            TaskEnd::Failed(failure) => self.attempt_failed(now, task, State::Failed, failure),
            TaskEnd::Errored(failure) => self.attempt_failed(now, task, State::Errored, failure),
            TaskEnd::Cancelled => self.end_cancelled(now, task),
        }
    }

    fn attempt_failed(&mut self, now: Monotonic, task: TaskId, state: State, failure: TaskFailure) {
        let retry = self.topology.settings(task).retry;
        let begun = self.attempts.get(&task).copied().unwrap_or(1);
        match retry {
            Some(retry)
                if begun < retry.attempts && !failure.is_permanent() && self.may_retry(task) =>
            {
                let delay = retry.backoff.delay(begun, self.chance());
                *self.detail(task) = Detail {
                    failure: Some(failure.clone()),
                    errored: state == State::Errored,
                    ..Detail::default()
                };
                self.set(task, State::Backoff);
                self.deadlines.set(task, now + delay, Due::Retry);
                let kind = TaskEventKind::Retry { attempt: begun + 1, delay, failure };
                self.event(now, task, kind);
            }
            _ => {
                self.detail(task).failure = Some(failure);
                self.end_executed(now, task, state);
            }
        }
    }

    fn cancel(&mut self, now: Monotonic, info: CancelInfo) {
        // Where it comes before the start: what had ended is not cancelled.
        self.take_up_known(now);
        let failed_fast = match self.phase {
            Phase::Cancelled { .. } => return,
            _ if self.is_done() => return,
            Phase::FailingFast(root) => Some(root),
            Phase::Running | Phase::Stopping(_) => None,
        };
        self.phase = Phase::Cancelled { failed_fast };
        self.causes.run = Some(Arc::new(info));
        self.end_rest(now);
        self.grant_grace(now);
    }

    fn time(&mut self, now: Monotonic) {
        while let Some((task, due)) = self.deadlines.pop(now) {
            match due {
                Due::Retry => self.make_ready(task),
                Due::Timeout => {
                    self.overdue.insert(task);
                    let limit = self.topology.settings(task).timeout.unwrap_or_default();
                    let text = format!("timed out after {limit:?}");
                    let info = CancelInfo::new(CancelCode::Timeout, text, self.wall(now));
                    self.effects.push_back(Effect::Cancel(task, Arc::new(info)));
                    if let Some(grace) = self.grace {
                        self.deadlines.set(task, now + grace, Due::Grace);
                    }
                }
                Due::Grace => self.abort(now, task),
            }
        }
    }

    fn abort(&mut self, now: Monotonic, task: TaskId) {
        self.effects.push_back(Effect::Abort(task));
        self.detail(task).aborted = true;
        match self.state[task.index()] {
            State::Lookup => self.looked_up(now, task, Lookup::Miss),
            _ => self.executed(now, task, TaskEnd::Cancelled),
        }
    }

    /// Whether a task that is not in flight may still begin.
    fn may_start(&self, task: TaskId) -> bool {
        match self.phase {
            Phase::Running => true,
            Phase::Stopping(_) | Phase::FailingFast(_) => self.topology.settings(task).finally,
            Phase::Cancelled { .. } => false,
        }
    }

    /// Whether a task whose attempt failed may be tried again.
    fn may_retry(&self, task: TaskId) -> bool {
        self.may_start(task) && (!self.is_failing() || self.topology.settings(task).finally)
    }

    /// Whether a failure is being recorded at which the run will stop: nothing begins any more,
    /// but the rest does not end before it.
    fn is_failing(&self) -> bool {
        self.failing && matches!(self.phase, Phase::Running)
    }

    /// Gives back slot, caps and holds.
    fn leave_flight(&mut self, now: Monotonic, task: TaskId) {
        let state = self.state[task.index()];
        debug_assert!(state.is_in_flight());
        if state.has_holds() && self.topology.settings(task).holds.is_some() {
            self.effects.push_back(Effect::ReleaseHolds(task));
            if state == State::Running {
                self.event(now, task, TaskEventKind::HoldReleased);
            }
        }
        self.admission.give_back(task);
    }

    /// The one place where a state changes.
    fn set(&mut self, task: TaskId, state: State) {
        let before = std::mem::replace(&mut self.state[task.index()], state);
        debug_assert!(!before.is_terminal(), "BUG: {task:?} ended twice: {before:?}, {state:?}");
        self.open -= usize::from(state.is_terminal());
        self.gated += u32::from(state == State::Gated);
        self.gated -= u32::from(before == State::Gated);
        self.under_way += u32::from(state.is_under_way());
        self.under_way -= u32::from(before.is_under_way());
    }

    fn succeeded(&self, task: TaskId) -> bool {
        match self.state[task.index()] {
            State::Succeeded | State::Hit => true,
            State::Failed | State::Errored => self.topology.settings(task).allow_failure,
            _ => false,
        }
    }

    fn detail(&mut self, task: TaskId) -> &mut Detail {
        self.details.entry(task).or_default()
    }

    fn event(&mut self, at: Monotonic, task: TaskId, kind: TaskEventKind) {
        if self.observed {
            self.effects.push_back(Effect::Event(TaskEvent { at, task, kind }));
        }
    }

    fn terminal_outcome(&self, task: TaskId) -> Outcome {
        outcome(&self.topology, &self.state, &self.word, &self.details, &self.causes, task)
    }

    /// Wall time by the monotonic clock since the start: a step of the wall clock during the
    /// run does not reach its records.
    fn wall(&self, now: Monotonic) -> Timestamp {
        let passed = u64::try_from((now - self.began.monotonic).as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(self.began.wall.as_micros().saturating_add(passed))
    }

    /// A number in [0, 1) from the seed (SplitMix64).
    fn chance(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}
