//! The handles under schedules explored at random and by priority. A deadlock or a lost wake-up
//! leaves a thread that never ends, which the explorer reports with the schedule that led there.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::cases;
use super::twin::handle::Holds;
use crate::Hold;

/// Runs `body` under so many schedules, half of them with few but well-placed switches.
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    let schedules = cases() as usize * 2;
    shuttle::check_random(move || body(), schedules);
    shuttle::check_pct(move || again(), schedules, 3);
}

fn db() -> [Hold; 1] {
    [Hold::exclusive("db")]
}

/// Counts who is inside, and fails where that is more than allowed.
#[derive(Default)]
struct Inside(AtomicU32);

impl Inside {
    fn visit(&self, at_most: u32) {
        let inside = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(inside <= at_most, "{inside} inside");
        thread::yield_now();
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn hold_002_threads_exclude_each_other() {
    explore(|| {
        let holds = Holds::new();
        let inside = Arc::new(Inside::default());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (holds, inside) = (holds.clone(), Arc::clone(&inside));
                thread::spawn(move || {
                    for _ in 0..2 {
                        let _guard = holds.acquire_blocking(&db()).unwrap();
                        inside.visit(1);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(holds.is_empty());
    });
}

#[test]
fn hold_002_units_are_never_more_than_the_capacity() {
    explore(|| {
        let holds = Holds::new();
        holds.declare("gpu", 2).unwrap();
        let inside = Arc::new(Inside::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (holds, inside) = (holds.clone(), Arc::clone(&inside));
                thread::spawn(move || {
                    let _guard = holds.acquire_blocking(&[Hold::units("gpu", 1)]).unwrap();
                    inside.visit(2);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn hold_005_ho_2_any_lists_in_any_order_do_not_deadlock() {
    explore(|| {
        let holds = Holds::new();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let holds = holds.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        let _guard = holds.acquire_blocking(&random_list()).unwrap();
                        thread::yield_now();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(holds.is_empty());
    });
}

/// One to four of four names, in random order and mode.
fn random_list() -> Vec<Hold> {
    let mut rng = thread_rng();
    let mut names = vec!["a", "b", "c", "d"];
    (0..rng.gen_range(1..=4))
        .map(|_| {
            let name = names.swap_remove(rng.gen_range(0..names.len()));
            if rng.gen_bool(0.5) { Hold::exclusive(name) } else { Hold::shared(name) }
        })
        .collect()
}

#[test]
fn hold_003_ho_3_a_holder_that_panics_releases() {
    explore(|| {
        let holds = Holds::new();
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let holds = holds.clone();
                thread::spawn(move || {
                    let ended = catch_unwind(AssertUnwindSafe(|| {
                        let _guard = holds.acquire_blocking(&db()).unwrap();
                        if n == 0 {
                            // Without the hook, which the explorer takes for a failed test.
                            resume_unwind(Box::new("on purpose"));
                        }
                    }));
                    assert_eq!(ended.is_err(), n == 0);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(holds.is_empty());
    });
}

#[test]
fn hold_008_ho_4_waiters_dropped_at_any_poll_wake_the_next() {
    explore(|| {
        let holds = Holds::new();
        let holder = holds.try_acquire(&db()).unwrap();
        let impatient: Vec<_> = (0..2)
            .map(|_| {
                let holds = holds.clone();
                thread::spawn(move || {
                    let list = db();
                    let mut waiter = Box::pin(holds.acquire(&list));
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
                })
            })
            .collect();
        let patient = {
            let holds = holds.clone();
            thread::spawn(move || {
                block_on(async {
                    let _guard = holds.acquire(&db()).await.unwrap();
                });
            })
        };
        drop(holder);
        impatient.into_iter().for_each(|thread| thread.join().unwrap());
        patient.join().unwrap();
        assert!(holds.is_empty());
    });
}

#[test]
fn hold_008_ho_4_aborted_tasks_leave_nothing() {
    explore(|| {
        block_on(async {
            let holds = Holds::new();
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let holds = holds.clone();
                    shuttle::future::spawn(async move {
                        let _guard = holds.acquire(&db()).await.unwrap();
                        shuttle::future::yield_now().await;
                    })
                })
                .collect();
            tasks[thread_rng().gen_range(0..3)].abort();
            for task in tasks {
                let _ = task.await;
            }
            let _guard = holds.acquire(&db()).await.unwrap();
            assert_eq!(holds.len(), 1);
        });
    });
}

#[test]
fn hold_006_ho_4_a_client_hears_of_every_due_ticket_and_of_no_dropped_one() {
    explore(|| {
        let holds = Holds::new();
        let mut client = holds.client("graph");
        let claims = client.claims(&db()).unwrap();
        let holder = holds.try_acquire(&db()).unwrap();
        let mut tickets: Vec<_> = (0..3).map(|n| client.request(&claims, n)).collect();
        // One is withdrawn by another thread while the client reads.
        let withdrawn = thread_rng().gen_range(0..3);
        let gone = Arc::new(AtomicBool::new(false));
        let other = {
            let ticket = tickets.remove(withdrawn as usize);
            let gone = Arc::clone(&gone);
            thread::spawn(move || {
                drop(ticket);
                gone.store(true, Ordering::SeqCst);
            })
        };
        let releaser = thread::spawn(move || drop(holder));
        let mut left: Vec<u32> = (0..3).filter(|&n| n != withdrawn).collect();
        while !left.is_empty() {
            let was_gone = gone.load(Ordering::SeqCst);
            let cookie = block_on(poll_fn(|cx| client.poll_granted(cx)));
            if cookie == withdrawn {
                assert!(!was_gone, "told of a ticket that was dropped before");
                continue;
            }
            assert_eq!(cookie, left.remove(0), "in ticket order");
            let ticket = tickets.remove(0);
            assert!(ticket.is_granted());
        }
        other.join().unwrap();
        releaser.join().unwrap();
        assert!(holds.is_empty());
    });
}

#[test]
fn hold_010_clients_bodies_and_threads_meet_in_one_set() {
    explore(|| {
        let holds = Holds::new();
        let inside = Arc::new(Inside::default());
        let engine = {
            let (mut client, inside) = (holds.client("graph"), Arc::clone(&inside));
            thread::spawn(move || {
                let claims = client.claims(&db()).unwrap();
                for cookie in 0..2 {
                    let ticket = client.request(&claims, cookie);
                    if !ticket.is_granted() {
                        assert_eq!(block_on(poll_fn(|cx| client.poll_granted(cx))), cookie);
                    }
                    inside.visit(1);
                    drop(ticket);
                    // Due between the question above and the drop: there is no cookie left.
                    let mut cx = Context::from_waker(Waker::noop());
                    assert!(client.poll_granted(&mut cx).is_pending());
                }
            })
        };
        let body = {
            let (holds, inside) = (holds.clone(), Arc::clone(&inside));
            thread::spawn(move || {
                block_on(async {
                    let _guard = holds.acquire(&db()).await.unwrap();
                    inside.visit(1);
                });
            })
        };
        let guard = holds.acquire_blocking(&db()).unwrap();
        inside.visit(1);
        drop(guard);
        engine.join().unwrap();
        body.join().unwrap();
        assert!(holds.is_empty());
    });
}

/// A task that waits may own a guard of the same set, and dropping its waker may drop it. Under
/// the lock that would be a deadlock.
#[test]
fn hold_008_wakers_are_dropped_outside_the_lock() {
    struct Owner<T>(#[allow(dead_code, reason = "kept for its drop")] T);
    impl<T: Send + Sync + 'static> Wake for Owner<T> {
        fn wake(self: Arc<Self>) {}
    }
    let body = || {
        let holds = Holds::new();
        let _db = holds.try_acquire(&db()).unwrap();
        let owner = || {
            let log = holds.try_acquire(&[Hold::exclusive("log")]).unwrap();
            Waker::from(Arc::new(Owner(log.expect("the last owner is gone"))))
        };
        let mut noop = Context::from_waker(Waker::noop());

        let list = db();
        let mut waiter = Box::pin(holds.acquire(&list));
        assert!(waiter.as_mut().poll(&mut Context::from_waker(&owner())).is_pending());
        assert!(waiter.as_mut().poll(&mut noop).is_pending(), "replaces the waker");
        assert!(waiter.as_mut().poll(&mut Context::from_waker(&owner())).is_pending());
        drop(waiter);

        let mut client = holds.client("graph");
        assert!(client.poll_granted(&mut Context::from_waker(&owner())).is_pending());
        assert!(client.poll_granted(&mut noop).is_pending());
        assert!(client.poll_granted(&mut Context::from_waker(&owner())).is_pending());
        drop(client);
        drop(owner());
        assert_eq!(holds.len(), 1);
    };
    shuttle::check_random(body, 1);
}
