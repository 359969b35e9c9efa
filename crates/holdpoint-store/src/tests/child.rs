//! Other processes: the test binary again, told to play a part.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

const PART: &str = "HOLDPOINT_TEST_PART";
const FOLDER: &str = "HOLDPOINT_TEST_FOLDER";

/// What begins a line that is meant for the parent, among what the test harness prints.
const MARK: &str = "child: ";

/// How long other processes may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A process that plays a part. Killed when dropped.
pub(super) struct Child {
    process: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a process that runs nothing but the test `child` of a module, see [`part`].
    pub(super) fn start(module: &str, part: &str, folder: &Path) -> Self {
        let module = module.split_once("::").expect("a module of this crate").1;
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &format!("{module}::child"), "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, input, output }
    }

    /// The next line that it says.
    pub(super) fn line(&mut self) -> String {
        self.next_line().expect("a word before the child ends")
    }

    /// The same; `None` where it ends without a word.
    pub(super) fn next_line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).expect("a line") == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Tells it something.
    pub(super) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Stops it, and waits until it stands.
    pub(super) fn stop(&self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::STOP).expect("it can be stopped");
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED)
            .expect("it can be waited for")
            .expect("it has stopped");
        assert!(status.stopped(), "{status:?}");
    }

    pub(super) fn go_on(&self) {
        kill_process(Pid::from_child(&self.process), Signal::CONT).expect("it can go on");
    }

    /// `kill -9`. Does not wait for its end.
    pub(super) fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
    }

    /// Lets it end in peace.
    pub(super) fn end(mut self) {
        self.tell("end");
        assert!(self.process.wait().expect("its end").success());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: its part, and the folder. `None` in the parent, where a test `child` does nothing.
pub(super) fn part() -> Option<(String, PathBuf)> {
    let part = std::env::var(PART).ok()?;
    Some((part, std::env::var_os(FOLDER)?.into()))
}

/// In a child: says a line to the parent.
pub(super) fn say(line: impl std::fmt::Display) {
    // The harness may have begun a line.
    println!("\n{MARK}{line}");
}

/// In a child: waits for the next line of the parent; ends the process where there is none.
pub(super) fn hear() -> String {
    let mut line = String::new();
    if !matches!(std::io::stdin().read_line(&mut line), Ok(1..)) {
        std::process::exit(1);
    }
    line.trim_end().to_owned()
}

/// Waits until something is so that nobody tells of, at most for `patience`. How long it took.
pub(super) fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < patience, "not within {patience:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

/// How often a test of a race is repeated.
pub(super) fn rounds(default: u32) -> u32 {
    let rounds = std::env::var("HOLDPOINT_ROUNDS").ok().and_then(|text| text.parse().ok());
    rounds.unwrap_or(default)
}
