//! The graph engine beside the least code that does the same: in-degree counters (the machine),
//! `FuturesUnordered` (inline), a tokio task each (spread). Events go to one observer, caps and
//! holds are on, the report is kept.
//!
//! `HOLDPOINT_BENCH_MAX` sets the largest size (default 100000).

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint_benches::raw;
use holdpoint_benches::shapes::Shape;
use holdpoint_core::Monotonic;
use holdpoint_core::Timestamp;
use holdpoint_graph::{
    Effect, Input, Limits, Machine, OnFailure, RunOptions, SendTaskRunner, TaskContext, TaskEnd,
    TaskEvent, TaskId, Topology, run, run_spawned,
};
use holdpoint_hold::{Claims, HoldSet};

struct Nothing;

impl SendTaskRunner for Nothing {
    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        black_box(cx.task());
        TaskEnd::Succeeded
    }
}

fn options() -> RunOptions<impl holdpoint_graph::Observer + Send> {
    let mut events = 0_u64;
    RunOptions::default().limits(Limits::jobs(raw::CAP as u32)).observer(
        move |event: &TaskEvent| {
            events += 1;
            black_box((events, event.task));
        },
    )
}

/// The holds of each task, checked. A set that has not seen the names finds them again.
fn claims(topology: &Topology) -> Vec<Claims> {
    let mut holds = HoldSet::new();
    let ids: Vec<TaskId> = topology.tasks().collect();
    let mut claims = Vec::with_capacity(ids.len());
    for task in ids {
        claims.push(holds.claims(topology.holds(task)).expect("valid holds"));
    }
    claims
}

/// Drives the machine as the inline driver does, with no-op tasks and a bare hold set.
fn machine(topology: &Arc<Topology>, claims: &[Claims]) -> usize {
    let limits = Limits::jobs(raw::CAP as u32);
    let mut machine = Machine::new(topology, &limits, OnFailure::KeepGoing, None, 0);
    let mut holds = HoldSet::new();
    let mut tickets: Vec<_> = Vec::new();
    tickets.resize_with(topology.len(), || None);
    let mut ended = 0;
    machine.handle(Monotonic::ZERO, Input::Start(Timestamp::default()));
    loop {
        while let Some(effect) = machine.next_effect() {
            match effect {
                Effect::Execute { task, .. } => {
                    machine.handle(Monotonic::ZERO, Input::Executed(task, TaskEnd::Succeeded));
                    ended += 1;
                }
                Effect::RequestHolds(task) => {
                    let ticket = holds.request(&claims[task.index()], task.index() as u64);
                    let granted = holds.is_granted(&ticket);
                    tickets[task.index()] = Some((ticket, task));
                    machine.handle(
                        Monotonic::ZERO,
                        if granted { Input::HoldsGranted(task) } else { Input::HoldsQueued(task) },
                    );
                }
                Effect::ReleaseHolds(task) => {
                    if let Some((ticket, _)) = tickets[task.index()].take() {
                        holds.release(ticket);
                    }
                }
                other => {
                    black_box(other);
                }
            }
        }
        let Some(owner) = holds.next_granted() else { return ended };
        if let Some((_, task)) = &tickets[owner as usize] {
            machine.handle(Monotonic::ZERO, Input::HoldsGranted(*task));
        }
    }
}

fn sizes() -> impl Iterator<Item = u32> {
    let max = std::env::var("HOLDPOINT_BENCH_MAX").ok().and_then(|text| text.parse().ok());
    [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(move |&n| n <= max.unwrap_or(100_000))
}

fn graph(c: &mut Criterion) {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for shape in Shape::ALL {
        for kind in ["machine", "inline", "spread"] {
            let mut group = c.benchmark_group(format!("graph_{kind}_{}", shape.name()));
            group.sample_size(10);
            for n in sizes() {
                let bare = shape.bare(n);
                let topology = shape.topology(n);
                let claims = claims(&topology);
                group.throughput(Throughput::Elements(u64::from(n)));
                group.bench_function(BenchmarkId::new("raw", n), |b| match kind {
                    "machine" => b.iter(|| assert_eq!(raw::counters(&bare), n as usize)),
                    "inline" => b.iter(|| {
                        assert_eq!(current.block_on(raw::unordered(&bare)), n as usize);
                    }),
                    _ => b.iter(|| {
                        assert_eq!(threads.block_on(raw::spawned(&bare)), n as usize);
                    }),
                });
                group.bench_function(BenchmarkId::new("holdpoint", n), |b| match kind {
                    "machine" => b.iter(|| assert_eq!(machine(&topology, &claims), n as usize)),
                    "inline" => b.iter(|| {
                        let report = current.block_on(run(&topology, &Nothing, options())).unwrap();
                        assert!(report.is_success());
                        report
                    }),
                    _ => b.iter(|| {
                        let report = threads
                            .block_on(run_spawned(&topology, Arc::new(Nothing), options()))
                            .unwrap();
                        assert!(report.is_success());
                        report
                    }),
                });
            }
            group.finish();
        }
    }
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("graph_build_layered");
    group.sample_size(10);
    for n in sizes() {
        group.throughput(Throughput::Elements(u64::from(n)));
        group.bench_function(BenchmarkId::new("raw", n), |b| b.iter(|| Shape::Layered.bare(n)));
        group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
            b.iter(|| Shape::Layered.topology(n));
        });
    }
    group.finish();
}

criterion_group!(benches, graph, build);
criterion_main!(benches);
