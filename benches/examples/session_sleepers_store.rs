//! Sleepers in a store on disk: how fast they fall asleep, what each takes there, how long a fresh
//! process takes to open the store and to have all of them back:
//! `cargo run --profile bench -p holdpoint-benches --example session_sleepers_store -- [SLEEPERS]`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_benches::alloc::resident;
use holdpoint_benches::session::{sleeper, two_workers};
use holdpoint_session::{Recovery, Sessions};
use holdpoint_store::{FileOptions, FileStore};

/// A day: nobody wakes here.
const SLEEP: u64 = 86_400_000;

/// How many fall asleep at a time.
const IN_FLIGHT: usize = 1_000;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [part, folder, count] = args.as_slice() {
        let (folder, count) = (Path::new(folder), count.parse()?);
        return match part.as_str() {
            "sleep" => two_workers().block_on(fall_asleep(folder, count)),
            _ => two_workers().block_on(wake_up(folder, count)),
        };
    }
    let count = args.first().map_or("1000000", String::as_str);
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in(".")?;
    for part in ["sleep", "wake"] {
        let mut child = Command::new(std::env::current_exe()?);
        child.arg(part).arg(folder.path()).arg(count);
        if !child.status()?.success() {
            return Err(format!("`{part}` failed").into());
        }
    }
    Ok(())
}

/// Puts all to sleep, and goes as a killed process does.
async fn fall_asleep(folder: &Path, count: usize) -> Result<()> {
    let store = Arc::new(FileStore::open(folder, FileOptions::new())?);
    let sessions = Sessions::builder().store(store.clone()).open().await?;
    let body = sessions.register("sleeper", sleeper)?;
    let begin = Instant::now();
    let mut spawned = tokio::task::JoinSet::new();
    for _ in 0..count {
        if spawned.len() == IN_FLIGHT {
            spawned.join_next().await.transpose()?.transpose()?;
        }
        let spawn = body.spawn(SLEEP);
        spawned.spawn(async move { spawn.await.map(drop) });
    }
    while let Some(run) = spawned.join_next().await {
        run??;
    }
    // Recorded as well: the entry that says when each is due is behind those of its beginning.
    let last = sessions.list().into_iter().map(|session| session.id);
    for id in last {
        while store_entries(&store, id)? < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let (used, file) = store.size()?;
    let each = |bytes: u64| bytes / count as u64;
    println!(
        "{count} asleep within {:.1?}: {} B each in use, {} in the file; {} B each in memory",
        begin.elapsed(),
        each(used),
        each(file),
        resident() / count
    );
    std::process::exit(0);
}

fn store_entries(store: &FileStore, id: holdpoint_core::SessionId) -> Result<u64> {
    use holdpoint_core::store::Store as _;
    Ok(store.info(&holdpoint_core::event::Stream::Session(id))?.last_entry)
}

/// Opens the store in a fresh process, and takes all of them up.
async fn wake_up(folder: &Path, count: usize) -> Result<()> {
    let begin = Instant::now();
    let store = Arc::new(FileStore::open(folder, FileOptions::new())?);
    let opened = begin.elapsed();
    let sessions = Sessions::builder().store(store).recovery(Recovery::Explicit).open().await?;
    sessions.register("sleeper", sleeper)?;
    let ready = begin.elapsed();
    println!("store opened in {opened:.1?}, registry with its body in {ready:.1?}");
    let begin = Instant::now();
    let first = sessions.list_stored(0, 1)?;
    let shown = sessions.get(first[0])?.snapshot()?;
    println!("the first one, {}, is shown after {:.1?}", shown.state.name(), begin.elapsed());
    drop(sessions);
    let store = Arc::new(FileStore::open(folder, FileOptions::new())?);
    let begin = Instant::now();
    let sessions = Sessions::builder().store(store).open().await?;
    sessions.register("sleeper", sleeper)?;
    while sessions.len() < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "all {count} sleep again after {:.1?}, {} B each in memory",
        begin.elapsed(),
        resident() / count
    );
    std::process::exit(0);
}
