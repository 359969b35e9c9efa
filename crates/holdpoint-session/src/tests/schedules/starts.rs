//! Who starts what, while others start it too or the registry goes down.

use std::time::Duration;

use holdpoint_core::session::StateName;
use holdpoint_core::{ManualClock, Timestamp};
use shuttle::future::block_on;
use shuttle::thread;

use super::*;
use crate::{Limits, ResumeError, SpawnError};

#[test]
fn sess_005_of_two_who_start_a_session_one_does() {
    everywhere(|builder| {
        let sessions = builder.build();
        let body = asks(&sessions);
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
fn sess_019_two_with_the_same_key_have_the_same_session() {
    everywhere(|builder| {
        let sessions = builder.build();
        let body = asks(&sessions);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let body = body.clone();
                thread::spawn(move || {
                    let run = block_on(async { body.spawn(0).key("k").await }).unwrap();
                    let id = run.id();
                    assert_eq!(block_on(run).unwrap(), 0);
                    id
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
fn sess_012_sess_019_who_finds_a_session_by_its_key_holds_it_whatever_is_collected() {
    everywhere(|builder| {
        let sessions = builder.build();
        let body = asks(&sessions);
        let spawner = {
            let body = body.clone();
            thread::spawn(move || {
                let run = block_on(async { body.spawn(0).key("k").await }).unwrap();
                assert_eq!(block_on(run).unwrap(), 0);
            })
        };
        let collector = {
            let sessions = sessions.clone();
            thread::spawn(move || {
                while sessions.collect(Duration::ZERO) == 0 {
                    thread::yield_now();
                }
            })
        };
        for _ in 0..2 {
            let run = block_on(async { body.spawn(0).key("k").await }).unwrap();
            assert_eq!(block_on(run).unwrap(), 0);
        }
        spawner.join().unwrap();
        collector.join().unwrap();
        quiet(&sessions);
    });
}

#[test]
fn sess_016_a_spawn_that_meets_the_shutdown_is_refused_or_ended() {
    explore(|| {
        let sessions = Sessions::new();
        let body = asks(&sessions);
        let spawner = thread::spawn(move || match block_on(async { body.spawn(1).await }) {
            Ok(run) => Some(run),
            Err(SpawnError::ShuttingDown(_)) => None,
            Err(other) => panic!("{other}"),
        });
        let report = block_on(sessions.shutdown(HOUR));
        assert!(report.is_clean());
        if let Some(run) = spawner.join().unwrap() {
            assert!(matches!(agree(&run), Outcome::Cancelled(_)));
            assert_eq!(run.state().unwrap().name(), StateName::Cancelled);
        }
    });
}

#[test]
fn sess_016_when_a_shutdown_is_over_nothing_runs_or_begins() {
    everywhere(|builder| {
        let sessions = builder.limits(Limits::none().live(2)).build();
        let bodies = Inside::default();
        let seen = bodies.clone();
        let body = sessions.register("ask", move |cx: SessionContext, times: u32| {
            let bodies = seen.clone();
            async move {
                let _inside = Leaves(Some(bodies.enter(2)));
                ask_times(cx, times).await
            }
        });
        let body = body.unwrap();
        let planned = block_on(async { body.plan(1).await }).unwrap();
        let mut threads: Vec<_> = (0..2)
            .map(|_| {
                let body = body.clone();
                thread::spawn(move || match block_on(async { body.spawn(1).await }) {
                    Ok(run) => Some(run),
                    Err(SpawnError::ShuttingDown(_)) => None,
                    Err(other) => panic!("{other}"),
                })
            })
            .collect();
        threads.push(thread::spawn(move || match block_on(planned.resume()) {
            Ok(()) => Some(planned),
            Err(ResumeError::ShuttingDown(_)) => None,
            Err(other) => panic!("{other}"),
        }));
        assert!(block_on(sessions.shutdown(HOUR)).is_clean());
        assert_eq!(bodies.count(), 0, "a body runs");
        let ever = bodies.ever();
        for run in threads.into_iter().filter_map(|thread| thread.join().unwrap()) {
            // What is stored is left to other processes.
            let is_stored = !sessions.list_stored(0, 1).unwrap().is_empty();
            let state = run.state().unwrap().name();
            let left = [StateName::Planned, StateName::Suspended, StateName::Paused];
            if !is_stored || !left.contains(&state) {
                assert!(matches!(block_on(run.ended()).unwrap(), Outcome::Cancelled(_)));
            }
        }
        assert_eq!(bodies.ever(), ever, "a body began");
        quiet(&sessions);
    });
}

#[test]
fn sess_016_who_is_broken_off_or_ends_just_then_has_one_outcome() {
    explore(|| {
        // It stands still: the explorer's threads are not slow, but may be many.
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let sessions = Sessions::builder().clock(clock).build();
        let body = sessions.register("stubborn", |cx: SessionContext, (): ()| async move {
            let _: Result<bool, _> = cx.ask(Ask::confirm("ok", "?")).await;
            shuttle::future::yield_now().await;
            shuttle::future::yield_now().await;
            Ok::<_, BodyError>(())
        });
        let body = body.unwrap();
        let run = block_on(async { body.spawn(()).await }).unwrap();
        let waiter = {
            let run = run.clone();
            thread::spawn(move || block_on(run).is_ok())
        };
        let report = block_on(sessions.shutdown(Duration::ZERO));
        assert!(report.stuck.is_empty());
        let outcome = agree(&run);
        assert_eq!(waiter.join().unwrap(), outcome.is_done());
        match outcome {
            Outcome::Done(_) => {}
            Outcome::Cancelled(_) => {
                assert!(report.aborted.is_empty() || report.aborted == [run.id()]);
            }
            other => panic!("{other:?}"),
        }
    });
}
