//! Observers.

use holdpoint_core::event::EventKind;
use holdpoint_core::session::{StateName, SuspendCause};
use holdpoint_testkit::store::{Faults, VirtualDisk};

use super::counting::Counting;
use super::*;
use crate::{GetError, History, RunError};

/// Tells so often of its progress before and after a question.
async fn tells(cx: SessionContext, (before, after): (u32, u32)) -> Result<(), BodyError> {
    for number in 0..before {
        cx.emit(&number)?;
    }
    cx.ask::<bool>(Ask::confirm("ok", "?")).await?;
    for number in 0..after {
        cx.emit(&number)?;
    }
    Ok(())
}

/// The numbers of events, where nothing else was told.
fn numbers(told: &[Observed]) -> Vec<u64> {
    told.iter()
        .map(|told| match told {
            Observed::Event(event) => event.seq,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn sess_010_bd_17_an_observer_begins_where_it_says_and_misses_nothing() {
    for sessions in both().await {
        let body = sessions.register("tells", tells).unwrap();
        let run = body.spawn((3, 5)).await.unwrap();
        let open = question(&run).await;
        let seen = run.snapshot().unwrap().last_seq;
        assert_eq!(seen, 7, "planned, started, 3 of progress, paused, question");
        let mut all = run.observe(Since::Beginning).unwrap();
        let mut middle = run.observe(Since::After(4)).unwrap();
        let mut now = run.observe(Since::Now).unwrap();
        let mut after_snapshot = run.observe(Since::After(seen)).unwrap();
        run.answer(open, true).await.unwrap();
        within(run.clone()).await.unwrap();
        let last = run.snapshot().unwrap().last_seq;
        assert_eq!(last, seen + 2 + 5 + 1);
        assert_eq!(numbers(&rest(&mut all).await), (1..=last).collect::<Vec<_>>());
        assert_eq!(numbers(&rest(&mut middle).await), (5..=last).collect::<Vec<_>>());
        assert_eq!(numbers(&rest(&mut now).await), (seen + 1..=last).collect::<Vec<_>>());
        assert_eq!(
            numbers(&rest(&mut after_snapshot).await),
            (seen + 1..=last).collect::<Vec<_>>()
        );
        // After the end: over at once, and again.
        let mut late = run.observe(Since::Now).unwrap();
        assert_eq!(within(late.next()).await, None);
        assert_eq!(within(late.next()).await, None);
        assert_eq!(within(all.next()).await, None);
        let mut late = run.observe(Since::After(last - 1)).unwrap();
        assert_eq!(numbers(&rest(&mut late).await), [last]);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_010_a_bounded_history_begins_with_a_gap_and_ends_with_the_end() {
    for (history, keeps) in [(History::None, 1), (History::Last(4), 4), (History::All, 109)] {
        let sessions = Sessions::builder().history(history).build();
        let run = sessions.register("tells", tells).unwrap().spawn((50, 50)).await.unwrap();
        run.answer(question(&run).await, true).await.unwrap();
        within(run.clone()).await.unwrap();
        let last = run.snapshot().unwrap().last_seq;
        assert_eq!(last, 2 + 50 + 4 + 50 + 1);
        let told = rest(&mut run.observe(Since::Beginning).unwrap()).await;
        let events = if history == History::All {
            &told[..]
        } else {
            assert_eq!(told[0], Observed::Gap { from: 1, to: last - keeps });
            &told[1..]
        };
        let first = last.saturating_sub(keeps) + 1;
        assert_eq!(numbers(events), (first..=last).collect::<Vec<_>>(), "{history:?}");
        let Some(Observed::Event(end)) = events.last() else { panic!() };
        assert!(end.kind.ends_session());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_010_ev_1_a_slow_observer_is_told_of_the_gap_and_hears_of_the_end() {
    let sessions = Sessions::builder().history(History::Last(4)).build();
    let body = sessions.register("tells", tells).unwrap();
    let run = body.spawn((0, 100_000)).await.unwrap();
    let open = question(&run).await;
    let mut slow = run.observe(Since::Beginning).unwrap();
    let mut reads = run.observe(Since::Now).unwrap();
    let reader = tokio::spawn(async move { rest(&mut reads).await });
    run.answer(open, true).await.unwrap();
    within(run.clone()).await.unwrap();
    let last = run.snapshot().unwrap().last_seq;
    let told = rest(&mut slow).await;
    assert_eq!(told[0], Observed::Gap { from: 1, to: last - 256 });
    assert_eq!(numbers(&told[1..]), (last - 255..=last).collect::<Vec<_>>());
    // One that reads meets gaps as well, and whatever it is told of is rising and whole.
    let mut next = 5;
    for told in within(reader).await.unwrap() {
        match told {
            Observed::Event(event) => {
                assert_eq!(event.seq, next);
                next += 1;
            }
            Observed::Gap { from, to } => {
                assert_eq!(from, next);
                next = to + 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, last + 1);
}

#[tokio::test(start_paused = true)]
async fn sess_010_with_a_store_what_left_memory_is_read_from_there() {
    let disk = VirtualDisk::new();
    let builder = Sessions::builder().history(History::Last(2));
    let Process { sessions, .. } = Process::start_with(&disk, builder).await;
    let run = sessions.register("tells", tells).unwrap().spawn((100, 100)).await.unwrap();
    run.answer(question(&run).await, true).await.unwrap();
    within(run.clone()).await.unwrap();
    let last = run.snapshot().unwrap().last_seq;
    let told = rest(&mut run.observe(Since::Beginning).unwrap()).await;
    assert_eq!(numbers(&told), (1..=last).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn sess_010_sess_012_bd_10_an_observer_pins_no_session_and_reads_on() {
    for sessions in both().await {
        let body = sessions.register("tells", tells).unwrap();
        let run = body.spawn((1, 1)).await.unwrap();
        let id = run.id();
        let open = question(&run).await;
        let mut observers: Vec<_> =
            (0..10).map(|_| run.observe(Since::Beginning).unwrap()).collect();
        run.answer(open, true).await.unwrap();
        within(run.clone()).await.unwrap();
        drop(run);
        assert_eq!(sessions.collect(Duration::ZERO), 1);
        assert!(sessions.is_empty());
        for observer in &mut observers {
            let told = numbers(&rest(observer).await);
            assert_eq!(told, (1..=9).collect::<Vec<_>>());
        }
        match sessions.get(id) {
            // With a store the record stays.
            Ok(handle) => assert_eq!(handle.state().unwrap().name(), StateName::Done),
            Err(error) => assert!(matches!(error, GetError::NotFound(_)), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sess_010_bd_18_nothing_yet_is_told_apart_from_the_end() {
    for sessions in both().await {
        let run = sessions.register("tells", tells).unwrap().spawn((0, 0)).await.unwrap();
        let open = question(&run).await;
        let mut observer = run.observe(Since::Now).unwrap();
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert_eq!(observer.poll_next(&mut cx), Poll::Pending);
        run.answer(open, true).await.unwrap();
        let answered = observer.poll_next(&mut cx);
        let Poll::Ready(Some(Observed::Event(event))) = answered else { panic!("{answered:?}") };
        assert_eq!(event.kind.name(), "session_answered");
        within(run.clone()).await.unwrap();
        while let Poll::Ready(Some(_)) = observer.poll_next(&mut cx) {}
        assert_eq!(observer.poll_next(&mut cx), Poll::Ready(None));
    }
}

#[tokio::test(start_paused = true)]
async fn sess_010_an_observer_of_a_session_that_leaves_is_told_so() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let body = first.sessions.register("tells", tells).unwrap();
    let run = body.spawn((1, 1)).await.unwrap();
    question(&run).await;
    let mut observer = run.observe(Since::Now).unwrap();
    first.sessions.shutdown(SECOND).await;
    assert_eq!(rest(&mut observer).await, [Observed::Left]);
    let id = run.id();
    drop((run, body, first));
    // The next one is in the store: it goes on from there, and follows whoever takes the session.
    let second = Process::start(&disk).await;
    let mut observer = second.sessions.get(id).unwrap().observe(Since::After(2)).unwrap();
    let third = Process::start(&disk).await;
    let _body = third.sessions.register("tells", tells).unwrap();
    let handle = taken_up(&third.sessions, id).await;
    handle.answer(question(&handle).await, true).await.unwrap();
    within(handle.ended()).await.unwrap();
    let last = handle.snapshot().unwrap().last_seq;
    assert_eq!(numbers(&rest(&mut observer).await), (3..=last).collect::<Vec<_>>());
}

/// Two processes over one store on disk: what one does, the other sees as it happens.
#[tokio::test]
async fn sess_010_a_session_of_another_process_is_observed_to_its_end() {
    let folder = TempDir::new().unwrap();
    let (owner, other) = (file_process(&folder).await, file_process(&folder).await);
    let run = owner.register("tells", tells).unwrap().spawn((3, 300)).await.unwrap();
    let open = question(&run).await;
    let seen = run.snapshot().unwrap().last_seq;
    let handle = other.get(run.id()).unwrap();
    assert!(!handle.is_here());
    let mut all = handle.observe(Since::Beginning).unwrap();
    let mut now = handle.observe(Since::Now).unwrap();
    let mut before = Vec::new();
    for _ in 0..seen {
        before.push(within(all.next()).await.unwrap());
    }
    assert_eq!(numbers(&before), (1..=seen).collect::<Vec<_>>());
    let reading = tokio::spawn(async move { (rest(&mut all).await, rest(&mut now).await) });
    run.answer(open, true).await.unwrap();
    within(run.clone()).await.unwrap();
    let last = run.snapshot().unwrap().last_seq;
    let (all, now) = within(reading).await.unwrap();
    assert_eq!(numbers(&all), (seen + 1..=last).collect::<Vec<_>>());
    assert_eq!(numbers(&now), (seen + 1..=last).collect::<Vec<_>>());
    assert!(within(handle.ended()).await.unwrap().is_done());
}

/// What is decided and not acknowledged is seen by nobody.
#[tokio::test(start_paused = true)]
async fn sess_010_sess_022_observers_see_what_is_acknowledged() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let run = sessions.register("tells", tells).unwrap().spawn((0, 0)).await.unwrap();
    let open = question(&run).await;
    let mut observer = run.observe(Since::Now).unwrap();
    store.set_faults(Faults::none().delay_all());
    let answering = tokio::spawn({
        let handle = run.handle();
        async move { handle.answer(open, true).await }
    });
    until(|| store.waiting() > 0).await;
    tokio::time::sleep(HOUR).await;
    assert!(!answering.is_finished());
    let mut cx = std::task::Context::from_waker(Waker::noop());
    assert_eq!(observer.poll_next(&mut cx), Poll::Pending);
    assert_eq!(run.state().unwrap().name(), StateName::Paused);
    assert_eq!(run.questions().unwrap().len(), 1);
    store.set_faults(Faults::none());
    store.release_all();
    assert_eq!(within(answering).await.unwrap().unwrap(), []);
    within(run.clone()).await.unwrap();
    let told = rest(&mut observer).await;
    let kinds: Vec<_> = told
        .iter()
        .map(|told| match told {
            Observed::Event(event) => &event.kind,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(matches!(kinds[0], EventKind::SessionAnswered { .. }));
    assert!(matches!(kinds[2], EventKind::SessionDone { .. }));
}

/// Who waits for a session of another process looks at what is known of it with each commit of
/// anybody, and reads no more than that unless it has changed.
#[tokio::test(start_paused = true)]
async fn sess_010_sess_011_who_waits_for_a_session_elsewhere_reads_it_only_when_it_has_changed() {
    const OTHERS: usize = 50;
    let disk = VirtualDisk::new();
    let owner = Process::start(&disk).await;
    let body = owner.sessions.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).await.unwrap();
    let open = question(&run).await;
    let store = Arc::new(Counting::new(disk.open()));
    let sessions = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
    let remote = sessions.get(run.id()).unwrap();
    let waits = tokio::spawn(remote.typed::<bool>());
    let ends = tokio::spawn({
        let remote = remote.clone();
        async move { remote.ended().await }
    });
    let (told, events) = std::sync::mpsc::channel();
    let mut observer = remote.observe(Since::Beginning).unwrap();
    let observes = tokio::spawn(async move {
        while let Some(observed) = observer.next().await {
            told.send(observed).unwrap();
        }
    });
    tokio::time::sleep(SECOND).await;
    while events.try_recv().is_ok() {}
    let _first = store.take();
    // Others come and go, each with a few commits.
    for _ in 0..OTHERS {
        let other = body.spawn(()).await.unwrap();
        other.answer(question(&other).await, true).await.unwrap();
        within(other).await.unwrap();
        tokio::time::sleep(SECOND).await;
    }
    let (looks, reads) = store.take();
    assert!(looks >= 3 * OTHERS, "{looks}: each of the three hears of all of them");
    assert_eq!(reads, 0, "none of them is read");
    assert!(events.try_recv().is_err());
    // And they hear of what they wait for.
    within(remote.answer(open, false)).await.unwrap();
    assert!(!within(waits).await.unwrap().unwrap());
    assert!(matches!(within(ends).await.unwrap(), Ok(Outcome::Done(_))));
    within(observes).await.unwrap();
    assert!(matches!(events.try_recv(), Ok(Observed::Event(_))));
}

/// The owner dies without a word: the next who commits anything makes who waits look, and see it.
#[tokio::test(start_paused = true)]
async fn sess_011_se_7_who_waits_for_a_session_elsewhere_sees_that_its_owner_has_died() {
    let disk = VirtualDisk::new();
    let (owner, other) = (Process::start(&disk).await, Process::start(&disk).await);
    let body = owner
        .sessions
        .register("ask", async |cx: SessionContext, _: ()| cx.sleep(HOUR * 9999).await);
    let run = body.unwrap().spawn(()).await.unwrap();
    let remote = other.sessions.get(run.id()).unwrap();
    let waits = tokio::spawn(async move { remote.ended().await });
    tokio::time::sleep(SECOND).await;
    owner.store.crash();
    let another = other.sessions.register("another", ask_confirm).unwrap();
    let _run = another.spawn(()).await.unwrap();
    let told = within(waits).await.unwrap().unwrap_err();
    assert!(matches!(told, RunError::Suspended(Some(SuspendCause::Interrupted))), "{told}");
}
