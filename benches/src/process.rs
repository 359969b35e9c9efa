//! Many short processes with captured output, a number of them at once: by Holdpoint, by std on
//! threads, by tokio.

use std::process::{Command as StdCommand, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdpoint_core::Cancel;
use holdpoint_process::{Command, Environment, Line, RunOptions, Spawner, Status, Stream};
use tokio::runtime::{Builder, Runtime};

/// A program and its arguments.
pub type Words = &'static [&'static str];

/// Starts and ends: what is left is the cost of a process.
pub const ARGV: Words = &["true"];

/// The same through a shell.
pub const SHELL: Words = &["/bin/sh", "-e", "-c", "true"];

/// A runtime with two workers, as the raw limit has two processors.
///
/// # Panics
/// Where the system gives none.
#[must_use]
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// By Holdpoint: environment composed, output split into lines, group watched.
///
/// # Panics
/// Where a process fails.
pub fn holdpoint(runtime: &Runtime, words: Words, count: usize, parallel: usize) {
    let spawner = Spawner::new().expect("threads");
    let command = Command::program("/", words[0], &words[1..]);
    let command = Arc::new(command.environment(Environment::of_this_process()));
    on_tasks(runtime, count, parallel, move || {
        let (spawner, command) = (spawner.clone(), command.clone());
        async move {
            let mut sink = |_: Stream, _: Line<'_>| {};
            let cancel = Cancel::new();
            let run = spawner.run(&command, &mut sink, &cancel, RunOptions::default());
            assert_eq!(run.await.expect("it runs").status, Status::Code(0));
        }
    });
}

/// The raw limit: std's `posix_spawn` and two pipes, each thread waiting for its own process.
///
/// # Panics
/// Where a process fails.
pub fn std_threads(words: Words, count: usize, threads: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let mut command = StdCommand::new(words[0]);
                    let output = command.args(&words[1..]).stdin(Stdio::null()).output();
                    assert!(output.expect("it runs").status.success());
                }
            });
        }
    });
}

/// The second limit: tokio's processes.
///
/// # Panics
/// Where a process fails.
pub fn tokio_tasks(runtime: &Runtime, words: Words, count: usize, parallel: usize) {
    on_tasks(runtime, count, parallel, move || async move {
        let mut command = tokio::process::Command::new(words[0]);
        let output = command.args(&words[1..]).stdin(Stdio::null()).output();
        assert!(output.await.expect("it runs").status.success());
    });
}

fn on_tasks<F, R>(runtime: &Runtime, count: usize, parallel: usize, run: F)
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (next, run) = (Arc::new(AtomicUsize::new(0)), Arc::new(run));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..parallel)
            .map(|_| {
                let (next, run) = (next.clone(), run.clone());
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        run().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}
