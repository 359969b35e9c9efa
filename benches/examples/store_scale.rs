//! How the store grows: events of 1,000 sessions that take turns, 1,000 a commit, then opened, read
//! live, ended, merged and read again. A line a size:
//! `cargo run --release -p holdpoint-benches --example store_scale -- 100000 1000000`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{Appended, Fence, Snapshot, Store, Write};
use holdpoint_core::{SessionId, Timestamp};
use holdpoint_store::{FileOptions, FileStore};

const SESSIONS: usize = 1_000;

/// Above this size nothing is ended and merged: it would take longer than all the rest.
const MERGED: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sizes: Vec<u64> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    for events in sizes {
        let folder = tempfile::Builder::new().prefix("bench").tempdir_in(".")?;
        let store = FileStore::open(folder.path(), FileOptions::new())?;
        let streams: Vec<Stream> =
            (0..SESSIONS).map(|_| Stream::Session(SessionId::generate())).collect();
        let planned = |stream: &Stream| event(stream, 1, EventKind::SessionPlanned { attempt: 1 });
        all(streams.iter().map(|stream| {
            let events = [planned(stream)];
            store.append(&[Write::new(stream, Fence::NewOwned).events(&events)])
        }))?;
        let progress: Arc<str> = format!("\"{}\"", "x".repeat(110)).into();
        let rounds = events / SESSIONS as u64;
        let began = Instant::now();
        for round in 0..rounds {
            all(streams.iter().map(|stream| {
                let kind = EventKind::SessionProgress { progress: progress.clone() };
                let events = [event(stream, round + 2, kind)];
                store.append(&[Write::new(stream, Fence::Owned { epoch: 1 }).events(&events)])
            }))?;
        }
        let load = began.elapsed();
        drop(store);

        let began = Instant::now();
        let store = FileStore::open(folder.path(), FileOptions::new())?;
        store.info(&streams[0])?;
        let open = began.elapsed();
        let live = read(&store, &streams[..50], rounds + 1);

        let (_, file) = store.size()?;
        if events > MERGED {
            println!(
                "{events:>9} events: load {:>5.2} µs, open {:>6.2} ms, read live {live:>5.2} µs, \
                 {} B an event",
                per(load, events),
                open.as_secs_f64() * 1e3,
                file / events,
            );
            continue;
        }
        // Nobody owns them any more: they are claimed to be ended.
        all(streams.iter().map(|stream| {
            let events = [event(stream, rounds + 2, EventKind::SessionDone { usage: None })];
            let snapshot = Snapshot { state: StateName::Done, data: b"{}" };
            let write = Write::new(stream, Fence::Claim { epoch: 1 });
            store.append(&[write.events(&events).snapshot(snapshot)])
        }))?;
        let began = Instant::now();
        while blocks_of(&store, &streams[SESSIONS - 1])? > 1 + 220 * rounds / 256_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let merge = began.elapsed();
        let ended = read(&store, &streams[..50], rounds + 2);
        let (used, file) = store.size()?;
        println!(
            "{events:>9} events: load {:>5.2} µs, open {:>6.2} ms, read live {live:>5.2} µs, merge \
             {:>5.2} µs, read ended {ended:>5.2} µs, {} B an event in use, {} in the file",
            per(load, events),
            open.as_secs_f64() * 1e3,
            per(merge, events),
            used / events,
            file / events,
        );
    }
    Ok(())
}

fn per(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

fn event(stream: &Stream, seq: u64, kind: EventKind) -> Event {
    Event::new(seq, Timestamp::from_micros(1_700_000_000_000_000 + seq), stream.clone(), kind)
}

type Result1 = Result<Appended, holdpoint_core::store::AppendError>;

fn all(appends: impl Iterator<Item = Result1>) -> Result<(), Box<dyn std::error::Error>> {
    let appends: Vec<Appended> = appends.collect::<Result<_, _>>()?;
    for append in appends {
        append.wait()?;
    }
    Ok(())
}

/// Microseconds an event of an ordered read, in pages of a thousand.
fn read(store: &FileStore, streams: &[Stream], expected: u64) -> f64 {
    let began = Instant::now();
    for stream in streams {
        let mut after = 0;
        loop {
            let events = store.events(stream, after, 1_000).expect("a readable stream");
            let Some(last) = events.last() else { break };
            after = last.seq;
        }
        assert_eq!(after, expected);
    }
    began.elapsed().as_secs_f64() * 1e6 / (expected * streams.len() as u64) as f64
}

/// How many reads of different blocks it takes: told by the shared texts of its events.
fn blocks_of(store: &FileStore, stream: &Stream) -> Result<u64, Box<dyn std::error::Error>> {
    let events = store.events(stream, 0, usize::MAX)?;
    let mut blocks = 0;
    let mut last = std::ptr::null();
    for event in &events {
        let bytes = event.bytes().unwrap_or_default();
        // Neighbours within one text lie one byte apart.
        if bytes.as_ptr() != last {
            blocks += 1;
        }
        last = bytes.as_ptr().wrapping_add(bytes.len() + 1);
    }
    Ok(blocks)
}
