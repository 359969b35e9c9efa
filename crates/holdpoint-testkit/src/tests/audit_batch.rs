//! B1, B3, B4 and B6.

use holdpoint_core::event::{EventKind, ItemOutcome};

use super::words::{batch, cause};

fn begins(limit: u32) -> EventKind {
    EventKind::BatchStarted { limit }
}

fn queued(item: &str) -> EventKind {
    EventKind::BatchItemQueued { item: item.into() }
}

fn starts(item: &str, index: u64, attempt: u32) -> EventKind {
    EventKind::BatchItemStarted { item: item.into(), index, attempt }
}

fn retry(item: &str, index: u64, attempt: u32) -> EventKind {
    let message = "no".into();
    EventKind::BatchItemRetry { item: item.into(), index, attempt, delay_ms: 0, message }
}

fn ends(item: &str, index: u64, outcome: ItemOutcome) -> EventKind {
    EventKind::BatchItemFinished { item: item.into(), index, outcome, message: None }
}

fn parked(item: &str, index: u64) -> EventKind {
    EventKind::BatchItemParked { item: item.into(), index }
}

fn unparked(item: &str, index: u64) -> EventKind {
    EventKind::BatchItemUnparked { item: item.into(), index }
}

/// Succeeded, failed, cancelled, parked, not started.
fn over(counts: [u64; 5]) -> EventKind {
    let [succeeded, failed, cancelled, parked, not_started] = counts;
    EventKind::BatchEnded { succeeded, failed, cancelled, parked, not_started }
}

use ItemOutcome::{Failed, NotStarted, Parked, Succeeded};

#[test]
fn audit_is_silent_on_what_a_batch_may_do() {
    let kinds = vec![
        begins(2),
        queued("a"),
        queued("b"),
        starts("a", 0, 1),
        starts("b", 1, 1),
        EventKind::BatchLimitChanged { from: 2, to: 1 },
        retry("b", 1, 1),
        parked("a", 0),
        starts("b", 1, 2),
        ends("b", 1, Failed),
        unparked("a", 0),
        starts("a", 0, 1),
        ends("a", 0, Succeeded),
        queued("c"),
        queued("d"),
        queued("e"),
        starts("c", 2, 1),
        parked("c", 2),
        EventKind::BatchPaused,
        EventKind::BatchResumed,
        EventKind::BatchCancelRequested(cause("enough")),
        ends("d", 3, NotStarted),
        over([1, 1, 0, 1, 2]),
    ];
    assert_eq!(batch(kinds), []);
    assert_eq!(batch(vec![begins(1), over([0; 5])]), []);
}

#[test]
fn audit_finds_more_in_flight_than_the_limit() {
    let two = |limit: u32, between: &[EventKind]| {
        let begin = [begins(limit), queued("a"), queued("b"), starts("a", 0, 1)];
        let end = [
            starts("b", 1, 1),
            ends("a", 0, Succeeded),
            ends("b", 1, Succeeded),
            over([2, 0, 0, 0, 0]),
        ];
        batch([&begin[..], between, &end].concat())
    };
    assert_eq!(two(2, &[]), []);
    assert_eq!(two(1, &[]), [("B1", 5)]);
    assert_eq!(two(2, &[EventKind::BatchLimitChanged { from: 2, to: 1 }]), [("B1", 6)]);
    assert_eq!(two(1, &[EventKind::BatchLimitChanged { from: 1, to: 2 }]), []);
    assert_eq!(two(2, &[EventKind::BatchLimitChanged { from: 3, to: 2 }]), [("B1", 5)]);
}

#[test]
fn audit_finds_items_without_or_with_several_outcomes() {
    let run =
        |rest: &[EventKind]| batch([&[begins(1), queued("a"), starts("a", 0, 1)], rest].concat());
    assert_eq!(run(&[over([0, 0, 0, 0, 0])]), [("B3", 4)]);
    let twice = [ends("a", 0, Succeeded), ends("a", 0, Failed), over([1, 0, 0, 0, 0])];
    assert_eq!(run(&twice), [("B3", 5)]);
    assert_eq!(run(&[ends("a", 0, NotStarted), over([0, 0, 0, 0, 1])]), [("B3", 4)]);
    assert_eq!(run(&[ends("a", 0, Parked), over([0, 0, 0, 1, 0])]), [("B3", 4)]);
    assert_eq!(run(&[ends("a", 0, Succeeded)]), [("B3", 4)], "the batch has no end");
    let unstarted = vec![begins(1), queued("a"), ends("a", 0, Succeeded), over([1, 0, 0, 0, 0])];
    assert_eq!(batch(unstarted), [("B3", 3)]);
}

#[test]
fn audit_finds_items_done_twice() {
    assert_eq!(
        batch(vec![begins(1), queued("a"), queued("a"), over([0, 0, 0, 0, 1])]),
        [("B3", 3)]
    );
    let again = vec![
        begins(2),
        queued("a"),
        starts("a", 0, 1),
        ends("a", 0, Succeeded),
        starts("a", 0, 1),
        over([1, 0, 0, 0, 0]),
    ];
    assert_eq!(batch(again), [("B3", 5)]);
    let unknown = vec![begins(1), starts("a", 0, 1), over([0; 5])];
    assert_eq!(batch(unknown), [("B3", 2)]);
}

#[test]
fn audit_finds_attempts_and_parking_out_of_order() {
    let run = |rest: &[EventKind]| {
        let begin = [begins(1), queued("a"), starts("a", 0, 1)];
        let end = [ends("a", 0, Succeeded), over([1, 0, 0, 0, 0])];
        batch([&begin[..], rest, &end].concat())
    };
    assert_eq!(run(&[retry("a", 0, 1), starts("a", 0, 3)]), [("B3", 5)]);
    assert_eq!(run(&[retry("a", 0, 2), starts("a", 0, 2)]), [("B3", 4)]);
    assert_eq!(run(&[unparked("a", 0)]), [("B3", 4)]);
    assert_eq!(run(&[parked("a", 0), starts("a", 0, 1)]), [("B3", 5)]);
    assert_eq!(run(&[parked("a", 0), unparked("a", 0)]), []);
}

#[test]
fn audit_finds_indexes_and_starts_out_of_order() {
    let run = |starts: [EventKind; 2]| {
        let end = [ends("a", 0, Succeeded), ends("b", 1, Succeeded), over([2, 0, 0, 0, 0])];
        batch([&[begins(2), queued("a"), queued("b")], &starts[..], &end].concat())
    };
    assert_eq!(run([starts("a", 1, 1), starts("b", 1, 1)]), [("B4", 4)]);
    assert_eq!(run([starts("a", 0, 1), starts("b", 2, 1)]), [("B4", 5)]);
    assert_eq!(run([starts("b", 1, 1), starts("a", 0, 1)])[0], ("B4", 4));
    let moved = vec![
        begins(1),
        queued("a"),
        starts("a", 0, 1),
        ends("a", 1, Succeeded),
        over([1, 0, 0, 0, 0]),
    ];
    assert_eq!(batch(moved), [("B4", 4)]);
}

#[test]
fn audit_finds_starts_after_a_cancel_in_a_pause_and_after_the_end() {
    let run = |before: EventKind| {
        let end = [starts("a", 0, 1), ends("a", 0, Succeeded), over([1, 0, 0, 0, 0])];
        batch([&[begins(1), queued("a"), before], &end[..]].concat())
    };
    assert_eq!(run(EventKind::BatchCancelRequested(cause("enough"))), [("B6", 4)]);
    assert_eq!(run(EventKind::BatchPaused), [("B6", 4)]);
    assert_eq!(run(EventKind::BatchResumed), []);
    assert_eq!(batch(vec![begins(1), over([0; 5]), EventKind::BatchPaused]), [("B6", 3)]);
    assert_eq!(batch(vec![queued("a"), begins(1), over([0, 0, 0, 0, 1])])[0], ("B6", 1));
}

#[test]
fn audit_finds_counts_that_do_not_agree() {
    let run = |counts| {
        batch(vec![
            begins(1),
            queued("a"),
            queued("b"),
            starts("a", 0, 1),
            ends("a", 0, Failed),
            over(counts),
        ])
    };
    assert_eq!(run([0, 1, 0, 0, 1]), []);
    assert_eq!(run([1, 0, 0, 0, 1]), [("B3", 6)]);
    assert_eq!(run([0, 1, 0, 0, 0]), [("B3", 6)]);
}
