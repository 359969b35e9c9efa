//! Tests of the store on disk from inside: files, hashes, damage. What both stores have in common
//! is in the conformance suite.

mod basics;
mod child;
mod damage;
mod news;
mod owner;
mod place;
mod samples;
mod sharing;
mod socket;

use std::path::Path;

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{AppendError, Commit, Fence, Snapshot, Store, Write};
use holdpoint_core::{SessionId, Timestamp};
use tempfile::TempDir;

use crate::{FileOptions, FileStore};

/// A folder with a store that is opened as often as the test wants.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn open(&self) -> FileStore {
        FileStore::open(self.path(), FileOptions::new()).expect("the store opens")
    }
}

pub(super) fn session() -> Stream {
    Stream::Session(SessionId::generate())
}

pub(super) fn event(stream: &Stream, seq: u64, kind: EventKind) -> Event {
    Event::new(seq, Timestamp::from_micros(1_000_000 * seq), stream.clone(), kind)
}

pub(super) fn progress(stream: &Stream, seq: u64) -> Event {
    event(stream, seq, EventKind::SessionProgress { progress: format!("\"{seq}\"").into() })
}

/// A session that this store owns under epoch 1, with one event.
pub(super) fn begin(store: &FileStore) -> Stream {
    let stream = session();
    let planned = event(&stream, 1, EventKind::SessionPlanned { attempt: 1 });
    let write = Write::new(&stream, Fence::NewOwned).events(std::slice::from_ref(&planned));
    store.append(&[write]).and_then(|appended| appended.wait()).expect("a new session");
    stream
}

/// One more event of a session that is owned under epoch 1.
pub(super) fn go_on(store: &FileStore, stream: &Stream, seq: u64) -> Result<Commit, AppendError> {
    let write = Write::new(stream, Fence::Owned { epoch: 1 });
    store.append(&[write.events(&[progress(stream, seq)])])?.wait()
}

/// The last event of such a session.
pub(super) fn end(store: &FileStore, stream: &Stream, seq: u64) {
    let done = event(stream, seq, EventKind::SessionDone { usage: None });
    let write = Write::new(stream, Fence::Owned { epoch: 1 })
        .events(std::slice::from_ref(&done))
        .snapshot(Snapshot { state: StateName::Done, data: b"{\"done\":true}" });
    store.append(&[write]).and_then(|appended| appended.wait()).expect("the end of a session");
}

/// The numbers of all events that can be read.
pub(super) fn numbers(store: &FileStore, stream: &Stream) -> Vec<u64> {
    let events = store.events(stream, 0, usize::MAX).expect("a readable stream");
    for stored in &events {
        assert_eq!(stored.event().expect("a readable event").seq, stored.seq);
    }
    events.iter().map(|event| event.seq).collect()
}

/// Waits for what a thread of the store or another process does.
#[track_caller]
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// How many cases a test of many tries; `HOLDPOINT_CASES` raises it.
pub(super) fn cases() -> usize {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}

/// How many streams wait to be merged.
pub(super) fn merges(store: &FileStore) -> usize {
    let next = store.reader().read(|database| Ok(crate::sqlite::rows::next_merges(database, 9)));
    next.unwrap().unwrap().len()
}
