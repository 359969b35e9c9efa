//! Runs one shape over and over, for a profiler, and says what memory it takes:
//! `cargo run --profile bench -p holdpoint-benches --example graph_prof -- SHAPE TASKS ROUNDS`.

use holdpoint_benches::alloc::resident;
use holdpoint_benches::shapes::Shape;
use holdpoint_graph::{Limits, RunOptions, SendTaskRunner, TaskContext, TaskEnd, TaskEvent, run};

struct Nothing;

impl SendTaskRunner for Nothing {
    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        std::hint::black_box(cx.task());
        TaskEnd::Succeeded
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, shape, tasks, rounds] = args.as_slice() else {
        eprintln!("usage: graph_prof SHAPE TASKS ROUNDS");
        std::process::exit(2);
    };
    let shape = Shape::ALL.into_iter().find(|known| known.name() == shape).expect("a shape");
    let tasks: u32 = tasks.parse().expect("a number of tasks");
    let empty = resident();
    let topology = shape.topology(tasks);
    let built = resident();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    for round in 0..rounds.parse().expect("a number of rounds") {
        let mut events = 0_u64;
        let options =
            RunOptions::default().limits(Limits::jobs(64)).observer(|event: &TaskEvent| {
                events += 1;
                std::hint::black_box((events, event.task));
            });
        let report = runtime.block_on(run(&topology, &Nothing, options)).expect("a run");
        assert!(report.is_success());
        if round == 0 {
            let each = |bytes: usize| bytes as f64 / f64::from(tasks);
            println!(
                "{} tasks, {} edges: graph {:.0} B a task, run and report {:.0} B a task",
                tasks,
                topology.edge_count(),
                each(built - empty),
                each(resident().saturating_sub(built)),
            );
        }
    }
}
