//! How sessions in memory grow: from spawn to outcome with 64 in flight up to a million, beside raw
//! tokio, and the exponent with which the time grows; then a million that are paused at once, what
//! each of them takes, and all of them answered. Linux only, for it reads `/proc`:
//! `cargo run --profile bench -p holdpoint-benches --example session_scale -- [PAUSED]`.

use std::time::Instant;

use holdpoint_benches::alloc::resident;
use holdpoint_benches::session::{asks, on, raw_spawn, spawn, two_workers};
use holdpoint_session::{Body, SessionContext, Sessions};
use tokio::sync::{oneshot, watch};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        // In a process of its own each: memory that was given back is not seen.
        (Some("ours"), Some(count)) => on(&two_workers(), pause(count.parse().expect("a number"))),
        (Some("raw"), Some(count)) => {
            on(&two_workers(), raw_pause(count.parse().expect("a number")));
        }
        (count, _) => {
            grow();
            for side in ["raw", "ours"] {
                let program = std::env::current_exe().expect("this program");
                let mut child = std::process::Command::new(program);
                child.args([side, count.unwrap_or("1000000")]);
                assert!(child.status().expect("a process").success());
            }
        }
    }
}

fn grow() {
    let runtime = two_workers();
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for n in SIZES {
        // As many in all at each size.
        let rounds = (100_000 / n).max(1);
        for (times, side) in [(&mut raw, false), (&mut ours, true)] {
            let begin = Instant::now();
            for _ in 0..rounds {
                if side { on(&runtime, spawn(n)) } else { on(&runtime, raw_spawn(n)) }
            }
            times.push(begin.elapsed().as_secs_f64() / rounds as f64);
        }
        let per = |times: &[f64]| times.last().unwrap_or(&0.0) * 1e6 / n as f64;
        let (ours, raw) = (per(&ours), per(&raw));
        println!("{n:>8} spawned: {ours:.2} µs each, raw {raw:.2}, {:.1} times", ours / raw);
    }
    println!("exponent: {:.3}, raw {:.3}", exponent(&ours), exponent(&raw));
}

/// Of the line through the logarithms.
fn exponent(times: &[f64]) -> f64 {
    let points: Vec<(f64, f64)> =
        SIZES.iter().zip(times).map(|(n, time)| ((*n as f64).ln(), time.ln())).collect();
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>();
    over / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

/// The size of the future of a body.
fn size_of_body<F: Future>(_: fn(SessionContext, u64) -> F) -> usize {
    size_of::<F>()
}

async fn pause(count: usize) {
    let sessions = Sessions::new();
    let body: Body<u64, u64> = sessions.register("asks", asks).expect("a name");
    // What allocators and threads take once is not a session's.
    let warm = body.spawn(1).await.expect("it is taken");
    let question = warm.next_question().await.expect("it is here").expect("it asks");
    warm.answer(question.id, true).await.expect("it is open");
    let mut ids = Vec::with_capacity(count);
    ids.extend(std::iter::repeat_with(|| warm.id()).take(count));
    let (before, begin) = (resident(), Instant::now());
    for id in &mut ids {
        // Who spawns goes: what is left is the session.
        *id = body.spawn(1).await.expect("it is taken").id();
    }
    for id in &ids {
        let paused = sessions.get(*id).expect("it is here").next_question().await;
        assert!(paused.expect("it is here").is_some());
    }
    let (taken, paused) = (resident() - before, begin.elapsed());
    let (each, own) = (taken / count, size_of_body(asks));
    println!(
        "{count} paused within {paused:.2?}: {each} B resident each, {} without the body's own \
         future of {own} B; {} MB in all",
        each.saturating_sub(own),
        taken / 1_000_000
    );
    let begin = Instant::now();
    for id in &ids {
        let session = sessions.get(*id).expect("it is here");
        let open = session.questions().expect("it is here");
        session.answer(open[0].id, true).await.expect("it is open");
    }
    for id in &ids {
        sessions.get(*id).expect("it is here").ended().await.expect("it is done");
    }
    println!("{count} answered and done within {:.2?}", begin.elapsed());
}

/// Tasks that wait for an answer, each with a watch of its state and a oneshot of its outcome.
async fn raw_pause(count: usize) {
    let mut tasks = Vec::with_capacity(count);
    let before = resident();
    for _ in 0..count {
        let (state, watched) = watch::channel(0_u8);
        let (answer, answered) = oneshot::channel::<bool>();
        let (done, outcome) = oneshot::channel();
        tokio::spawn(async move {
            state.send_replace(1);
            let answered = answered.await.expect("it is answered");
            state.send_replace(2);
            // Nobody may wait for it.
            let _ = done.send(answered);
        });
        tasks.push((watched, answer, outcome));
    }
    for (watched, ..) in &mut tasks {
        watched.wait_for(|state| *state == 1).await.expect("it runs");
    }
    println!("{count} raw tasks wait: {} B resident each", (resident() - before) / count);
    for (_, answer, outcome) in tasks {
        answer.send(true).expect("it waits");
        assert!(outcome.await.expect("it is done"));
    }
}
