//! The rules of the contract, one by one, as a caller meets them: in memory, over the virtual disk
//! whose processes are killed at will, and over the store on a real one.

mod answers;
mod circles;
mod counting;
mod ends;
mod given_up;
mod ledger;
mod limits;
mod observers;
mod places;
mod recorded;
mod shutdown;
mod spans;
mod start;

use std::cell::OnceCell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::{QuestionId, SessionState};
use holdpoint_core::store::Store;
use holdpoint_core::{Clock, Monotonic, Now, SessionId, Timestamp};
use holdpoint_testkit::store::real::{FileOptions, FileStore, Sync};
use holdpoint_testkit::store::{FaultyStore, VirtualDisk};
use tempfile::TempDir;

use crate::{
    Ask, BodyError, Observed, Observer, Outcome, SessionContext, SessionHandle, Sessions,
    SessionsBuilder, Since,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Waits for what must come: a year of paused time, a minute and a half of a real clock.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    let before = std::time::Instant::now();
    let limit = if is_paused() { HOUR * 24 * 365 } else { SECOND * 90 };
    let Ok(value) = tokio::time::timeout(limit, what).await else {
        panic!("it does not come within {limit:?} ({:?} really)", before.elapsed());
    };
    value
}

/// Whether the runtime's clock stands still: it does not move while nobody sleeps. Found out once for
/// each thread, which belongs to one test.
fn is_paused() -> bool {
    thread_local! {
        static IS_PAUSED: OnceCell<bool> = const { OnceCell::new() };
    }
    IS_PAUSED.with(|known| {
        *known.get_or_init(|| {
            let (paused, real) = (tokio::time::Instant::now(), std::time::Instant::now());
            std::thread::sleep(Duration::from_micros(50));
            paused.elapsed() < real.elapsed() / 2
        })
    })
}

/// Waits until something is so, looking every millisecond.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..90_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never is so");
}

/// A process on the virtual disk: its store, to kill it by, and its registry.
pub(crate) struct Process {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) sessions: Sessions,
}

impl Process {
    pub(crate) async fn start(disk: &VirtualDisk) -> Self {
        Self::start_with(disk, Sessions::builder()).await
    }

    pub(crate) async fn start_with(disk: &VirtualDisk, builder: SessionsBuilder) -> Self {
        let store = disk.open();
        let sessions = builder.store(Arc::clone(&store) as _).open().await.unwrap();
        Self { store, sessions }
    }

    /// It is killed: what was not acknowledged is lost.
    pub(crate) fn kill(self) {
        self.store.crash();
    }
}

/// A process over the store on a real disk.
pub(crate) async fn file_process(folder: &TempDir) -> Sessions {
    Sessions::builder().store(file_store(folder)).open().await.unwrap()
}

pub(crate) fn file_store(folder: &TempDir) -> Arc<dyn Store> {
    let options = FileOptions::new().sync(Sync::Relaxed);
    Arc::new(FileStore::open(folder.path().join("store"), options).unwrap())
}

/// A registry in memory, and one over the virtual disk.
pub(crate) async fn both() -> [Sessions; 2] {
    [Sessions::new(), Process::start(&VirtualDisk::new()).await.sessions]
}

/// A registry's session is taken up by it.
pub(crate) async fn taken_up(sessions: &Sessions, id: SessionId) -> SessionHandle {
    until(|| sessions.list().iter().any(|snapshot| snapshot.id == id)).await;
    sessions.get(id).unwrap()
}

/// The first open question.
pub(crate) async fn question(handle: &SessionHandle) -> QuestionId {
    within(handle.next_question()).await.unwrap().expect("it asks").id
}

/// The question of this name, when it is open.
pub(crate) async fn asked(handle: &SessionHandle, name: &str) -> QuestionId {
    within(handle.wait_for(|state| match state {
        SessionState::Paused(open) => {
            open.iter().find(|question| &*question.name == name).map(|question| question.id)
        }
        state if state.is_terminal() => panic!("it does not ask `{name}`: {state:?}"),
        _ => None,
    }))
    .await
    .unwrap()
}

/// All that an observer is told until it ends.
pub(crate) async fn rest(observer: &mut Observer) -> Vec<Observed> {
    let mut all = Vec::new();
    while let Some(told) = within(observer.next()).await {
        all.push(told);
    }
    all
}

/// All events from the beginning, of a session that ends.
pub(crate) async fn events(handle: &SessionHandle) -> Vec<Event> {
    let told = rest(&mut handle.observe(Since::Beginning).unwrap()).await;
    told.into_iter()
        .map(|told| match told {
            Observed::Event(event) => event,
            other => panic!("{other:?}"),
        })
        .collect()
}

pub(crate) fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name().trim_start_matches("session_")).collect()
}

pub(crate) fn stored_events(store: &dyn Store, id: SessionId) -> Vec<Event> {
    let stored = store.events(&Stream::Session(id), 0, 100_000).unwrap();
    stored.iter().map(|event| event.event().unwrap()).collect()
}

/// The journal as texts.
pub(crate) fn journal(store: &dyn Store, id: SessionId) -> Vec<String> {
    let entries = store.journal(&Stream::Session(id), 0, 100_000).unwrap();
    entries.iter().map(|entry| String::from_utf8(entry.data.to_vec()).unwrap()).collect()
}

/// The message of a failure.
pub(crate) async fn failure(handle: &SessionHandle) -> String {
    match within(handle.ended()).await.unwrap() {
        Outcome::Failed(failure) => failure.message().to_string(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn ask_confirm(cx: SessionContext, _: ()) -> Result<bool, BodyError> {
    cx.ask(Ask::confirm("ok", "Go on?")).await
}

/// What was executed, in order.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    pub(crate) fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|entry| *entry == text).count()
    }
}

/// Effects wait at it until it is opened, and then never again.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub(crate) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().unwrap().0
    }

    pub(crate) async fn pass(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Follows the runtime's clock, also in wall time; its wall can be set ahead and back, and it counts
/// how often it was read.
#[derive(Debug)]
pub(crate) struct Steps {
    origin: tokio::time::Instant,
    ahead: AtomicI64,
    pub(crate) reads: AtomicU64,
}

impl Steps {
    pub(crate) fn new() -> Arc<Self> {
        let origin = tokio::time::Instant::now();
        Arc::new(Self { origin, ahead: AtomicI64::new(0), reads: AtomicU64::new(0) })
    }

    /// Steps wall time alone, by so many seconds.
    pub(crate) fn step_wall(&self, seconds: i64) {
        self.ahead.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Steps {
    fn now(&self) -> Now {
        let wall = Timestamp::from_micros(1_795_226_400_000_000).as_micros()
            + u64::try_from(self.origin.elapsed().as_micros()).unwrap();
        let wall = wall.saturating_add_signed(self.ahead.load(Ordering::SeqCst));
        Now { wall: Timestamp::from_micros(wall), monotonic: self.monotonic() }
    }

    fn monotonic(&self) -> Monotonic {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Monotonic::ZERO + self.origin.elapsed()
    }
}
