//! Sessions that hung, ended twice, were lost or ran on.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};
use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::{QuestionId, SessionState, StateName, SuspendCause};
use holdpoint_core::store::{AppendError, Fence, Snapshot, Store, Write};
use holdpoint_core::{Backoff, CancelCode, SessionId};
use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::{Failure, Faults, VirtualDisk};
use tempfile::TempDir;

use super::super::cases;
use super::super::rules::*;
use super::many;
use crate::{
    AnswerError, Ask, BodyError, Child, Limits, Observed, Outcome, RunError, SessionContext,
    Sessions, Since, SpawnError, Step, StepFailure,
};

#[tokio::test(start_paused = true)]
async fn sess_004_bd_4_bd_6_an_unknown_or_old_id_changes_nothing() {
    for sessions in both().await {
        let body = sessions
            .register("asks", async |cx: SessionContext, _: ()| {
                let mut said = Vec::new();
                for _ in 0..3 {
                    said.push(cx.ask::<u32>(Ask::value("same", "?")).await?);
                }
                Ok::<_, BodyError>(said)
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let mut old = vec![QuestionId(0), QuestionId(1000)];
        for number in 0..3 {
            let open = question(&run).await;
            assert!(!old.contains(&open));
            for old in &old {
                let error = run.answer(*old, 99).await.unwrap_err();
                assert!(matches!(error, AnswerError::NotOpen { .. }), "{error}");
                assert_eq!(run.state().unwrap().name(), StateName::Paused);
            }
            run.answer(open, number).await.unwrap();
            old.push(open);
            if number < 2 {
                until(|| run.questions().unwrap().iter().any(|question| question.id > open)).await;
            }
        }
        assert_eq!(within(run).await.unwrap(), [0, 1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_007_bd_8_the_cause_reaches_a_running_body_and_the_outcome() {
    for sessions in both().await {
        let body = sessions
            .register("watches", async |cx: SessionContext, _: ()| {
                cx.step("watch", async || -> Result<(), StepFailure> {
                    Err(cx.cancel_requested().await?.into())
                })
                .await
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(run.state().unwrap(), SessionState::Running);
        run.cancel_as(CancelCode::Internal, "the disk is full").await.unwrap();
        let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
        assert_eq!((cause.code, &*cause.text), (CancelCode::Internal, "the disk is full"));
    }
}

/// Told when it is dropped.
struct Dropped(Ledger);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_007_bd_15_nothing_of_a_body_outlives_its_end() {
    for sessions in both().await {
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let body = sessions
            .register("asks", move |cx: SessionContext, _: ()| {
                let guard = Dropped(seen.clone());
                async move {
                    let _guard = guard;
                    ask_confirm(cx, ()).await
                }
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        question(&run).await;
        run.cancel("enough").await.unwrap();
        assert!(matches!(within(run.clone()).await, Err(RunError::Cancelled(_))));
        assert_eq!(ledger.all(), ["dropped"]);
        assert_eq!(sessions.shared().ended().running, 0);
        assert_eq!(sessions.len(), 1, "and it is not even collected");
    }
}

/// A body that computes is not stopped by a request, and nobody is told that it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn sess_007_bd_16_a_body_that_computes_is_running_until_it_is_not() {
    for sessions in both().await {
        let (release, blocked) = mpsc::channel::<()>();
        let (told, started) = mpsc::channel::<()>();
        let (blocked, told) = (Arc::new(Mutex::new(blocked)), Mutex::new(told));
        let body = sessions
            .register("computes", move |cx: SessionContext, _: ()| {
                let blocked = Arc::clone(&blocked);
                let told = told.lock().unwrap().clone();
                async move {
                    told.send(()).unwrap();
                    let _released = blocked.lock().unwrap().recv();
                    cx.sleep(HOUR).await
                }
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        started.recv_timeout(SECOND * 60).unwrap();
        run.cancel("enough").await.unwrap();
        let snapshot = run.snapshot().unwrap();
        assert_eq!(snapshot.state, SessionState::Running);
        assert_eq!(&*snapshot.cancel_requested.unwrap().text, "enough");
        release.send(()).unwrap();
        assert!(matches!(within(run).await, Err(RunError::Cancelled(_))));
    }
}

/// Every word that the vocabulary has for sessions is said by something.
#[tokio::test(start_paused = true)]
async fn sess_009_bd_20_every_event_that_is_promised_is_told() {
    let told = Arc::new(Mutex::new(BTreeSet::new()));
    let disk = VirtualDisk::new();
    let start = async || {
        let told = Arc::clone(&told);
        let sink = move |event: &Event| {
            told.lock().unwrap().insert(event.kind.name());
        };
        Process::start_with(&disk, Sessions::builder().sink(Arc::new(sink))).await
    };
    let body = async |cx: SessionContext, fails: bool| {
        cx.emit("here")?;
        drop(cx.ask::<bool>(Ask::confirm("unwanted", "?")));
        let asked = cx.ask::<bool>(Ask::confirm("withdrawn", "?"));
        drop(select(asked, cx.sleep(SECOND)).await);
        ask_confirm(cx, ()).await?;
        if fails {
            panic!("it fails")
        }
        Ok::<_, BodyError>(())
    };
    let first = start().await;
    let registered = first.sessions.register("all", body).unwrap();
    let runs = [false, true, false].map(|fails| registered.spawn(fails));
    let mut ids = Vec::new();
    for run in runs {
        let run = run.await.unwrap();
        asked(&run, "ok").await;
        ids.push(run.id());
    }
    let sleeps = first
        .sessions
        .register("sleeps", async |cx: SessionContext, _: ()| cx.sleep(HOUR).await)
        .unwrap();
    sleeps.spawn(()).await.unwrap();
    first.sessions.shutdown(SECOND).await;
    let second = start().await;
    let _registered = second.sessions.register("all", body).unwrap();
    for (number, id) in ids.into_iter().enumerate() {
        let handle = taken_up(&second.sessions, id).await;
        match number {
            2 => handle.cancel("").await.unwrap(),
            _ => drop(handle.answer(asked(&handle, "ok").await, true).await.unwrap()),
        }
        within(handle.ended()).await.unwrap();
    }
    let all = [
        "answered",
        "cancel_requested",
        "cancelled",
        "done",
        "failed",
        "paused",
        "planned",
        "progress",
        "question",
        "question_withdrawn",
        "resumed",
        "started",
        "suspended",
    ];
    let all: Vec<_> = all.iter().map(|name| format!("session_{name}")).collect();
    assert_eq!(told.lock().unwrap().iter().collect::<Vec<_>>(), all.iter().collect::<Vec<_>>());
}

/// A lock that is held while something is awaited makes its future stay on its thread: no public
/// future of ours does.
#[tokio::test(start_paused = true)]
async fn sess_002_bd_23_no_lock_is_held_while_something_is_awaited() {
    fn can_move<T: Send>(future: T) -> T {
        future
    }
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let run = can_move(body.spawn(())).await.unwrap();
    let mut observer = run.observe(Since::Now).unwrap();
    let open = can_move(run.next_question()).await.unwrap().unwrap().id;
    can_move(run.answer(open, true)).await.unwrap();
    can_move(observer.next()).await.unwrap();
    can_move(run.ended()).await.unwrap();
    can_move(run.clone()).await.unwrap();
    can_move(run.cancel("")).await.unwrap_err();
    can_move(run.resume()).await.unwrap_err();
    can_move(run.retry()).await.unwrap_err();
    can_move(sessions.recover()).await.unwrap();
    can_move(Sessions::builder().open()).await.unwrap();
    can_move(sessions.shutdown(SECOND)).await;
}

#[tokio::test(start_paused = true)]
async fn sess_014_bd_24_bd_13_steps_of_the_wall_clock_change_no_limit() {
    for step in [-40_000_000, 40_000_000] {
        let clock = Steps::new();
        let disk = VirtualDisk::new();
        let memory = Sessions::builder().clock(Arc::clone(&clock) as _).build();
        let builder = Sessions::builder().clock(Arc::clone(&clock) as _);
        let stored = Process::start_with(&disk, builder).await.sessions;
        for sessions in [memory, stored] {
            let body = sessions.register("ask", ask_confirm).unwrap();
            let sleeps = sessions
                .register("sleeps", async |cx: SessionContext, _: ()| cx.sleep(SECOND * 30).await)
                .unwrap();
            let _collection = sessions.collect_after(SECOND * 100).unwrap();
            let begun = tokio::time::Instant::now();
            let whole = body.spawn(()).timeout(SECOND * 10).await.unwrap();
            let pause = body.spawn(()).pause_timeout(SECOND * 20).await.unwrap();
            let sleep = sleeps.spawn(()).await.unwrap();
            question(&pause).await;
            clock.step_wall(step);
            for (handle, seconds) in
                [(whole.handle(), 10), (pause.handle(), 20), (sleep.handle(), 30)]
            {
                within(handle.ended()).await.unwrap();
                let took = begun.elapsed();
                assert!(took >= SECOND * seconds && took < SECOND * (seconds + 1), "{took:?}");
            }
            clock.step_wall(step);
            tokio::time::sleep(SECOND * 70).await;
            assert_eq!(sessions.len(), 3);
            tokio::time::sleep(SECOND * 40).await;
            assert_eq!(sessions.len(), 0);
        }
    }
}

/// Drops a future after each number of polls it takes, and sees what became of what it was to do.
#[tokio::test(start_paused = true)]
async fn se_10_bd_21_what_is_dropped_half_way_was_done_whole_or_not_at_all() {
    let mut dropped = 0;
    for polls in 0..=8 {
        for delayed in [false, true] {
            dropped += drop_after(polls, delayed).await;
        }
    }
    assert!(dropped > 9, "{dropped} were dropped before their end");
}

/// Polls so often, and drops. Whether it had ended.
async fn polled<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return Some(value);
        }
        tokio::task::yield_now().await;
    }
    None
}

async fn drop_after(polls: u32, delayed: bool) -> u32 {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let body = sessions.register("ask", ask_confirm).unwrap();
    let planned = body.plan(()).await.unwrap();
    let delays = || if delayed { Faults::none().delay_all() } else { Faults::none() };
    let settle = async || {
        store.set_faults(Faults::none());
        store.release_all();
        tokio::time::sleep(SECOND).await;
    };
    let mut dropped = 0;

    // A spawn: there is a session with a body that runs, or there is none.
    store.set_faults(delays());
    let spawn = body.spawn(()).key("once");
    let id = spawn.id();
    dropped += u32::from(polled(polls, spawn).await.is_none());
    settle().await;
    assert_eq!(sessions.get(id).is_ok(), polls > 0);
    let run = body.spawn(()).key("once").await.unwrap();
    assert_eq!(run.id() == id, polls > 0, "found by its key, or made now");
    let open = question(&run).await;

    // Waiting for a question, or the end, takes nothing from anybody.
    store.set_faults(delays());
    assert_eq!(polled(polls, run.next_question()).await.is_none(), polls == 0);
    dropped += u32::from(polled(polls, run.ended()).await.is_none());
    dropped += u32::from(polled(polls, run.clone()).await.is_none());
    let mut observer = run.observe(Since::Beginning).unwrap();
    let mut seen = 0;
    for _ in 0..4 {
        if let Some(Some(Observed::Event(event))) = polled(polls, observer.next()).await {
            seen += 1;
            assert_eq!(event.seq, seen);
        }
    }
    assert!(seen == 4 || polls == 0);

    // An answer: given, or still wanted.
    dropped += u32::from(polled(polls, run.answer(open, true)).await.is_none());
    settle().await;
    let is_open = run.questions().unwrap().iter().any(|question| question.id == open);
    assert_eq!(is_open, polls == 0);
    if is_open {
        run.answer(open, true).await.unwrap();
    }
    assert!(within(run.clone()).await.unwrap());
    while let Some(Observed::Event(event)) = within(observer.next()).await {
        seen += 1;
        assert_eq!(event.seq, seen, "the observer has lost nothing");
    }

    // A resume and a cancel.
    store.set_faults(delays());
    dropped += u32::from(polled(polls, planned.resume()).await.is_none());
    settle().await;
    assert_eq!(planned.state().unwrap().name() == StateName::Planned, polls == 0);
    if polls > 0 {
        question(&planned).await;
    }
    store.set_faults(delays());
    dropped += u32::from(polled(polls, planned.cancel("enough")).await.is_none());
    settle().await;
    assert_eq!(planned.state().unwrap().name() == StateName::Cancelled, polls > 0);

    // A shutdown.
    store.set_faults(delays());
    dropped += u32::from(polled(polls, sessions.shutdown(HOUR)).await.is_none());
    settle().await;
    let refused = matches!(body.spawn(()).await, Err(SpawnError::ShuttingDown(_)));
    assert_eq!(refused, polls > 0);
    dropped
}

#[tokio::test(start_paused = true)]
async fn sess_002_bd_22_sessions_can_be_listed_counted_and_ended_all_at_once() {
    for sessions in both().await {
        let body = sessions.register("ask", ask_confirm).unwrap();
        let mut ids = Vec::new();
        for _ in 0..50 {
            ids.push(body.spawn(()).await.unwrap().id());
        }
        assert_eq!(sessions.len(), 50);
        assert_eq!(sessions.list().iter().map(|one| one.id).collect::<Vec<_>>(), ids);
        tokio::time::sleep(SECOND).await;
        assert!(sessions.shutdown(SECOND).await.is_clean());
        assert_eq!(sessions.shared().ended().running, 0);
    }
}

/// A reader in another process sees the session before a write or after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn sess_022_ad_8_who_reads_while_others_write_reads_no_half() {
    let folder = TempDir::new().unwrap();
    let (owner, reader) = (file_process(&folder).await, file_process(&folder).await);
    let body = owner
        .register("asks", async |cx: SessionContext, count: u32| {
            for _ in 0..count {
                cx.ask::<bool>(Ask::confirm("ok", "?".repeat(5_000))).await?;
            }
            Ok::<_, BodyError>(())
        })
        .unwrap();
    let run = body.spawn(60).await.unwrap();
    let id = run.id();
    let stop = Gate::default();
    let reads = {
        let stop = stop.clone();
        tokio::task::spawn_blocking(move || {
            let (mut reads, mut last) = (0, 0);
            while !stop.is_open() {
                let snapshot = reader.get(id).unwrap().snapshot().unwrap();
                assert!(snapshot.last_seq >= last, "it goes back");
                last = snapshot.last_seq;
                let paused = matches!(&snapshot.state, SessionState::Paused(open) if open.count().get() == 1);
                assert!(paused || !matches!(snapshot.state, SessionState::Paused(_)));
                reads += 1;
            }
            reads
        })
    };
    while let Some(open) = within(run.next_question()).await.unwrap() {
        within(run.answer(open.id, true)).await.unwrap();
        within(run.wait_for(|state| match state {
            SessionState::Paused(now) => now.get(open.id).is_none().then_some(()),
            state => state.is_terminal().then_some(()),
        }))
        .await
        .unwrap();
    }
    stop.open();
    assert!(within(reads).await.unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn core_001_ad_10_ad_11_no_two_sessions_share_an_id_and_no_id_is_a_path() {
    let sessions = Sessions::new();
    let body =
        sessions.register("ends", async |_: SessionContext, _: ()| Ok::<_, BodyError>(())).unwrap();
    let mut ids = BTreeSet::new();
    for _ in 0..20_000 {
        assert!(ids.insert(body.plan(()).await.unwrap().id()), "in one second");
    }
    assert_eq!(sessions.len(), 20_000);
    for odd in ["", ".", "..", "../../etc/passwd", "*", &"a".repeat(36)] {
        assert!(odd.parse::<SessionId>().is_err(), "{odd}");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_018_ad_12_a_session_of_a_lost_process_goes_on_by_itself() {
    let disk = VirtualDisk::new();
    let body = async |cx: SessionContext, _: ()| cx.sleep(HOUR).await;
    let first = Process::start(&disk).await;
    let id = first.sessions.register("sleeps", body).unwrap().spawn(()).await.unwrap().id();
    tokio::time::sleep(SECOND).await;
    first.kill();
    let second = Process::start(&disk).await;
    let _body = second.sessions.register("sleeps", body).unwrap();
    within(taken_up(&second.sessions, id).await.typed::<()>()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sess_008_ad_13_a_session_that_is_stopped_between_two_steps_is_not_done() {
    for sessions in both().await {
        let (ledger, gate) = (Ledger::default(), Gate::default());
        let (seen, passes) = (ledger.clone(), gate.clone());
        let body = sessions
            .register("steps", move |cx: SessionContext, _: ()| {
                let (ledger, gate) = (seen.clone(), passes.clone());
                async move {
                    cx.step("first", || async {
                        gate.pass().await;
                        ledger.add("first");
                        Ok::<_, StepFailure>(())
                    })
                    .await?;
                    cx.step("second", || async {
                        ledger.add("second");
                        Ok::<_, StepFailure>(())
                    })
                    .await
                }
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        run.cancel("enough").await.unwrap();
        gate.open();
        assert!(matches!(within(run).await, Err(RunError::Cancelled(_))));
        assert_eq!(ledger.all(), ["first"], "what runs goes on, what follows does not begin");
    }
}

/// A process that lost a session writes nothing over what the new owner wrote.
#[tokio::test(start_paused = true)]
async fn sess_022_ad_15_who_lost_a_session_overwrites_nothing() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let body = sessions.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).await.unwrap();
    let open = question(&run).await;
    let stream = Stream::Session(run.id());
    let (before, kept) = (store.info(&stream).unwrap(), store.snapshot(&stream).unwrap().unwrap());
    // Somebody claims it, writes, and lets go.
    let taken = Failure::LostOwnership(stream.clone());
    store.set_faults(Faults::none().fail(1, taken));
    let error = run.answer(open, true).await.unwrap_err();
    assert!(matches!(error, AnswerError::Store(AppendError::LostOwnership { .. })), "{error}");
    let other = disk.open();
    let info = other.info(&stream).unwrap();
    assert!(info.epoch > before.epoch);
    let snapshot = Snapshot { state: kept.state, data: &kept.data };
    let write = Write::new(&stream, Fence::Claim { epoch: info.epoch }).snapshot(snapshot);
    other.append(&[write.label("edited")]).unwrap().wait().unwrap();
    let edited = other.info(&stream).unwrap();
    sessions.shutdown(SECOND).await;
    drop((run, body, sessions));
    tokio::time::sleep(HOUR).await;
    assert_eq!(other.info(&stream).unwrap(), edited);
    assert_eq!(other.snapshot(&stream).unwrap().unwrap().data, kept.data);
}

#[tokio::test(start_paused = true)]
async fn sess_017_ad_17_dd_23_attempts_end_wait_and_stop_as_their_step_says() {
    for sessions in both().await {
        let body = sessions
            .register("tries", async |cx: SessionContext, (attempts, terminal): (u32, bool)| {
                let backoff = Backoff::exponential(SECOND).max(HOUR);
                let step = Step::new("tries").attempts(attempts).backoff(backoff);
                let tries = AtomicU32::new(0);
                let ended = cx
                    .step_with(step, |attempt| {
                        assert_eq!(tries.swap(attempt.number(), SeqCst) + 1, attempt.number());
                        let error = std::io::Error::other("at line 429");
                        async move {
                            match terminal {
                                true => Err::<(), _>(StepFailure::terminal(error)),
                                false => Err(error.into()),
                            }
                        }
                    })
                    .await;
                ended.map_err(|error| {
                    let tries = tries.load(SeqCst);
                    std::io::Error::other(format!("{tries} tries: {error}"))
                })
            })
            .unwrap();
        // More attempts than a delay has bits.
        let run = body.spawn((130, false)).await.unwrap();
        assert_eq!(failure(&run).await, "130 tries: step `tries` failed");
        // What no repetition mends is not repeated, whatever words it has.
        let run = body.spawn((130, true)).await.unwrap();
        assert_eq!(failure(&run).await, "1 tries: step `tries` failed");
        // Who waits for the next attempt hears at once that none is wanted.
        let run = body.spawn((130, false)).await.unwrap();
        tokio::time::sleep(HOUR * 9).await;
        let before = tokio::time::Instant::now();
        run.cancel("enough").await.unwrap();
        let text = failure(&run).await;
        assert!(text.ends_with("the session was asked to stop"), "{text}");
        assert!(before.elapsed() < SECOND, "{:?}", before.elapsed());
        // And all attempts together have the session's limit.
        let run = body.spawn((130, false)).timeout(HOUR * 9).await.unwrap();
        let before = tokio::time::Instant::now();
        within(run.ended()).await.unwrap();
        assert!(before.elapsed() < HOUR * 9 + SECOND, "{:?}", before.elapsed());
    }
}

/// No time passes between a request and the moment its body hears of it.
#[tokio::test(start_paused = true)]
async fn sess_007_ad_18_nobody_looks_again_and_again_whether_to_stop() {
    for sessions in both().await {
        let body = sessions.register("ask", ask_confirm).unwrap();
        let watches = sessions
            .register("watches", async |cx: SessionContext, _: ()| {
                cx.step("watch", async || -> Result<(), StepFailure> {
                    Err(cx.cancel_requested().await?.into())
                })
                .await
            })
            .unwrap();
        let runs =
            [body.spawn(()).await.unwrap().handle(), watches.spawn(()).await.unwrap().handle()];
        tokio::time::sleep(HOUR).await;
        let before = tokio::time::Instant::now();
        for run in &runs {
            run.cancel("enough").await.unwrap();
            assert!(matches!(run.ended().await.unwrap(), Outcome::Cancelled(_)));
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

/// What is written for a step is its entry: nothing is listed, scanned or kept anew for it.
#[tokio::test(start_paused = true)]
async fn sess_017_ad_19_a_step_costs_the_same_however_many_came_before() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let body = sessions
        .register("steps", async |cx: SessionContext, steps: u32| {
            for number in 0..steps {
                cx.step("step", || async move { Ok::<_, StepFailure>(number) }).await?;
            }
            ask_confirm(cx, ()).await
        })
        .unwrap();
    let mut sizes = Vec::new();
    for steps in [10_u32, 10_000] {
        let run = body.spawn(steps).await.unwrap();
        question(&run).await;
        let stream = Stream::Session(run.id());
        let kept = store.snapshot(&stream).unwrap().unwrap().data.len();
        let entries = journal(&*store, run.id());
        assert_eq!(entries.len() as u64, 1 + u64::from(steps) + 1, "start, steps, question");
        sizes.push((kept, entries.iter().map(String::len).max().unwrap()));
    }
    let (few, many) = (sizes[0], sizes[1]);
    assert!(many.0 <= few.0 + 16 && many.1 <= few.1 + 16, "{sizes:?}");
}

/// What is called in a state that does not allow it is an error that names the state.
#[tokio::test(start_paused = true)]
async fn core_003_ad_20_no_call_panics_whatever_the_state() {
    for sessions in both().await {
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let fails = sessions
            .register("fails", async |_: SessionContext, _: ()| -> Result<(), BodyError> {
                panic!("it fails")
            })
            .unwrap();
        let mut handles =
            vec![ask.plan(()).await.unwrap().handle(), fails.spawn(()).await.unwrap().handle()];
        for _ in 0..3 {
            let run = ask.spawn(()).await.unwrap();
            question(&run).await;
            handles.push(run.handle());
        }
        handles[3].answer(QuestionId(1), true).await.unwrap();
        handles[4].cancel("").await.unwrap();
        tokio::time::sleep(SECOND).await;
        for first in 0..5 {
            for handle in &handles {
                let _each_ends_in_order = match first {
                    0 => handle
                        .answer(QuestionId(1), true)
                        .await
                        .err()
                        .map(|error| error.to_string()),
                    1 => handle.resume().await.err().map(|error| error.to_string()),
                    2 => handle.cancel("").await.err().map(|error| error.to_string()),
                    3 => handle.retry().await.err().map(|error| error.to_string()),
                    _ => {
                        handle.answer(QuestionId(9), "x").await.err().map(|error| error.to_string())
                    }
                };
                handle.snapshot().unwrap();
                handle.observe(Since::After(u64::MAX)).unwrap();
            }
        }
    }
}

/// Both results of a branch are there, and what lost a race is gone before the body goes on.
#[tokio::test(start_paused = true)]
async fn sess_017_dd_15_no_branch_is_lost_and_none_runs_on_behind_the_body() {
    for sessions in both().await {
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let body = sessions
            .register("branches", move |cx: SessionContext, _: ()| {
                let ledger = seen.clone();
                async move {
                    let slow = {
                        let guard = Dropped(ledger.clone());
                        let ledger = ledger.clone();
                        cx.step("slow", move || async move {
                            let _guard = guard;
                            ledger.add("begins");
                            tokio::time::sleep(HOUR).await;
                            Ok::<_, StepFailure>(1)
                        })
                    };
                    let raced = match select(Box::pin(slow), cx.sleep(SECOND)).await {
                        Either::Left((value, _)) => value?,
                        Either::Right((_, slow)) => {
                            drop(slow);
                            2
                        }
                    };
                    ledger.add("goes on");
                    let step = |name, value| {
                        cx.step(name, move || async move { Ok::<u32, StepFailure>(value) })
                    };
                    let (one, two) =
                        futures_util::future::join(step("one", 10), step("two", 100)).await;
                    Ok::<_, BodyError>(raced + one? + two?)
                }
            })
            .unwrap();
        assert_eq!(within(body.spawn(()).await.unwrap()).await.unwrap(), 112);
        assert_eq!(ledger.all(), ["begins", "dropped", "goes on"]);
    }
}

/// What was missing can be put right, and nothing remembers that it was missing.
#[tokio::test(start_paused = true)]
async fn sess_001_dd_16_a_refusal_is_over_when_its_reason_is() {
    for sessions in both().await {
        assert!(sessions.register("no name", ask_confirm).is_err());
        let parent = sessions
            .register("parent", async |cx: SessionContext, _: ()| {
                cx.spawn_child::<bool>(Child::new("late", &())).await
            })
            .unwrap();
        let run = parent.spawn(()).await.unwrap();
        assert!(failure(&run).await.contains("no body `late` is registered"));
        let _late = sessions
            .register("late", async |_: SessionContext, _: ()| Ok::<_, BodyError>(true))
            .unwrap();
        run.retry().await.unwrap();
        assert!(within(run).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_014_dd_17_a_body_that_goes_in_circles_has_a_limit_and_leaves_its_way() {
    let disk = VirtualDisk::new();
    let Process { store, sessions } = Process::start(&disk).await;
    let body = sessions
        .register("circles", async |cx: SessionContext, _: ()| -> Result<(), BodyError> {
            loop {
                for name in ["there", "back"] {
                    cx.step(name, || async {
                        tokio::time::sleep(SECOND).await;
                        Ok::<_, StepFailure>(())
                    })
                    .await?;
                }
            }
        })
        .unwrap();
    let run = body.spawn(()).timeout(SECOND * 100).await.unwrap();
    assert_eq!(failure(&run).await, "the session's limit of 100s passed");
    let entries = journal(&*store, run.id());
    let way = entries.iter().filter(|entry| entry.contains("\"done\"")).count();
    assert!((99..=101).contains(&way), "{way}");
}

/// Whatever panics, of the caller's code too: others go on, no place is taken, no lock is poisoned.
#[tokio::test(start_paused = true)]
async fn se_9_dd_22_panics_at_random_hit_their_own_session_alone() {
    let cases = many();
    let seed = cases ^ 0x5e9;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for disk in [None, Some(VirtualDisk::new())] {
        let builder = Sessions::builder().limits(Limits::none().live(3).paused(2));
        let sessions = match &disk {
            Some(disk) => Process::start_with(disk, builder).await.sessions,
            None => builder.build(),
        };
        let body = sessions
            .register("panics", |cx: SessionContext, place: u64| {
                assert_ne!(place, 0, "in the call");
                async move {
                    assert_ne!(place, 1, "at the beginning");
                    let step = cx
                        .step("step", || async move {
                            assert_ne!(place, 2, "in an effect");
                            tokio::task::yield_now().await;
                            assert_ne!(place, 3, "later in an effect");
                            Ok::<_, StepFailure>(place)
                        })
                        .await?;
                    let asked = cx.ask::<bool>(Ask::confirm("ok", "?"));
                    assert_ne!(place, 4, "with a question");
                    asked.await?;
                    assert_ne!(place, 5, "after a question");
                    Ok::<_, BodyError>(step)
                }
            })
            .unwrap();
        let mut runs = Vec::new();
        let mut failed = 0;
        // Over a store, who waits for a session that waits its turn looks at each commit of all.
        let count = if disk.is_some() { cases / 32 } else { cases };
        for _ in 0..count {
            let place = random.below(9);
            failed += u64::from(place < 6);
            runs.push((place, body.spawn(place).await.unwrap()));
        }
        // All are answered at once: each waits for the places of others.
        let answering: Vec<_> = runs
            .iter()
            .map(|(_, run)| {
                let run = run.handle();
                tokio::spawn(async move {
                    while let Some(open) = within(run.next_question()).await.unwrap() {
                        let _once = run.answer(open.id, true).await;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for answers in answering {
            within(answers).await.unwrap();
        }
        for (place, run) in runs {
            match within(run.clone()).await {
                Ok(value) => assert_eq!((place, place > 5), (value, true)),
                Err(RunError::Failed(failure)) => assert!(place < 6, "{failure}"),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(failed > 0);
        assert_eq!(sessions.shared().ended().running, 0);
        // The places are free: as many as the limits say go at once.
        let mut runs = Vec::new();
        for _ in 0..2 {
            runs.push(body.spawn(8).await.unwrap());
        }
        for run in &runs {
            question(run).await;
        }
    }
}

/// A sink is somebody else's code: what it does to itself changes nothing for us.
#[tokio::test(start_paused = true)]
async fn sess_009_dd_22_a_sink_that_panics_hits_nobody() {
    let disk = VirtualDisk::new();
    let sink = || Arc::new(|_: &Event| panic!("the sink is broken"));
    let memory = Sessions::builder().sink(sink()).build();
    let stored = Process::start_with(&disk, Sessions::builder().sink(sink())).await.sessions;
    for sessions in [memory, stored] {
        let run = sessions.register("ask", ask_confirm).unwrap().spawn(()).await.unwrap();
        run.answer(question(&run).await, true).await.unwrap();
        assert!(within(run.clone()).await.unwrap());
        let all = events(&run).await;
        let order = ["planned", "started", "paused", "question", "answered", "resumed", "done"];
        assert_eq!(names(&all), order);
    }
}

/// From each state in which a session is not over, its end can be reached, by going on and by
/// being cancelled.
#[tokio::test(start_paused = true)]
async fn se_1_every_state_that_is_no_end_leads_to_one() {
    let body = async |cx: SessionContext, sleeps: bool| {
        if sleeps {
            cx.sleep(HOUR).await?;
        }
        ask_confirm(cx, ()).await
    };
    for cancels in [false, true] {
        let disk = VirtualDisk::new();
        let first = Process::start(&disk).await;
        let registered = first.sessions.register("body", body).unwrap();
        let planned = registered.plan(false).await.unwrap().id();
        let mut paused = Vec::new();
        for _ in 0..3 {
            let run = registered.spawn(false).await.unwrap();
            paused.push((run.id(), question(&run).await));
        }
        let killed = registered.spawn(true).await.unwrap().id();
        tokio::time::sleep(SECOND).await;
        first.kill();
        let builder = || Sessions::builder().recovery(crate::Recovery::Explicit);
        let second = Process::start_with(&disk, builder()).await;
        second.sessions.get(paused[1].0).unwrap().answer(paused[1].1, true).await.unwrap();
        let _body = second.sessions.register("body", body).unwrap();
        let downed = second.sessions.get(killed).unwrap();
        downed.resume().await.unwrap();
        second.sessions.get(paused[2].0).unwrap().resume().await.unwrap();
        second.sessions.shutdown(SECOND).await;
        let third = Process::start_with(&disk, builder()).await;
        let mismatched = third
            .sessions
            .register("body", async |cx: SessionContext, _: bool| {
                cx.step("other", || async { Ok::<_, StepFailure>(true) }).await
            })
            .unwrap();
        third.sessions.get(paused[1].0).unwrap().resume().await.unwrap();
        tokio::time::sleep(SECOND).await;
        drop(mismatched);
        third.sessions.shutdown(SECOND).await;

        let last = Process::start_with(&disk, builder()).await;
        let _body = last.sessions.register("body", body).unwrap();
        let ids = [planned, paused[0].0, paused[1].0, paused[2].0, killed];
        let handles = ids.map(|id| last.sessions.get(id).unwrap());
        let states: Vec<_> = handles.iter().map(|handle| handle.state().unwrap()).collect();
        assert!(matches!(states[0], SessionState::Planned));
        assert!(matches!(states[1], SessionState::Paused(_)));
        assert!(matches!(states[2], SessionState::Suspended(SuspendCause::Mismatch { .. })));
        assert!(matches!(states[3], SessionState::Paused(_)));
        assert!(matches!(states[4], SessionState::Suspended(SuspendCause::Shutdown)));
        for handle in handles {
            if cancels {
                handle.cancel("enough").await.unwrap();
                assert!(matches!(handle.ended().await.unwrap(), Outcome::Cancelled(_)));
                continue;
            }
            handle.resume().await.unwrap();
            while let Some(open) = within(handle.next_question()).await.unwrap() {
                handle.answer(open.id, true).await.unwrap();
                until(|| handle.questions().unwrap().is_empty()).await;
            }
            assert!(within(handle.typed::<bool>()).await.unwrap());
        }
    }
}

/// A process is lost somewhere on the way, and comes back sooner or later: what was due meanwhile is
/// over at once, what is not takes the rest of its time.
#[tokio::test(start_paused = true)]
async fn se_2_what_fell_due_while_nobody_was_up_comes_at_once() {
    let cases = cases();
    println!("seeds 0..{cases}");
    for seed in 0..cases {
        let mut random = Random::new(u64::from(seed));
        let (clock, disk) = (Steps::new(), VirtualDisk::new());
        let body = async |cx: SessionContext, lengths: Vec<u64>| {
            for seconds in lengths {
                cx.sleep(SECOND * u32::try_from(seconds).unwrap()).await?;
            }
            Ok::<_, BodyError>(())
        };
        let lengths: Vec<u64> = (0..3).map(|_| 1 + random.below(100)).collect();
        let total: u64 = lengths.iter().sum();
        let start = async || {
            let builder = Sessions::builder().clock(Arc::clone(&clock) as _);
            let process = Process::start_with(&disk, builder).await;
            let body = process.sessions.register("sleeps", body).unwrap();
            (process, body)
        };
        let (first, registered) = start().await;
        let begun = tokio::time::Instant::now();
        let run = registered.spawn(lengths.clone()).timeout(SECOND * 1000).await.unwrap();
        let id = run.id();
        tokio::time::sleep(Duration::from_millis(1 + random.below(total * 1000))).await;
        first.kill();
        let down = random.below(200);
        tokio::time::sleep(SECOND * u32::try_from(down).unwrap()).await;
        let (second, _body) = start().await;
        let handle = second.sessions.get(id).unwrap();
        until(|| handle.state().unwrap().is_terminal() || !second.sessions.is_empty()).await;
        within(second.sessions.get(id).unwrap().typed::<()>()).await.unwrap();
        // It lost no more than the time between its last record and the return.
        let took = begun.elapsed().as_secs();
        assert!(
            took >= total && took <= total + down + 1,
            "seed {seed}: {took} of {lengths:?}, {down} down"
        );
    }
}

/// Waiters come and go at random while sessions end and are collected: each hears of the end.
#[tokio::test(start_paused = true)]
async fn se_5_se_6_who_waits_hears_and_what_lives_stays() {
    let cases = cases();
    println!("seeds 0..{cases}");
    let mut waited = 0;
    for seed in 0..cases {
        let mut random = Random::new(u64::from(seed));
        let [memory, stored] = both().await;
        let sessions = if random.percent(50) { memory } else { stored };
        let body = sessions.register("ask", ask_confirm).unwrap();
        let mut live = BTreeMap::new();
        let mut ended = Vec::new();
        let mut waiters = Vec::new();
        for _ in 0..60 {
            match random.below(6) {
                0 => {
                    let run = body.spawn(()).await.unwrap();
                    live.insert(run.id(), run);
                }
                1 | 2 => {
                    let all: Vec<_> = live.values().chain(&ended).collect();
                    if !all.is_empty() {
                        let run = random.pick(&all).copied().unwrap();
                        waiters.push(tokio::spawn(run.clone()));
                    }
                }
                3 => {
                    if let Some((id, run)) = live.pop_first() {
                        run.answer(question(&run).await, true).await.unwrap();
                        if random.percent(50) {
                            within(run.clone()).await.unwrap();
                        }
                        assert_eq!(run.id(), id);
                        ended.push(run);
                    }
                }
                4 => {
                    sessions.collect(SECOND * u32::try_from(random.below(3)).unwrap());
                    let listed: BTreeSet<_> = sessions.list().iter().map(|one| one.id).collect();
                    assert!(live.keys().all(|id| listed.contains(id)), "seed {seed}");
                }
                _ => tokio::time::sleep(Duration::from_millis(random.below(2_000))).await,
            }
        }
        for run in std::mem::take(&mut live).into_values() {
            run.answer(question(&run).await, true).await.unwrap();
            ended.push(run);
        }
        for waiter in waiters {
            waited += 1;
            assert!(within(waiter).await.unwrap().unwrap(), "seed {seed}");
        }
        for run in ended {
            assert!(within(run).await.unwrap(), "seed {seed}");
        }
        tokio::time::sleep(SECOND).await;
        sessions.collect(Duration::ZERO);
        assert_eq!((sessions.len(), sessions.collect(Duration::ZERO)), (0, 0), "seed {seed}");
    }
    assert!(waited > 0);
}
