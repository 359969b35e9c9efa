//! Ten million times an answer and the next question on two workers, by two sessions at a time, each
//! with somebody who answers: the time from an answer to the next pause, beside raw channels, and
//! whether any cycle is stuck:
//! `cargo run --profile bench -p holdpoint-benches --example session_cycles -- [CYCLES] [PAIRS]`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use holdpoint_benches::session::{answer, on, raw_answer, two_workers};
use tokio::runtime::Runtime;

/// Without progress for so long, it is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (cycles, pairs): (u64, u64) = (args.next().unwrap_or(10_000_000), args.next().unwrap_or(2));
    let runtime = two_workers();
    let count = Arc::new(AtomicU64::new(0));
    let watched = Arc::clone(&count);
    thread::spawn(move || watch(&watched));
    for (name, is_raw) in [("raw", true), ("holdpoint", false)] {
        count.store(0, Ordering::Relaxed);
        let begin = Instant::now();
        let times = measure(&runtime, cycles / pairs, pairs, is_raw, &count);
        let (all, rate) = (times.count(), cycles as f64 / begin.elapsed().as_secs_f64());
        println!(
            "{name:<9} {all} cycles, {rate:.0} a second: p50 {:.2} µs, p99 {:.2}, p99.9 {:.2}, most {:.0}",
            times.at(0.5),
            times.at(0.99),
            times.at(0.999),
            times.at(1.0)
        );
    }
}

fn measure(runtime: &Runtime, n: u64, pairs: u64, is_raw: bool, count: &Arc<AtomicU64>) -> Times {
    let count = Arc::clone(count);
    on(runtime, async move {
        let mut tasks = Vec::new();
        for _ in 0..pairs {
            let (mut times, count) = (Times::new(), Arc::clone(&count));
            tasks.push(tokio::spawn(async move {
                let mut last = Instant::now();
                let seen = || {
                    let now = Instant::now();
                    times.add(now - last);
                    last = now;
                    count.fetch_add(1, Ordering::Relaxed);
                };
                if is_raw {
                    raw_answer(n, seen).await;
                } else {
                    answer(n, seen).await;
                }
                times
            }));
        }
        let mut all = Times::new();
        for task in tasks {
            all.merge(&task.await.expect("no panic"));
        }
        all
    })
}

/// Ends the program where nothing goes on.
fn watch(count: &AtomicU64) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = count.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            eprintln!("stuck after {now} cycles");
            std::process::exit(1);
        }
    }
}

/// How often something took how long, in steps of 20 ns up to 10 ms.
struct Times {
    steps: Vec<u64>,
    most: Duration,
}

impl Times {
    const STEP: u128 = 20;

    fn new() -> Self {
        Self { steps: vec![0; 500_000], most: Duration::ZERO }
    }

    fn add(&mut self, time: Duration) {
        let step = usize::try_from(time.as_nanos() / Self::STEP).unwrap_or(usize::MAX);
        let last = self.steps.len() - 1;
        self.steps[step.min(last)] += 1;
        self.most = self.most.max(time);
    }

    fn merge(&mut self, other: &Self) {
        self.steps.iter_mut().zip(&other.steps).for_each(|(own, other)| *own += other);
        self.most = self.most.max(other.most);
    }

    fn count(&self) -> u64 {
        self.steps.iter().sum()
    }

    /// The time in microseconds that this part of them did not exceed.
    fn at(&self, part: f64) -> f64 {
        if part >= 1.0 {
            return self.most.as_secs_f64() * 1e6;
        }
        let (wanted, mut seen) = ((self.count() as f64 * part) as u64, 0);
        let step = self.steps.iter().position(|count| {
            seen += count;
            seen > wanted
        });
        step.unwrap_or(0) as f64 * Self::STEP as f64 / 1e3
    }
}
