//! The order of events, within a stream and over all, and what becomes of it when read in parts.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::store::{Fence, ReadError, Store, Write};

use crate::support::*;

suite! {
    #[test] fn core_006_events_of_a_stream_are_dense_and_read_back_as_themselves;
    #[test] fn core_006_positions_rise_over_all_streams_and_one_reads_on_from_any;
    #[test] fn core_006_an_append_to_several_streams_has_them_in_its_order;
    #[test] fn store_001_who_has_read_up_to_a_commit_has_read_it;
    #[test] fn store_011_records_and_notes_have_one_order;
    #[test] fn store_011_notes_that_wait_are_written_when_the_store_is_closed;
    #[test] fn store_001_every_commit_is_news;
}

fn core_006_events_of_a_stream_are_dense_and_read_back_as_themselves(store: Arc<dyn Store>) {
    for stream in [session(), batch()] {
        create(&*store, &stream, Fence::NewOwned).unwrap();
        let owned = Write::new(&stream, Fence::Owned { epoch: 1 });
        let (some, one) = (events(&stream, 2..=40), events(&stream, [41]));
        append(&*store, &[owned.events(&some)]).unwrap();
        append(&*store, &[owned]).unwrap();
        append(&*store, &[owned.events(&one)]).unwrap();
        let stored = store.events(&stream, 0, usize::MAX).unwrap();
        let read: Vec<_> = stored.iter().map(|stored| stored.event().unwrap()).collect();
        assert_eq!(read, events(&stream, 1..=41));
        let found = info(&*store, &stream);
        assert_eq!((found.last_seq, found.created_at, found.updated_at), (41, at(1), at(41)));
        for (after, limit) in [(0, 3), (1, 1), (39, 2), (40, 5), (41, 5), (99, 5), (5, 0)] {
            let part = store.events(&stream, after, limit).unwrap();
            let part: Vec<_> = part.iter().map(|stored| stored.seq).collect();
            let expected: Vec<_> = (after + 1..=41).take(limit).collect();
            assert_eq!(part, expected, "{limit} after {after}");
        }
    }
    let missing = store.events(&session(), 0, 1);
    assert!(matches!(missing, Err(ReadError::NotFound { .. })));
}

fn core_006_positions_rise_over_all_streams_and_one_reads_on_from_any(store: Arc<dyn Store>) {
    let epoch = claim_schedules(&*store);
    let mut streams = vec![(schedule("nightly"), epoch), (session(), 1), (batch(), 1)];
    create(&*store, &streams[0].0, Fence::New).unwrap();
    let mut expected = vec![(streams[0].0.clone(), 1)];
    for (stream, _) in &streams[1..] {
        create(&*store, stream, Fence::NewOwned).unwrap();
        expected.push((stream.clone(), 1));
    }
    streams.push((owned(&*store), 1));
    expected.push((streams[3].0.clone(), 1));
    let mut last = [1; 4];
    for turn in 0..60_usize {
        let at = turn * turn % 4;
        let (stream, epoch) = &streams[at];
        let next = events(stream, last[at] + 1..=last[at] + 1 + turn as u64 % 3);
        let write = Write::new(stream, Fence::Owned { epoch: *epoch }).events(&next);
        append(&*store, &[write]).unwrap();
        last[at] += next.len() as u64;
        expected.extend(next.iter().map(|event| (stream.clone(), event.seq)));
    }
    let all = order(&*store);
    let found: Vec<_> = all.iter().map(|(_, stream, seq)| (stream.clone(), *seq)).collect();
    assert_eq!(found, expected);
    assert!(all[0].0 > 0);
    // From every position on, and from those between, in parts of every size.
    for (index, (pos, ..)) in all.iter().enumerate() {
        for limit in [0, 1, 2, 7, usize::MAX] {
            let part = store.all_events(*pos, limit).unwrap();
            let part: Vec<_> = part.iter().map(|stored| stored.pos).collect();
            let rest: Vec<_> = all[index + 1..].iter().map(|(pos, ..)| *pos).take(limit).collect();
            assert_eq!(part, rest, "{limit} after {pos}");
        }
    }
    let mut read = Vec::new();
    loop {
        let after = read.last().map_or(0, |(pos, ..): &(u64, Stream, u64)| *pos);
        let part = store.all_events(after, 4).unwrap();
        if part.is_empty() {
            break;
        }
        read.extend(part.into_iter().map(|stored| (stored.pos, stored.stream, stored.seq)));
    }
    assert_eq!(read, all);
    // Of each stream both orders agree.
    for (stream, _) in &streams {
        let of_stream: Vec<_> = store.events(stream, 0, usize::MAX).unwrap();
        let of_stream: Vec<_> = of_stream.iter().map(|event| (event.pos, event.seq)).collect();
        let of_all = all.iter().filter(|(_, other, _)| other == stream);
        assert!(of_all.map(|(pos, _, seq)| (*pos, *seq)).eq(of_stream));
    }
    assert_eq!(store.all_events(u64::MAX, 9).unwrap().len(), 0);
}

fn core_006_an_append_to_several_streams_has_them_in_its_order(store: Arc<dyn Store>) {
    let streams: Vec<_> = (0..20).map(|_| session()).collect();
    let first: Vec<_> = streams.iter().map(|stream| events(stream, 1..=2)).collect();
    let writes: Vec<_> = streams
        .iter()
        .zip(&first)
        .map(|(stream, first)| Write::new(stream, Fence::NewOwned).events(first))
        .collect();
    append(&*store, &writes).unwrap();
    let expected: Vec<_> = streams.iter().flat_map(|stream| [(stream, 1), (stream, 2)]).collect();
    let all = order(&*store);
    let found: Vec<_> = all.iter().map(|(_, stream, seq)| (stream, *seq)).collect();
    assert_eq!(found, expected);
}

fn store_001_who_has_read_up_to_a_commit_has_read_it(store: Arc<dyn Store>) {
    let streams: Vec<_> = (0..5).map(|_| owned(&*store)).collect();
    let mut before = 0;
    for seq in 2..10 {
        for stream in &streams {
            let commit = go_on(&*store, stream, 1, seq).unwrap();
            let last = order(&*store).last().cloned().unwrap();
            assert_eq!((&last.1, last.2), (stream, seq));
            assert!(last.0 <= commit.pos && last.0 > before);
            before = commit.pos;
        }
    }
    // A commit without events has a position too: nothing before it is yet to come.
    let write = Write::new(&streams[0], Fence::Owned { epoch: 1 }).journal(&[b"entry"]);
    let commit = append(&*store, &[write]).unwrap();
    assert!(commit.pos >= before);
    go_on(&*store, &streams[1], 1, 10).unwrap();
    let after = store.all_events(commit.pos, 9).unwrap();
    assert_eq!(after.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [10]);
    // Nothing is nothing, and is acknowledged.
    let before = picture(&*store);
    append(&*store, &[]).unwrap();
    assert_eq!(picture(&*store), before);
}

fn store_011_records_and_notes_have_one_order(store: Arc<dyn Store>) {
    let (stream, other) = (owned(&*store), owned(&*store));
    store.note(&stream, 1, &events(&stream, [2])).unwrap();
    store.note(&stream, 1, &events(&stream, 3..=5)).unwrap();
    store.note(&stream, 1, &[]).unwrap();
    go_on(&*store, &stream, 1, 6).unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2, 3, 4, 5, 6]);
    // The number after a note is taken: a record cannot come before it.
    store.note(&stream, 1, &events(&stream, [7])).unwrap();
    let early = go_on(&*store, &stream, 1, 7).unwrap_err();
    assert_eq!(kind(&early), "OutOfOrder");
    go_on(&*store, &stream, 1, 8).unwrap();
    // Notes ride with the next record of whatever stream.
    store.note(&stream, 1, &events(&stream, [9])).unwrap();
    go_on(&*store, &other, 1, 2).unwrap();
    assert_eq!(numbers(&*store, &stream), (1..=9).collect::<Vec<_>>());
    let all = order(&*store);
    let note = all.iter().position(|(_, of, seq)| *of == stream && *seq == 9);
    let record = all.iter().position(|(_, of, seq)| *of == other && *seq == 2);
    assert!(note < record);
    assert_eq!(info(&*store, &stream).last_seq, 9);
}

fn store_011_notes_that_wait_are_written_when_the_store_is_closed(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    store.note(&stream, 1, &events(&stream, 2..=3)).unwrap();
    store.close().wait().unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2, 3]);
}

fn store_001_every_commit_is_news(store: Arc<dyn Store>) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let stream = owned(&*store);
    let mut changes = store.changes();
    for seq in 2..=5 {
        assert_eq!(look(&mut changes), Poll::Pending);
        go_on(&*store, &stream, 1, seq).unwrap();
        assert!(changes.wait(PATIENCE));
    }
    // What is refused is no news.
    refused(&*store, "LostOwnership", || go_on(&*store, &stream, 2, 6));
    assert_eq!(look(&mut changes), Poll::Pending);
    store.close().wait().unwrap();
    while look(&mut changes) == Poll::Ready(true) {}
    assert_eq!(look(&mut changes), Poll::Ready(false));
    assert!(!store.changes().wait(PATIENCE));
}
