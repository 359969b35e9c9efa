//! The database: the only folder that names SQLite.
//!
//! `schema` has the tables, `rows` what is read from and written to them; this file opens
//! connections and translates what SQLite says.

pub(crate) mod rows;
pub(crate) mod schema;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdpoint_core::store::{AppendError, ReadError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::options::Sync;

/// How long another program may keep the database locked before we give up. Our own processes
/// queue for a lock file instead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Memory for pages, of the connection that writes; of those that read a quarter.
const CACHE_KIB: i32 = 16 * 1024;

/// A connection for writing.
pub(crate) fn open_writer(
    file: &Path,
    sync: Sync,
    pages_in_log: Arc<AtomicU32>,
) -> rusqlite::Result<Connection> {
    let mut database = open(file, CACHE_KIB)?;
    let level = match sync {
        Sync::Full => "FULL",
        Sync::Relaxed => "NORMAL",
    };
    database.pragma_update(None, "synchronous", level)?;
    // Elsewhere than on Apple's systems this changes nothing; there `fsync` alone does not reach
    // the disk.
    database.pragma_update(None, "fullfsync", true)?;
    database.pragma_update(None, "checkpoint_fullfsync", true)?;
    // We say when the log is written back, after the commit was acknowledged.
    database.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
        pages_in_log.store(pages.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(database)
}

/// A connection for reading. `leaves_all`: where it is the last, it leaves the files as they are, also
/// what a crash has left in the log.
pub(crate) fn open_reader(file: &Path, leaves_all: bool) -> rusqlite::Result<Connection> {
    let database = open(file, CACHE_KIB / 4)?;
    database.pragma_update(None, "query_only", true)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leaves_all)?;
    Ok(database)
}

fn open(file: &Path, cache_kib: i32) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags)?;
    database.busy_timeout(PATIENCE)?;
    database.set_prepared_statement_cache_capacity(64);
    database.pragma_update(None, "cache_size", -cache_kib)?;
    database.pragma_update(None, "cell_size_check", true)?;
    database.pragma_update(None, "trusted_schema", false)?;
    database.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(database)
}

/// Makes a new database in a file that is not there yet, whole and on disk when this returns.
pub(crate) fn create(file: &Path, id: &str) -> rusqlite::Result<()> {
    let database = Connection::open(file)?;
    // While the file has no name that anybody looks for, a crash costs nothing.
    database.pragma_update(None, "journal_mode", "MEMORY")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    schema::create(&database, id)?;
    let mode: String =
        database.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
            Some("the file system does not carry a write-ahead log".to_owned()),
        ));
    }
    database.close().map_err(|(_, error)| error)
}

/// Writes back as much of the log as can be without waiting for anybody.
pub(crate) fn checkpoint(database: &Connection) -> rusqlite::Result<()> {
    let mut statement = database.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    statement.query_row([], |_| Ok(()))
}

/// Writes back all of the log and brings it to the disk.
pub(crate) fn write_all_back(file: &Path) -> rusqlite::Result<()> {
    let database = open_writer(file, Sync::Full, Arc::default())?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Whether another connection has committed since the number was last read.
pub(crate) fn data_version(database: &Connection) -> rusqlite::Result<i64> {
    database.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Runs one of the statements that frame a transaction.
pub(crate) fn frame(database: &Connection, statement: &str) -> rusqlite::Result<()> {
    database.prepare_cached(statement)?.execute([]).map(drop)
}

/// What SQLite's own check finds, at most 100 lines; empty where all is well.
pub(crate) fn integrity(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare("PRAGMA integrity_check(100)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut lines: Vec<String> = lines.collect::<rusqlite::Result<_>>()?;
    lines.retain(|line| line != "ok");
    Ok(lines)
}

/// Why a write failed.
pub(crate) fn append_error(error: &rusqlite::Error) -> AppendError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => AppendError::Busy,
        _ => {
            let (message, source) = words(error);
            AppendError::Io { message, source }
        }
    }
}

/// Why a read failed.
pub(crate) fn read_error(error: &rusqlite::Error) -> ReadError {
    let (message, source) = words(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ReadError::Damaged { message }
        }
        // A column of another type than the one that was written, or a missing table.
        None | Some(ErrorCode::Unknown) => ReadError::Damaged { message },
        _ => ReadError::Io { message, source },
    }
}

/// What SQLite said, for people, and as an error of the system.
pub(crate) fn words(error: &rusqlite::Error) -> (Arc<str>, Arc<io::Error>) {
    let code = match error {
        rusqlite::Error::SqliteFailure(code, _) => Some(code.extended_code),
        _ => None,
    };
    let kind = match error.sqlite_error_code() {
        _ if code == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => io::ErrorKind::StorageFull,
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        Some(ErrorCode::PermissionDenied) => io::ErrorKind::PermissionDenied,
        Some(ErrorCode::DatabaseBusy) => io::ErrorKind::ResourceBusy,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    let message = match (kind, code.and_then(extended)) {
        (_, Some(detail)) => format!("{detail}: {error}"),
        (io::ErrorKind::StorageFull, None) => "the disk is full".to_owned(),
        (_, None) => error.to_string(),
    };
    (message.into(), Arc::new(io::Error::new(kind, error.to_string())))
}

/// Which call it was that the device failed.
fn extended(code: i32) -> Option<&'static str> {
    use rusqlite::ffi;
    Some(match code {
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => {
            "what was written could not be brought to the disk"
        }
        ffi::SQLITE_IOERR_WRITE => "the disk could not be written",
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => "the disk could not be read",
        // It is made larger by writing to it.
        ffi::SQLITE_IOERR_SHMSIZE => "the disk has no room for the memory that processes share",
        ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMMAP | ffi::SQLITE_IOERR_SHMLOCK => {
            "the file system has no memory to share"
        }
        _ => return None,
    })
}
