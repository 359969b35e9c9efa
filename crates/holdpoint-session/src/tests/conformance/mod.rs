//! The testkit's bodies on every host that the registry is: the same results in memory, over stores,
//! and over one whose process is lost after any write, as often as one likes.

pub(crate) mod hosts;

use std::sync::Arc;

use holdpoint_testkit::bodies::{Case, Host, Ledger, cases, play};
use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::VirtualDisk;
use holdpoint_testkit::store::real::{FileOptions, FileStore, Sync};

use self::hosts::{Cut, Life};
use crate::Sessions;
use crate::driver::Flaw;

fn assert_good(case: &Case, what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{}, {what}:\n{}", case.name, faults.join("\n"));
}

/// Seeds of what happens by chance; one is enough where nothing does.
fn seeds(case: &Case, count: u64) -> u64 {
    if case.is_by_chance { count } else { 1 }
}

async fn played(mut host: impl Host, case: &Case, ledger: &Ledger) -> Vec<String> {
    play(&mut host, case, ledger).await
}

#[tokio::test(start_paused = true)]
async fn sess_020_every_body_comes_to_the_same_in_memory_and_over_a_store() {
    for case in cases() {
        for seed in 0..seeds(&case, 30) {
            let ledger = Ledger::new(seed);
            let host = Life::begin(&ledger, Sessions::builder()).await;
            let faults = played(host, &case, &ledger).await;
            assert_good(&case, &format!("in memory, seed {seed}"), &faults);

            let ledger = Ledger::new(seed);
            let store = VirtualDisk::new().open();
            let host = Life::begin(&ledger, Sessions::builder().store(store)).await;
            let faults = played(host, &case, &ledger).await;
            assert_good(&case, &format!("over a store, seed {seed}"), &faults);
        }
    }
}

/// Real time, as the store has threads of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sess_020_every_body_comes_to_the_same_over_a_store_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut plays = tokio::task::JoinSet::new();
    for (number, case) in cases().into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        plays.spawn(async move {
            let ledger = Ledger::new(1);
            let options = FileOptions::new().sync(Sync::Relaxed);
            let store = Arc::new(FileStore::open(path, options).unwrap());
            let host = Life::begin(&ledger, Sessions::builder().store(store)).await;
            let faults = played(host, &case, &ledger).await;
            (case, faults)
        });
    }
    for (case, faults) in plays.join_all().await {
        assert_good(&case, "over a store on disk", &faults);
    }
}

/// Plays a case in lives of these lengths, and then to its end. How often the process was lost.
async fn cut(case: &Case, seed: u64, lives: &[usize], flaw: Option<Flaw>) -> (usize, Vec<String>) {
    let ledger = Ledger::new(seed);
    let mut host = Cut::new(&ledger, seed, lives, flaw).await;
    let faults = play(&mut host, case, &ledger).await;
    (host.losses, faults)
}

#[tokio::test(start_paused = true)]
async fn sess_017_sess_020_every_body_goes_on_after_a_cut_at_every_write() {
    let mut all = 0;
    for case in cases() {
        for writes in 0.. {
            let mut was_cut = false;
            // Sometimes the process knows of its last write, sometimes it does not.
            for seed in [2 * writes, 2 * writes + 1] {
                let (losses, faults) = cut(&case, seed, &[writes as usize], None).await;
                assert_good(&case, &format!("cut at write {writes}, seed {seed}"), &faults);
                was_cut |= losses > 0;
                all += losses;
            }
            if !was_cut {
                break;
            }
        }
    }
    println!("{all} cuts");
    assert!(all > 300, "only {all} cuts");
}

/// A case and lives by chance. Never so many without a new record that it counts as a crash loop.
fn by_chance(cases: &[Case], seed: u64) -> (Case, Vec<usize>) {
    let mut random = Random::new(seed);
    let lives = (0..=random.below(4)).map(|_| random.below(8) as usize).collect();
    (random.pick(cases).unwrap().clone(), lives)
}

#[tokio::test(start_paused = true)]
async fn sess_017_sess_018_sess_020_bodies_go_on_however_often_and_wherever_they_are_cut() {
    let cases = cases();
    let count = u64::from(super::cases());
    let mut recoveries = 0;
    for seed in 0..count {
        let (case, lives) = by_chance(&cases, seed);
        let (losses, faults) = cut(&case, seed, &lives, None).await;
        assert_good(&case, &format!("seed {seed}, lives {lives:?}"), &faults);
        recoveries += losses;
    }
    println!("{count} seeds, {recoveries} recoveries");
    assert!(recoveries as u64 >= count, "only {recoveries} recoveries");
}

/// The control: with two results a turn, live or in replay, bodies learn in one life what they did
/// not in another, and the suite sees it.
#[tokio::test(start_paused = true)]
async fn sess_017_sess_020_two_results_in_a_turn_are_seen() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.is_by_chance).collect();
    for flaw in [Flaw::TwoLive, Flaw::TwoInReplay] {
        let (mut bad, count) = (0, u64::from(super::cases()).max(200));
        for seed in 0..count {
            let (case, lives) = by_chance(&cases, seed);
            let (_, faults) = cut(&case, seed, &lives, Some(flaw)).await;
            bad += u32::from(!faults.is_empty());
        }
        println!("{flaw:?}: {bad} of {count}");
        assert!(bad > 0, "{flaw:?} is not seen");
    }
}
