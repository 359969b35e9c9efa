//! The end of a session, and who waits, looks, cancels, collects and tries again meanwhile.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::BoxError;
use holdpoint_core::session::{QuestionId, SessionState};
use shuttle::future::{block_on, spawn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::*;
use crate::{Child, Limits, ResumeError, RunError};

#[test]
fn sess_007_se_3_bd_2_a_cancel_that_meets_the_end_leaves_one_of_both() {
    everywhere(|builder| {
        let sessions = builder.build();
        let run = ask(&sessions, 1);
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let cancellers: Vec<_> = ["enough", "too much"]
            .into_iter()
            .map(|text| {
                let handle = run.handle();
                thread::spawn(move || block_on(handle.cancel(text)).is_ok())
            })
            .collect();
        let answered = block_on(run.answer(question, true));
        let waiter = spawn(run.clone());
        let cancelled = cancellers.into_iter().map(|thread| thread.join().unwrap());
        let cancelled = cancelled.collect::<Vec<_>>();
        match (agree(&run), block_on(waiter).unwrap()) {
            (Outcome::Done(_), Ok(1)) => assert!(answered.is_ok()),
            (Outcome::Cancelled(cause), Err(RunError::Cancelled(told))) => {
                // Asking again changes nothing, and is taken.
                assert!(answered.is_err() && cancelled == [true; 2]);
                assert!(told == cause && ["enough", "too much"].contains(&&*cause.text));
            }
            (outcome, told) => panic!("{outcome:?} and {told:?}"),
        }
        quiet(&sessions);
    });
}

#[test]
fn sess_008_se_9_bd_14_a_panic_that_meets_a_cancel_ends_its_session_and_nothing_else() {
    everywhere(|builder| {
        let sessions = builder.limits(Limits::none().live(1)).build();
        let body = sessions.register("panics", |cx: SessionContext, (): ()| async move {
            if cx.ask(Ask::confirm("panic", "?")).await? {
                // Without the hook, which the explorer takes for a failed test.
                resume_unwind(Box::new("on purpose"));
            }
            Ok::<_, BodyError>(())
        });
        let body = body.unwrap();
        let run = block_on(async { body.spawn(()).await }).unwrap();
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let canceller = {
            let handle = run.handle();
            thread::spawn(move || block_on(handle.cancel("enough")).is_ok())
        };
        let waiter = spawn(run.clone());
        let next = block_on(async { body.spawn(()).await }).unwrap();
        let answered = block_on(run.answer(question, true));
        let cancelled = canceller.join().unwrap();
        match (agree(&run), block_on(waiter).unwrap()) {
            (Outcome::Failed(failure), Err(RunError::Failed(told))) => {
                assert!(answered.is_ok() && told == failure);
                assert_eq!(&**failure.message(), "on purpose");
            }
            (Outcome::Cancelled(_), Err(RunError::Cancelled(_))) => {
                assert!(answered.is_err() && cancelled);
            }
            (outcome, told) => panic!("{outcome:?} and {told:?}"),
        }
        // Its place went to the next one.
        let question = block_on(next.next_question()).unwrap().unwrap().id;
        block_on(next.answer(question, false)).unwrap();
        block_on(next).unwrap();
        quiet(&sessions);
    });
}

#[test]
fn sess_011_sess_012_se_5_bd_7_who_waits_has_the_outcome_whatever_is_collected() {
    everywhere(|builder| {
        let sessions = builder.build();
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
fn sess_011_se_10_waiters_dropped_at_any_poll_disturb_nobody() {
    everywhere(|builder| {
        let sessions = builder.build();
        let run = ask(&sessions, 1);
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let impatient: Vec<_> = (0..2)
            .map(|number| {
                let run = run.clone();
                thread::spawn(move || {
                    if number == 0 {
                        poll_some(run);
                    } else {
                        poll_some(run.ended());
                    }
                })
            })
            .collect();
        let patient = {
            let run = run.clone();
            thread::spawn(move || {
                assert!(block_on(run.ended()).unwrap().is_done());
                assert_eq!(block_on(run).unwrap(), 1);
            })
        };
        block_on(run.answer(question, true)).unwrap();
        impatient.into_iter().for_each(|thread| thread.join().unwrap());
        patient.join().unwrap();
        quiet(&sessions);
    });
}

/// Polls a few times, and drops it.
fn poll_some(waiter: impl Future) {
    let mut waiter = Box::pin(waiter);
    let polls = thread_rng().gen_range(1..4);
    block_on(poll_fn(|cx| {
        for _ in 0..polls {
            if waiter.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            thread::yield_now();
        }
        Poll::Ready(())
    }));
}

#[test]
fn sess_009_sess_010_an_observer_misses_nothing_that_is_published_meanwhile() {
    everywhere(|builder| {
        let sessions = builder.build();
        let run = ask(&sessions, 2);
        let [first, late] = [Since::Beginning, Since::Now].map(|since| {
            let handle = run.handle();
            thread::spawn(move || {
                let mut names = Vec::new();
                observe(&handle, since, |event| names.push(event.kind.name()));
                names
            })
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
        let all = all.concat();
        assert_eq!(first.join().unwrap(), all);
        let late = late.join().unwrap();
        assert_eq!(late, all[all.len() - late.len()..]);
        quiet(&sessions);
    });
}

#[test]
fn sess_012_bd_13_a_collection_hears_of_every_end() {
    everywhere(|builder| {
        let sessions = builder.build();
        let body = asks(&sessions);
        let collection = sessions.collect_after(Duration::ZERO).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let body = body.clone();
                thread::spawn(move || {
                    let run = block_on(async { body.spawn(0).await }).unwrap();
                    assert_eq!(block_on(run).unwrap(), 0);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Found out by whoever looks often enough: a collection that sleeps on never is.
        while !sessions.is_empty() {
            thread::yield_now();
        }
        collection.stop();
        quiet(&sessions);
    });
}

#[test]
fn sess_012_se_6_bd_11_a_session_that_is_tried_again_is_not_collected() {
    explore(|| {
        let sessions = Sessions::new();
        let run = failed_once(&sessions);
        let collector = {
            let sessions = sessions.clone();
            thread::spawn(move || sessions.collect(Duration::ZERO))
        };
        let retried = block_on(run.retry());
        let collected = collector.join().unwrap();
        match retried {
            Ok(()) => {
                assert_eq!((collected, sessions.len()), (0, 1));
                let again = sessions.get(run.id()).unwrap();
                let question = block_on(again.next_question()).unwrap().unwrap().id;
                block_on(again.answer(question, true)).unwrap();
                assert!(block_on(run.ended()).unwrap().is_done());
            }
            Err(ResumeError::NotFound(_)) => assert_eq!((collected, sessions.len()), (1, 0)),
            Err(other) => panic!("{other}"),
        }
        quiet(&sessions);
    });
}

#[test]
fn sess_005_of_two_who_try_a_session_again_one_does() {
    everywhere(|builder| {
        let sessions = builder.build();
        let run = failed_once(&sessions);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let handle = run.handle();
                thread::spawn(move || match block_on(handle.retry()) {
                    Ok(()) => 1,
                    Err(ResumeError::NotRetryable { .. } | ResumeError::Owned { .. }) => 0,
                    Err(other) => panic!("{other}"),
                })
            })
            .collect();
        let retried: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(retried, 1);
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        block_on(run.answer(question, true)).unwrap();
        assert!(block_on(run.ended()).unwrap().is_done());
        assert_eq!(run.snapshot().unwrap().attempt, 2);
        quiet(&sessions);
    });
}

/// A session that fails, and asks when it is tried again.
fn failed_once(sessions: &Sessions) -> Run<()> {
    let attempts = AtomicU32::new(0);
    let body = sessions.register("fails", move |cx: SessionContext, (): ()| {
        let is_first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                return Err(BoxError::from("on purpose"));
            }
            let _: bool = cx.ask(Ask::confirm("ok", "?")).await?;
            Ok(())
        }
    });
    let body = body.unwrap();
    let run = block_on(async { body.spawn(()).await }).unwrap();
    assert!(block_on(run.clone()).is_err());
    // It is told before its task is over.
    while block_on(run.ended()).is_err() {}
    run
}

#[test]
fn sess_015_children_end_with_their_parent_whenever_it_is_cancelled() {
    everywhere(|builder| {
        let sessions = builder.build();
        let _child = asks(&sessions);
        let body = sessions.register("parent", |cx: SessionContext, (): ()| async move {
            cx.spawn_child::<u32>(Child::new("ask", &1)).await
        });
        let body = body.unwrap();
        let run = block_on(async { body.spawn(()).await }).unwrap();
        let canceller = {
            let handle = run.handle();
            thread::spawn(move || block_on(handle.cancel("enough")).is_ok())
        };
        let id = QuestionId(1);
        while run.outcome().unwrap().is_none() {
            let child = sessions.list().into_iter().find(|known| &*known.body == "ask");
            if let Some(child) = child.and_then(|child| sessions.get(child.id).ok()) {
                // Not asked yet, answered, or withdrawn.
                let _ = block_on(child.answer(id, true));
            }
            thread::yield_now();
        }
        let cancelled = canceller.join().unwrap();
        let outcome = agree(&run);
        let is_cancelled = matches!(outcome, Outcome::Cancelled(_)) && cancelled;
        assert!(outcome.is_done() || is_cancelled, "{outcome:?}");
        for session in sessions.list() {
            let ended = block_on(sessions.get(session.id).unwrap().ended()).unwrap();
            assert!(ended.is_done() || matches!(ended, Outcome::Cancelled(_)), "{ended:?}");
        }
        quiet(&sessions);
    });
}

/// A registry that nobody can reach any more ends what it runs, and is gone with it.
#[test]
fn sess_016_bd_22_the_last_registry_that_is_dropped_leaves_nobody_waiting_and_nothing_behind() {
    explore(|| {
        let sessions = Sessions::new();
        let run = ask(&sessions, 1);
        let idle = block_on(async { asks_again(&sessions).plan(0).await }).unwrap();
        let question = block_on(run.next_question()).unwrap().unwrap().id;
        let left = Arc::downgrade(sessions.shared());
        let answerer = {
            let handle = run.handle();
            thread::spawn(move || block_on(handle.answer(question, true)).is_ok())
        };
        let dropper = thread::spawn(move || drop(sessions));
        let ended = block_on(run);
        let answered = answerer.join().unwrap();
        match ended {
            Ok(yes) => assert!(yes == 1 && answered),
            Err(RunError::Cancelled(_)) => assert!(!answered),
            Err(other) => panic!("{other}"),
        }
        dropper.join().unwrap();
        drop(idle);
        // The task that ran the body may still hold it.
        while left.strong_count() > 0 {
            thread::yield_now();
        }
    });
}

fn asks_again(sessions: &Sessions) -> Body<u32, u32> {
    sessions.register("ask_again", ask_times).unwrap()
}
