//! The shell around the machine: starts futures, asks for holds, keeps the timer, and feeds
//! what comes back.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use holdpoint_core::{CancelInfo, Monotonic};
use holdpoint_hold::{Claims, HoldClient, HoldTicket};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep};

use crate::error::RunError;
use crate::machine::{Effect, Input, Machine};
use crate::options::RunOptions;
use crate::place::{Ended, Held, InlinePlace, Place, SpreadPlace};
use crate::report::{Observer, Outcome, Report};
use crate::runner::{
    Gate, LazyToken, Lookup, SendTaskRunner, TaskContext, TaskEnd, TaskFailure, TaskRunner,
};
use crate::topology::{TaskId, Topology};

/// How many futures may end in one poll before the driver lets others of its thread run.
const BUDGET: u32 = 256;

/// Runs a graph with all tasks on the caller's own task. They may borrow and need not be
/// `Send`; the future is `Send` if they are. Ends when every task has ended.
///
/// Works on any executor; timeouts, retries and the grace after a cancel need a tokio runtime
/// with its time driver enabled.
///
/// # Errors
/// [`RunError`], before anything started.
///
/// # Cancel safety
/// Dropping the future drops what is in flight and releases its holds; for an orderly end fire
/// the token of [`RunOptions::cancel`].
pub async fn run<R: TaskRunner, O: Observer>(
    topology: &Arc<Topology>,
    runner: &R,
    options: RunOptions<O>,
) -> Result<Report, RunError> {
    let work = |cx, work| inline_work(runner, cx, work);
    drive(topology, InlinePlace::new(), work, options, false).await
}

/// Runs a graph with each task spawned on the tokio runtime, spread over its threads.
///
/// # Errors
/// [`RunError`], before anything started.
///
/// # Cancel safety
/// Dropping the future aborts what is in flight; the holds of an aborted task are released when
/// its future is gone.
pub async fn run_spawned<R: SendTaskRunner, O: Observer + Send>(
    topology: &Arc<Topology>,
    runner: Arc<R>,
    options: RunOptions<O>,
) -> Result<Report, RunError> {
    let work = move |cx, work| spread_work(Arc::clone(&runner), cx, work);
    drive(topology, SpreadPlace::new(), work, options, true).await
}

/// What a future is made for.
enum Work {
    Gate,
    Lookup,
    Execute,
    /// Boxed, so that the other futures do not grow by it.
    Record(Box<Outcome>),
}

impl Work {
    fn stage(&self) -> Stage {
        match self {
            Self::Gate => Stage::Gate,
            Self::Lookup => Stage::Lookup,
            Self::Execute => Stage::Execute,
            Self::Record(_) => Stage::Record,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Gate,
    Lookup,
    Execute,
    Record,
}

enum Done {
    Gate(Gate),
    LookedUp(Lookup),
    Executed(TaskEnd),
    Recorded,
}

async fn inline_work<R: TaskRunner>(runner: &R, cx: TaskContext, work: Work) -> Done {
    match work {
        Work::Gate => Done::Gate(runner.gate(cx).await),
        Work::Lookup => Done::LookedUp(runner.lookup(cx).await),
        Work::Execute => Done::Executed(runner.execute(cx).await),
        Work::Record(outcome) => {
            runner.record(cx, *outcome).await;
            Done::Recorded
        }
    }
}

async fn spread_work<R: SendTaskRunner>(runner: Arc<R>, cx: TaskContext, work: Work) -> Done {
    match work {
        Work::Gate => Done::Gate(runner.gate(cx).await),
        Work::Lookup => Done::LookedUp(runner.lookup(cx).await),
        Work::Execute => Done::Executed(runner.execute(cx).await),
        Work::Record(outcome) => {
            runner.record(cx, *outcome).await;
            Done::Recorded
        }
    }
}

async fn drive<F, P, W, O>(
    topology: &Arc<Topology>,
    place: P,
    work: W,
    mut options: RunOptions<O>,
    spawns: bool,
) -> Result<Report, RunError>
where
    F: Future<Output = Done>,
    P: Place<F>,
    W: FnMut(TaskContext, Work) -> F,
    O: Observer,
{
    let has_runtime = Handle::try_current().is_ok();
    check(topology, &options, has_runtime, spawns)?;
    let claims = claims(topology, &options)?;
    // Without a runtime there is no timer for it: tasks end when they do.
    let grace = options.grace.filter(|_| has_runtime);
    let mut machine =
        Machine::new(topology, &options.limits, options.on_failure, grace, options.seed);
    if !O::WANTS_EVENTS {
        machine = machine.without_events();
    }
    if options.recorded {
        machine = machine.with_recorded_ends();
    }
    machine = machine.with_known_ends(std::mem::take(&mut options.known));
    let start = options.clock.now();
    let mut driver = Driver {
        place,
        work,
        machine,
        slots: Vec::new(),
        free: Vec::new(),
        slot_of: vec![NONE; topology.len()],
        tickets: Vec::new(),
        waiting: 0,
        client: options.holds.client(&options.label),
        claims,
        timer: None,
        observer_panic: None,
        parked: false,
        has_runtime,
        now: start.monotonic,
        topology: Arc::clone(topology),
        options,
    };
    if !topology.hold_lists.is_empty() {
        driver.tickets.resize_with(topology.len(), || None);
    }
    let cancel = driver.options.cancel.clone();
    let mut cancelled = Some(std::pin::pin!(cancel.cancelled()));
    // What the start admits is in flight, and would be called: so the machine hears of this first.
    if cancel.is_cancelled()
        && let Some(fired) = cancelled.take()
    {
        let cause = fired.await;
        driver.machine.handle(start.monotonic, Input::Cancel(cause));
    }
    driver.machine.handle(start.monotonic, Input::Start(start.wall));
    poll_fn(|cx| driver.poll(cx, &mut cancelled)).await;
    let mut report = driver.machine.into_report();
    report.observer_panic = driver.observer_panic;
    Ok(report)
}

const NONE: u32 = u32::MAX;

struct Driver<P, W, O> {
    /// First, so that futures are dropped before the holds they wait for or keep.
    place: P,
    work: W,
    machine: Machine,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// For each task in flight or at its gate, its slot.
    slot_of: Vec<u32>,
    /// Tickets of tasks that have asked and do not execute yet; empty where no task has holds.
    tickets: Vec<Option<Asked>>,
    /// How many of them are queued.
    waiting: usize,
    client: HoldClient,
    /// For each hold list of the topology.
    claims: Vec<Claims>,
    timer: Option<(Monotonic, Pin<Box<Sleep>>)>,
    observer_panic: Option<String>,
    /// Whether it was told that the run is parked, and that is so still.
    parked: bool,
    has_runtime: bool,
    /// When something last ended or the driver was last woken: what follows from that happens
    /// at the same time.
    now: Monotonic,
    topology: Arc<Topology>,
    options: RunOptions<O>,
}

struct Asked {
    ticket: HoldTicket,
    /// Its turn has not come out of the client yet.
    queued: bool,
}

struct Slot {
    task: TaskId,
    stage: Stage,
    token: Arc<LazyToken>,
}

impl<P, W, O: Observer> Driver<P, W, O> {
    fn poll<F, C>(&mut self, cx: &mut Context<'_>, cancelled: &mut Option<Pin<&mut C>>) -> Poll<()>
    where
        F: Future<Output = Done>,
        P: Place<F>,
        W: FnMut(TaskContext, Work) -> F,
        C: Future<Output = CancelInfo>,
    {
        let mut budget = BUDGET;
        self.read_clock();
        loop {
            let one_ended = self.carry_out();
            if !one_ended && self.machine.is_done() {
                return Poll::Ready(());
            }
            if let Some(waiting) = cancelled
                // The cause is a plain read; a bare token that somebody fires wakes the driver
                // and is seen when it is polled next.
                && (budget == BUDGET || self.options.cancel.cause().is_some())
                && let Poll::Ready(cause) = waiting.as_mut().poll(cx)
            {
                *cancelled = None;
                self.handle(Input::Cancel(cause));
                continue;
            }
            if self.waiting > 0
                && let Poll::Ready(cookie) = self.client.poll_granted(cx)
            {
                self.granted(TaskId(cookie));
                continue;
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if one_ended {
                budget -= 1;
                continue;
            }
            if let Poll::Ready((slot, ended)) = self.place.poll_ended(cx) {
                budget -= 1;
                self.ended(slot, ended);
                continue;
            }
            if self.poll_timer(cx).is_pending() {
                self.tell_parked();
                return Poll::Pending;
            }
        }
    }

    /// Carries out effects until the machine has none, or until a future ended at its first
    /// poll (then true): the caller looks at everything else before it goes on.
    fn carry_out<F>(&mut self) -> bool
    where
        F: Future<Output = Done>,
        P: Place<F>,
        W: FnMut(TaskContext, Work) -> F,
    {
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Event(event) => self.tell(&event),
                Effect::Execute { task, attempt } => {
                    let ticket = self.tickets.get_mut(task.index()).and_then(Option::take);
                    if self.start(task, Work::Execute, attempt, ticket.map(|asked| asked.ticket)) {
                        return true;
                    }
                }
                Effect::LookUp(task) => {
                    if self.start(task, Work::Lookup, 1, None) {
                        return true;
                    }
                }
                Effect::AwaitGate(task) => {
                    if self.start(task, Work::Gate, 1, None) {
                        return true;
                    }
                }
                Effect::Record { task, attempt, outcome } => {
                    if self.start(task, Work::Record(Box::new(outcome)), attempt, None) {
                        return true;
                    }
                }
                Effect::RequestHolds(task) => self.request(task),
                Effect::ReleaseHolds(task) => self.release(task),
                Effect::Cancel(task, cause) => {
                    if let Some(slot) = self.slots.get(self.slot_of[task.index()] as usize) {
                        slot.token.get().cancel_with(CancelInfo::clone(&cause));
                    }
                }
                Effect::DropGate(task) | Effect::Abort(task) => {
                    let slot = self.slot_of[task.index()];
                    if slot != NONE {
                        self.place.stop(slot);
                        // Only what is left of the attempt keeps its token, and its holds.
                        self.slots[slot as usize].token = self.new_token();
                        self.free(slot);
                    }
                }
            }
        }
        false
    }

    /// Starts a future; true where it ended at its first poll.
    fn start<F>(
        &mut self,
        task: TaskId,
        work: Work,
        attempt: u32,
        ticket: Option<HoldTicket>,
    ) -> bool
    where
        F: Future<Output = Done>,
        P: Place<F>,
        W: FnMut(TaskContext, Work) -> F,
    {
        let stage = work.stage();
        let slot = self.free.pop().unwrap_or_else(|| {
            let token = self.new_token();
            self.slots.push(Slot { task, stage, token });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        (place.task, place.stage) = (task, stage);
        // A token that somebody kept, or that was asked for, belongs to the task that had it.
        if Arc::strong_count(&place.token) > 1 || !place.token.is_unused() {
            place.token = Arc::new(LazyToken::new(self.options.cancel.clone()));
        }
        self.slot_of[task.index()] = slot;
        let context = TaskContext::new(task, attempt, Arc::clone(&place.token));
        let future = (self.work)(context, work);
        let held = ticket.map(|ticket| Held::new(ticket, &place.token));
        match self.place.start(slot, future, held) {
            Some(ended) => {
                self.ended(slot, ended);
                true
            }
            None => false,
        }
    }

    fn ended(&mut self, slot: u32, ended: Ended<Done>) {
        self.read_clock();
        let Slot { task, stage, .. } = self.slots[slot as usize];
        self.free(slot);
        let input = match (ended, stage) {
            (Ok(Done::Gate(gate)), _) => Input::GateEnded(task, gate),
            (Ok(Done::LookedUp(lookup)), _) => Input::LookedUp(task, lookup),
            (Ok(Done::Executed(end)), _) => Input::Executed(task, end),
            (Ok(Done::Recorded), _) => Input::Recorded(task),
            (Err(panic), Stage::Record) => {
                // The task has ended all the same, and others wait for it.
                let name = self.topology.name(task);
                tracing::error!("the end of task {name} is not recorded: {panic}");
                Input::Recorded(task)
            }
            (Err(panic), stage) => {
                let failure = TaskFailure::new(panic).with_code("panic");
                match stage {
                    Stage::Gate => Input::GateEnded(task, Gate::Failed(failure)),
                    Stage::Lookup => Input::LookedUp(task, Lookup::Errored(failure)),
                    _ => Input::Executed(task, TaskEnd::Failed(failure)),
                }
            }
        };
        // A task may see its token before the driver does: it stopped for the run's cause all the
        // same. The machine takes a second request for nothing.
        if let Some(cause) = self.options.cancel.cause() {
            self.handle(Input::Cancel(cause.clone()));
        }
        self.handle(input);
    }

    fn new_token(&self) -> Arc<LazyToken> {
        Arc::new(LazyToken::new(self.options.cancel.clone()))
    }

    fn free(&mut self, slot: u32) {
        self.slot_of[self.slots[slot as usize].task.index()] = NONE;
        self.free.push(slot);
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.parked = self.parked && self.machine.is_parked();
    }

    fn read_clock(&mut self) -> Monotonic {
        self.now = self.options.clock.monotonic();
        self.now
    }

    fn request(&mut self, task: TaskId) {
        let Some(list) = self.topology.settings(task).holds else { return };
        let ticket = self.client.request(&self.claims[list as usize], task.0);
        let queued = !ticket.is_granted();
        let input = if queued {
            self.waiting += 1;
            Input::HoldsQueued(task)
        } else {
            Input::HoldsGranted(task)
        };
        self.tickets[task.index()] = Some(Asked { ticket, queued });
        self.handle(input);
    }

    fn granted(&mut self, task: TaskId) {
        if let Some(asked) = &mut self.tickets[task.index()] {
            asked.queued = false;
            self.waiting -= 1;
            self.handle(Input::HoldsGranted(task));
        }
    }

    fn release(&mut self, task: TaskId) {
        // None where the task executed: its ticket went with its future.
        if let Some(asked) = self.tickets.get_mut(task.index()).and_then(Option::take)
            && asked.queued
        {
            self.waiting -= 1;
        }
    }

    fn tell(&mut self, event: &crate::report::TaskEvent) {
        if self.observer_panic.is_some() {
            return;
        }
        let observer = &mut self.options.observer;
        if catch_unwind(AssertUnwindSafe(|| observer.event(event))).is_err() {
            self.observer_panic = Some("the observer panicked; it was told nothing more".into());
        }
    }

    /// Tells that the run is parked, once until it is not any more.
    fn tell_parked(&mut self) {
        if self.parked || !self.machine.is_parked() {
            return;
        }
        let Some(tell) = &mut self.options.on_parked else { return };
        self.parked = true;
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            self.options.on_parked = None;
            tracing::error!("who was told that the run is parked panicked, and is told no more");
        }
    }

    /// Ready when a deadline has passed and the machine was told.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.machine.next_deadline() else {
            self.timer = None;
            return Poll::Pending;
        };
        let now = self.read_clock();
        if now >= deadline {
            self.handle(Input::Time);
            return Poll::Ready(());
        }
        if !self.has_runtime {
            return Poll::Pending;
        }
        let (set_for, timer) =
            self.timer.get_or_insert_with(|| (deadline, Box::pin(sleep(deadline - now))));
        if *set_for != deadline {
            timer.as_mut().reset(Instant::now() + (deadline - now));
            *set_for = deadline;
        }
        if timer.as_mut().poll(cx).is_ready() {
            // The clock of the run decides; where it is behind tokio's, the timer is set anew.
            *set_for = Monotonic::ZERO;
            if self.options.clock.monotonic() < deadline {
                timer.as_mut().reset(Instant::now() + Duration::from_millis(1));
                let _ = timer.as_mut().poll(cx);
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

fn check<O>(
    topology: &Topology,
    options: &RunOptions<O>,
    has_runtime: bool,
    spawns: bool,
) -> Result<(), RunError> {
    let limits = &options.limits;
    if limits.jobs == 0 {
        return Err(RunError::ZeroLimit { what: "jobs".to_owned() });
    }
    if let Some((tag, _)) = limits.tags.iter().find(|(_, slots)| **slots == 0) {
        return Err(RunError::ZeroLimit { what: format!("tag `{tag}`") });
    }
    if let Some(class) = topology.classes.iter().find(|class| class.weight > limits.jobs) {
        let task = topology.order[class.positions.start as usize];
        return Err(RunError::WeightAboveLimit {
            task: topology.name(task).to_owned(),
            weight: class.weight,
            limit: limits.jobs,
        });
    }
    let needs_timer = topology
        .settings
        .iter()
        .any(|settings| settings.timeout.is_some() || settings.retry.is_some());
    if !has_runtime && (spawns || needs_timer) {
        return Err(RunError::NoRuntime);
    }
    Ok(())
}

/// The hold lists of the topology, checked against the run's hold set.
fn claims<O>(topology: &Topology, options: &RunOptions<O>) -> Result<Vec<Claims>, RunError> {
    for (scope, name, units) in &topology.capacities {
        options
            .holds
            .declare_in(scope, name, *units)
            .map_err(|source| RunError::Capacity { hold: name.clone(), source })?;
    }
    let mut claims = Vec::with_capacity(topology.hold_lists.len());
    for (index, holds) in topology.hold_lists.iter().enumerate() {
        claims.push(options.holds.claims(holds).map_err(|source| {
            let uses = |task: &TaskId| topology.settings(*task).holds == Some(index as u32);
            let task = topology.tasks().find(uses).map_or("", |task| topology.name(task));
            RunError::Hold { task: task.to_owned(), source }
        })?);
    }
    Ok(claims)
}
