//! What is refused whoever asks, and that a refusal changes nothing.

use std::sync::Arc;

use holdpoint_core::session::StateName;
use holdpoint_core::store::{AppendError, Fence, Snapshot, Store, Write};

use crate::support::*;

suite! {
    #[test] fn core_006_events_that_do_not_follow_are_refused;
    #[test] fn store_001_a_stream_is_created_once;
    #[test] fn store_001_a_new_stream_begins_with_an_event;
    #[test] fn store_001_an_append_is_all_or_nothing;
    #[test] fn a_key_belongs_to_one_session;
    #[test] fn only_a_new_session_has_a_key;
    #[test] fn an_append_names_each_stream_and_each_key_once;
    #[test] fn payloads_have_a_limit;
    #[test] fn a_closed_store_takes_no_writes_and_is_read_all_the_same;
}

fn core_006_events_that_do_not_follow_are_refused(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let owned = Write::new(&stream, Fence::Owned { epoch: 1 });
    let other = session();
    for numbers in [&[3][..], &[1], &[0], &[2, 4], &[2, 2], &[3, 2], &[u64::MAX, 0]] {
        let wrong = events(&stream, numbers.iter().copied());
        refused(&*store, "OutOfOrder", || append(&*store, &[owned.events(&wrong)]));
    }
    let error = refused(&*store, "OutOfOrder", || go_on(&*store, &stream, 1, 9));
    let AppendError::OutOfOrder { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected, found), (2, 9));
    let foreign = [event(&stream, 2), event(&other, 3)];
    refused(&*store, "Unsuitable", || append(&*store, &[owned.events(&foreign)]));
    for first in [0, 2] {
        let wrong = [event(&other, first)];
        for fence in [Fence::New, Fence::NewOwned] {
            let write = Write::new(&other, fence).events(&wrong);
            refused(&*store, "OutOfOrder", || append(&*store, &[write]));
        }
    }
}

fn store_001_a_stream_is_created_once(store: Arc<dyn Store>) {
    claim_schedules(&*store);
    for stream in [session(), batch(), schedule("nightly")] {
        create(&*store, &stream, Fence::New).unwrap();
        let error = refused(&*store, "Exists", || create(&*store, &stream, Fence::New));
        assert!(matches!(error, AppendError::Exists { stream: named } if named == stream));
    }
    let stream = owned(&*store);
    refused(&*store, "Exists", || create(&*store, &stream, Fence::NewOwned));
}

fn store_001_a_new_stream_begins_with_an_event(store: Arc<dyn Store>) {
    for stream in [session(), batch()] {
        for fence in [Fence::New, Fence::NewOwned] {
            let write = Write::new(&stream, fence).journal(&[b"entry"]);
            refused(&*store, "Unsuitable", || append(&*store, &[write]));
        }
    }
}

fn store_001_an_append_is_all_or_nothing(store: Arc<dyn Store>) {
    let streams: Vec<_> = (0..10).map(|_| owned(&*store)).collect();
    let new = session();
    let next: Vec<_> = streams.iter().map(|stream| events(stream, [2])).collect();
    let wrong = events(&streams[9], [3]);
    let first = events(&new, [1]);
    let mut writes = vec![Write::new(&new, Fence::NewOwned).events(&first).key("new")];
    for (stream, next) in streams.iter().zip(&next) {
        let done = Snapshot { state: StateName::Done, data: b"done" };
        let write = Write::new(stream, Fence::Owned { epoch: 1 });
        writes.push(write.events(next).journal(&[b"entry"]).snapshot(done));
    }
    let good = writes.clone();
    writes[10] = writes[10].events(&wrong);
    refused(&*store, "OutOfOrder", || append(&*store, &writes));
    assert!(store.by_key("new").unwrap().is_none());
    append(&*store, &good).unwrap();
    for stream in &streams {
        assert_eq!(numbers(&*store, stream), [1, 2]);
        assert_eq!(info(&*store, stream).state, StateName::Done);
    }
    assert_eq!(info(&*store, &new).number, Some(11));
}

fn a_key_belongs_to_one_session(store: Arc<dyn Store>) {
    let (first, second) = (session(), session());
    let (one, two) = ([event(&first, 1)], [event(&second, 1)]);
    let write = Write::new(&first, Fence::New).events(&one).key("pr-42").label("deploy");
    append(&*store, &[write]).unwrap();
    let found = store.by_key("pr-42").unwrap().unwrap();
    assert_eq!((found.stream, found.key.as_deref()), (first.clone(), Some("pr-42")));
    assert_eq!(&*found.label, "deploy");
    assert!(store.by_key("pr-43").unwrap().is_none());
    assert!(store.by_key("").unwrap().is_none());

    let again = Write::new(&second, Fence::NewOwned).events(&two).key("pr-42");
    let error = refused(&*store, "KeyTaken", || append(&*store, &[again]));
    let AppendError::KeyTaken { key, stream } = error else { panic!("{error}") };
    assert_eq!((&*key, stream), ("pr-42", first.clone()));
    // Whose key it is is told, even where the session itself is there already.
    refused(&*store, "KeyTaken", || append(&*store, &[write]));
    // It stays when the session has ended.
    claim(&*store, &first, 0).unwrap();
    set(&*store, &first, 1, StateName::Done);
    assert_eq!(store.by_key("pr-42").unwrap().unwrap().state, StateName::Done);
    refused(&*store, "KeyTaken", || append(&*store, &[again]));
}

fn only_a_new_session_has_a_key(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let next = [event(&stream, 2)];
    let write = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&next).key("key");
    refused(&*store, "Unsuitable", || append(&*store, &[write]));
    claim_schedules(&*store);
    for stream in [batch(), schedule("nightly")] {
        let first = [event(&stream, 1)];
        let write = Write::new(&stream, Fence::New).events(&first).key("key");
        refused(&*store, "Unsuitable", || append(&*store, &[write]));
    }
}

fn an_append_names_each_stream_and_each_key_once(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let (second, third) = (events(&stream, [2]), events(&stream, [3]));
    let write = Write::new(&stream, Fence::Owned { epoch: 1 });
    let twice = [write.events(&second), write.events(&third)];
    refused(&*store, "Unsuitable", || append(&*store, &twice));
    let new = [session(), session()];
    let first = new.each_ref().map(|stream| events(stream, [1]));
    let twice = [0, 1].map(|at| Write::new(&new[at], Fence::New).events(&first[at]).key("key"));
    refused(&*store, "Unsuitable", || append(&*store, &twice));
    let once = [twice[0], Write::new(&new[1], Fence::New).events(&first[1]).key("other")];
    append(&*store, &once).unwrap();
}

fn payloads_have_a_limit(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let large = vec![0; Write::MAX_PAYLOAD + 1];
    let write = Write::new(&stream, Fence::Owned { epoch: 1 });
    let journal = [b"small".as_slice(), &large];
    let error = refused(&*store, "TooLarge", || append(&*store, &[write.journal(&journal)]));
    let AppendError::TooLarge { size, limit, .. } = error else { panic!("{error}") };
    assert_eq!((size, limit), (large.len(), Write::MAX_PAYLOAD));
    let snapshot = Snapshot { state: StateName::Running, data: &large };
    refused(&*store, "TooLarge", || append(&*store, &[write.snapshot(snapshot)]));
    let most = [&large[1..]];
    append(&*store, &[write.journal(&most)]).unwrap();
    assert_eq!(store.journal(&stream, 0, 9).unwrap()[0].data.len(), Write::MAX_PAYLOAD);
}

fn a_closed_store_takes_no_writes_and_is_read_all_the_same(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    append(&*store, &[Write::new(&stream, Fence::Owned { epoch: 1 }).journal(&[b"entry"])])
        .unwrap();
    store.close().wait().unwrap();
    store.close().wait().unwrap();
    for _ in 0..2 {
        refused(&*store, "Closed", || go_on(&*store, &stream, 1, 2));
        refused(&*store, "Closed", || create(&*store, &session(), Fence::New));
        refused(&*store, "Closed", || claim(&*store, &stream, 1));
        refused(&*store, "Closed", || append(&*store, &[]));
    }
    let note = store.note(&stream, 1, &events(&stream, [2])).unwrap_err();
    assert!(matches!(note, AppendError::Closed) && note.is_final());
    let claimed = store.claim_schedules().and_then(|ticket| ticket.wait());
    assert!(matches!(claimed, Err(AppendError::Closed)));
    assert_eq!(numbers(&*store, &stream), [1]);
    assert_eq!(journal(&*store, &stream), [b"entry"]);
}
