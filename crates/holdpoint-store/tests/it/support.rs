//! Stores to test, and short words for what tests do with them.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{
    AppendError, Changes, Commit, Fence, Filter, Snapshot, Store, StoredEvent, StreamInfo, Write,
};
use holdpoint_core::{BatchId, SessionId, Timestamp};
use holdpoint_store::{History, MemoryStore};

/// A kind of store, which opens a fresh one.
pub(crate) trait Host {
    fn new() -> Self;
    fn open(&self) -> Arc<dyn Store>;
}

pub(crate) struct Memory;

impl Host for Memory {
    fn new() -> Self {
        Self
    }

    fn open(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::with_history(History::All))
    }
}

/// A folder of its own.
#[cfg(feature = "file")]
pub(crate) struct File(tempfile::TempDir);

#[cfg(feature = "file")]
impl Host for File {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn open(&self) -> Arc<dyn Store> {
        let store = holdpoint_store::FileStore::open(self.0.path(), Default::default());
        Arc::new(store.expect("the store opens"))
    }
}

/// How often a race is run: 20 times, or that many times what `HOLDPOINT_ROUNDS` says.
pub(crate) fn rounds() -> usize {
    let rounds = std::env::var("HOLDPOINT_ROUNDS").ok().and_then(|text| text.parse().ok());
    rounds.unwrap_or(1_usize) * 20
}

pub(crate) fn session() -> Stream {
    Stream::Session(SessionId::generate())
}

pub(crate) fn batch() -> Stream {
    Stream::Batch(BatchId::generate())
}

pub(crate) fn schedule(name: &str) -> Stream {
    Stream::Schedule(name.parse().expect("a name"))
}

/// When the event with this number happens.
pub(crate) fn at(seq: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000 * seq.min(1 << 20))
}

pub(crate) fn event(stream: &Stream, seq: u64) -> Event {
    let kind = match stream {
        Stream::Session(_) => EventKind::SessionProgress { progress: format!("{seq}").into() },
        Stream::Schedule(_) => EventKind::SchedulePaused,
        _ => EventKind::BatchPaused,
    };
    Event::new(seq, at(seq), stream.clone(), kind)
}

pub(crate) fn events(stream: &Stream, numbers: impl IntoIterator<Item = u64>) -> Vec<Event> {
    numbers.into_iter().map(|seq| event(stream, seq)).collect()
}

pub(crate) fn append(store: &dyn Store, writes: &[Write<'_>]) -> Result<Commit, AppendError> {
    store.append(writes)?.wait()
}

/// A new stream with one event.
pub(crate) fn create(
    store: &dyn Store,
    stream: &Stream,
    fence: Fence,
) -> Result<Commit, AppendError> {
    append(store, &[Write::new(stream, fence).events(&[event(stream, 1)])])
}

/// A new session with one event, owned under epoch 1.
pub(crate) fn owned(store: &dyn Store) -> Stream {
    let stream = session();
    create(store, &stream, Fence::NewOwned).expect("a new session");
    stream
}

/// A new session with one event and no owner.
pub(crate) fn unowned(store: &dyn Store) -> Stream {
    let stream = session();
    create(store, &stream, Fence::New).expect("a new session");
    stream
}

pub(crate) fn claim(store: &dyn Store, stream: &Stream, epoch: u64) -> Result<Commit, AppendError> {
    append(store, &[Write::new(stream, Fence::Claim { epoch })])
}

/// One more event.
pub(crate) fn go_on(
    store: &dyn Store,
    stream: &Stream,
    epoch: u64,
    seq: u64,
) -> Result<Commit, AppendError> {
    append(store, &[Write::new(stream, Fence::Owned { epoch }).events(&[event(stream, seq)])])
}

/// A new state, without an event.
pub(crate) fn set(store: &dyn Store, stream: &Stream, epoch: u64, state: StateName) {
    let snapshot = Snapshot { state, data: b"" };
    let write = Write::new(stream, Fence::Owned { epoch }).snapshot(snapshot);
    append(store, &[write]).expect("a new state");
}

pub(crate) fn claim_schedules(store: &dyn Store) -> u64 {
    let owner = store.claim_schedules().expect("an open store").wait().expect("a free store");
    assert_eq!(owner.instance, store.instance());
    owner.epoch
}

pub(crate) fn info(store: &dyn Store, stream: &Stream) -> StreamInfo {
    store.info(stream).expect("the stream exists")
}

/// The numbers of all events of a stream; that each reads back as itself is checked on the way.
pub(crate) fn numbers(store: &dyn Store, stream: &Stream) -> Vec<u64> {
    let stored = store.events(stream, 0, usize::MAX).expect("a readable stream");
    stored.iter().for_each(check);
    assert!(stored.is_sorted_by_key(|event| event.pos));
    stored.iter().map(|event| event.seq).collect()
}

fn check(stored: &StoredEvent) {
    let event = stored.event().expect("a readable event");
    assert_eq!((event.seq, &event.stream), (stored.seq, &stored.stream));
}

/// All events in their order: position, stream, number.
pub(crate) fn order(store: &dyn Store) -> Vec<(u64, Stream, u64)> {
    let stored = store.all_events(0, usize::MAX).expect("a readable store");
    stored.iter().for_each(check);
    let order: Vec<_> =
        stored.into_iter().map(|event| (event.pos, event.stream, event.seq)).collect();
    assert!(order.windows(2).all(|pair| pair[0].0 < pair[1].0), "positions rise: {order:?}");
    order
}

/// The streams of a list.
pub(crate) fn list(store: &dyn Store, filter: &Filter) -> Vec<Stream> {
    let list = store.list(filter).expect("a readable store");
    list.into_iter().map(|info| info.stream).collect()
}

/// The entries of a stream's journal, whose numbers are checked on the way.
pub(crate) fn journal(store: &dyn Store, stream: &Stream) -> Vec<Vec<u8>> {
    let entries = store.journal(stream, 0, usize::MAX).expect("a readable stream");
    assert!(entries.iter().map(|entry| entry.number).eq(1..=entries.len() as u64));
    entries.iter().map(|entry| entry.data.to_vec()).collect()
}

/// Whether there are news, without waiting.
pub(crate) fn look(changes: &mut Changes) -> Poll<bool> {
    changes.poll_changed(&mut Context::from_waker(Waker::noop()))
}

/// All that can be read of a store, as text: to see that something changed nothing.
pub(crate) fn picture(store: &dyn Store) -> String {
    let mut text = format!("{:?}\n", order(store));
    for info in store.list(&Filter::default()).expect("a readable store") {
        let journal = journal(store, &info.stream);
        let snapshot = store.snapshot(&info.stream);
        text += &format!("{info:?} {journal:?} {snapshot:?}\n");
    }
    text
}

/// The name of an error's variant.
pub(crate) fn kind(error: &AppendError) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// Asserts that something was refused for this reason, and that the store is as it was.
#[track_caller]
pub(crate) fn refused(
    store: &dyn Store,
    expected: &str,
    attempt: impl FnOnce() -> Result<Commit, AppendError>,
) -> AppendError {
    let before = picture(store);
    let error = attempt().expect_err("it should have been refused");
    assert_eq!(kind(&error), expected, "{error}");
    assert!(!error.to_string().is_empty());
    assert_eq!(picture(store), before, "a refusal changed something");
    error
}
