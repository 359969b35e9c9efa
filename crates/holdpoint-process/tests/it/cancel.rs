//! PROC-003 and PROC-004: cancels, drops, and output that somebody else holds.

use std::time::{Duration, Instant};

use crate::support::{
    Gate, LONG, Seen, has_ended, path_only, run, run_until, shell, telling, wait_until_ended,
    wait_until_reaped,
};
use holdpoint_core::{Cancel, CancelCode};
use holdpoint_process::{
    Command, Failure, Line, OutputSink, ProcessError, RunOptions, Spawner, Status, Stream, Verdict,
};

fn patient() -> RunOptions {
    RunOptions::default().grace(LONG)
}

fn quick(grace: u64) -> RunOptions {
    RunOptions::default().grace(Duration::from_millis(grace))
}

fn stop(cancel: &Cancel) {
    cancel.cancel(CancelCode::User, "enough");
}

#[tokio::test]
async fn proc_003_a_process_may_clean_up_within_its_grace() {
    let script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let (exit, seen) = run_until(&shell(script), patient(), "ready", stop).await;
    assert_eq!(seen.stdout(), "ready\nbye\n");
    assert_eq!(exit.status, Status::Code(7));
    assert_eq!(exit.cancelled.as_ref().unwrap().text.as_ref(), "enough");
    assert!(matches!(exit.verdict(), Verdict::Cancelled(cause) if cause.code == CancelCode::User));
}

#[tokio::test]
async fn proc_003_ch_1_processes_that_ignore_sigterm_are_killed_after_the_grace() {
    let grace = 200;
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let begun = Instant::now();
    let runs: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(
                async move { run_until(&shell(script), quick(grace), "ready", stop).await },
            )
        })
        .collect();
    for run in runs {
        let (exit, _) = run.await.unwrap();
        assert_eq!(exit.status, Status::Signal(9));
        assert!(exit.cancelled.is_some());
    }
    assert!(begun.elapsed() >= Duration::from_millis(grace));
}

#[tokio::test]
async fn proc_003_without_grace_nothing_is_asked() {
    let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let (exit, seen) = run_until(&shell(script), quick(0), "ready", stop).await;
    assert_eq!((exit.status, seen.stdout().as_str()), (Status::Signal(9), "ready\n"));
}

#[tokio::test]
async fn proc_002_killed_for_its_time_limit_is_failed() {
    let (exit, _) =
        run_until(&shell("echo ready; exec sleep 1000"), patient(), "ready", |cancel| {
            cancel.cancel(CancelCode::Timeout, "10m");
        })
        .await;
    assert_eq!(exit.status, Status::Signal(15));
    assert!(matches!(exit.verdict(), Verdict::Failed(Failure::Timeout(_))));
}

#[tokio::test]
async fn proc_003_all_members_of_the_group_end() {
    let script = "sleep 1000 & echo $!; (sleep 1000; true) & echo $!; echo ready; wait";
    let (exit, seen) = run_until(&shell(script), patient(), "ready", stop).await;
    assert_eq!(exit.status, Status::Signal(15));
    for pid in seen.lines.iter().filter_map(|(_, line, _)| line.parse().ok()) {
        wait_until_ended(pid);
    }
    assert!(!exit.leaky_output);
}

/// The shell is gone at once, its output closed; what it had started still cleans up.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn proc_003_the_grace_is_that_of_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let inner = "trap 'sleep 0.2; echo saved > saved; exit 0' TERM; echo x > up; while :; do sleep 0.01; done";
    let script = format!(
        "sh -c \"{inner}\" > /dev/null 2>&1 & while [ ! -e up ]; do sleep 0.01; done; echo ready; wait"
    );
    let command = Command::shell(folder.path(), [script]).environment(path_only());
    let (exit, _) = run_until(&command, patient(), "ready", stop).await;
    assert_eq!(exit.status, Status::Signal(15));
    assert_eq!(std::fs::read_to_string(folder.path().join("saved")).unwrap(), "saved\n");
}

#[tokio::test]
async fn proc_003_a_stopped_process_hears_the_cancel() {
    let script = "echo ready; kill -STOP $$; echo never";
    let (exit, seen) = run_until(&shell(script), patient(), "ready", stop).await;
    assert_eq!(exit.status, Status::Signal(15));
    assert_eq!(seen.stdout(), "ready\n");
}

#[tokio::test]
async fn proc_003_a_cancel_before_the_start_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let command = Command::shell(folder.path(), ["echo x > touched"]);
    let cancel = Cancel::new();
    stop(&cancel);
    let spawner = Spawner::new().unwrap();
    let mut sink = |_: Stream, _: Line<'_>| {};
    let error = spawner.run(&command, &mut sink, &cancel, patient()).await.unwrap_err();
    assert_eq!(error.to_string(), "cancelled before it started (user: enough)");
    assert!(matches!(error, ProcessError::Cancelled { .. }));
    assert!(!touched.exists());
}

/// Cancels in the moment in which the process has ended by itself and nobody has noticed.
struct CancelAtTheEnd<'a> {
    cancel: &'a Cancel,
    pid: u32,
}

impl OutputSink for CancelAtTheEnd<'_> {
    fn started(&mut self, pid: u32) {
        self.pid = pid;
    }

    fn line(&mut self, _: Stream, _: Line<'_>) {
        wait_until_ended(self.pid);
        stop(self.cancel);
    }
}

#[tokio::test]
async fn proc_002_cd_10_an_end_of_its_own_is_no_cancel() {
    let spawner = Spawner::new().unwrap();
    for (script, code) in [("echo done", 0), ("echo done; exit 3", 3)] {
        let cancel = Cancel::new();
        let mut sink = CancelAtTheEnd { cancel: &cancel, pid: 0 };
        let exit = spawner.run(&shell(script), &mut sink, &cancel, patient()).await.unwrap();
        assert_eq!((exit.status, exit.cancelled), (Status::Code(code), None));
    }
}

#[tokio::test]
async fn proc_003_cd_25_dropping_the_run_kills_the_whole_group() {
    // Both ignore SIGTERM; the second is no child of ours.
    let script =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; echo ready; sleep 1000; true'; true";
    let (mut sink, mut heard) = telling();
    let running = tokio::spawn(async move {
        let spawner = Spawner::new().unwrap();
        spawner.run(&shell(script), &mut sink, &Cancel::new(), patient()).await
    });
    let (leader, inner) = (heard.pid().await, heard.pid().await);
    heard.until("ready").await;
    assert!(!has_ended(leader) && !has_ended(inner));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    wait_until_reaped(leader);
    wait_until_ended(inner);
}

#[tokio::test]
async fn proc_004_ch_4_cd_8_a_grandchild_that_holds_the_output_is_flagged_not_waited_for() {
    let script = "sleep 1000 & echo $!; printf unterminated; exit 0";
    let (exit, seen) = run(&shell(script)).await;
    assert_eq!(exit.verdict(), Verdict::Succeeded);
    assert!(exit.leaky_output);
    let lines: Vec<&str> = seen.lines.iter().map(|(_, line, _)| line.as_str()).collect();
    assert_eq!(lines[1], "unterminated");
    let background: u32 = lines[0].parse().unwrap();
    assert!(!has_ended(background), "it was not cancelled");
    kill(background);
}

/// Takes its first line and comes back when the process has written the rest and ended.
struct Late<'a> {
    gate: &'a Gate,
    seen: Seen,
}

impl OutputSink for Late<'_> {
    fn started(&mut self, pid: u32) {
        self.seen.started(pid);
    }

    fn line(&mut self, stream: Stream, line: Line<'_>) {
        self.seen.line(stream, line);
        if self.seen.lines.len() == 1 {
            self.gate.open();
            wait_until_ended(self.seen.pid);
        }
    }
}

#[tokio::test]
async fn proc_004_what_the_process_wrote_is_kept_though_nothing_is_waited_for() {
    let spawner = Spawner::new().unwrap();
    for (first, other) in [(1, Stream::Stderr), (2, Stream::Stdout)] {
        let gate = Gate::new();
        let rest = "head -c 30000 /dev/zero; head -c 30000 /dev/zero >&2";
        let script = format!("sleep 1000 & echo $! >&{first}; read x < go; {rest}; exit 0");
        let command = Command::shell(gate.folder.path(), [script]).environment(path_only());
        let mut late = Late { gate: &gate, seen: Seen::default() };
        let options = RunOptions::default().drain(Duration::ZERO);
        let exit = spawner.run(&command, &mut late, &Cancel::new(), options).await.unwrap();
        let background = &late.seen.lines[0].1;
        kill(background.parse().unwrap());
        assert!(exit.leaky_output);
        assert_eq!(exit.output_bytes, 60_000 + background.len() as u64 + 1);
        assert_eq!(late.seen.text(other).len(), 30_000);
    }
}

/// The leader has ended, the drain would last for ever; a cancel ends it and what is left.
#[tokio::test]
async fn proc_004_cd_8_a_cancel_during_the_drain_is_observed() {
    let gate = Gate::new();
    let script = "(read x < go; echo ready; sleep 1000; true) & exit 0";
    let command = Command::shell(gate.folder.path(), [script]).environment(path_only());
    let options = RunOptions::default().drain(LONG);
    let (mut sink, mut heard) = telling();
    let cancel = Cancel::new();
    let spawner = Spawner::new().unwrap();
    let (exit, ()) = tokio::join!(spawner.run(&command, &mut sink, &cancel, options), async {
        wait_until_ended(heard.pid().await);
        gate.open();
        heard.until("ready").await;
        stop(&cancel);
    });
    let exit = exit.unwrap();
    assert_eq!((exit.status, &exit.cancelled), (Status::Code(0), &None));
    assert!(!exit.leaky_output, "the group was killed, nobody holds the output");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn proc_003_cd_8_output_held_outside_the_group_does_not_keep_a_cancel_from_returning() {
    let script = "setsid sh -c 'echo $$; echo ready; exec sleep 1000' & wait";
    let (exit, seen) = run_until(&shell(script), quick(100), "ready", stop).await;
    assert!(matches!(exit.verdict(), Verdict::Cancelled(_)));
    assert!(exit.leaky_output);
    kill(seen.lines[0].1.parse().unwrap());
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
