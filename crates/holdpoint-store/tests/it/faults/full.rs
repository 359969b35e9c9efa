//! A disk that is really full (ST-5), and one that is mounted for reading only: small file systems
//! in memory. Mounting takes the rights of root; without them this is skipped, and `errors` shows
//! the same with calls that are made to fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdpoint_core::SessionId;
use holdpoint_core::event::Stream;
use holdpoint_core::store::{AppendError, Appended, Fence, Store, Write};
use holdpoint_store::{FileOptions, FileStore, OpenError};
use tempfile::TempDir;

use super::child::Plan;
use super::facts::{self, Facts, Id};
use super::judge::{self, Loss};
use super::{read_facts, scratch, seed, skip, tell};

/// A file system of a given size, until it is dropped.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None, and says so, where nothing can be mounted.
    fn new(size: &str, for_what: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Self { folder };
        match disk.mount(&format!("size={size}")) {
            Ok(()) => Some(disk),
            Err(why) => {
                skip(&format!("nothing can be mounted here ({why}): {for_what}"));
                None
            }
        }
    }

    fn mount(&self, options: &str) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.folder.path());
        let output = mount.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    fn remount(&self, options: &str) {
        self.mount(&format!("remount,{options}")).expect("it can be mounted again");
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

/// A whole life on the disk; the facts lie elsewhere.
fn live(plan: &Plan) -> Facts {
    let output = plan.command(&["env".to_owned()]).output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read_facts(&plan.facts).expect("facts")
}

#[test]
fn store_003_st_5_a_disk_too_small_for_an_empty_store_is_told_at_once() {
    let Some(disk) = Disk::new("64k", "a disk that is too small for a store") else { return };
    let facts = scratch();
    let plan = Plan::new(&disk.store(), &facts.path().join("facts"), seed());
    let words = live(&plan).words;
    let refused = words.iter().find(|line| line.starts_with("refused")).expect("a refusal");
    assert!(refused.contains(&disk.store().display().to_string()), "{refused}");
    let says = ["the disk is full", "no room", "No space left"];
    assert!(says.iter().any(|why| refused.contains(why)), "{refused}");
    // Nothing is in the way of those who come when there is room.
    disk.remount("size=8m");
    let plan = Plan { life: 2, ..plan };
    let facts = live(&plan);
    assert!(facts.acks() > 0 && judge::is_rich(&facts), "{:?}", facts.words);
    judge::judge(&disk.store(), &facts, Loss::Nothing).expect("a sound store");
}

#[test]
fn store_003_st_5_on_a_full_disk_reads_and_closing_go_on_and_writing_when_there_is_room() {
    let Some(disk) = Disk::new("512k", "a full disk") else { return };
    let scratch = scratch();
    let seed = seed();
    let plan = Plan::new(&disk.store(), &scratch.path().join("facts"), seed);
    let facts = live(&plan);
    let said = |word: &str| facts.words.iter().any(|line| line.starts_with(word));
    let failed = facts.steps.iter().find_map(|step| step.failed.as_deref());
    assert!(failed.is_some_and(|error| error.contains("the disk is full")), "{failed:?}");
    assert!(said("poisoned") && said("closed"), "{:?}", facts.words);
    assert!(facts.acks() > 0, "seed {seed}");
    judge::judge_copy(&disk.store(), &facts, Loss::Nothing)
        .unwrap_or_else(|error| panic!("seed {seed}, full: {error}"));
    let acks = facts.acks();
    disk.remount("size=16m");
    let facts = live(&Plan { life: 2, ..plan });
    assert!(facts.acks() > acks, "seed {seed}: {:?}", facts.words);
    judge::judge(&disk.store(), &facts, Loss::Nothing)
        .unwrap_or_else(|error| panic!("seed {seed}, with room: {error}"));
    tell(&format!("a full disk: {acks} appends before, {} in all", facts.acks()));
}

/// The same process opens the store again when somebody has removed a file.
#[test]
fn store_003_st_5_a_store_is_opened_again_by_the_same_process_when_there_is_room() {
    let Some(disk) = Disk::new("512k", "a full disk in one process") else { return };
    let ballast = disk.folder.path().join("ballast");
    fs::write(&ballast, vec![1; 200 * 1024]).expect("a file");
    let stream = Stream::Session(SessionId::generate());
    let store = open(&disk.store()).expect("there is room for an empty store");
    let mut count = 0;
    let error = loop {
        assert!(count < 1000, "it is never full");
        match append(&store, &stream, count + 1) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    let is_full = |error: &AppendError| {
        matches!(error, AppendError::Io { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull)
    };
    assert!(count > 0 && is_full(&error), "{count}: {error:?}");
    assert_eq!(error.to_string().matches("the disk is full").count(), 1, "{error}");
    let late = append(&store, &stream, count + 1).expect_err("nothing is written any more");
    assert!(matches!(&late, AppendError::Poisoned { .. }), "{late:?}");
    assert!(late.to_string().contains("the disk is full"), "{late}");
    let numbers = |store: &FileStore| {
        let events = store.events(&stream, 0, usize::MAX).expect("a readable stream");
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert!(numbers(&store).into_iter().eq(1..=count));
    let closed = store.close().wait().expect_err("what was to be written is not");
    assert!(closed.to_string().contains("the disk is full"), "{closed}");
    drop(store);

    fs::remove_file(&ballast).expect("it can be removed");
    let store = open(&disk.store()).expect("it opens as it is");
    assert!(store.check().expect("a check").is_sound());
    // The one that was refused may be there, whole, or not.
    let there = numbers(&store).len() as u64;
    assert!(there == count || there == count + 1, "{there} of {count}");
    append(&store, &stream, there + 1).expect("there is room");
    assert!(numbers(&store).into_iter().eq(1..=there + 1));
    store.close().wait().expect("all is written");
}

#[test]
fn store_003_st_5_a_disk_mounted_for_reading_is_refused_with_the_reason_and_the_remedy() {
    let Some(disk) = Disk::new("8m", "a disk mounted for reading") else { return };
    let scratch = scratch();
    let plan = Plan::new(&disk.store(), &scratch.path().join("facts"), seed());
    let facts = live(&plan);
    disk.remount("ro");
    for options in [FileOptions::new(), FileOptions::new().read_only()] {
        let error = FileStore::open(disk.store(), options).expect_err("it cannot be written");
        assert!(matches!(error, OpenError::Place(_)), "{error:?}");
        let said = error.to_string();
        let place = disk.store().display().to_string();
        for part in [&place, "cannot be written to", "Read-only", "--store", "HOLDPOINT_STORE"] {
            assert!(said.contains(part), "{said}");
        }
    }
    disk.remount("rw");
    judge::judge(&disk.store(), &facts, Loss::Nothing).expect("a sound store");
}

fn open(folder: &Path) -> Result<FileStore, OpenError> {
    FileStore::open(folder, FileOptions::new())
}

/// One more event of a stream that nobody owns.
fn append(store: &FileStore, stream: &Stream, seq: u64) -> Result<(), AppendError> {
    let event = facts::event(stream, Id { life: 1, number: seq as u32 }, seq, false);
    let fence = if seq == 1 { Fence::New } else { Fence::Claim { epoch: seq - 2 } };
    let (events, journal) = ([event], [&[7; 3000][..]]);
    let write = Write::new(stream, fence).events(&events).journal(&journal).release();
    store.append(&[write]).and_then(Appended::wait).map(drop)
}
