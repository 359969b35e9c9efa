//! Durable appends by many writers, beside a bare SQLite table and a log file, for a profiler:
//! `cargo run --release -p holdpoint-benches --example store_prof -- [writers] [events] [who]`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_benches::store::Raw;
use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::store::{Fence, Store, Write};
use holdpoint_core::{SessionId, Timestamp};
use holdpoint_store::{FileOptions, FileStore};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let writers: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let events: u64 = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let who = arguments.next();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let each = events / writers as u64;
    for name in ["log", "sqlite", "holdpoint"] {
        if who.as_deref().is_some_and(|who| who != name) {
            continue;
        }
        let folder = tempfile::Builder::new().prefix("bench").tempdir_in(".")?;
        let took = match name {
            "log" => raw(&runtime, Raw::log(&folder.path().join("log")), writers, each),
            "sqlite" => raw(&runtime, Raw::sqlite(&folder.path().join("db")), writers, each),
            _ => ours(
                &runtime,
                &FileStore::open(folder.path(), FileOptions::new())?.into(),
                writers,
                each,
            ),
        };
        let total = (each * writers as u64) as f64;
        println!(
            "{name:<10} {:>9.0} a second, {:>7.2} µs an event",
            total / took.as_secs_f64(),
            took.as_secs_f64() * 1e6 / total
        );
    }
    Ok(())
}

fn raw(runtime: &tokio::runtime::Runtime, raw: Raw, writers: usize, each: u64) -> Duration {
    let raw = Arc::new(raw);
    let started = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..writers as u64)
            .map(|session| {
                let raw = Arc::clone(&raw);
                tokio::spawn(async move {
                    for _ in 0..each {
                        raw.append(session, vec![b'x'; 200]).await.expect("a disk");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a writer");
        }
    });
    started.elapsed()
}

fn ours(
    runtime: &tokio::runtime::Runtime,
    store: &Arc<FileStore>,
    writers: usize,
    each: u64,
) -> Duration {
    let streams: Vec<Stream> = (0..writers)
        .map(|_| {
            let stream = Stream::Session(SessionId::generate());
            let planned = Event::new(
                1,
                Timestamp::from_micros(1),
                stream.clone(),
                EventKind::SessionPlanned { attempt: 1 },
            );
            store
                .append(&[Write::new(&stream, Fence::NewOwned).events(&[planned])])
                .unwrap()
                .wait()
                .unwrap();
            stream
        })
        .collect();
    // About 200 bytes as they lie in the file.
    let progress: Arc<str> = format!("\"{}\"", "x".repeat(110)).into();
    let started = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let (store, progress) = (Arc::clone(store), Arc::clone(&progress));
                tokio::spawn(async move {
                    for seq in 2..each + 2 {
                        let event = Event::new(
                            seq,
                            Timestamp::from_micros(seq),
                            stream.clone(),
                            EventKind::SessionProgress { progress: progress.clone() },
                        );
                        let write = Write::new(&stream, Fence::Owned { epoch: 1 });
                        let appended = store.append(&[write.events(&[event])]).expect("accepted");
                        appended.acked().await.expect("a disk");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a writer");
        }
    });
    started.elapsed()
}
