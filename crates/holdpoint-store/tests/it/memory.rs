//! What only the store in memory does.

use std::sync::Arc;
use std::task::Poll;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{
    AppendError, Appended, Fence, Filter, ReadError, Reply, RequestError, Responder, Snapshot,
    Store, Write,
};
use holdpoint_store::{History, MemoryStore};

use crate::support::*;

#[test]
fn store_001_an_append_in_memory_is_acknowledged_within_the_call() {
    let store = MemoryStore::new();
    assert!(!store.is_durable());
    let stream = owned(&store);
    let next = events(&stream, [2]);
    let write = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&next);
    assert!(matches!(store.append(&[write]), Ok(Appended::Acked(_))));
    // Refusals too come at once, and notes are read at once.
    assert!(matches!(store.append(&[write]), Err(AppendError::OutOfOrder { .. })));
    store.note(&stream, 1, &events(&stream, [3])).unwrap();
    assert_eq!(numbers(&store, &stream), [1, 2, 3]);
}

#[test]
fn store_007_stores_in_memory_are_instances_of_their_own() {
    let (left, right) = (MemoryStore::new(), MemoryStore::default());
    assert!(left.instance() > 0 && left.instance() < right.instance());
    let stream = owned(&left);
    assert!(matches!(right.info(&stream), Err(ReadError::NotFound { .. })));
    let owner = info(&left, &stream).owner.unwrap();
    assert!(left.is_alive(owner) && !right.is_alive(owner));
    claim_schedules(&left);
    claim_schedules(&right);
}

/// A session with so many events.
fn with_events(store: &MemoryStore, count: u64) -> Stream {
    let stream = owned(store);
    for seq in 2..=count {
        go_on(store, &stream, 1, seq).unwrap();
    }
    stream
}

#[track_caller]
fn starts_at(store: &MemoryStore, stream: &Stream, first: u64, last: u64) {
    for after in 0..first - 1 {
        let error = store.events(stream, after, 9).unwrap_err();
        let ReadError::Gap { stream: named, first: found } = error else { panic!("{error}") };
        assert_eq!((&named, found), (stream, first), "after {after}");
        assert!(store.events(stream, after, 0).unwrap().is_empty());
    }
    let kept = store.events(stream, first - 1, usize::MAX).unwrap();
    let kept: Vec<_> = kept.iter().map(|stored| stored.event().unwrap()).collect();
    assert_eq!(kept, events(stream, first..=last));
    assert!(store.events(stream, last, 9).unwrap().is_empty());
}

#[test]
fn the_history_keeps_the_last_events() {
    let store = MemoryStore::new();
    assert_eq!(store.history(), History::Last(64));
    starts_at(&store, &with_events(&store, 64), 1, 64);
    starts_at(&store, &with_events(&store, 65), 2, 65);
    starts_at(&store, &with_events(&store, 200), 137, 200);

    for history in [History::None, History::Last(0)] {
        let store = MemoryStore::with_history(history);
        starts_at(&store, &with_events(&store, 3), 4, 3);
    }
    let store = MemoryStore::with_history(History::Last(1));
    starts_at(&store, &with_events(&store, 3), 3, 3);
    let store = MemoryStore::with_history(History::All);
    starts_at(&store, &with_events(&store, 1000), 1, 1000);
}

#[test]
fn an_append_of_more_events_than_are_kept_leaves_its_last() {
    for before in 1..=12 {
        for count in 1..=12 {
            let store = MemoryStore::with_history(History::Last(5));
            let stream = with_events(&store, before);
            let next = events(&stream, before + 1..=before + count);
            let write = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&next);
            append(&store, &[write]).unwrap();
            let last = before + count;
            starts_at(&store, &stream, (last + 1).saturating_sub(5).max(1), last);
        }
    }
}

#[test]
fn what_is_no_event_is_kept_whatever_the_history() {
    let store = MemoryStore::with_history(History::None);
    let stream = with_events(&store, 5);
    let snapshot = Snapshot { state: StateName::Paused, data: b"paused" };
    let write = Write::new(&stream, Fence::Owned { epoch: 1 });
    append(&store, &[write.journal(&[b"one", b"two"]).snapshot(snapshot)]).unwrap();
    assert_eq!(journal(&store, &stream), [b"one", b"two"]);
    assert_eq!(&*store.snapshot(&stream).unwrap().unwrap().data, b"paused");
    let found = info(&store, &stream);
    assert_eq!((found.last_seq, found.created_at, found.updated_at), (5, at(1), at(5)));
}

#[test]
fn who_reads_all_events_is_told_of_a_gap_and_goes_on_behind_it() {
    let store = MemoryStore::with_history(History::Last(3));
    with_events(&store, 2);
    let (busy, busier) = (with_events(&store, 8), with_events(&store, 9));
    let late = with_events(&store, 1);
    // Positions: a quiet one 1 and 2, busy 3 to 10, busier 11 to 19, late 20.
    for after in 0..16 {
        let error = store.all_events(after, 9).unwrap_err();
        let ReadError::Gap { stream, first } = error else { panic!("{error}") };
        assert_eq!((&stream, first), (&busier, 7), "after {after}");
    }
    let first = store.events(&busier, 6, 1).unwrap();
    assert_eq!(first[0].pos, 17);
    let rest = store.all_events(first[0].pos - 1, usize::MAX).unwrap();
    let rest: Vec<_> = rest.iter().map(|stored| (stored.pos, &stored.stream)).collect();
    assert_eq!(rest, [(17, &busier), (18, &busier), (19, &busier), (20, &late)]);
    // Who keeps up meets no gap.
    let mut after = 20;
    for seq in 9..40 {
        go_on(&store, &busy, 1, seq).unwrap();
        let next = store.all_events(after, 9).unwrap();
        after = next[0].pos;
        assert_eq!((next.len(), next[0].seq), (1, seq));
    }
    assert!(store.all_events(0, 0).unwrap().is_empty());
}

#[test]
fn a_gap_reaches_to_the_last_position_that_is_lost_and_not_to_what_was_lost_last() {
    let store = MemoryStore::with_history(History::Last(1));
    let streams: Vec<_> = (0..400).map(|_| owned(&store)).collect();
    // Of the positions 401 to 1200 every other one is lost, and after them 1 to 400.
    for _ in 0..400 {
        with_events(&store, 2);
    }
    for stream in &streams {
        go_on(&store, stream, 1, 2).unwrap();
    }
    for after in [0, 400, 1000, 1197] {
        let read = store.all_events(after, 9);
        assert!(matches!(read, Err(ReadError::Gap { first: 2, .. })), "after {after}");
    }
    assert_eq!(store.all_events(1199, usize::MAX).unwrap().len(), 401);
}

#[test]
fn streams_are_merged_whatever_the_order_of_their_last_events() {
    let store = MemoryStore::with_history(History::All);
    let streams: Vec<_> = (0..100).map(|_| owned(&store)).collect();
    let mut last = vec![1; streams.len()];
    let mut at = 7;
    for _ in 0..2000 {
        at = (at * 31 + 17) % streams.len();
        last[at] += 1;
        let commit = go_on(&store, &streams[at], 1, last[at]).unwrap();
        let newest = store.all_events(commit.pos - 1, 9).unwrap();
        assert_eq!((newest.len(), &newest[0].stream, newest[0].seq), (1, &streams[at], last[at]));
    }
    let all = order(&store);
    assert!(all.iter().map(|(pos, ..)| *pos).eq(1..=2100));
    for after in [0, 1, 99, 100, 1234, 2099, 2100] {
        let rest = store.all_events(after, usize::MAX).unwrap();
        assert!(rest.iter().map(|stored| stored.pos).eq(after + 1..=2100));
    }
}

#[test]
fn store_007_what_a_closed_store_owned_was_left_behind() {
    let store = MemoryStore::new();
    let (stream, _free) = (owned(&store), unowned(&store));
    assert_eq!(list(&store, &Filter::left_behind()), []);
    store.close().wait().unwrap();
    assert_eq!(list(&store, &Filter::left_behind()), std::slice::from_ref(&stream));
    assert!(matches!(store.request(&stream, b"?"), Err(RequestError::Closed)));
}

#[test]
fn the_last_handle_closes_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (mut changes, other) = (store.changes(), Arc::clone(&store));
    drop(store);
    assert_eq!(look(&mut changes), Poll::Pending);
    drop(other);
    assert_eq!(look(&mut changes), Poll::Ready(false));
}

#[test]
fn notes_and_a_claim_of_the_schedules_are_news() {
    let store = MemoryStore::new();
    let stream = owned(&store);
    let mut changes = store.changes();
    store.note(&stream, 1, &events(&stream, [2])).unwrap();
    assert_eq!(look(&mut changes), Poll::Ready(true));
    // Of a lost stream nothing is written.
    store.note(&stream, 2, &events(&stream, [3])).unwrap();
    assert_eq!(look(&mut changes), Poll::Pending);
    claim_schedules(&store);
    assert_eq!(look(&mut changes), Poll::Ready(true));
    claim_schedules(&store);
    assert_eq!(look(&mut changes), Poll::Pending);
}

struct Kept;

impl Responder for Kept {
    fn request(&self, _stream: &Stream, _request: &[u8], _reply: Reply) {
        panic!("nobody else can own a stream");
    }
}

#[test]
fn a_responder_is_kept_until_the_store_is_closed() {
    let store = MemoryStore::new();
    let (first, second) = (Arc::new(Kept), Arc::new(Kept));
    store.respond(Arc::<Kept>::clone(&first)).unwrap();
    store.respond(Arc::<Kept>::clone(&second)).unwrap();
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
    let mine = owned(&store);
    assert!(matches!(store.request(&mine, b"?"), Err(RequestError::Own { .. })));
    store.close().wait().unwrap();
    assert_eq!(Arc::strong_count(&second), 1);
    assert!(matches!(store.respond(second), Err(RequestError::Closed)));
}

#[test]
fn lists_longer_than_a_step_are_whole() {
    let store = MemoryStore::new();
    let mut sessions: Vec<_> = (0..1000).map(|_| unowned(&store)).collect();
    assert_eq!(list(&store, &Filter::default()), sessions);
    assert_eq!(list(&store, &Filter::default().after(300).limit(600)), sessions[300..900]);
    assert_eq!(list(&store, &Filter::default().after(u64::MAX)), []);
    sessions.reverse();
    assert_eq!(list(&store, &Filter::default().newest_first()), sessions);
    assert_eq!(list(&store, &Filter::default().newest_first().after(10)), sessions[..990]);
}

#[test]
fn it_says_little_of_itself() {
    let store = MemoryStore::with_history(History::Last(3));
    let text = format!("{store:?}");
    assert_eq!(
        text,
        format!("MemoryStore {{ instance: {}, history: Last(3), .. }}", store.instance())
    );
}

#[test]
fn store_001_what_is_acknowledged_in_memory_takes_no_allocation() {
    for history in [History::None, History::Last(64)] {
        let store = MemoryStore::with_history(history);
        let stream = owned(&store);
        let all = events(&stream, 2..=1000);
        let (before, after) = all.split_at(500);
        let snapshot = Snapshot { state: StateName::Running, data: b"running" };
        let go_on = |event: &Event| {
            let write = Write::new(&stream, Fence::Owned { epoch: 1 });
            let write = write.events(std::slice::from_ref(event)).snapshot(snapshot);
            match store.append(&[write]) {
                Ok(Appended::Acked(commit)) => commit,
                other => panic!("not within the call: {other:?}"),
            }
        };
        for event in before {
            go_on(event);
        }
        let counted = allocation_counter::measure(|| {
            for event in after {
                go_on(event);
            }
        });
        assert_eq!(counted.count_total, 0, "{history:?}");
    }
}
