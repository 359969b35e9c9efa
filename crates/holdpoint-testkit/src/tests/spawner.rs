//! The virtual system: what it does as a real one, and what it notices that no real one does.

use std::time::Duration;

use holdpoint_core::Monotonic;

use crate::spawner::{
    ChildEnd, ChildId, ChildScript, Grandchild, Noticed, OnTerm, Refusal, Signal, VirtualSpawner,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Monotonic {
    Monotonic::ZERO + ms(millis)
}

/// What was noticed until `millis`, with the milliseconds of each.
fn noticed(system: &mut VirtualSpawner, millis: u64) -> Vec<(u128, Noticed)> {
    system.advance(at(millis));
    let next = || system.next_notice();
    std::iter::from_fn(next)
        .map(|notice| ((notice.at - Monotonic::ZERO).as_millis(), notice.what))
        .collect()
}

fn spawn(system: &mut VirtualSpawner, script: &ChildScript) -> ChildId {
    system.spawn(at(0), script).expect("it is not refused")
}

#[test]
fn a_child_writes_ends_and_is_reaped() {
    let mut system = VirtualSpawner::new();
    let output = vec![(ms(5), "one".to_owned()), (ms(20), "two".to_owned())];
    let child = spawn(&mut system, &ChildScript { output, ..ChildScript::exits(ms(20), 3) });
    assert_eq!(system.next_deadline(), Some(at(5)));
    assert_eq!(
        noticed(&mut system, 1_000),
        [
            (5, Noticed::Line("one".into())),
            (20, Noticed::Line("two".into())),
            (20, Noticed::Exited),
            (20, Noticed::OutputClosed),
        ]
    );
    assert!(system.at_rest().is_err_and(|text| text.contains("1 zombies")));
    assert_eq!(system.reap(child), Some(ChildEnd::Code(3)));
    assert_eq!(system.at_rest(), Ok(()));
    assert_eq!(system.reap(child), None);
    assert!(system.at_rest().is_err_and(|text| text.contains("reaped twice")));
}

#[test]
fn a_child_is_reaped_after_its_end_only() {
    let mut system = VirtualSpawner::new();
    let child = spawn(&mut system, &ChildScript::exits(ms(20), 0));
    assert_eq!(system.reap(child), None);
    assert_eq!(system.faults().len(), 1);
}

#[test]
fn signals_do_what_the_script_says() {
    let after_term = |on_term| {
        let mut system = VirtualSpawner::new();
        let child = spawn(&mut system, &ChildScript { on_term, ..ChildScript::endless() });
        system.signal(at(10), child, Signal::Terminate);
        noticed(&mut system, 100);
        if system.census().zombies == 0 {
            system.signal(at(100), child, Signal::Kill);
        }
        system.reap(child)
    };
    assert_eq!(after_term(OnTerm::Dies), Some(ChildEnd::Signal(15)));
    assert_eq!(after_term(OnTerm::Exits(ms(30), 7)), Some(ChildEnd::Code(7)));
    assert_eq!(after_term(OnTerm::Ignores), Some(ChildEnd::Signal(9)));
}

#[test]
fn a_grandchild_keeps_the_output_open_and_the_group_alive() {
    let mut system = VirtualSpawner::new();
    let grandchildren = vec![Grandchild::leaky(ms(5))];
    let child = spawn(&mut system, &ChildScript { grandchildren, ..ChildScript::exits(ms(10), 0) });
    assert_eq!(noticed(&mut system, 1_000), [(10, Noticed::Exited)]);
    assert_eq!(system.members(child), 1);
    system.signal(at(1_000), child, Signal::Kill);
    assert_eq!(noticed(&mut system, 1_000), [(1_000, Noticed::OutputClosed)]);
    assert_eq!(system.members(child), 0);
    system.reap(child);
    assert_eq!(system.at_rest(), Ok(()));
}

#[test]
fn a_grandchild_that_left_the_group_is_not_reached() {
    let mut system = VirtualSpawner::new();
    let escaped = Grandchild { escapes: true, keeps_output: false, ..Grandchild::leaky(ms(5)) };
    let grandchildren = vec![escaped];
    let child = spawn(&mut system, &ChildScript { grandchildren, ..ChildScript::endless() });
    system.signal(at(50), child, Signal::Kill);
    system.reap(child);
    assert_eq!(system.census().alive, 1);
    assert_eq!(system.outlived(ms(0)), [child]);
    assert!(system.at_rest().is_err_and(|text| text.contains("1 processes alive")));
}

#[test]
fn what_outlives_the_grace_and_a_second_is_told() {
    let outlived = |killed_at: u64| {
        let mut system = VirtualSpawner::new();
        let on_term = OnTerm::Ignores;
        let child = spawn(&mut system, &ChildScript { on_term, ..ChildScript::endless() });
        system.signal(at(100), child, Signal::Terminate);
        system.signal(at(killed_at), child, Signal::Kill);
        system.reap(child);
        system.outlived(ms(500)).len()
    };
    assert_eq!((outlived(1_600), outlived(1_601)), (0, 1));
    let mut system = VirtualSpawner::new();
    let child = spawn(&mut system, &ChildScript::exits(ms(9_000), 0));
    system.advance(at(9_000));
    system.reap(child);
    assert_eq!(system.outlived(ms(0)), [], "nobody asked it to end");
}

#[test]
fn a_signal_that_comes_too_late_hits_nobody_or_a_stranger() {
    let mut system = VirtualSpawner::new().reuse_pids();
    let first = spawn(&mut system, &ChildScript::exits(ms(10), 0));
    system.advance(at(10));
    system.reap(first);
    system.signal(at(11), first, Signal::Kill);
    assert!(system.faults()[0].contains("nobody had its pid"));
    let second = system.spawn(at(12), &ChildScript::endless()).unwrap();
    assert_eq!(second.pid(), first.pid());
    system.signal(at(13), first, Signal::Kill);
    assert!(system.faults()[1].contains("a stranger's"));
    assert_eq!(system.reap(second), Some(ChildEnd::Signal(9)), "it is dead all the same");
}

#[test]
fn a_pid_is_not_given_again_while_its_group_lives() {
    let mut system = VirtualSpawner::new().reuse_pids();
    let grandchildren = vec![Grandchild::leaky(ms(5))];
    let first = spawn(&mut system, &ChildScript { grandchildren, ..ChildScript::exits(ms(10), 0) });
    system.advance(at(10));
    system.reap(first);
    let second = system.spawn(at(12), &ChildScript::endless()).unwrap();
    assert_ne!(second.pid(), first.pid());
}

#[test]
fn the_system_refuses_by_script_and_by_limit() {
    let mut system = VirtualSpawner::new().limit(1, Refusal::Descriptors);
    let not_found = ChildScript::refused(Refusal::NotFound);
    assert_eq!(system.spawn(at(0), &not_found), Err(Refusal::NotFound));
    let child = spawn(&mut system, &ChildScript::exits(ms(10), 0));
    let more = ChildScript::exits(ms(10), 0);
    assert_eq!(system.spawn(at(10), &more), Err(Refusal::Descriptors), "it is not reaped yet");
    system.reap(child);
    assert!(system.spawn(at(10), &more).is_ok());
    assert_eq!((system.census().spawned, system.census().refused), (2, 2));
}
