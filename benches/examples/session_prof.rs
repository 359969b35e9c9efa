//! Runs one path of the sessions and its raw limit in turns, for a profiler, and says the CPU time
//! that each takes, which other load disturbs less than the time that passes. `ours` or `raw` runs
//! that side alone. Linux only, for it reads `/proc`:
//! `cargo run --profile bench -p holdpoint-benches --example session_prof -- \
//! spawn|answer|step 1|2 COUNT ROUNDS [ours|raw]`.

use std::time::Instant;

use holdpoint_benches::session::{
    answer, on, one_thread, raw_answer, raw_spawn, raw_step, spawn, step, two_workers,
};
use tokio::runtime::Runtime;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, workers, count, rounds, side @ ..] = args.as_slice() else {
        eprintln!("usage: session_prof spawn|answer|step 1|2 COUNT ROUNDS [ours|raw]");
        std::process::exit(2);
    };
    let count: u64 = count.parse().expect("a count");
    let runtime = if workers == "1" { one_thread() } else { two_workers() };
    let sides: Vec<&str> = match side.first() {
        Some(side) => vec![side],
        None => vec!["raw", "ours"],
    };
    let mut best = vec![f64::MAX; sides.len()];
    for _ in 0..rounds.parse().expect("a number of rounds") {
        for (side, best) in sides.iter().zip(&mut best) {
            let (begin, cpu) = (Instant::now(), cpu_millis());
            run(&runtime, path, side, count);
            let per = |millis: f64| millis * 1e6 / count as f64;
            let cpu = per((cpu_millis() - cpu) as f64);
            let wall = per(begin.elapsed().as_secs_f64() * 1e3);
            *best = best.min(cpu);
            println!("{path} {side:<4} {cpu:7.0} ns of CPU, {wall:7.0} ns passed");
        }
    }
    if let [raw, ours] = best[..] {
        println!(
            "{path}, {workers} worker(s), least CPU: {ours:.0} / {raw:.0} = {:.2}",
            ours / raw
        );
    }
}

fn run(runtime: &Runtime, path: &str, side: &str, count: u64) {
    match (path, side) {
        ("spawn", "ours") => on(runtime, spawn(count)),
        ("spawn", _) => on(runtime, raw_spawn(count)),
        ("answer", "ours") => on(runtime, answer(count, || {})),
        ("answer", _) => on(runtime, raw_answer(count, || {})),
        ("step", "ours") => assert_eq!(on(runtime, step(count)), count),
        _ => assert_eq!(on(runtime, raw_step(count)), count),
    }
}

/// User and system time of this process.
fn cpu_millis() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = &stat[stat.rfind(')').expect("a name") + 1..];
    let ticks = after_name.split_whitespace().skip(11).take(2);
    // A tick is 10 ms on every Linux there is.
    ticks.map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum()
}
