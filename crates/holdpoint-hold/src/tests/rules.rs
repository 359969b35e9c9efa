//! The rules of the accounting, each by the smallest case that shows it.

use std::fmt::Write as _;

use holdpoint_core::Name;

use crate::{Hold, HoldSet, Scope, Ticket};

/// A set and a short way to ask.
#[derive(Default)]
struct Bench {
    set: HoldSet,
    next: u64,
}

impl Bench {
    fn counted(name: &str, capacity: u32) -> Self {
        let mut bench = Self::default();
        bench.set.declare(&Scope::Workspace, name, capacity).unwrap();
        bench
    }

    /// Requests get the owners 1, 2, 3...
    fn ask(&mut self, holds: &[Hold]) -> Ticket {
        self.next += 1;
        let claims = self.set.claims(holds).expect("good holds");
        self.set.request(&claims, self.next)
    }

    fn has(&self, ticket: &Ticket) -> bool {
        self.set.is_granted(ticket)
    }

    /// Releases, and gives the owners that became due by it.
    fn end(&mut self, ticket: Ticket) -> Vec<u64> {
        self.set.release(ticket);
        std::iter::from_fn(|| self.set.next_granted()).collect()
    }

    /// Who stands in the way, as `owner` or, where it waits itself, `(owner)`.
    fn blockers(&self, ticket: &Ticket) -> String {
        self.set.blockers(ticket).fold(String::new(), |mut text, blocker| {
            let (owner, scope, name) = (blocker.owner, blocker.scope, blocker.name);
            let (open, close) = if blocker.holding { ("", "") } else { ("(", ")") };
            let separator = if text.is_empty() { "" } else { " " };
            write!(text, "{separator}{scope}{name}:{open}{owner}{close}").unwrap();
            text
        })
    }
}

#[test]
fn hold_002_exclusive_excludes_all_and_shared_goes_with_shared() {
    let mut bench = Bench::default();
    let reader = bench.ask(&[Hold::shared("db")]);
    let other_reader = bench.ask(&[Hold::shared("db")]);
    let writer = bench.ask(&[Hold::exclusive("db")]);
    assert!(bench.has(&reader) && bench.has(&other_reader) && !bench.has(&writer));

    assert!(bench.end(reader).is_empty());
    assert_eq!(bench.end(other_reader), [3]);
    let late_reader = bench.ask(&[Hold::shared("db")]);
    let late_writer = bench.ask(&[Hold::exclusive("db")]);
    assert!(!bench.has(&late_reader) && !bench.has(&late_writer));
    assert_eq!(bench.end(writer), [4]);
    assert_eq!(bench.end(late_reader), [5]);
}

#[test]
fn hold_002_counted_names_are_taken_up_to_their_capacity() {
    let mut bench = Bench::counted("gpu", 3);
    let two = bench.ask(&[Hold::units("gpu", 2)]);
    let one = bench.ask(&[Hold::units("gpu", 1)]);
    let third = bench.ask(&[Hold::units("gpu", 1)]);
    let all = bench.ask(&[Hold::exclusive("gpu")]);
    assert!(bench.has(&two) && bench.has(&one) && !bench.has(&third) && !bench.has(&all));
    assert_eq!(bench.end(one), [3]);
    assert!(bench.end(two).is_empty());
    assert_eq!(bench.end(third), [4], "exclusive takes every unit");
    let after = bench.ask(&[Hold::units("gpu", 1)]);
    assert!(bench.has(&all) && !bench.has(&after));
}

#[test]
fn hold_002_the_greatest_capacity_can_be_filled() {
    let mut bench = Bench::counted("big", u32::MAX);
    let most = bench.ask(&[Hold::units("big", u32::MAX - 1)]);
    let last = bench.ask(&[Hold::units("big", 1)]);
    let over = bench.ask(&[Hold::units("big", u32::MAX)]);
    assert!(bench.has(&most) && bench.has(&last) && !bench.has(&over));
    assert!(bench.end(most).is_empty());
    assert_eq!(bench.end(last), [3]);
}

#[test]
fn hold_003_a_ticket_ends_once_and_its_place_serves_the_next() {
    let mut bench = Bench::default();
    for _ in 0..1_000 {
        let held = bench.ask(&[Hold::exclusive("db"), Hold::shared("log")]);
        let waiting = bench.ask(&[Hold::exclusive("db")]);
        assert!(bench.end(waiting).is_empty());
        assert!(bench.end(held).is_empty());
    }
    assert!(bench.set.is_empty());
}

#[test]
fn hold_004_waits_point_to_earlier_tickets_only() {
    let mut bench = Bench::default();
    let ab = bench.ask(&[Hold::exclusive("a"), Hold::exclusive("b")]);
    let bc = bench.ask(&[Hold::exclusive("b"), Hold::exclusive("c")]);
    let ca = bench.ask(&[Hold::exclusive("c"), Hold::exclusive("a")]);
    assert_eq!(bench.blockers(&ab), "");
    assert_eq!(bench.blockers(&bc), "b:1");
    assert_eq!(bench.blockers(&ca), "a:1 c:(2)");
    assert!(bench.set.order(&ab) < bench.set.order(&bc));
    assert!(bench.set.order(&bc) < bench.set.order(&ca));
    assert_eq!(bench.end(ab), [2]);
    assert_eq!(bench.end(bc), [3]);
}

#[test]
fn hold_005_several_names_are_taken_all_or_none() {
    let mut bench = Bench::default();
    let a = bench.ask(&[Hold::exclusive("a")]);
    let both = bench.ask(&[Hold::exclusive("a"), Hold::exclusive("b")]);
    assert!(!bench.has(&both));
    assert_eq!(bench.blockers(&both), "a:1", "b is free; nothing of it is held");
    assert_eq!(bench.end(a), [2]);
    let b = bench.ask(&[Hold::shared("b")]);
    assert!(!bench.has(&b), "both names came with one grant");
    assert_eq!(bench.end(both), [3]);
}

#[test]
fn hold_005_an_empty_list_is_always_granted() {
    let mut bench = Bench::default();
    let none = bench.ask(&[]);
    assert!(bench.has(&none));
    assert_eq!(bench.blockers(&none), "");
    assert!(bench.end(none).is_empty());
}

#[test]
fn hold_006_an_earlier_ticket_that_waits_for_another_name_is_not_passed() {
    let mut bench = Bench::default();
    let a = bench.ask(&[Hold::exclusive("a")]);
    let both = bench.ask(&[Hold::exclusive("a"), Hold::exclusive("b")]);
    let b = bench.ask(&[Hold::shared("b")]);
    assert!(!bench.has(&b), "nobody holds b, but ticket 2 waits for it");
    assert_eq!(bench.blockers(&b), "b:(2)");
    assert_eq!(bench.end(both), [3], "withdrawn: the way is free");
    assert!(bench.end(a).is_empty());
}

#[test]
fn hold_006_requests_that_do_not_conflict_pass_each_other() {
    let mut bench = Bench::default();
    let writer = bench.ask(&[Hold::exclusive("a")]);
    let mixed = bench.ask(&[Hold::shared("b"), Hold::shared("a")]);
    let reader = bench.ask(&[Hold::shared("b")]);
    let elsewhere = bench.ask(&[Hold::exclusive("c")]);
    assert!(!bench.has(&mixed) && bench.has(&reader) && bench.has(&elsewhere));
    assert_eq!(bench.end(writer), [2]);
}

#[test]
fn hold_006_counted_names_go_in_ticket_order_while_the_sum_fits() {
    let mut bench = Bench::counted("gpu", 4);
    let first = bench.ask(&[Hold::units("gpu", 3)]);
    let large = bench.ask(&[Hold::units("gpu", 2)]);
    let small = bench.ask(&[Hold::units("gpu", 1)]);
    assert!(!bench.has(&small), "one unit is free, but it is the large one's turn");
    assert_eq!(bench.blockers(&small), "gpu:1 gpu:(2)");
    assert_eq!(bench.end(large), [3]);
    assert!(bench.end(first).is_empty());

    let waits_elsewhere = {
        let db = bench.ask(&[Hold::exclusive("db")]);
        let ticket = bench.ask(&[Hold::units("gpu", 2), Hold::exclusive("db")]);
        (db, ticket)
    };
    let fits = bench.ask(&[Hold::units("gpu", 1)]);
    let too_many = bench.ask(&[Hold::units("gpu", 1)]);
    assert!(bench.has(&fits), "units are kept for the earlier one, and one is left");
    assert!(!bench.has(&too_many));
    assert_eq!(bench.end(waits_elsewhere.1), [7]);
}

#[test]
fn hold_006_ho_1_cd_21_exclusive_is_not_starved() {
    let mut bench = Bench::default();
    let mut readers: Vec<Ticket> = (0..20).map(|_| bench.ask(&[Hold::shared("db")])).collect();
    let writer = bench.ask(&[Hold::exclusive("db")]);
    // Each reader comes back as soon as it ends. None of them passes the writer.
    for turn in 0..20 {
        assert!(!bench.has(&writer));
        let ended = readers.remove(0);
        let due = bench.end(ended);
        assert_eq!(due, if turn == 19 { vec![21] } else { vec![] });
        let again = bench.ask(&[Hold::shared("db")]);
        assert!(!bench.has(&again));
        readers.push(again);
    }
    assert_eq!(bench.end(writer), (22..42).collect::<Vec<_>>(), "then all readers, in order");
}

#[test]
fn hold_006_cd_21_waiters_are_served_in_order_of_asking_and_not_of_name() {
    let mut bench = Bench::default();
    let mut turn = bench.ask(&[Hold::exclusive("zebra")]);
    // Owners stand for tasks whose names sort the other way round.
    let claims = bench.set.claims(&[Hold::exclusive("zebra")]).unwrap();
    let owners: Vec<u64> = (0..100).map(|n| 1_000 - n).collect();
    let waiting: Vec<Ticket> = owners.iter().map(|&it| bench.set.request(&claims, it)).collect();
    for (owner, next) in owners.iter().zip(waiting) {
        assert_eq!(bench.end(turn), [*owner]);
        turn = next;
    }
}

#[test]
fn hold_006_ho_4_a_withdrawn_request_lets_all_behind_it_pass_that_now_can() {
    let mut bench = Bench::default();
    let reader = bench.ask(&[Hold::shared("db")]);
    let writer = bench.ask(&[Hold::exclusive("db")]);
    let behind = [0; 3].map(|_| bench.ask(&[Hold::shared("db")]));
    let next_writer = bench.ask(&[Hold::exclusive("db")]);
    assert_eq!(bench.end(writer), [3, 4, 5]);
    assert!(behind.iter().all(|ticket| bench.has(ticket)) && bench.has(&reader));
    assert_eq!(bench.blockers(&next_writer), "db:1 db:3 db:4 db:5");
}

#[test]
fn hold_006_a_granted_request_that_ends_before_it_is_told_is_not_told() {
    let mut bench = Bench::default();
    let first = bench.ask(&[Hold::exclusive("db")]);
    let second = bench.ask(&[Hold::exclusive("db")]);
    let third = bench.ask(&[Hold::exclusive("db")]);
    bench.set.release(first);
    assert!(bench.has(&second));
    bench.set.release(second);
    // The freed place is used again at once; the note about its last user must not serve it.
    let fourth = bench.ask(&[Hold::exclusive("db")]);
    assert_eq!(bench.set.next_granted(), Some(3));
    assert_eq!(bench.set.next_granted(), None);
    assert_eq!(bench.end(third), [4]);
    assert!(bench.has(&fourth));
}

#[test]
fn hold_006_blockers_name_scope_and_conflicting_holders_only() {
    let app = Name::new("app").unwrap();
    let tmp = |hold: Hold| hold.in_project(app.clone());
    let mut bench = Bench::default();
    let _reader = bench.ask(&[tmp(Hold::shared("tmp"))]);
    let writer = bench.ask(&[tmp(Hold::exclusive("tmp"))]);
    let reader = bench.ask(&[tmp(Hold::shared("tmp"))]);
    assert_eq!(bench.blockers(&writer), "app:tmp:1");
    assert_eq!(bench.blockers(&reader), "app:tmp:(2)", "the holder shares; it is not in the way");
}
