//! The record of one owner, as a file that outlives it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::PidFileError;
use crate::record::{Entry, Pipes, Record};

/// Records the processes that an owner has started, so that whoever comes after it can end those
/// it left behind (PROC-007): see [`Spawner::recording`](crate::Spawner::recording) and
/// [`end_leftovers`](crate::end_leftovers). A clone is the same file.
///
/// It is locked as long as its owner lives, so nobody takes running processes for leftovers. It is
/// never synced: it needs to outlive its owner, not the system. When the last handle and the last
/// process are gone it is removed.
///
/// ```
/// use holdpoint_core::Cancel;
/// use holdpoint_process::{Command, Line, PidFile, RunOptions, Spawner, Stream, end_leftovers};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("run-7.pids");
/// let left = end_leftovers(&path, Duration::from_secs(5)).await?;
/// assert!(left.ended.is_empty(), "nobody was here before");
///
/// let spawner = Spawner::new()?.recording(&PidFile::create(&path)?);
/// let mut sink = |_: Stream, _: Line<'_>| assert!(path.exists());
/// let hello = Command::shell("/", ["echo hello"]);
/// spawner.run(&hello, &mut sink, &Cancel::new(), RunOptions::default()).await?;
/// drop(spawner);
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PidFile(Arc<Named>);

/// A line of the file. The file stays as long as there is one.
#[derive(Debug)]
pub(crate) struct FileEntry {
    entry: Entry,
    _file: Arc<Named>,
}

/// Removes its file when it is dropped, before that is closed and with it unlocked.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    record: Record,
}

impl PidFile {
    /// Makes the file, which may not exist, and locks it. Its folder must exist.
    ///
    /// # Errors
    /// [`PidFileError::Exists`] where an owner runs or has left something: end the leftovers
    /// first. [`PidFileError::Io`] where the system refuses.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, PidFileError> {
        let path = path.into();
        loop {
            let file = match File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(PidFileError::Exists { path });
                }
                Err(source) => return Err(PidFileError::Io { path, source }),
            };
            let is_ours = file.lock().and_then(|()| is_at(&file, &path));
            match is_ours {
                Ok(true) => return Ok(Self(Arc::new(Named { path, record: Record::new(file) }))),
                // Somebody who looks for leftovers came between, found none and removed it.
                Ok(false) => {}
                Err(source) => return Err(PidFileError::Io { path, source }),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn enter(&self, pipes: Pipes) -> io::Result<FileEntry> {
        let entry = self.0.record.enter(pipes)?;
        Ok(FileEntry { entry, _file: self.0.clone() })
    }
}

impl FileEntry {
    pub(crate) fn started(&self, leader: (u32, u64)) {
        self.entry.started(leader);
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the path still means this open file.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let opened = file.metadata().map(identity)?;
    match fs::metadata(path).map(identity) {
        Ok(named) => Ok(named == opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
