//! Bodies with a ledger: results by key alone, and a world beside them.

use std::future::pending;

use futures_util::future::{join, join_all};
use holdpoint_core::TaskName;
use holdpoint_core::event::{CacheSource, EventKind};
use holdpoint_core::session::{StateName, SuspendCause};
use holdpoint_testkit::store::Faults;
use tokio::sync::Notify;

use super::*;
use crate::{ReleaseError, RunError, StepFailure, VerifyError};

fn task(name: &str) -> TaskName {
    name.parse().unwrap()
}

fn succeeded(name: &str) -> EventKind {
    EventKind::TaskSucceeded { task: task(name), source: CacheSource::Fresh }
}

/// What the world sees of a body of parts: which were done, and when it may go on.
#[derive(Clone, Default)]
struct World {
    done: Ledger,
    gate: Arc<Notify>,
}

/// Does parts side by side, each once, and asks meanwhile.
async fn parts(cx: SessionContext, world: World, names: &[&str]) -> Result<String, BodyError> {
    let known =
        |key: &holdpoint_core::body::OpKey| &*key.name == "go" || names.contains(&&*key.name);
    let ledger = cx.ledger(known).await?;
    let works = names.iter().map(|name| {
        let (ledger, world) = (&ledger, &world);
        async move {
            if ledger.get::<String>(name).is_some() {
                return Ok(());
            }
            world.done.add(*name);
            ledger.note(EventKind::TaskStarted { task: task(name) });
            let told = vec![succeeded(name)];
            ledger.record((*name).to_owned(), &format!("{name}!"), told).await
        }
    });
    let asks = async {
        // Something foreign comes first: the question of an earlier life is not asked at once.
        world.gate.notified().await;
        cx.ask::<bool>(Ask::confirm("go", "Go on?").of_task(task("deploy"))).await
    };
    let (works, go) = join(join_all(works), asks).await;
    works.into_iter().collect::<Result<(), _>>()?;
    Ok(format!("{} {}", ledger.names().count(), go?))
}

fn register(
    sessions: &Sessions,
    world: &World,
    names: &'static [&'static str],
) -> crate::Body<(), String> {
    let world = world.clone();
    let body = move |cx: SessionContext, _: ()| parts(cx, world.clone(), names);
    sessions.register("parts", body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_ledger_has_what_was_recorded_and_nothing_is_done_again() {
    let disk = VirtualDisk::new();
    let world = World::default();
    let process = Process::start(&disk).await;
    let run = register(&process.sessions, &world, &["b", "a"]).spawn(()).await.unwrap();
    let id = run.id();
    world.gate.notify_one();
    let asked = question(&run).await;
    let open = run.questions().unwrap().remove(0);
    assert_eq!(open.task, Some(task("deploy")));
    process.kill();
    assert_eq!(world.done.all(), ["b", "a"]);

    // The order is another one, and one part is new.
    let process = Process::start(&disk).await;
    let _body = register(&process.sessions, &world, &["new", "a", "b"]);
    let run = taken_up(&process.sessions, id).await;
    // The question is open though the body has not come to it yet, and takes its answer.
    assert_eq!(question(&run).await, asked);
    until(|| world.done.all().len() == 3).await;
    within(run.answer(asked, true)).await.unwrap();
    world.gate.notify_one();
    assert_eq!(within(run.typed::<String>()).await.unwrap(), "2 true");
    assert_eq!(world.done.all(), ["b", "a", "new"], "each once");
}

/// The body comes to its question while the answer is on its way to the disk.
#[tokio::test(start_paused = true)]
async fn sess_003_sess_017_an_answer_that_is_not_acknowledged_yet_is_not_asked_for_again() {
    let disk = VirtualDisk::new();
    let world = World::default();
    let process = Process::start(&disk).await;
    let run = register(&process.sessions, &world, &[]).spawn(()).await.unwrap();
    let id = run.id();
    world.gate.notify_one();
    let asked = question(&run).await;
    process.kill();

    let store = disk.open_with(Faults::none().delay_all());
    let sessions = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
    let _body = register(&sessions, &world, &[]);
    until(|| {
        store.release_all();
        !sessions.is_empty()
    })
    .await;
    let run = sessions.get(id).unwrap();
    until(|| {
        store.release_all();
        run.state().is_ok() && store.waiting() == 0
    })
    .await;
    let answers = {
        let run = run.clone();
        tokio::spawn(async move { run.answer(asked, true).await })
    };
    until(|| store.waiting() > 0).await;
    world.gate.notify_one();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    until(|| {
        store.release_all();
        answers.is_finished() && run.outcome().unwrap().is_some()
    })
    .await;
    within(answers).await.unwrap().unwrap();
    assert_eq!(within(run.typed::<String>()).await.unwrap(), "0 true");
    let asked = stored_events(&*store, id);
    let asked = asked.iter().filter(|event| event.kind.name() == "session_question");
    assert_eq!(asked.count(), 1, "it is asked once");
}

#[tokio::test(start_paused = true)]
async fn store_011_sess_017_notes_and_what_is_recorded_are_one_stream() {
    for sessions in both().await {
        let world = World::default();
        let run = register(&sessions, &world, &["a"]).spawn(()).await.unwrap();
        world.gate.notify_one();
        within(run.answer(question(&run).await, false)).await.unwrap();
        assert_eq!(within(run.clone()).await.unwrap(), "0 false");
        let mut observer = run.observe(Since::Beginning).unwrap();
        let mut names = Vec::new();
        while let Observed::Event(event) = within(observer.next()).await.unwrap() {
            assert_eq!(event.seq, names.len() as u64 + 1, "dense");
            names.push(event.kind.name());
            if event.kind.ends_session() {
                break;
            }
        }
        names.retain(|name| name.starts_with("task"));
        assert_eq!(names, ["task_started", "task_succeeded"]);
    }
}

/// What sessions tell of themselves no body can tell.
#[tokio::test(start_paused = true)]
async fn sess_017_core_006_a_note_is_no_event_of_the_session() {
    for sessions in both().await {
        let body = async |cx: SessionContext, _: ()| {
            let ledger = cx.ledger(|_| true).await?;
            ledger.note(EventKind::SessionDone { usage: Default::default() });
            ledger.record("a", &1, vec![EventKind::SessionStarted { start: 7 }]).await?;
            Ok::<_, BodyError>(())
        };
        let run = sessions.register("forges", body).unwrap().spawn(()).await.unwrap();
        within(run.clone()).await.unwrap();
        assert_eq!(run.snapshot().unwrap().last_seq, 3, "planned, started, done");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_017_what_a_ledger_does_not_know_is_a_mismatch() {
    let disk = VirtualDisk::new();
    let world = World::default();
    let process = Process::start(&disk).await;
    let run = register(&process.sessions, &world, &["a", "b"]).spawn(()).await.unwrap();
    let id = run.id();
    world.gate.notify_one();
    question(&run).await;
    process.kill();

    let process =
        Process::start_with(&disk, Sessions::builder().recovery(crate::Recovery::Explicit)).await;
    let body = register(&process.sessions, &world, &["a"]);
    let error = body.verify(id).unwrap_err();
    assert!(
        matches!(&error, VerifyError::Mismatch { recorded, .. } if &**recorded == "step b"),
        "{error}"
    );
    let handle = process.sessions.get(id).unwrap();
    within(handle.resume()).await.unwrap();
    until(|| process.sessions.list().is_empty()).await;
    // It was paused, and stays so; nothing is lost.
    assert_eq!(handle.state().unwrap().name(), StateName::Paused);
    process.kill();

    let process = Process::start(&disk).await;
    let body = register(&process.sessions, &world, &["a", "b"]);
    assert!(body.verify(id).is_ok());
    let run = taken_up(&process.sessions, id).await;
    within(run.answer(question(&run).await, true)).await.unwrap();
    world.gate.notify_one();
    assert_eq!(within(run.typed::<String>()).await.unwrap(), "2 true");
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_ledger_is_opened_first_and_by_the_body_itself() {
    let sessions = Process::start(&VirtualDisk::new()).await.sessions;
    let body = async |cx: SessionContext, _: ()| {
        cx.step("first", async || Ok::<_, StepFailure>(())).await?;
        cx.ledger(|_| true).await.map(drop)
    };
    let run = sessions.register("late", body).unwrap().spawn(()).await.unwrap();
    let error = within(run).await.unwrap_err();
    let RunError::Failed(failure) = &error else { panic!("{error}") };
    assert!(format!("{failure:?}").contains("the opening of a ledger"), "{failure:?}");

    let body = async |cx: SessionContext, _: ()| {
        let inner = cx.clone();
        cx.step("first", async move || {
            inner.ledger(|_| true).await.map(drop).map_err(StepFailure::from)
        })
        .await
    };
    let run = sessions.register("within", body).unwrap().spawn(()).await.unwrap();
    assert!(matches!(within(run).await.unwrap_err(), RunError::Failed(_)));
}

/// What an attempt has recorded is offered to the next one, which takes what it likes.
#[tokio::test(start_paused = true)]
async fn sess_017_sess_006_a_new_attempt_takes_what_it_likes() {
    let disk = VirtualDisk::new();
    let ledger_of = Ledger::default();
    let process = Process::start(&disk).await;
    let body = {
        let log = ledger_of.clone();
        move |cx: SessionContext, _: ()| {
            let log = log.clone();
            async move {
                let ledger = cx.ledger(|_| true).await?;
                for name in ["good", "stale"] {
                    let offer = ledger.offer::<u32>(name).transpose()?;
                    let value = match (ledger.get::<u32>(name).transpose()?, offer) {
                        (Some(known), _) => known,
                        (None, Some(offer)) if name == "good" => offer,
                        _ => {
                            log.add(name);
                            7
                        }
                    };
                    ledger.record(name, &value, Vec::new()).await?;
                }
                if ledger.offered().next().is_none() {
                    return Err(holdpoint_core::BoxError::from("not yet"));
                }
                Ok(ledger.offered().count())
            }
        }
    };
    let run = process.sessions.register("tries", body).unwrap().spawn(()).await.unwrap();
    within(run.clone()).await.unwrap_err();
    within(run.retry()).await.unwrap();
    assert_eq!(within(run.typed::<usize>()).await.unwrap(), 2);
    assert_eq!(ledger_of.all(), ["good", "stale", "stale"]);
}

/// Who goes down waits for a body with a ledger to wind up what it has begun.
#[tokio::test(start_paused = true)]
async fn sess_016_sess_017_a_body_with_a_ledger_winds_up_before_it_is_let_go_of() {
    let disk = VirtualDisk::new();
    let process = Process::start(&disk).await;
    let opened = Gate::default();
    let has_opened = opened.clone();
    let body = move |cx: SessionContext, _: ()| wind_up(cx, opened.clone());
    async fn wind_up(cx: SessionContext, opened: Gate) -> Result<String, BodyError> {
        let ledger = cx.ledger(|_| true).await?;
        opened.open();
        if let Some(known) = ledger.get::<String>("work") {
            return known;
        }
        let cause = ledger.suspend_requested().await;
        // Its process takes a moment to end.
        tokio::time::sleep(SECOND).await;
        ledger.record("work", &format!("{cause:?}"), Vec::new()).await?;
        ledger.let_go().await;
        unreachable!()
    }
    let run = process.sessions.register("works", body).unwrap().spawn(()).await.unwrap();
    until(|| has_opened.is_open()).await;
    within(run.release()).await.unwrap();
    let state = run.state().unwrap();
    assert!(matches!(state, SessionState::Suspended(SuspendCause::Released)), "{state:?}");
    assert!(matches!(run.release().await, Err(ReleaseError::NotHere(_))));
    within(run.resume()).await.unwrap();
    assert_eq!(within(run.clone()).await.unwrap(), "Released");
    assert!(matches!(run.release().await, Err(ReleaseError::Ended { .. })));
}

#[tokio::test(start_paused = true)]
async fn sess_016_sess_017_a_body_that_does_not_wind_up_is_aborted_after_the_grace() {
    let disk = VirtualDisk::new();
    let process = Process::start(&disk).await;
    let opened = Gate::default();
    let has_opened = opened.clone();
    let body = move |cx: SessionContext, _: ()| {
        let opened = opened.clone();
        async move {
            let _ledger = cx.ledger(|_| true).await?;
            opened.open();
            pending::<()>().await;
            Ok::<_, BodyError>(())
        }
    };
    let run = process.sessions.register("sticks", body).unwrap().spawn(()).await.unwrap();
    until(|| has_opened.is_open()).await;
    let report = process.sessions.shutdown(SECOND).await;
    assert_eq!(report.aborted, [run.id()]);
    let state = run.state().unwrap();
    assert!(matches!(state, SessionState::Suspended(SuspendCause::Shutdown)), "{state:?}");
}

/// With a question open it stays Paused, for anybody to answer and to resume.
#[tokio::test(start_paused = true)]
async fn sess_005_core_004_a_paused_session_that_is_released_stays_paused() {
    let disk = VirtualDisk::new();
    let process = Process::start(&disk).await;
    let body = async |cx: SessionContext, _: ()| cx.ask::<bool>(Ask::confirm("go", "Go?")).await;
    let run = process.sessions.register("asks", body).unwrap().spawn(()).await.unwrap();
    let asked = question(&run).await;
    within(run.release()).await.unwrap();
    assert_eq!(run.state().unwrap().name(), StateName::Paused);
    within(run.answer(asked, true)).await.unwrap();
    let state = run.state().unwrap();
    assert!(matches!(state, SessionState::Suspended(SuspendCause::Answered)), "{state:?}");
    within(run.resume()).await.unwrap();
    assert!(within(run).await.unwrap());

    let sessions = Sessions::new();
    let run = sessions.spawn_fn(async |cx| cx.ask::<bool>(Ask::confirm("go", "Go?")).await);
    let run = run.await.unwrap();
    question(&run).await;
    assert!(matches!(run.release().await, Err(ReleaseError::NotRecorded(_))));
}
