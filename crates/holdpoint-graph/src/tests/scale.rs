//! Large graphs: what a run does grows with its tasks and edges, and with nothing else.

use std::sync::Arc;

use holdpoint_core::{Monotonic, Timestamp};
use holdpoint_hold::{HoldSet, Ticket};

use crate::{
    Effect, Hold, Input, Limits, Machine, OnFailure, TaskEnd, TaskFailure, TaskId, Topology,
    TopologyBuilder,
};

/// Runs a graph where everything succeeds; gives how many effects that took, by kind.
#[derive(Debug, Default, PartialEq)]
struct Effects {
    executed: usize,
    asked: usize,
    released: usize,
    events: usize,
}

fn run(topology: &Arc<Topology>, limits: &Limits, holds: &[Hold]) -> Effects {
    let now = Monotonic::ZERO;
    let mut machine = Machine::new(topology, limits, OnFailure::KeepGoing, None, 0);
    let mut set = HoldSet::new();
    let claims = set.claims(holds).unwrap();
    let mut tickets: Vec<Option<Ticket>> = (0..topology.len()).map(|_| None).collect();
    let mut running = std::collections::VecDeque::new();
    let mut effects = Effects::default();
    machine.handle(now, Input::Start(Timestamp::from_micros(0)));
    loop {
        while let Some(effect) = machine.next_effect() {
            match effect {
                Effect::Execute { task, .. } => {
                    effects.executed += 1;
                    running.push_back(task);
                }
                Effect::RequestHolds(task) => {
                    effects.asked += 1;
                    let ticket = set.request(&claims, u64::from(task.0));
                    let granted = set.is_granted(&ticket);
                    tickets[task.index()] = Some(ticket);
                    let answer = [Input::HoldsQueued(task), Input::HoldsGranted(task)];
                    machine.handle(now, answer[usize::from(granted)].clone());
                }
                Effect::ReleaseHolds(task) => {
                    effects.released += 1;
                    set.release(tickets[task.index()].take().unwrap());
                    while let Some(owner) = set.next_granted() {
                        machine.handle(now, Input::HoldsGranted(TaskId(owner as u32)));
                    }
                }
                Effect::Event(_) => effects.events += 1,
                other => panic!("{other:?}"),
            }
        }
        match running.pop_front() {
            Some(task) => machine.handle(now, Input::Executed(task, TaskEnd::Succeeded)),
            None => break,
        }
    }
    assert!(machine.is_done());
    effects
}

fn graph(define: impl FnOnce(&mut TopologyBuilder)) -> Arc<Topology> {
    let mut builder = Topology::builder();
    define(&mut builder);
    Arc::new(builder.build().unwrap())
}

const TASKS: u32 = 100_000;
const COUNT: usize = TASKS as usize;

fn names() -> impl Iterator<Item = String> {
    (0..TASKS).map(|index| format!("t{index:06}"))
}

/// The predecessor cloned its tables for every admission and looked at every task again on every
/// turn. Quadratic work would keep this test for minutes; and nothing is said or asked twice.
#[test]
fn graph_006_hold_007_cd_15_tasks_on_one_hold_cost_the_same_however_many_wait() {
    let db = [Hold::exclusive("db")];
    let topology = graph(|g| names().for_each(|name| _ = g.task(&name).hold(db[0].clone())));
    let effects = run(&topology, &Limits::jobs(4), &db);
    // Each waits, has its holds, starts, gives them back and ends; but for the first, which does
    // not wait.
    let expected =
        Effects { executed: COUNT, asked: COUNT, released: COUNT, events: 5 * COUNT - 1 };
    assert_eq!(effects, expected);
}

#[test]
fn graph_004_cd_15_tasks_behind_caps_cost_the_same_however_many_wait() {
    let topology = graph(|g| {
        for (index, name) in names().enumerate() {
            let task = g.task(&name).weight(1 + index as u32 % 3).priority(index as i32 % 5);
            if index % 2 == 0 {
                task.tag("net");
            }
        }
    });
    let effects = run(&topology, &Limits::jobs(4).tag("net", 1), &[]);
    let expected = Effects { executed: COUNT, events: 2 * COUNT, ..Effects::default() };
    assert_eq!(effects, expected);
}

/// A failure at the top of a chain, and then of a fan, with everything below it.
#[test]
fn graph_007_cd_26_a_deep_or_wide_skip_needs_no_recursion_and_no_second_look() {
    for chain in [true, false] {
        let topology = graph(|g| {
            for (index, name) in (0..).zip(names()) {
                let task = g.task(&name);
                if index > 0 {
                    task.needs(TaskId(if chain { index - 1 } else { 0 }));
                }
            }
        });
        let limits = Limits::unlimited();
        let mut machine = Machine::new(&topology, &limits, OnFailure::KeepGoing, None, 0);
        machine.handle(Monotonic::ZERO, Input::Start(Timestamp::from_micros(0)));
        let end = TaskEnd::Failed(TaskFailure::new("boom"));
        machine.handle(Monotonic::ZERO, Input::Executed(TaskId(0), end));
        assert!(machine.is_done());
        let effects = std::iter::from_fn(|| machine.next_effect()).count();
        assert_eq!(effects, 2 + COUNT, "it starts and executes, and everything ends");
        assert_eq!(machine.into_report().counts().skipped, COUNT - 1);
    }
}
