//! Processes killed at any moment (ST-1, ST-9).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use holdpoint_store::{FileOptions, FileStore};
use tempfile::TempDir;

use super::child::Plan;
use super::judge::{self, Loss};
use super::random::Random;
use super::{kills, read_facts, scratch, seed, strace};

/// All calls that leave something behind.
const CALLS: [&str; 10] = [
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "ftruncate",
    "rename",
    "unlink",
    "openat",
    "mkdir",
    "flock",
];

/// A store that dies and is opened again, a few times, and what was said about it.
struct Store {
    folder: TempDir,
    life: u32,
    seed: u64,
}

impl Store {
    fn new(seed: u64) -> Self {
        // On a real file system: it is the system's calls that are stopped.
        Self { folder: tempfile::tempdir().expect("a temporary folder"), life: 0, seed }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn facts(&self) -> PathBuf {
        self.folder.path().join("facts")
    }

    fn next_plan(&mut self) -> Plan {
        self.life += 1;
        Plan { life: self.life, ..Plan::new(&self.path(), &self.facts(), self.seed) }
    }

    fn judge(&self) -> Result<(), String> {
        judge::judge_copy(&self.path(), &read_facts(&self.facts())?, Loss::Nothing)
    }
}

/// How often each thread of a whole life makes each call, the most of all threads.
fn counts(files: &[&Path], plan: &Plan) -> Vec<(&'static str, u64)> {
    let log = plan.facts.with_extension("log");
    let mut words = strace::record(&log, &CALLS.join(","));
    for file in files {
        words.extend(["-P".to_owned(), file.display().to_string()]);
    }
    let output = plan.command(&words).output().expect("strace");
    assert!(output.status.success(), "{}", said(&output));
    let log = fs::read_to_string(log).expect("a log");
    let mut by_thread: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        *by_thread.entry((thread, call)).or_default() += 1;
    }
    let most = |call| {
        let threads = by_thread.iter().filter(|((_, own), _)| *own == call);
        threads.map(|(_, count)| *count).max().unwrap_or(0)
    };
    CALLS.into_iter().map(|call| (call, most(call))).filter(|(_, count)| *count > 0).collect()
}

fn said(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Kills lives before calls that `choose` picks by chance, until there were `kills` of them.
fn kill_at_calls(files: impl Fn(&Path) -> Vec<PathBuf>, calls: &[&str], kills: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut store = Store::new(seed);
    let paths = files(&store.path());
    let plan = store.next_plan();
    let mut counts = counts(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &plan);
    counts.retain(|(call, _)| calls.contains(call));
    store.judge().unwrap_or_else(|error| panic!("seed {seed}, not killed: {error}"));
    assert!(!counts.is_empty(), "no call to be killed at");
    let mut done = 0;
    while done < kills {
        if store.life > 1 && random.one_in(4) {
            store = Store::new(random.next());
        }
        // Calls of every kind, however rare they are.
        let (call, most) = counts[random.below(counts.len() as u64) as usize];
        let when = 1 + random.below(most);
        let paths = files(&store.path());
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let before = strace::inject(&format!("{call}:signal=KILL:when={when}"), &paths);
        let output = store.next_plan().command(&before).output().expect("strace");
        let was_killed = output.status.signal() == Some(9);
        let is_over = output.status.success();
        assert!(was_killed || is_over, "seed {seed}, {call} {when}: {}", said(&output));
        let life = store.life;
        store.judge().unwrap_or_else(|error| {
            panic!("seed {seed}, life {life}, killed at {call} {when}: {error}")
        });
        done += u64::from(was_killed);
        // A life that was shorter than expected is no kill, and there must not be only such.
        assert!(was_killed || store.life < 200, "seed {seed}: nobody is killed");
    }
}

#[test]
fn store_002_st_1_killed_before_any_call_nothing_acknowledged_is_lost() {
    if strace::is_there("kills before any call of a life") {
        kill_at_calls(|_| Vec::new(), &CALLS, kills() / 3, seed());
    }
}

#[test]
fn store_002_st_1_killed_at_any_write_or_sync_of_its_files_nothing_acknowledged_is_lost() {
    if strace::is_there("kills at writes and syncs of the database and its log") {
        let files =
            |folder: &Path| vec![folder.join("holdpoint.db"), folder.join("holdpoint.db-wal")];
        let calls = ["pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink"];
        kill_at_calls(files, &calls, kills() / 3, seed());
    }
}

#[test]
fn store_002_st_9_killed_while_the_log_is_written_back_the_store_is_as_before_or_after() {
    if strace::is_there("kills while the log is written back") {
        // The database itself is written only then.
        let files = |folder: &Path| vec![folder.join("holdpoint.db")];
        kill_at_calls(files, &["pwrite64", "fdatasync", "fsync"], kills() / 6, seed());
    }
}

/// A store whose owner was killed before it tidied up: streams wait to be merged, and to be deleted.
/// The next life does nothing else, always in the same order: so it can be killed at each place.
#[test]
fn store_002_st_9_killed_while_it_merges_deletes_and_closes_the_store_is_as_before_or_after() {
    if !strace::is_there("kills while streams are merged and deleted") {
        return;
    }
    let seed = seed();
    let mut random = Random::new(seed);
    let mut store = Store::new(seed);
    let plan = Plan { drops_dead: true, ..store.next_plan() };
    let output = plan.command(&["env".to_owned()]).output().expect("a process");
    assert!(output.status.success(), "{}", said(&output));
    let again = |number: u64| {
        let copy = tempfile::tempdir().expect("a temporary folder");
        judge::copy_store(&store.path(), &copy.path().join("store"));
        fs::copy(store.facts(), copy.path().join("facts")).expect("a copy");
        let (folder, facts) = (copy.path().join("store"), copy.path().join("facts"));
        let plan = Plan { life: 2, steps: 0, ..Plan::new(&folder, &facts, number) };
        (copy, plan)
    };
    let (_copy, plan) = again(0);
    let mut counts = counts(&[], &plan);
    // What the process writes besides is the file of facts.
    counts.retain(|(call, _)| !["write", "openat", "mkdir"].contains(call));
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    assert!(most > 20, "nothing is tidied up: {counts:?}");
    for number in 0..kills() / 3 {
        let (call, most) = counts[random.below(counts.len() as u64) as usize];
        let when = 1 + random.below(most);
        let (copy, plan) = again(number);
        let before = strace::inject(&format!("{call}:signal=KILL:when={when}"), &[]);
        let output = plan.command(&before).output().expect("strace");
        let is_fine = output.status.signal() == Some(9) || output.status.success();
        assert!(is_fine, "seed {seed}, {call} {when}: {}", said(&output));
        let judged = read_facts(&plan.facts)
            .and_then(|facts| judge::judge_copy(&plan.folder, &facts, Loss::Nothing));
        judged.unwrap_or_else(|error| panic!("seed {seed}, killed at {call} {when}: {error}"));
        drop(copy);
    }
}

/// Without strace: at any moment of a life.
#[test]
fn store_002_st_1_killed_at_random_moments_nothing_acknowledged_is_lost() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut store = Store::new(seed);
    for _ in 0..kills().div_ceil(3) {
        if random.one_in(6) {
            store = Store::new(random.next());
        }
        let mut child = store.next_plan().command(&["env".to_owned()]).spawn().expect("a process");
        std::thread::sleep(Duration::from_micros(random.below(400_000)));
        child.kill().expect("it can be killed");
        let output = child.wait_with_output().expect("its end");
        let is_fine = output.status.signal() == Some(9) || output.status.success();
        assert!(is_fine, "seed {seed}: {}", said(&output));
        store.judge().unwrap_or_else(|error| panic!("seed {seed}, life {}: {error}", store.life));
    }
}

/// A commit that was written and not brought to the disk when its process was killed is there for
/// the next, as long as the power stays on. Nobody may see it before it is there for good.
#[test]
fn store_002_what_a_killed_process_left_is_on_the_disk_before_anybody_sees_it() {
    if !strace::is_there("kills before syncs") {
        return;
    }
    let seed = seed();
    let mut random = Random::new(seed);
    let mut store = Store::new(seed);
    let log = store.path().join("holdpoint.db-wal");
    // A life that syncs less often than that ends by itself: then the next is killed sooner.
    let mut when = 5 + random.below(40);
    loop {
        let inject = format!("fdatasync,fsync:signal=KILL:when={when}");
        let output = store.next_plan().command(&strace::inject(&inject, &[&log])).output();
        let output = output.expect("strace");
        if output.status.signal() == Some(9) {
            break;
        }
        assert!(output.status.success() && when > 1, "seed {seed}: {}", said(&output));
        when = when.div_ceil(2);
    }
    let trace = store.folder.path().join("trace");
    let trace_text = trace.display().to_string();
    let calls = "trace=fdatasync,fsync,write";
    let before = ["strace", "-f", "-qq", "-y", "-o", &trace_text, "-e", calls];
    let plan = Plan { steps: 0, ..store.next_plan() };
    let output = plan.command(&before.map(str::to_owned)).output().expect("strace");
    assert!(output.status.success(), "seed {seed}: {}", said(&output));
    let trace = fs::read_to_string(trace).expect("a trace");
    let mut lines = trace.lines().take_while(|line| !line.contains("seen begin"));
    let name = format!("<{}>)", log.display());
    let is_synced = lines.any(|line| line.contains("sync(") && line.contains(&name));
    assert!(is_synced, "seed {seed}: the log is read and may vanish");
    store.judge().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

/// A store may be asked for in a folder whose parents are not there either.
#[test]
fn store_002_st_3_the_names_of_all_folders_that_were_made_are_on_the_disk() {
    if !strace::is_there("syncs of folders") {
        return;
    }
    let mut store = Store::new(5);
    let top = store.folder.path().canonicalize().expect("a folder");
    let plan = Plan { folder: top.join("one/two/three"), steps: 1, ..store.next_plan() };
    let trace = top.join("trace").display().to_string();
    let before = ["strace", "-f", "-qq", "-y", "-o", &trace, "-e", "trace=fsync,write"];
    let output = plan.command(&before.map(str::to_owned)).output().expect("strace");
    assert!(output.status.success(), "{}", said(&output));
    let trace = fs::read_to_string(trace).expect("a trace");
    let until_ack: Vec<&str> = trace.lines().take_while(|line| !line.contains("\"ack ")).collect();
    assert!(until_ack.len() < trace.lines().count(), "nothing is acknowledged");
    for folder in ["", "one", "one/two", "one/two/three"] {
        let name = format!("<{}>)", top.join(folder).display()).replace("/>)", ">)");
        let is_synced =
            until_ack.iter().any(|line| line.contains("fsync(") && line.contains(&name));
        assert!(is_synced, "what is new in {name} may vanish");
    }
}

/// A new database would take up what the log of the old one says.
#[test]
fn store_005_a_log_whose_database_is_gone_is_refused_and_left_alone() {
    let mut store = Store::new(3);
    let plan = Plan { drops_dead: true, ..store.next_plan() };
    let output = plan.command(&["env".to_owned()]).output().expect("a process");
    assert!(output.status.success(), "{}", said(&output));
    let (database, log) =
        (store.path().join("holdpoint.db"), store.path().join("holdpoint.db-wal"));
    let aside = store.folder.path().join("aside");
    fs::rename(&database, &aside).expect("it can be moved");
    let before = fs::read(&log).expect("a log");
    let error = FileStore::open(store.path(), FileOptions::new()).expect_err("it is no new store");
    let text = error.to_string();
    assert!(text.contains("holdpoint.db-wal") && text.contains("not there"), "{text}");
    assert!(fs::read(&log).expect("a log") == before, "what is refused is left alone");
    assert!(!database.exists(), "what is refused is left alone");
    fs::rename(&aside, &database).expect("it can be moved back");
    store.judge().expect("with its database it is sound");
}

/// The judge sees what it is there for.
#[test]
fn the_judge_finds_a_lost_a_torn_and_a_foreign_append() {
    let mut store = Store::new(7);
    let output = store.next_plan().command(&["env".to_owned()]).output().expect("a process");
    assert!(output.status.success(), "{}", said(&output));
    let text = fs::read_to_string(store.facts()).expect("facts");
    let facts = read_facts(&store.facts()).expect("facts");
    assert!(judge::is_rich(&facts), "the life is too dull");
    judge::judge_copy(&store.path(), &facts, Loss::Nothing).expect("a sound store");
    let judge = |text: &str| {
        let facts = super::facts::Facts::parse(text)?;
        judge::judge_copy(&store.path(), &facts, Loss::Nothing)
    };
    let lines: Vec<&str> = text.lines().collect();
    let last = *lines.iter().rev().find(|line| line.starts_with("issue")).expect("a step");
    // An append that was issued by nobody.
    let foreign = text.replace(&format!("{last}\n"), "");
    let foreign: String = foreign
        .lines()
        .filter(|line| !is_about(line, last))
        .map(|line| format!("{line}\n"))
        .collect();
    judge(&foreign).expect_err("an append of nobody");
    // One that was acknowledged and is not there.
    let words: Vec<&str> = last.splitn(5, ' ').collect();
    let lost = format!(
        "{text}issue 1.999999 0 record s{},new,false,1,1,1,0,none,false\nack 1.999999 {}\n",
        holdpoint_core::SessionId::generate(),
        u64::MAX
    );
    assert!(judge(&lost).expect_err("a lost append").contains("lost"), "{words:?}");
    // The same, and not acknowledged, is no fault.
    let unknown = lost.lines().filter(|line| !line.starts_with("ack 1.999999"));
    let unknown: String = unknown.map(|line| format!("{line}\n")).collect();
    judge(&unknown).expect("nothing acknowledged is missing");
    // One of which only a part is there.
    let torn = text.replace(
        last,
        &format!("{last};s{},new,false,1,1,1,0,none,false", holdpoint_core::SessionId::generate()),
    );
    assert!(judge(&torn).expect_err("a torn append").contains("part of"));
}

/// Whether a line tells how a step ended.
fn is_about(line: &str, issue: &str) -> bool {
    let id = issue.split(' ').nth(1);
    !line.starts_with("issue") && line.split(' ').nth(1) == id
}

/// Nothing of a killed process stands in the way of those that come.
#[test]
fn scratch_folders_are_removed() {
    let path = scratch().path().to_owned();
    assert!(!path.exists());
}
