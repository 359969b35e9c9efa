//! Processes on one virtual disk that count together: they ask, own, let go, are stopped, fail,
//! crash and begin again, and their records are delayed. Whatever happens, each add that was
//! acknowledged counts once, none counts twice, and no value that was told goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::store::{AppendError, Store};

use super::words::session_stream;
use crate::audit;
use crate::sim::{Actor, SimError, Simulation, World, explore, seeds};
use crate::store::counter::{Answer, AskError, Decider, Flaw, Input, Ledger, block_on};
use crate::store::{Failure, Faults, FaultyStore, VirtualDisk};

/// Until when things go wrong, in milliseconds. Then all that is left is done.
const TROUBLE: u64 = 600;

/// What can happen to the process of this number.
#[derive(Debug, Clone, Copy)]
enum What {
    /// It asks for the first thing that is to be asked.
    Ask,
    Own,
    LetGo,
    /// A record of it is written.
    Release,
    Crash,
    Begin,
    Stop,
    GoOn,
    LosePatience,
}

type Asking = Pin<Box<dyn Future<Output = Result<Option<Answer>, AskError>>>>;

struct Ask {
    /// None where it is about owning.
    input: Option<Input>,
    /// The highest value that was told to anybody before.
    floor: u64,
    future: Asking,
}

struct Process {
    store: Arc<FaultyStore>,
    decider: Decider,
    asks: Vec<Ask>,
}

/// All of them, and who looks at them from outside.
struct Computer {
    flaw: Flaw,
    disk: VirtualDisk,
    stream: Stream,
    processes: Vec<Option<Process>>,
    /// What is still to be asked, by whichever process.
    wanted: Vec<Input>,
    granted: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Asked, with the amount. Some were never acknowledged.
    asked: BTreeMap<u64, u64>,
    told: u64,
    failed: BTreeMap<&'static str, u64>,
}

type Stage<'a> = World<'a, (usize, What)>;

impl Computer {
    fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            disk: VirtualDisk::new(),
            stream: session_stream(),
            processes: Vec::new(),
            wanted: Vec::new(),
            granted: BTreeSet::new(),
            refused: BTreeSet::new(),
            asked: BTreeMap::new(),
            told: 0,
            failed: BTreeMap::new(),
        }
    }

    fn is_over(&self, world: &Stage<'_>) -> bool {
        world.now().monotonic.as_nanos() > TROUBLE * 1_000_000
    }

    fn begin_process(&mut self, number: usize, world: &mut Stage<'_>) {
        let faults = if self.is_over(world) { Faults::none() } else { self.faults(world) };
        let store = self.disk.open_with(faults);
        let decider = Decider::flawed(store.clone(), self.stream.clone(), world.clock(), self.flaw);
        match decider {
            Ok(decider) => {
                self.processes[number] = Some(Process { store, decider, asks: Vec::new() });
            }
            Err(error) => world.fail(error.to_string()),
        }
    }

    fn faults(&self, world: &mut Stage<'_>) -> Faults {
        let random = world.random();
        let share = [0, 30, 100][random.below(3) as usize];
        let mut faults = Faults::none().delay_share(share, random.number());
        for _ in 0..random.below(3) {
            faults = faults.fail(1 + random.below(15), Failure::Busy);
        }
        match random.below(4) {
            0 => faults.fail(1 + random.below(20), Failure::Io),
            1 => faults.fail(1 + random.below(15), Failure::LostOwnership(self.stream.clone())),
            _ => faults,
        }
    }

    fn ask(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        let Some(input) = self.wanted.pop() else { return };
        let decider = process.decider.clone();
        let future = Box::pin(async move { decider.ask(input).await.map(Some) });
        process.asks.push(Ask { input: Some(input), floor: self.told, future });
    }

    fn crash(&mut self, number: usize, world: &mut Stage<'_>) {
        let Some(process) = self.processes[number].take() else { return };
        process.store.crash();
        for ask in process.asks {
            // Whoever wanted it asks elsewhere, or has died with the process.
            if let Some(input) = ask.input
                && world.random().percent(60)
            {
                self.want(input, world);
            }
        }
        let back = world.random().millis(100);
        world.after(back, (number, What::Begin));
    }

    /// It is to be asked, again, by one that lives.
    fn want(&mut self, input: Input, world: &mut Stage<'_>) {
        self.wanted.push(input);
        let number = world.random().below(self.processes.len() as u64);
        let delay = world.random().millis(30);
        world.after(delay, (number as usize, What::Ask));
    }

    /// Whoever can go on does.
    fn look(&mut self, world: &mut Stage<'_>) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut has_moved = true;
        while std::mem::take(&mut has_moved) {
            for number in 0..self.processes.len() {
                let Some(process) = &mut self.processes[number] else { continue };
                let mut ready = Vec::new();
                process.asks.retain_mut(|ask| match ask.future.as_mut().poll(&mut cx) {
                    Poll::Pending => true,
                    Poll::Ready(result) => {
                        ready.push((ask.input, ask.floor, result));
                        false
                    }
                });
                for (input, floor, result) in ready {
                    has_moved = true;
                    self.heard(number, input, floor, result, world);
                }
            }
        }
    }

    fn heard(
        &mut self,
        number: usize,
        input: Option<Input>,
        floor: u64,
        result: Result<Option<Answer>, AskError>,
        world: &mut Stage<'_>,
    ) {
        let answer = match result {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(error) => {
                let is_final = match &error {
                    AskError::Append(error) => error.is_final(),
                    AskError::Request(_) | AskError::Contended => false,
                    error => return world.fail(error.to_string()),
                };
                *self.failed.entry(kind(&error)).or_default() += 1;
                if let Some(input) = input {
                    self.want(input, world);
                }
                if is_final {
                    self.crash(number, world);
                }
                return;
            }
        };
        match (input, answer) {
            (Some(Input::Add { request, .. }), Answer::Added { .. }) => {
                self.granted.insert(request);
            }
            (Some(Input::Add { request, .. }), Answer::Full { .. }) => {
                self.refused.insert(request);
            }
            (Some(Input::Read), Answer::Value(value)) => {
                if value < floor {
                    world.fail(format!("{value} is read after {floor} was told"));
                }
            }
            (input, answer) => world.fail(format!("{answer:?} to {input:?}")),
        }
        self.told = self.told.max(answer.value());
    }

    /// Sees to it that what is delayed is written some time, and that nothing is forgotten.
    fn go_on(&mut self, number: usize, world: &mut Stage<'_>) {
        let waits = |process: &Process| process.store.waiting() > 0;
        if self.processes[number].as_ref().is_some_and(waits) {
            let delay = world.random().millis(20);
            world.after(delay, (number, What::Release));
        }
    }

    /// What all have done, when all is done.
    fn judge(&mut self) -> Result<Ledger, String> {
        for process in self.processes.drain(..).flatten() {
            if !process.asks.is_empty() {
                return Err(format!("{} still wait", process.asks.len()));
            }
            block_on(process.decider.let_go()).map_err(|error| error.to_string())?;
        }
        let store = self.disk.open();
        let clock = Arc::new(holdpoint_core::SystemClock::new());
        let last = Decider::new(store.clone(), self.stream.clone(), clock);
        let last = last.map_err(|error| error.to_string())?;
        let read = block_on(last.ask(Input::Read)).map_err(|error| error.to_string())?;
        let ledger = Ledger::read(&*store, &self.stream)?;
        if read.value() != ledger.value || read.value() < self.told {
            return Err(format!("{read:?} is read at the end, of {ledger:?}"));
        }
        for (request, amount) in &ledger.adds {
            if self.asked.get(request) != Some(amount) || self.refused.contains(request) {
                return Err(format!("request {request} was granted {amount}, and not like that"));
            }
        }
        if let Some(lost) = self.granted.iter().find(|add| !ledger.adds.contains_key(*add)) {
            return Err(format!("request {lost} was acknowledged and is lost"));
        }
        let events =
            store.events(&self.stream, 0, usize::MAX).map_err(|error| error.to_string())?;
        let events: Result<Vec<_>, _> = events.iter().map(|stored| stored.event()).collect();
        match audit(&events.map_err(|error| error.to_string())?).first() {
            Some(violation) => Err(violation.to_string()),
            None => Ok(ledger),
        }
    }
}

impl Actor for Computer {
    type Happening = (usize, What);

    fn begin(&mut self, world: &mut Stage<'_>) {
        self.stream = Stream::Session(world.session_id());
        let count = 2 + world.random().below(3) as usize;
        self.processes.resize_with(count, || None);
        for number in 0..count {
            self.begin_process(number, world);
        }
        let limit = if world.random().percent(20) { 100 } else { u64::MAX };
        let first = self.disk.open();
        let creator = Decider::new(first, self.stream.clone(), world.clock());
        let created = creator.map(|creator| block_on(creator.create(limit)));
        if !matches!(created, Ok(Ok(()))) {
            world.fail(format!("{created:?}"));
        }
        for request in 0..20 + world.random().below(30) {
            let amount = 1 + world.random().below(9);
            let input = if world.random().percent(30) {
                Input::Read
            } else {
                self.asked.insert(request, amount);
                Input::Add { request, amount }
            };
            self.wanted.push(input);
        }
        for number in 0..count {
            let acts = [
                (What::Ask, self.wanted.len() as u64),
                (What::Own, 4),
                (What::LetGo, 3),
                (What::Crash, 3),
                (What::Stop, 2),
                (What::LosePatience, 4),
            ];
            for (act, most) in acts {
                for _ in 0..=world.random().below(most) {
                    let delay = world.random().millis(TROUBLE);
                    world.after(delay, (number, act));
                }
            }
            // In the end all live, write, and ask what nobody has asked yet.
            let end = Duration::from_millis(TROUBLE + 100);
            world.after(end, (number, What::Crash));
            world.after(end * 2, (number, What::GoOn));
            (0..50).for_each(|more| world.after(end * 2 + end * more, (number, What::Ask)));
        }
    }

    fn happens(&mut self, (number, what): (usize, What), world: &mut Stage<'_>) {
        let process = self.processes[number].as_mut();
        match (what, process) {
            (What::Ask, _) => self.ask(number),
            (What::Crash, _) => self.crash(number, world),
            (What::Begin, None) => self.begin_process(number, world),
            (What::Begin, Some(_)) | (_, None) => {}
            (What::Own, Some(process)) => {
                let decider = process.decider.clone();
                let future = async move {
                    match decider.own().await {
                        Ok(_) | Err(AskError::Append(AppendError::Owned { .. })) => Ok(None),
                        Err(error) => Err(error),
                    }
                };
                process.asks.push(Ask { input: None, floor: 0, future: Box::pin(future) });
            }
            (What::LetGo, Some(process)) => {
                let decider = process.decider.clone();
                let future = async move { decider.let_go().await.map(|_| None) };
                process.asks.push(Ask { input: None, floor: 0, future: Box::pin(future) });
            }
            (What::Release, Some(process)) => {
                process.store.release_one();
            }
            (What::Stop, Some(process)) => {
                process.store.stop();
                let delay = world.random().millis(150);
                world.after(delay, (number, What::GoOn));
            }
            (What::GoOn, Some(process)) => process.store.go_on(),
            (What::LosePatience, Some(process)) => {
                process.store.lose_patience();
            }
        }
        self.look(world);
        for number in 0..self.processes.len() {
            self.go_on(number, world);
        }
    }

    fn end(&mut self) -> Result<(), String> {
        if !self.wanted.is_empty() {
            return Err(format!("{} were never asked", self.wanted.len()));
        }
        self.judge().map(drop)
    }
}

fn kind(error: &AskError) -> &'static str {
    match error {
        AskError::Append(AppendError::Io { .. }) => "io",
        AskError::Append(AppendError::Poisoned { .. }) => "poisoned",
        AskError::Append(_) => "append",
        AskError::Request(_) => "request",
        AskError::Contended => "contended",
        _ => "other",
    }
}

fn simulate(seed: u64, flaw: Flaw) -> Result<BTreeMap<&'static str, u64>, SimError> {
    let mut simulation = Simulation::new(seed);
    let computer = simulation.add(Computer::new(flaw));
    let run = simulation.run()?;
    Ok(run.actor(computer).failed.clone())
}

#[test]
fn each_add_counts_once_whatever_happens_to_the_processes() {
    let mut failed = BTreeMap::new();
    let count = explore(seeds(300), |seed| {
        for (kind, count) in simulate(seed, Flaw::None)? {
            *failed.entry(kind).or_insert(0) += count;
        }
        Ok(())
    });
    let count = count.unwrap_or_else(|error| panic!("{error}"));
    // The simulation meets what it is made for.
    if count >= 300 {
        for kind in ["io", "request"] {
            assert!(failed.contains_key(kind), "{failed:?}");
        }
    }
    assert!(!failed.contains_key("contended"), "{failed:?}");
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..20 {
        let runs = [(); 2].map(|()| {
            let mut simulation = Simulation::new(seed);
            let computer = simulation.add(Computer::new(Flaw::None));
            let run = simulation.run().unwrap();
            (run.steps(), run.took(), run.actor(computer).granted.clone(), run.actor(computer).told)
        });
        assert_eq!(runs[0], runs[1]);
    }
}

#[test]
fn every_flaw_is_seen() {
    let flaws = [Flaw::AnswersEarly, Flaw::ReadsAhead, Flaw::IgnoresOthers, Flaw::ForgetsRequests];
    for flaw in flaws {
        let found = explore(0..300, |seed| simulate(seed, flaw).map(drop));
        let error = found.expect_err("some seed shows it");
        let again = simulate(error.seed(), flaw).unwrap_err();
        assert_eq!(error.to_string(), again.to_string(), "{flaw:?}");
    }
}
