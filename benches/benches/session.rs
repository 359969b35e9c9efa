//! Sessions beside the least code on tokio that does the same: a task with a watch of its state and a
//! oneshot of its outcome; two channels for question and answer; a broadcast for observers, which
//! loses events where ours does not; the effect called directly; and, for durable sessions, the
//! store's own group commit of as many records.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint_benches::session::{
    IN_FLIGHT, answer, asks, effect, on, one_thread, raw_answer, raw_spawn, raw_step, sleeper,
    spawn, step, steps, two_workers,
};
use holdpoint_core::event::{Event, EventKind, Sequencer, Stream};
use holdpoint_core::store::{Fence, Store, Write};
use holdpoint_core::{SessionId, Timestamp};
use holdpoint_session::{
    Ask, Body, BodyError, Observed, SessionContext, Sessions, Since, StepFailure,
};
use holdpoint_store::{FileOptions, FileStore};
use holdpoint_testkit::store::VirtualDisk;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = spawns, answers, fan_out, first_observe, step_alone, step_recorded, durable, sleepers
}
criterion_main!(benches);

fn runtimes() -> [(&'static str, Runtime); 2] {
    [("2 workers", two_workers()), ("1 thread", one_thread())]
}

/// From a spawn to its outcome, 64 in flight, ended ones collected on the way.
fn spawns(c: &mut Criterion) {
    for (name, runtime) in runtimes() {
        let mut group = c.benchmark_group(format!("session/spawn, {name}"));
        for n in [1_000, 10_000, 100_000] {
            group.throughput(Throughput::Elements(n));
            group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
                b.iter(|| on(&runtime, spawn(n)));
            });
            group.bench_function(BenchmarkId::new("raw", n), |b| {
                b.iter(|| on(&runtime, raw_spawn(n)));
            });
        }
        group.finish();
    }
}

/// From an answer to the next question of the same session.
fn answers(c: &mut Criterion) {
    let n = 100_000;
    for (name, runtime) in runtimes() {
        let mut group = c.benchmark_group(format!("session/answer, {name}"));
        group.throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
            b.iter(|| on(&runtime, answer(n, || {})));
        });
        group.bench_function(BenchmarkId::new("raw", n), |b| {
            b.iter(|| on(&runtime, raw_answer(n, || {})));
        });
        group.finish();
    }
}

/// Events to observers, all of them: ours by the session's log, raw by a broadcast of 256, of which
/// only what arrives is counted.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/fan_out");
    let runtime = two_workers();
    for observers in [1_u64, 100, 1_000] {
        let events = 200_000 / observers.max(20);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("holdpoint", observers), |b| {
            b.iter_custom(|iterations| {
                per_delivery(iterations, || on(&runtime, fan_out_ours(observers, events)))
            });
        });
        group.bench_function(BenchmarkId::new("raw", observers), |b| {
            b.iter_custom(|iterations| {
                per_delivery(iterations, || on(&runtime, fan_out_raw(observers, events)))
            });
        });
    }
    group.finish();
}

/// The time that so many deliveries would take at the rate of one round.
fn per_delivery(iterations: u64, round: impl Fn() -> u64) -> Duration {
    let (begin, mut delivered) = (Instant::now(), 0);
    while delivered < iterations.min(1_000_000) {
        delivered += round();
    }
    let nanos = begin.elapsed().as_nanos() * u128::from(iterations) / u128::from(delivered);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

async fn fan_out_ours(observers: u64, events: u64) -> u64 {
    let sessions = Sessions::new();
    let body = sessions.register("tells", async |cx: SessionContext, events: u64| {
        let _: bool = cx.ask(Ask::confirm("go", "?")).await?;
        for event in 0..events {
            cx.emit(&event)?;
            if event % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, BodyError>(())
    });
    let run = body.expect("a name").spawn(events).await.expect("it is taken");
    let question = run.next_question().await.expect("it is here").expect("it asks");
    let mut set = JoinSet::new();
    for _ in 0..observers {
        let mut observer = run.observe(Since::Now).expect("it is here");
        set.spawn(async move {
            let (mut count, mut gaps) = (0, 0);
            while let Some(said) = observer.next().await {
                match said {
                    Observed::Event(_) => count += 1,
                    Observed::Gap { from, to } => gaps += to + 1 - from,
                    _ => {}
                }
            }
            // Lost to none of them silently.
            assert_eq!(count + gaps, events + 3);
            count
        });
    }
    run.answer(question.id, true).await.expect("it is open");
    let mut delivered = 0;
    while let Some(count) = set.join_next().await {
        delivered += count.expect("no panic");
    }
    delivered
}

async fn fan_out_raw(observers: u64, events: u64) -> u64 {
    let (sender, _) = broadcast::channel(256);
    let mut numbers = Sequencer::new(Stream::Session(SessionId::generate()));
    let mut set = JoinSet::new();
    for _ in 0..observers {
        let mut receiver = sender.subscribe();
        set.spawn(async move {
            let mut count = 0;
            loop {
                match receiver.recv().await {
                    Ok(event) => {
                        black_box(event);
                        count += 1;
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return count,
                }
            }
        });
    }
    for event in 0..events {
        let kind = EventKind::SessionProgress { progress: event.to_string().into() };
        sender.send(numbers.event(Timestamp::default(), kind)).expect("observers");
        if event % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(sender);
    let mut delivered = 0;
    while let Some(count) = set.join_next().await {
        delivered += count.expect("no panic");
    }
    delivered
}

/// The first observer of a paused session, up to its first event, beside a first subscriber.
fn first_observe(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/first_observe");
    group.throughput(Throughput::Elements(1));
    let runtime = two_workers();
    group.bench_function("holdpoint", |b| {
        b.iter_custom(|times| by_thousands(times, |count| on(&runtime, observe_first(count))));
    });
    group.bench_function("raw", |b| {
        b.iter_custom(|times| {
            by_thousands(times, |count| {
                let states: Vec<_> = (0..count).map(|_| watch::channel(0_u8).0).collect();
                let begin = Instant::now();
                for state in &states {
                    black_box(*state.subscribe().borrow());
                }
                begin.elapsed()
            })
        });
    });
    group.finish();
}

/// A fresh session for each observer: what is made at the first look is not there yet.
async fn observe_first(count: u64) -> Duration {
    let sessions = Sessions::new();
    let body: Body<u64, u64> = sessions.register("asks", asks).expect("a name");
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(body.spawn(1).await.expect("it is taken"));
    }
    for run in &runs {
        assert!(run.next_question().await.expect("it is here").is_some());
    }
    let begin = Instant::now();
    for run in &runs {
        let mut observer = run.observe(Since::Beginning).expect("it is here");
        black_box(observer.next().await);
    }
    begin.elapsed()
}

/// So many times, a thousand at once.
fn by_thousands(times: u64, measure: impl Fn(u64) -> Duration) -> Duration {
    (0..times.div_ceil(1_000)).map(|round| measure((times - round * 1_000).min(1_000))).sum()
}

/// A step in memory, beside its effect called directly.
fn step_alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/step");
    let n = 100_000;
    group.throughput(Throughput::Elements(n));
    let runtime = one_thread();
    group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
        b.iter(|| assert_eq!(on(&runtime, step(n)), n));
    });
    group.bench_function(BenchmarkId::new("raw", n), |b| {
        b.iter(|| assert_eq!(on(&runtime, raw_step(n)), n));
    });
    group.finish();
}

/// A step over a store that takes no time, beside the effect and an append of its record.
fn step_recorded(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/step_recorded");
    let n = 1_000;
    group.throughput(Throughput::Elements(n));
    let runtime = one_thread();
    group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
        b.iter(|| {
            let recorded = async move {
                let sessions = Sessions::builder().store(VirtualDisk::new().open()).build();
                let body: Body<u64, u64> = sessions.register("steps", steps).expect("a name");
                body.spawn(n).await.expect("it is taken").await.expect("it is done")
            };
            assert_eq!(on(&runtime, recorded), n);
        });
    });
    group.bench_function(BenchmarkId::new("raw", n), |b| {
        b.iter(|| {
            let recorded = async move {
                let store = VirtualDisk::new().open();
                let stream = begun(&*store).await;
                let mut value = 0;
                for _ in 0..n {
                    value = effect(value).await.unwrap_or_default();
                    record(&*store, &stream).await;
                }
                value
            };
            assert_eq!(on(&runtime, recorded), n);
        });
    });
    group.finish();
}

/// A stream with its first event and entry.
async fn begun(store: &dyn Store) -> Stream {
    let stream = Stream::Session(SessionId::generate());
    let kinds = [EventKind::SessionPlanned { attempt: 1 }, EventKind::SessionStarted { start: 1 }];
    let mut numbers = Sequencer::new(stream.clone());
    let events: Vec<Event> =
        kinds.into_iter().map(|kind| numbers.event(Timestamp::default(), kind)).collect();
    let write = Write::new(&stream, Fence::NewOwned).events(&events).journal(&[&ENTRY]);
    store.append(&[write]).expect("it is taken").acked().await.expect("it is kept");
    stream
}

/// One more entry of it.
async fn record(store: &dyn Store, stream: &Stream) {
    let write = Write::new(stream, Fence::Owned { epoch: 1 }).journal(&[&ENTRY]);
    store.append(&[write]).expect("it is taken").acked().await.expect("it is kept");
}

/// As large as the record of a small step.
const ENTRY: [u8; 64] = [b'x'; 64];

/// Beside the target folder, so that it is a real disk and not one in memory.
fn folder() -> TempDir {
    let mut folder = tempfile::Builder::new();
    folder.prefix("bench-session").tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder")
}

fn open(folder: &TempDir) -> Arc<dyn Store> {
    Arc::new(FileStore::open(folder.path(), FileOptions::default()).expect("a new store"))
}

/// Sessions of a body over the store on disk, 64 in flight, beside so many appends each.
fn over_the_disk(
    c: &mut Criterion,
    name: &str,
    register: impl Fn(&Sessions) -> Body<u64, u64>,
    appends: usize,
) {
    let mut group = c.benchmark_group(name);
    let n = 500;
    group.throughput(Throughput::Elements(n));
    let runtime = two_workers();
    group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
        let folder = folder();
        let builder = Sessions::builder().store(open(&folder));
        let sessions = runtime.block_on(builder.open()).expect("opened");
        let body = runtime.block_on(async { register(&sessions) });
        b.iter(|| {
            let body = body.clone();
            let all = in_flight(n, move |_| {
                let body = body.clone();
                async move {
                    let run = body.spawn(1).await.expect("it is taken");
                    assert_eq!(run.await.expect("it is done"), 1);
                }
            });
            on(&runtime, all);
            sessions.collect(Duration::ZERO);
        });
    });
    group.bench_function(BenchmarkId::new("raw", n), |b| {
        let folder = folder();
        let store = open(&folder);
        b.iter(|| {
            let store = Arc::clone(&store);
            let all = in_flight(n, move |_| {
                let store = Arc::clone(&store);
                async move {
                    let stream = begun(&*store).await;
                    for _ in 1..appends {
                        record(&*store, &stream).await;
                    }
                }
            });
            on(&runtime, all);
        });
    });
    group.finish();
}

/// Two steps: the first events, two results and the end are four appends, one after the other.
fn durable(c: &mut Criterion) {
    let register = |sessions: &Sessions| {
        let body = sessions.register("two", async |cx: SessionContext, n: u64| {
            let one = cx.step("one", || async { Ok::<_, StepFailure>(n) }).await?;
            cx.step("two", || async { Ok::<_, StepFailure>(one) }).await
        });
        body.expect("a name")
    };
    over_the_disk(c, "session/durable", register, 4);
}

/// A sleep of a millisecond: the first events, when it is due, that it is over, and the end.
fn sleepers(c: &mut Criterion) {
    let register = |sessions: &Sessions| sessions.register("sleeper", sleeper).expect("a name");
    over_the_disk(c, "session/sleepers", register, 4);
}

/// So many, 64 at a time.
async fn in_flight<F: Future<Output = ()> + Send + 'static>(n: u64, one: impl Fn(u64) -> F) {
    let mut set = JoinSet::new();
    for i in 0..n {
        if set.len() == IN_FLIGHT {
            set.join_next().await.expect("one is in flight").expect("no panic");
        }
        set.spawn(one(i));
    }
    while let Some(one) = set.join_next().await {
        one.expect("no panic");
    }
}
