//! PROC-005: output as it comes, whole, in a file.

use crate::support::{Gate, Seen, path_only, run, shell, try_run};
use holdpoint_core::{Cancel, Retryable};
use holdpoint_process::{
    Command, Line, LineEnd, OutputSink, ProcessError, RunOptions, Spawner, Status, Stream, Verdict,
};

/// Lets the child go on after each line: without live lines nobody would ever end.
struct Conversation<'a> {
    gate: &'a Gate,
    seen: Seen,
}

impl OutputSink for Conversation<'_> {
    fn line(&mut self, stream: Stream, line: Line<'_>) {
        self.seen.line(stream, line);
        if line.end == LineEnd::Newline {
            self.gate.open();
        }
    }
}

#[tokio::test]
async fn proc_005_cd_9_lines_come_while_the_process_runs_in_the_order_of_both_streams() {
    let gate = Gate::new();
    let script =
        "for n in 1 2 3; do echo o$n; read x < go; echo e$n >&2; read x < go; done; printf end";
    let log = gate.folder.path().join("log");
    let command = Command::shell(gate.folder.path(), [script]).environment(path_only()).log(&log);
    let mut sink = Conversation { gate: &gate, seen: Seen::default() };
    let spawner = Spawner::new().unwrap();
    let exit = spawner.run(&command, &mut sink, &Cancel::new(), RunOptions::default()).await;
    assert_eq!(exit.unwrap().verdict(), Verdict::Succeeded);
    let lines: Vec<&str> = sink.seen.lines.iter().map(|(_, line, _)| line.as_str()).collect();
    assert_eq!(lines, ["o1", "e1", "o2", "e2", "o3", "e3", "end"]);
    assert_eq!(sink.seen.lines[6].2, LineEnd::Unterminated);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "o1\ne1\no2\ne2\no3\ne3\nend");
}

/// Checks numbered lines one by one, without keeping them.
#[derive(Default)]
struct Count([u64; 2]);

impl OutputSink for Count {
    fn line(&mut self, stream: Stream, line: Line<'_>) {
        let count = &mut self.0[usize::from(stream == Stream::Stderr)];
        *count += 1;
        assert_eq!(line.bytes, count.to_string().as_bytes());
        assert_eq!(line.end, LineEnd::Newline);
    }
}

#[tokio::test]
async fn proc_004_proc_005_ch_5_ten_megabytes_on_both_streams_come_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let last = 1_500_000;
    let script = format!("seq 1 {last} | tee /dev/stderr");
    let mut count = Count::default();
    let spawner = Spawner::new().unwrap();
    let command = shell(&script).log(&log);
    let exit =
        spawner.run(&command, &mut count, &Cancel::new(), RunOptions::default()).await.unwrap();
    assert_eq!(count.0, [last, last]);
    assert_eq!(exit.output_bytes, 2 * 10_888_896);
    assert_eq!(std::fs::metadata(log).unwrap().len(), exit.output_bytes);
    assert!(!exit.leaky_output);
}

#[tokio::test]
async fn proc_005_a_silent_command_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (exit, seen) = run(&shell("true").log(&log)).await;
    assert_eq!((exit.output_bytes, seen.lines.len()), (0, 0));
    assert!(!log.exists());

    std::fs::write(&log, "of an earlier attempt").unwrap();
    run(&shell("echo now").log(&log)).await;
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "now\n");
}

#[tokio::test]
async fn proc_005_ch_11_output_that_no_file_takes_is_an_error_after_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/log");
    let mut hopeless = vec![missing];
    if cfg!(target_os = "linux") {
        hopeless.push("/dev/full".into());
    }
    for log in hopeless {
        let (result, seen) = try_run(&shell("echo one; echo two; exit 4").log(&log)).await;
        let error = result.unwrap_err();
        assert!(error.to_string().contains(log.to_str().unwrap()), "{error}");
        assert!(!error.is_retryable());
        let ProcessError::Log { exit, .. } = error else { panic!("{error}") };
        assert_eq!(exit.status, Status::Code(4), "it was let run to its end");
        assert_eq!(seen.stdout(), "one\ntwo\n", "and the sink got all of it");
    }
}
