//! Children of the virtual spawner under a supervisor, in a session of their own.
//!
//! The decisions about a child, when to signal it and when its task is over, are a
//! [`Supervisor`]: the shape of the process crate's own machine, so that the tests there wrap
//! theirs in a few lines and play it here. [`PlainSupervisor`] is the plainest one that keeps the
//! rules.

use std::collections::BTreeMap;
use std::time::Duration;

use holdpoint_core::event::{CacheSource, EventKind, FailCause};
use holdpoint_core::session::{BodyEnd, Completion, Owner, SessionInput, StateName};
use holdpoint_core::{CancelCode, Monotonic, TaskName};

use super::{Actor, Recorder, World};
use crate::spawner::{ChildEnd, ChildId, ChildScript, Noticed, Signal, VirtualSpawner};

/// What a supervisor sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The process has ended and is not reaped.
    Exited,
    /// Nobody holds its output any more.
    OutputClosed,
    /// Somebody wants it to stop.
    Cancelled,
    /// Nobody but the ended leader is left in the group.
    GroupEmpty,
    /// The deadline has come, or the last order was carried out.
    Tick,
}

/// What a supervisor wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A signal to the group.
    Signal(Signal),
    /// See whether the group has members besides the ended leader; [`Seen::GroupEmpty`] if not.
    LookForMembers,
    /// The task is over: reap it.
    Finish {
        /// Somebody still holds its output.
        leaky_output: bool,
    },
}

/// Decides about one child. Times are those since its start. Orders are carried out one by one,
/// each answered by a call.
pub trait Supervisor: 'static {
    /// Takes in what was seen.
    fn handle(&mut self, now: Duration, seen: Seen) -> Option<Order>;

    /// When to come back with [`Seen::Tick`].
    fn next_deadline(&self) -> Option<Duration>;
}

/// SIGTERM on a cancel, SIGKILL after the grace and always before the end of what was cancelled;
/// otherwise over when the process has ended and its output has, or the drain has passed.
#[derive(Debug, Clone)]
pub struct PlainSupervisor {
    grace: Duration,
    drain: Duration,
    exited: bool,
    closed: bool,
    kill_at: Option<Duration>,
    killed: bool,
    /// When the task is over at the latest.
    over_at: Option<Duration>,
    over: bool,
}

impl PlainSupervisor {
    /// With a grace and a drain.
    #[must_use]
    pub fn new(grace: Duration, drain: Duration) -> Self {
        Self {
            grace,
            drain,
            exited: false,
            closed: false,
            kill_at: None,
            killed: false,
            over_at: None,
            over: false,
        }
    }

    fn kill(&mut self, now: Duration) -> Option<Order> {
        self.killed = true;
        self.over_at = Some(now + self.drain);
        Some(Order::Signal(Signal::Kill))
    }
}

impl Supervisor for PlainSupervisor {
    fn handle(&mut self, now: Duration, seen: Seen) -> Option<Order> {
        self.exited |= seen == Seen::Exited;
        self.closed |= seen == Seen::OutputClosed;
        if self.over {
            return None;
        }
        if seen == Seen::Cancelled && self.kill_at.is_none() && !self.exited {
            self.kill_at = Some(now + self.grace);
            return Some(Order::Signal(Signal::Terminate));
        }
        if self.kill_at.is_some_and(|at| now >= at) && !self.killed {
            return self.kill(now);
        }
        // What was cancelled has until the grace is over, the members of its group too.
        let waits = self.kill_at.is_some() && !self.killed;
        if self.exited && !waits {
            let over_at = *self.over_at.get_or_insert(now + self.drain);
            if self.closed || now >= over_at {
                self.over = true;
                return Some(Order::Finish { leaky_output: !self.closed });
            }
        }
        None
    }

    fn next_deadline(&self) -> Option<Duration> {
        let kill_at = self.kill_at.filter(|_| !self.killed);
        if self.over { None } else { kill_at.or(self.over_at) }
    }
}

/// A child to be played: when it is started, what it does, when it is cancelled.
#[derive(Debug, Clone)]
pub struct ChildPlay {
    /// The name of its task.
    pub task: TaskName,
    /// When it is started.
    pub starts: Duration,
    /// What it does.
    pub script: ChildScript,
    /// When somebody wants it to stop.
    pub cancel: Option<Duration>,
}

/// What can happen to a [`ProcessActor`].
#[derive(Debug, Clone)]
pub struct ProcessHappening(What);

#[derive(Debug, Clone, Copy)]
enum What {
    Start(usize),
    Cancel(usize),
    /// The spawner has something to do.
    System,
    /// A supervisor's deadline.
    Tick(ChildId),
}

/// Plays children, each under a supervisor of its own.
pub struct ProcessActor<S> {
    system: VirtualSpawner,
    plays: Vec<ChildPlay>,
    supervise: Box<dyn FnMut() -> S>,
    grace: Duration,
    recorder: Option<Recorder>,
    children: BTreeMap<ChildId, Child<S>>,
    by_play: Vec<Option<ChildId>>,
    ended: usize,
    leaky: usize,
    lines: Vec<(TaskName, String)>,
    /// The deadline of the system that is in the queue.
    armed: Option<Monotonic>,
}

struct Child<S> {
    play: usize,
    began: Monotonic,
    supervisor: S,
    cancelled: bool,
    over: bool,
    /// The deadline of its supervisor that is in the queue.
    armed: Option<Monotonic>,
}

type ProcessWorld<'a> = World<'a, ProcessHappening>;

impl<S: Supervisor> ProcessActor<S> {
    /// Plays `plays` on `system`. `grace` is that of the supervisors: a second after it nothing of
    /// a cancelled child may live.
    #[must_use]
    pub fn new(
        system: VirtualSpawner,
        plays: Vec<ChildPlay>,
        grace: Duration,
        supervise: impl FnMut() -> S + 'static,
    ) -> Self {
        Self {
            by_play: vec![None; plays.len()],
            supervise: Box::new(supervise),
            system,
            plays,
            grace,
            recorder: None,
            children: BTreeMap::new(),
            ended: 0,
            leaky: 0,
            lines: Vec::new(),
            armed: None,
        }
    }

    /// The system and its books.
    #[must_use]
    pub fn system(&self) -> &VirtualSpawner {
        &self.system
    }

    /// The lines that were written, in order.
    #[must_use]
    pub fn lines(&self) -> &[(TaskName, String)] {
        &self.lines
    }

    /// How many tasks were over while somebody held their output.
    #[must_use]
    pub fn leaky(&self) -> usize {
        self.leaky
    }

    fn publish(&mut self, kind: EventKind, world: &mut ProcessWorld<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.publish(kind, world);
        }
    }

    fn start(&mut self, play: usize, world: &mut ProcessWorld<'_>) {
        let ChildPlay { task, script, .. } = self.plays[play].clone();
        let now = world.now().monotonic;
        self.publish(EventKind::TaskStarted { task: task.clone() }, world);
        match self.system.spawn(now, &script) {
            Ok(child) => {
                let supervisor = (self.supervise)();
                self.by_play[play] = Some(child);
                let state = Child {
                    play,
                    began: now,
                    supervisor,
                    cancelled: false,
                    over: false,
                    armed: None,
                };
                self.children.insert(child, state);
                let (pid, start, attempt) = (child.pid(), 1, 1);
                self.publish(EventKind::ProcessStarted { task, pid, start, attempt }, world);
            }
            Err(refusal) => {
                let message = refusal.to_string().into();
                self.task_ends(EventKind::TaskErrored { task, message, allowed: false }, world);
            }
        }
    }

    fn cancel(&mut self, play: usize, world: &mut ProcessWorld<'_>) {
        if let Some(child) = self.by_play[play] {
            self.tell(child, Seen::Cancelled, world);
        }
    }

    /// Tells a supervisor what was seen, and does what it wants.
    fn tell(&mut self, id: ChildId, mut seen: Seen, world: &mut ProcessWorld<'_>) {
        let now = world.now().monotonic;
        while let Some(child) = self.children.get_mut(&id) {
            let order = child.supervisor.handle(now - child.began, seen);
            if child.over {
                if let Some(order) = order {
                    world.fail(format!("{id}: {order:?} after it was over"));
                }
                return;
            }
            let Some(order) = order else {
                let deadline = child.supervisor.next_deadline().map(|at| child.began + at);
                if let Some(at) = deadline.filter(|_| child.armed != deadline) {
                    child.armed = deadline;
                    world.at(at, ProcessHappening(What::Tick(id)));
                }
                return;
            };
            seen = Seen::Tick;
            match order {
                Order::Signal(signal) => {
                    child.cancelled = true;
                    self.system.signal(now, id, signal);
                }
                Order::LookForMembers if self.system.members(id) == 0 => seen = Seen::GroupEmpty,
                Order::LookForMembers => {}
                Order::Finish { leaky_output } => {
                    child.over = true;
                    let (play, cancelled) = (child.play, child.cancelled);
                    self.leaky += usize::from(leaky_output);
                    self.finish(id, play, cancelled, world);
                }
            }
        }
    }

    fn finish(&mut self, id: ChildId, play: usize, cancelled: bool, world: &mut ProcessWorld<'_>) {
        let task = self.plays[play].task.clone();
        let Some(end) = self.system.reap(id) else {
            world.fail(format!("{task} was over before its {id} had ended"));
            return;
        };
        let (exit_code, signal) = match end {
            ChildEnd::Code(code) => (Some(code), None),
            ChildEnd::Signal(signal) => (None, Some(signal)),
        };
        let (pid, of) = (id.pid(), task.clone());
        self.publish(EventKind::ProcessExited { task: of, pid, exit_code, signal }, world);
        self.task_ends(task_end(task, end, cancelled), world);
    }

    fn task_ends(&mut self, kind: EventKind, world: &mut ProcessWorld<'_>) {
        self.publish(kind, world);
        self.ended += 1;
        if self.ended == self.plays.len()
            && let Some(recorder) = &mut self.recorder
        {
            recorder.must(SessionInput::End(BodyEnd::Ok(Completion::default())), world);
        }
    }

    /// Passes on what the system shows, and comes back when it does something more.
    fn look(&mut self, world: &mut ProcessWorld<'_>) {
        self.system.advance(world.now().monotonic);
        while let Some(notice) = self.system.next_notice() {
            let seen = match notice.what {
                Noticed::Exited => Seen::Exited,
                Noticed::OutputClosed => Seen::OutputClosed,
                Noticed::Line(line) => {
                    if let Some(child) = self.children.get(&notice.child) {
                        self.lines.push((self.plays[child.play].task.clone(), line));
                    }
                    continue;
                }
            };
            self.tell(notice.child, seen, world);
        }
        let deadline = self.system.next_deadline();
        if let Some(at) = deadline.filter(|_| self.armed != deadline) {
            self.armed = deadline;
            world.at(at, ProcessHappening(What::System));
        }
    }
}

impl<S: Supervisor> Actor for ProcessActor<S> {
    type Happening = ProcessHappening;

    fn begin(&mut self, world: &mut ProcessWorld<'_>) {
        let mut recorder = Recorder::plan(world);
        recorder.must(SessionInput::Claim(Owner { instance: 1, epoch: 1 }), world);
        self.recorder = Some(recorder);
        for (number, play) in self.plays.iter().enumerate() {
            world.after(play.starts, ProcessHappening(What::Start(number)));
            if let Some(when) = play.cancel {
                world.after(when, ProcessHappening(What::Cancel(number)));
            }
        }
    }

    fn happens(&mut self, what: ProcessHappening, world: &mut ProcessWorld<'_>) {
        match what.0 {
            What::Start(play) => self.start(play, world),
            What::Cancel(play) => self.cancel(play, world),
            What::System => self.armed = None,
            What::Tick(child) => {
                if let Some(state) = self.children.get_mut(&child) {
                    state.armed = None;
                }
                self.tell(child, Seen::Tick, world);
            }
        }
        self.look(world);
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some(fault) = self.system.faults().first() {
            return Err(fault.clone());
        }
        if let Some(child) = self.system.outlived(self.grace).first() {
            return Err(format!("something of {child} lived on after its cancel and the grace"));
        }
        let census = self.system.census();
        if census.reaped != census.spawned {
            return Err(format!("not everything was reaped: {census:?}"));
        }
        let state = self.recorder.as_ref().map(|recorder| recorder.machine().state().name());
        if state == Some(StateName::Done) || self.plays.is_empty() {
            return Ok(());
        }
        Err(format!("{} of {} tasks have ended", self.ended, self.plays.len()))
    }
}

/// A process that was signalled counts as cancelled unless it exited with 0.
fn task_end(task: TaskName, end: ChildEnd, cancelled: bool) -> EventKind {
    match end {
        ChildEnd::Code(0) => EventKind::TaskSucceeded { task, source: CacheSource::Fresh },
        _ if cancelled => {
            let cause = CancelCode::User;
            EventKind::TaskCancelled { task, cause, text: None, upstream: None }
        }
        ChildEnd::Code(code) => EventKind::TaskFailed {
            task,
            cause: FailCause::Exit,
            message: format!("exit code {code}").into(),
            exit_code: Some(code),
            allowed: false,
        },
        ChildEnd::Signal(signal) => EventKind::TaskFailed {
            task,
            cause: FailCause::Signal,
            message: format!("signal {signal}").into(),
            exit_code: None,
            allowed: false,
        },
    }
}

impl<S> std::fmt::Debug for ProcessActor<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessActor")
            .field("system", &self.system)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
