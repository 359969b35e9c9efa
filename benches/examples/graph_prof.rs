//! Runs one shape over and over, for a profiler: `graph_prof SHAPE TASKS ROUNDS`.
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
    let shape = Shape::ALL.into_iter().find(|shape| shape.name() == args[1]).expect("a shape");
    let topology = shape.topology(args[2].parse().expect("tasks"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    println!("effect {} event {} input {}", size_of::<holdpoint_graph::Effect>(), size_of::<TaskEvent>(), size_of::<holdpoint_graph::Input>());
    for _ in 0..args[3].parse().expect("rounds") {
        let mut events = 0_u64;
        let options = RunOptions::default().limits(Limits::jobs(64)).observer(|event: &TaskEvent| {
            events += 1;
            std::hint::black_box((events, event.task));
        });
        let report = runtime.block_on(run(&topology, &Nothing, options)).expect("a run");
        assert!(report.is_success());
    }
}
