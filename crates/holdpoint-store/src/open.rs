//! Before a store is used: whether there is one, whose it is, and whether its log can be trusted.
//!
//! # Invariants
//! 1. One at a time comes through the door. Whoever finds that nobody has the store open looks at all
//!    that can be seen from outside, before SQLite does.
//! 2. What another program or a newer version has written is not touched.
//! 3. The database gets its name when it is whole and on the disk, and so are the names of the folders
//!    above it.
//!
//! # Locks
//! Files in the store's folder, taken in this order: `door.lock`, while a store is opened; `open.lock`,
//! shared, as long as it is open, and exclusive by who is alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use holdpoint_core::store::{AppendError, ReadError};

use crate::error::OpenError;
use crate::file::DATABASE;
use crate::log::{self, Log};
use crate::options::{FileOptions, Sync};
use crate::sqlite::{self, schema};

/// Says that the log may have gaps after a power cut, since not each commit was brought to the disk.
const RELAXED: &str = "relaxed";

/// Makes sure that the database is there, ours, of this version, and sound as far as one can see
/// from outside. Whoever is alone looks at the log too. Gives the lock that says that we are here.
pub(crate) fn enter(folder: &Path, options: &FileOptions) -> Result<(File, Log), OpenError> {
    // Who comes waits here until the one before is in, or refused, or dead. So whoever is alone has
    // looked at everything before the next comes, and where it could not, the next does.
    let door = lock_file(folder, "door.lock")?;
    wait_for(&door).map_err(io_error("cannot lock", &folder.join("door.lock")))?;
    let open = lock_file(folder, "open.lock")?;
    let mut log = Log::default();
    let path = folder.join("open.lock");
    let is_alone = match open.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => {
            open.lock_shared().map_err(io_error("cannot lock", &path))?;
            false
        }
        Err(fs::TryLockError::Error(error)) => return Err(io_error("cannot lock", &path)(error)),
    };
    let database = folder.join(DATABASE);
    if is_alone && options.create && !database.exists() {
        create(folder, &database)?;
    }
    // Before anything is touched: what a newer version has written, or another program, stays as it
    // is.
    let version = version(&database)?;
    if version > schema::VERSION {
        let known = schema::VERSION;
        return Err(OpenError::Newer { path: database, found: version, known });
    }
    if is_alone {
        if folder.join(RELAXED).exists() {
            settle(folder, &database, options)?;
        } else {
            log = check_log(folder)?;
        }
    }
    if log.has_rest && !options.read_only {
        // Where that fails, so will the next write, and that is told.
        let _ = begin_log(folder, &database);
    }
    if version < schema::VERSION {
        if !is_alone || options.read_only {
            let (found, known) = (version, schema::VERSION);
            return Err(OpenError::OlderInUse { path: database, found, known });
        }
        migrate(&database, version)?;
    }
    mark_relaxed(folder, options)?;
    if is_alone {
        open.lock_shared().map_err(io_error("cannot lock", &path))?;
    }
    Ok((open, log))
}

/// Waits for a lock file, however many signals come.
fn wait_for(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(crate) fn lock_file(folder: &Path, name: &str) -> Result<File, OpenError> {
    let path = folder.join(name);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error("cannot open", &path))
}

/// Makes the database under another name and gives it its own when it is whole: whoever finds it
/// finds all of it, after a power cut too.
fn create(folder: &Path, database: &Path) -> Result<(), OpenError> {
    // SQLite would take what it says for the new database's.
    let log = folder.join(format!("{DATABASE}-wal"));
    if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        let what = format!("it is the log of {DATABASE}, which is not there");
        return Err(OpenError::Damaged { path: log, what });
    }
    let new = folder.join("holdpoint.db.new");
    for leftover in [new.clone(), folder.join("holdpoint.db.new-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("cannot remove", &leftover)(error));
            }
            _ => {}
        }
    }
    let id = holdpoint_core::SessionId::generate().to_string();
    sqlite::create(&new, &id).map_err(|error| open_error(&new, &error))?;
    // The names of the folders above must outlast a power cut as well, and some of them may be new.
    // That comes before the database has its name: whoever finds it need not do it again.
    for (steps, above) in folder.ancestors().enumerate().skip(1) {
        match File::open(above).and_then(|above| above.sync_all()) {
            // What may not be read was there before.
            Err(error) if steps == 1 && error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(io_error("cannot bring to the disk", above)(error));
            }
            _ => {}
        }
    }
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, database))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error("cannot make", database))
}

/// Looks at the log, and brings it to the disk: of a process that was killed the last commit may lie
/// in it that is not there yet, and nobody is to see what a power cut can take away.
fn check_log(folder: &Path) -> Result<Log, OpenError> {
    let path = folder.join(format!("{DATABASE}-wal"));
    let log = log::read(&path).map_err(io_error("cannot read", &path))?;
    if let Some((frame, commits)) = log.damage {
        return Err(OpenError::DamagedLog { path, frame, frames: log.frames, commits });
    }
    if log.usable > 0 {
        File::open(&path)
            .and_then(|file| file.sync_data())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(io_error("cannot bring to the disk", &path))?;
    }
    Ok(log)
}

/// The version of a file, read without touching it.
fn version(path: &Path) -> Result<u32, OpenError> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let foreign = |what: &str| OpenError::Foreign { path: path.to_owned(), what: what.to_owned() };
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(foreign("it is too short to be a database"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = path.parent().unwrap_or(path).to_owned();
            return Err(OpenError::Missing { path });
        }
        Err(error) => return Err(io_error("cannot read", path)(error)),
    }
    let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it is no SQLite database"));
    }
    if word(68) != schema::APPLICATION_ID {
        return Err(foreign("it is a database of another program"));
    }
    Ok(word(60))
}

fn migrate(path: &Path, from: u32) -> Result<(), OpenError> {
    let pages = Arc::new(AtomicU32::new(0));
    sqlite::open_writer(path, Sync::Full, pages)
        .and_then(|database| {
            schema::migrate(&database, from, &schema::MIGRATIONS)?;
            // The version is read from the file itself.
            sqlite::checkpoint(&database)
        })
        .map_err(|error| open_error(path, &error))
}

/// Remembers that commits may be missing in the middle of the log after a power cut, until
/// [`settle`].
fn mark_relaxed(folder: &Path, options: &FileOptions) -> Result<(), OpenError> {
    let path = folder.join(RELAXED);
    if options.sync == Sync::Relaxed && !options.read_only && !path.exists() {
        File::create(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(io_error("cannot make", &path))?;
    }
    Ok(())
}

/// Ends the time in which commits may be missing, where every commit is brought to the disk from now
/// on. Only for who has the store alone.
fn settle(folder: &Path, database: &Path, options: &FileOptions) -> Result<(), OpenError> {
    if options.sync == Sync::Relaxed || options.read_only {
        return Ok(());
    }
    begin_log(folder, database)?;
    let mark = folder.join(RELAXED);
    fs::remove_file(&mark)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error("cannot remove", &mark))
}

/// Writes all of the log back and ends it, so that nothing of it comes again after a power cut. Only
/// for who has the store alone.
fn begin_log(folder: &Path, database: &Path) -> Result<(), OpenError> {
    sqlite::write_all_back(database).map_err(|error| open_error(database, &error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("cannot bring to the disk", folder))
}

pub(crate) fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite::append_error(error) {
        AppendError::Busy => OpenError::Busy { path },
        AppendError::Io { message, source } if source.kind() == io::ErrorKind::InvalidData => {
            OpenError::Damaged { path, what: message.to_string() }
        }
        AppendError::Io { message, source } => {
            let source = io::Error::new(source.kind(), message.to_string());
            OpenError::Io { what: "cannot open", path, source }
        }
        other => OpenError::Damaged { path, what: other.to_string() },
    }
}

pub(crate) fn damaged(path: &Path, error: &ReadError) -> OpenError {
    let path = path.to_owned();
    match error {
        ReadError::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
            OpenError::Busy { path }
        }
        ReadError::Io { message, source } => {
            let source = io::Error::new(source.kind(), message.to_string());
            OpenError::Io { what: "cannot read", path, source }
        }
        ReadError::Damaged { message } => OpenError::Damaged { path, what: message.to_string() },
        other => OpenError::Damaged { path, what: other.to_string() },
    }
}

pub(crate) fn io_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}
