//! CH-11: each refusal says what it is about and what helps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{path_only, try_run};
use holdpoint_core::{Cancel, Retryable};
use holdpoint_process::{Command, Environment, Line, ProcessError, RunOptions, Spawner, Stream};

async fn refusal(command: &Command) -> ProcessError {
    let (result, seen) = try_run(command).await;
    assert_eq!(seen.pid, 0, "nothing was started");
    result.unwrap_err()
}

fn program(name: impl AsRef<Path>) -> Command {
    Command::program("/", name.as_ref(), [""; 0]).environment(path_only())
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn proc_001_ch_11_the_directory_is_absolute_and_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    write(&file, "", 0o755);
    let gone = folder.path().join("gone");
    let here = |path: &Path| Command::program(path, "true", [""; 0]).environment(path_only());

    let error = refusal(&here(Path::new("src"))).await;
    assert_eq!(error.to_string(), "working directory src is relative; give it from the root");
    let error = refusal(&here(Path::new(""))).await;
    assert!(matches!(error, ProcessError::RelativeDirectory { .. }));
    let error = refusal(&here(&gone)).await;
    assert!(matches!(&error, ProcessError::DirectoryMissing { path } if *path == gone), "{error}");
    let error = refusal(&here(&file)).await;
    assert!(matches!(&error, ProcessError::NotADirectory { path } if *path == file), "{error}");
    assert!(!error.is_retryable());
    let error = refusal(&Command::shell(&gone, ["true"])).await;
    assert!(matches!(error, ProcessError::DirectoryMissing { .. }), "not the shell is missing");
}

#[tokio::test]
async fn ch_11_a_missing_program_is_told_with_where_it_was_looked_for() {
    let nowhere = Environment::from_iter([("PATH", "/nowhere:/etc")]);
    let command = Command::program("/", "no-such-tool", [""; 0]).environment(nowhere);
    assert_eq!(
        refusal(&command).await.to_string(),
        "program no-such-tool not found in PATH=/nowhere:/etc; install it or correct its name"
    );
    let error = refusal(&program("./no-such-tool")).await;
    assert_eq!(
        error.to_string(),
        "program ./no-such-tool not found; install it or correct its name"
    );
    assert!(!error.is_retryable());
    assert!(matches!(refusal(&program("")).await, ProcessError::ProgramNotFound { .. }));
}

#[tokio::test]
async fn ch_11_a_file_that_cannot_be_executed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("plain"), "#!/bin/sh\n", 0o644);
    write(&path("lost"), "#!/no/such/interpreter\n", 0o755);
    write(&path("text"), "no program", 0o755);

    let error = refusal(&program(path("plain"))).await;
    assert!(matches!(&error, ProcessError::NotExecutable { path: p } if *p == path("plain")));
    let by_name = Environment::from_iter([("PATH", folder.path())]);
    let error = refusal(&Command::program("/", "plain", [""; 0]).environment(by_name)).await;
    assert!(matches!(&error, ProcessError::NotExecutable { path: p } if *p == path("plain")));
    assert!(matches!(refusal(&program(folder.path())).await, ProcessError::NotExecutable { .. }));
    let error = refusal(&program(path("lost"))).await;
    assert!(matches!(&error, ProcessError::InterpreterMissing { path: p } if *p == path("lost")));
    let error = refusal(&program(path("text"))).await;
    assert!(matches!(&error, ProcessError::NotAProgram { path: p } if *p == path("text")));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ch_11_a_program_being_written_is_busy_and_worth_a_retry() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("tool");
    fs::copy("/bin/true", &tool).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&tool).unwrap();
    let begun = std::time::Instant::now();
    let error = refusal(&program(&tool)).await;
    assert!(begun.elapsed().as_millis() >= 255, "it was tried for a while");
    assert!(matches!(&error, ProcessError::TextBusy { path } if *path == tool), "{error}");
    assert!(error.is_retryable());
    drop(writer);
    assert!(try_run(&program(&tool)).await.0.is_ok());
}

#[tokio::test]
async fn ch_11_arguments_that_no_process_can_receive() {
    let error = refusal(&program("true").arguments(["a\0b"])).await;
    assert_eq!(
        error.to_string(),
        "argument holds a NUL byte, which no process can receive: \"a\\0b\""
    );
    let error = refusal(&Command::shell("/", ["echo \0"])).await;
    assert!(matches!(error, ProcessError::NulByte { what: "command", .. }), "{error}");
    let variable = Environment::from_iter([("A", "\0")]);
    let error = refusal(&Command::shell("/", ["true"]).environment(variable)).await;
    assert!(matches!(error, ProcessError::NulByte { what: "variable", .. }), "{error}");

    let long = "x".repeat(4 * 1024 * 1024);
    let error = refusal(&program("true").arguments([&long])).await;
    let ProcessError::ArgumentsTooLong { bytes, longest } = error else { panic!("{error}") };
    assert!(bytes > longest && longest > long.len());
}

#[test]
fn ch_11_outside_a_runtime_is_an_error_and_no_panic() {
    let mut sink = |_: Stream, _: Line<'_>| {};
    let (cancel, command, spawner) = (Cancel::new(), program("true"), Spawner::new().unwrap());
    let run = std::pin::pin!(spawner.run(&command, &mut sink, &cancel, RunOptions::default()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(result) = run.poll(&mut context) else { panic!("pending") };
    assert!(matches!(result, Err(ProcessError::NoRuntime)));
}
