//! Where Holdpoint keeps what must not be lost: the store port of the core, in memory and on disk.
//!
//! | | [`MemoryStore`] | `FileStore` (feature `file`) |
//! |---|---|---|
//! | acknowledged | within the call | when it is on the disk |
//! | outlasts | nothing | `kill -9`, power cuts, full disks |
//! | shared by | the threads of a process | the processes of a machine |
//! | needs | nothing | Unix, a local file system, a C compiler to build |
//!
//! The file store is an SQLite database that any SQLite tool can read. One thread of a process
//! writes; what waits when it is free becomes one transaction. Of each stream a commit writes one
//! block, with a hash that chains it to the block before, and every read checks it.
//!
//! Reading order: `open` (what is looked at first), `file` (the port), `writer` (the queue and the thread), `commit`
//! (what is accepted), `blocks`, `chain` and `merge` (how events lie in the file), `reader`,
//! `owner`, `wire`, `socket` and `news` (what goes between processes), `check`, `export`,
//! `retention`.

#[cfg(all(feature = "file", not(unix)))]
compile_error!(
    "the feature `file` of holdpoint-store needs Unix: locks, sockets, folders that sync"
);

#[cfg(feature = "file")]
mod blocks;
#[cfg(feature = "file")]
mod chain;
#[cfg(feature = "file")]
mod check;
#[cfg(feature = "file")]
mod commit;
#[cfg(feature = "file")]
mod error;
#[cfg(feature = "file")]
mod export;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "file")]
mod job;
#[cfg(feature = "file")]
mod keep;
#[cfg(feature = "file")]
mod log;
mod memory;
#[cfg(feature = "file")]
mod merge;
#[cfg(feature = "file")]
mod news;
#[cfg(feature = "file")]
mod open;
#[cfg(feature = "file")]
mod options;
#[cfg(feature = "file")]
mod owner;
#[cfg(feature = "file")]
mod place;
#[cfg(feature = "file")]
mod reader;
#[cfg(feature = "file")]
mod retention;
#[cfg(feature = "file")]
mod socket;
#[cfg(feature = "file")]
mod sqlite;
#[cfg(all(test, feature = "file"))]
mod tests;
#[cfg(feature = "file")]
mod wire;
#[cfg(feature = "file")]
mod writer;

#[cfg(feature = "file")]
pub use check::{CheckReport, StoreFault};
#[cfg(feature = "file")]
pub use error::OpenError;
#[cfg(feature = "file")]
pub use export::{ExportError, Exported};
#[cfg(feature = "file")]
pub use file::FileStore;
pub use memory::{History, MemoryStore};
#[cfg(feature = "file")]
pub use options::{FileOptions, Sync};
#[cfg(feature = "file")]
pub use place::PlaceError;
#[cfg(feature = "file")]
pub use retention::{Pruned, Retention};
