//! Sessions that this process gives up while it lives: what the store counts as its own is let go of.

use holdpoint_core::CancelCode;
use holdpoint_core::session::{StateName, SuspendCause};
use holdpoint_core::store::AppendError;
use holdpoint_testkit::store::{Failure, Faults, VirtualDisk};

use super::*;
use crate::{AnswerError, CancelError, ResumeError, RunError, StepFailure};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Two questions, a step after each, and a tale.
async fn steps(cx: SessionContext, _: ()) -> Result<u32, BodyError> {
    let mut sum = 0;
    for name in ["one", "two"] {
        cx.ask::<bool>(Ask::confirm(name, "?")).await?;
        cx.emit(name)?;
        sum += cx.step(name, || async { Ok::<_, StepFailure>(1) }).await?;
    }
    Ok(sum)
}

fn is_owned(store: &FaultyStore, id: SessionId) -> bool {
    store.info(&Stream::Session(id)).unwrap().owner.is_some()
}

/// Fails the next so many appends.
fn busy(count: u64) -> Faults {
    (1..=count).fold(Faults::none(), |faults, nth| faults.fail(nth, Failure::Busy))
}

/// Answers until it has ended; how often each name was told of as progress.
async fn to_the_end(handle: &SessionHandle) -> u32 {
    let ends = tokio::spawn(handle.typed::<u32>());
    while let Some(open) = within(handle.next_question()).await.unwrap() {
        within(handle.answer(open.id, true)).await.unwrap();
        until(|| handle.questions().unwrap().iter().all(|question| question.id > open.id)).await;
    }
    within(ends).await.unwrap().unwrap()
}

fn progress(store: &FaultyStore, id: SessionId) -> usize {
    let events = store.events(&Stream::Session(id), 0, 99).unwrap();
    let events = events.iter().map(|stored| stored.event().unwrap().kind.name().to_owned());
    events.filter(|name| name == "session_progress").count()
}

/// Whichever append the busy store refuses, and however often it does.
#[tokio::test(start_paused = true)]
async fn sess_022_what_a_busy_store_had_given_up_is_let_go_of_and_goes_on() {
    let mut given_up = 0;
    for nth in 1..8 {
        for more in [0, 1, 5] {
            for is_elsewhere in [false, true] {
                given_up += u32::from(one_busy(nth, more, is_elsewhere).await);
            }
        }
    }
    assert!(given_up >= 5 * 6, "{given_up} were given up");
}

async fn one_busy(nth: u64, more: u64, is_elsewhere: bool) -> bool {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let other = Process::start(&disk).await;
    let body = sessions.register("steps", steps).unwrap();
    let _body = other.sessions.register("steps", steps).unwrap();
    let run = body.spawn(()).await.unwrap();
    question(&run).await;
    let faults = (nth..=nth + more).fold(Faults::none(), |all, nth| all.fail(nth, Failure::Busy));
    store.set_faults(faults);
    while let Ok(Some(open)) = within(run.next_question()).await {
        match run.answer(open.id, true).await {
            Ok(_) => {}
            Err(AnswerError::Store(AppendError::Busy)) => break,
            Err(error) => panic!("{nth} {more}: {error}"),
        }
        tokio::time::sleep(SECOND).await;
        if sessions.is_empty() {
            break;
        }
    }
    until(|| !is_owned(&store, run.id())).await;
    let state = run.state().unwrap();
    if state.is_terminal() {
        return false;
    }
    let waits = within(run.ended());
    if state.name() == StateName::Paused {
        assert_eq!(run.questions().unwrap().len(), 1);
    } else {
        assert_eq!(state, SessionState::Suspended(SuspendCause::Interrupted), "{nth} {more}");
        let told = waits.await.unwrap_err();
        assert!(matches!(told, RunError::Suspended(_)), "who waits is told: {told}");
    }
    assert!(sessions.shared().given_up().is_empty());
    let at = if is_elsewhere { &other } else { &Process { store, sessions } };
    let handle = at.sessions.get(run.id()).unwrap();
    within(handle.resume()).await.unwrap();
    assert_eq!(to_the_end(&handle).await, 2, "{nth} {more}");
    assert_eq!(progress(&at.store, run.id()), 2, "{nth} {more}: each is told once");
    true
}

/// What was written before and is acknowledged late counts.
#[tokio::test(start_paused = true)]
async fn sess_022_what_is_let_go_of_is_what_was_acknowledged_in_the_end() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let body = async |cx: SessionContext, _: ()| {
        let asks = ["one", "two", "three"].map(|name| Ask::confirm(name, "?"));
        cx.ask_all::<bool>(asks).await
    };
    let run = sessions.register("three", body).unwrap().spawn(()).await.unwrap();
    for name in ["one", "two", "three"] {
        asked(&run, name).await;
    }
    let ids: Vec<_> = run.questions().unwrap().iter().map(|question| question.id).collect();
    store.set_faults(Faults::none().delay(1).fail(2, Failure::Busy));
    let [first, second] = [ids[0], ids[1]].map(|id| {
        let run = run.handle();
        tokio::spawn(async move { run.answer(id, false).await })
    });
    until(|| store.waiting() == 2).await;
    tokio::time::sleep(HOUR).await;
    assert!(is_owned(&store, run.id()), "nothing is settled");
    store.release_all();
    assert_eq!(within(first).await.unwrap().unwrap().len(), 2);
    let error = within(second).await.unwrap().unwrap_err();
    assert!(matches!(error, AnswerError::Store(AppendError::Busy)), "{error}");
    until(|| !is_owned(&store, run.id())).await;
    let open: Vec<_> = run.questions().unwrap().iter().map(|question| question.id).collect();
    assert_eq!(open, ids[1..], "the first was answered");
    // Nobody runs it: it is decided here.
    assert_eq!(within(run.answer(ids[2], true)).await.unwrap(), [ids[1]]);
    within(run.resume()).await.unwrap();
    within(run.answer(ids[1], true)).await.unwrap();
    assert_eq!(within(run).await.unwrap(), [false, true, true]);
}

/// It is tried a few times, ever less often, and then by whoever wants the session.
#[tokio::test(start_paused = true)]
async fn sess_022_who_wants_what_was_given_up_has_it_let_go_of() {
    for who in 0..6 {
        let disk = VirtualDisk::new();
        let Process { store, sessions } = Process::start(&disk).await;
        let other = Process::start(&disk).await;
        let run = sessions.register("steps", steps).unwrap().spawn(()).await.unwrap();
        let _body = other.sessions.register("steps", steps).unwrap();
        let open = question(&run).await;
        store.set_faults(busy(1000));
        let error = run.answer(open, true).await.unwrap_err();
        assert!(matches!(error, AnswerError::Store(AppendError::Busy)), "{error}");
        // The tries make an end.
        tokio::time::sleep(DAY).await;
        let remote = other.sessions.get(run.id()).unwrap();
        // Nobody gets it while the store is busy, and all are told why.
        let error = within(run.resume()).await.unwrap_err();
        assert!(matches!(error, ResumeError::Store(AppendError::Busy)), "{error}");
        let error = within(run.answer(open, true)).await.unwrap_err();
        assert!(matches!(error, AnswerError::Store(AppendError::Busy)), "{error}");
        let error = within(run.cancel("enough")).await.unwrap_err();
        assert!(matches!(error, CancelError::Store(AppendError::Busy)), "{error}");
        let error = within(remote.answer(open, true)).await.unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        store.set_faults(Faults::none());
        tokio::time::sleep(DAY).await;
        assert!(is_owned(&store, run.id()), "nobody tries any more");
        match who {
            0 => within(run.resume()).await.unwrap(),
            1 => drop(within(run.answer(open, true)).await.unwrap()),
            2 => within(run.cancel_as(CancelCode::User, "enough")).await.unwrap(),
            3 => drop(within(remote.answer(open, true)).await.unwrap()),
            4 => within(remote.cancel("enough")).await.unwrap(),
            _ => drop(within(sessions.recover()).await.unwrap()),
        }
        assert!(sessions.shared().given_up().is_empty());
        match who {
            0 | 5 => assert_eq!(to_the_end(&run).await, 2),
            1 | 3 => {
                assert_eq!(run.state().unwrap(), SessionState::Suspended(SuspendCause::Answered));
                within(run.resume()).await.unwrap();
                assert_eq!(to_the_end(&run).await, 2);
            }
            _ => assert_eq!(run.state().unwrap().name(), StateName::Cancelled),
        }
    }
}

/// Nobody gets it while its body may still do something.
#[tokio::test(start_paused = true)]
async fn sess_005_sess_022_what_was_given_up_is_let_go_of_when_its_body_is_gone() {
    /// Says when it is dropped.
    struct Bell(Ledger);

    impl Drop for Bell {
        fn drop(&mut self) {
            self.0.add("gone");
        }
    }

    let disk = VirtualDisk::new();
    let Process { store: _store, sessions } = Process::start(&disk).await;
    let ledger = Ledger::default();
    let seen = ledger.clone();
    let body = move |cx: SessionContext, _: ()| {
        let ledger = seen.clone();
        async move {
            ledger.add("begins");
            let _bell = Bell(ledger);
            ask_confirm(cx, ()).await
        }
    };
    let run = sessions.register("bell", body).unwrap().spawn(()).await.unwrap();
    let open = question(&run).await;
    // Lost, and its task has had no turn yet.
    let session = sessions.shared().get(run.id()).unwrap();
    session.lock().link.as_deref_mut().unwrap().lose(&AppendError::Busy).clear();
    let wanted = run.handle();
    let resumed = tokio::spawn(async move { wanted.resume().await });
    let wanted = run.handle();
    let answered = tokio::spawn(async move { wanted.answer(open, true).await });
    tokio::time::sleep(HOUR).await;
    assert!(!resumed.is_finished() && !answered.is_finished());
    assert_eq!(ledger.all(), ["begins"]);
    let task = session.lock().task.clone();
    task.unwrap().wake();
    within(resumed).await.unwrap().unwrap();
    assert_eq!(within(answered).await.unwrap().unwrap(), []);
    assert!(within(run).await.unwrap());
    assert_eq!(ledger.all(), ["begins", "gone", "begins", "gone"]);
}

/// A store on a real disk takes what the release writes: nothing, and then the release.
#[tokio::test]
async fn sess_022_a_file_store_takes_the_release_of_what_was_given_up() {
    let folder = TempDir::new().unwrap();
    let store = file_store(&folder);
    let sessions = Sessions::builder().store(Arc::clone(&store)).open().await.unwrap();
    let run = sessions.register("steps", steps).unwrap().spawn(()).await.unwrap();
    let open = question(&run).await;
    let shared = sessions.shared();
    // As if it had been: its body goes on, and hears that it owns nothing.
    shared.given_up().insert(run.id(), 1);
    within(shared.let_go_of_given_up(run.id())).await.unwrap();
    assert!(shared.given_up().is_empty());
    assert!(store.info(&Stream::Session(run.id())).unwrap().owner.is_none());
    let error = within(run.answer(open, true)).await.unwrap_err();
    assert!(matches!(error, AnswerError::Store(AppendError::LostOwnership { .. })), "{error}");
    within(async {
        while let Err(error) = run.resume().await {
            assert!(matches!(error, ResumeError::Owned { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(to_the_end(&run).await, 2);
}
