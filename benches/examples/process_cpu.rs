//! Wall and CPU time (self and children) of starting `true` with captured output, Holdpoint
//! beside the least code on std and on tokio: `process_cpu [COUNT] [PARALLELISM] [ROUNDS]`.
//! Criterion measures wall time only; this is the other column.

use std::process::{Command as StdCommand, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use holdpoint_core::Cancel;
use holdpoint_process::{Command, Environment, Line, RunOptions, Spawner, Status, Stream};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let count = arguments.next().unwrap_or(5_000);
    let parallel = arguments.next().unwrap_or(8);
    let rounds = arguments.next().unwrap_or(3);
    type Contestant = (&'static str, fn(usize, usize));
    let contestants: [Contestant; 5] = [
        ("std, 2 threads", |count, _| std_threads(count, 2)),
        ("std", std_threads),
        ("tokio", tokio_process),
        ("holdpoint", |count, parallel| holdpoint(count, parallel, false)),
        ("holdpoint sh -c", |count, parallel| holdpoint(count, parallel, true)),
    ];
    println!("{count} processes, {parallel} at once; us a process: wall / CPU");
    for _ in 0..rounds {
        for (name, run) in contestants {
            let (wall, cpu) = (Instant::now(), cpu_ticks());
            run(count, parallel);
            let each = |micros: f64| micros / count as f64;
            println!(
                "{name:<18} {:6.0} / {:6.0}",
                each(wall.elapsed().as_secs_f64() * 1e6),
                each((cpu_ticks() - cpu) as f64 * 1e4)
            );
        }
    }
}

fn std_threads(count: usize, threads: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let output =
                        StdCommand::new("/usr/bin/true").stdin(Stdio::null()).output().unwrap();
                    assert!(output.status.success());
                }
            });
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn tokio_process(count: usize, parallel: usize) {
    runtime().block_on(async {
        let next = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..parallel)
            .map(|_| {
                let next = next.clone();
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        let output = tokio::process::Command::new("/usr/bin/true")
                            .stdin(Stdio::null())
                            .output()
                            .await
                            .unwrap();
                        assert!(output.status.success());
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

fn holdpoint(count: usize, parallel: usize, shell: bool) {
    runtime().block_on(async {
        let spawner = Spawner::new().unwrap();
        let next = Arc::new(AtomicUsize::new(0));
        let environment = Environment::of_this_process();
        let command = if shell {
            Command::shell("/", ["true"])
        } else {
            Command::program("/", "true", [""; 0])
        };
        let command = Arc::new(command.environment(environment));
        let workers: Vec<_> = (0..parallel)
            .map(|_| {
                let (next, spawner, command) = (next.clone(), spawner.clone(), command.clone());
                tokio::spawn(async move {
                    let cancel = Cancel::new();
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        let mut sink = |_: Stream, _: Line<'_>| {};
                        let exit = spawner
                            .run(&command, &mut sink, &cancel, RunOptions::default())
                            .await
                            .unwrap();
                        assert_eq!(exit.status, Status::Code(0));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

/// User and system time of this process and its reaped children, in ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(4);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
