//! A run of a task graph: the graph's machine with a hold set, in a session of its own.
//!
//! [`GraphActor`] is what the real driver is, without futures: it answers requests for holds at
//! once, plays the tasks as its [`GraphWork`] says, keeps the deadlines, and translates what the
//! machine tells into events. Where the owner is lost, all of it is gone at once; the run is
//! claimed again and begins anew.
//!
//! ```
//! use std::sync::Arc;
//! use holdpoint_graph::{Hold, Topology};
//! use holdpoint_testkit::sim::Simulation;
//! use holdpoint_testkit::sim::graph::{GoodWork, GraphActor, GraphPlay};
//! use holdpoint_testkit::sim::holds::HoldDesk;
//!
//! let mut graph = Topology::builder();
//! let build = graph.task("build").hold(Hold::exclusive("toolchain")).id();
//! graph.task("test").needs(build);
//! let topology = Arc::new(graph.build()?);
//!
//! let mut simulation = Simulation::new(7);
//! let play = GraphPlay::default();
//! let part = simulation.add(GraphActor::new(topology, &HoldDesk::new(), GoodWork, play));
//! let run = simulation.run()?;
//! assert!(run.actor(part).report().is_some_and(|report| report.is_success()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::HoldRef;
use holdpoint_core::session::{
    BodyEnd, Completion, Failure, Owner, SessionInput, StateName, SuspendCause,
};
use holdpoint_core::{CancelCode, CancelInfo, Monotonic, TaskName};
use holdpoint_graph::{
    EdgeKind, Effect, Gate, Input, Limits, Lookup, Machine, OnFailure, Report, TaskEnd, TaskId,
    Topology,
};
use holdpoint_hold::Claims;

use super::holds::{HoldDesk, Request, hold_ref};
use super::{Actor, Recorder, World};
use crate::audit::{Edge, Edges};

mod words;
mod work;

pub use self::work::{AnyWork, GoodWork, GraphWork};

/// How a graph is run, and what is done to it.
#[derive(Debug, Clone)]
pub struct GraphPlay {
    /// The slots of the run. Default: two.
    pub jobs: u32,
    /// Tags, each with its cap. Default: none.
    pub caps: Vec<(String, u32)>,
    /// What a failure does to the rest. Default: keep going.
    pub on_failure: OnFailure,
    /// How long a task may go on after its token fired. Default: 30 ms.
    pub grace: Option<Duration>,
    /// When somebody cancels the run. Default: never.
    pub cancel: Option<Duration>,
    /// When its owner is lost. Default: never.
    pub crashes: Vec<Duration>,
}

impl Default for GraphPlay {
    fn default() -> Self {
        Self {
            jobs: 2,
            caps: Vec::new(),
            on_failure: OnFailure::KeepGoing,
            grace: Some(Duration::from_millis(30)),
            cancel: None,
            crashes: Vec::new(),
        }
    }
}

/// What can happen to a [`GraphActor`].
#[derive(Debug, Clone)]
pub struct GraphHappening(What);

#[derive(Debug, Clone)]
enum What {
    Claim,
    Cancel,
    Crash,
    /// A deadline of the machine in this life.
    Time(u32),
    /// The answer to a request for holds.
    Granted(TaskId, u64),
    Gate(TaskId, u64, Gate),
    LookedUp(TaskId, u64, Lookup),
    Executed(TaskId, u64, TaskEnd),
}

/// Runs one graph.
pub struct GraphActor<W> {
    topology: Arc<Topology>,
    desk: HoldDesk<GraphHappening>,
    work: W,
    play: GraphPlay,
    names: Vec<TaskName>,
    holds: Vec<Arc<[HoldRef]>>,
    claims: Vec<Option<Claims>>,
    recorder: Option<Recorder>,
    life: Option<Life>,
    lives: u32,
    /// The number of the last thing that was begun, over all lives.
    begun: u64,
    report: Option<Report>,
}

/// What a crash takes away.
struct Life {
    machine: Machine,
    /// What each task in flight or at its gate does now. An answer with another number is void.
    doing: HashMap<TaskId, u64>,
    /// What takes slots and caps.
    in_flight: BTreeSet<TaskId>,
    executing: HashMap<TaskId, u64>,
    requests: HashMap<TaskId, (u64, Request)>,
    armed: Option<Monotonic>,
    /// The cause, and when what runs has to be over.
    cancel: Option<(CancelInfo, Option<Monotonic>)>,
}

type GraphWorld<'a> = World<'a, GraphHappening>;

impl<W: GraphWork> GraphActor<W> {
    /// A run of `topology` that begins with the simulation.
    ///
    /// # Panics
    /// Where a task or a hold has no good name, or asks for what `desk` does not have: capacities
    /// are to be declared there before.
    #[must_use]
    pub fn new(
        topology: Arc<Topology>,
        desk: &HoldDesk<GraphHappening>,
        work: W,
        play: GraphPlay,
    ) -> Self {
        let mut tasks: Vec<TaskId> = topology.tasks().collect();
        tasks.sort_unstable();
        let name = |&task: &TaskId| {
            let name = topology.name(task);
            name.parse().unwrap_or_else(|error| panic!("no name for a task: {name}: {error}"))
        };
        let refs = |&task: &TaskId| topology.holds(task).iter().filter_map(hold_ref).collect();
        let claims = |&task: &TaskId| {
            let holds = topology.holds(task);
            (!holds.is_empty()).then(|| desk.claims(holds))
        };
        Self {
            names: tasks.iter().map(name).collect(),
            holds: tasks.iter().map(refs).collect(),
            claims: tasks.iter().map(claims).collect(),
            desk: desk.clone(),
            recorder: None,
            life: None,
            lives: 0,
            begun: 0,
            report: None,
            topology,
            work,
            play,
        }
    }

    /// The report of the run; none where it has not ended.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// The session of the run; none before the simulation begins.
    #[must_use]
    pub fn session(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The work that was given.
    #[must_use]
    pub fn work(&self) -> &W {
        &self.work
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::default();
        for task in self.topology.tasks() {
            edges.task(self.names[task.index()].clone());
            for (after, kind) in self.topology.successors(task) {
                let edge = if kind == EdgeKind::Hard { Edge::Hard } else { Edge::Soft };
                let (after, before) = (&self.names[after.index()], &self.names[task.index()]);
                edges.edge(after.clone(), before.clone(), edge);
            }
        }
        edges
    }

    fn claim(&mut self, world: &mut GraphWorld<'_>) {
        let Some(recorder) = &mut self.recorder else { return };
        let owner = Owner { instance: 1, epoch: recorder.machine().epoch() + 1 };
        if recorder.apply(SessionInput::Claim(owner), world).is_err() {
            return;
        }
        let GraphPlay { jobs, caps, on_failure, grace, .. } = &self.play;
        let limits =
            caps.iter().fold(Limits::jobs(*jobs), |limits, (tag, cap)| limits.tag(tag, *cap));
        let seed = world.random().number();
        self.lives += 1;
        self.life = Some(Life {
            machine: Machine::new(&self.topology, &limits, *on_failure, *grace, seed),
            doing: HashMap::new(),
            in_flight: BTreeSet::new(),
            executing: HashMap::new(),
            requests: HashMap::new(),
            armed: None,
            cancel: None,
        });
        self.feed(Input::Start(world.now().wall), world);
        let pending = self.recorder.as_ref().and_then(|it| it.machine().cancel_requested());
        if let Some(cause) = pending.cloned() {
            self.stop(cause, world);
        }
    }

    /// The owner is gone: with it the machine, and what it held.
    fn crash(&mut self, world: &mut GraphWorld<'_>) {
        let (Some(recorder), Some(life)) = (&mut self.recorder, self.life.take()) else { return };
        let lost = SessionInput::Suspend(SuspendCause::Interrupted);
        recorder.must(lost, world);
        let mut requests: Vec<_> = life.requests.into_iter().collect();
        requests.sort_unstable_by_key(|(task, _)| *task);
        for (_, (_, request)) in requests {
            self.desk.release(request, world);
        }
        let back = world.random().millis(100);
        world.after(back, GraphHappening(What::Claim));
    }

    fn cancel(&mut self, world: &mut GraphWorld<'_>) {
        let cause = CancelInfo::new(CancelCode::User, "enough", world.now().wall);
        let Some(recorder) = &mut self.recorder else { return };
        if recorder.apply(SessionInput::Cancel(cause.clone()), world).is_ok() {
            self.stop(cause, world);
        }
    }

    /// The run hears that it is to stop.
    fn stop(&mut self, cause: CancelInfo, world: &mut GraphWorld<'_>) {
        let Some(life) = &mut self.life else { return };
        if life.cancel.is_none() {
            let until = self.play.grace.map(|grace| world.now().monotonic + grace);
            life.cancel = Some((cause.clone(), until));
            let mut executing: Vec<TaskId> = life.executing.keys().copied().collect();
            executing.sort_unstable();
            self.feed(Input::Cancel(cause), world);
            executing.into_iter().for_each(|task| self.fire_token(task, world));
        }
    }

    /// Feeds the machine, and carries out what it says.
    fn feed(&mut self, input: Input, world: &mut GraphWorld<'_>) {
        let now = world.now().monotonic;
        let Some(life) = &mut self.life else { return };
        life.machine.handle(now, input);
        while let Some(effect) = self.life.as_mut().and_then(|life| life.machine.next_effect()) {
            self.carry_out(effect, world);
        }
        let Some(life) = &mut self.life else { return };
        if life.machine.is_done() {
            self.end(world);
            return;
        }
        let deadline = life.machine.next_deadline();
        if let Some(at) = deadline.filter(|_| life.armed != deadline) {
            life.armed = deadline;
            world.at(at, GraphHappening(What::Time(self.lives)));
        }
    }

    fn carry_out(&mut self, effect: Effect, world: &mut GraphWorld<'_>) {
        match effect {
            Effect::AwaitGate(task) => {
                let (takes, gate) = self.work.gate(task, world.random());
                let number = self.begin(task);
                world.after(takes, GraphHappening(What::Gate(task, number, gate)));
            }
            Effect::LookUp(task) => {
                let (takes, lookup) = self.work.lookup(task, world.random());
                let number = self.begin(task);
                self.take_off(task, world);
                world.after(takes, GraphHappening(What::LookedUp(task, number, lookup)));
            }
            Effect::Execute { task, attempt } => {
                self.check_holds(task, world);
                let (takes, end) = self.work.execute(task, attempt, world.random());
                let number = self.begin(task);
                self.take_off(task, world);
                if let Some(life) = &mut self.life {
                    life.executing.insert(task, number);
                }
                world.after(takes, GraphHappening(What::Executed(task, number, end)));
            }
            Effect::DropGate(task) | Effect::Abort(task) => {
                self.ended(task);
            }
            Effect::Cancel(task, _) => self.fire_token(task, world),
            Effect::RequestHolds(task) => self.request(task, world),
            Effect::ReleaseHolds(task) => {
                match self.life.as_mut().and_then(|life| life.requests.remove(&task)) {
                    Some((_, request)) => self.desk.release(request, world),
                    None => world.fail(format!("{task:?} releases what it did not ask for")),
                }
            }
            Effect::Event(event) => {
                let Some(recorder) = &mut self.recorder else { return };
                let holds = &self.holds[event.task.index()];
                for kind in words::translate(&event, &self.names, holds) {
                    recorder.publish(kind, world);
                }
            }
            other => world.fail(format!("an effect that the simulator does not know: {other:?}")),
        }
    }

    fn begin(&mut self, task: TaskId) -> u64 {
        self.begun += 1;
        if let Some(life) = &mut self.life {
            life.doing.insert(task, self.begun);
        }
        self.begun
    }

    /// A task takes its slots and caps: there must be some left.
    fn take_off(&mut self, task: TaskId, world: &mut GraphWorld<'_>) {
        let Some(life) = &mut self.life else { return };
        life.in_flight.insert(task);
        let weights = life.in_flight.iter().map(|task| u64::from(self.topology.weight(*task)));
        if weights.sum::<u64>() > u64::from(self.play.jobs) {
            world.fail(format!("more in flight than {} slots allow", self.play.jobs));
        }
        for (tag, cap) in &self.play.caps {
            let has = |task: &&TaskId| self.topology.tags(**task).any(|its| its == tag);
            let count = life.in_flight.iter().filter(has).count();
            if count > *cap as usize {
                world.fail(format!("{count} in flight with tag {tag}, of at most {cap}"));
            }
        }
    }

    /// What the task did is over. False where that was not what it did.
    fn is_answer(&mut self, task: TaskId, number: u64) -> bool {
        let doing = self.life.as_ref().and_then(|life| life.doing.get(&task));
        let fits = doing == Some(&number);
        if fits {
            self.ended(task);
        }
        fits
    }

    fn ended(&mut self, task: TaskId) {
        if let Some(life) = &mut self.life {
            life.doing.remove(&task);
            life.in_flight.remove(&task);
            life.executing.remove(&task);
        }
    }

    fn fire_token(&mut self, task: TaskId, world: &mut GraphWorld<'_>) {
        let executing = self.life.as_ref().and_then(|life| life.executing.get(&task)).copied();
        if let Some(number) = executing
            && let Some(delay) = self.work.heeds(task, world.random())
        {
            let end = TaskEnd::Cancelled;
            world.after(delay, GraphHappening(What::Executed(task, number, end)));
        }
    }

    fn request(&mut self, task: TaskId, world: &mut GraphWorld<'_>) {
        self.begun += 1;
        let number = self.begun;
        let (Some(claims), Some(life)) = (&self.claims[task.index()], &mut self.life) else {
            return;
        };
        let then = GraphHappening(What::Granted(task, number));
        let (request, granted) = self.desk.request(claims, world.me(), then);
        if life.requests.insert(task, (number, request)).is_some() {
            world.fail(format!("{task:?} asks for holds twice"));
        }
        let input = if granted { Input::HoldsGranted(task) } else { Input::HoldsQueued(task) };
        life.machine.handle(world.now().monotonic, input);
    }

    fn granted(&mut self, task: TaskId, number: u64, world: &mut GraphWorld<'_>) {
        let asked = self.life.as_ref().and_then(|life| life.requests.get(&task));
        if asked.is_some_and(|(asked, _)| *asked == number) {
            self.feed(Input::HoldsGranted(task), world);
        }
    }

    fn check_holds(&self, task: TaskId, world: &mut GraphWorld<'_>) {
        let request = self.life.as_ref().and_then(|life| life.requests.get(&task));
        let has = request.is_some_and(|(_, request)| self.desk.is_granted(request));
        if has != self.claims[task.index()].is_some() {
            world.fail(format!("{} executes, and has its holds: {has}", self.names[task.index()]));
        }
    }

    fn end(&mut self, world: &mut GraphWorld<'_>) {
        let Some(life) = self.life.take() else { return };
        if !life.requests.is_empty() || !life.doing.is_empty() {
            world.fail("the run has ended, and something of it goes on");
        }
        let until = life.cancel.as_ref().and_then(|(_, until)| *until);
        if until.is_some_and(|until| world.now().monotonic > until) {
            world.fail("the run was cancelled, and went on after its grace");
        }
        let report = life.machine.into_report();
        let end = match &life.cancel {
            _ if report.is_success() => BodyEnd::Ok(Completion::default()),
            Some((cause, _)) => BodyEnd::Cancelled(cause.clone()),
            None => BodyEnd::Failed(Failure::from_error("tasks failed", false)),
        };
        self.report = Some(report);
        if let Some(recorder) = &mut self.recorder {
            recorder.must(SessionInput::End(end), world);
        }
    }
}

impl<W: GraphWork> Actor for GraphActor<W> {
    type Happening = GraphHappening;

    fn begin(&mut self, world: &mut GraphWorld<'_>) {
        let recorder = Recorder::plan(world);
        world.audit().know_graph(recorder.stream().clone(), self.edges());
        self.desk.tell_audit(world);
        self.recorder = Some(recorder);
        world.after(Duration::ZERO, GraphHappening(What::Claim));
        if let Some(when) = self.play.cancel {
            world.after(when, GraphHappening(What::Cancel));
        }
        for when in &self.play.crashes {
            world.after(*when, GraphHappening(What::Crash));
        }
    }

    fn happens(&mut self, what: GraphHappening, world: &mut GraphWorld<'_>) {
        match what.0 {
            What::Claim => self.claim(world),
            What::Cancel => self.cancel(world),
            What::Crash => self.crash(world),
            What::Granted(task, number) => self.granted(task, number, world),
            What::Time(life) if life == self.lives => {
                if let Some(life) = &mut self.life {
                    life.armed = None;
                    self.feed(Input::Time, world);
                }
            }
            What::Time(_) => {}
            What::Gate(task, number, gate) if self.is_answer(task, number) => {
                self.feed(Input::GateEnded(task, gate), world);
            }
            What::LookedUp(task, number, lookup) if self.is_answer(task, number) => {
                self.feed(Input::LookedUp(task, lookup), world);
            }
            What::Executed(task, number, end) if self.is_answer(task, number) => {
                self.feed(Input::Executed(task, end), world);
            }
            What::Gate(..) | What::LookedUp(..) | What::Executed(..) => {}
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let state = self.recorder.as_ref().map(|recorder| recorder.machine().state().name());
        let over =
            matches!(state, Some(StateName::Done | StateName::Failed | StateName::Cancelled));
        if over && self.life.is_none() {
            return Ok(());
        }
        let doing = self.life.as_ref().map(|life| (&life.doing, life.requests.keys()));
        Err(format!("the run is {state:?} when nothing is left to happen; open: {doing:?}"))
    }
}

impl<W> std::fmt::Debug for GraphActor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphActor")
            .field("tasks", &self.names)
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}
