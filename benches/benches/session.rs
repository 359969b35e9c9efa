//! Sessions beside the least code on tokio that does the same: a task with a watch of its state and a
//! oneshot of its outcome; two channels for question and answer; a broadcast for observers, which
//! loses events where ours does not; the effect called directly; and, for durable sessions, the
//! store's own group commit of as many records.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint_core::SessionId;
use holdpoint_core::event::{EventKind, Sequencer, Stream};
use holdpoint_core::session::QuestionId;
use holdpoint_core::store::{Fence, Store, Write};
use holdpoint_session::{
    Ask, Body, BodyError, History, Observed, Run, SessionContext, Sessions, Since, StepFailure,
};
use holdpoint_store::{FileOptions, FileStore};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

const SIZES: [u64; 2] = [1_000, 100_000];
const IN_FLIGHT: usize = 64;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = spawn, answer, fan_out, step, durable
}
criterion_main!(benches);

fn runtimes() -> [(&'static str, Runtime); 2] {
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let one = Builder::new_current_thread().enable_all().build();
    [("2 workers", two.expect("a runtime")), ("1 thread", one.expect("a runtime"))]
}

/// On a worker, where a service spawns.
fn on<T: Send + 'static>(runtime: &Runtime, what: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(async { tokio::spawn(what).await }).expect("no panic")
}

/// From a spawn to its outcome, 64 in flight, ended ones collected on the way.
fn spawn(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/spawn");
    for (name, runtime) in runtimes() {
        for n in SIZES {
            group.throughput(Throughput::Elements(n));
            group.bench_function(BenchmarkId::new(format!("holdpoint, {name}"), n), |b| {
                b.iter(|| on(&runtime, spawn_ours(n)));
            });
            group.bench_function(BenchmarkId::new(format!("raw, {name}"), n), |b| {
                b.iter(|| on(&runtime, spawn_raw(n)));
            });
        }
    }
    group.finish();
}

async fn spawn_ours(n: u64) {
    let sessions = Sessions::new();
    let body = sessions.register("same", async |_: SessionContext, n: u64| Ok::<_, BodyError>(n));
    let body: Body<u64, u64> = body.expect("a name");
    let mut runs: VecDeque<Run<u64>> = VecDeque::new();
    for i in 0..n {
        if runs.len() == IN_FLIGHT
            && let Some(run) = runs.pop_front()
        {
            black_box(run.await.expect("it is done"));
        }
        if i % 1024 == 0 {
            sessions.collect(Duration::ZERO);
        }
        runs.push_back(body.spawn(i).await.expect("it is taken"));
    }
    for run in runs {
        black_box(run.await.expect("it is done"));
    }
}

async fn spawn_raw(n: u64) {
    let mut runs = VecDeque::new();
    for i in 0..n {
        if runs.len() == IN_FLIGHT
            && let Some((_, outcome)) = runs.pop_front()
        {
            let outcome: oneshot::Receiver<u64> = outcome;
            black_box(outcome.await.expect("it is done"));
        }
        let (state, watched) = watch::channel(0_u8);
        let (done, outcome) = oneshot::channel();
        tokio::spawn(async move {
            state.send_replace(1);
            done.send(i).expect("it is awaited");
            state.send_replace(2);
        });
        runs.push_back((watched, outcome));
    }
    for (_, outcome) in runs {
        black_box(outcome.await.expect("it is done"));
    }
}

/// From an answer to the next question of the same session.
fn answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/answer_to_next_pause");
    let n = 100_000;
    group.throughput(Throughput::Elements(n));
    for (name, runtime) in runtimes() {
        group.bench_function(BenchmarkId::new("holdpoint", name), |b| {
            b.iter(|| on(&runtime, answer_ours(n)));
        });
        group.bench_function(BenchmarkId::new("raw", name), |b| {
            b.iter(|| on(&runtime, answer_raw(n)));
        });
    }
    group.finish();
}

async fn asks(cx: SessionContext, times: u64) -> Result<u64, BodyError> {
    let mut yes = 0;
    for _ in 0..times {
        yes += u64::from(cx.ask::<bool>(Ask::confirm("ok", "?")).await?);
    }
    Ok(yes)
}

async fn answer_ours(n: u64) {
    let sessions = Sessions::builder().history(History::None).build();
    let body = sessions.register("asks", asks).expect("a name");
    let run = body.spawn(n).await.expect("it is taken");
    let mut last = QuestionId(0);
    while let Some(question) = run.next_question().await.expect("it is here") {
        if question.id == last {
            // Answered, and not yet asked again.
            tokio::task::yield_now().await;
            continue;
        }
        last = question.id;
        run.answer(last, true).await.expect("it is open");
    }
    assert_eq!(run.await.expect("it is done"), n);
}

async fn answer_raw(n: u64) {
    let (ask, mut questions) = mpsc::channel::<oneshot::Sender<bool>>(1);
    let body = tokio::spawn(async move {
        let mut yes = 0;
        for _ in 0..n {
            let (answer, answered) = oneshot::channel();
            ask.send(answer).await.expect("somebody answers");
            yes += u64::from(answered.await.expect("it is answered"));
        }
        yes
    });
    while let Some(question) = questions.recv().await {
        question.send(true).expect("it is awaited");
    }
    assert_eq!(body.await.expect("no panic"), n);
}

/// Events to observers, all of them: ours by the session's log, raw by a broadcast of 256, of which
/// only what arrives is counted.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/fan_out");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
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
        sender.send(numbers.event(holdpoint_core::Timestamp::default(), kind)).expect("observers");
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

/// A step in memory, beside its effect called directly.
fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/step");
    let n = 100_000;
    group.throughput(Throughput::Elements(n));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let effect = |value: u64| async move { Ok::<_, StepFailure>(black_box(value) + 1) };
    group.bench_function("holdpoint", |b| {
        b.iter(|| {
            let sessions = Sessions::new();
            let run = sessions.spawn_fn(move |cx: SessionContext| async move {
                let mut value = 0;
                for _ in 0..n {
                    value = cx.step("add", || effect(value)).await?;
                }
                Ok::<_, BodyError>(value)
            });
            runtime.block_on(async { run.await.expect("it is taken").await }).expect("it is done")
        });
    });
    group.bench_function("raw", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let mut value = 0;
                for _ in 0..n {
                    value = effect(value).await.unwrap_or_default();
                }
                value
            })
        });
    });
    group.finish();
}

/// Sessions of two steps over the store on disk, 64 in flight, beside four records each through the
/// same store.
fn durable(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/durable");
    let n = 500;
    group.throughput(Throughput::Elements(n));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let open = |folder: &tempfile::TempDir| -> Arc<dyn Store> {
        Arc::new(FileStore::open(folder.path(), FileOptions::default()).expect("a new store"))
    };
    group.bench_function("holdpoint", |b| {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let sessions = runtime.block_on(Sessions::builder().store(store).open()).expect("opened");
        let body = sessions.register("two", async |cx: SessionContext, n: u64| {
            let one = cx.step("one", || async { Ok::<_, StepFailure>(1_u64) }).await?;
            let two = cx.step("two", || async { Ok::<_, StepFailure>(2_u64) }).await?;
            Ok::<_, BodyError>(n + one + two)
        });
        let body = body.expect("a name");
        b.iter(|| {
            let body = body.clone();
            on(
                &runtime,
                in_flight(n, move |i| {
                    let body = body.clone();
                    async move {
                        let run = body.spawn(i).await.expect("it is taken");
                        assert_eq!(run.await.expect("it is done"), i + 3);
                    }
                }),
            );
            sessions.collect(Duration::ZERO);
        });
    });
    group.bench_function("raw", |b| {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        b.iter(|| {
            let store = Arc::clone(&store);
            on(
                &runtime,
                in_flight(n, move |_| {
                    let store = Arc::clone(&store);
                    async move {
                        let stream = Stream::Session(SessionId::generate());
                        let mut numbers = Sequencer::new(stream.clone());
                        for record in 0..4 {
                            let fence = if record == 0 {
                                Fence::NewOwned
                            } else {
                                Fence::Owned { epoch: 1 }
                            };
                            let kind =
                                EventKind::SessionProgress { progress: "x".repeat(100).into() };
                            let event = numbers.event(holdpoint_core::Timestamp::default(), kind);
                            let write = Write::new(&stream, fence);
                            let events = std::slice::from_ref(&event);
                            let appended =
                                store.append(&[write.events(events)]).expect("it is taken");
                            appended.acked().await.expect("it is kept");
                        }
                    }
                }),
            );
        });
    });
    group.finish();
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
