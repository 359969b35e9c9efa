//! The simulator itself: order, chance, bounds, and that a seed finds and replays a bug.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use holdpoint_core::Timestamp;
use holdpoint_core::event::{EventKind, Sequencer, Stream};

use crate::sim::{Actor, Address, Random, SimError, Simulation, World, explore};

const SECOND: Duration = Duration::from_secs(1);

/// Notes what happens to it and when.
#[derive(Default)]
struct Notebook {
    plan: Vec<(Duration, u32)>,
    notes: Vec<(Duration, u32)>,
}

impl Actor for Notebook {
    type Happening = u32;

    fn begin(&mut self, world: &mut World<'_, u32>) {
        self.plan.iter().for_each(|&(when, what)| world.after(when, what));
    }

    fn happens(&mut self, what: u32, world: &mut World<'_, u32>) {
        let at = Duration::from_nanos(world.now().monotonic.as_nanos());
        self.notes.push((at, what));
    }
}

#[test]
fn time_orders_what_happens_and_the_clock_shows_it() {
    let mut simulation = Simulation::new(1);
    let clock = simulation.clock();
    let first_day = clock.now().wall;
    let plan = vec![(SECOND * 3, 3), (SECOND, 1), (SECOND * 2, 2)];
    let part = simulation.add(Notebook { plan, ..Notebook::default() });
    let run = simulation.run().unwrap();
    let expected: Vec<_> = (1..=3).map(|number| (SECOND * number, number)).collect();
    assert_eq!(run.actor(part).notes, expected);
    assert_eq!((run.steps(), run.took()), (3, SECOND * 3));
    assert_eq!(clock.now().wall.as_micros() - first_day.as_micros(), 3_000_000);
}

fn order_of_ten(seed: u64) -> Vec<u32> {
    let mut simulation = Simulation::new(seed);
    let plan = (0..10).map(|number| (SECOND, number)).collect();
    let part = simulation.add(Notebook { plan, ..Notebook::default() });
    let run = simulation.run().unwrap();
    run.actor(part).notes.iter().map(|&(_, what)| what).collect()
}

#[test]
fn the_seed_decides_between_happenings_of_one_time() {
    let orders: std::collections::BTreeSet<_> = (0..50).map(order_of_ten).collect();
    assert!(orders.len() > 45, "{} orders", orders.len());
    assert_eq!(order_of_ten(7), order_of_ten(7));
}

/// Adds one to a number in two steps, as code does that forgets its lock.
struct Careless {
    number: Rc<Cell<u32>>,
    read: u32,
}

enum Step {
    Read,
    Write,
}

impl Actor for Careless {
    type Happening = Step;

    fn begin(&mut self, world: &mut World<'_, Step>) {
        world.after(SECOND, Step::Read);
    }

    fn happens(&mut self, what: Step, world: &mut World<'_, Step>) {
        match what {
            Step::Read => {
                self.read = self.number.get();
                world.after(Duration::ZERO, Step::Write);
            }
            Step::Write => self.number.set(self.read + 1),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let number = self.number.get();
        if number == 2 { Ok(()) } else { Err(format!("two added one each, and it is {number}")) }
    }
}

fn race(seed: u64) -> Result<(), SimError> {
    let number = Rc::new(Cell::new(0));
    let mut simulation = Simulation::new(seed);
    for _ in 0..2 {
        simulation.add(Careless { number: Rc::clone(&number), read: 0 });
    }
    simulation.run().map(drop)
}

#[test]
fn a_bug_that_depends_on_the_order_is_found_and_its_seed_replays_it() {
    let found = explore(0..50, race).unwrap_err();
    assert!(found.to_string().contains("it is 1"), "{found}");
    assert!(found.to_string().starts_with(&format!("seed {}", found.seed())));
    let again = race(found.seed()).unwrap_err();
    assert_eq!(again.to_string(), found.to_string());
    let good = (0..50).filter(|seed| race(*seed).is_ok()).count();
    assert!((5..45).contains(&good), "some orders are good ones: {good}");
}

/// Plays ball with another.
struct Player {
    other: Option<Address<u32>>,
}

impl Actor for Player {
    type Happening = u32;

    fn begin(&mut self, world: &mut World<'_, u32>) {
        if let Some(other) = self.other {
            world.send(other, SECOND, 1);
        }
    }

    fn happens(&mut self, ball: u32, world: &mut World<'_, u32>) {
        world.after(SECOND, ball + 1);
    }
}

#[test]
fn what_never_ends_is_ended_and_names_its_seed() {
    let endless = || {
        let mut simulation = Simulation::new(77);
        let first = simulation.add(Player { other: None });
        simulation.add(Player { other: Some(first.address()) });
        simulation
    };
    let steps = endless().most_steps(10).run().unwrap_err();
    assert_eq!(steps.to_string(), "seed 77: not at rest after 10 steps, at 11s");
    let time = endless().most_time(SECOND * 5).run().unwrap_err();
    assert_eq!(time.to_string(), "seed 77: not at rest after 5s; 1 more are to happen");
}

/// Tells events, good or bad ones, and steps the wall clock.
struct Teller(Vec<EventKind>);

impl Actor for Teller {
    type Happening = ();

    fn begin(&mut self, world: &mut World<'_, ()>) {
        world.after(SECOND, ());
    }

    fn happens(&mut self, (): (), world: &mut World<'_, ()>) {
        world.step_wall(Timestamp::from_micros(5));
        let mut numbers = Sequencer::new(Stream::Session(world.session_id()));
        self.0.drain(..).for_each(|kind| world.publish(&mut numbers, kind));
    }
}

#[test]
fn every_run_ends_by_an_audit_of_its_events() {
    let run = |kinds| {
        let mut simulation = Simulation::new(3);
        simulation.add(Teller(kinds));
        simulation.run()
    };
    let planned = EventKind::SessionPlanned { attempt: 1 };
    let good = run(vec![planned.clone()]).unwrap();
    assert_eq!(good.events()[0].at, Timestamp::from_micros(5), "the stepped wall clock");
    let bad = run(vec![planned, EventKind::SessionPaused]).unwrap_err();
    assert!(bad.to_string().contains("session_paused while the session is Planned"), "{bad}");
}

#[test]
fn an_actor_that_finds_a_fault_ends_the_simulation() {
    struct Doubter;
    impl Actor for Doubter {
        type Happening = ();
        fn begin(&mut self, world: &mut World<'_, ()>) {
            world.after(SECOND, ());
        }
        fn happens(&mut self, (): (), world: &mut World<'_, ()>) {
            world.fail("no");
            world.fail("neither");
        }
    }
    let mut simulation = Simulation::new(9);
    simulation.add(Doubter);
    assert_eq!(simulation.run().unwrap_err().to_string(), "seed 9, at 1s: no");
}

#[test]
fn ids_of_a_simulation_are_those_of_its_seed_and_rise() {
    struct Namer(Vec<holdpoint_core::SessionId>);
    impl Actor for Namer {
        type Happening = ();
        fn begin(&mut self, world: &mut World<'_, ()>) {
            self.0 = (0..100).map(|_| world.session_id()).collect();
        }
        fn happens(&mut self, (): (), _: &mut World<'_, ()>) {}
    }
    let ids = |seed| {
        let mut simulation = Simulation::new(seed);
        let part = simulation.add(Namer(Vec::new()));
        simulation.run().unwrap().actor(part).0.clone()
    };
    assert!(ids(1).is_sorted() && ids(1) == ids(1) && ids(1) != ids(2));
}

#[test]
fn chance_is_fair_enough_and_the_same_for_ever() {
    assert_eq!(Random::new(0).number(), 0xe220_a839_7b1d_cdaf, "SplitMix64 as published");
    let mut random = Random::new(5);
    let mut counts = [0; 7];
    for _ in 0..7_000 {
        counts[random.below(7) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    assert_eq!(random.below(0), 0);
    assert_eq!(random.pick::<u8>(&[]), None);
    assert!((0..200).any(|_| random.millis(3) == Duration::from_millis(3)), "both ends count");
}
