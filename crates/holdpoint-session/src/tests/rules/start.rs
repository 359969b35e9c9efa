//! How sessions come to be, and how they are looked at.

use std::collections::BTreeSet;

use holdpoint_core::session::StateName;
use holdpoint_testkit::store::VirtualDisk;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;
use crate::{GetError, Limits, RegisterError, ResumeError, RunError, SpawnError, StepFailure};

/// Does not serialise where it is negative, and is not read back where it is odd.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Picky(i32);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            ..0 => Err(S::Error::custom("it is negative")),
            number => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i32::deserialize(deserializer)? {
            number if number % 2 == 1 => Err(D::Error::custom("it is odd")),
            number => Ok(Self(number)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sess_001_what_cannot_be_a_session_is_refused_before_anything_of_it_exists() {
    let disk = VirtualDisk::new();
    let builder = Sessions::builder().limits(Limits::none().live(1).refuse());
    let Process { store, sessions } = Process::start_with(&disk, builder).await;
    let body = sessions
        .register("picky", async |_: SessionContext, input: Picky| Ok::<_, BodyError>(input))
        .unwrap();
    for spawn in [body.spawn(Picky(-2)), body.plan(Picky(-2))] {
        let error = spawn.key("k").await.unwrap_err();
        assert!(matches!(error, SpawnError::Encode { .. }), "{error}");
        let text = "the input of `picky` does not serialise: it is negative";
        assert_eq!(error.to_string(), text);
    }
    let error = body.spawn(Picky(3)).key("k").await.unwrap_err();
    assert!(matches!(error, SpawnError::Input(_)), "{error}");
    assert!(error.to_string().contains("picky"), "{error}");
    for key in [String::new(), "k".repeat(257)] {
        let len = key.len();
        let error = body.spawn(Picky(2)).key(key).await.unwrap_err();
        assert!(matches!(error, SpawnError::Key { len: told } if told == len), "{error}");
    }
    let closure = sessions.spawn_fn(async |_| Ok::<_, BodyError>(())).await.unwrap_err();
    assert!(matches!(closure, SpawnError::Unregistered), "{closure}");
    assert!(sessions.is_empty() && sessions.list_stored(0, 9).unwrap().is_empty());
    assert!(store.by_key("k").unwrap().is_none(), "its key is free");
    // The only place is free too.
    let run = body.spawn(Picky(2)).key("k".repeat(256)).await.unwrap();
    assert_eq!(within(run).await.unwrap(), Picky(2));
}

#[tokio::test(start_paused = true)]
async fn sess_001_a_name_is_taken_once_in_each_version() {
    let sessions = Sessions::new();
    for name in ["", "-x", "a b", "a/b", &"n".repeat(65)] {
        let error = sessions.register(name, ask_confirm).unwrap_err();
        assert!(matches!(error, RegisterError::Body(_)), "{error}");
    }
    let first = sessions.register("ask", ask_confirm).unwrap();
    assert_eq!((first.name(), first.version()), ("ask", 1));
    let error = sessions.register("ask", ask_confirm).unwrap_err();
    assert_eq!(error.to_string(), "the body `ask` has a version 1 already");
    let second = sessions.register_version("ask", 2, ask_confirm).unwrap();
    assert_eq!((second.name(), second.version()), ("ask", 2));
}

#[tokio::test(start_paused = true)]
async fn sess_001_the_id_is_there_at_once_and_the_body_runs_later() {
    for sessions in both().await {
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let body = sessions
            .register("adds", move |cx: SessionContext, name: String| {
                seen.add(name);
                async move { Ok::<_, BodyError>(cx.session_id().to_string()) }
            })
            .unwrap();
        let spawn = body.spawn("spawned".to_owned());
        let id = spawn.id();
        assert!(sessions.is_empty(), "nothing before it is awaited");
        let run = spawn.await.unwrap();
        assert_eq!(run.id(), id);
        assert!(ledger.all().is_empty(), "the caller does not run it");
        let planned = body.plan("planned".to_owned()).await.unwrap();
        tokio::time::sleep(HOUR).await;
        assert_eq!(ledger.all(), ["spawned"]);
        assert_eq!(within(run).await.unwrap(), id.to_string());
        assert_eq!(planned.state().unwrap(), SessionState::Planned);
        planned.resume().await.unwrap();
        assert_eq!(within(planned.clone()).await.unwrap(), planned.id().to_string());
        assert_eq!(ledger.all(), ["spawned", "planned"]);
    }
}

/// Others spawn, end and collect without pause; who looks at one that is there always finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sess_002_bd_9_looking_never_says_not_found_for_others_work() {
    let sessions = Sessions::new();
    let ask = sessions.register("ask", ask_confirm).unwrap();
    let ends =
        sessions.register("ends", async |_: SessionContext, _: ()| Ok::<_, BodyError>(())).unwrap();
    let watched = ask.spawn(()).await.unwrap();
    question(&watched).await;
    let stop = Gate::default();
    let churn: Vec<_> = (0..3)
        .map(|_| {
            let (ends, sessions, stop) = (ends.clone(), sessions.clone(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.is_open() {
                    for _ in 0..50 {
                        within(ends.spawn(()).await.unwrap()).await.unwrap();
                    }
                    count += sessions.collect(Duration::ZERO);
                    tokio::task::yield_now().await;
                }
                count
            })
        })
        .collect();
    let looker = {
        let (sessions, id) = (sessions.clone(), watched.id());
        std::thread::spawn(move || {
            for _ in 0..5_000 {
                // Plain calls, on a thread that has no runtime.
                let handle = sessions.get(id).unwrap();
                assert_eq!(handle.state().unwrap().name(), StateName::Paused);
                assert_eq!(handle.snapshot().unwrap().id, id);
                drop(handle.observe(Since::Beginning).unwrap());
                assert!(!sessions.is_empty());
            }
            assert!(sessions.list().iter().any(|snapshot| snapshot.id == id));
        })
    };
    within(async {
        while !looker.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    stop.open();
    looker.join().unwrap();
    for churn in churn {
        within(churn).await.unwrap();
    }
    until(|| {
        sessions.collect(Duration::ZERO);
        sessions.len() == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sess_002_a_list_is_in_the_order_of_creation_and_the_store_lists_all() {
    let disk = VirtualDisk::new();
    let Process { sessions, .. } = Process::start(&disk).await;
    let ask = sessions.register("ask", ask_confirm).unwrap();
    let mut ids = Vec::new();
    for number in 0..10 {
        let spawn = if number % 3 == 0 { ask.plan(()) } else { ask.spawn(()) };
        ids.push(spawn.await.unwrap().id());
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().into_iter().copied().collect::<Vec<_>>(), ids);
    assert_eq!(sessions.list_stored(0, 100).unwrap(), ids);
    assert_eq!(sessions.list_stored(0, 3).unwrap(), ids[..3]);
    let here: Vec<_> = sessions.list().iter().map(|snapshot| snapshot.id).collect();
    let running: Vec<_> = (0..10).filter(|number| number % 3 != 0).map(|at| ids[at]).collect();
    assert_eq!(here, running, "what nobody runs is in the store alone");
    assert_eq!(sessions.len(), running.len());
}

#[tokio::test(start_paused = true)]
async fn sess_001_results_that_do_not_serialise_or_are_no_such_type_are_errors_of_their_own() {
    // In memory nothing is serialised, and nothing fails by it.
    let memory = Sessions::new();
    let [recorded] = [Process::start(&VirtualDisk::new()).await.sessions];
    let body = async |cx: SessionContext, number: i32| {
        let step = cx.step("make", || async move { Ok::<_, StepFailure>(Picky(number)) }).await?;
        Ok::<_, BodyError>(Picky(step.0 - 1))
    };
    let in_memory = memory.register("picky", body).unwrap();
    let on_disk = recorded.register("picky", body).unwrap();
    for number in [-5, 0, 3, 4] {
        let run = in_memory.spawn(number).await.unwrap();
        assert_eq!(within(run).await.unwrap(), Picky(number - 1));
    }
    let of = async |number| within(on_disk.spawn(number).await.unwrap()).await.unwrap_err();
    let text = "step `make` failed: its result does not serialise: it is negative";
    assert_eq!(of(-5).await.to_string(), text);
    let text = of(3).await.to_string();
    assert!(text.starts_with("the result of step `make` is no value of the type"), "{text}");
    let text = of(0).await.to_string();
    assert!(text.contains("it is negative"), "{text}");
    // 3 is written, and cannot be read by who awaits it.
    let run = on_disk.spawn(4).await.unwrap();
    let error = within(run.clone()).await.unwrap_err();
    assert!(matches!(error, RunError::Output { .. }), "{error}");
    assert!(error.to_string().contains("it is odd"), "{error}");
    assert_eq!(within(run.handle().typed::<u8>()).await.unwrap(), 3);
    let error = within(run.handle().typed::<String>()).await.unwrap_err();
    assert!(matches!(error, RunError::Output { .. }), "{error}");
    let other = in_memory.spawn(4).await.unwrap().handle().typed::<String>();
    assert!(matches!(within(other).await, Err(RunError::Output { .. })));
}

#[tokio::test(start_paused = true)]
async fn sess_001_an_answer_that_is_no_such_type_is_an_error_of_the_body() {
    for sessions in both().await {
        let body = sessions
            .register("wants", async |cx: SessionContext, _: ()| {
                cx.ask::<u8>(Ask::value("number", "?")).await
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        run.answer(question(&run).await, 300).await.unwrap();
        let text = failure(&run).await;
        assert!(text.starts_with("the result of ask `number` is no value"), "{text}");
        assert!(matches!(run.retry().await, Ok(())), "an answer may be another");
        run.answer(question(&run).await, 30).await.unwrap();
        assert_eq!(within(run).await.unwrap(), 30);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_001_an_input_that_the_body_does_not_take_any_more_is_told_at_resume() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let wide = first
        .sessions
        .register("takes", async |_: SessionContext, input: String| Ok::<_, BodyError>(input))
        .unwrap();
    let planned = wide.plan("text".to_owned()).await.unwrap();
    let id = planned.id();
    first.sessions.shutdown(SECOND).await;
    let second = Process::start(&disk).await;
    let _narrow = second
        .sessions
        .register("takes", async |_: SessionContext, input: u32| Ok::<_, BodyError>(input))
        .unwrap();
    let handle = second.sessions.get(id).unwrap();
    let error = handle.resume().await.unwrap_err();
    assert!(matches!(error, ResumeError::Input(_)), "{error}");
    assert_eq!(handle.state().unwrap(), SessionState::Planned, "nothing has changed");
    assert!(second.sessions.is_empty());
    assert!(!matches!(second.sessions.get(id), Err(GetError::NotFound(_))));
}
