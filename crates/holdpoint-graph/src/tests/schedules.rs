//! The inline place, and whole runs, under schedules explored at random and by priority. A lost
//! wake-up leaves a thread that never ends, which the explorer reports with the schedule that led
//! there.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use holdpoint_core::{Cancel, CancelCode};
use holdpoint_hold::Holds;
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use super::audit::Audit;
use super::cases;
use super::runners::Each;
use super::twin::place::{InlinePlace, Place};
use crate::{Hold, Limits, RunOptions, TaskContext, TaskEnd, TaskEvent, Topology, run};

/// Runs `body` under so many schedules, half of them with few but well-placed switches.
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    let schedules = cases() as usize * 2;
    shuttle::check_random(move || body(), schedules);
    shuttle::check_pct(move || again(), schedules, 3);
}

/// Something that a thread will do, for a task to wait for.
#[derive(Default)]
struct Signal {
    given: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    fn give(&self) {
        self.given.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes who waits, with or without a reason.
    fn wake(&self) {
        let waker = self.waker.lock().unwrap().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Waits for a signal. Looks before and after it leaves its waker, as futures must.
struct Wait(Arc<Signal>);

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
        if self.0.given.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn signals(count: usize) -> Vec<Arc<Signal>> {
    (0..count).map(|_| Arc::default()).collect()
}

/// Polls the place until `count` of its futures have ended; gives their slots.
fn ends(place: &mut InlinePlace<Wait>, count: usize) -> Vec<u32> {
    let mut slots = Vec::new();
    while slots.len() < count {
        let (slot, ended) = block_on(poll_fn(|cx| place.poll_ended(cx)));
        ended.expect("it does not panic");
        slots.push(slot);
    }
    slots
}

#[test]
fn graph_006_no_wake_up_is_lost_between_a_thread_and_the_driver() {
    explore(|| {
        let signals = signals(3);
        let mut place = InlinePlace::new();
        for (slot, signal) in (0..).zip(&signals) {
            assert!(place.start(slot, Wait(Arc::clone(signal)), None).is_none());
        }
        // Each signal from a thread of its own, after wake-ups for nothing.
        let threads: Vec<_> = signals
            .iter()
            .map(|signal| {
                let signal = Arc::clone(signal);
                thread::spawn(move || {
                    for _ in 0..thread_rng().gen_range(0..3) {
                        signal.wake();
                    }
                    signal.give();
                })
            })
            .collect();
        let mut slots = ends(&mut place, 3);
        slots.sort_unstable();
        assert_eq!(slots, [0, 1, 2]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn graph_006_one_future_woken_from_many_threads_ends_once() {
    explore(|| {
        let signal = Arc::<Signal>::default();
        let mut place = InlinePlace::new();
        assert!(place.start(0, Wait(Arc::clone(&signal)), None).is_none());
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let signal = Arc::clone(&signal);
                thread::spawn(move || if number == 0 { signal.give() } else { signal.wake() })
            })
            .collect();
        assert_eq!(ends(&mut place, 1), [0]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(place.poll_ended(&mut cx).is_pending(), "late wake-ups find nothing");
    });
}

/// Slots are used again, and a waker of an earlier future may still be about.
#[test]
fn graph_006_a_late_wake_up_of_a_reused_slot_does_no_harm() {
    explore(|| {
        let [first, second] = [Arc::<Signal>::default(), Arc::default()];
        let mut place = InlinePlace::new();
        assert!(place.start(0, Wait(Arc::clone(&first)), None).is_none());
        let late = {
            let first = Arc::clone(&first);
            thread::spawn(move || {
                first.give();
                first.wake();
            })
        };
        if thread_rng().gen_bool(0.5) {
            assert_eq!(ends(&mut place, 1), [0]);
        } else {
            place.stop(0);
        }
        assert!(place.start(0, Wait(Arc::clone(&second)), None).is_none());
        let other = thread::spawn(move || second.give());
        assert_eq!(ends(&mut place, 1), [0]);
        late.join().unwrap();
        other.join().unwrap();
    });
}

/// A whole run, while one thread ends tasks, one gives a hold back that all wait for, and one
/// cancels. However they race, every task has one end and no hold is left.
#[test]
fn graph_009_graph_008_gr_3_ho_3_ends_holds_and_a_cancel_may_race() {
    explore(|| {
        let mut builder = Topology::builder();
        builder.task("a");
        builder.task("b").needs("a").hold(Hold::shared("db"));
        builder.task("c").hold(Hold::exclusive("db"));
        builder.task("d").after("b").hold(Hold::shared("db"));
        let topology = Arc::new(builder.build().expect("a good graph"));
        let (holds, cancel) = (Holds::new(), Cancel::new());
        let guard = holds.try_acquire(&[Hold::exclusive("db")]).expect("a good hold");
        let signals = Arc::new(signals(4));

        let mut threads = Vec::new();
        let ending = Arc::clone(&signals);
        threads.push(thread::spawn(move || ending.iter().for_each(|signal| signal.give())));
        threads.push(thread::spawn(move || {
            thread::yield_now();
            drop(guard);
        }));
        if thread_rng().gen_bool(0.5) {
            let cancel = cancel.clone();
            threads.push(thread::spawn(move || {
                thread::yield_now();
                cancel.cancel(CancelCode::User, "enough");
            }));
        }

        let mut audit = Audit::new(&topology);
        let observer = |event: &TaskEvent| audit.take(event);
        let runner = Each(|cx: TaskContext| {
            let signal = Arc::clone(&signals[cx.task().index()]);
            async move {
                Wait(signal).await;
                TaskEnd::Succeeded
            }
        });
        let options = RunOptions::default().limits(Limits::jobs(2)).holds(holds.clone());
        let options = options.cancel(cancel).observer(observer);
        let report = block_on(run(&topology, &runner, options)).expect("it runs");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        audit.compare(&report);
        assert_eq!(report.observer_panic(), None);
        assert!(holds.is_empty());
    });
}
