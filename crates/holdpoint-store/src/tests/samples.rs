//! Stores of every released version, kept as they were written (CORE-010): they open for ever.
//!
//! Each folder under `samples/` has a database and what `export` said of it when it was new. With
//! `HOLDPOINT_WRITE_SAMPLE=1` the sample of the current version is made, where it is missing.

use std::fs;
use std::path::{Path, PathBuf};

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{Fence, Filter, Snapshot, Store, Write};
use holdpoint_core::{BatchId, Timestamp};

use super::{Folder, begin, end, event, go_on, merges, session, wait_until};
use crate::FileStore;
use crate::sqlite::schema::VERSION;

const DATABASE: &str = "holdpoint.db";

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

#[test]
fn core_010_st_10_st_11_stores_of_every_version_open_and_read_as_they_were_written() {
    let newest = samples().join(format!("v{VERSION}"));
    if !newest.exists() && std::env::var_os("HOLDPOINT_WRITE_SAMPLE").is_some() {
        write_sample(&newest);
    }
    assert!(newest.exists(), "there is no sample of version {VERSION}");
    for sample in fs::read_dir(samples()).unwrap() {
        let sample = sample.unwrap().path();
        let folder = Folder::new();
        fs::copy(sample.join(DATABASE), folder.path().join(DATABASE)).unwrap();
        let store = folder.open();
        // What the events say is what the state says, by today's code.
        assert_eq!(store.check().unwrap().faults, [], "{}", sample.display());
        let expected = fs::read_to_string(sample.join("export.jsonl")).unwrap();
        assert_eq!(exported(&store), expected, "{}", sample.display());
        // It can be written to, also what was there: its owner died long ago.
        for info in store.list(&Filter::left_behind()).unwrap() {
            let claim = Write::new(&info.stream, Fence::Claim { epoch: info.epoch });
            let write = claim.release();
            store.append(&[write]).unwrap().wait().unwrap();
        }
        assert_eq!(store.list(&Filter::left_behind()).unwrap(), []);
        let new = begin(&store);
        go_on(&store, &new, 2).unwrap();
        drop(store);
        assert_eq!(folder.open().check().unwrap().faults, []);
    }
}

fn exported(store: &FileStore) -> String {
    let mut out = Vec::new();
    store.export(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Streams of all kinds in all states, with whatever an event may have.
fn write_sample(to: &Path) {
    let folder = Folder::new();
    let store = folder.open();
    let ended = begin(&store);
    for seq in 2..=20 {
        go_on(&store, &ended, seq).unwrap();
    }
    end(&store, &ended, 21);
    let run = begin(&store);
    for (line, seq) in LINES.iter().zip(2..) {
        let text = line.replace("SESSION", &run.to_string().replace("session ", ""));
        let mut event: Event = serde_json::from_str(&text).unwrap();
        event.seq = seq;
        let entry = format!("{{\"step\":{seq}}}");
        let entries = [entry.as_bytes(), b"\x00\xff not json"];
        let write = Write::new(&run, Fence::Owned { epoch: 1 });
        let write = write.events(std::slice::from_ref(&event)).journal(&entries);
        let paused = Snapshot { state: StateName::Paused, data: b"{\"state\":\"paused\"}" };
        store.append(&[write.snapshot(paused)]).unwrap().wait().unwrap();
    }
    let planned = session();
    let first = event(&planned, 1, EventKind::SessionPlanned { attempt: 1 });
    let write = Write::new(&planned, Fence::New).events(std::slice::from_ref(&first));
    store.append(&[write.key("pr-42").label("merge_pr")]).unwrap().wait().unwrap();
    store.claim_schedules().unwrap().wait().unwrap();
    let nightly = Stream::Schedule("nightly".parse().unwrap());
    let batch = Stream::Batch(BatchId::generate());
    for (stream, kind, fence) in [
        (&nightly, EventKind::ScheduleAdded, Fence::New),
        (&batch, EventKind::BatchStarted { limit: 8 }, Fence::NewOwned),
    ] {
        let first = event(stream, 1, kind);
        let write = Write::new(stream, fence).events(std::slice::from_ref(&first));
        store.append(&[write]).unwrap().wait().unwrap();
    }
    let fired = EventKind::ScheduleTripped { streak: 5 };
    let fired = Event::new(2, Timestamp::from_micros(9), nightly.clone(), fired);
    let write = Write::new(&nightly, Fence::Owned { epoch: 1 });
    store.append(&[write.events(&[fired])]).unwrap().wait().unwrap();
    wait_until("blocks are merged", || merges(&store) == 0);
    fs::create_dir_all(to).unwrap();
    fs::write(to.join("export.jsonl"), exported(&store)).unwrap();
    drop(store);
    fs::copy(folder.path().join(DATABASE), to.join(DATABASE)).unwrap();
}

const LINES: [&str; 10] = [
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000001Z","session":"SESSION","kind":"session_started","start":1}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000002Z","session":"SESSION","kind":"task_started","task":"app:build"}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000003Z","session":"SESSION","kind":"hold_acquired","task":"app:build","holds":[{"scope":"project","project":"app","name":"gpu","mode":"counted","units":2}]}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000004Z","session":"SESSION","kind":"process_started","task":"app:build","pid":17,"start":1,"attempt":1}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000005Z","session":"SESSION","kind":"process_exited","task":"app:build","pid":17,"exit_code":2}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000006Z","session":"SESSION","kind":"task_failed","task":"app:build","cause":"exit","message":"exit code 2\nof \u001b[31mcc\u001b[0m: ü","exit_code":2}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000007Z","session":"SESSION","kind":"task_skipped","task":"app:test","cause":"upstream_failed","upstream":"app:build"}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000008Z","session":"SESSION","kind":"task_succeeded","task":"app:lint","source":"cache"}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000009Z","session":"SESSION","kind":"session_paused"}"#,
    r#"{"seq":0,"at":"2026-11-21T02:00:00.000010Z","session":"SESSION","kind":"session_cancel_requested","cause":"user","text":"enough","requested_at":"2026-11-21T02:00:00.000010Z"}"#,
];
