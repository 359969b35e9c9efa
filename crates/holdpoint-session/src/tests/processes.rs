//! Real processes over a store on the disk, killed at random and started again until all is done.
//!
//! The child is this test binary, told by its environment to be one. Each effect makes a folder
//! named after its session, step, start and attempt: a second one of the same name is a fault that
//! stops the child, and a folder of a later start for a step that was recorded is one that stops
//! the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::session::{FailureCause, SessionState, StateName};
use holdpoint_core::store::{Filter, Store, StreamKind};
use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::real::{FileOptions, FileStore};

use crate::driver::Record;
use crate::{Ask, Attempt, BodyError, SessionContext, Sessions, StepFailure};

const FOLDER: &str = "HOLDPOINT_TEST_SESSIONS";
const SESSIONS: u32 = 6;

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(FileStore::open(folder.join("store"), FileOptions::default()).unwrap())
}

fn kills() -> u64 {
    std::env::var("HOLDPOINT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Leaves a mark, and takes a while.
async fn mark(folder: PathBuf, step: &'static str, attempt: Attempt) -> Result<u32, StepFailure> {
    let (session, start, number) = (attempt.session(), attempt.start(), attempt.number());
    let mark = folder.join("marks").join(format!("{session}.{step}.{start}.{number}"));
    if let Err(error) = std::fs::create_dir(mark) {
        eprintln!("{step} of {session}, start {start}, attempt {number} came again: {error}");
        std::process::exit(3);
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(start)
}

async fn work(folder: PathBuf, cx: SessionContext) -> Result<u32, BodyError> {
    let step = |name: &'static str| {
        let folder = folder.clone();
        cx.step_with(name, move |attempt| mark(folder.clone(), name, attempt))
    };
    let (one, two) = futures_util::future::join(step("one"), step("two")).await;
    let ok: bool = cx.ask(Ask::confirm("ok", "?")).await?;
    cx.sleep(Duration::from_millis(10)).await?;
    step("three").await?;
    step("four").await?;
    Ok(one?.min(two?) + u32::from(ok))
}

/// What the child does: nothing unless it is one.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let sessions = Sessions::builder().store(open(&folder)).open().await.unwrap();
        let body = sessions
            .register("work", move |cx: SessionContext, _: ()| work(folder.clone(), cx))
            .unwrap();
        let mut runs = Vec::new();
        for number in 0..SESSIONS {
            runs.push(body.spawn(()).key(format!("key {number}")).await.unwrap());
        }
        for run in runs {
            loop {
                match run.state().unwrap() {
                    SessionState::Paused(open) => {
                        let question = open.iter().next().unwrap().id;
                        let _late = run.answer(question, true).await;
                    }
                    SessionState::Done(_) => break,
                    // Killed so often before it could record anything: it is tried once more, and what
                    // succeeded before is not executed again.
                    SessionState::Failed(failure)
                        if matches!(failure.cause(), FailureCause::CrashLoop { .. }) =>
                    {
                        let _by_another = run.retry().await;
                    }
                    state if state.is_terminal() => panic!("{state:?}"),
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        }
    });
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::processes::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// For each recorded step the last start that can have executed it.
type Recorded = BTreeMap<(String, String), u32>;

/// What lies on the disk after a kill.
fn look(folder: &Path, recorded: &mut Recorded) {
    let store = open(folder);
    for info in store.list(&Filter::of(StreamKind::Session)).unwrap() {
        let Stream::Session(id) = info.stream else { continue };
        let owner = info.owner.filter(|owner| store.is_alive(*owner));
        assert_eq!(owner, None, "its owner is dead");
        let entries = store.journal(&info.stream, 0, 1_000).unwrap();
        for entry in entries {
            if let Record::Done(done) = Record::decode(&entry.data).unwrap() {
                let key = (id.to_string(), done.key.name.to_string());
                let start = u32::try_from(info.epoch).unwrap();
                recorded.entry(key).or_insert(start);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sessions = Sessions::builder().store(Arc::clone(&store)).build();
        for id in sessions.list_stored(0, 1_000).unwrap() {
            let state = sessions.get(id).unwrap().state().unwrap();
            assert_ne!(state.name(), StateName::Running, "nobody runs it");
        }
    });
    store.close().wait().unwrap();
}

#[test]
fn sess_018_se_7_se_8_killed_processes_repeat_nothing_that_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let seed = std::env::var("HOLDPOINT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("HOLDPOINT_SEED={seed}");
    let mut random = Random::new(seed);
    let (mut kills_left, mut round) = (kills(), 0);
    while kills_left > 0 {
        round += 1;
        let folder = folder.join(round.to_string());
        std::fs::create_dir_all(folder.join("marks")).unwrap();
        let mut recorded = Recorded::new();
        loop {
            let mut child = start(&folder);
            if kills_left == 0 {
                assert!(child.wait().unwrap().success());
                break;
            }
            std::thread::sleep(random.millis(90));
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "round {round}: {status}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills_left -= 1;
            look(&folder, &mut recorded);
        }
        for mark in std::fs::read_dir(folder.join("marks")).unwrap() {
            let name = mark.unwrap().file_name().into_string().unwrap();
            let parts: Vec<&str> = name.split('.').collect();
            let [session, step, start, _attempt] = parts[..] else { panic!("{name}") };
            let start: u32 = start.parse().unwrap();
            if let Some(last) = recorded.get(&(session.to_owned(), step.to_owned())) {
                assert!(start <= *last, "{name} was recorded in start {last}");
            }
        }
        let store = open(&folder);
        let done = Filter::of(StreamKind::Session).states(&[StateName::Done]);
        assert_eq!(store.list(&done).unwrap().len(), SESSIONS as usize);
        store.close().wait().unwrap();
    }
}
