//! Several processes with one store (STORE-004, ST-8).

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdpoint_core::SessionId;
use holdpoint_core::event::Stream;
use holdpoint_core::store::{AppendError, Appended, Commit, Fence, Filter, Store, Write};
use holdpoint_store::{FileOptions, FileStore, OpenError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::child::{self, Plan};
use super::facts::{self, Id};
use super::judge::{self, Loss};
use super::random::Random;
use super::{count, kills, read_facts, scratch, seed, tell};

const PART: &str = "HOLDPOINT_FAULTS_PART";

/// What begins a line that is meant for the parent, among what the test harness prints.
const MARK: &str = "child: ";

/// No bound that is promised: how long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many race for a folder.
const OPENERS: usize = 50;

/// How often races are run.
fn rounds() -> u64 {
    count("HOLDPOINT_ROUNDS", 1)
}

/// A process that plays a part; killed when dropped.
struct Other {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(part: &str, folder: &Path) -> Self {
        let mut command = child::part("faults::sharing::play", &["env".to_owned()]);
        command.env(PART, format!("{part}\n{}", folder.display()));
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().expect("a process");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, input, output }
    }

    fn tell(&mut self, word: &str) {
        let input = self.input.as_mut().expect("an input");
        writeln!(input, "{word}").expect("it listens");
    }

    /// The next line that it says; none where it ends without a word.
    fn line(&mut self) -> Option<String> {
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

    fn number(&mut self) -> u64 {
        self.line().expect("a number").parse().expect("a number")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("a signal");
    }

    /// Waits until it has done what it does at the end.
    fn end(mut self) {
        self.input = None;
        assert!(self.process.wait().expect("its end").success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// No test, but what another process does where it is told so.
#[test]
fn play() {
    let Ok(part) = std::env::var(PART) else { return };
    let (part, folder) = part.split_once('\n').expect("a part and a folder");
    match part {
        "open" => open_at_a_word(folder.as_ref()),
        "schedules" => keep_schedules(folder.as_ref()),
        "write" => write_until_the_end(folder.as_ref()),
        "hear" => hear(folder.as_ref()),
        other => panic!("no part {other}"),
    }
}

fn say(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
}

/// The next word of the parent; none where it has no more.
fn hear_word() -> Option<String> {
    let mut line = String::new();
    let length = std::io::stdin().read_line(&mut line).expect("the parent");
    (length > 0).then(|| line.trim_end().to_owned())
}

fn open(folder: &Path) -> FileStore {
    FileStore::open(folder, FileOptions::new()).expect("the store opens")
}

/// A new session that this store owns.
fn begin(store: &FileStore) -> Stream {
    let stream = Stream::Session(SessionId::generate());
    let event = facts::event(&stream, Id { life: 1, number: 1 }, 1, false);
    let write = Write::new(&stream, Fence::NewOwned).events(std::slice::from_ref(&event));
    store.append(&[write]).and_then(Appended::wait).expect("a new session");
    stream
}

fn go_on(store: &FileStore, stream: &Stream, seq: u64) -> Result<Commit, AppendError> {
    let event = facts::event(stream, Id { life: 1, number: 1 }, seq, false);
    let write = Write::new(stream, Fence::Owned { epoch: 1 });
    store.append(&[write.events(std::slice::from_ref(&event))])?.wait()
}

fn open_at_a_word(folder: &Path) {
    say("ready");
    if hear_word().is_some() {
        let store = open(folder);
        let stream = begin(&store);
        go_on(&store, &stream, 2).expect("one more event");
        say(store.instance());
        // Nobody leaves before all are there.
        hear_word();
    }
}

#[test]
fn store_004_st_8_all_who_race_for_a_fresh_folder_open_one_store_and_write_to_it() {
    let seed = seed();
    let mut random = Random::new(seed);
    for _ in 0..rounds() {
        let folder = scratch();
        let path = folder.path().join("store");
        let mut others: Vec<Other> = (0..OPENERS).map(|_| Other::start("open", &path)).collect();
        for other in &mut others {
            assert_eq!(other.line().as_deref(), Some("ready"));
        }
        others.iter_mut().for_each(|other| other.tell("go"));
        // A few are killed on the way, and must not keep out the others.
        let doomed: Vec<Other> = others.drain(..OPENERS / 10).collect();
        for other in &doomed {
            thread::sleep(Duration::from_micros(random.below(3_000)));
            other.signal(Signal::KILL);
        }
        let instances: BTreeSet<u64> = others.iter_mut().map(Other::number).collect();
        assert_eq!(instances.len(), others.len(), "seed {seed}: two have one number");
        let store = open(&path);
        let sessions = store.list(&Filter::default()).expect("a readable store");
        // All write to one file: nobody has replaced it.
        for instance in &instances {
            let own = sessions.iter().filter(|info| {
                info.owner.is_some_and(|owner| owner.instance == *instance) && info.last_seq == 2
            });
            assert_eq!(own.count(), 1, "seed {seed}: {sessions:?}");
        }
        for other in others {
            other.end();
        }
        drop(doomed);
        assert_eq!(store.check().expect("a readable store").faults, [], "seed {seed}");
        let alive = sessions.iter().filter_map(|info| info.owner);
        assert_eq!(alive.filter(|owner| store.is_alive(*owner)).count(), 0, "seed {seed}");
    }
}

/// Whoever is refused must not leave the door open behind it.
#[test]
fn store_004_st_8_a_damaged_log_is_refused_to_all_who_come_at_once() {
    let folder = scratch();
    let (path, facts) = (folder.path().join("store"), folder.path().join("facts"));
    let plan = Plan { drops_dead: true, ..Plan::new(&path, &facts, seed()) };
    let output = plan.command(&["env".to_owned()]).output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = path.join("holdpoint.db-wal");
    let mut bytes = fs::read(&log).expect("a log");
    bytes[32 + 24 + 100] ^= 1;
    fs::write(&log, &bytes).expect("a damaged log");
    thread::scope(|scope| {
        let openers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| FileStore::open(&path, FileOptions::new()))).collect();
        for opener in openers {
            let error = opener.join().expect("no panic").expect_err("the log is damaged");
            assert!(matches!(error, OpenError::DamagedLog { .. }), "{error}");
        }
    });
    assert_eq!(fs::read(&log).expect("a log"), bytes, "what is refused is left alone");
}

/// Claims all schedules, and starts a process of its own that outlasts it.
fn keep_schedules(folder: &Path) {
    let store = open(folder);
    store.claim_schedules().and_then(|ticket| ticket.wait()).expect("they are free");
    let heir = Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut heir = heir.expect("a process");
    say(heir.id());
    hear_word();
    let _ = heir.kill();
    let _ = heir.wait();
}

fn claim_schedules(store: &FileStore) -> Result<u64, AppendError> {
    store.claim_schedules()?.wait().map(|owner| owner.epoch)
}

#[test]
fn store_004_st_8_a_second_scheduler_is_refused_as_long_as_the_first_lives_and_no_longer() {
    let mut worst = Duration::ZERO;
    for _ in 0..rounds().div_ceil(10) {
        let folder = scratch();
        let mut first = Other::start("schedules", folder.path());
        let heir = Pid::from_raw(first.number() as i32).expect("a process");
        let store = open(folder.path());
        let refused = |when: &str| {
            let begin = Instant::now();
            let error = claim_schedules(&store).expect_err(when);
            let pid = first.process.id();
            assert!(
                matches!(&error, AppendError::Owned { pid: found, .. } if *found == Some(pid)),
                "{when}: {error:?}"
            );
            let text = error.to_string();
            assert!(
                text.contains("the scheduling of this store already has an owner")
                    && text.contains(&format!("process {pid}")),
                "{when}: {text}"
            );
            assert!(begin.elapsed() < PATIENCE, "{when}: it waits for the owner");
        };
        refused("it lives");
        first.signal(Signal::STOP);
        refused("it is stopped");
        first.signal(Signal::KILL);
        let begin = Instant::now();
        // It has to be gone; its heir is not, and has inherited nothing that counts.
        let epoch = loop {
            match claim_schedules(&store) {
                Ok(epoch) => break epoch,
                Err(AppendError::Owned { .. }) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
            assert!(begin.elapsed() < PATIENCE, "the dead keep the schedules");
        };
        worst = worst.max(begin.elapsed());
        assert_eq!(epoch, 2);
        rustix::process::test_kill_process(heir).expect("the heir lives");
        let _ = kill_process(heir, Signal::KILL);
    }
    if rounds() > 1 {
        tell(&format!("schedules of a killed owner are free after {worst:?} at most"));
    }
}

/// Appends to streams of its own from two threads, and tells how many commits that were when asked.
fn write_until_the_end(folder: &Path) {
    let store = open(folder);
    let streams = [begin(&store), begin(&store)];
    let (commits, last) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    say("ready");
    hear_word();
    thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(|| {
                for seq in 2.. {
                    let commit = go_on(&store, stream, seq).expect("an append");
                    // Those of one commit are told the same.
                    if last.swap(commit.pos, Ordering::AcqRel) != commit.pos {
                        commits.fetch_add(1, Ordering::AcqRel);
                    }
                    if is_over.load(Ordering::Acquire) {
                        break;
                    }
                }
            });
        }
        while hear_word().is_some() {
            say(commits.load(Ordering::Acquire));
        }
        is_over.store(true, Ordering::Release);
    });
}

#[test]
fn store_004_of_two_processes_that_write_each_gets_its_share() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut others = [0, 1].map(|_| Other::start("write", folder.path()));
    for other in &mut others {
        assert_eq!(other.line().as_deref(), Some("ready"));
    }
    others.iter_mut().for_each(|other| other.tell("go"));
    let mut ask = || {
        others.iter_mut().for_each(|other| other.tell("count"));
        [others[0].number(), others[1].number()]
    };
    // Beside the store, the system may favour one for a while: so it is looked at a few times.
    let wanted = 300 * rounds().min(20);
    let mut shares = Vec::new();
    let begin = Instant::now();
    for _ in 0..3 {
        let before = ask();
        let counts = loop {
            let now = ask();
            let counts = [now[0] - before[0], now[1] - before[1]];
            if counts[0] + counts[1] >= wanted {
                break counts;
            }
            assert!(begin.elapsed() < 10 * PATIENCE, "nobody writes: {counts:?}");
            thread::sleep(Duration::from_millis(2));
        };
        let [least, most] = [counts[0].min(counts[1]), counts[0].max(counts[1])];
        shares.push(counts);
        if least * 100 >= (least + most) * 40 {
            break;
        }
    }
    let [first, second] = shares.last().expect("a look");
    let least = first.min(second);
    assert!(least * 100 >= (first + second) * 40, "one is starved: {shares:?}");
    others.into_iter().for_each(Other::end);
    let store = open(folder.path());
    assert_eq!(store.check().expect("a readable store").faults, []);
    for info in store.list(&Filter::default()).expect("a readable store") {
        let events = store.events(&info.stream, 0, usize::MAX).expect("a readable stream");
        assert!(events.iter().map(|event| event.seq).eq(1..=info.last_seq));
    }
}

#[test]
fn store_004_st_1_of_two_that_write_one_is_killed_and_nothing_of_either_is_lost() {
    let seed = seed();
    let mut random = Random::new(seed);
    for _ in 0..kills().div_ceil(10) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, facts) = (folder.path().join("store"), folder.path().join("facts"));
        // Both write to one file of facts, so its order is the true one.
        let plan = Plan { looks: false, threads: 2, ..Plan::new(&path, &facts, random.next()) };
        let start = |life| {
            let plan = Plan { life, ..plan.clone() };
            plan.command(&["env".to_owned()]).spawn().expect("a process")
        };
        let (mut one, other) = (start(1), start(2));
        thread::sleep(Duration::from_micros(random.below(500_000)));
        one.kill().expect("it can be killed");
        let _ = one.wait();
        let third = start(3);
        for child in [other, third] {
            let output = child.wait_with_output().expect("its end");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "seed {seed}: {said}");
        }
        let judged = read_facts(&facts)
            .and_then(|facts| judge::judge_copy(&path, &facts, Loss::Nothing))
            .and_then(|()| judge::judge(&path, &read_facts(&facts)?, Loss::Nothing));
        judged.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// Tells when it is told of a commit.
fn hear(folder: &Path) {
    let store = open(folder);
    let mut changes = store.changes();
    say("ready");
    while hear_word().is_some() {
        assert!(changes.wait(PATIENCE), "no news");
        say(now());
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

#[test]
fn store_004_another_process_is_told_of_each_commit() {
    let folder: TempDir = scratch();
    let store = open(folder.path());
    let mut other = Other::start("hear", folder.path());
    assert_eq!(other.line().as_deref(), Some("ready"));
    let stream = begin(&store);
    // What came before it was asked counts as the first news.
    other.tell("hear");
    other.line().expect("news of the first commit");
    let mut took = Vec::new();
    for seq in 2..12 + 10 * rounds() {
        other.tell("hear");
        go_on(&store, &stream, seq).expect("one more event");
        let begin = now();
        let told: u128 = other.line().expect("news").parse().expect("a time");
        took.push(told.saturating_sub(begin));
    }
    took.sort_unstable();
    if rounds() > 1 {
        let (middle, last) = (took[took.len() / 2], took[took.len() - 1]);
        tell(&format!("news of a commit come {middle} us after it, {last} us at most"));
    }
    other.end();
}
