//! A folder with a manifest, and the program run in it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdpoint::Event;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take here before a test gives up: far longer than on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder that goes with the test.
pub(crate) struct Project {
    folder: TempDir,
}

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run of the program that goes on.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Project {
    /// A folder with this manifest.
    pub(crate) fn new(manifest: &str) -> Self {
        let project = Self::empty();
        project.write("holdpoint.yaml", manifest);
        project
    }

    /// A folder without manifest.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The lines of a file that tasks write to, in order.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The program in this folder, with an environment in which nothing is set that changes what
    /// it does.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Running::start(self.command(arguments)).wait()
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// What the program answers as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(arguments).ends_with(0);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error} in {ran:#?}"))
    }

    /// The events in a file that are there so far.
    pub(crate) fn event_lines(&self, name: &str) -> Vec<Value> {
        self.lines(name).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs the program, with its events besides.
    pub(crate) fn events(&self, arguments: &[&str]) -> (Ran, Vec<Value>) {
        let ran = self.run(&[arguments, &["--events", "events.jsonl"]].concat());
        let text = self.read("events.jsonl");
        (ran, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Waits until a file is there, as a task that makes it says by that.
    pub(crate) fn wait_for(&self, name: &str) {
        wait_until(&format!("the file {name}"), || self.has(name));
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Both outputs, for a look at what is said at all.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// It ended with this code; else shows everything.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// It says this somewhere; else shows everything.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.said().contains(text), "no {text:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(self, text: &str) -> Self {
        assert!(!self.said().contains(text), "{text:?} in {self:#?}");
        self
    }
}

impl Running {
    /// Starts a command whose outputs, where they are pipes, are read all the time.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(reader);
        let stderr = child.stderr.take().map(reader);
        Self { child, stdout, stderr }
    }

    /// Sends a signal to the program alone, as a shell's `kill` does.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ran {
        let status = wait_for_exit(&mut self.child);
        let text = |reader: Option<JoinHandle<Vec<u8>>>| {
            let bytes = reader.map(|reader| reader.join().unwrap()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ran { status, stdout: text(self.stdout), stderr: text(self.stderr) }
    }
}

pub(crate) fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the program did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn reader(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// Whether a process is there, other than as a zombie that nobody has reaped yet.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// The kinds of events, or those of one task, in order.
pub(crate) fn kinds<'e>(events: &'e [Value], task: Option<&str>) -> Vec<&'e str> {
    let of_task = |event: &&Value| task.is_none_or(|task| event["task"] == task);
    events.iter().filter(of_task).filter_map(|event| event["kind"].as_str()).collect()
}

/// The one event of a kind of a task.
#[track_caller]
pub(crate) fn event<'e>(events: &'e [Value], task: &str, kind: &str) -> &'e Value {
    let mut found = events.iter().filter(|event| event["task"] == task && event["kind"] == kind);
    let event = found.next().unwrap_or_else(|| panic!("no {kind} of {task} in {events:#?}"));
    assert!(found.next().is_none(), "more than one {kind} of {task} in {events:#?}");
    event
}

/// The same lines as the core's events.
pub(crate) fn typed(events: &[Value]) -> Vec<Event> {
    events.iter().map(|event| serde_json::from_value(event.clone()).unwrap()).collect()
}
