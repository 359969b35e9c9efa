//! PROC-007: what becomes of the processes of a runner that dies. Each test runs itself once more
//! as the runner, kills that, and looks at what is left.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command as StdCommand, Stdio};
use std::time::{Duration, Instant};

use holdpoint_core::Cancel;
use holdpoint_process::{
    Command, Environment, Line, PidFile, PidFileError, ProcessError, RunOptions, Spawner, Stream,
    end_leftovers,
};

use crate::alone::alone;
use crate::support::{LONG, has_ended, shell, telling, wait_until_ended};

const FOLDER: &str = "HOLDPOINT_TEST_RUNNER";
/// In the environment of what a runner starts.
const MARK: &str = "HOLDPOINT_TEST_MARK";

/// This test once more, as a runner that works in a folder of its own.
struct Runner {
    folder: tempfile::TempDir,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The folder, in the runner.
fn as_runner() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

impl Runner {
    fn start(test: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = StdCommand::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("orphans::{test}"), "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { folder, process, lines }
    }

    /// The next of what its children print, as numbers.
    fn pids(&mut self, count: usize) -> Vec<u32> {
        // The first one comes behind the name of the test.
        let said = |line: String| line.split_once('@').and_then(|(_, pid)| pid.parse().ok());
        let pids: Vec<u32> =
            self.lines.by_ref().map(Result::unwrap).filter_map(said).take(count).collect();
        assert_eq!(pids.len(), count, "the runner has ended");
        pids
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("pids")
    }

    fn mark(&self) -> String {
        format!("{MARK}={}", self.folder.path().display())
    }

    /// Kills the shell that would end its groups, so that they are left.
    fn kill_watchdog(&self) {
        let parent = self.process.id().to_string();
        let is_watchdog = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("holdpoint-watchdog"))
                && stat(*pid).is_some_and(|stat| stat[1] == parent)
        };
        let watchdogs: Vec<u32> = processes().filter(is_watchdog).collect();
        assert_eq!(watchdogs.len(), 1);
        kill(watchdogs[0]);
        wait_until_ended(watchdogs[0]);
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Runner {
    /// Nothing of a test that failed is left.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let mark = self.mark();
        processes().filter(|pid| is_marked(*pid, &mark)).for_each(kill);
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let listed = fs::read_dir("/proc").unwrap().flatten();
    listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_marked(pid: u32, mark: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()))
}

/// State, parent, group and so on: the fields after the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat[stat.rfind(')')? + 1..].split_whitespace().map(str::to_owned).collect())
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The runner's part: runs scripts side by side, says what they print, and is killed.
fn run_scripts(folder: &Path, scripts: &[&str], options: RunOptions) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let file = PidFile::create(folder.join("pids")).unwrap();
        let spawner = Spawner::new().unwrap().recording(&file);
        let runs: Vec<_> = scripts
            .iter()
            .map(|script| {
                let environment = Environment::from_iter([
                    ("PATH", std::env::var_os("PATH").unwrap()),
                    (MARK, folder.into()),
                ]);
                let command = Command::shell(folder, [script]).environment(environment);
                let spawner = spawner.clone();
                tokio::spawn(async move {
                    let mut say = |_: Stream, line: Line<'_>| {
                        println!("@{}", String::from_utf8_lossy(line.bytes));
                    };
                    spawner.run(&command, &mut say, &Cancel::new(), options).await
                })
            })
            .collect();
        for run in runs {
            run.await.unwrap().unwrap();
        }
    });
}

/// Three generations, which ignore what can be ignored; each prints its id.
const GENERATIONS: &str = "trap '' TERM HUP INT; echo $$; sh -c 'echo $$; sh -c \"echo \\$\\$; \
                           exec sleep 1000\"; true'; true";

#[test]
fn proc_007_ch_3_children_die_with_a_runner_that_is_killed() {
    if let Some(folder) = as_runner() {
        return run_scripts(&folder, &[GENERATIONS; 3], RunOptions::default());
    }
    let mut runner = Runner::start("proc_007_ch_3_children_die_with_a_runner_that_is_killed");
    let pids = runner.pids(9);
    assert!(pids.iter().all(|pid| !has_ended(*pid)));
    runner.kill();
    pids.into_iter().for_each(wait_until_ended);
}

#[test]
fn proc_007_ch_3_children_die_with_a_runner_that_exits() {
    if let Some(folder) = as_runner() {
        let ended = folder.join("go");
        std::thread::spawn(move || {
            while !ended.exists() {
                std::thread::yield_now();
            }
            std::process::exit(0);
        });
        return run_scripts(&folder, &[GENERATIONS], RunOptions::default());
    }
    let mut runner = Runner::start("proc_007_ch_3_children_die_with_a_runner_that_exits");
    let pids = runner.pids(3);
    fs::write(runner.folder.path().join("go"), "").unwrap();
    pids.into_iter().for_each(wait_until_ended);
}

/// The leader is gone, the runner waits for whoever holds its output.
#[test]
fn proc_007_ch_3_a_group_dies_whose_leader_had_ended() {
    if let Some(folder) = as_runner() {
        let script = "(trap '' TERM; sh -c 'echo $PPID $$'; sleep 1000; true) & exit 0";
        let script = script.replace("$PPID $$", "$PPID; exec sleep 1000");
        return run_scripts(&folder, &[&script], RunOptions::default().drain(LONG));
    }
    let mut runner = Runner::start("proc_007_ch_3_a_group_dies_whose_leader_had_ended");
    let member = runner.pids(1)[0];
    let leader: u32 = stat(member).unwrap()[2].parse().unwrap();
    wait_until_ended(leader);
    runner.kill();
    wait_until_ended(member);
}

/// The limit: who leaves the group is not reached, neither by the shell nor by the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn proc_007_who_has_left_the_group_lives_on() {
    if let Some(folder) = as_runner() {
        let script = "setsid sh -c 'echo $$; exec sleep 1000' & wait; sleep 1000";
        return tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| run_scripts(&folder, &[script], RunOptions::default()));
            });
        });
    }
    let mut runner = Runner::start("proc_007_who_has_left_the_group_lives_on");
    let escaped = runner.pids(1)[0];
    let leader: u32 = stat(escaped).unwrap()[1].parse().unwrap();
    runner.kill();
    wait_until_ended(leader);
    let left = end_leftovers(runner.pid_file(), LONG).await.unwrap();
    assert_eq!((left.ended, left.remaining), (vec![], vec![]));
    assert!(!has_ended(escaped));
}

/// Runners that start without pause, killed at any time: what is just being started dies too.
#[test]
fn proc_007_ch_3_a_start_under_way_is_no_gap() {
    if let Some(folder) = as_runner() {
        let script = "echo $$; exec sleep 1000";
        return run_scripts(&folder, &[script; 60], RunOptions::default());
    }
    for round in 0..20 {
        let mut runner = Runner::start("proc_007_ch_3_a_start_under_way_is_no_gap");
        runner.pids(1 + round);
        runner.kill();
        let mark = runner.mark();
        let patience = Instant::now() + LONG;
        // Zombies have no environment.
        while processes().any(|pid| is_marked(pid, &mark)) {
            assert!(Instant::now() < patience, "round {round}: somebody is left");
            std::thread::yield_now();
        }
    }
}

/// Nobody ended them at once: the next start does, with grace.
#[test]
fn proc_007_ch_3_leftovers_are_ended_at_the_next_start() {
    if let Some(folder) = as_runner() {
        // Its output goes nowhere by then, and the shell tells there what ended.
        let polite = "exec 2> /dev/null; trap 'echo x > cleaned; exit 0' TERM; echo $$; while :; do sleep 0.01; done";
        return run_scripts(&folder, &[GENERATIONS, polite], RunOptions::default());
    }
    let mut runner = Runner::start("proc_007_ch_3_leftovers_are_ended_at_the_next_start");
    let pids = runner.pids(4);
    let path = runner.pid_file();
    block_on(async {
        let living = end_leftovers(&path, Duration::ZERO).await.unwrap_err();
        assert!(matches!(&living, PidFileError::InUse { path: p } if *p == path), "{living}");
        runner.kill_watchdog();
        runner.kill();
        assert!(pids.iter().all(|pid| !has_ended(*pid)), "nobody else ended them");
        let refused = PidFile::create(&path).unwrap_err();
        assert!(matches!(&refused, PidFileError::Exists { path: p } if *p == path), "{refused}");

        let left = end_leftovers(&path, Duration::from_millis(500)).await.unwrap();
        assert!(pids.iter().all(|pid| has_ended(*pid)), "they are waited for");
        assert_eq!((left.ended.len(), left.remaining.len(), left.unreadable), (2, 0, 0));
        assert!(left.ended.iter().all(|group| pids.contains(group)));
    });
    assert!(runner.folder.path().join("cleaned").exists(), "it had its grace");
    assert!(!path.exists());
}

/// A group of its own, of a process that is nobody's leftover.
struct Stranger(Child);

impl Stranger {
    fn start(command: &mut StdCommand) -> Self {
        Self(command.process_group(0).stdin(Stdio::null()).spawn().unwrap())
    }

    fn sleeping() -> Self {
        Self::start(StdCommand::new("sleep").arg("1000"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn start_time(&self) -> u64 {
        stat(self.pid()).unwrap()[19].parse().unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a record names this boot, from a genuine one.
async fn place_here() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let file = PidFile::create(&path).unwrap();
    let spawner = Spawner::new().unwrap().recording(&file);
    let mut place = String::new();
    let mut sink = |_: Stream, _: Line<'_>| {
        let text = fs::read_to_string(&path).unwrap();
        place = text.split_whitespace().nth(3).unwrap().to_owned();
    };
    let command = shell("echo x");
    spawner.run(&command, &mut sink, &Cancel::new(), RunOptions::default()).await.unwrap();
    place
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn proc_007_ch_7_a_recycled_id_is_left_alone() {
    let place = place_here().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let [other_start, other_boot, meant] = [(); 3].map(|()| Stranger::sleeping());
    let later = other_start.start_time() + 1;
    let lines = [
        format!("+ {} {later} {place} 1 1", other_start.pid()),
        format!("+ {} {} x{place} 1 1", other_boot.pid(), other_boot.start_time()),
        format!("- {} {} {place} 1 1", other_boot.pid(), other_boot.start_time()),
        format!("+ {} {} {place} 1 1", meant.pid(), meant.start_time()),
    ];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let left = end_leftovers(&path, LONG).await.unwrap();
    assert_eq!((left.ended, left.unreadable), (vec![meant.pid()], 0));
    assert!(has_ended(meant.pid()));
    assert!(!has_ended(other_start.pid()) && !has_ended(other_boot.pid()));
    assert!(!path.exists());
}

/// Of a group whose leader is gone, and of a start that was under way, the pipes tell.
#[tokio::test]
async fn proc_007_ch_7_without_its_leader_a_group_is_known_by_its_pipes() {
    let place = place_here().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let script = "sleep 1000 & echo $!; exec 1>&-; read x";
    let inode = |child: &Child| {
        use std::os::fd::AsRawFd;
        let pipe = child.stdout.as_ref().unwrap().as_raw_fd();
        let link = fs::read_link(format!("/proc/self/fd/{pipe}")).unwrap();
        link.to_str().unwrap()[6..].trim_end_matches(']').parse::<u64>().unwrap()
    };
    let start =
        || Stranger::start(StdCommand::new("sh").args(["-c", script]).stdout(Stdio::piped()));
    let [mut ours, mut others] = [(); 2].map(|()| start());
    let starting = Stranger::start(StdCommand::new("sleep").arg("1000").stdout(Stdio::piped()));
    let members = [&mut ours, &mut others].map(|group| {
        let mut line = String::new();
        let pipe = group.0.stdout.take().unwrap();
        let mut pipe = BufReader::new(pipe);
        pipe.read_line(&mut line).unwrap();
        group.0.stdout = Some(pipe.into_inner());
        wait_until_ended(group.pid());
        line.trim().parse::<u32>().unwrap()
    });
    // Their leaders have ended, and were made at another time than the record says.
    let lines = [
        format!("+ {} 1 {place} {} 1", ours.pid(), inode(&ours.0)),
        format!("+ {} 1 {place} {} 1", others.pid(), inode(&ours.0)),
        format!("? 0 0 {place} {} 1", inode(&starting.0)),
    ];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let left = end_leftovers(&path, LONG).await.unwrap();
    assert_eq!(left.ended, [ours.pid(), starting.pid()]);
    assert!(has_ended(members[0]) && has_ended(starting.pid()));
    assert!(!has_ended(members[1]), "its pipe is another");
    kill(members[1]);
}

#[tokio::test]
async fn proc_007_what_cannot_be_read_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let nothing = end_leftovers(&path, LONG).await.unwrap();
    assert_eq!(nothing, end_leftovers(folder.path().join("no/folder"), LONG).await.unwrap());

    let place = place_here().await;
    let meant = Stranger::sleeping();
    let line = format!("+ {} {} {place} 1 1   ", meant.pid(), meant.start_time());
    let mut text = b"\xff\xfe\n+ 1 1 x 1 1\n+ 0 5\n\0\0\0\0".to_vec();
    text.extend_from_slice(format!("{line}\n{}", &line[..line.len() / 2]).as_bytes());
    fs::write(&path, text).unwrap();
    let left = end_leftovers(&path, LONG).await.unwrap();
    assert_eq!((left.ended, left.unreadable), (vec![meant.pid()], 4));
    assert!(!path.exists());
}

#[tokio::test]
async fn proc_007_the_file_is_as_long_as_the_most_that_ran_at_once_and_goes_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let file = PidFile::create(&path).unwrap();
    assert_eq!(file.path(), path);
    let spawner = Spawner::new().unwrap().recording(&file);
    drop(file);
    for _ in 0..50 {
        let mut seen = String::new();
        let mut sink = |_: Stream, line: Line<'_>| {
            let pid = String::from_utf8_lossy(line.bytes).into_owned();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(&format!("+ {pid} ")), "{text}");
            seen = text;
        };
        let command = shell("echo $$");
        spawner.run(&command, &mut sink, &Cancel::new(), RunOptions::default()).await.unwrap();
        assert_eq!(seen.lines().count(), 1);
        assert!(fs::read_to_string(&path).unwrap().starts_with('-'));
    }
    let refused = Command::program("/", "/no/such/program", [""; 0]);
    let mut sink = |_: Stream, _: Line<'_>| {};
    spawner.run(&refused, &mut sink, &Cancel::new(), RunOptions::default()).await.unwrap_err();
    assert!(fs::read_to_string(&path).unwrap().starts_with('-'));
    drop(spawner);
    assert!(!path.exists());
}

#[test]
fn proc_007_what_cannot_be_recorded_is_not_started() {
    let test = "orphans::proc_007_what_cannot_be_recorded_is_not_started";
    // No file may grow, and that is an error, not a signal.
    if !alone(test, "trap '' XFSZ; ulimit -f 0") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let file = PidFile::create(&path).unwrap();
    block_on(async {
        let spawner = Spawner::new().unwrap();
        let command = Command::program(folder.path(), "/bin/mkdir", ["made"]);
        let mut sink = |_: Stream, _: Line<'_>| {};
        let cancel = Cancel::new();
        let run = spawner.recording(&file);
        let run = run.run(&command, &mut sink, &cancel, RunOptions::default());
        let error = run.await.unwrap_err();
        assert!(matches!(&error, ProcessError::NotRecorded { path: p, .. } if *p == path));
        assert!(!folder.path().join("made").exists());
        // The watchdog's record cannot grow either. That alone keeps nobody from working.
        spawner.run(&command, &mut sink, &cancel, RunOptions::default()).await.unwrap();
        assert!(folder.path().join("made").exists());
    });
    let missing = PidFile::create("/no/such/folder/pids").unwrap_err();
    assert!(matches!(missing, PidFileError::Io { .. }), "{missing}");
}

#[tokio::test]
async fn proc_007_a_run_that_is_dropped_is_on_record_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let spawner = Spawner::new().unwrap().recording(&PidFile::create(&path).unwrap());
    let (mut sink, mut heard) = telling();
    let command = shell("trap '' TERM; echo ready; sleep 1000");
    let running = tokio::spawn(async move {
        spawner.run(&command, &mut sink, &Cancel::new(), RunOptions::default()).await
    });
    let pid = heard.pid().await;
    heard.until("ready").await;
    assert!(fs::read_to_string(&path).unwrap().starts_with(&format!("+ {pid} ")));
    running.abort();
    running.await.unwrap_err();
    wait_until_ended(pid);
    let patience = Instant::now() + LONG;
    while path.exists() {
        assert!(Instant::now() < patience);
        std::thread::yield_now();
    }
}
