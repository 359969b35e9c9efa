//! The registry under schedules explored at random and by priority. A deadlock or a lost wake-up
//! leaves a task that never ends, which the explorer reports with the schedule that led there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdpoint_core::session::{QuestionId, SessionState, StateName};
use holdpoint_core::store::Store;
use holdpoint_testkit::store::VirtualDisk;
use shuttle::future::{block_on, spawn};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

use super::cases;
use super::twin::handle::{Run, SessionHandle};
use super::twin::observe::{Observed, Since};
use super::twin::sessions::Sessions;
use crate::{
    AnswerError, Ask, BodyError, Limits, Outcome, ResumeError, RunError, SessionContext, SpawnError,
};

/// Runs `body` under so many schedules, half of them with few but well-placed switches.
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    let schedules = cases() as usize;
    let mut config = Config::new();
    // Enough for a body within a session within a spawn.
    config.stack_size = 1 << 18;
    let random = RandomScheduler::new(schedules);
    Runner::new(random, config.clone()).run(move || body());
    Runner::new(PctScheduler::new(3, schedules), config).run(move || again());
}

async fn ask_times(cx: SessionContext, times: u32) -> Result<u32, BodyError> {
    let mut yes = 0;
    for _ in 0..times {
        let answer: bool = cx.ask(Ask::confirm("ok", "?")).await?;
        yes += u32::from(answer);
    }
    Ok(yes)
}

fn ask(sessions: &Sessions, times: u32) -> Run<u32> {
    let body = sessions.register("ask", ask_times).unwrap();
    block_on(async { body.spawn(times).await }).unwrap()
}

/// All bodies are over: what still ran at the end of a schedule would be unwound in the middle.
fn quiet(sessions: &Sessions) {
    block_on(sessions.shutdown(Duration::from_secs(3600)));
}

/// The terminal state, agreed upon by all who can be asked.
fn agree(handle: &SessionHandle) -> Outcome {
    let outcome = block_on(handle.ended()).unwrap();
    assert_eq!(handle.outcome().unwrap(), Some(outcome.clone()));
    let mut observer = handle.observe(Since::Beginning).unwrap();
    let (mut last, mut terminals) = (0, 0);
    while let Some(said) = block_on(observer.next()) {
        let Observed::Event(event) = said else { panic!("{said:?}") };
        assert_eq!(event.seq, last + 1);
        last = event.seq;
        terminals += u32::from(event.kind.ends_session());
    }
    assert_eq!(terminals, 1);
    outcome
}

#[test]
fn sess_006_se_4_bd_1_a_question_asked_at_once_is_never_lost() {
    explore(|| {
        let sessions = Sessions::new();
        let run = ask(&sessions, 3);
        for number in 1..=3 {
            // Whoever answered may find the next one open at once, or later, but finds it.
            let question = block_on(run.next_question()).unwrap().map(|question| question.id);
            let found = match question {
                Some(id) if id.0 < number => block_on(run.wait_for(|state| match state {
                    SessionState::Paused(open) => open.get(QuestionId(number)).map(|next| next.id),
                    _ => None,
                }))
                .unwrap(),
                Some(id) => id,
                None => panic!("it ended after {number}"),
            };
            assert_eq!(found, QuestionId(number));
            block_on(run.answer(found, true)).unwrap();
        }
        assert_eq!(block_on(run).unwrap(), 3);
        quiet(&sessions);
    });
}

#[test]
fn sess_004_one_of_two_who_answer_the_same_is_refused() {
    explore(|| {
        let sessions = Sessions::new();
        let run = ask(&sessions, 1);
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let taken = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (handle, taken) = (run.handle(), Arc::clone(&taken));
                thread::spawn(move || match block_on(handle.answer(question, true)) {
                    Ok(_) => {
                        taken.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(AnswerError::NotOpen { .. } | AnswerError::NothingOpen { .. }) => {}
                    Err(other) => panic!("{other}"),
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(taken.load(Ordering::SeqCst), 1);
        assert_eq!(block_on(run).unwrap(), 1);
        quiet(&sessions);
    });
}

#[test]
fn sess_007_se_3_bd_2_a_cancel_that_meets_the_end_leaves_one_of_both() {
    explore(|| {
        let sessions = Sessions::new();
        let run = ask(&sessions, 1);
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let handle = run.handle();
        let canceller = thread::spawn(move || block_on(handle.cancel("enough")).is_ok());
        let answered = block_on(run.answer(question, true));
        let waiter = spawn(run.clone());
        let cancelled = canceller.join().unwrap();
        match (agree(&run), block_on(waiter).unwrap()) {
            (Outcome::Done(_), Ok(1)) => assert!(answered.is_ok()),
            (Outcome::Cancelled(cause), Err(RunError::Cancelled(told))) => {
                assert!(cancelled && &*cause.text == "enough" && told == cause);
            }
            (outcome, told) => panic!("{outcome:?} and {told:?}"),
        }
        quiet(&sessions);
    });
}

#[test]
fn sess_011_sess_012_se_5_who_waits_has_the_outcome_whatever_is_collected() {
    explore(|| {
        let sessions = Sessions::new();
        let run = ask(&sessions, 1);
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let run = run.clone();
                thread::spawn(move || block_on(run).unwrap())
            })
            .collect();
        // One that is dropped in between disturbs nobody.
        let dropped = spawn(run.clone());
        dropped.abort();
        let collector = {
            let sessions = sessions.clone();
            thread::spawn(move || {
                while sessions.collect(Duration::ZERO) == 0 {
                    thread::yield_now();
                }
            })
        };
        block_on(run.answer(question, true)).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
        collector.join().unwrap();
        assert!(sessions.is_empty());
        assert_eq!(block_on(run).unwrap(), 1);
        quiet(&sessions);
    });
}

#[test]
fn sess_010_an_observer_misses_nothing_that_is_published_meanwhile() {
    explore(|| {
        let sessions = Sessions::new();
        let run = ask(&sessions, 2);
        let handle = run.handle();
        let observer = thread::spawn(move || {
            let mut observer = handle.observe(Since::Beginning).unwrap();
            let mut names = Vec::new();
            while let Some(said) = block_on(observer.next()) {
                let Observed::Event(event) = said else { panic!("{said:?}") };
                assert_eq!(event.seq, names.len() as u64 + 1);
                names.push(event.kind.name());
            }
            names
        });
        for number in 1..=2 {
            let id = QuestionId(number);
            let open = |state: &SessionState| {
                matches!(state, SessionState::Paused(open) if open.get(id).is_some()).then_some(())
            };
            block_on(run.wait_for(open)).unwrap();
            block_on(run.answer(id, true)).unwrap();
        }
        block_on(run).unwrap();
        let pause = ["session_paused", "session_question", "session_answered", "session_resumed"];
        let all = [&["session_planned", "session_started"][..], &pause, &pause, &["session_done"]];
        assert_eq!(observer.join().unwrap(), all.concat());
        quiet(&sessions);
    });
}

#[test]
fn sess_005_of_two_who_start_a_session_one_does() {
    explore(|| {
        let sessions = Sessions::new();
        let body = sessions.register("ask", ask_times).unwrap();
        let run = block_on(async { body.plan(0).await }).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let handle = run.handle();
                thread::spawn(move || match block_on(handle.resume()) {
                    Ok(()) => 1,
                    Err(ResumeError::Owned { .. } | ResumeError::Ended { .. }) => 0,
                    Err(other) => panic!("{other}"),
                })
            })
            .collect();
        let started: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(started, 1);
        assert_eq!(block_on(run.clone()).unwrap(), 0);
        assert_eq!(run.snapshot().unwrap().starts, 1);
        quiet(&sessions);
    });
}

#[test]
fn store_007_of_two_processes_that_claim_a_session_one_runs_it() {
    explore(|| {
        let disk = VirtualDisk::new();
        let first: Arc<dyn Store> = disk.open();
        let id = {
            let sessions = Sessions::builder().store(Arc::clone(&first)).build();
            let body =
                sessions.register("count", async |_: SessionContext, (): ()| Ok::<_, BodyError>(1));
            let run = block_on(async { body.unwrap().plan(()).await }).unwrap();
            run.id()
        };
        let runs = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (disk, runs) = (disk.clone(), Arc::clone(&runs));
                thread::spawn(move || {
                    let store: Arc<dyn Store> = disk.open();
                    let sessions = Sessions::builder().store(Arc::clone(&store)).build();
                    let body = move |_: SessionContext, (): ()| {
                        runs.fetch_add(1, Ordering::SeqCst);
                        async { Ok::<_, BodyError>(1) }
                    };
                    let _body = sessions.register("count", body).unwrap();
                    let handle = sessions.get(id).unwrap();
                    match block_on(handle.resume()) {
                        Ok(()) => assert!(block_on(handle.ended()).unwrap().is_done()),
                        Err(ResumeError::Owned { .. } | ResumeError::Ended { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                    // The other may still be at it.
                    assert!(block_on(handle.ended()).unwrap().is_done());
                    (sessions, store)
                })
            })
            .collect();
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        drop(kept);
    });
}

#[test]
fn sess_019_two_with_the_same_key_have_the_same_session() {
    explore(|| {
        let sessions = Sessions::new();
        let body = sessions.register("ask", ask_times).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let body = body.clone();
                thread::spawn(move || {
                    block_on(async { body.spawn(0).key("k").await }).unwrap().id()
                })
            })
            .collect();
        let ids: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(sessions.len(), 1);
        quiet(&sessions);
    });
}

#[test]
fn sess_015_no_more_are_live_than_the_limit_and_nobody_is_forgotten() {
    explore(|| {
        let sessions = Sessions::builder().limits(Limits::none().live(1)).build();
        let live = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&live);
        let body = sessions
            .register("work", move |_: SessionContext, (): ()| {
                let live = Arc::clone(&seen);
                async move {
                    assert_eq!(live.fetch_add(1, Ordering::SeqCst), 0);
                    shuttle::future::yield_now().await;
                    live.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, BodyError>(())
                }
            })
            .unwrap();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let body = body.clone();
                thread::spawn(move || {
                    let run = block_on(async { body.spawn(()).await }).unwrap();
                    block_on(run).unwrap();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(live.load(Ordering::SeqCst), 0);
        quiet(&sessions);
    });
}

#[test]
fn sess_015_who_waits_for_a_pause_gets_its_turn() {
    explore(|| {
        let sessions = Sessions::builder().limits(Limits::none().paused(1)).build();
        let body = sessions.register("ask", ask_times).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let body = body.clone();
                thread::spawn(move || {
                    let run = block_on(async { body.spawn(1).await }).unwrap();
                    if number == 0 {
                        // One that gives up passes its turn on.
                        block_on(run.cancel("")).unwrap();
                        assert!(block_on(run).is_err());
                        return;
                    }
                    let question = block_on(run.next_question()).unwrap().unwrap().id;
                    block_on(run.answer(question, true)).unwrap();
                    assert_eq!(block_on(run).unwrap(), 1);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        quiet(&sessions);
    });
}

#[test]
fn sess_016_a_spawn_that_meets_the_shutdown_is_refused_or_ended() {
    explore(|| {
        let sessions = Sessions::new();
        let body = sessions.register("ask", ask_times).unwrap();
        let spawner = thread::spawn(move || match block_on(async { body.spawn(1).await }) {
            Ok(run) => Some(run),
            Err(SpawnError::ShuttingDown(_)) => None,
            Err(other) => panic!("{other}"),
        });
        let report = block_on(sessions.shutdown(Duration::from_secs(3600)));
        assert!(report.is_clean());
        if let Some(run) = spawner.join().unwrap() {
            assert!(matches!(agree(&run), Outcome::Cancelled(_)));
            assert_eq!(run.state().unwrap().name(), StateName::Cancelled);
        }
    });
}
