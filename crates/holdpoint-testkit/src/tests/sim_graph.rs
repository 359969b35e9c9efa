//! Simulated graphs: single stories, then any graph, any work, several on one hold set.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::Backoff;
use holdpoint_graph::{Hold, OnFailure, Retry, Scope, TaskEnd, TaskFailure, TaskId, Topology};

use crate::audit::Audit;
use crate::sim::graph::{AnyWork, GoodWork, GraphActor, GraphHappening, GraphPlay, GraphWork};
use crate::sim::holds::HoldDesk;
use crate::sim::{Random, Run, SimError, Simulation, explore, seeds};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn desk() -> HoldDesk<GraphHappening> {
    let desk = HoldDesk::new();
    desk.declare(&Scope::Workspace, "gpu", 3);
    desk
}

fn play<W: GraphWork>(topology: Topology, work: W, play: GraphPlay) -> (bool, Vec<String>) {
    let mut simulation = Simulation::new(5);
    let part = simulation.add(GraphActor::new(Arc::new(topology), &desk(), work, play));
    let run = simulation.run().unwrap();
    let report = run.actor(part).report().expect("it ended");
    (report.is_success(), told(&run))
}

/// The events of the tasks, as `kind task`.
fn told(run: &Run) -> Vec<String> {
    let task = |event: &holdpoint_core::Event| {
        let text = format!("{:?}", event.kind);
        let name = text.split("task: ").nth(1)?;
        let name = name.trim_start_matches("Some(").split(&[',', ' ', ')', '}'][..]).next()?;
        Some(format!("{} {name}", event.kind.name()))
    };
    run.events().iter().filter_map(task).collect()
}

#[test]
fn a_graph_is_run_to_its_end() {
    let mut graph = Topology::builder();
    let build = graph.task("build").lookup().hold(Hold::exclusive("db")).id();
    graph.task("test").needs(build);
    let (good, told) = play(graph.build().unwrap(), GoodWork, GraphPlay::default());
    assert!(good);
    let names: Vec<&str> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "task_miss",
            "hold_acquired",
            "task_started",
            "hold_released",
            "task_succeeded",
            "task_started",
            "task_succeeded",
        ],
        "{told:?}"
    );
}

/// Never ends by itself.
struct Endless {
    heeds: Option<Duration>,
}

impl GraphWork for Endless {
    fn execute(&mut self, _: TaskId, _: u32, _: &mut Random) -> (Duration, TaskEnd) {
        (Duration::from_secs(1_000), TaskEnd::Succeeded)
    }

    fn heeds(&mut self, _: TaskId, _: &mut Random) -> Option<Duration> {
        self.heeds
    }
}

#[test]
fn a_cancel_reaches_what_runs_and_the_grace_ends_what_does_not_listen() {
    for heeds in [Some(ms(5)), None] {
        let mut graph = Topology::builder();
        graph.task("serve");
        let cancel = Some(ms(100));
        let settings = GraphPlay { cancel, ..GraphPlay::default() };
        let (good, told) = play(graph.build().unwrap(), Endless { heeds }, settings);
        assert!(!good);
        assert_eq!(told.len(), 2);
        assert!(told[1].starts_with("task_cancelled"), "{told:?}");
    }
}

#[test]
fn a_time_limit_is_kept_to_the_millisecond() {
    let mut graph = Topology::builder();
    graph.task("serve").timeout(ms(70));
    let mut simulation = Simulation::new(1);
    let topology = Arc::new(graph.build().unwrap());
    let work = Endless { heeds: Some(ms(5)) };
    simulation.add(GraphActor::new(topology, &desk(), work, GraphPlay::default()));
    let run = simulation.run().unwrap();
    let at = |name| {
        let event = run.events().iter().find(|event| event.kind.name() == name).unwrap();
        event.at.as_micros()
    };
    assert_eq!(at("task_failed") - at("task_started"), 75_000);
}

/// Fails so often, then succeeds.
struct Flaky(u32);

impl GraphWork for Flaky {
    fn execute(&mut self, _: TaskId, attempt: u32, _: &mut Random) -> (Duration, TaskEnd) {
        let failed = attempt <= self.0;
        let end = if failed { TaskEnd::Failed(TaskFailure::new("no")) } else { TaskEnd::Succeeded };
        (ms(1), end)
    }
}

#[test]
fn a_failure_is_tried_again_after_its_delay() {
    let mut graph = Topology::builder();
    let backoff = Backoff::fixed(ms(40));
    graph.hold_capacity(Scope::Workspace, "gpu", 3);
    graph.task("fetch").retry(Retry { attempts: 3, backoff }).hold(Hold::units("gpu", 2));
    let (good, told) = play(graph.build().unwrap(), Flaky(2), GraphPlay::default());
    assert!(good);
    assert_eq!(told.iter().filter(|line| line.starts_with("task_retry")).count(), 2);
    assert_eq!(told.iter().filter(|line| line.starts_with("hold_acquired")).count(), 3);
}

#[test]
fn a_lost_owner_loses_its_holds_and_the_next_begins_anew() {
    let mut graph = Topology::builder();
    graph.task("build").hold(Hold::exclusive("db"));
    let desk = desk();
    let mut simulation = Simulation::new(2).audit(Audit::shared_holds);
    let crashes = vec![ms(1)];
    let settings = GraphPlay { crashes, ..GraphPlay::default() };
    let topology = Arc::new(graph.build().unwrap());
    let part = simulation.add(GraphActor::new(topology, &desk, Flaky(0), settings));
    let run = simulation.run().unwrap();
    assert!(run.actor(part).report().unwrap().is_success());
    assert!(desk.is_empty());
    assert_eq!(told(&run).iter().filter(|line| line.starts_with("task_started")).count(), 2);
}

/// Any graph with everything a graph can have.
fn any_topology(random: &mut Random) -> Topology {
    let mut graph = Topology::builder();
    graph.hold_capacity(Scope::Workspace, "gpu", 3);
    let mut ids: Vec<TaskId> = Vec::new();
    for number in 0..1 + random.below(12) {
        let project = if random.percent(30) { "app:" } else { "" };
        let mut setup = graph.task(&format!("{project}t{number}"));
        let mut free = ids.clone();
        for _ in 0..random.below(4) {
            let Some(&before) = random.pick(&free) else { break };
            free.retain(|id| *id != before);
            setup = match random.below(8) {
                0..5 => setup.needs(before),
                5..7 => setup.after(before),
                _ => setup.finally(before),
            };
        }
        for name in ["db", "log", "gpu"] {
            if random.percent(25) {
                setup = setup.hold(match (name, random.below(2)) {
                    (name, 0) => Hold::exclusive(name),
                    ("gpu", _) => Hold::units("gpu", 1 + random.below(3) as u32),
                    (name, _) => Hold::shared(name),
                });
            }
        }
        if random.percent(30) {
            setup = setup.tag("heavy");
        }
        if random.percent(20) {
            setup = setup.weight(2);
        }
        if random.percent(20) {
            setup = setup.timeout(ms(20));
        }
        if random.percent(30) {
            let backoff = Backoff::fixed(random.millis(30));
            setup = setup.retry(Retry { attempts: 1 + random.below(3) as u32, backoff });
        }
        if random.percent(15) {
            setup = setup.allow_failure();
        }
        if random.percent(20) {
            setup = setup.gated();
        }
        if random.percent(50) {
            setup = setup.lookup();
        }
        ids.push(setup.id());
    }
    graph.build().expect("a random graph is a good one")
}

fn any_play(random: &mut Random) -> GraphPlay {
    let failures = [OnFailure::KeepGoing, OnFailure::Stop, OnFailure::FailFast];
    GraphPlay {
        jobs: 2 + random.below(3) as u32,
        caps: vec![("heavy".to_owned(), 1)],
        on_failure: random.pick(&failures).copied().unwrap_or_default(),
        grace: random.percent(80).then(|| random.millis(40)),
        cancel: random.percent(30).then(|| random.millis(300)),
        crashes: (0..random.below(3)).map(|_| random.millis(200)).collect(),
    }
}

/// Three graphs on one hold set.
fn any(seed: u64) -> Result<(Run, HoldDesk<GraphHappening>), SimError> {
    let mut random = Random::new(seed);
    let desk = desk();
    let mut simulation = Simulation::new(seed).audit(Audit::shared_holds);
    for _ in 0..3 {
        let topology = Arc::new(any_topology(&mut random));
        simulation.add(GraphActor::new(topology, &desk, AnyWork, any_play(&mut random)));
    }
    simulation.run().map(|run| (run, desk))
}

#[test]
fn every_random_graph_comes_to_its_end_and_keeps_the_rules() {
    let explored = explore(seeds(500), |seed| {
        let (_, desk) = any(seed)?;
        assert!(desk.is_empty(), "seed {seed}: {desk:?}");
        Ok(())
    });
    if let Err(fault) = explored {
        panic!("{fault}");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..30 {
        assert_eq!(any(seed).unwrap().0.events(), any(seed).unwrap().0.events());
    }
    assert_ne!(any(1).unwrap().0.events(), any(2).unwrap().0.events());
}

#[test]
fn random_graphs_see_every_event_that_tasks_have() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let (run, _) = any(seed).unwrap();
        seen.extend(run.events().iter().map(|event| event.kind.name()));
    }
    seen.retain(|name| !name.starts_with("session"));
    let tasks = [
        "hold_acquired",
        "hold_released",
        "hold_waiting",
        "task_cancelled",
        "task_errored",
        "task_failed",
        "task_hit",
        "task_miss",
        "task_retry",
        "task_skipped",
        "task_started",
        "task_succeeded",
    ];
    assert!(seen.into_iter().eq(tasks));
}
