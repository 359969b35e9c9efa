//! Places that are given and handed on (SESS-015).

use std::panic::resume_unwind;

use shuttle::future::block_on;
use shuttle::thread;

use super::*;
use crate::{Limits, StepFailure};

#[test]
fn sess_015_se_9_no_more_are_live_than_the_limit_and_nobody_is_forgotten() {
    everywhere(|builder| {
        let sessions = builder.limits(Limits::none().live(1)).build();
        let live = Inside::default();
        let seen = live.clone();
        let body = sessions.register("work", move |cx: SessionContext, panics: bool| {
            let live = seen.clone();
            async move {
                let inside = live.enter(1);
                let work = || async {
                    shuttle::future::yield_now().await;
                    Ok::<_, StepFailure>(())
                };
                let worked = cx.step("work", work).await;
                inside.leave();
                if panics {
                    resume_unwind(Box::new("on purpose"));
                }
                worked
            }
        });
        let body = body.unwrap();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let body = body.clone();
                thread::spawn(move || {
                    let run = block_on(async { body.spawn(number == 0).await }).unwrap();
                    if number == 1 {
                        // Before, in or after its turn.
                        let _ = block_on(run.cancel(""));
                    }
                    let ended = block_on(run);
                    assert!(number == 1 || ended.is_ok() == (number == 2), "{ended:?}");
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(live.count(), 0);
        quiet(&sessions);
    });
}

#[test]
fn sess_015_no_more_are_paused_than_the_limit_and_who_waits_gets_its_turn() {
    everywhere(|builder| {
        let sessions = builder.limits(Limits::none().paused(1)).build();
        let body = asks(&sessions);
        let paused = Inside::default();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (body, paused) = (body.clone(), paused.clone());
                thread::spawn(move || {
                    let run = block_on(async { body.spawn(1).await }).unwrap();
                    if number == 0 {
                        // One that gives up passes its turn on.
                        block_on(run.cancel("")).unwrap();
                        assert!(block_on(run).is_err());
                        return;
                    }
                    let question = block_on(run.next_question()).unwrap().unwrap().id;
                    let inside = paused.enter(1);
                    thread::yield_now();
                    inside.leave();
                    block_on(run.answer(question, true)).unwrap();
                    assert_eq!(block_on(run).unwrap(), 1);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(paused.ever(), 2);
        quiet(&sessions);
    });
}
