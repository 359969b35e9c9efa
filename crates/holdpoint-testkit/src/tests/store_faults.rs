//! What goes wrong with the store of a virtual process: delays, failures, crashes.

use std::task::{Context, Poll, Waker};

use holdpoint_core::event::Stream;
use holdpoint_core::store::{AppendError, Appended, Commit, Fence, Store, Ticket, Write};

use super::store::{claim, event, go_on, numbers, owned};
use crate::store::{Failure, Faults, FaultyStore, VirtualDisk};

type Kept = Ticket<Result<Commit, AppendError>>;

/// One more event, which is delayed.
fn later(store: &FaultyStore, stream: &Stream, seq: u64) -> Kept {
    let write = Write::new(stream, Fence::Owned { epoch: 1 });
    match store.append(&[write.events(&[event(stream, seq)])]).unwrap() {
        Appended::Pending(ticket) => ticket,
        Appended::Acked(commit) => panic!("{commit:?} is not delayed"),
    }
}

fn waits(ticket: Kept) -> Kept {
    ticket.try_take().expect_err("it waits")
}

#[test]
fn a_delayed_append_is_carried_out_when_it_is_released() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let stream = owned(&*store);
    store.set_faults(Faults::none().delay(1).delay(3));
    let first = later(&store, &stream, 2);
    let behind = later(&store, &stream, 3);
    let third = later(&store, &stream, 4);
    let last = later(&store, &stream, 5);
    assert_eq!((store.waiting(), numbers(&*store, &stream)), (4, vec![1]));
    let first = waits(first);
    assert_eq!(store.release_one(), 2, "and the one behind it");
    assert_eq!((first.wait().unwrap().pos, behind.wait().unwrap().pos), (2, 3));
    let third = waits(third);
    assert_eq!((store.release(9), store.waiting(), store.release_all()), (2, 0, 0));
    assert_eq!((third.wait().unwrap().pos, last.wait().unwrap().pos), (4, 5));
    assert_eq!(numbers(&*store, &stream), [1, 2, 3, 4, 5]);
}

#[test]
fn what_is_delayed_is_judged_when_it_is_released() {
    let disk = VirtualDisk::new();
    let (one, other) = (disk.open(), disk.open_with(Faults::none().delay_all()));
    let stream = owned(&*one);
    let Appended::Pending(ticket) =
        other.append(&[Write::new(&stream, Fence::Claim { epoch: 1 })]).unwrap()
    else {
        panic!("it is delayed")
    };
    one.crash();
    other.release_all();
    ticket.wait().unwrap();
    assert_eq!(one.info(&stream).unwrap().owner.unwrap().instance, other.instance());
}

#[test]
fn the_seed_decides_which_appends_are_delayed() {
    let delayed = |seed| -> Vec<u64> {
        let store = VirtualDisk::new().open();
        let stream = owned(&*store);
        store.set_faults(Faults::none().delay_share(30, seed));
        let is_delayed = |seq: &u64| {
            let write = Write::new(&stream, Fence::Owned { epoch: 1 });
            let appended = store.append(&[write.events(&[event(&stream, *seq)])]).unwrap();
            store.release_all();
            matches!(appended, Appended::Pending(_))
        };
        (2..102).filter(is_delayed).collect()
    };
    assert_eq!(delayed(1), delayed(1));
    assert_ne!(delayed(1), delayed(2));
    assert!((15..45).contains(&delayed(3).len()));
}

#[test]
fn notes_ride_with_the_next_record_of_any_stream() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let (one, other) = (owned(&*store), owned(&*store));
    store.note(&one, 1, &[event(&one, 2)]).unwrap();
    store.note(&one, 1, &[event(&one, 3)]).unwrap();
    assert_eq!(numbers(&*store, &one), [1]);
    go_on(&*store, &other, 1, 2).unwrap();
    assert_eq!(numbers(&*store, &one), [1, 2, 3]);

    // Those of a stream that is not owned are lost, and nothing with them.
    store.note(&one, 9, &[event(&one, 4)]).unwrap();
    store.note(&one, 1, &[event(&one, 5)]).unwrap();
    go_on(&*store, &one, 1, 4).unwrap();
    assert_eq!(numbers(&*store, &one), [1, 2, 3, 4]);

    store.note(&one, 1, &[event(&one, 5)]).unwrap();
    drop(store);
    assert_eq!(numbers(&*disk.open(), &one), [1, 2, 3, 4, 5], "closed by its last handle");
}

#[test]
fn a_note_keeps_its_place_among_delayed_records() {
    let store = VirtualDisk::new().open();
    let stream = owned(&*store);
    store.set_faults(Faults::none().delay(1));
    let record = later(&store, &stream, 2);
    store.note(&stream, 1, &[event(&stream, 3)]).unwrap();
    store.release_one();
    record.wait().unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2], "no record has followed the note");
    go_on(&*store, &stream, 1, 4).unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2, 3, 4]);
}

#[test]
fn a_full_disk_fails_one_append_and_poisons_the_rest() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let stream = owned(&*store);
    store.set_faults(Faults::none().delay(1).fail(2, Failure::Io));
    let good = later(&store, &stream, 2);
    store.note(&stream, 1, &[event(&stream, 3)]).unwrap();
    let bad = later(&store, &stream, 4);
    let behind = later(&store, &stream, 5);
    assert_eq!(store.release_one(), 2);
    good.wait().unwrap();
    assert!(matches!(bad.wait(), Err(AppendError::Io { .. })));
    assert!(matches!(behind.wait(), Err(AppendError::Poisoned { .. })));
    for error in [
        go_on(&*store, &stream, 1, 3).unwrap_err(),
        store.note(&stream, 1, &[event(&stream, 3)]).unwrap_err(),
        store.claim_schedules().unwrap_err(),
        store.close().wait().unwrap_err(),
    ] {
        assert!(matches!(error, AppendError::Poisoned { .. }), "{error}");
    }
    assert_eq!(numbers(&*store, &stream), [1, 2], "reads go on, and the note is lost");
    assert!(!store.is_alive(store.info(&stream).unwrap().owner.unwrap()));
    let again = store.reopen();
    claim(&*again, &stream, 1).unwrap();
    go_on(&*again, &stream, 2, 3).unwrap();
}

#[test]
fn a_poisoned_store_fails_what_is_delayed_too() {
    let store = VirtualDisk::new().open();
    let stream = owned(&*store);
    store.set_faults(Faults::none().delay(1).fail(2, Failure::Poisoned));
    let delayed = later(&store, &stream, 2);
    assert!(matches!(go_on(&*store, &stream, 1, 3), Err(AppendError::Poisoned { .. })));
    assert!(matches!(delayed.wait(), Err(AppendError::Poisoned { .. })));
    assert_eq!((store.release_all(), numbers(&*store, &stream)), (0, vec![1]));
}

#[test]
fn a_busy_disk_fails_one_append_and_nothing_else() {
    let store = VirtualDisk::new().open();
    let stream = owned(&*store);
    store.set_faults(Faults::none().fail(1, Failure::Busy));
    store.note(&stream, 1, &[event(&stream, 2)]).unwrap();
    assert!(matches!(go_on(&*store, &stream, 1, 3), Err(AppendError::Busy)));
    assert_eq!(numbers(&*store, &stream), [1]);
    go_on(&*store, &stream, 1, 3).unwrap();
    assert_eq!(numbers(&*store, &stream), [1, 2, 3], "the note has waited");
}

#[test]
fn a_stream_is_lost_and_the_others_are_not() {
    let store = VirtualDisk::new().open();
    let (lost, other) = (owned(&*store), owned(&*store));
    store.set_faults(Faults::none().fail(2, Failure::LostOwnership(lost.clone())));
    go_on(&*store, &lost, 1, 2).unwrap();
    go_on(&*store, &other, 1, 2).unwrap();
    let refused = go_on(&*store, &lost, 1, 3);
    assert!(matches!(refused, Err(AppendError::LostOwnership { epoch: 1, .. })));
    go_on(&*store, &other, 1, 3).unwrap();
    claim(&*store, &lost, 2).unwrap();
    go_on(&*store, &lost, 3, 3).unwrap();
}

#[test]
fn a_crash_forgets_what_was_not_written_and_leaves_a_dead_owner() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let stream = owned(&*store);
    let owner = store.info(&stream).unwrap().owner.unwrap();
    store.note(&stream, 1, &[event(&stream, 2)]).unwrap();
    store.set_faults(Faults::none().delay_all());
    let first = later(&store, &stream, 3);
    store.release_one();
    first.wait().unwrap();
    store.note(&stream, 1, &[event(&stream, 4)]).unwrap();
    let (delayed, closing) = (later(&store, &stream, 5), store.close());
    assert!(store.is_alive(owner), "a close waits for what is delayed");

    let again = store.reopen();
    assert!(matches!(delayed.wait(), Err(AppendError::Closed)));
    assert!(matches!(closing.wait(), Err(AppendError::Closed)));
    assert!(matches!(go_on(&*store, &stream, 1, 4), Err(AppendError::Closed)));
    drop(store);
    assert_eq!(numbers(&*again, &stream), [1, 2, 3]);
    assert_eq!(again.info(&stream).unwrap().owner, Some(owner));
    assert!(!again.is_alive(owner));
    claim(&*again, &stream, 1).unwrap();
    go_on(&*again, &stream, 2, 4).unwrap();
}

#[test]
fn a_close_waits_for_what_is_delayed() {
    let disk = VirtualDisk::new();
    let store = disk.open();
    let stream = owned(&*store);
    store.set_faults(Faults::none().delay_all());
    let (delayed, closing) = (later(&store, &stream, 2), store.close());
    assert!(matches!(go_on(&*store, &stream, 1, 3), Err(AppendError::Closed)));
    let closing = closing.try_take().expect_err("it waits");
    store.release_all();
    delayed.wait().unwrap();
    closing.wait().unwrap();
    assert!(!disk.open().is_alive(store.info(&stream).unwrap().owner.unwrap()));
}

#[test]
fn news_come_with_the_release() {
    let disk = VirtualDisk::new();
    let (one, other) = (disk.open(), disk.open());
    let stream = owned(&*one);
    one.set_faults(Faults::none().delay(1));
    let mut changes = [one.changes(), other.changes()];
    let mut look = || {
        changes
            .each_mut()
            .map(|changes| changes.poll_changed(&mut Context::from_waker(Waker::noop())))
    };
    let ticket = later(&one, &stream, 2);
    assert_eq!(look(), [Poll::Pending; 2]);
    one.release_all();
    assert_eq!(look(), [Poll::Ready(true); 2]);
    ticket.wait().unwrap();
    one.note(&stream, 1, &[event(&stream, 3)]).unwrap();
    assert_eq!(look(), [Poll::Pending; 2], "nothing is written yet");
    assert!(go_on(&*other, &stream, 1, 3).is_err());
    assert_eq!(look(), [Poll::Pending; 2], "a refusal is no news");
    one.crash();
    assert_eq!(look(), [Poll::Ready(false), Poll::Pending]);
}
