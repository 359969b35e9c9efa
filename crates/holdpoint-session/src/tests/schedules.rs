//! The registry under schedules explored at random and by priority. A deadlock or a lost wake-up
//! leaves a task that never ends, which the explorer reports with the schedule that led there.

mod answers;
mod ends;
mod limits;
mod processes;
mod starts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use holdpoint_testkit::store::{Faults, FaultyStore, VirtualDisk};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

use super::cases;
use super::twin::body::Body;
use super::twin::handle::{Run, SessionHandle};
use super::twin::observe::{Observed, Since};
use super::twin::sessions::{Sessions, SessionsBuilder};
use crate::{Ask, BodyError, Outcome, SessionContext};

const HOUR: Duration = Duration::from_secs(3600);

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

/// The same in memory, over a store that acknowledges at once, and over one that takes its time.
fn everywhere(test: impl Fn(SessionsBuilder) + Send + Sync + 'static) {
    let test = Arc::new(test);
    let (in_memory, stored) = (Arc::clone(&test), Arc::clone(&test));
    explore(move || in_memory(Sessions::builder()));
    explore(move || stored(Sessions::builder().store(VirtualDisk::new().open())));
    explore(move || {
        slowly(&VirtualDisk::new(), |store| test(Sessions::builder().store(store)));
    });
}

/// A process whose store takes its time.
fn slowly(disk: &VirtualDisk, test: impl FnOnce(Arc<FaultyStore>)) {
    let store = disk.open_with(Faults::none().delay_all());
    let is_over = Arc::new(AtomicBool::new(false));
    let disk = {
        let (store, is_over) = (Arc::clone(&store), Arc::clone(&is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                store.release_one();
                thread::yield_now();
            }
        })
    };
    test(store);
    is_over.store(true, Ordering::SeqCst);
    disk.join().unwrap();
}

async fn ask_times(cx: SessionContext, times: u32) -> Result<u32, BodyError> {
    let mut yes = 0;
    for _ in 0..times {
        let answer: bool = cx.ask(Ask::confirm("ok", "?")).await?;
        yes += u32::from(answer);
    }
    Ok(yes)
}

fn asks(sessions: &Sessions) -> Body<u32, u32> {
    sessions.register("ask", ask_times).unwrap()
}

fn ask(sessions: &Sessions, times: u32) -> Run<u32> {
    block_on(async { asks(sessions).spawn(times).await }).unwrap()
}

/// All bodies are over: what still ran at the end of a schedule would be unwound in the middle.
fn quiet(sessions: &Sessions) {
    assert!(block_on(sessions.shutdown(HOUR)).is_clean());
}

/// The terminal state, agreed upon by all who can be asked.
fn agree(handle: &SessionHandle) -> Outcome {
    let outcome = block_on(handle.ended()).unwrap();
    assert_eq!(handle.outcome().unwrap(), Some(outcome.clone()));
    let mut terminals = 0;
    let last = observe(handle, Since::Beginning, |event| {
        terminals += u32::from(event.kind.ends_session());
    });
    assert_eq!((terminals, last), (1, handle.snapshot().unwrap().last_seq));
    outcome
}

/// Observes to the end, and finds no hole. Says which was the last event.
fn observe(
    handle: &SessionHandle,
    since: Since,
    mut see: impl FnMut(&holdpoint_core::event::Event),
) -> u64 {
    let mut observer = handle.observe(since).unwrap();
    let mut last = (since == Since::Beginning).then_some(0);
    while let Some(said) = block_on(observer.next()) {
        let Observed::Event(event) = said else { panic!("{said:?}") };
        assert_eq!(event.seq, last.map_or(event.seq, |last| last + 1));
        last = Some(event.seq);
        see(&event);
    }
    assert_eq!(block_on(observer.next()), None, "it is over for good");
    last.unwrap_or_default()
}

/// Counts who is inside, and how many ever were.
#[derive(Debug, Clone, Default)]
struct Inside(Arc<[AtomicU32; 2]>);

impl Inside {
    fn enter(&self, at_most: u32) -> Self {
        let inside = self.0[0].fetch_add(1, Ordering::SeqCst) + 1;
        assert!(inside <= at_most, "{inside} inside");
        self.0[1].fetch_add(1, Ordering::SeqCst);
        self.clone()
    }

    fn leave(self) {
        self.0[0].fetch_sub(1, Ordering::SeqCst);
    }

    fn count(&self) -> u32 {
        self.0[0].load(Ordering::SeqCst)
    }

    fn ever(&self) -> u32 {
        self.0[1].load(Ordering::SeqCst)
    }
}

/// Leaves whatever becomes of who is inside.
struct Leaves(Option<Inside>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.take().unwrap().leave();
    }
}
