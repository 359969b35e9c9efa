//! Bytes that are not what was written (STORE-005): in the database, in its log, anywhere.

use std::fs;
use std::path::Path;

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{Fence, Filter, ReadError, Snapshot, Store, StreamKind, Write};

use super::{Folder, begin, cases, end, event, go_on, merges, progress, wait_until};
use crate::{FileOptions, FileStore, OpenError};

const DATABASE: &str = "holdpoint.db";
const LOG: &str = "holdpoint.db-wal";

/// Several streams of all kinds, merged and not, with journals, keys and snapshots.
fn fill(store: &FileStore) -> Vec<Stream> {
    let mut streams: Vec<Stream> = (0..3).map(|_| begin(store)).collect();
    for seq in 2..=12 {
        for stream in &streams {
            let write = Write::new(stream, Fence::Owned { epoch: 1 });
            let entry = format!("{{\"step\":{seq}}}");
            let events = [progress(stream, seq)];
            let write = write.events(&events).journal(&[]);
            let entries = [entry.as_bytes()];
            let write = if seq % 3 == 0 { write.journal(&entries) } else { write };
            store.append(&[write]).unwrap().wait().unwrap();
        }
    }
    for stream in &streams[..2] {
        end(store, stream, 13);
    }
    wait_until("the ended streams are merged", || merges(store) == 0);
    let keyed = super::session();
    let planned = event(&keyed, 1, EventKind::SessionPlanned { attempt: 1 });
    let write = Write::new(&keyed, Fence::New).events(std::slice::from_ref(&planned));
    let snapshot = Snapshot { state: StateName::Planned, data: b"{\"input\":42}" };
    let write = write.snapshot(snapshot).key("pr-42").label("merge_pr");
    store.append(&[write]).unwrap().wait().unwrap();
    streams.push(keyed);
    store.claim_schedules().unwrap().wait().unwrap();
    let nightly = Stream::Schedule("nightly".parse().unwrap());
    let added = event(&nightly, 1, EventKind::ScheduleAdded);
    let write = Write::new(&nightly, Fence::New).events(std::slice::from_ref(&added));
    store.append(&[write]).unwrap().wait().unwrap();
    streams.push(nightly);
    go_on(store, &streams[2], 13).unwrap();
    streams
}

/// What can be read of a store.
#[derive(Debug, PartialEq)]
struct Content {
    list: Result<Vec<String>, ()>,
    order: (Vec<(u64, String, u64)>, bool),
    streams: Vec<OfStream>,
    /// What is looked up by an index alone.
    lookups: (Option<String>, Vec<String>),
}

#[derive(Debug, PartialEq)]
struct OfStream {
    info: Result<String, ()>,
    snapshot: Result<String, ()>,
    /// Events and journal as far as they are served, and whether that is all.
    events: (Vec<String>, bool),
    journal: (Vec<Vec<u8>>, bool),
}

fn read(store: &FileStore, streams: &[Stream]) -> Content {
    let lie = |error: ReadError| {
        assert!(!matches!(error, ReadError::NotFound { .. }), "it is there");
    };
    let all = |filter: &Filter| {
        let list = store.list(filter);
        list.map(|list| list.iter().map(|info| format!("{info:?}")).collect::<Vec<_>>())
    };
    let mut order: Vec<(u64, String, u64)> = Vec::new();
    let is_all = loop {
        let after = order.last().map_or(0, |(pos, ..)| *pos);
        match store.all_events(after, 7) {
            Ok(events) if events.is_empty() => break true,
            Ok(events) => {
                let triples = events.iter().map(|e| (e.pos, e.stream.to_string(), e.seq));
                order.extend(triples);
            }
            Err(_) => break false,
        }
    };
    let of_stream = |stream: &Stream| {
        let mut events: Vec<String> = Vec::new();
        let events_are_all = loop {
            match store.events(stream, events.len() as u64, 5) {
                Ok(next) if next.is_empty() => break true,
                Ok(next) => events.extend(next.iter().map(|e| format!("{:?}", e.event().unwrap()))),
                Err(error) => {
                    if let ReadError::Corrupt { seq, .. } = error {
                        assert!(seq as usize <= events.len() + 1, "nothing past it is served");
                    }
                    break false;
                }
            }
        };
        let mut journal: Vec<Vec<u8>> = Vec::new();
        let journal_is_all = loop {
            match store.journal(stream, journal.len() as u64, 2) {
                Ok(next) if next.is_empty() => break true,
                Ok(next) => journal.extend(next.iter().map(|entry| entry.data.to_vec())),
                Err(_) => break false,
            }
        };
        OfStream {
            info: store.info(stream).map(|info| format!("{info:?}")).map_err(lie),
            snapshot: store.snapshot(stream).map(|kept| format!("{kept:?}")).map_err(lie),
            events: (events, events_are_all),
            journal: (journal, journal_is_all),
        }
    };
    Content {
        list: all(&Filter::default()).map_err(drop),
        order: (order, is_all),
        streams: streams.iter().map(of_stream).collect(),
        lookups: (
            store.by_key("pr-42").ok().flatten().map(|info| format!("{info:?}")),
            all(&Filter::of(StreamKind::Session).states(&[StateName::Planned])).unwrap_or_default(),
        ),
    }
}

/// What is served of a damaged store is what was written, as far as it goes.
#[track_caller]
fn assert_no_lie(damaged: &Content, good: &Content, what: &str) {
    let same = |damaged: &Result<_, ()>, good: &Result<_, ()>| damaged.is_err() || damaged == good;
    assert!(damaged.list.is_err() || damaged.list == good.list, "{what}: the list");
    let (order, is_all) = &damaged.order;
    let rest = &good.order.0[..order.len().min(good.order.0.len())];
    assert!(order == rest && (!is_all || order.len() == good.order.0.len()), "{what}: the order");
    for (index, (damaged, good)) in damaged.streams.iter().zip(&good.streams).enumerate() {
        let what = format!("{what}: stream {index}");
        assert!(same(&damaged.info, &good.info), "{what}: info {damaged:?} {good:?}");
        assert!(same(&damaged.snapshot, &good.snapshot), "{what}: snapshot {damaged:?}");
        let (events, is_all) = &damaged.events;
        assert!(good.events.0.starts_with(events), "{what}: events {events:#?}");
        assert!(!is_all || *events == good.events.0, "{what}: events end early: {events:#?}");
        let (journal, is_all) = &damaged.journal;
        assert!(good.journal.0.starts_with(journal), "{what}: journal {journal:?}");
        assert!(!is_all || *journal == good.journal.0, "{what}: the journal ends early");
    }
}

/// A generator that needs nothing.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) as usize) % limit
    }
}

fn open_to_read(folder: &Path) -> Result<FileStore, OpenError> {
    FileStore::open(folder, FileOptions::new().read_only())
}

#[test]
fn store_005_st_7_a_changed_byte_of_the_database_is_found_when_it_is_read() {
    let folder = Folder::new();
    let store = folder.open();
    let streams = fill(&store);
    drop(store);
    let good = {
        let store = open_to_read(folder.path()).unwrap();
        assert_eq!(store.check().unwrap().faults, []);
        read(&store, &streams)
    };
    let file = folder.path().join(DATABASE);
    let bytes = fs::read(&file).unwrap();
    let mut random = Random(cases() as u64);
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    // Everywhere, and wherever a text of ours is.
    let marks = [&b"session_progress"[..], b"{\"step\":", b"{\"done\":true}", b"session:"];
    let is_ours = |at: usize| {
        marks.iter().any(|mark| {
            bytes[at.saturating_sub(40)..].windows(mark.len()).take(40).any(|w| w == *mark)
        })
    };
    let places: Vec<usize> = (0..cases()).map(|_| random.below(bytes.len())).collect();
    let ours = (0..bytes.len()).filter(|at| is_ours(*at)).step_by(1 + 8192 / cases());
    for at in places.into_iter().chain(ours) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << random.below(8);
        let what = format!("byte {at} from {} to {}", bytes[at], damaged[at]);
        let _ = fs::remove_file(folder.path().join(LOG));
        let _ = fs::remove_file(folder.path().join("holdpoint.db-shm"));
        fs::write(&file, &damaged).unwrap();
        match open_to_read(folder.path()) {
            Err(_) => refused += 1,
            Ok(store) => {
                let content = read(&store, &streams);
                assert_no_lie(&content, &good, &what);
                if content == good {
                    harmless += 1;
                } else {
                    let report = store.check();
                    let is_told = report.is_err() || !report.unwrap().is_sound();
                    assert!(is_told, "{what}: check says that all is well");
                    found += 1;
                }
            }
        }
    }
    println!("{refused} refused, {found} found, {harmless} harmless");
    assert!(found > 0 && harmless > 0);
}

#[test]
fn store_005_st_7_zeroed_and_cut_files_are_found() {
    let folder = Folder::new();
    let store = folder.open();
    let streams = fill(&store);
    drop(store);
    let good = read(&open_to_read(folder.path()).unwrap(), &streams);
    let file = folder.path().join(DATABASE);
    let bytes = fs::read(&file).unwrap();
    for at in (0..bytes.len()).step_by(512) {
        let mut zeroed = bytes.clone();
        zeroed[at..at + 512].fill(0);
        for damaged in [&zeroed[..], &bytes[..at]] {
            let _ = fs::remove_file(folder.path().join(LOG));
            fs::write(&file, damaged).unwrap();
            if let Ok(store) = open_to_read(folder.path()) {
                assert_no_lie(&read(&store, &streams), &good, &format!("at {at}"));
            }
        }
    }
}

#[test]
fn store_006_st_7_an_export_has_what_can_be_had_and_looking_changes_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    let streams = fill(&store);
    let whole = {
        let mut out = Vec::new();
        store.export(&mut out).unwrap();
        out
    };
    // As a kill leaves it, and the row of one stream damaged in the database itself.
    drop(store);
    let file = folder.path().join(DATABASE);
    let mut bytes = fs::read(&file).unwrap();
    let name = crate::blocks::name_of(&streams[0]);
    let at = bytes.windows(name.len() + 1).position(|w| w[..name.len()] == *name.as_bytes());
    // The state stands right behind the name and the empty label.
    let at = at.unwrap() + name.len();
    assert_eq!(&bytes[at..at + 4], b"done");
    bytes[at] = b'g';
    fs::write(&file, &bytes).unwrap();
    let reader = open_to_read(folder.path()).unwrap();
    let mut out = Vec::new();
    let exported = reader.export(&mut out).unwrap();
    assert_eq!(exported.damaged.len(), 1);
    assert_eq!((exported.streams, &exported.damaged[0].0), (5, &streams[0]));
    let lines = |text: &[u8]| text.split(|byte| *byte == b'\n').count();
    let own = 1 + 13 + 4;
    assert_eq!(lines(&out), lines(&whole) - own + 1, "one line instead of its own");
    drop(reader);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn store_005_who_only_reads_leaves_the_log_as_a_crash_left_it() {
    let folder = Folder::new();
    let store = folder.open();
    fill(&store);
    let copy = Folder::new();
    for name in [DATABASE, LOG] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let before = [DATABASE, LOG].map(|name| fs::read(copy.path().join(name)).unwrap());
    for _ in 0..2 {
        let reader = open_to_read(copy.path()).unwrap();
        assert!(reader.check().unwrap().is_sound());
        drop(reader);
        let after = [DATABASE, LOG].map(|name| fs::read(copy.path().join(name)).unwrap());
        assert!(before == after, "it was touched");
    }
}

#[test]
fn store_005_a_damaged_log_is_refused_unless_only_its_last_commit_is_open_to_doubt() {
    let folder = Folder::new();
    let store = folder.open();
    let streams = fill(&store);
    let before_last = fs::metadata(folder.path().join(LOG)).unwrap().len() as usize;
    go_on(&store, &streams[2], 14).unwrap();
    // As a kill leaves it: the log is not written back.
    let copy = Folder::new();
    for name in [DATABASE, LOG] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    drop(store);
    let (database, log) =
        (fs::read(copy.path().join(DATABASE)).unwrap(), fs::read(copy.path().join(LOG)).unwrap());
    assert!(before_last < log.len(), "the last commit is at the end");
    let restore = |log: &[u8]| {
        let _ = fs::remove_file(copy.path().join("holdpoint.db-shm"));
        fs::write(copy.path().join(DATABASE), &database).unwrap();
        fs::write(copy.path().join(LOG), log).unwrap();
    };
    restore(&log);
    let good = read(&open_to_read(copy.path()).unwrap(), &streams);
    assert!(good.streams.iter().all(|stream| stream.events.1));
    let mut random = Random(7);
    let mut refused = 0;
    let places = (0..32).chain((0..cases()).map(|_| random.below(before_last)));
    for at in places.collect::<Vec<_>>() {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << random.below(8);
        restore(&damaged);
        match open_to_read(copy.path()) {
            Err(error) => {
                assert!(matches!(error, OpenError::DamagedLog { .. }), "byte {at}: {error}");
                assert_eq!(fs::read(copy.path().join(LOG)).unwrap(), damaged, "it was touched");
                refused += 1;
            }
            // In a frame of an earlier round, which nobody reads.
            Ok(store) => {
                assert!(store.info(&streams[4]).is_ok(), "byte {at}");
                assert_eq!(read(&store, &streams), good, "byte {at}");
            }
        }
    }
    assert!(refused > 100, "{refused}");
    // In the last commit: it may be one that was never acknowledged, so it counts as none.
    for at in [before_last + 30, log.len() - 100] {
        let mut damaged = log.clone();
        damaged[at] ^= 1;
        restore(&damaged);
        let store = open_to_read(copy.path()).unwrap();
        assert_eq!(store.info(&streams[2]).unwrap().last_seq, 13);
        let report = store.check().unwrap();
        assert_eq!(report.faults, []);
        assert!(report.unacknowledged > 0 || at > before_last + 4000, "{report:?}");
    }
    // Cut anywhere: a prefix of the commits, never an error.
    for at in (0..log.len()).step_by(1 + log.len() / 50) {
        restore(&log[..at]);
        let store = open_to_read(copy.path()).unwrap();
        assert!(store.check().unwrap().is_sound(), "cut at {at}");
    }
}
