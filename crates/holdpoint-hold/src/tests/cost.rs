//! HOLD-007 by counting: an entry is touched once when it joins a queue, once when it is admitted
//! from it, once when it leaves. Whatever the number of others, nothing else is walked.

use proptest::prelude::*;

use super::config;
use crate::{Hold, HoldSet, Ticket};

/// Steps that a request of one name costs in its whole life, at most.
const LIFE: u64 = 3;

fn set_with(holds: &[Hold], requests: usize) -> (HoldSet, Vec<Ticket>) {
    let mut set = HoldSet::new();
    let claims = set.claims(holds).unwrap();
    let tickets = (0..requests as u64).map(|owner| set.request(&claims, owner)).collect();
    (set, tickets)
}

#[test]
fn hold_007_100_000_waiters_on_one_exclusive_name_are_linear() {
    let count = 100_000;
    let (mut set, tickets) = set_with(&[Hold::exclusive("db")], count);
    for (owner, ticket) in (0_u64..).zip(tickets) {
        assert!(set.is_granted(&ticket));
        let before = set.steps;
        set.release(ticket);
        assert!(set.steps - before <= 2, "one leaves and one is admitted");
        let next = (owner + 1 < count as u64).then_some(owner + 1);
        assert_eq!(set.next_granted(), next);
    }
    assert!(set.steps <= LIFE * count as u64);
    assert!(set.is_empty());
}

#[test]
fn hold_007_waking_costs_the_woken() {
    let (mut set, mut tickets) = set_with(&[Hold::exclusive("db")], 1);
    let shared = set.claims(&[Hold::shared("db")]).unwrap();
    tickets.extend((1..=1_000).map(|owner| set.request(&shared, owner)));
    let waiting = set.claims(&[Hold::exclusive("db")]).unwrap();
    tickets.extend((1_001..=100_000).map(|owner| set.request(&waiting, owner)));

    let before = set.steps;
    set.release(tickets.swap_remove(0));
    assert_eq!(set.steps - before, 1 + 1_000, "itself and those it woke, not those who stay");
    assert_eq!(std::iter::from_fn(|| set.next_granted()).count(), 1_000);
}

#[test]
fn hold_007_a_request_of_many_names_costs_its_names() {
    let names: Vec<Hold> = (0..8).map(|n| Hold::exclusive(format!("n{n}"))).collect();
    let (mut set, tickets) = set_with(&names, 10_000);
    tickets.into_iter().for_each(|ticket| set.release(ticket));
    assert!(set.steps <= LIFE * 8 * 10_000);
}

#[test]
fn hold_007_names_in_use_do_not_slow_each_other() {
    let mut set = HoldSet::new();
    let mut tickets = Vec::new();
    for n in 0..1_000 {
        let claims = set.claims(&[Hold::exclusive(format!("n{n}"))]).unwrap();
        tickets.extend((0..10).map(|owner| set.request(&claims, owner)));
    }
    let joined = set.steps;
    tickets.into_iter().for_each(|ticket| set.release(ticket));
    assert!(set.steps - joined <= 2 * 10_000);
}

#[test]
fn hold_007_due_requests_nobody_asks_about_take_no_memory() {
    let mut set = HoldSet::new();
    let claims = set.claims(&[Hold::exclusive("db")]).unwrap();
    let mut holder = set.request(&claims, 0);
    for owner in 1..100_000 {
        let next = set.request(&claims, owner);
        set.release(holder);
        holder = next;
    }
    assert!(set.memory().1 <= 8, "{:?}", set.memory());
    assert_eq!(set.next_granted(), Some(99_999));
    assert_eq!(set.next_granted(), None);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn hold_007_ho_4_withdrawing_in_any_order_is_linear(
        order in Just((0..200_usize).collect::<Vec<_>>()).prop_shuffle()
    ) {
        let (mut set, tickets) = set_with(&[Hold::exclusive("db")], order.len());
        let mut tickets: Vec<Option<Ticket>> = tickets.into_iter().map(Some).collect();
        for nth in order {
            let before = set.steps;
            set.release(tickets[nth].take().expect("each ends once"));
            prop_assert!(set.steps - before <= 2);
        }
        prop_assert!(set.is_empty());
    }
}
