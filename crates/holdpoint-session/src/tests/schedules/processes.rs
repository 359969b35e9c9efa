//! Several processes over one store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use holdpoint_core::SessionId;
use holdpoint_core::store::Store;
use shuttle::future::block_on;
use shuttle::thread;

use super::*;
use crate::{AnswerError, Recovery, ResumeError, RunError};

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

/// A process that hears others, and takes up nothing by itself.
fn process(store: Arc<dyn Store>) -> Sessions {
    let builder = Sessions::builder().store(store).recovery(Recovery::Explicit);
    block_on(builder.open()).unwrap()
}

fn two(disk: &VirtualDisk) -> [Sessions; 2] {
    [(); 2].map(|()| process(disk.open()))
}

/// Two processes, the first of which has a store that acknowledges at once, or takes its time.
fn explore_two(test: impl Fn([Sessions; 2]) + Send + Sync + 'static) {
    let test = Arc::new(test);
    let quickly = Arc::clone(&test);
    explore(move || quickly(two(&VirtualDisk::new())));
    explore(move || {
        let disk = VirtualDisk::new();
        slowly(&disk, |store| test([process(store), process(disk.open())]));
    });
}

fn question(handle: &SessionHandle) -> holdpoint_core::session::QuestionId {
    block_on(handle.next_question()).unwrap().unwrap().id
}

#[test]
fn sess_004_store_009_of_two_processes_that_answer_the_same_one_is_refused() {
    explore_two(|[owner, other]| {
        let run = ask(&owner, 1);
        let asked = question(&run);
        let far = other.get(run.id()).unwrap();
        let answerer = thread::spawn(move || {
            let answered = is_taken(block_on(far.answer(asked, true)));
            assert!(block_on(far.ended()).unwrap().is_done());
            answered
        });
        let answered = is_taken(block_on(run.answer(asked, true)));
        assert_eq!(u32::from(answered) + u32::from(answerer.join().unwrap()), 1);
        assert_eq!(block_on(run).unwrap(), 1);
        quiet(&owner);
        quiet(&other);
    });
}

fn is_taken<T>(answered: Result<T, AnswerError>) -> bool {
    match answered {
        Ok(_) => true,
        Err(AnswerError::NotOpen { .. } | AnswerError::NothingOpen { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn sess_007_se_3_store_009_a_cancel_from_another_process_that_meets_the_end_leaves_one_of_both() {
    explore_two(|[owner, other]| {
        let run = ask(&owner, 1);
        let asked = question(&run);
        let far = other.get(run.id()).unwrap();
        let canceller = thread::spawn(move || {
            let cancelled = block_on(far.cancel("enough")).is_ok();
            (cancelled, agree(&far))
        });
        let answered = block_on(run.answer(asked, true)).is_ok();
        let outcome = agree(&run);
        let (cancelled, seen) = canceller.join().unwrap();
        assert_eq!(seen, outcome);
        assert!(if outcome.is_done() { answered } else { cancelled && !answered });
        quiet(&owner);
        quiet(&other);
    });
}

#[test]
fn sess_010_an_observer_in_another_process_misses_nothing() {
    explore_two(|[owner, other]| {
        let run = ask(&owner, 1);
        let far = other.get(run.id()).unwrap();
        let observer = thread::spawn(move || observe(&far, Since::Beginning, |_| {}));
        let asked = question(&run);
        block_on(run.answer(asked, true)).unwrap();
        block_on(run.clone()).unwrap();
        assert_eq!(observer.join().unwrap(), run.snapshot().unwrap().last_seq);
        quiet(&owner);
        quiet(&other);
    });
}

/// The owner shuts down while another process answers, and then goes on with the session.
#[test]
fn sess_004_sess_016_store_009_an_answer_that_meets_the_handover_is_not_lost() {
    explore_two(|[owner, other]| {
        let run = ask(&owner, 2);
        let asked = question(&run);
        let _body = asks(&other);
        let id = run.id();
        let heir = thread::spawn(move || {
            let far = other.get(id).unwrap();
            block_on(far.answer(asked, true)).unwrap();
            while let Err(refused) = block_on(far.resume()) {
                assert!(matches!(refused, ResumeError::Owned { .. }), "{refused}");
                thread::yield_now();
            }
            let asked = question(&far);
            block_on(far.answer(asked, true)).unwrap();
            assert_eq!(block_on(far.typed::<u32>()).unwrap(), 2);
            quiet(&other);
        });
        quiet(&owner);
        match block_on(run.ended()) {
            Ok(outcome) => assert!(outcome.is_done()),
            Err(RunError::Suspended(_)) => {}
            Err(other) => panic!("{other}"),
        }
        heir.join().unwrap();
    });
}

#[test]
fn sess_007_sess_016_store_009_a_cancel_that_meets_the_handover_is_not_lost() {
    explore_two(|[owner, other]| {
        let run = ask(&owner, 1);
        let asked = question(&run);
        let far = other.get(run.id()).unwrap();
        let canceller = thread::spawn(move || {
            block_on(far.cancel("enough")).unwrap();
            // The body was to hear of it, and does so when it goes on.
            let _body = asks(&other);
            while let Err(RunError::Suspended(_)) = block_on(far.ended()) {
                assert!(far.snapshot().unwrap().cancel_requested.is_some());
                block_on(far.resume()).unwrap();
            }
            assert!(matches!(agree(&far), Outcome::Cancelled(_)));
            quiet(&other);
        });
        quiet(&owner);
        // From the process that has just let go of it, too.
        if let Err(refused) = block_on(run.answer(asked, true)) {
            let is_over = matches!(
                refused,
                AnswerError::AlreadyCancelled(_) | AnswerError::NothingOpen { .. }
            );
            assert!(is_over, "{refused}");
        }
        canceller.join().unwrap();
    });
}

#[test]
fn sess_019_two_processes_with_the_same_key_have_the_same_session() {
    explore(|| {
        let disk = VirtualDisk::new();
        let threads = two(&disk).map(|sessions| {
            thread::spawn(move || -> SessionId {
                let body = asks(&sessions);
                let run = block_on(async { body.spawn(0).key("k").await }).unwrap();
                assert!(block_on(run.ended()).unwrap().is_done());
                quiet(&sessions);
                run.id()
            })
        });
        let [one, other] = threads.map(|thread| thread.join().unwrap());
        assert_eq!(one, other);
    });
}
