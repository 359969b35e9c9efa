//! What a build refuses, and how it says so (GRAPH-001).

use std::time::Duration;

use holdpoint_core::Backoff;

use crate::{
    EdgeKind, Fault, Hold, Limits, Machine, OnFailure, Retry, Scope, TaskId, Topology,
    TopologyBuilder,
};

/// The faults of a graph, in a few words each: messages of other crates are theirs.
fn faults(define: impl FnOnce(&mut TopologyBuilder)) -> Vec<String> {
    let mut builder = Topology::builder();
    define(&mut builder);
    builder.build().expect_err("it has faults").faults.iter().map(short).collect()
}

fn short(fault: &Fault) -> String {
    match fault {
        Fault::BadName { name, .. } => format!("bad name {name}"),
        Fault::BadTag { task, tag, .. } => format!("bad tag {tag} of {task}"),
        Fault::Hold { task, .. } => format!("bad holds of {task}"),
        Fault::Capacity { hold, .. } => format!("bad capacity of {hold}"),
        own => own.to_string(),
    }
}

fn built(define: impl FnOnce(&mut TopologyBuilder)) -> Topology {
    let mut builder = Topology::builder();
    define(&mut builder);
    builder.build().expect("a good graph")
}

#[test]
fn graph_001_gr_2_hold_009_all_faults_are_told_at_once() {
    let told = faults(|g| {
        g.hold_capacity(Scope::Workspace, "gpu", 2).hold_capacity(Scope::Workspace, "cpu", 0);
        g.task("-x").tag("no tag");
        g.task("twin").needs("gone");
        g.task("twin").after("twin");
        let lone = g.task("lone").id();
        g.setup(lone).needs(lone);
        g.task("both").needs(lone).after(lone);
        g.task("greedy").hold(Hold::units("gpu", 3));
        g.task("double").hold(Hold::shared("db")).hold(Hold::exclusive("db"));
        let none = Retry { attempts: 0, backoff: Backoff::fixed(Duration::ZERO) };
        g.task("idle").weight(0).timeout(Duration::ZERO).retry(none);
        g.task("hen").needs("egg");
        g.task("egg").finally("hen");
    });
    assert_eq!(
        told,
        [
            "bad name -x",
            "bad capacity of cpu",
            "bad tag no tag of -x",
            "task `twin` waits for `gone`, which is not a task",
            "task `twin` is defined twice",
            "task `twin` waits for itself",
            "task `lone` waits for itself",
            "task `both` waits for `lone` in two ways; keep one",
            "bad holds of greedy",
            "bad holds of double",
            "task `idle`: its weight is 0; the least is 1",
            "task `idle`: its timeout is 0; leave it out for no limit",
            "task `idle`: its attempts are 0; the first counts, so the least is 1",
            "cycle: egg -> hen -> egg",
        ]
    );
}

#[test]
fn graph_001_each_fault_is_a_value_of_its_own_and_their_sum_a_message() {
    let mut builder = Topology::builder();
    builder.task("a").needs("b");
    builder.task("c").needs("c");
    let error = builder.build().expect_err("it has faults");
    let unknown = Fault::Unknown { task: "a".into(), unknown: "b".into() };
    assert_eq!(error.faults, [unknown, Fault::SelfEdge { task: "c".into() }]);
    assert_eq!(
        error.to_string(),
        "the graph cannot be built: task `a` waits for `b`, which is not a task; \
         task `c` waits for itself"
    );
}

#[test]
fn graph_001_gr_2_every_pair_of_kinds_between_two_tasks_is_refused() {
    let both = ["task `b` waits for `a` in two ways; keep one"];
    type Add = for<'a> fn(crate::TaskSetup<'a>) -> crate::TaskSetup<'a>;
    let kinds: [Add; 3] =
        [|task| task.needs("a"), |task| task.after("a"), |task| task.finally("a")];
    for (first, second) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        let told = faults(|g| {
            g.task("a");
            kinds[second](kinds[first](g.task("b")));
        });
        assert_eq!(told, both);
    }
    // The same edge twice is said twice, and is one edge.
    for kind in kinds {
        let graph = built(|g| {
            g.task("a");
            kind(kind(g.task("b")));
        });
        assert_eq!(graph.edge_count(), 1);
    }
}

#[test]
fn graph_001_gr_2_an_edge_from_a_task_of_another_graph_is_a_fault() {
    let mut other = Topology::builder();
    let far = (0..3).map(|n| other.task(&format!("t{n}")).id()).last().expect("three");
    let told = faults(|g| {
        g.task("a").needs(far);
    });
    assert_eq!(told, ["task `a` waits for `#2`, which is not a task"]);
}

/// Names that no task can have are unknown, even where they look like a known one inside.
#[test]
fn graph_001_gr_2_a_name_is_unknown_unless_it_is_exactly_a_tasks() {
    let define = |g: &mut TopologyBuilder| {
        g.task("a");
        g.task("p:a");
        g.task("p:b");
    };
    let graph = built(define);
    let names = ["a", "p:a", "p:b"];
    for (index, name) in names.into_iter().enumerate() {
        assert_eq!(graph.find(name).map(TaskId::index), Some(index));
    }
    for name in ["", "b", "p", ":a", "p:", "p:a:", "\0a", "p\0a", "A", "a ", "p:c"] {
        assert_eq!(graph.find(name), None, "{name:?}");
        let told = faults(|g| {
            define(g);
            g.task("z").needs(name);
        });
        assert_eq!(told, [format!("task `z` waits for `{name}`, which is not a task")]);
    }
}

#[test]
fn graph_001_duplicates_are_found_in_any_order_of_definition() {
    let told = faults(|g| {
        for name in ["m", "a:m", "z", ":m", "m", "a:m"] {
            g.task(name);
        }
    });
    assert_eq!(told, ["bad name :m", "task `m` is defined twice", "task `a:m` is defined twice"]);
}

#[test]
fn graph_001_what_was_said_is_what_was_built() {
    let app = || holdpoint_core::Name::new("app").expect("a name");
    let graph = built(|g| {
        g.hold_capacity(Scope::Workspace, "gpu", 4);
        g.task("app:build").tag("heavy").tag("slow").tag("heavy").weight(3).allow_failure();
        g.task("test").needs("app:build").hold(Hold::exclusive("db").in_project(app()));
        g.task("lint").after("app:build").hold(Hold::units("gpu", 2)).hold(Hold::shared("db"));
        g.task("app:all").needs("test").after("lint").finally("app:build");
    });
    let [build, test, lint, all] =
        ["app:build", "test", "lint", "app:all"].map(|name| graph.find(name).expect("a task"));
    assert_eq!((graph.len(), graph.edge_count(), graph.is_empty()), (4, 5, false));
    let order: Vec<&str> = graph.tasks().map(|task| graph.name(task)).collect();
    assert_eq!(order, ["lint", "test", "app:all", "app:build"], "no project comes first");
    let after: Vec<_> = graph.successors(build).collect();
    assert_eq!(after, [(test, EdgeKind::Hard), (lint, EdgeKind::Soft), (all, EdgeKind::Finally)]);
    assert_eq!(graph.holds(test), [Hold::exclusive("db").in_project(app())]);
    assert_eq!(graph.holds(lint), [Hold::units("gpu", 2), Hold::shared("db")]);
    assert_eq!(graph.holds(all), []);
    assert_eq!((graph.weight(build), graph.weight(test)), (3, 1));
    assert_eq!(graph.tags(build).collect::<Vec<_>>(), ["heavy", "slow"]);
    assert!(graph.allows_failure(build) && !graph.allows_failure(test));
}

#[test]
fn graph_001_an_empty_graph_is_a_good_one_and_ends_at_once() {
    let graph = std::sync::Arc::new(built(|_| {}));
    assert!(graph.is_empty());
    let machine = Machine::new(&graph, &Limits::jobs(1), OnFailure::Stop, None, 0);
    assert!(machine.is_done());
    let report = machine.into_report();
    assert_eq!((report.rows().len(), report.is_success()), (0, true));
}
