//! What becomes of a store on disk when processes are killed, the power fails, the disk is full or
//! lies: with real processes and real files.
//!
//! `child` is the process to which it is done. It writes down what it issues and what is
//! acknowledged to it (`facts`), and `judge` holds the store against that. `strace` is how it is
//! done. The tests: `kill`, `power` with `disk`, `errors`, `full`, `sharing`, `place`.
//!
//! How much is tried: `HOLDPOINT_KILLS` kills and `HOLDPOINT_CUTS` power cuts. A failure tells its
//! seed; `HOLDPOINT_SEED` sets it.

mod asking;
mod child;
mod disk;
mod errors;
mod facts;
mod full;
mod judge;
mod kill;
mod place;
mod power;
mod random;
mod sharing;
mod strace;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use facts::Facts;
use tempfile::TempDir;

/// How many kills the tests of kills try.
fn kills() -> u64 {
    count("HOLDPOINT_KILLS", 30)
}

/// How many power cuts the tests of power cuts try.
fn cuts() -> u64 {
    count("HOLDPOINT_CUTS", 150)
}

fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where chance begins: another place each time, unless it is set.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    count("HOLDPOINT_SEED", now.as_nanos() as u64 % 1_000_000_000)
}

/// A folder that is fast and need not last.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

fn read_facts(path: &Path) -> Result<Facts, String> {
    Facts::parse(&fs::read_to_string(path).unwrap_or_default())
}

/// Tells that something was not tried, also where the output of tests that pass is not shown.
fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// The same for what was tried.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
