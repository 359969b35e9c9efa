//! The testkit's bodies in real processes over a store on the disk, killed at random moments and at
//! single writes, and started again until they have ended.
//!
//! The child is this test binary, told by its environment to be one. It plays a case, the outside
//! included, with a ledger in a file that outlasts it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_core::session::{SessionState, StateName};
use holdpoint_core::store::{Filter, Store, StreamKind};
use holdpoint_testkit::bodies::{Case, Ledger, cases, play};
use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::real::{FileOptions, FileStore};
use tempfile::TempDir;

use super::conformance::hosts::Life;
use crate::{BodyError, SessionContext, Sessions, StepFailure};

/// Where the child is at work; and at which case, with which seed.
const FOLDER: &str = "HOLDPOINT_TEST_KILLS";
const CASE: &str = "HOLDPOINT_TEST_CASE";
const SEED: &str = "HOLDPOINT_TEST_SEED";
/// More in a row without a new record would be a crash loop.
const IN_A_ROW: usize = 4;
/// For a sleep that falls due while nobody is up.
const NAP: Duration = Duration::from_secs(2);

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(FileStore::open(folder.join("store"), FileOptions::default()).unwrap())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn kills() -> u64 {
    number("HOLDPOINT_KILLS").unwrap_or(20)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// A child that is to play a part, after the words of a program that stands before it.
fn start(part: &str, before: &[String], folder: &Path, case: usize, seed: u64) -> Child {
    let mut words = before.to_vec();
    words.push(std::env::current_exe().unwrap().display().to_string());
    Command::new(&words[0])
        .args(&words[1..])
        .args([&format!("tests::kills::{part}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(CASE, case.to_string())
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(OpenOptions::new().create(true).append(true).open(folder.join("said")).unwrap())
        .spawn()
        .unwrap()
}

/// The child ended well, or this says what it said.
fn assert_well(status: ExitStatus, folder: &Path, what: &str) {
    if !status.success() {
        let said = std::fs::read_to_string(folder.join("said")).unwrap_or_default();
        panic!("{what}: {status}\n{said}");
    }
}

/// What a child does: nothing unless it is one.
#[test]
fn plays_a_case() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let case = &cases()[number(CASE).unwrap() as usize];
    let ledger = Ledger::in_file(&folder.join("ledger"), number(SEED).unwrap()).unwrap();
    let faults = runtime().block_on(async {
        let builder = Sessions::builder().store(open(&folder));
        let mut host = Life::begin(&ledger, builder).await;
        host.sessions.recover().await.unwrap();
        play(&mut host, case, &ledger).await
    });
    assert!(faults.is_empty(), "{}:\n{}", case.name, faults.join("\n"));
}

/// After a kill nobody lives that owns a session, and none is shown as running.
fn look(folder: &Path) {
    let store = open(folder);
    for info in store.list(&Filter::of(StreamKind::Session)).unwrap() {
        let owner = info.owner.filter(|owner| store.is_alive(*owner));
        assert_eq!(owner, None, "its owner is dead");
    }
    runtime().block_on(async {
        let sessions = Sessions::builder().store(Arc::clone(&store)).build();
        for id in sessions.list_stored(0, 1_000).unwrap() {
            let state = sessions.get(id).unwrap().state().unwrap();
            assert_ne!(state.name(), StateName::Running, "nobody runs it");
        }
    });
    store.close().wait().unwrap();
}

/// Plays a case to its end, undisturbed.
fn finish(folder: &Path, case: usize, seed: u64) {
    let status = start("plays_a_case", &[], folder, case, seed).wait().unwrap();
    assert_well(status, folder, &format!("{}, seed {seed}", cases()[case].name));
}

#[test]
fn sess_018_sess_020_se_7_se_8_killed_bodies_come_to_what_they_come_to_unharmed() {
    let seed = number("HOLDPOINT_SEED").unwrap_or(1);
    println!("HOLDPOINT_SEED={seed}");
    let mut random = Random::new(seed);
    let (mut killed, mut lives) = (0, seed);
    let count = cases().len() as u64;
    let mut round = random.below(count);
    while killed < kills() {
        let folder = tempfile::tempdir().unwrap();
        let case = (round % count) as usize;
        round += 1;
        for _ in 0..IN_A_ROW {
            lives += 1;
            let mut child = start("plays_a_case", &[], folder.path(), case, lives);
            std::thread::sleep(random.millis(150));
            if let Some(status) = child.try_wait().unwrap() {
                let what = format!("{}, seed {lives}", cases()[case].name);
                assert_well(status, folder.path(), &what);
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            look(folder.path());
            // Sleeps may fall due while nobody is up.
            std::thread::sleep(random.millis(40));
        }
        finish(folder.path(), case, lives + 1);
        lives += 1;
    }
    println!("{killed} kills in {round} rounds");
}

/// Whether there is a strace that may trace; else says so.
fn has_strace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]);
    let probe = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let may_trace = probe.is_ok_and(|status| status.success());
    if !may_trace {
        println!("skipped: there is no strace that may trace");
    }
    may_trace
}

/// The words that kill a process at its n-th call of one kind.
fn kill_at(call: &str, nth: u64) -> Vec<String> {
    let words = ["strace", "-f", "-qq", "-o", "/dev/null"];
    let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.extend(["-e".to_owned(), format!("trace={call}")]);
    words.extend(["-e".to_owned(), format!("inject={call}:signal=SIGKILL:when={nth}")]);
    words
}

fn was_killed(status: ExitStatus) -> bool {
    !status.success() && std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

#[test]
fn sess_018_sess_020_se_7_se_8_bodies_killed_at_a_write_go_on() {
    if !has_strace() {
        return;
    }
    let by_chance: Vec<usize> = (0..)
        .zip(cases())
        .filter(|(_, case): &(usize, Case)| case.is_by_chance)
        .map(|(place, _)| place)
        .collect();
    // Few in a normal run, spread over what there is; each one in a deep one.
    let stride = (120 / kills().max(1)).max(1);
    let mut killed = 0;
    for (call, seed) in [("pwrite64", 1), ("fdatasync", 2)] {
        for nth in (1..).step_by(stride as usize) {
            let folder: TempDir = tempfile::tempdir().unwrap();
            let case = by_chance[(nth % by_chance.len() as u64) as usize];
            let words = kill_at(call, nth);
            let status = start("plays_a_case", &words, folder.path(), case, seed).wait().unwrap();
            if !was_killed(status) {
                let what = format!("{}, {call} {nth}", cases()[case].name);
                assert_well(status, folder.path(), &what);
                break;
            }
            killed += 1;
            look(folder.path());
            finish(folder.path(), case, seed + nth);
        }
    }
    println!("{killed} kills at single writes, each {stride}th");
    assert!(killed > 0, "no write is killed");
}

/// What the child with a long sleep does: it says when it is asleep, and how long it took to end.
#[test]
fn sleeps() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    runtime().block_on(async {
        let sessions = Sessions::builder().store(open(&folder)).open().await.unwrap();
        let begun = Instant::now();
        let mark = folder.join("begun");
        let body = move |cx: SessionContext, (): ()| {
            let mark = mark.clone();
            async move {
                cx.step("mark", async || Ok::<_, StepFailure>(std::fs::write(&mark, "")?)).await?;
                cx.sleep(NAP).await?;
                Ok::<_, BodyError>(())
            }
        };
        let run = sessions.register("naps", body).unwrap().spawn(()).key("nap").await.unwrap();
        sessions.recover().await.unwrap();
        while !matches!(run.state().unwrap(), SessionState::Done(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::fs::write(folder.join("took"), begun.elapsed().as_millis().to_string()).unwrap();
    });
}

#[test]
fn se_2_a_sleep_that_falls_due_while_its_process_is_dead_is_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("sleeps", &[], folder.path(), 0, 0);
    let limit = Instant::now() + Duration::from_secs(60);
    while !folder.path().join("begun").exists() {
        assert!(Instant::now() < limit, "it never begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    let due = Instant::now() + NAP + NAP / 4;
    std::thread::sleep(NAP / 4);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.path().join("took").exists(), "it was killed in its sleep");
    look(folder.path());
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    let status = start("sleeps", &[], folder.path(), 0, 0).wait().unwrap();
    assert_well(status, folder.path(), "the second life");
    let took = std::fs::read_to_string(folder.path().join("took")).unwrap();
    let took = Duration::from_millis(took.parse().unwrap());
    assert!(took < NAP, "it slept once more: {took:?}");
}
