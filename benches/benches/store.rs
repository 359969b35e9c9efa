//! Durable appends beside a bare SQLite table behind one writer with group commit (`raw`) and a
//! plain log file (`log`); a single append beside a bare `fdatasync`; reads; opening.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint_benches::store::Raw;
use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{Fence, Snapshot, Store, Write};
use holdpoint_core::{SessionId, Timestamp};
use holdpoint_store::{FileOptions, FileStore, MemoryStore};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

criterion_group!(benches, append, latency, memory, read, open);
criterion_main!(benches);

/// Beside the target folder, so that it is a real disk and not one in memory.
fn folder() -> TempDir {
    tempfile::Builder::new().prefix("bench-store").tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
}

/// The event's line in the file has about 200 bytes.
fn progress(stream: &Stream, seq: u64, text: &Arc<str>) -> Event {
    let kind = EventKind::SessionProgress { progress: Arc::clone(text) };
    Event::new(seq, Timestamp::from_micros(1_700_000_000_000_000 + seq), stream.clone(), kind)
}

fn text() -> Arc<str> {
    format!("\"{}\"", "x".repeat(110)).into()
}

/// A session that is owned under epoch 1, with one event.
fn begin(store: &dyn Store) -> Stream {
    let stream = Stream::Session(SessionId::generate());
    let kind = EventKind::SessionPlanned { attempt: 1 };
    let planned = Event::new(1, Timestamp::from_micros(1), stream.clone(), kind);
    let write = Write::new(&stream, Fence::NewOwned).events(std::slice::from_ref(&planned));
    store.append(&[write]).unwrap().wait().unwrap();
    stream
}

/// Writers that each wait for their own append before the next, an element an event.
fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/append");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for writers in [1_u64, 8, 64] {
        group.bench_function(BenchmarkId::new("holdpoint", writers), |b| {
            let folder = folder();
            let store = Arc::new(FileStore::open(folder.path(), FileOptions::new()).unwrap());
            let text = text();
            let mut streams: Vec<(Stream, u64)> =
                (0..writers).map(|_| (begin(&*store), 1)).collect();
            b.iter_custom(|events| {
                together(&runtime, &mut streams, events, |(stream, mut last), count| {
                    let (store, text) = (Arc::clone(&store), Arc::clone(&text));
                    async move {
                        for _ in 0..count {
                            last += 1;
                            let event = progress(&stream, last, &text);
                            let write = Write::new(&stream, Fence::Owned { epoch: 1 });
                            let append = store.append(&[write.events(&[event])]);
                            append.unwrap().acked().await.unwrap();
                        }
                        (stream, last)
                    }
                })
            });
        });
        for (name, sqlite) in [("raw", true), ("log", false)] {
            group.bench_function(BenchmarkId::new(name, writers), |b| {
                let folder = folder();
                let file = folder.path().join("raw");
                let raw = Arc::new(if sqlite { Raw::sqlite(&file) } else { Raw::log(&file) });
                let mut sessions: Vec<u64> = (0..writers).collect();
                b.iter_custom(|events| {
                    together(&runtime, &mut sessions, events, |session, count| {
                        let raw = Arc::clone(&raw);
                        async move {
                            for _ in 0..count {
                                raw.append(session, vec![b'x'; 200]).await.unwrap();
                            }
                            session
                        }
                    })
                });
            });
        }
    }
    group.finish();
}

/// Runs `work` for all writers at once, with `events` shared out among them.
fn together<W, F>(
    runtime: &Runtime,
    writers: &mut Vec<W>,
    events: u64,
    work: impl Fn(W, u64) -> F,
) -> Duration
where
    W: Send + 'static,
    F: Future<Output = W> + Send + 'static,
{
    let count = writers.len() as u64;
    let began = Instant::now();
    let tasks: Vec<_> = writers
        .drain(..)
        .zip(0..)
        .map(|(writer, index)| {
            let own = events / count + u64::from(index < events % count);
            runtime.spawn(work(writer, own))
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            writers.push(task.await.unwrap());
        }
    });
    began.elapsed()
}

/// One append by a thread that waits for it.
fn latency(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/latency");
    group.sample_size(20);
    group.bench_function(BenchmarkId::new("holdpoint", 1), |b| {
        let folder = folder();
        let store = FileStore::open(folder.path(), FileOptions::new()).unwrap();
        let (stream, text, mut last) = (begin(&store), text(), 1);
        b.iter(|| {
            last += 1;
            let event = [progress(&stream, last, &text)];
            let write = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&event);
            store.append(&[write]).unwrap().wait().unwrap()
        });
    });
    group.bench_function(BenchmarkId::new("raw", 1), |b| {
        let folder = folder();
        let mut file = File::create(folder.path().join("raw")).unwrap();
        b.iter(|| {
            file.write_all(&[b'x'; 200]).unwrap();
            file.sync_data().unwrap();
        });
    });
    group.finish();
}

/// The store in memory: acknowledged within the call.
fn memory(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/memory");
    group.bench_function(BenchmarkId::new("holdpoint", 1), |b| {
        let store = MemoryStore::new();
        let (stream, text, mut last) = (begin(&store), text(), 1);
        b.iter(|| {
            last += 1;
            let event = [progress(&stream, last, &text)];
            let write = Write::new(&stream, Fence::Owned { epoch: 1 }).events(&event);
            store.append(&[write]).unwrap()
        });
    });
    group.finish();
}

/// An ordered read of a session of a thousand events, live and ended.
fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/read");
    let folder = folder();
    let store = FileStore::open(folder.path(), FileOptions::new()).unwrap();
    let text = text();
    let streams: Vec<Stream> = (0..4).map(|_| begin(&store)).collect();
    for seq in 2..1000 {
        let appends: Vec<_> = streams
            .iter()
            .map(|stream| {
                let event = [progress(stream, seq, &text)];
                let write = Write::new(stream, Fence::Owned { epoch: 1 }).events(&event);
                store.append(&[write]).unwrap()
            })
            .collect();
        for append in appends {
            append.wait().unwrap();
        }
    }
    for stream in &streams[..2] {
        let done = progress(stream, 1000, &text);
        let write = Write::new(stream, Fence::Owned { epoch: 1 })
            .events(std::slice::from_ref(&done))
            .snapshot(Snapshot { state: StateName::Done, data: b"{}" });
        store.append(&[write]).unwrap().wait().unwrap();
    }
    // Its blocks are merged when nobody writes: then all its events share one text.
    let is_merged = |stream| {
        let events = store.events(stream, 0, 2).unwrap();
        let place = |at: usize| events[at].bytes().unwrap().as_ptr() as usize;
        place(1).abs_diff(place(0)) < 1000
    };
    while !streams[..2].iter().all(is_merged) {
        std::thread::yield_now();
    }
    // By turns, so that no block is remembered from the reading before.
    for (name, pair, events) in [("ended", &streams[..2], 1000), ("live", &streams[2..], 999)] {
        group.throughput(Throughput::Elements(2 * events));
        group.bench_function(BenchmarkId::new(name, events), |b| {
            b.iter(|| {
                for stream in pair {
                    assert_eq!(store.events(stream, 0, 2000).unwrap().len() as u64, events);
                }
            });
        });
    }
    group.finish();
}

/// Opening a store with events of a hundred sessions in it.
fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/open");
    group.sample_size(20);
    let folder = folder();
    let text = text();
    {
        let store = FileStore::open(folder.path(), FileOptions::new()).unwrap();
        let streams: Vec<Stream> = (0..100).map(|_| begin(&store)).collect();
        for seq in 2..100 {
            let events: Vec<Event> = streams.iter().map(|s| progress(s, seq, &text)).collect();
            let writes: Vec<Write<'_>> = streams
                .iter()
                .zip(&events)
                .map(|(stream, event)| {
                    Write::new(stream, Fence::Owned { epoch: 1 })
                        .events(std::slice::from_ref(event))
                })
                .collect();
            store.append(&writes).unwrap().wait().unwrap();
        }
    }
    group.bench_function(BenchmarkId::new("holdpoint", 10_000), |b| {
        b.iter(|| FileStore::open(folder.path(), FileOptions::new()).unwrap());
    });
    group.finish();
}
