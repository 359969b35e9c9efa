//! Observers that lost events, saw them twice, or filled the memory.

use std::time::Duration;

use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::VirtualDisk;

use super::super::rules::*;
use super::many;
use crate::{BodyError, History, Observed, SessionContext, Sessions, Since};

/// Tells so often of its progress, after a question, and looks around now and then.
async fn tells(cx: SessionContext, count: u32) -> Result<(), BodyError> {
    ask_confirm(cx.clone(), ()).await?;
    for number in 0..count {
        cx.emit(&number)?;
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// A hundred observers that never look keep what one keeps, and hold nobody up.
#[tokio::test(start_paused = true)]
async fn ev_2_stuck_observers_cost_one_ring_and_slow_nobody() {
    const EVENTS: u32 = 100_000;
    let sessions = Sessions::builder().history(History::Last(8)).build();
    let body = sessions.register("tells", tells).unwrap();
    let run = body.spawn(EVENTS).await.unwrap();
    let open = question(&run).await;
    let mut stuck: Vec<_> = (0..100).map(|_| run.observe(Since::Beginning).unwrap()).collect();
    // One has begun to read, and has stopped in the middle of what it took.
    let first = within(stuck[0].next()).await;
    assert!(matches!(first, Some(Observed::Event(event)) if event.seq == 1));
    let before = tokio::time::Instant::now();
    run.answer(open, true).await.unwrap();
    within(run.clone()).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO, "the body waited for nobody");
    let last = run.snapshot().unwrap().last_seq;
    assert_eq!(last, 4 + 2 + u64::from(EVENTS) + 1);
    // What is kept is what anybody who comes now can still read: one ring, whoever is stuck.
    let told = rest(&mut run.observe(Since::Beginning).unwrap()).await;
    assert_eq!(told[0], Observed::Gap { from: 1, to: last - 256 });
    assert_eq!(told.len(), 1 + 256);
    for observer in &mut stuck[1..] {
        assert_eq!(rest(observer).await, told);
    }
    drop(stuck);
    // And when the last of them goes, no more than anybody asked for.
    let told = rest(&mut run.observe(Since::Beginning).unwrap()).await;
    assert_eq!((&told[0], told.len()), (&Observed::Gap { from: 1, to: last - 8 }, 1 + 8));
}

/// Observers leave and come back after the last event they had, at random, over memory and a store.
#[tokio::test(start_paused = true)]
async fn ev_4_ev_1_who_comes_back_misses_nothing_and_sees_nothing_twice() {
    let cases = many();
    println!("seeds 0..{}", cases / 64);
    let mut returns = 0;
    for seed in 0..cases / 64 {
        let mut random = Random::new(seed);
        let history = if random.percent(50) { History::All } else { History::Last(2) };
        let builder = Sessions::builder().history(history);
        let disk = VirtualDisk::new();
        let sessions = match random.percent(50) {
            true => Process::start_with(&disk, builder).await.sessions,
            false => builder.build(),
        };
        let gate = Gate::default();
        let passes = gate.clone();
        let body = sessions
            .register("tells", move |cx: SessionContext, bursts: Vec<u32>| {
                let gate = passes.clone();
                async move {
                    ask_confirm(cx.clone(), ()).await?;
                    for burst in bursts {
                        for number in 0..burst {
                            cx.emit(&number)?;
                        }
                        cx.sleep(SECOND).await?;
                    }
                    drop(gate);
                    Ok::<_, BodyError>(())
                }
            })
            .unwrap();
        let bursts: Vec<u32> = (0..20).map(|_| u32::try_from(random.below(30)).unwrap()).collect();
        let run = body.spawn(bursts).await.unwrap();
        run.answer(question(&run).await, true).await.unwrap();
        let mut observer = run.observe(Since::Beginning).unwrap();
        let mut seen = 0;
        let mut has_ended = false;
        while let Some(told) = within(observer.next()).await {
            match told {
                Observed::Event(event) => {
                    assert_eq!(event.seq, seen + 1, "seed {seed}");
                    seen = event.seq;
                    has_ended = event.kind.ends_session();
                }
                Observed::Gap { from, to } => {
                    // Only where nobody keeps it: it was away, and there is no store.
                    assert_eq!(from, seen + 1, "seed {seed}");
                    assert!(history != History::All && sessions.shared().store.is_none());
                    seen = to;
                }
                other => panic!("{other:?}"),
            }
            if random.percent(20) {
                returns += 1;
                drop(observer);
                if random.percent(30) {
                    tokio::time::sleep(SECOND * 2).await;
                }
                observer = run.observe(Since::After(seen)).unwrap();
            }
        }
        assert!(has_ended, "seed {seed}: the end was told");
        assert_eq!(seen, run.snapshot().unwrap().last_seq);
    }
    assert!(returns > 100, "{returns} came back");
}

/// Slow readers at random: every gap is told, numbers rise, and the end arrives.
#[tokio::test(start_paused = true)]
async fn ev_1_whoever_is_slow_is_told_so_and_hears_of_the_end() {
    let cases = many() / 32;
    println!("seeds 0..{cases}");
    let mut gaps = 0;
    for seed in 0..cases {
        let mut random = Random::new(seed);
        let sessions = Sessions::builder().history(History::None).build();
        let count = u32::try_from(random.below(3_000)).unwrap();
        let run = sessions.register("tells", tells).unwrap().spawn(count).await.unwrap();
        let open = question(&run).await;
        let readers: Vec<_> = (0..3)
            .map(|number| {
                let mut observer = run.observe(Since::Now).unwrap();
                let mut random = Random::new(seed * 3 + number);
                tokio::spawn(async move {
                    let (mut seen, mut gaps, mut has_ended) = (4, 0, false);
                    while let Some(told) = within(observer.next()).await {
                        let (from, to) = match &told {
                            Observed::Event(event) => (event.seq, event.seq),
                            Observed::Gap { from, to } => (*from, *to),
                            other => panic!("{other:?}"),
                        };
                        assert!(!has_ended && from == seen + 1 && to >= from, "{told:?}");
                        gaps += u32::from(from < to);
                        seen = to;
                        has_ended =
                            matches!(told, Observed::Event(event) if event.kind.ends_session());
                        for _ in 0..random.below(3) {
                            tokio::task::yield_now().await;
                        }
                    }
                    assert!(has_ended);
                    (seen, gaps)
                })
            })
            .collect();
        run.answer(open, true).await.unwrap();
        within(run.clone()).await.unwrap();
        for reader in readers {
            let (seen, told) = within(reader).await.unwrap();
            assert_eq!(seen, run.snapshot().unwrap().last_seq, "seed {seed}");
            gaps += told;
        }
    }
    assert!(gaps > 0, "somebody was slow");
}
