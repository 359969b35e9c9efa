//! Who owns a stream, and that nobody else appends.

use std::sync::Arc;

use holdpoint_core::event::Stream;
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{AppendError, Fence, RequestError, Snapshot, Store, Write};

use crate::support::*;

suite! {
    #[test] fn store_007_a_new_stream_is_owned_as_its_fence_says;
    #[test] fn store_007_a_claim_is_compare_and_set;
    #[test] fn store_007_a_stream_with_a_living_owner_cannot_be_claimed;
    #[test] fn store_007_a_release_leaves_the_epoch_behind;
    #[test] fn store_007_a_claim_and_its_release_may_be_one_write;
    #[test] fn store_007_an_end_leaves_no_owner;
    #[test] fn store_007_no_other_state_takes_the_owner_away;
    #[test] fn store_007_schedules_have_one_owner_all_together;
    #[test] fn store_007_an_owner_lives_as_long_as_its_store_is_open;
    #[test] fn store_008_an_append_without_ownership_is_refused;
    #[test] fn store_008_an_append_under_an_old_epoch_is_refused;
    #[test] fn store_008_schedules_are_written_by_their_owner_alone;
    #[test] fn store_008_a_note_of_a_lost_stream_is_dropped;
    #[test] fn requests_go_to_owners_and_name_who_should_decide;
}

fn store_007_a_new_stream_is_owned_as_its_fence_says(store: Arc<dyn Store>) {
    for stream in [session(), batch()] {
        create(&*store, &stream, Fence::New).unwrap();
        let found = info(&*store, &stream);
        assert_eq!((found.owner, found.epoch), (None, 0));
    }
    for stream in [session(), batch()] {
        create(&*store, &stream, Fence::NewOwned).unwrap();
        let found = info(&*store, &stream);
        let owner = Owner { instance: store.instance(), epoch: 1 };
        assert_eq!((found.owner, found.epoch), (Some(owner), 1));
        assert!(store.is_alive(owner));
    }
    // Created, and given free at once.
    let stream = session();
    let first = [event(&stream, 1)];
    let write = Write::new(&stream, Fence::NewOwned).events(&first).release();
    append(&*store, &[write]).unwrap();
    assert_eq!((info(&*store, &stream).owner, info(&*store, &stream).epoch), (None, 1));
}

fn store_007_a_claim_is_compare_and_set(store: Arc<dyn Store>) {
    let stream = unowned(&*store);
    let error = refused(&*store, "EpochPassed", || claim(&*store, &stream, 1));
    assert!(matches!(error, AppendError::EpochPassed { current: 0, .. }));
    claim(&*store, &stream, 0).unwrap();
    let owner = Owner { instance: store.instance(), epoch: 1 };
    assert_eq!(info(&*store, &stream).owner, Some(owner));
    append(&*store, &[Write::new(&stream, Fence::Owned { epoch: 1 }).release()]).unwrap();

    // Who saw the stream before that claim comes too late.
    let error = refused(&*store, "EpochPassed", || claim(&*store, &stream, 0));
    let AppendError::EpochPassed { stream: named, current: 1 } = error else { panic!("{error}") };
    assert_eq!(named, stream);
    claim(&*store, &stream, 1).unwrap();
    assert_eq!(info(&*store, &stream).epoch, 2);
    refused(&*store, "NotFound", || claim(&*store, &session(), 0));
}

fn store_007_a_stream_with_a_living_owner_cannot_be_claimed(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    for epoch in [0, 1, 2] {
        let error = refused(&*store, "Owned", || claim(&*store, &stream, epoch));
        let AppendError::Owned { what, owner, .. } = error else { panic!("{error}") };
        assert_eq!(owner, Owner { instance: store.instance(), epoch: 1 });
        assert_eq!(*what, *stream.to_string());
    }
    go_on(&*store, &stream, 1, 2).unwrap();
}

fn store_007_a_release_leaves_the_epoch_behind(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let next = [event(&stream, 2)];
    let write = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&next).release();
    append(&*store, &[write]).unwrap();
    let found = info(&*store, &stream);
    assert_eq!((found.owner, found.epoch, found.last_seq), (None, 1, 2));
    refused(&*store, "LostOwnership", || go_on(&*store, &stream, 1, 3));
    claim(&*store, &stream, 1).unwrap();
    go_on(&*store, &stream, 2, 3).unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2, 3]);
}

fn store_007_a_claim_and_its_release_may_be_one_write(store: Arc<dyn Store>) {
    let stream = unowned(&*store);
    for epoch in 0..5 {
        let next = [event(&stream, epoch + 2)];
        let write = Write::new(&stream, Fence::Claim { epoch }).events(&next).release();
        append(&*store, &[write]).unwrap();
        let found = info(&*store, &stream);
        assert_eq!((found.owner, found.epoch), (None, epoch + 1));
    }
    assert_eq!(numbers(&*store, &stream), [1, 2, 3, 4, 5, 6]);
}

fn store_007_an_end_leaves_no_owner(store: Arc<dyn Store>) {
    for state in [StateName::Done, StateName::Failed, StateName::Cancelled] {
        let stream = owned(&*store);
        set(&*store, &stream, 1, state);
        let found = info(&*store, &stream);
        assert_eq!((found.owner, found.epoch, found.state), (None, 1, state));
        refused(&*store, "LostOwnership", || go_on(&*store, &stream, 1, 2));
        // A claim that leaves the end as it is owns nothing either.
        claim(&*store, &stream, 1).unwrap();
        let found = info(&*store, &stream);
        assert_eq!((found.owner, found.epoch, found.state), (None, 2, state));
        // A retry leads out of it.
        let planned = Snapshot { state: StateName::Planned, data: b"again" };
        let next = [event(&stream, 2)];
        let retry = Write::new(&stream, Fence::Claim { epoch: 2 }).events(&next).snapshot(planned);
        append(&*store, &[retry]).unwrap();
        let found = info(&*store, &stream);
        assert_eq!((found.epoch, found.state), (3, StateName::Planned));
        assert_eq!(found.owner, Some(Owner { instance: store.instance(), epoch: 3 }));
        go_on(&*store, &stream, 3, 3).unwrap();
    }
    let stream = session();
    let failed = Snapshot { state: StateName::Failed, data: b"" };
    let first = [event(&stream, 1)];
    let write = Write::new(&stream, Fence::NewOwned).events(&first).snapshot(failed);
    append(&*store, &[write]).unwrap();
    assert_eq!((info(&*store, &stream).owner, info(&*store, &stream).epoch), (None, 1));
}

fn store_007_no_other_state_takes_the_owner_away(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    for state in [StateName::Running, StateName::Paused, StateName::Suspended, StateName::Planned] {
        set(&*store, &stream, 1, state);
        let found = info(&*store, &stream);
        assert_eq!((found.state, found.owner.is_some()), (state, true));
    }
}

fn store_007_schedules_have_one_owner_all_together(store: Arc<dyn Store>) {
    let epoch = claim_schedules(&*store);
    assert_eq!(claim_schedules(&*store), epoch);
    let nightly = schedule("nightly");
    for fence in [Fence::NewOwned, Fence::Claim { epoch: 0 }, Fence::Claim { epoch }] {
        let write = Write::new(&nightly, fence);
        let first = [event(&nightly, 1)];
        refused(&*store, "Unsuitable", || append(&*store, &[write.events(&first)]));
    }
    create(&*store, &nightly, Fence::New).unwrap();
    let write = Write::new(&nightly, Fence::Owned { epoch }).release();
    refused(&*store, "Unsuitable", || append(&*store, &[write]));
    go_on(&*store, &nightly, epoch, 2).unwrap();
    let found = info(&*store, &nightly);
    assert_eq!((found.owner, found.epoch, found.last_seq), (None, 0, 2));
    // Their state says nothing about their owner.
    set(&*store, &nightly, epoch, StateName::Done);
    go_on(&*store, &nightly, epoch, 3).unwrap();
}

fn store_007_an_owner_lives_as_long_as_its_store_is_open(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let owner = info(&*store, &stream).owner.unwrap();
    assert!(store.is_alive(owner));
    assert!(!store.is_alive(Owner { instance: u64::MAX >> 1, epoch: 1 }));
    store.close().wait().unwrap();
    assert!(!store.is_alive(owner));
}

fn store_008_an_append_without_ownership_is_refused(store: Arc<dyn Store>) {
    let stream = unowned(&*store);
    for epoch in [0, 1] {
        let error = refused(&*store, "LostOwnership", || go_on(&*store, &stream, epoch, 2));
        let AppendError::LostOwnership { stream: named, epoch: found } = error else {
            panic!("{error}")
        };
        assert_eq!((named, found), (stream.clone(), epoch));
    }
    refused(&*store, "NotFound", || go_on(&*store, &session(), 1, 1));
    // All that a write can carry is behind the fence.
    let fence = Fence::Owned { epoch: 1 };
    let snapshot = Snapshot { state: StateName::Done, data: b"" };
    for write in [
        Write::new(&stream, fence),
        Write::new(&stream, fence).journal(&[b"entry"]),
        Write::new(&stream, fence).snapshot(snapshot),
        Write::new(&stream, fence).release(),
    ] {
        refused(&*store, "LostOwnership", || append(&*store, &[write]));
    }
}

fn store_008_an_append_under_an_old_epoch_is_refused(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    append(&*store, &[Write::new(&stream, Fence::Owned { epoch: 1 }).release()]).unwrap();
    claim(&*store, &stream, 1).unwrap();
    for epoch in [0, 1, 3] {
        refused(&*store, "LostOwnership", || go_on(&*store, &stream, epoch, 2));
    }
    go_on(&*store, &stream, 2, 2).unwrap();
    // One stream that is lost takes the others of its append with it.
    let other = owned(&*store);
    let (next, third) = ([event(&other, 2)], [event(&stream, 3)]);
    let good = Write::new(&other, Fence::Owned { epoch: 1 }).events(&next);
    let lost = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&third);
    refused(&*store, "LostOwnership", || append(&*store, &[good, lost]));
    refused(&*store, "LostOwnership", || append(&*store, &[lost, good]));
}

fn store_008_schedules_are_written_by_their_owner_alone(store: Arc<dyn Store>) {
    let nightly = schedule("nightly");
    refused(&*store, "LostOwnership", || create(&*store, &nightly, Fence::New));
    let epoch = claim_schedules(&*store);
    refused(&*store, "NotFound", || go_on(&*store, &nightly, epoch, 1));
    create(&*store, &nightly, Fence::New).unwrap();
    refused(&*store, "LostOwnership", || go_on(&*store, &nightly, epoch + 1, 2));
    go_on(&*store, &nightly, epoch, 2).unwrap();
}

fn store_008_a_note_of_a_lost_stream_is_dropped(store: Arc<dyn Store>) {
    let stream = owned(&*store);
    let beside = owned(&*store);
    for (named, epoch, seq) in [(&stream, 2, 2), (&session(), 1, 1), (&stream, 1, 3)] {
        store.note(named, epoch, &[event(named, seq)]).unwrap();
    }
    // Notes are read when the next record is.
    go_on(&*store, &beside, 1, 2).unwrap();
    assert_eq!(numbers(&*store, &stream), [1]);
    store.note(&stream, 1, &[event(&stream, 2)]).unwrap();
    go_on(&*store, &beside, 1, 3).unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2]);
}

fn requests_go_to_owners_and_name_who_should_decide(store: Arc<dyn Store>) {
    let ask = |stream: &Stream| match store.request(stream, b"?") {
        Ok(ticket) => ticket.wait(),
        Err(error) => Err(error),
    };
    let (mine, free) = (owned(&*store), unowned(&*store));
    assert!(matches!(ask(&mine), Err(RequestError::Own { stream }) if stream == mine));
    assert!(matches!(ask(&free), Err(RequestError::Unowned { stream }) if stream == free));
    assert!(matches!(ask(&session()), Err(RequestError::NotFound { .. })));
    claim_schedules(&*store);
    let nightly = schedule("nightly");
    create(&*store, &nightly, Fence::New).unwrap();
    assert!(matches!(ask(&nightly), Err(RequestError::Own { .. })));
}
