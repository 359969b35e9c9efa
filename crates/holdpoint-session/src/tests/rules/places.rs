//! Sessions and the store: several processes over one, appends that fail, forms of other versions,
//! and what must never lie in it.

use std::path::Path;

use holdpoint_core::session::{StateName, SuspendCause};
use holdpoint_core::store::{AppendError, Fence, Filter, Snapshot, StreamKind, Write};
use holdpoint_core::{BoxError, CancelCode, CancelInfo, Retryable};
use holdpoint_testkit::store::{Failure, Faults, VirtualDisk};

use super::*;
use crate::{
    AnswerError, Answers, CancelError, GetError, ResumeError, RunError, SpawnError, StepFailure,
};

/// Two registries over two handles of one folder are two processes.
#[tokio::test]
async fn store_009_sess_004_a_session_is_decided_by_its_owner_whoever_asks() {
    let folder = TempDir::new().unwrap();
    let (owner, other) = (file_process(&folder).await, file_process(&folder).await);
    let body = owner
        .register("two", async |cx: SessionContext, _: ()| {
            let asks = [Ask::confirm("one", "?"), Ask::confirm("two", "?")];
            cx.ask_all::<bool>(asks).await
        })
        .unwrap();
    let run = body.spawn(()).await.unwrap();
    within(run.wait_for(|state| match state {
        SessionState::Paused(open) => (open.count().get() == 2).then_some(()),
        _ => None,
    }))
    .await
    .unwrap();
    let ids: Vec<_> = run.questions().unwrap().iter().map(|question| question.id).collect();
    let remote = other.get(run.id()).unwrap();
    assert_eq!(remote.questions().unwrap(), run.questions().unwrap());
    // The refusals are the owner's.
    let unknown = Answers::new().answer(ids[0], true).answer(QuestionId(9), true);
    let error = within(remote.answer_all(unknown)).await.unwrap_err();
    let AnswerError::NotOpen { questions } = error else { panic!("{error}") };
    assert_eq!(questions, [QuestionId(9)]);
    let error = within(remote.answer(ids[0], "yes")).await.unwrap_err();
    assert!(error.to_string().contains("`true` or `false`"), "{error}");
    let error = within(remote.resume()).await.unwrap_err();
    assert!(matches!(error, ResumeError::Owned { state: StateName::Paused }), "{error}");
    assert_eq!(run.questions().unwrap().len(), 2, "nothing has changed");
    // And so are the answers.
    assert_eq!(within(remote.answer(ids[0], false)).await.unwrap(), [ids[1]]);
    assert_eq!(remote.questions().unwrap().len(), 1, "the asker sees it when it is told");
    assert_eq!(within(run.answer(ids[1], true)).await.unwrap(), []);
    assert_eq!(within(run.clone()).await.unwrap(), [false, true]);
    assert_eq!(within(remote.typed::<Vec<bool>>()).await.unwrap(), [false, true]);
    let error = within(remote.cancel("late")).await.unwrap_err();
    assert!(matches!(error, CancelError::Ended { state: StateName::Done }), "{error}");

    let run = body.spawn(()).await.unwrap();
    question(&run).await;
    let remote = other.get(run.id()).unwrap();
    within(remote.cancel_as(CancelCode::Internal, "from afar")).await.unwrap();
    let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
    assert_eq!((cause.code, &*cause.text), (CancelCode::Internal, "from afar"));
    let error = within(remote.answer(QuestionId(1), true)).await.unwrap_err();
    assert!(matches!(error, AnswerError::AlreadyCancelled(_)), "{error}");
}

/// Many processes want the same ownerless session: one has it, and what it does is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sess_005_ad_9_two_processes_never_run_one_session() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::default();
    let mut processes = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let store = file_store(&folder);
        let builder = Sessions::builder().store(store).recovery(crate::Recovery::Explicit);
        let sessions = builder.open().await.unwrap();
        let ledger = ledger.clone();
        bodies.push(
            sessions
                .register("once", move |cx: SessionContext, _: ()| {
                    let ledger = ledger.clone();
                    async move {
                        cx.step("once", || async {
                            ledger.add(cx.session_id().to_string());
                            Ok::<_, StepFailure>(())
                        })
                        .await
                    }
                })
                .unwrap(),
        );
        processes.push(sessions);
    }
    for _ in 0..20 {
        let id = bodies[0].plan(()).await.unwrap().id();
        let racers: Vec<_> = processes
            .iter()
            .map(|sessions| {
                let handle = sessions.get(id).unwrap();
                tokio::spawn(async move { handle.resume().await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match within(racer).await.unwrap() {
                Ok(()) => won += 1,
                Err(ResumeError::Owned { .. } | ResumeError::Ended { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
        let handle = processes[2].get(id).unwrap();
        within(handle.typed::<()>()).await.unwrap();
        assert_eq!(ledger.count(&id.to_string()), 1);
    }
}

/// The same key at the same moment, from everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sess_019_one_key_is_one_session_whoever_comes_at_once() {
    let folder = TempDir::new().unwrap();
    let memory = Sessions::new();
    let stored = [file_process(&folder).await, file_process(&folder).await];
    for registries in [vec![&memory], stored.iter().collect()] {
        let bodies: Vec<_> = registries
            .iter()
            .map(|sessions| sessions.register("ask", ask_confirm).unwrap())
            .collect();
        let others: Vec<_> = registries
            .iter()
            .map(|sessions| sessions.register("other", ask_confirm).unwrap())
            .collect();
        for round in 0..10 {
            let key = format!("key {round}");
            let spawns: Vec<_> = (0..8)
                .map(|number| {
                    let (body, key) = (bodies[number % bodies.len()].clone(), key.clone());
                    tokio::spawn(async move { body.spawn(()).key(key).await.unwrap().id() })
                })
                .collect();
            let mut ids = Vec::new();
            for spawn in spawns {
                ids.push(within(spawn).await.unwrap());
            }
            ids.dedup();
            assert_eq!(ids.len(), 1, "{ids:?}");
            let error = others[0].spawn(()).key(key.clone()).await.unwrap_err();
            let SpawnError::KeyOfAnother { key: told, session, body } = error else {
                panic!("{error}")
            };
            assert_eq!((&*told, session, &*body), (&*key, ids[0], "ask"));
            // What is found by its key is as good as what was made.
            let run = bodies[0].spawn(()).key(key).await.unwrap();
            within(run.answer(question(&run).await, true)).await.unwrap();
            assert!(within(run).await.unwrap());
        }
        assert_eq!(
            registries.iter().map(|sessions| sessions.len()).sum::<usize>(),
            10,
            "no more were made"
        );
    }
}

/// All bytes under a folder.
fn bytes_of(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_of(&path));
        } else if path.is_file() {
            all.extend(std::fs::read(&path).unwrap());
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn sess_003_a_secret_lies_nowhere_in_the_store() {
    const SECRET: &str = "correct horse battery staple";
    let folder = TempDir::new().unwrap();
    let (owner, other) = (file_process(&folder).await, file_process(&folder).await);
    let body = owner
        .register("login", async |cx: SessionContext, _: ()| {
            let here: String = cx.ask(Ask::secret("here", "?")).await?;
            let there: String = cx.ask(Ask::secret("there", "?")).await?;
            let open: String = cx.ask(Ask::text("open", "?")).await?;
            cx.emit("logged in")?;
            Ok::<_, BodyError>(here.len() + there.len() + open.len())
        })
        .unwrap();
    let run = body.spawn(()).await.unwrap();
    let remote = other.get(run.id()).unwrap();
    let secret = asked(&run, "here").await;
    // A wrong answer is not kept either.
    let wrong = run.answer(secret, [SECRET]).await.unwrap_err().to_string();
    assert!(!wrong.contains(SECRET), "{wrong}");
    within(run.answer(secret, SECRET)).await.unwrap();
    let secret = asked(&run, "there").await;
    within(remote.answer(secret, SECRET)).await.unwrap();
    let open = asked(&run, "open").await;
    within(run.answer(open, "this may be read")).await.unwrap();
    assert_eq!(within(run.clone()).await.unwrap(), 2 * SECRET.len() + 16);
    let bytes = bytes_of(folder.path());
    assert!(holds(&bytes, "this may be read"), "the search finds what is there");
    assert!(!holds(&bytes, SECRET) && !holds(&bytes, "battery"));
    let shown = format!("{:?} {:?}", run.snapshot().unwrap(), events(&run).await);
    assert!(!shown.contains("battery"), "{shown}");
}

/// A registry goes down and another over the same files goes on.
#[tokio::test]
async fn sess_017_sess_018_a_session_on_disk_goes_on_in_another_process() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::default();
    let body = {
        let ledger = ledger.clone();
        move |cx: SessionContext, name: String| {
            let ledger = ledger.clone();
            async move {
                let seen = ledger.clone();
                let greeting: String = cx
                    .step("greet", move || async move {
                        seen.add("greet");
                        Ok::<_, StepFailure>(format!("hello {name}"))
                    })
                    .await?;
                let ok = ask_confirm(cx.clone(), ()).await?;
                cx.step("end", move || async move {
                    ledger.add("end");
                    Ok::<_, StepFailure>(format!("{greeting} {ok}"))
                })
                .await
            }
        }
    };
    let first = file_process(&folder).await;
    let run =
        first.register("greets", body.clone()).unwrap().spawn("ann".to_owned()).await.unwrap();
    let (id, open) = (run.id(), question(&run).await);
    assert!(within(first.shutdown(SECOND * 60)).await.is_clean());
    drop((run, first));
    let second = file_process(&folder).await;
    let waiting = second.get(id).unwrap();
    assert_eq!(waiting.questions().unwrap()[0].id, open);
    within(waiting.answer(open, true)).await.unwrap();
    assert_eq!(waiting.state().unwrap(), SessionState::Suspended(SuspendCause::Answered));
    let _body = second.register("greets", body).unwrap();
    let output = within(taken_up(&second, id).await.typed::<String>()).await.unwrap();
    assert_eq!(output, "hello ann true");
    assert_eq!(ledger.all(), ["greet", "end"]);
}

/// Writes over a stored session what another version would have written.
fn rewrite(store: &dyn Store, id: SessionId, from: &str, to: &str) {
    let stream = Stream::Session(id);
    let info = store.info(&stream).unwrap();
    let snapshot = store.snapshot(&stream).unwrap().unwrap();
    let text = String::from_utf8(snapshot.data.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    let data = text.replacen(from, to, 1);
    let snapshot = Snapshot { state: snapshot.state, data: data.as_bytes() };
    let write = Write::new(&stream, Fence::Claim { epoch: info.epoch });
    let write = write.snapshot(snapshot).label(&info.label).release();
    store.append(&[write]).unwrap().wait().unwrap();
}

#[tokio::test(start_paused = true)]
async fn sess_018_core_010_what_a_later_version_wrote_is_refused_and_not_touched() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let run = first.sessions.register("ask", ask_confirm).unwrap().spawn(()).await.unwrap();
    let (id, open) = (run.id(), question(&run).await);
    first.sessions.shutdown(SECOND).await;
    rewrite(&*disk.open(), id, "\"format\":1", "\"format\":99");

    let second = Process::start(&disk).await;
    let left = |process: &Process| {
        let snapshot = process.store.snapshot(&Stream::Session(id)).unwrap().unwrap();
        let info = process.store.info(&Stream::Session(id)).unwrap();
        (snapshot.data.to_vec(), info.epoch, info.last_seq, info.last_entry)
    };
    let before = left(&second);
    let body = second.sessions.register("ask", ask_confirm).unwrap();
    let text = "it is of format 99, and this version knows formats up to 1";
    let error = second.sessions.get(id).unwrap_err();
    assert!(matches!(&error, GetError::Unreadable { session, .. } if *session == id), "{error}");
    assert!(error.to_string().contains(text), "{error}");
    let handle = SessionHandle::new(Arc::clone(second.sessions.shared()), id);
    assert!(matches!(handle.state(), Err(GetError::Unreadable { .. })));
    let errors = [
        handle.resume().await.unwrap_err().to_string(),
        handle.retry().await.unwrap_err().to_string(),
        handle.answer(open, true).await.unwrap_err().to_string(),
        handle.cancel("").await.unwrap_err().to_string(),
        within(handle.ended()).await.unwrap_err().to_string(),
        body.verify(id).unwrap_err().to_string(),
    ];
    for error in errors {
        assert!(error.contains(text), "{error}");
    }
    tokio::time::sleep(HOUR).await;
    assert_eq!(left(&second), before);
    assert_eq!(second.sessions.list_stored(0, 9).unwrap(), [id], "it is there all the same");
}

#[tokio::test(start_paused = true)]
async fn sess_018_core_010_a_journal_of_a_later_version_or_of_something_else_is_refused() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let first = Process::start(&disk).await;
    let model = first.sessions.register("ask", ask_confirm).unwrap().plan(()).await.unwrap();
    let start = journal(&*first.store, model.id()).remove(0);
    let snapshot = first.store.snapshot(&Stream::Session(model.id())).unwrap().unwrap();
    let planned = first.store.events(&Stream::Session(model.id()), 0, 9).unwrap();
    let planned = planned[0].event().unwrap();
    let make = |entries: &[&str]| {
        let id = SessionId::generate();
        let stream = Stream::Session(id);
        let event = Event::new(1, planned.at, stream.clone(), planned.kind.clone());
        let entries: Vec<_> = entries.iter().map(|entry| entry.as_bytes()).collect();
        let write = Write::new(&stream, Fence::New)
            .events(std::slice::from_ref(&event))
            .journal(&entries)
            .label("ask")
            .snapshot(Snapshot { state: snapshot.state, data: &snapshot.data });
        store.append(&[write]).unwrap().wait().unwrap();
        id
    };
    let newer = start.replacen("\"format\":1", "\"format\":7", 1);
    assert_ne!(newer, start);
    let odd = r#"{"jumped":{"over":"the moon"}}"#;
    let cases = [
        (make(&[&newer]), "its journal is of format 7, and this version knows formats up to 1"),
        (make(&[&start, odd]), "entry 2"),
        (make(&[odd]), "entry 1"),
        (make(&[]), "its journal does not begin with its start"),
    ];
    for (id, text) in cases {
        let handle = first.sessions.get(id).unwrap();
        let error = handle.resume().await.unwrap_err();
        assert!(matches!(error, ResumeError::Unreadable { session, .. } if session == id));
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.is_retryable());
        let info = first.store.info(&Stream::Session(id)).unwrap();
        assert_eq!((info.epoch, info.owner, info.last_seq), (0, None, 1), "{text}");
        assert_eq!(handle.state().unwrap(), SessionState::Planned);
    }
    model.resume().await.unwrap();
    question(&model).await;
}

/// A step, a question, a step: whichever of its appends fails, nothing of it is shown, the caller is
/// told, and another process goes on from what was acknowledged.
#[tokio::test(start_paused = true)]
async fn sess_022_a_failed_append_shows_nothing_and_gives_the_session_up() {
    let mut failed = 0;
    for nth in 1..9 {
        for kind in 0..4 {
            failed += usize::from(one_failure(nth, kind).await);
        }
    }
    assert!(failed >= 4 * 5, "{failed} of them hit something");
}

async fn one_failure(nth: u64, kind: u32) -> bool {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let body = {
        let ledger = ledger.clone();
        move |cx: SessionContext, _: ()| {
            let ledger = ledger.clone();
            async move {
                for name in ["one", "two"] {
                    let ledger = ledger.clone();
                    cx.step(name, move || async move {
                        ledger.add(name);
                        Ok::<_, StepFailure>(())
                    })
                    .await?;
                    cx.ask::<bool>(Ask::confirm(name, "?")).await?;
                }
                Ok::<_, BodyError>(true)
            }
        }
    };
    let Process { store, sessions } = Process::start(&disk).await;
    let registered = sessions.register("steps", body.clone()).unwrap();
    let spawn = registered.spawn(());
    let stream = Stream::Session(spawn.id());
    let failure = match kind {
        0 => Failure::Io,
        1 => Failure::Poisoned,
        2 => Failure::Busy,
        _ if nth == 1 => return false,
        _ => Failure::LostOwnership(stream.clone()),
    };
    store.set_faults(Faults::none().fail(nth, failure));
    let is_loss = |error: &AppendError| match kind {
        0 => matches!(error, AppendError::Io { .. } | AppendError::Poisoned { .. }),
        1 => matches!(error, AppendError::Poisoned { .. }),
        2 => matches!(error, AppendError::Busy),
        _ => matches!(error, AppendError::LostOwnership { .. }),
    };
    let run = match spawn.await {
        Ok(run) => run,
        Err(SpawnError::Store(error)) => {
            assert_eq!(nth, 1);
            assert!(is_loss(&error), "{error}");
            assert!(sessions.is_empty() && store.info(&stream).is_err(), "nothing was made");
            return true;
        }
        Err(error) => panic!("{error}"),
    };
    assert_ne!(nth, 1);
    let id = run.id();
    let mut observer = run.observe(Since::Beginning).unwrap();
    // Goes on for as long as it can.
    let mut was_refused = false;
    loop {
        tokio::time::sleep(SECOND).await;
        let Ok(open) = run.questions() else { break };
        let Some(open) = open.first() else { break };
        match run.answer(open.id, true).await {
            Ok(_) => {}
            Err(AnswerError::Store(error)) => {
                assert!(is_loss(&error), "{error}");
                was_refused = true;
                break;
            }
            Err(error) => panic!("{nth} {kind}: {error}"),
        }
    }
    tokio::time::sleep(SECOND).await;
    if run.state().unwrap().name() == StateName::Done {
        assert!(!was_refused);
        return false;
    }
    // It was given up: not here any more, and shown is what the store has.
    assert!(sessions.is_empty(), "{nth} {kind}");
    assert_eq!(sessions.shared().ended().running, 0);
    let acknowledged = stored_events(&*store, id);
    let told = rest(&mut observer).await;
    assert_eq!(told.last(), Some(&Observed::Left), "{nth} {kind}: {told:?}");
    for (told, event) in told.iter().zip(&acknowledged) {
        if let Observed::Event(told) = told {
            assert_eq!((told.seq, &told.kind), (event.seq, &event.kind));
        }
    }
    assert!(told.len() <= acknowledged.len() + 1, "{nth} {kind}: {told:?}");
    if kind == 3 {
        // Whoever has it now is none of ours, and wrote nothing that one could go on from.
        return true;
    }
    let waits = tokio::spawn(run.clone());
    // Another process goes on; what was acknowledged is not done again, and who waits here hears.
    store.crash();
    let second = Process::start(&disk).await;
    let before = ledger.all();
    let recorded: Vec<_> = ["one", "two"]
        .into_iter()
        .filter(|name| {
            let entries = journal(&*second.store, id);
            entries.iter().any(|entry| {
                entry.contains("\"done\"") && entry.contains("step") && entry.contains(name)
            })
        })
        .collect();
    let _body = second.sessions.register("steps", body).unwrap();
    let handle = taken_up(&second.sessions, id).await;
    while let Some(open) = within(handle.next_question()).await.unwrap() {
        handle.answer(open.id, true).await.unwrap();
        until(|| handle.questions().unwrap().iter().all(|question| question.id > open.id)).await;
    }
    assert!(within(handle.typed::<bool>()).await.unwrap());
    for name in recorded {
        let times = before.iter().filter(|step| *step == name).count();
        assert_eq!(ledger.count(name), times, "{nth} {kind}: `{name}` was recorded");
    }
    let waited = within(waits).await.unwrap();
    assert!(!matches!(waited, Err(RunError::Failed(_) | RunError::Cancelled(_))), "{waited:?}");
    true
}

#[tokio::test(start_paused = true)]
async fn sess_022_who_waits_for_a_session_that_was_given_up_hears_of_its_end_elsewhere() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let run = sessions.register("ask", ask_confirm).unwrap().spawn(()).await.unwrap();
    let open = question(&run).await;
    let waits = tokio::spawn(run.clone());
    tokio::task::yield_now().await;
    store.set_faults(Faults::none().fail(1, Failure::Io));
    let error = run.answer(open, true).await.unwrap_err();
    assert!(matches!(error, AnswerError::Store(AppendError::Io { .. })), "{error}");
    let other = Process::start(&disk).await;
    let _body = other.sessions.register("ask", ask_confirm).unwrap();
    let handle = taken_up(&other.sessions, run.id()).await;
    handle.answer(question(&handle).await, true).await.unwrap();
    assert!(within(waits).await.unwrap().unwrap());
}

/// In memory an answer is taken within its call, and a session is there within its own.
#[tokio::test(start_paused = true)]
async fn sess_022_in_memory_nothing_yields() {
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let run = {
        let mut spawn = std::pin::pin!(body.spawn(()));
        let Poll::Ready(run) = spawn.as_mut().poll(&mut cx) else { panic!("it yields") };
        run.unwrap()
    };
    let open = question(&run).await;
    {
        let mut answer = std::pin::pin!(run.answer(open, true));
        let Poll::Ready(answered) = answer.as_mut().poll(&mut cx) else { panic!("it yields") };
        assert_eq!(answered.unwrap(), []);
    }
    assert_eq!(run.state().unwrap(), SessionState::Running);
    assert!(within(run.clone()).await.unwrap());
    let other = body.spawn(()).await.unwrap();
    let mut cancel = std::pin::pin!(other.cancel("enough"));
    let Poll::Ready(cancelled) = cancel.as_mut().poll(&mut cx) else { panic!("it yields") };
    cancelled.unwrap();
    assert!(matches!(within(other.clone()).await, Err(RunError::Cancelled(_))));
}

#[tokio::test(start_paused = true)]
async fn sess_001_sess_022_a_spawn_is_there_when_it_is_acknowledged_and_not_before() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let ledger = Ledger::default();
    let seen = ledger.clone();
    let body = sessions
        .register("seen", move |cx: SessionContext, _: ()| {
            seen.add("runs");
            ask_confirm(cx, ())
        })
        .unwrap();
    store.set_faults(Faults::none().delay_all());
    let spawn = body.spawn(());
    let id = spawn.id();
    let spawning = tokio::spawn(spawn);
    until(|| store.waiting() == 1).await;
    tokio::time::sleep(HOUR).await;
    assert!(!spawning.is_finished());
    assert!(sessions.is_empty() && ledger.all().is_empty(), "its body does not run yet");
    assert!(matches!(sessions.get(id), Err(GetError::NotFound(_))));
    let filter = Filter::of(StreamKind::Session).limit(9);
    assert!(store.list(&filter).unwrap().is_empty());
    store.set_faults(Faults::none());
    store.release_all();
    let run = within(spawning).await.unwrap().unwrap();
    run.answer(question(&run).await, true).await.unwrap();
    assert!(within(run).await.unwrap());
    assert_eq!(ledger.all(), ["runs"]);
}

/// What is too large to be kept is refused where it comes from: nobody waits for it for ever.
#[tokio::test]
async fn sess_001_sess_022_what_is_too_large_is_an_error_of_its_own() {
    let folder = TempDir::new().unwrap();
    let sessions = file_process(&folder).await;
    let body = sessions
        .register("large", async |cx: SessionContext, how: String| {
            // Some bytes take six as they are written down.
            let large = match &*how {
                "failure" => "\u{1}".repeat(3 << 20),
                _ => "x".repeat(17 << 20),
            };
            match &*how {
                "result" => {
                    cx.step("s", || async move { Ok::<_, StepFailure>(large) }).await?;
                }
                "failure" => {
                    cx.step("s", || async move { Err::<(), _>(StepFailure::new(large)) }).await?;
                }
                "prompt" => drop(cx.ask::<bool>(Ask::confirm("q", large)).await?),
                "options" => drop(cx.ask::<String>(Ask::choice("q", "?", [large])).await?),
                "progress" => {
                    cx.emit(&large)?;
                }
                "output" => return Ok(large),
                "error" => return Err(large.into()),
                "panic" => panic!("{large}"),
                "own cause" => {
                    let cause = CancelInfo::new(CancelCode::Internal, large, cx.now());
                    return Err(BodyError::Cancelled(cause).into());
                }
                _ => return Ok(cx.ask::<String>(Ask::text("q", "?")).await?),
            }
            Ok::<_, BoxError>(String::new())
        })
        .unwrap();
    let of = async |how: &str| failure(&body.spawn(how.to_owned()).await.unwrap()).await;
    let limits = [
        ("result", "step `s` failed: its result has 17825794 bytes, and at most 16711680"),
        ("prompt", "ask `q` failed: its question has 17825792 bytes, and at most 2097152"),
        ("options", "ask `q` failed: its question has 17825793 bytes, and at most 2097152"),
        ("progress", "emit has a value that does not serialise: it has 17825794 bytes, and at"),
        ("output", "its output has 17825794 bytes, and at most 7340032 can be kept"),
    ];
    for (how, words) in limits {
        let text = of(how).await;
        assert!(text.starts_with(words), "{how}: {text:.200}");
    }
    for how in ["failure", "error", "panic"] {
        let text = of(how).await;
        assert!(text.ends_with("...") && text.len() < (2 << 20) + 99, "{how}: {}", text.len());
    }
    let run = body.spawn("own cause".to_owned()).await.unwrap();
    let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
    assert!(cause.text.len() < (2 << 20) + 99);

    // Of callers.
    let error = body.spawn("x".repeat(17 << 20)).await.unwrap_err();
    assert!(matches!(error, SpawnError::Store(AppendError::TooLarge { .. })), "{error}");
    let run = body.spawn("asks".to_owned()).await.unwrap();
    let open = question(&run).await;
    let large = || "x".repeat(8 << 20);
    let answers = [
        Answers::new().answer(open, large()),
        Answers::new().answer(open, "yes").by(large()),
        Answers::new().answer(open, "yes").reason(large()),
    ];
    for answers in answers {
        let error = run.answer_all(answers).await.unwrap_err();
        let told = matches!(error, AnswerError::TooLarge { question, .. } if question == open);
        assert!(told, "{error}");
    }
    let largest = "\"".repeat((7 << 20) / 2 - 2);
    within(run.answer(open, &largest)).await.unwrap();
    assert!(within(run).await.unwrap() == largest, "what fits is kept whole");
    let run = body.spawn("asks".to_owned()).await.unwrap();
    question(&run).await;
    within(run.cancel("\u{1}".repeat(3 << 20))).await.unwrap();
    let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
    assert!(cause.text.ends_with("\u{1}...") && cause.text.len() < (2 << 20) + 99);
}
