//! The virtual disk as a store: what is kept, who owns, and what is refused.

use std::sync::Arc;

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{
    AppendError, Commit, Fence, Filter, ReadError, Snapshot, Store, StreamKind, Write,
};
use holdpoint_core::{BatchId, Timestamp};

use super::words::session_stream;
use crate::store::VirtualDisk;

/// An event of a session with its number.
pub(super) fn event(stream: &Stream, seq: u64) -> Event {
    let kind = EventKind::SessionProgress { progress: format!("{seq}").into() };
    Event::new(seq, Timestamp::from_micros(seq), stream.clone(), kind)
}

pub(super) fn append(store: &dyn Store, write: Write<'_>) -> Result<Commit, AppendError> {
    store.append(&[write])?.wait()
}

/// A new session with one event, owned under epoch 1.
pub(super) fn owned(store: &dyn Store) -> Stream {
    let stream = session_stream();
    let write = Write::new(&stream, Fence::NewOwned);
    append(store, write.events(&[event(&stream, 1)])).unwrap();
    stream
}

/// One more event.
pub(super) fn go_on(
    store: &dyn Store,
    stream: &Stream,
    epoch: u64,
    seq: u64,
) -> Result<Commit, AppendError> {
    append(store, Write::new(stream, Fence::Owned { epoch }).events(&[event(stream, seq)]))
}

pub(super) fn claim(store: &dyn Store, stream: &Stream, epoch: u64) -> Result<Commit, AppendError> {
    append(store, Write::new(stream, Fence::Claim { epoch }))
}

/// The numbers of its events.
pub(super) fn numbers(store: &dyn Store, stream: &Stream) -> Vec<u64> {
    let stored = store.events(stream, 0, usize::MAX).unwrap();
    stored.iter().map(|stored| stored.event().unwrap().seq).collect()
}

#[test]
fn what_one_commits_all_others_see() {
    let disk = VirtualDisk::new();
    let (one, other) = (disk.open(), disk.open());
    assert!(one.instance() < other.instance() && one.is_durable());
    let stream = session_stream();
    let events = [event(&stream, 1), event(&stream, 2)];
    let write = Write::new(&stream, Fence::NewOwned)
        .events(&events)
        .journal(&[b"a", b"b"])
        .snapshot(Snapshot { state: StateName::Running, data: b"s" })
        .key("pr-42")
        .label("deploy");
    assert_eq!(append(&*one, write).unwrap().pos, 2);

    let info = other.info(&stream).unwrap();
    let owner = Owner { instance: one.instance(), epoch: 1 };
    assert_eq!((info.number, info.owner, info.epoch), (Some(1), Some(owner), 1));
    assert_eq!((info.last_seq, info.last_entry, &*info.label), (2, 2, "deploy"));
    assert_eq!((info.created_at.as_micros(), info.updated_at.as_micros()), (1, 2));
    assert!(other.is_alive(owner));
    assert_eq!(other.by_key("pr-42").unwrap(), Some(info));
    assert_eq!(numbers(&*other, &stream), [1, 2]);
    assert_eq!(other.events(&stream, 1, 1).unwrap()[0].seq, 2);
    assert_eq!(other.all_events(1, 9).unwrap()[0].pos, 2);
    let journal = other.journal(&stream, 1, 9).unwrap();
    assert_eq!((journal.len(), journal[0].number, &*journal[0].data), (1, 2, &b"b"[..]));
    let snapshot = other.snapshot(&stream).unwrap().unwrap();
    assert_eq!((snapshot.state, snapshot.seq, &*snapshot.data), (StateName::Running, 2, &b"s"[..]));
}

#[test]
fn a_write_is_refused_where_its_fence_is_not_true() {
    let disk = VirtualDisk::new();
    let (one, other) = (disk.open(), disk.open());
    let stream = owned(&*one);
    let first = [event(&stream, 1)];
    let again = Write::new(&stream, Fence::New).events(&first);
    assert!(matches!(append(&*one, again), Err(AppendError::Exists { .. })));
    assert!(matches!(go_on(&*other, &stream, 1, 2), Err(AppendError::LostOwnership { .. })));
    assert!(matches!(go_on(&*one, &stream, 2, 2), Err(AppendError::LostOwnership { .. })));
    let owner = match claim(&*other, &stream, 1) {
        Err(AppendError::Owned { owner, .. }) => owner,
        claimed => panic!("{claimed:?}"),
    };
    assert_eq!(owner.instance, one.instance());
    assert!(matches!(claim(&*one, &stream, 1), Err(AppendError::Owned { .. })), "by itself");
    let gap = go_on(&*one, &stream, 1, 3);
    assert!(matches!(gap, Err(AppendError::OutOfOrder { expected: 2, found: 3, .. })));
    let missing = claim(&*one, &session_stream(), 0);
    assert!(matches!(missing, Err(AppendError::NotFound { .. })));

    append(&*one, Write::new(&stream, Fence::Owned { epoch: 1 }).release()).unwrap();
    let late = claim(&*other, &stream, 0);
    assert!(matches!(late, Err(AppendError::EpochPassed { current: 1, .. })));
    claim(&*other, &stream, 1).unwrap();
    go_on(&*other, &stream, 2, 2).unwrap();
    assert_eq!(numbers(&*one, &stream), [1, 2]);
}

#[test]
fn what_makes_no_sense_is_refused_at_once() {
    let store = VirtualDisk::new().open();
    let (stream, schedule) = (session_stream(), Stream::Schedule("nightly".parse().unwrap()));
    let foreign = [event(&schedule, 1)];
    let large = vec![0; Write::MAX_PAYLOAD + 1];
    for write in [
        Write::new(&stream, Fence::New),
        Write::new(&stream, Fence::New).events(&foreign),
        Write::new(&schedule, Fence::NewOwned).events(&foreign),
        Write::new(&schedule, Fence::Owned { epoch: 1 }).release(),
        Write::new(&stream, Fence::Owned { epoch: 1 }).key("k"),
    ] {
        let refused = store.append(&[write]);
        assert!(matches!(refused, Err(AppendError::Unsuitable { .. })), "{refused:?}");
    }
    let write = Write::new(&stream, Fence::Owned { epoch: 1 });
    let refused = store.append(&[write.journal(&[&large])]);
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
}

#[test]
fn several_streams_are_written_together_or_not_at_all() {
    let store = VirtualDisk::new().open();
    let (one, other) = (owned(&*store), owned(&*store));
    let (good, bad) = ([event(&one, 2)], [event(&other, 2)]);
    let both = |epoch| {
        let good = Write::new(&one, Fence::Owned { epoch: 1 }).events(&good);
        let bad = Write::new(&other, Fence::Owned { epoch }).events(&bad);
        store.append(&[good, bad])?.wait()
    };
    assert!(matches!(both(7), Err(AppendError::LostOwnership { .. })));
    assert_eq!(numbers(&*store, &one), [1]);
    assert_eq!(both(1).unwrap().pos, 4);
    let twice = Write::new(&one, Fence::Owned { epoch: 1 });
    let refused = store.append(&[twice, twice]).unwrap().wait();
    assert!(matches!(refused, Err(AppendError::Unsuitable { .. })));
}

#[test]
fn keys_are_taken_once() {
    let store = VirtualDisk::new().open();
    let (one, other) = (session_stream(), session_stream());
    let first = [event(&one, 1)];
    append(&*store, Write::new(&one, Fence::New).events(&first).key("k")).unwrap();
    let second = [event(&other, 1)];
    let taken = append(&*store, Write::new(&other, Fence::New).events(&second).key("k"));
    assert!(matches!(taken, Err(AppendError::KeyTaken { stream, .. }) if stream == one));
    assert!(matches!(store.info(&other), Err(ReadError::NotFound { .. })));
    assert_eq!(store.by_key("other").unwrap(), None);
}

#[test]
fn a_terminal_state_gives_a_stream_free() {
    let store = VirtualDisk::new().open();
    let stream = owned(&*store);
    let snapshot = Snapshot { state: StateName::Done, data: b"" };
    append(&*store, Write::new(&stream, Fence::Owned { epoch: 1 }).snapshot(snapshot)).unwrap();
    assert_eq!(store.info(&stream).unwrap().owner, None);
    claim(&*store, &stream, 1).unwrap();
    assert_eq!(store.info(&stream).unwrap().owner, None, "it stays terminal, and so without");
}

#[test]
fn schedules_belong_to_one_process_together() {
    let disk = VirtualDisk::new();
    let (one, other) = (disk.open(), disk.open());
    let stream = Stream::Schedule("nightly".parse().unwrap());
    let paused = Event::new(1, Timestamp::default(), stream.clone(), EventKind::SchedulePaused);
    let write = Write::new(&stream, Fence::New).events(std::slice::from_ref(&paused));
    assert!(matches!(append(&*one, write), Err(AppendError::LostOwnership { epoch: 0, .. })));
    let take = |store: &dyn Store| store.claim_schedules().unwrap().wait();
    let owner = take(&*one).unwrap();
    assert_eq!(
        (owner, take(&*one).unwrap()),
        (Owner { instance: one.instance(), epoch: 1 }, owner)
    );
    append(&*one, write).unwrap();
    assert!(matches!(take(&*other), Err(AppendError::Owned { .. })));
    one.crash();
    assert_eq!(take(&*other).unwrap().epoch, 2);
    append(&*other, Write::new(&stream, Fence::Owned { epoch: 2 })).unwrap();
}

#[test]
fn lists_are_in_order_of_creation_and_filtered() {
    let disk = VirtualDisk::new();
    let (one, other) = (disk.open(), disk.open());
    let first = owned(&*one);
    let batch = Stream::Batch(BatchId::generate());
    let paused = Event::new(1, Timestamp::default(), batch.clone(), EventKind::BatchPaused);
    let write = Write::new(&batch, Fence::New);
    append(&*one, write.events(std::slice::from_ref(&paused))).unwrap();
    let second = owned(&*other);
    let list = |filter: &Filter| -> Vec<_> {
        other.list(filter).unwrap().into_iter().map(|info| info.stream).collect()
    };
    assert_eq!(list(&Filter::default()), [batch.clone(), first.clone(), second.clone()]);
    let newest = Filter::default().newest_first();
    assert_eq!(list(&newest), [second.clone(), first.clone(), batch.clone()]);
    assert_eq!(list(&newest.limit(1)), std::slice::from_ref(&second));
    assert_eq!(list(&Filter::default().after(1)), [second]);
    assert_eq!(list(&Filter::of(StreamKind::Batch)), [batch]);
    assert_eq!(list(&Filter::default().states(&[StateName::Done])), []);
    assert_eq!(list(&Filter::left_behind()), []);
    one.crash();
    assert_eq!(list(&Filter::left_behind()), [first]);
}

#[test]
fn closed_is_closed_and_reads_go_on() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let stream = owned(&*store);
    let owner = store.info(&stream).unwrap().owner.unwrap();
    store.close().wait().unwrap();
    store.close().wait().unwrap();
    assert!(!disk.open().is_alive(owner));
    assert!(matches!(go_on(&*store, &stream, 1, 2), Err(AppendError::Closed)));
    assert!(matches!(store.note(&stream, 1, &[]), Err(AppendError::Closed)));
    assert!(matches!(store.claim_schedules(), Err(AppendError::Closed)));
    assert_eq!(numbers(&*store, &stream), [1]);
    let again: Arc<_> = store.reopen();
    claim(&*again, &stream, 1).unwrap();
    assert_eq!(again.info(&stream).unwrap().epoch, 2);
}
