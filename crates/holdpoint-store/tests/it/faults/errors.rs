//! A disk that fails: calls on the database and its log end in an error, write less than they were
//! asked to, or are interrupted (ST-4, ST-5, ST-6).
//!
//! Each trial is a life on a fresh store in which the k-th of some calls goes wrong. What it must
//! come to is always the same: who appends gets an error, nothing is acknowledged behind it, reads
//! go on, the owner counts as dead although its process lives, and whoever opens the store finds all
//! that was acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use holdpoint_store::{FileOptions, FileStore};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

use super::child::Plan;
use super::facts::Facts;
use super::judge::{self, Loss};
use super::random::Random;
use super::{kills, read_facts, scratch, seed, strace, tell};

/// The calls that bring something to the database and its log.
const CALLS: [&str; 4] = ["pwrite64", "fdatasync", "fsync", "ftruncate"];

/// How long other processes may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a life came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The store did not open.
    Refused,
    /// From some moment on nothing could be written.
    Failed,
    /// That was so at its very end, when only the closing was left to be told of it.
    FailedAtClosing,
    /// Nothing was noticed.
    Whole,
}

/// A store of one life.
struct Place {
    folder: TempDir,
    seed: u64,
}

impl Place {
    fn new(seed: u64) -> Self {
        Self { folder: scratch(), seed }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn files(&self) -> [PathBuf; 2] {
        let store = self.store();
        [store.join("holdpoint.db"), store.join("holdpoint.db-wal")]
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn facts(&self) -> PathBuf {
        self.folder.path().join("facts")
    }

    /// A life that waits before its end.
    fn plan(&self) -> Plan {
        Plan { holds: true, ..Plan::new(&self.store(), &self.facts(), self.seed) }
    }

    /// The words that let a fault happen, and note it in the log.
    fn before(&self, fault: &str) -> Vec<String> {
        let files = self.files();
        let mut words = strace::inject(fault, &[&files[0], &files[1]]);
        for word in words.iter_mut().filter(|word| *word == "/dev/null") {
            *word = self.log().display().to_string();
        }
        words
    }

    /// Waits until a life has said all it has to say, and holds it against the facts.
    fn judge(&self, mut child: Child) -> Result<End, String> {
        let begin = Instant::now();
        let said = |text: &str| text.lines().any(|line| line == "holds");
        while !said(&fs::read_to_string(self.facts()).unwrap_or_default())
            && child.try_wait().map_err(|error| error.to_string())?.is_none()
        {
            if begin.elapsed() > PATIENCE {
                let _ = child.kill();
                return Err(format!("it hangs: {:?}", read_facts(&self.facts())?.words));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let text = fs::read_to_string(self.facts()).unwrap_or_default();
        let facts = Facts::parse(&text)?;
        let end = end(&facts);
        let result = match end {
            End::Failed => self.judge_failed(&text, &facts),
            End::Refused => {
                let place = self.store().display().to_string();
                let words = &facts.words;
                let is_told = words.iter().any(|line| line.contains(&place));
                if is_told { Ok(()) } else { Err(format!("it does not say where: {words:?}")) }
            }
            End::Whole | End::FailedAtClosing => Ok(()),
        };
        // Its input ends, and with it the child.
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        result?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {said}", output.status));
        }
        if end == End::Failed {
            let store = FileStore::open(self.store(), FileOptions::new());
            let report = store.map_err(|error| error.to_string())?.check();
            let report = report.map_err(|error| error.to_string())?;
            return if report.is_sound() { Ok(end) } else { Err(format!("{report:?}")) };
        }
        let facts = read_facts(&self.facts())?;
        judge::judge_copy(&self.store(), &facts, Loss::Nothing)?;
        let is_told = facts.words.iter().any(|line| line.starts_with("closed with"));
        Ok(if is_told { End::FailedAtClosing } else { end })
    }

    /// The child still lives, with the store open.
    fn judge_failed(&self, text: &str, facts: &Facts) -> Result<(), String> {
        nothing_after_failure(text, facts)?;
        if !facts.words.iter().any(|line| line.starts_with("poisoned")) {
            return Err(format!("it did not read on: {:?}", facts.words));
        }
        judge::judge_copy(&self.store(), facts, Loss::Nothing)
            .map_err(|error| format!("a copy: {error}"))?;
        // Here it claims what the child owned.
        judge::judge(&self.store(), facts, Loss::Nothing)
            .map_err(|error| format!("beside the child: {error}"))
    }

    /// How many calls went wrong.
    fn faults(&self) -> usize {
        fs::read_to_string(self.log()).unwrap_or_default().matches("(INJECTED)").count()
    }
}

fn end(facts: &Facts) -> End {
    if facts.words.iter().any(|line| line.starts_with("refused")) {
        End::Refused
    } else if facts.words.iter().any(|line| line.starts_with("poisoned")) {
        End::Failed
    } else {
        End::Whole
    }
}

/// What was issued after somebody was told of a failure was not acknowledged.
fn nothing_after_failure(text: &str, facts: &Facts) -> Result<(), String> {
    let is_failure = |line: &str| {
        line.starts_with("fail ") || (line.starts_with("prune ") && line.contains(" failed "))
    };
    let failure = text.lines().position(is_failure).ok_or("nobody was told of a failure")?;
    let late = facts.steps.iter().find(|step| step.line > failure + 1 && step.ack.is_some());
    late.map_or(Ok(()), |step| Err(format!("{} was acknowledged after a failure", step.id)))
}

fn is_deep() -> bool {
    kills() >= 500
}

/// The most times that one thread of a whole life makes each call.
fn counts() -> &'static BTreeMap<&'static str, u64> {
    static COUNTS: OnceLock<BTreeMap<&'static str, u64>> = OnceLock::new();
    COUNTS.get_or_init(|| {
        let place = Place::new(1);
        let before = place.before(&format!("{}:error=EIO:when=65000", CALLS.join(",")));
        let child = place.plan().command(&before).spawn().expect("a process");
        assert_eq!(place.judge(child), Ok(End::Whole));
        let log = fs::read_to_string(place.log()).expect("a log");
        let mut counts = BTreeMap::new();
        for call in CALLS {
            let mut by_thread: BTreeMap<&str, u64> = BTreeMap::new();
            for line in log.lines() {
                if let Some((thread, rest)) = line.split_once(' ')
                    && rest.trim_start().starts_with(&format!("{call}("))
                {
                    *by_thread.entry(thread).or_default() += 1;
                }
            }
            counts.insert(call, by_thread.into_values().max().unwrap_or(0));
        }
        counts
    })
}

/// A kind of fault.
struct Fault {
    calls: &'static str,
    what: &'static str,
    /// Whether all calls from the k-th on go wrong.
    stays: bool,
    /// What the first who is told hears; none where it need not be told.
    says: Option<&'static str>,
    /// The last k of all, and how many are tried by chance in a short run.
    all: u64,
    few: u64,
}

impl Fault {
    const fn new(calls: &'static str, what: &'static str, says: Option<&'static str>) -> Self {
        Self { calls, what, stays: false, says, all: 200, few: 3 }
    }

    /// Lets the k-th call go wrong, for all k or for a few. How each life ended.
    fn try_out(&self) -> BTreeMap<End, u64> {
        let seed = seed();
        let mut random = Random::new(seed);
        let most = self.calls.split(',').map(|call| counts()[call]).max().unwrap_or(1).max(1);
        let (mut ends, mut faults, mut lives) = (BTreeMap::new(), 0, 0);
        let places: Vec<u64> = if is_deep() {
            (1..=self.all).collect()
        } else {
            (0..self.few).map(|_| 1 + random.below(most)).collect()
        };
        for mut when in places {
            let seed = random.next();
            loop {
                lives += 1;
                let (end, happened) = self.try_at(when, seed);
                *ends.entry(end).or_insert(0) += 1;
                faults += u64::from(happened);
                // A life by chance may be too short.
                if happened || is_deep() || when == 1 {
                    break;
                }
                when /= 2;
            }
        }
        let Self { calls, what, .. } = self;
        tell(&format!("{calls}, {what}: {lives} lives, {faults} with a fault: {ends:?}"));
        assert!(faults > 0, "no call went wrong");
        ends
    }

    /// One life. How it ended, and whether a call went wrong.
    fn try_at(&self, when: u64, seed: u64) -> (End, bool) {
        let Self { calls, what, .. } = self;
        let and = if self.stays { "+" } else { "" };
        let what = format!("{calls}:{what}:when={when}{and}");
        let place = Place::new(seed);
        // There are far fewer syncs than writes.
        let steps = if is_deep() && !calls.contains("pwrite64") { 150 } else { 30 };
        let plan = Plan { steps, ..place.plan() };
        let child = plan.command(&place.before(&what)).spawn().expect("strace");
        let end = place.judge(child).unwrap_or_else(|error| panic!("{what}, {seed}: {error}"));
        let happened = place.faults() > 0;
        let facts = fs::read_to_string(place.facts()).expect("facts");
        let told = facts.lines().find(|line| line.starts_with("fail "));
        match (end, self.says, told) {
            (End::Whole, Some(_), _) => assert!(!happened, "{what}, {seed}: nobody was told"),
            (End::Failed, Some(says), Some(told)) => assert!(told.contains(says), "{told}"),
            (End::Whole, None, _) => {}
            _ => assert!(happened, "{what}, {seed}: {end:?} by itself"),
        }
        (end, happened)
    }
}

fn failed(ends: &BTreeMap<End, u64>) -> u64 {
    ends.get(&End::Failed).copied().unwrap_or(0)
}

#[test]
fn store_003_st_4_a_sync_that_fails_is_told_and_nothing_is_acknowledged_after_it() {
    if strace::is_there("syncs that fail") {
        let says = "could not be brought to the disk";
        let ends = Fault::new("fsync,fdatasync", "error=EIO", Some(says)).try_out();
        assert!(failed(&ends) > 0, "{ends:?}");
    }
}

#[test]
fn store_003_st_4_a_write_that_fails_is_told_and_nothing_is_acknowledged_after_it() {
    if strace::is_there("writes that fail") {
        let says = "the disk could not be written";
        let ends = Fault::new("pwrite64", "error=EIO", Some(says)).try_out();
        assert!(failed(&ends) > 0, "{ends:?}");
    }
}

#[test]
fn store_003_st_5_where_the_disk_is_full_from_any_write_on_reads_go_on() {
    if strace::is_there("a disk that is full at any write") {
        let fault = Fault::new("pwrite64", "error=ENOSPC", Some("the disk is full"));
        let ends = Fault { stays: true, all: 500, few: 4, ..fault }.try_out();
        assert!(failed(&ends) > 0, "{ends:?}");
    }
}

#[test]
fn store_003_st_6_a_write_that_writes_nothing_is_told() {
    if strace::is_there("writes that write nothing") {
        let fault = Fault::new("pwrite64", "retval=0", Some("the disk is full"));
        let ends = Fault { few: 2, ..fault }.try_out();
        assert!(failed(&ends) > 0, "{ends:?}");
    }
}

#[test]
fn store_003_st_6_an_interrupted_call_is_made_again_or_told() {
    if strace::is_there("interrupted calls") {
        let ends = Fault { few: 2, ..Fault::new("pwrite64", "error=EINTR", None) }.try_out();
        assert_eq!(failed(&ends), 0, "an interrupted write can be made again: {ends:?}");
        Fault { few: 2, ..Fault::new("fsync,fdatasync", "error=EINTR", None) }.try_out();
    }
}

/// Files may not grow beyond a limit, at any byte: the system writes what fits, and no more. In
/// some of the lives the limit goes away as soon as it is met, so that the rest can be written.
#[test]
fn store_003_st_6_a_write_that_is_cut_short_is_gone_on_with_or_told() {
    let seed = seed();
    let mut random = Random::new(seed);
    let lives = if is_deep() { 200 } else { 6 };
    let (mut ends, mut short) = (BTreeMap::new(), 0);
    for number in 0..lives {
        let place = Place::new(random.next());
        // Above what the empty database and the facts need, below what a life writes.
        let limit = 100_000 + random.below(200_000);
        let goes_away = number % 2 == 0 && strace::is_there("short writes that are gone on with");
        // The signal that comes with it is passed over, as by every program in Rust that is not told
        // otherwise by its user: by a shell, here.
        let mut before = vec!["sh".to_owned(), "-c".to_owned()];
        before.extend(["trap '' XFSZ; exec \"$@\"".to_owned(), "sh".to_owned()]);
        if goes_away {
            // Between a write and the next one there is time.
            let mut slowly = strace::inject("pwrite64:delay_exit=1000", &[&place.files()[1]]);
            slowly.insert(1, "-D".to_owned());
            before.extend(slowly);
        }
        let plan = Plan { steps: 10, ..place.plan() };
        let child = plan.command(&before).spawn().expect("a process");
        let pid = Pid::from_child(&child);
        let limited = |bytes| {
            let limit = Rlimit { current: bytes, maximum: None };
            prlimit(Some(pid), Resource::Fsize, limit).expect("a limit")
        };
        limited(Some(limit));
        let log = place.files()[1].clone();
        let is_met = || fs::metadata(&log).is_ok_and(|found| found.len() == limit);
        let is_over = Mutex::new(false);
        let (end, was_met) = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !*is_over.lock().unwrap_or_else(PoisonError::into_inner) {
                    if is_met() {
                        if goes_away {
                            limited(None);
                        }
                        return true;
                    }
                    thread::sleep(Duration::from_micros(300));
                }
                false
            });
            let end = place.judge(child);
            *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
            (end, watcher.join().expect("a watcher"))
        });
        let end =
            end.unwrap_or_else(|error| panic!("seed {seed}, life {number}, {limit}: {error}"));
        short += u32::from(was_met);
        *ends.entry((end, goes_away)).or_insert(0) += 1;
    }
    tell(&format!("writes cut short: {lives} lives, {short} at the limit: {ends:?}"));
    assert!(short > 0, "no write was short");
}

/// A fault that was not told would be found.
#[test]
fn an_acknowledgement_after_a_failure_is_found() {
    let stream = super::facts::stream_text(&holdpoint_core::event::Stream::Session(
        holdpoint_core::SessionId::generate(),
    ));
    let issue = |id| format!("issue {id} 0 record {stream},new,false,1,1,1,0,none,false\n");
    let text = issue("1.1") + "fail 1.1 Io\n" + &issue("1.2") + "ack 1.2 3\n";
    let facts = Facts::parse(&text).expect("facts");
    nothing_after_failure(&text, &facts).expect_err("a late acknowledgement");
    let text = issue("1.1") + &issue("1.2") + "fail 1.1 Io\nack 1.2 3\n";
    let facts = Facts::parse(&text).expect("facts");
    nothing_after_failure(&text, &facts).expect("it was issued before");
}
