//! What needs a runner of its own: its limits, its memory, its standard input. Each test runs
//! itself once more, alone, behind a shell that sets the scene.

use std::fs::File;
use std::process::Command as StdCommand;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdpoint_core::{Cancel, Retryable};
use holdpoint_process::{
    Command, Exit, Line, ProcessError, RunOptions, Spawner, Status, Stream, SystemLimit,
};

use crate::support::run;

const INNER: &str = "HOLDPOINT_TEST_INNER";

/// Whether this is the inner run. The outer one starts it after `scene`, a piece of shell, and
/// passes its judgement on.
pub(crate) fn alone(test: &str, scene: &str) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let output = StdCommand::new("sh")
        .args(["-c", &format!("{scene}; exec \"$0\" --exact \"$1\" --nocapture --test-threads 1")])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INNER, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

#[test]
fn proc_001_standard_input_is_empty_whatever_the_runner_has() {
    let test = "alone::proc_001_standard_input_is_empty_whatever_the_runner_has";
    if !alone(test, "exec < /etc/passwd") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (exit, _) = runtime.block_on(run(&Command::program("/", "/bin/cat", [""; 0])));
    assert_eq!((exit.status, exit.output_bytes), (Status::Code(0), 0));
}

#[test]
fn ch_9_without_descriptors_every_run_ends_and_the_runner_lives() {
    if !alone("alone::ch_9_without_descriptors_every_run_ends_and_the_runner_lives", "ulimit -n 40")
    {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let spawner = Spawner::new().unwrap();
        let open = || std::fs::read_dir("/dev/fd").unwrap().count();
        // What the spawner makes once, it makes with the first start.
        assert_eq!(echo(&spawner).await.unwrap().status, Status::Code(0));
        let before = open();

        let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let refused = echo(&spawner).await.unwrap_err();
        drop(taken);
        assert_out_of_descriptors(&refused);

        let next = Arc::<AtomicUsize>::default();
        let workers: Vec<_> = (0..50)
            .map(|_| {
                let (spawner, next) = (spawner.clone(), next.clone());
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < 1_000 {
                        match echo(&spawner).await {
                            Ok(exit) => assert_eq!(exit.status, Status::Code(0)),
                            Err(error) => assert_out_of_descriptors(&error),
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        assert_eq!(open(), before, "descriptors are given back");
        assert_eq!(echo(&spawner).await.unwrap().status, Status::Code(0));
    });
}

async fn echo(spawner: &Spawner) -> Result<Exit, ProcessError> {
    let command = Command::program("/", "/bin/echo", ["x"]);
    let mut sink = |_: Stream, _: Line<'_>| {};
    spawner.run(&command, &mut sink, &Cancel::new(), RunOptions::default()).await
}

fn assert_out_of_descriptors(error: &ProcessError) {
    assert!(error.is_retryable(), "{error:?}");
    let ProcessError::LimitReached { limit, .. } = error else { panic!("{error:?}") };
    assert_eq!(*limit, SystemLimit::Descriptors);
}

#[cfg(target_os = "linux")]
#[test]
fn proc_005_ev_3_memory_is_bounded_whatever_a_child_prints() {
    if !alone("alone::proc_005_ev_3_memory_is_bounded_whatever_a_child_prints", ":") {
        return;
    }
    struct Bytes(u64);
    impl holdpoint_process::OutputSink for Bytes {
        fn line(&mut self, _: Stream, line: Line<'_>) {
            self.0 += line.bytes.len() as u64;
        }
    }
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let row = status.lines().find(|row| row.starts_with("VmHWM:")).unwrap().to_owned();
        row.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let size = 100 * 1024 * 1024;
        let before = peak();
        let script = format!("head -c {size} /dev/zero");
        let path = holdpoint_process::Environment::of_this_process();
        let command = Command::shell("/", [script]).environment(path).log(&log);
        let mut bytes = Bytes(0);
        let spawner = Spawner::new().unwrap();
        let cancel = Cancel::new();
        let run = spawner.run(&command, &mut bytes, &cancel, RunOptions::default());
        assert_eq!(run.await.unwrap().output_bytes, size);
        assert_eq!(bytes.0, size);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), size);
        assert!(peak() - before < 4 * 1024, "{before} -> {} KiB", peak());
    });
}
