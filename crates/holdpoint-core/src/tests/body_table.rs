//! The table of operations of a recorded body (SESS-017).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::config;
use crate::body::{
    CancelWhen, ChildSpec, Delivery, Kind, MAX_OP_NAME_LEN, OpError, OpId, OpKey, OpTable, Open,
    TableEvent,
};
use crate::cancel::{CancelCode, CancelInfo};
use crate::clock::Timestamp;
use crate::session::QuestionKind;

fn ask() -> Open {
    Open::Ask { kind: QuestionKind::Text, prompt: "?".to_owned(), task: None }
}

fn cause() -> CancelInfo {
    CancelInfo::new(CancelCode::User, "enough", Timestamp::from_micros(1))
}

fn look(table: &mut OpTable, op: OpId) -> Option<TableEvent> {
    match table.poll(op, Waker::noop()).0 {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

fn cancelled() -> Option<TableEvent> {
    Some(TableEvent::Done(Err(OpError::Cancelled(cause()))))
}

fn done(value: &str) -> Option<TableEvent> {
    Some(TableEvent::Done(Ok(value.to_owned())))
}

fn keys(table: &mut OpTable) -> Vec<String> {
    let fresh = table.take_fresh();
    fresh.iter().map(|fresh| fresh.key.as_ref().map_or("-".into(), OpKey::to_string)).collect()
}

#[test]
fn sess_017_operations_are_numbered_by_kind_and_name_when_they_are_called() {
    let mut table = OpTable::new();
    for name in ["b", "a", "b"] {
        table.open(name.into(), Open::Step, CancelWhen::Requested);
    }
    table.open("d".into(), Open::Delay(Duration::ZERO), CancelWhen::Never);
    table.open("b".into(), ask(), CancelWhen::Requested);
    table.open("b".into(), Open::Sleep(Duration::ZERO), CancelWhen::Requested);
    let child = ChildSpec::new("other", "1".to_owned());
    table.open("b".into(), Open::Child(child), CancelWhen::Requested);
    let expected = ["step a", "step b", "step b #2", "ask b", "sleep b", "child b"];
    let outstanding: Vec<String> = table.outstanding().map(OpKey::to_string).collect();
    assert_eq!(outstanding, expected);
    assert_eq!(keys(&mut table), [&expected[..], &["-"]].concat());
    assert!(keys(&mut table).is_empty());
    assert_eq!(table.moves(), 6);
}

#[test]
fn sess_017_a_step_is_executed_when_it_is_permitted_and_over_when_it_is_delivered() {
    let mut table = OpTable::new();
    let op = table.open("s".into(), Open::Step, CancelWhen::Requested);
    assert_eq!(look(&mut table, op), None);
    table.permit(op);
    assert_eq!(look(&mut table, op), Some(TableEvent::Execute { ordinal: 0 }));
    assert_eq!(look(&mut table, op), None);
    table.finish(op, Ok("1".to_owned()));
    assert_eq!(look(&mut table, op), None, "it is not recorded yet");
    let (id, key, outcome) = table.take_finished().remove(0);
    assert_eq!((id, key.to_string()), (op, "step s".to_owned()));
    assert!(table.take_finished().is_empty() && !table.is_idle());
    assert!(matches!(table.deliver(&key, outcome), Delivery::Delivered(Some(_))));
    assert!(table.is_idle());
    assert_eq!(look(&mut table, op), done("1"));
    assert_eq!(look(&mut table, op), None);
    table.close(op);
    assert!(table.take_closed().is_empty(), "the host delivered it");
    assert!(matches!(table.deliver(&key, Ok(String::new())), Delivery::Unknown));
}

#[test]
fn sess_017_a_step_with_a_result_is_not_executed_and_the_host_does_not_hear_of_it() {
    let mut table = OpTable::new();
    let op = table.open("s".into(), Open::Step, CancelWhen::Requested);
    let key = OpKey::new(Kind::Step, "s", 0);
    assert!(matches!(table.deliver(&key, Ok("7".to_owned())), Delivery::Delivered(None)));
    assert!(table.permit(op).is_none());
    assert_eq!(look(&mut table, op), done("7"));
    assert!(table.take_fresh().is_empty());
}

#[test]
fn sess_017_a_result_from_elsewhere_stays_when_the_effect_ends_late() {
    let mut table = OpTable::new();
    let op = table.open("s".into(), Open::Step, CancelWhen::Requested);
    table.permit(op);
    look(&mut table, op);
    let key = OpKey::new(Kind::Step, "s", 0);
    assert!(matches!(table.deliver(&key, Ok("7".to_owned())), Delivery::Delivered(_)));
    table.finish(op, Ok("8".to_owned()));
    assert!(table.take_finished().is_empty());
    assert_eq!(look(&mut table, op), done("7"));
}

#[test]
fn sess_017_the_record_of_a_dropped_operation_is_passed_over_once() {
    let mut table = OpTable::new();
    let op = table.open("s".into(), Open::Step, CancelWhen::Requested);
    let _told = table.take_fresh();
    table.permit(op);
    look(&mut table, op);
    table.finish(op, Ok("1".to_owned()));
    table.close(op);
    let key = OpKey::new(Kind::Step, "s", 0);
    assert!(table.take_finished().is_empty(), "nobody wants it");
    assert_eq!(table.take_closed()[0].key.as_ref(), Some(&key));
    assert!(matches!(table.deliver(&key, Ok(String::new())), Delivery::Abandoned));
    assert!(matches!(table.deliver(&key, Ok(String::new())), Delivery::Unknown));
    let never = OpKey::new(Kind::Step, "s", 1);
    assert!(matches!(table.deliver(&never, Ok(String::new())), Delivery::Unknown));
}

#[test]
fn sess_017_the_host_hears_of_the_end_of_what_it_heard_of_and_of_nothing_else() {
    let mut table = OpTable::new();
    let told = table.open("told".into(), ask(), CancelWhen::Requested);
    let delay = table.open("d".into(), Open::Delay(Duration::ZERO), CancelWhen::Never);
    let _told = table.take_fresh();
    let untold = table.open("untold".into(), ask(), CancelWhen::Requested);
    for op in [untold, told, delay] {
        table.close(op);
        table.close(op);
    }
    let again = table.open("again".into(), ask(), CancelWhen::Requested);
    assert_eq!(again, untold, "of this number the host knows nothing");
    let closed: Vec<OpId> = table.take_closed().iter().map(|closed| closed.id).collect();
    assert_eq!(closed, [told, delay]);
    assert_eq!(keys(&mut table), ["ask again"]);
}

#[test]
fn sess_017_a_cancellation_ends_what_heeds_it_and_lets_open_steps_go_on() {
    let mut table = OpTable::new();
    let step = table.open("s".into(), Open::Step, CancelWhen::Requested);
    let question = table.open("q".into(), ask(), CancelWhen::Requested);
    let other = table.open("c".into(), ask(), CancelWhen::Never);
    let cleanup = table.open("c".into(), Open::Sleep(Duration::ZERO), CancelWhen::Never);
    let _told = table.take_fresh();
    let untold = table.open("z".into(), Open::Sleep(Duration::ZERO), CancelWhen::Requested);
    assert!(table.deliver_cancel(cause()).is_empty(), "nobody waits");
    let later = CancelInfo::new(CancelCode::Shutdown, "", Timestamp::from_micros(2));
    let _no_wakers = table.deliver_cancel(later);
    assert_eq!(table.cancel(), Some(&cause()), "the first cause is kept");
    // A question is withdrawn whoever asked it.
    for op in [question, untold, other] {
        assert_eq!(look(&mut table, op), cancelled());
    }
    assert_eq!(look(&mut table, cleanup), None);
    table.permit(step);
    assert_eq!(look(&mut table, step), Some(TableEvent::Execute { ordinal: 0 }));

    let moves = table.moves();
    let after = table.open("s".into(), Open::Step, CancelWhen::Requested);
    assert_eq!(look(&mut table, after), cancelled());
    table.open("s".into(), Open::Step, CancelWhen::Never);
    assert_eq!(keys(&mut table), ["step s #3"], "the cancelled one was the second");
    assert_eq!(table.moves() - moves, 2);
    let late = OpKey::new(Kind::Ask, "q", 0);
    assert!(matches!(table.deliver(&late, Ok(String::new())), Delivery::Abandoned));
    table.close(question);
    table.close(untold);
    assert_eq!(table.take_closed()[0].id, question, "to be withdrawn by the host");
}

#[test]
fn sess_017_a_name_is_of_1_to_256_bytes() {
    let mut table = OpTable::new();
    let longest = "x".repeat(MAX_OP_NAME_LEN);
    table.open(longest.clone().into(), ask(), CancelWhen::Requested);
    assert_eq!(keys(&mut table).len(), 1);
    for (name, says) in [
        (String::new(), "the name of an operation cannot be empty"),
        (longest + "x", "the name of an operation has at most 256 bytes, this has 257"),
    ] {
        let op = table.open(name.into(), ask(), CancelWhen::Requested);
        let error = OpError::Failed { message: says.to_owned(), retryable: false };
        assert_eq!(look(&mut table, op), Some(TableEvent::Done(Err(error))));
        assert!(keys(&mut table).is_empty());
        table.close(op);
        assert!(table.take_closed().is_empty());
    }
}

#[test]
fn sess_017_delays_are_delivered_by_number_and_hold_up_nothing() {
    let mut table = OpTable::new();
    let delay = table.open("d".into(), Open::Delay(Duration::ZERO), CancelWhen::Never);
    assert!(table.is_idle());
    assert_eq!(table.moves(), 0);
    let _wakers = table.deliver_cancel(cause());
    assert_eq!(look(&mut table, delay), None);
    table.deliver_delay(delay);
    assert!(table.take_fresh().is_empty());
    assert_eq!(look(&mut table, delay), done("null"));
    let step = table.open("s".into(), Open::Step, CancelWhen::Never);
    table.deliver_delay(step);
    assert_eq!(look(&mut table, step), None, "a step is no delay");
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn sess_017_the_last_waker_is_handed_out_and_none_is_woken_inside() {
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let (one, two) = (Waker::from(Arc::clone(&first)), Waker::from(Arc::clone(&second)));
    let mut table = OpTable::new();
    let op = table.open("s".into(), Open::Step, CancelWhen::Requested);
    assert!(table.poll(op, &one).1.is_none());
    assert!(table.poll(op, &one).1.is_none(), "it is the same");
    assert!(table.poll(op, &two).1.expect("replaced").will_wake(&one));
    assert!(table.permit(op).expect("it waits").will_wake(&two));
    look(&mut table, op);
    assert!(table.poll(op, &one).1.is_none(), "none was there");
    let key = OpKey::new(Kind::Step, "s", 0);
    let Delivery::Delivered(Some(waker)) = table.deliver(&key, Ok(String::new())) else {
        panic!("it waits");
    };
    assert!(waker.will_wake(&one));
    let other = table.open("q".into(), ask(), CancelWhen::Requested);
    let _pending = table.poll(other, &two);
    let more = table.open("a".into(), ask(), CancelWhen::Requested);
    let _pending = table.poll(more, &one);
    let wakers = table.deliver_cancel(cause());
    assert!(wakers[0].will_wake(&one) && wakers[1].will_wake(&two) && wakers.len() == 2);
    assert_eq!(first.0.load(Ordering::Relaxed) + second.0.load(Ordering::Relaxed), 0);
    let last = table.open("z".into(), Open::Step, CancelWhen::Never);
    let _pending = table.poll(last, &two);
    assert!(table.close(last).expect("it waited").will_wake(&two));
}

#[test]
fn sess_017_many_operations_use_few_slots() {
    let mut table = OpTable::new();
    for number in 0..100_000_u32 {
        let name = format!("n{}", number % 40);
        let op = table.open(name.clone().into(), Open::Step, CancelWhen::Requested);
        assert!(op.0 < 2);
        let fresh = table.take_fresh().remove(0);
        table.permit(fresh.id);
        look(&mut table, op);
        table.finish(op, Ok(String::new()));
        let (_, key, outcome) = table.take_finished().remove(0);
        assert_eq!(key, OpKey::new(Kind::Step, name, number / 40));
        let _delivered = table.deliver(&key, outcome);
        look(&mut table, op);
        table.close(op);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Open(u8, bool),
    Close(usize),
    Deliver(usize),
    Tell,
    Cancel,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..5_u8, any::<bool>()).prop_map(|(name, heeds)| Act::Open(name, heeds)),
        2 => any::<usize>().prop_map(Act::Close),
        3 => any::<usize>().prop_map(Act::Deliver),
        2 => Just(Act::Tell),
        1 => Just(Act::Cancel),
    ]
}

proptest! {
    #![proptest_config(config())]

    /// Whatever happens: an open operation keeps its number and nobody else has it; what the host
    /// was told of is either delivered, told of as closed, or open; keys rise.
    #[test]
    fn sess_017_numbers_and_news_stay_right_over_any_sequence(acts in prop::collection::vec(act(), 1..80)) {
        let mut table = OpTable::new();
        let mut open: Vec<OpId> = Vec::new();
        let mut told: Vec<(OpId, OpKey)> = Vec::new();
        for act in acts {
            match act {
                Act::Open(name, heeds) => {
                    let when = if heeds { CancelWhen::Requested } else { CancelWhen::Never };
                    let op = table.open(name.to_string().into(), ask(), when);
                    prop_assert!(!open.contains(&op));
                    prop_assert!(told.iter().all(|(id, _)| *id != op), "the host still knows it");
                    open.push(op);
                }
                Act::Close(at) if !open.is_empty() => {
                    let at = at % open.len();
                    table.close(open.swap_remove(at));
                }
                Act::Deliver(at) => {
                    let keys: Vec<OpKey> = table.outstanding().cloned().collect();
                    prop_assert!(keys.is_sorted());
                    if keys.is_empty() {
                        continue;
                    }
                    let key = &keys[at % keys.len()];
                    told.retain(|(_, known)| known != key);
                    let delivery = table.deliver(key, Ok("1".to_owned()));
                    prop_assert!(matches!(delivery, Delivery::Delivered(_)));
                }
                Act::Tell => {
                    for closed in table.take_closed() {
                        let known = told.iter().position(|(id, _)| *id == closed.id);
                        let (_, key) = told.swap_remove(known.expect("the host knows it"));
                        prop_assert_eq!(Some(key), closed.key);
                    }
                    for fresh in table.take_fresh() {
                        prop_assert!(open.contains(&fresh.id));
                        told.push((fresh.id, fresh.key.expect("no delay")));
                    }
                    for (id, _) in &told {
                        prop_assert!(open.contains(id), "what was closed was told");
                    }
                }
                Act::Cancel => drop(table.deliver_cancel(cause())),
                Act::Close(_) => {}
            }
        }
        for op in open {
            table.close(op);
        }
        prop_assert!(table.is_idle());
    }
}
