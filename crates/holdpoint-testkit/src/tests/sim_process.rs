//! Children under supervisors: the plain one keeps the rules in any zoo, and bad ones are found.

use std::time::Duration;

use crate::sim::process::{ChildPlay, Order, PlainSupervisor, ProcessActor, Seen, Supervisor};
use crate::sim::{Random, Run, SimError, Simulation, explore, seeds};
use crate::spawner::{ChildScript, Grandchild, OnTerm, Refusal, Signal, VirtualSpawner};

const GRACE: Duration = ms(500);
const DRAIN: Duration = ms(200);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plain() -> PlainSupervisor {
    PlainSupervisor::new(GRACE, DRAIN)
}

fn one(script: ChildScript, cancel: Option<Duration>) -> ChildPlay {
    ChildPlay { task: "serve".parse().unwrap(), starts: ms(0), script, cancel }
}

/// Events and leaks of one child.
fn play(script: ChildScript, cancel: Option<Duration>) -> (Vec<&'static str>, usize, Duration) {
    let mut simulation = Simulation::new(1);
    let actor = ProcessActor::new(VirtualSpawner::new(), vec![one(script, cancel)], GRACE, plain);
    let part = simulation.add(actor);
    let run = simulation.run().unwrap_or_else(|fault| panic!("{fault}"));
    let names = run.events().iter().map(|event| event.kind.name()).collect::<Vec<_>>();
    let ended = run.events().last().unwrap().at.as_micros() - run.events()[0].at.as_micros();
    (names[2..].to_vec(), run.actor(part).leaky(), Duration::from_micros(ended))
}

#[test]
fn a_child_that_ignores_sigterm_is_killed_after_the_grace() {
    let script = ChildScript { on_term: OnTerm::Ignores, ..ChildScript::endless() };
    let (events, _, ended) = play(script, Some(ms(100)));
    let expected =
        ["task_started", "process_started", "process_exited", "task_cancelled", "session_done"];
    assert_eq!((events, ended), (expected.to_vec(), ms(600)));
}

#[test]
fn a_grandchild_that_keeps_the_output_is_flagged_and_not_waited_for() {
    let grandchildren = vec![Grandchild { lives: Some(ms(9_000)), ..Grandchild::leaky(ms(1)) }];
    let script = ChildScript { grandchildren, ..ChildScript::exits(ms(50), 0) };
    let (events, leaky, ended) = play(script, None);
    assert_eq!((events[3], leaky, ended), ("task_succeeded", 1, ms(250)));
}

#[test]
fn a_refused_child_is_an_errored_task() {
    let (events, ..) = play(ChildScript::refused(Refusal::Descriptors), None);
    assert_eq!(events, ["task_started", "task_errored", "session_done"]);
}

#[test]
fn lines_arrive_in_order() {
    let output = vec![(ms(1), "one".to_owned()), (ms(1), "two".to_owned())];
    let script = ChildScript { output, ..ChildScript::exits(ms(1), 0) };
    let mut simulation = Simulation::new(1);
    let plays = vec![one(script, None)];
    let part = simulation.add(ProcessActor::new(VirtualSpawner::new(), plays, GRACE, plain));
    let run = simulation.run().unwrap();
    let lines: Vec<&str> = run.actor(part).lines().iter().map(|(_, line)| &**line).collect();
    assert_eq!(lines, ["one", "two"]);
}

/// A zoo of children on a system that gives pids again at once.
fn zoo<S: Supervisor>(seed: u64, supervise: fn() -> S) -> Result<Run, SimError> {
    let mut random = Random::new(seed);
    let plays = (0..1 + random.below(8)).map(|number| {
        let script = any_script(&mut random);
        // What would run for ever is cancelled at some time.
        let cancel = script.ends.is_none() || random.percent(40);
        ChildPlay {
            task: format!("t{number}").parse().unwrap(),
            starts: random.millis(200),
            cancel: cancel.then(|| ms(200) + random.millis(300)),
            script,
        }
    });
    let plays: Vec<ChildPlay> = plays.collect();
    let mut system = VirtualSpawner::new().reuse_pids();
    if random.percent(30) {
        system = system.limit(3, Refusal::Processes);
    }
    let mut simulation = Simulation::new(seed);
    simulation.add(ProcessActor::new(system, plays, GRACE, supervise));
    simulation.run()
}

fn any_script(random: &mut Random) -> ChildScript {
    let on_term = |random: &mut Random| match random.below(3) {
        0 => OnTerm::Dies,
        1 => OnTerm::Exits(random.millis(1_000), 0),
        _ => OnTerm::Ignores,
    };
    let grandchildren = (0..random.below(3)).map(|_| Grandchild {
        starts: random.millis(100),
        lives: random.percent(50).then(|| random.millis(600)),
        keeps_output: random.percent(50),
        escapes: false,
        on_term: on_term(random),
    });
    let grandchildren = grandchildren.collect();
    let script = match random.below(4) {
        0 => ChildScript::endless(),
        1 => ChildScript::exits(random.millis(500), 1),
        _ => ChildScript::exits(random.millis(500), 0),
    };
    let refused = random.percent(5).then_some(Refusal::Memory);
    ChildScript { grandchildren, on_term: on_term(random), refused, ..script }
}

#[test]
fn in_any_zoo_everything_is_reaped_and_nothing_outlives_its_cancel() {
    if let Err(fault) = explore(seeds(1_000), |seed| zoo(seed, plain)) {
        panic!("{fault}");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let events = |seed| zoo(seed, plain).unwrap().events().to_vec();
    assert!((0..30).all(|seed| events(seed) == events(seed)));
    assert_ne!(events(1), events(2));
}

/// The plain supervisor with one fault.
struct Faulty<const FAULT: u8>(PlainSupervisor);

const NEVER_KILLS: u8 = 0;
const KILLS_THE_DEAD: u8 = 1;
const OVER_TOO_EARLY: u8 = 2;

fn faulty<const FAULT: u8>() -> Faulty<FAULT> {
    Faulty(plain())
}

impl<const FAULT: u8> Supervisor for Faulty<FAULT> {
    fn handle(&mut self, now: Duration, seen: Seen) -> Option<Order> {
        match (FAULT, self.0.handle(now, seen)) {
            (NEVER_KILLS, Some(Order::Signal(Signal::Kill))) => self.0.handle(now, Seen::Tick),
            (OVER_TOO_EARLY, Some(Order::Signal(Signal::Terminate))) => {
                Some(Order::Finish { leaky_output: false })
            }
            (KILLS_THE_DEAD, None) if seen == Seen::Cancelled => Some(Order::Signal(Signal::Kill)),
            (_, order) => order,
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }
}

#[test]
fn a_supervisor_that_never_kills_is_found() {
    let found = explore(0..20, |seed| zoo(seed, faulty::<NEVER_KILLS>)).unwrap_err();
    let text = found.to_string();
    assert!(text.contains("lived on") || text.contains("have ended") || text.contains("reaped"));
}

#[test]
fn a_supervisor_that_ends_before_its_process_is_found() {
    let found = explore(0..20, |seed| zoo(seed, faulty::<OVER_TOO_EARLY>)).unwrap_err();
    assert!(found.to_string().contains("before its process"), "{found}");
}

#[test]
fn a_supervisor_that_signals_what_was_reaped_is_found() {
    let found = explore(0..50, |seed| zoo(seed, faulty::<KILLS_THE_DEAD>)).unwrap_err();
    assert!(found.to_string().contains("after it was over"), "{found}");
}

#[test]
fn an_escaped_grandchild_is_found() {
    let escaped = Grandchild { escapes: true, ..Grandchild::leaky(ms(1)) };
    let script = ChildScript { grandchildren: vec![escaped], ..ChildScript::endless() };
    let mut simulation = Simulation::new(1);
    let plays = vec![one(script, Some(ms(100)))];
    simulation.add(ProcessActor::new(VirtualSpawner::new(), plays, GRACE, plain));
    let found = simulation.run().unwrap_err();
    assert!(found.to_string().contains("lived on after its cancel"), "{found}");
}
