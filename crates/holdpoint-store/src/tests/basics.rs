//! What is written is there after reopening, merged or not, in both orders.

use holdpoint_core::event::EventKind;
use holdpoint_core::store::{Fence, Store, Write};

use super::{Folder, begin, end, event, go_on, merges, numbers, progress, wait_until};
use crate::sqlite::rows;
use crate::{FileOptions, FileStore, OpenError};

#[test]
fn store_002_what_was_acknowledged_is_there_after_reopening() {
    let folder = Folder::new();
    let store = folder.open();
    let stream = begin(&store);
    for seq in 2..=50 {
        go_on(&store, &stream, seq).unwrap();
    }
    let write = Write::new(&stream, Fence::Owned { epoch: 1 });
    store.append(&[write.journal(&[b"one", b"two"])]).unwrap().wait().unwrap();
    end(&store, &stream, 51);
    let all: Vec<u64> = (1..=51).collect();
    assert_eq!(numbers(&store, &stream), all);
    drop(store);
    let store = folder.open();
    assert_eq!(numbers(&store, &stream), all);
    let journal: Vec<_> =
        store.journal(&stream, 0, 10).unwrap().into_iter().map(|entry| entry.data).collect();
    assert_eq!(journal, [b"one".as_slice().into(), b"two".as_slice().into()]);
    let report = store.check().unwrap();
    assert_eq!((report.faults.as_slice(), report.events, report.entries), (&[][..], 51, 2));
}

#[test]
fn store_012_blocks_of_an_ended_stream_are_merged_and_every_order_stays() {
    let folder = Folder::new();
    let store = folder.open();
    let streams: Vec<_> = (0..5).map(|_| begin(&store)).collect();
    for seq in 2..=40 {
        for stream in &streams {
            go_on(&store, stream, seq).unwrap();
        }
    }
    let before: Vec<_> = order(&store);
    for stream in &streams {
        end(&store, stream, 41);
    }
    // Merged when nobody writes.
    wait_until("all are merged", || merges(&store) == 0);
    let report = store.check().unwrap();
    assert_eq!(report.faults, []);
    let blocks = store.reader().read(|database| Ok(rows::block_counts(database).unwrap()));
    let blocks = blocks.unwrap();
    for id in 1..=5 {
        assert_eq!(blocks[&id], (1, 40), "of session {id}");
    }
    let after = order(&store);
    assert_eq!(after[..before.len()], before);
    assert!(after.is_sorted_by_key(|(pos, ..)| *pos));
    // From every position on, exactly the rest.
    for (index, (pos, ..)) in after.iter().enumerate() {
        let rest: Vec<_> =
            store.all_events(*pos, 3).unwrap().iter().map(|event| event.pos).collect();
        let expected: Vec<_> = after[index + 1..].iter().take(3).map(|(pos, ..)| *pos).collect();
        assert_eq!(rest, expected);
    }
    for stream in &streams {
        assert_eq!(numbers(&store, stream), (1..=41).collect::<Vec<_>>());
    }
}

fn order(store: &FileStore) -> Vec<(u64, String, u64)> {
    let events = store.all_events(0, usize::MAX).unwrap();
    events.iter().map(|event| (event.pos, event.stream.to_string(), event.seq)).collect()
}

#[test]
fn store_011_notes_ride_in_the_next_commit() {
    let folder = Folder::new();
    let store = folder.open();
    let stream = begin(&store);
    for seq in 2..=10 {
        store.note(&stream, 1, &[progress(&stream, seq)]).unwrap();
    }
    assert_eq!(numbers(&store, &stream), [1]);
    go_on(&store, &stream, 11).unwrap();
    assert_eq!(numbers(&store, &stream), (1..=11).collect::<Vec<_>>());
    store.note(&stream, 1, &[progress(&stream, 12)]).unwrap();
    store.close().wait().unwrap();
    assert_eq!(numbers(&store, &stream), (1..=12).collect::<Vec<_>>());
}

#[test]
fn store_012_store_011_a_session_whose_tasks_were_all_found_costs_two_commits() {
    let folder = Folder::new();
    let store = folder.open();
    let stream = begin(&store);
    for seq in 2..=1001 {
        let task = "app:build".parse().unwrap();
        let hit = event(&stream, seq, EventKind::TaskHit { task, saved_ms: Some(7) });
        store.note(&stream, 1, &[hit]).unwrap();
    }
    end(&store, &stream, 1002);
    assert_eq!(numbers(&store, &stream).len(), 1002);
    // Of the first commit a block is left that says where its events are now.
    wait_until("the blocks are merged", || merges(&store) == 0);
    let counts = store.reader().read(|database| Ok(rows::block_counts(database).unwrap()));
    assert_eq!(counts.unwrap()[&1], (1, 1));
}

#[test]
fn store_006_export_has_every_event_and_entry() {
    let folder = Folder::new();
    let store = folder.open();
    let stream = begin(&store);
    let write = Write::new(&stream, Fence::Owned { epoch: 1 });
    store.append(&[write.journal(&[b"{\"a\":1}", b"\xff\n"])]).unwrap().wait().unwrap();
    end(&store, &stream, 2);
    let mut out = Vec::new();
    let exported = store.export(&mut out).unwrap();
    assert_eq!((exported.streams, exported.events, exported.entries), (1, 2, 2));
    let lines: Vec<serde_json::Value> = std::str::from_utf8(&out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["snapshot"]["done"], true);
    assert_eq!(lines[0]["state"], "done");
    assert_eq!(lines[1]["event"]["kind"], "session_planned");
    assert_eq!(lines[1]["event"]["seq"], 1);
    assert_eq!(lines[3]["entry"]["a"], 1);
    assert_eq!(lines[4]["entry"]["hex"], "ff0a");
}

#[test]
fn core_010_foreign_and_newer_files_are_refused_untouched() {
    use std::fs;
    let folder = Folder::new();
    drop(folder.open());
    let file = folder.path().join("holdpoint.db");
    let good = fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let error = FileStore::open(folder.path(), FileOptions::new()).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), bytes, "it was touched");
        assert!(!folder.path().join("holdpoint.db-wal").exists());
        error
    };
    let mut newer = good.clone();
    newer[63] = 9;
    let error = refused(&newer);
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("version 9"), "{error}");
    let mut other = good.clone();
    other[68] = 0;
    assert!(matches!(refused(&other), OpenError::Foreign { .. }));
    assert!(matches!(refused(b"tasks:\n"), OpenError::Foreign { .. }));
    assert!(matches!(refused(b""), OpenError::Foreign { .. }));
    // Also where the weaker mode would have the log written back.
    fs::write(folder.path().join("relaxed"), "").unwrap();
    assert!(matches!(refused(&newer), OpenError::Newer { .. }));
    assert!(folder.path().join("relaxed").exists());
    fs::write(&file, good).unwrap();
    drop(folder.open());
}

#[test]
fn store_001_the_weaker_mode_is_marked_until_all_is_on_the_disk() {
    let folder = Folder::new();
    let relaxed = FileOptions::new().sync(crate::Sync::Relaxed);
    let mark = folder.path().join("relaxed");
    let store = FileStore::open(folder.path(), relaxed.clone()).unwrap();
    let stream = begin(&store);
    assert!(mark.exists());
    // Not alone: what the other writes is as weak as before.
    let other = folder.open();
    assert!(mark.exists());
    drop((store, other));
    drop(FileStore::open(folder.path(), relaxed).unwrap());
    assert!(mark.exists());
    let store = folder.open();
    assert!(!mark.exists());
    assert_eq!(numbers(&store, &stream), [1]);
}
