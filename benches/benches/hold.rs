//! The hold set beside the least code that does the same for exclusive names only: a queue a
//! name, without modes, lists, withdrawal or labels.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint_hold::{Claims, Hold, HoldSet, HoldTicket, Holds, Ticket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

criterion_group!(
    benches,
    set_uncontended,
    set_one_name,
    set_100_names,
    client_one_name,
    async_uncontended,
    async_one_name
);
criterion_main!(benches);

/// Take and give back names that nobody else wants: one, and a list of eight.
fn set_uncontended(c: &mut Criterion) {
    let mut group = c.benchmark_group("hold/set/uncontended");
    group.throughput(Throughput::Elements(1));
    for names in [1, 8] {
        group.bench_function(BenchmarkId::new("holdpoint", names), |b| {
            let (mut set, claims) = set_with(names);
            let list: Vec<Hold> = (0..names).map(|n| Hold::exclusive(format!("n{n}"))).collect();
            let claims = if names == 1 {
                claims.into_iter().next().expect("one name")
            } else {
                set.claims(&list).expect("good holds")
            };
            b.iter(|| {
                let ticket = set.request(black_box(&claims), 7);
                assert!(set.is_granted(&ticket));
                set.release(ticket);
            });
        });
        group.bench_function(BenchmarkId::new("raw", names), |b| {
            let mut raw = Raw::new(names);
            b.iter(|| {
                for name in 0..black_box(names) {
                    assert!(raw.acquire(name, 7));
                }
                for name in 0..names {
                    raw.release(name);
                }
            });
        });
    }
    group.finish();
}

/// n requests on one exclusive name, each served in turn.
fn set_one_name(c: &mut Criterion) {
    set_contended(c, "hold/set/one_name", 1);
}

/// n requests over 100 exclusive names, each served in turn.
fn set_100_names(c: &mut Criterion) {
    set_contended(c, "hold/set/100_names", 100);
}

fn set_contended(c: &mut Criterion, name: &str, names: usize) {
    let mut group = c.benchmark_group(name);
    for n in SIZES {
        group.throughput(Throughput::Elements(n as u64)).sample_size(10);
        group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
            let (mut set, claims) = set_with(names);
            b.iter(|| {
                let mut tickets: Vec<Option<Ticket>> = (0..n)
                    .map(|owner| Some(set.request(&claims[owner % names], owner as u64)))
                    .collect();
                let mut due: VecDeque<usize> = (0..names.min(n)).collect();
                let mut served = 0;
                while let Some(owner) = due.pop_front() {
                    served += 1;
                    set.release(tickets[owner].take().expect("served once"));
                    due.extend(set.next_granted().map(|owner| owner as usize));
                }
                assert_eq!(served, n);
            });
        });
        group.bench_function(BenchmarkId::new("raw", n), |b| {
            let mut raw = Raw::new(names);
            b.iter(|| {
                for owner in 0..n {
                    let _at_once = raw.acquire(owner % names, owner as u32);
                }
                let mut due: VecDeque<usize> = (0..names.min(n)).collect();
                let mut served = 0;
                while let Some(owner) = due.pop_front() {
                    served += 1;
                    due.extend(raw.release(owner % names).map(|owner| owner as usize));
                }
                assert_eq!(served, n);
            });
        });
    }
    group.finish();
}

/// As an engine does it: n tickets on one name, cookies read one by one, each ticket dropped
/// when its work is done.
fn client_one_name(c: &mut Criterion) {
    let mut group = c.benchmark_group("hold/client/one_name");
    let mut cx = Context::from_waker(Waker::noop());
    for n in SIZES {
        group.throughput(Throughput::Elements(n as u64)).sample_size(10);
        group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
            let mut client = Holds::new().client("bench");
            let claims = client.claims(&[Hold::exclusive("db")]).expect("good holds");
            b.iter(|| {
                let mut tickets: Vec<Option<HoldTicket>> =
                    (0..n).map(|it| Some(client.request(&claims, it as u32))).collect();
                assert!(tickets[0].take().is_some_and(|first| first.is_granted()));
                for _ in 1..n {
                    let Poll::Ready(due) = client.poll_granted(&mut cx) else { panic!("lost") };
                    tickets[due as usize] = None;
                }
            });
        });
        group.bench_function(BenchmarkId::new("raw", n), |b| {
            let raw = Mutex::new((Raw::new(1), VecDeque::new()));
            b.iter(|| {
                for it in 0..n {
                    let _at_once = raw.lock().expect("sound").0.acquire(0, it as u32);
                }
                for _ in 1..n {
                    {
                        let (raw, due) = &mut *raw.lock().expect("sound");
                        due.extend(raw.release(0));
                    }
                    black_box(raw.lock().expect("sound").1.pop_front()).expect("lost");
                }
                let _last = raw.lock().expect("sound").0.release(0);
            });
        });
    }
    group.finish();
}

/// Guards that are free, one after the other.
fn async_uncontended(c: &mut Criterion) {
    let n = 1_000;
    let mut group = c.benchmark_group("hold/async/uncontended");
    group.throughput(Throughput::Elements(n));
    let runtime = runtime();
    group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
        let holds = Holds::new();
        let list = [Hold::exclusive("db")];
        b.iter(|| {
            runtime.block_on(async {
                for _ in 0..n {
                    drop(holds.acquire(&list).await.expect("good holds"));
                }
            });
        });
    });
    group.bench_function(BenchmarkId::new("raw", n), |b| {
        let semaphore = Semaphore::new(1);
        b.iter(|| {
            runtime.block_on(async {
                for _ in 0..n {
                    drop(semaphore.acquire().await.expect("open"));
                }
            });
        });
    });
    group.finish();
}

/// n tasks that wait for one name; beside it tokio's semaphore of one permit.
fn async_one_name(c: &mut Criterion) {
    let mut group = c.benchmark_group("hold/async/one_name");
    let runtime = runtime();
    for n in [1_000, 100_000] {
        group.throughput(Throughput::Elements(n)).sample_size(10);
        group.bench_function(BenchmarkId::new("holdpoint", n), |b| {
            let holds = Holds::new();
            b.iter(|| {
                let first = holds.acquire_blocking(&[Hold::exclusive("db")]).expect("free");
                let tasks = (0..n).map(|_| {
                    let holds = holds.clone();
                    async move {
                        drop(holds.acquire(&[Hold::exclusive("db")]).await.expect("good holds"));
                    }
                });
                run_all(&runtime, tasks, first);
            });
        });
        group.bench_function(BenchmarkId::new("raw", n), |b| {
            let semaphore = Arc::new(Semaphore::new(1));
            b.iter(|| {
                let first = semaphore.try_acquire().expect("free");
                let tasks = (0..n).map(|_| {
                    let semaphore = Arc::clone(&semaphore);
                    async move {
                        drop(semaphore.acquire().await.expect("open"));
                    }
                });
                run_all(&runtime, tasks, first);
            });
        });
    }
    group.finish();
}

/// Spawns all tasks, lets each of them wait, gives the way free and waits for the end.
fn run_all<F, G>(runtime: &Runtime, tasks: impl Iterator<Item = F>, gate: G)
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let handles: Vec<_> = tasks.map(tokio::spawn).collect();
        tokio::task::yield_now().await;
        drop(gate);
        for handle in handles {
            handle.await.expect("no task panics");
        }
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

fn set_with(names: usize) -> (HoldSet, Vec<Claims>) {
    let mut set = HoldSet::new();
    let claims = (0..names)
        .map(|n| set.claims(&[Hold::exclusive(format!("n{n}"))]).expect("a good hold"))
        .collect();
    (set, claims)
}

/// Exclusive names as indices, a queue each.
struct Raw {
    names: Vec<(bool, VecDeque<u32>)>,
}

impl Raw {
    fn new(names: usize) -> Self {
        Self { names: vec![(false, VecDeque::new()); names] }
    }

    /// True where it was free; else the owner waits.
    fn acquire(&mut self, name: usize, owner: u32) -> bool {
        let (held, queue) = &mut self.names[name];
        if *held {
            queue.push_back(owner);
            return false;
        }
        *held = true;
        true
    }

    /// The next owner, who holds it now.
    fn release(&mut self, name: usize) -> Option<u32> {
        let (held, queue) = &mut self.names[name];
        let next = queue.pop_front();
        *held = next.is_some();
        next
    }
}
