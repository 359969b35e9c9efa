//! What the tests share. Nothing here sleeps for a guessed time: children signal by output,
//! by named pipes and by ending.

use std::fs::File;
use std::io::Write;
use std::process::Command as StdCommand;
use std::time::{Duration, Instant};

use holdpoint_core::Cancel;
use holdpoint_process::{
    Command, Environment, Exit, Line, LineEnd, OutputSink, ProcessError, RunOptions, Spawner,
    Stream,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// All that a sink was told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) lines: Vec<(Stream, String, LineEnd)>,
}

impl Seen {
    /// The text of one stream, put together.
    pub(crate) fn text(&self, of: Stream) -> String {
        let mut text = String::new();
        for (_, line, end) in self.lines.iter().filter(|(stream, ..)| *stream == of) {
            text.push_str(line);
            if *end == LineEnd::Newline {
                text.push('\n');
            }
        }
        text
    }

    pub(crate) fn stdout(&self) -> String {
        self.text(Stream::Stdout)
    }
}

impl OutputSink for Seen {
    fn started(&mut self, pid: u32) {
        assert_eq!((self.pid, self.lines.len()), (0, 0), "once, before any line");
        self.pid = pid;
    }

    fn line(&mut self, stream: Stream, line: Line<'_>) {
        let text = String::from_utf8_lossy(line.bytes).into_owned();
        self.lines.push((stream, text, line.end));
    }
}

/// Keeps all that it is told, and passes it on to a waiting test.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) seen: Seen,
    tell: mpsc::UnboundedSender<String>,
}

/// The process id, then the lines of both streams.
#[derive(Debug)]
pub(crate) struct Heard(mpsc::UnboundedReceiver<String>);

pub(crate) fn telling() -> (Telling, Heard) {
    let (tell, heard) = mpsc::unbounded_channel();
    (Telling { seen: Seen::default(), tell }, Heard(heard))
}

impl Heard {
    pub(crate) async fn until(&mut self, text: &str) {
        while self.0.recv().await.expect("the text comes") != text {}
    }

    pub(crate) async fn pid(&mut self) -> u32 {
        self.0.recv().await.unwrap().parse().unwrap()
    }
}

impl OutputSink for Telling {
    fn started(&mut self, pid: u32) {
        self.seen.started(pid);
        let _ = self.tell.send(pid.to_string());
    }

    fn line(&mut self, stream: Stream, line: Line<'_>) {
        self.seen.line(stream, line);
        let _ = self.tell.send(String::from_utf8_lossy(line.bytes).into_owned());
    }
}

/// The shell script in `/`, with the caller's `PATH`.
pub(crate) fn shell(script: &str) -> Command {
    Command::shell("/", [script]).environment(path_only())
}

pub(crate) fn path_only() -> Environment {
    Environment::from_iter([("PATH", std::env::var("PATH").unwrap())])
}

pub(crate) async fn run(command: &Command) -> (Exit, Seen) {
    let (result, seen) = try_run(command).await;
    (result.unwrap(), seen)
}

pub(crate) async fn try_run(command: &Command) -> (Result<Exit, ProcessError>, Seen) {
    let mut seen = Seen::default();
    let spawner = Spawner::new().unwrap();
    let result = spawner.run(command, &mut seen, &Cancel::new(), RunOptions::default()).await;
    (result, seen)
}

/// Runs until a line with this text, calls `then`, runs to the end.
pub(crate) async fn run_until(
    command: &Command,
    options: RunOptions,
    text: &str,
    then: impl FnOnce(&Cancel),
) -> (Exit, Seen) {
    let (mut sink, mut heard) = telling();
    let cancel = Cancel::new();
    let spawner = Spawner::new().unwrap();
    let exit = {
        let mut running = std::pin::pin!(spawner.run(command, &mut sink, &cancel, options));
        tokio::select! {
            biased;
            () = heard.until(text) => then(&cancel),
            early = &mut running => panic!("it ended without {text:?}: {early:?}"),
        }
        running.await.unwrap()
    };
    (exit, sink.seen)
}

/// A folder with a named pipe `go`, at which a child waits with `read x < go`.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) folder: TempDir,
    /// Open for both, so that neither side waits for the other to come nor sees it leave.
    pipe: File,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("go");
        assert!(StdCommand::new("mkfifo").arg(&pipe).status().unwrap().success());
        let pipe = File::options().read(true).write(true).open(pipe).unwrap();
        Self { folder, pipe }
    }

    /// Lets one child through.
    pub(crate) fn open(&self) {
        (&self.pipe).write_all(b"go\n").unwrap();
    }
}

/// Whether the process has ended, reaped or not.
pub(crate) fn has_ended(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

pub(crate) fn wait_until_ended(pid: u32) {
    wait_until(|| has_ended(pid), pid);
}

/// Waits until the process has ended and somebody has reaped it.
pub(crate) fn wait_until_reaped(pid: u32) {
    wait_until(|| state(pid).is_none(), pid);
}

fn wait_until(is_so: impl Fn() -> bool, pid: u32) {
    let patience = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < patience, "process {pid} is {:?}", state(pid));
        std::thread::yield_now();
    }
}

/// The state of a process as one letter; none where it is gone.
#[cfg(target_os = "linux")]
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// The state of a process as one letter; none where it is gone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn state(pid: u32) -> Option<char> {
    let pid = pid.to_string();
    let output = StdCommand::new("ps").args(["-o", "stat=", "-p", &pid]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().chars().next()
}
