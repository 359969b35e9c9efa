//! Cycles: found or excluded, told shortest first, at any size (GRAPH-001). The oracle is
//! petgraph.

use std::collections::{HashMap, HashSet};

use petgraph::algo::{dijkstra, is_cyclic_directed, kosaraju_scc};
use petgraph::graph::{DiGraph, NodeIndex};
use proptest::prelude::*;

use super::config;
use crate::{EdgeKind, Fault, TaskId, Topology, TopologyBuilder};

/// The cycles that a build finds; none where it succeeds.
fn cycles(define: impl FnOnce(&mut TopologyBuilder)) -> Vec<Vec<String>> {
    let mut builder = Topology::builder();
    define(&mut builder);
    let faults = builder.build().map_or_else(|error| error.faults, |_| Vec::new());
    let cycle = |fault| if let Fault::Cycle { tasks } = fault { tasks } else { panic!("{fault}") };
    faults.into_iter().map(cycle).collect()
}

#[test]
fn graph_001_cd_13_a_cycle_over_any_kinds_of_edges_is_refused() {
    let told = cycles(|g| {
        g.task("a").needs("c");
        g.task("b").after("a");
        g.task("c").finally("b");
    });
    assert_eq!(told, [["a", "c", "b"]], "each waits for the next, the last for the first");
}

#[test]
fn graph_001_gr_2_the_shortest_cycle_of_each_group_is_told() {
    let told = cycles(|g| {
        // A ring of five with a chord that makes it three.
        g.task("r1").needs("r5");
        g.task("r2").needs("r1");
        g.task("r3").needs("r2").needs("r5");
        g.task("r4").needs("r3");
        g.task("r5").needs("r4");
        // Another group, before and after the first one; and tasks that lie on no cycle.
        g.task("p:b").needs("p:a").needs("r1");
        g.task("p:a").needs("p:b");
        g.task("start");
        g.task("between").needs("r2").needs("start");
        g.task("p:end").needs("p:a").needs("between");
    });
    assert_eq!(told, [vec!["r3", "r5", "r4"], vec!["p:a", "p:b"]]);
}

#[test]
fn graph_001_gr_2_cd_26_a_chain_of_a_million_builds_without_recursion() {
    const TASKS: usize = 1_000_000;
    for forward in [true, false] {
        let mut builder = Topology::builder();
        for index in 0..TASKS {
            let task = builder.task(&format!("t{index}"));
            match (forward, index) {
                (true, 1..) => _ = task.needs(TaskId(index as u32 - 1)),
                (false, _) if index + 1 < TASKS => _ = task.needs(TaskId(index as u32 + 1)),
                _ => {}
            }
        }
        let graph = builder.build().expect("a chain has no cycle");
        assert_eq!(graph.edge_count(), TASKS - 1);
    }
}

#[test]
fn graph_001_gr_2_cd_26_a_cycle_of_a_million_behind_a_long_chain_is_named() {
    const RING: u32 = 1_000_000;
    let told = cycles(|g| {
        for index in 0..RING {
            g.task(&format!("t{index}")).needs(TaskId((index + RING - 1) % RING));
        }
        let mut last = TaskId(0);
        for index in 0..100_000 {
            last = g.task(&format!("u{index}")).needs(last).id();
        }
    });
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].len(), RING as usize);
    assert_eq!(told[0][..2], ["t0", "t999999"]);
}

#[derive(Debug, Clone)]
struct Digraph {
    tasks: usize,
    edges: Vec<(usize, usize, EdgeKind)>,
}

/// Directed graphs, dense and thin ones, without self edges and with one kind a pair.
fn digraphs() -> impl Strategy<Value = Digraph> {
    (1_usize..30, 0.2..2.5_f64).prop_flat_map(|(tasks, degree)| {
        let kind = prop_oneof![Just(EdgeKind::Hard), Just(EdgeKind::Soft), Just(EdgeKind::Finally)];
        let edge = (0..tasks, 0..tasks, kind);
        let count = (tasks as f64 * degree) as usize;
        prop::collection::vec(edge, count).prop_map(move |mut edges| {
            edges.retain(|(from, to, _)| from != to);
            edges.sort_by_key(|(from, to, _)| (*from, *to));
            edges.dedup_by_key(|(from, to, _)| (*from, *to));
            Digraph { tasks, edges }
        })
    })
}

/// The number of edges on the shortest cycle within `group`.
fn girth(graph: &DiGraph<(), ()>, group: &[NodeIndex]) -> usize {
    let inside =
        graph.filter_map(|node, ()| group.contains(&node).then_some(node), |_, ()| Some(()));
    let through = |start: NodeIndex| {
        let back = |next| dijkstra(&inside, next, Some(start), |_| 1_usize).get(&start).copied();
        inside.neighbors(start).filter_map(back).min().map(|length| length + 1)
    };
    inside.node_indices().filter_map(through).min().expect("it is on a cycle")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn graph_001_cd_13_gr_2_petgraph_finds_the_same_cycles(digraph in digraphs()) {
        let told = cycles(|g| {
            for task in 0..digraph.tasks {
                g.task(&format!("t{task:02}"));
            }
            for &(from, to, kind) in &digraph.edges {
                let (from, task) = (TaskId(from as u32), g.setup(TaskId(to as u32)));
                _ = match kind {
                    EdgeKind::Hard => task.needs(from),
                    EdgeKind::Soft => task.after(from),
                    EdgeKind::Finally => task.finally(from),
                };
            }
        });

        let edges = digraph.edges.iter().map(|&(from, to, _)| (from as u32, to as u32));
        let mut graph = DiGraph::<(), ()>::from_edges(edges);
        while graph.node_count() < digraph.tasks {
            graph.add_node(());
        }
        prop_assert_eq!(told.is_empty(), !is_cyclic_directed(&graph));

        let groups = kosaraju_scc(&graph).into_iter().filter(|group| group.len() > 1);
        let mut expected = HashMap::new();
        for group in groups {
            let length = girth(&graph, &group);
            expected.extend(group.iter().map(|node| (node.index(), (group[0], length))));
        }
        let mut seen = HashSet::new();
        for tasks in &told {
            let tasks: Vec<usize> = tasks.iter().map(|name| name[1..].parse().unwrap()).collect();
            let (group, length) = expected[&tasks[0]];
            prop_assert_eq!(tasks.len(), length, "the shortest of its group");
            prop_assert!(seen.insert(group), "one a group");
            prop_assert_eq!(tasks.iter().min(), tasks.first(), "the first by name begins");
            for (at, &task) in tasks.iter().enumerate() {
                let before = NodeIndex::new(tasks[(at + 1) % tasks.len()]);
                prop_assert!(graph.contains_edge(before, NodeIndex::new(task)), "waits for it");
            }
        }
        let groups: HashSet<_> = expected.values().map(|(group, _)| group).collect();
        prop_assert_eq!(seen.len(), groups.len(), "every group is told");
    }
}
