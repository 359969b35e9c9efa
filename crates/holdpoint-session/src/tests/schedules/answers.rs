//! Questions, answers and cancellations that meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use holdpoint_core::session::{QuestionId, SessionState};
use shuttle::future::block_on;
use shuttle::thread;

use super::*;
use crate::AnswerError;

#[test]
fn sess_006_se_4_bd_1_a_question_asked_at_once_is_never_lost() {
    everywhere(|builder| {
        let sessions = builder.build();
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
    everywhere(|builder| {
        let sessions = builder.build();
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
fn sess_004_sess_007_bd_3_an_answer_that_was_taken_reaches_the_body_whoever_cancels() {
    everywhere(|builder| {
        let sessions = builder.build();
        let heard = Arc::new(AtomicU32::new(0));
        let hears = Arc::clone(&heard);
        let body = sessions.register("ask", move |cx: SessionContext, (): ()| {
            let heard = Arc::clone(&hears);
            async move {
                for _ in 0..2 {
                    let _: bool = cx.ask(Ask::confirm("ok", "?")).await?;
                    heard.fetch_add(1, Ordering::SeqCst);
                }
                Ok::<_, BodyError>(())
            }
        });
        let body = body.unwrap();
        let run = block_on(async { body.spawn(()).await }).unwrap();
        let canceller = {
            let handle = run.handle();
            thread::spawn(move || block_on(handle.cancel("enough")))
        };
        let mut taken = 0;
        while let Some(question) = block_on(run.next_question()).unwrap() {
            match block_on(run.answer(question.id, true)) {
                Ok(_) => taken += 1,
                // Withdrawn, which is shown in a moment.
                Err(AnswerError::NotOpen { .. } | AnswerError::NothingOpen { .. }) => {
                    thread::yield_now();
                }
                Err(AnswerError::AlreadyCancelled(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let cancelled = canceller.join().unwrap();
        match agree(&run) {
            Outcome::Done(_) => assert_eq!(taken, 2),
            Outcome::Cancelled(cause) => {
                cancelled.unwrap();
                assert!(&*cause.text == "enough" && taken < 2);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(heard.load(Ordering::SeqCst), taken);
        quiet(&sessions);
    });
}
