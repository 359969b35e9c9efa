//! Wall and CPU time (of this process and its children) of short processes with captured
//! output, Holdpoint beside the raw limits, in turns: `process_cpu [COUNT] [PARALLEL] [ROUNDS]`.
//! Linux only, for it reads `/proc`.

use std::time::Instant;

use holdpoint_benches::process::{ARGV, SHELL, holdpoint, runtime, std_threads, tokio_tasks};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let mut argument = |default: usize| arguments.next().unwrap_or(default);
    let (count, parallel, rounds) = (argument(5_000), argument(8), argument(3));
    let runtime = runtime();
    println!("{count} processes, {parallel} at once; us a process, wall / CPU");
    for _ in 0..rounds {
        measure("std, 2 threads", count, || std_threads(ARGV, count, 2));
        measure("std", count, || std_threads(ARGV, count, parallel));
        measure("tokio", count, || tokio_tasks(&runtime, ARGV, count, parallel));
        measure("holdpoint", count, || holdpoint(&runtime, ARGV, count, parallel));
        measure("std sh -c", count, || std_threads(SHELL, count, parallel));
        measure("holdpoint sh -c", count, || holdpoint(&runtime, SHELL, count, parallel));
    }
}

fn measure(name: &str, count: usize, run: impl FnOnce()) {
    let (begun, cpu) = (Instant::now(), cpu_micros());
    run();
    let wall = begun.elapsed().as_micros() as usize / count;
    println!("{name:<16} {wall:5} / {:5}", (cpu_micros() - cpu) / count);
}

/// User and system time of this process and its reaped children.
fn cpu_micros() -> usize {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = &stat[stat.rfind(')').expect("a name") + 1..];
    let ticks = after_name.split_whitespace().skip(11).take(4);
    // A tick is 10 ms on every Linux there is.
    ticks.map(|ticks| ticks.parse::<usize>().expect("a number") * 10_000).sum()
}
