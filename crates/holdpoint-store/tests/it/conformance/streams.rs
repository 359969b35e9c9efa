//! What is kept of a stream beside its events, and how streams are found.

use std::sync::Arc;

use holdpoint_core::event::Stream;
use holdpoint_core::session::StateName;
use holdpoint_core::store::{
    Fence, Filter, JournalEntry, ReadError, Snapshot, Store, StoredSnapshot, StreamKind, Write,
};

use crate::support::*;

suite! {
    #[test] fn store_001_sessions_have_numbers_in_the_order_of_their_creation;
    #[test] fn store_001_lists_are_in_the_order_of_creation;
    #[test] fn store_001_filters_let_through_what_they_say;
    #[test] fn store_001_entries_of_a_journal_are_numbered_by_the_store;
    #[test] fn store_001_the_last_snapshot_is_read_back;
    #[test] fn store_001_what_was_said_of_a_new_stream_stays;
    #[test] fn store_001_who_is_not_there_is_not_found;
    #[test] fn store_001_a_stream_can_be_kept;
}

fn store_001_sessions_have_numbers_in_the_order_of_their_creation(store: Arc<dyn Store>) {
    let epoch = claim_schedules(&*store);
    let mut number = 0;
    for round in 0..5 {
        let stream = owned(&*store);
        number += 1;
        assert_eq!(info(&*store, &stream).number, Some(number));
        for stream in [batch(), schedule(&format!("nightly-{round}"))] {
            create(&*store, &stream, Fence::New).unwrap();
            assert_eq!(info(&*store, &stream).number, None);
        }
        // What was refused takes no number.
        refused(&*store, "Exists", || create(&*store, &stream, Fence::New));
        refused(&*store, "OutOfOrder", || {
            let (new, other) = (session(), session());
            let (first, wrong) = (events(&new, [1]), events(&other, [2]));
            let new = Write::new(&new, Fence::New).events(&first);
            append(&*store, &[new, Write::new(&other, Fence::New).events(&wrong)])
        });
        let (left, right) = (session(), session());
        let first = [&left, &right].map(|stream| events(stream, [1]));
        let writes = [&left, &right].map(|stream| Write::new(stream, Fence::New));
        append(&*store, &[writes[0].events(&first[0]), writes[1].events(&first[1])]).unwrap();
        number += 2;
        assert_eq!(info(&*store, &left).number, Some(number - 1));
        assert_eq!(info(&*store, &right).number, Some(number));
    }
    go_on(&*store, &schedule("nightly-0"), epoch, 2).unwrap();
    assert_eq!(info(&*store, &schedule("nightly-0")).number, None);
}

/// Ten sessions, in whose order two schedules and two batches were created between.
fn many(store: &dyn Store) -> (Vec<Stream>, Vec<Stream>) {
    claim_schedules(store);
    let (mut sessions, mut others) = (Vec::new(), Vec::new());
    for turn in 0..10 {
        sessions.push(owned(store));
        let other = match turn {
            1 => schedule("zz-first"),
            3 | 4 => batch(),
            7 => schedule("aa-last"),
            _ => continue,
        };
        create(store, &other, Fence::New).unwrap();
        others.push(other);
    }
    (sessions, others)
}

fn store_001_lists_are_in_the_order_of_creation(store: Arc<dyn Store>) {
    let (sessions, others) = many(&*store);
    let mut all = others.clone();
    all.extend(sessions.iter().cloned());
    assert_eq!(list(&*store, &Filter::default()), all);
    let mut newest = all.clone();
    newest.reverse();
    assert_eq!(list(&*store, &Filter::default().newest_first()), newest);
    for limit in [0, 1, 3, 4, 5, 13, 14, 15] {
        let limited = all.iter().take(limit).cloned().collect::<Vec<_>>();
        assert_eq!(list(&*store, &Filter::default().limit(limit)), limited);
        let limited = newest.iter().take(limit).cloned().collect::<Vec<_>>();
        assert_eq!(list(&*store, &Filter::default().newest_first().limit(limit)), limited);
    }
    // Events and claims change no order.
    go_on(&*store, &sessions[0], 1, 2).unwrap();
    claim(&*store, &others[1], 0).unwrap();
    assert_eq!(list(&*store, &Filter::default()), all);
    assert!(Filter::default().matches_state(StateName::Planned));
    for (stream, number) in sessions.iter().zip(1_u64..) {
        assert_eq!(info(&*store, stream).number, Some(number));
    }
}

fn store_001_filters_let_through_what_they_say(store: Arc<dyn Store>) {
    let (sessions, others) = many(&*store);
    let of = |kind| list(&*store, &Filter::of(kind));
    assert_eq!(of(StreamKind::Session), sessions);
    assert_eq!(of(StreamKind::Schedule), [others[0].clone(), others[3].clone()]);
    assert_eq!(of(StreamKind::Batch), [others[1].clone(), others[2].clone()]);

    set(&*store, &sessions[2], 1, StateName::Done);
    set(&*store, &sessions[5], 1, StateName::Paused);
    set(&*store, &sessions[6], 1, StateName::Done);
    let pick =
        |numbers: &[usize]| numbers.iter().map(|at| sessions[*at].clone()).collect::<Vec<_>>();
    let sessions_in = |states: &[StateName]| Filter::of(StreamKind::Session).states(states);
    assert_eq!(list(&*store, &sessions_in(&[StateName::Done])), pick(&[2, 6]));
    assert_eq!(list(&*store, &sessions_in(&[StateName::Paused])), pick(&[5]));
    let ended_or_asking = [StateName::Paused, StateName::Done];
    assert_eq!(list(&*store, &sessions_in(&ended_or_asking)), pick(&[2, 5, 6]));
    assert_eq!(list(&*store, &sessions_in(&ended_or_asking).newest_first()), pick(&[6, 5, 2]));
    assert_eq!(list(&*store, &sessions_in(&ended_or_asking).limit(2)), pick(&[2, 5]));
    assert_eq!(list(&*store, &sessions_in(&ended_or_asking).after(3)), pick(&[5, 6]));
    assert_eq!(list(&*store, &sessions_in(&[StateName::Failed])), []);
    assert_eq!(list(&*store, &sessions_in(&[StateName::Planned]).after(6)), pick(&[7, 8, 9]));

    // Above a number are sessions alone: nothing else has one.
    assert_eq!(list(&*store, &Filter::default().after(8)), pick(&[8, 9]));
    assert_eq!(list(&*store, &Filter::default().after(10)), []);
    assert_eq!(list(&*store, &Filter::of(StreamKind::Batch).after(1)), []);
    assert_eq!(list(&*store, &Filter::default().after(7).newest_first().limit(2)), pick(&[9, 8]));
    // Page by page, as a list that goes on where it was.
    let (mut pages, mut after) = (Vec::new(), 0);
    loop {
        let page = store.list(&Filter::of(StreamKind::Session).after(after).limit(3)).unwrap();
        let Some(last) = page.last() else { break };
        after = last.number.unwrap();
        pages.extend(page.into_iter().map(|info| info.stream));
    }
    assert_eq!(pages, sessions);
    // Whose owner lives was not left behind.
    assert_eq!(list(&*store, &Filter::left_behind()), []);
}

fn store_001_entries_of_a_journal_are_numbered_by_the_store(store: Arc<dyn Store>) {
    let stream = session();
    let first = events(&stream, [1]);
    let write = Write::new(&stream, Fence::NewOwned).events(&first).journal(&[b"one", b""]);
    append(&*store, &[write]).unwrap();
    let owned = Write::new(&stream, Fence::Owned { epoch: 1 });
    append(&*store, &[owned.journal(&[b"three"])]).unwrap();
    append(&*store, &[owned]).unwrap();
    go_on(&*store, &stream, 1, 2).unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    append(&*store, &[owned.journal(&[&bytes, b"five"])]).unwrap();
    let all: [&[u8]; 5] = [b"one", b"", b"three", &bytes, b"five"];
    assert_eq!(journal(&*store, &stream), all);
    assert_eq!((info(&*store, &stream).last_entry, info(&*store, &stream).last_seq), (5, 2));
    for (after, limit) in [(0, 2), (2, 1), (1, 9), (5, 9), (99, 9), (0, 0)] {
        let found = store.journal(&stream, after, limit).unwrap();
        let expected: Vec<_> = (1..=5_u64)
            .zip(all)
            .filter(|(number, _)| *number > after)
            .take(limit)
            .map(|(number, data)| JournalEntry { number, data: data.into() })
            .collect();
        assert_eq!(found, expected, "{limit} after {after}");
    }
    assert_eq!(journal(&*store, &unowned(&*store)), Vec::<Vec<u8>>::new());
}

fn store_001_the_last_snapshot_is_read_back(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    assert_eq!(store.snapshot(&stream).unwrap(), None);
    assert_eq!(info(&*store, &stream).state, StateName::Planned);
    let mut seq = 1;
    for (state, data) in [
        (StateName::Running, b"a rather long one".as_slice()),
        (StateName::Paused, b""),
        (StateName::Suspended, b"\x00\xff"),
        (StateName::Running, b"a rather longer one than that"),
    ] {
        seq += 2;
        let next = events(&stream, seq - 1..=seq);
        let snapshot = Snapshot { state, data };
        let write = Write::new(&stream, Fence::Owned { epoch: 1 });
        append(&*store, &[write.events(&next).snapshot(snapshot)]).unwrap();
        let expected = StoredSnapshot { state, seq, data: data.into() };
        assert_eq!(store.snapshot(&stream).unwrap(), Some(expected.clone()));
        assert_eq!(info(&*store, &stream).state, state);
        // It stays as it is until the next.
        seq += 1;
        go_on(&*store, &stream, 1, seq).unwrap();
        assert_eq!(store.snapshot(&stream).unwrap(), Some(expected));
    }
}

fn store_001_what_was_said_of_a_new_stream_stays(store: Arc<dyn Store>) {
    let stream = session();
    let first = events(&stream, 1..=3);
    let paused = Snapshot { state: StateName::Paused, data: b"{}" };
    let write = Write::new(&stream, Fence::New).events(&first).label("deploy").snapshot(paused);
    append(&*store, &[write]).unwrap();
    let next = events(&stream, [4]);
    let claim = Write::new(&stream, Fence::Claim { epoch: 0 }).events(&next).label("other");
    append(&*store, &[claim]).unwrap();
    let found = info(&*store, &stream);
    assert_eq!((&*found.label, found.key.as_deref(), found.number), ("deploy", None, Some(1)));
    assert_eq!((found.created_at, found.updated_at), (at(1), at(4)));
    assert_eq!((found.state, found.last_seq), (StateName::Paused, 4));
    assert_eq!(store.list(&Filter::default()).unwrap(), [found]);
    assert_eq!(&*info(&*store, &unowned(&*store)).label, "");
}

fn store_001_who_is_not_there_is_not_found(store: Arc<dyn Store>) {
    owned(&*store);
    for stream in [session(), batch(), schedule("nightly")] {
        let is_missing = |error: Option<ReadError>| matches!(error, Some(ReadError::NotFound { stream: named }) if named == stream);
        assert!(is_missing(store.info(&stream).err()));
        assert!(is_missing(store.events(&stream, 0, 1).err()));
        assert!(is_missing(store.events(&stream, 9, 0).err()));
        assert!(is_missing(store.journal(&stream, 0, 1).err()));
        assert!(is_missing(store.snapshot(&stream).err()));
    }
}

fn store_001_a_stream_can_be_kept(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let keep = store.keep(&stream);
    set(&*store, &stream, 1, StateName::Done);
    assert_eq!(numbers(&*store, &stream), [1]);
    drop((keep, store.keep(&session())));
}
