//! Where things may lie: the store on a file system that keeps what it promises (STORE-010), and
//! sockets in a folder that is ours alone.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use holdpoint_core::Retryable;
use rustix::fs::Access;

/// The most bytes of a socket's path.
const SOCKET_PATH_LIMIT: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103 // BSD and its kin.
};

/// The lock that a writer holds, on which locks are tried out.
const PROBE: &str = "write.lock";

/// Why a folder is no place for a store, or for its sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// There is something else.
    #[error("{} is not a folder; choose another place for the store by --store DIR or HOLDPOINT_STORE", path.display())]
    NotAFolder {
        /// What was to be the folder.
        path: PathBuf,
    },
    /// The folder, or a file in it, cannot be read and written.
    #[error(
        "{} cannot be {what}: {source}; the store needs a folder that this user can read and \
         write: choose one by --store DIR or HOLDPOINT_STORE", path.display()
    )]
    Denied {
        /// The folder or file.
        path: PathBuf,
        /// What cannot be done with it.
        what: &'static str,
        /// The system's own word.
        source: io::Error,
    },
    /// The file system is one of a network or of another machine. Its locks and its shared memory
    /// do not reach everybody who sees the files.
    #[error(
        "{} lies on {name}, where locks and shared memory cannot be relied on; keep the store on \
         a local disk: choose one by --store DIR or HOLDPOINT_STORE", path.display()
    )]
    FileSystem {
        /// The folder.
        path: PathBuf,
        /// The file system's name.
        name: &'static str,
    },
    /// Locks do not work here.
    #[error(
        "the file system of {} has no working locks ({why}); keep the store on a local disk: \
         choose one by --store DIR or HOLDPOINT_STORE", path.display()
    )]
    NoLocks {
        /// The file that was to be locked.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// There is no safe folder for sockets.
    #[error(
        "sockets cannot lie in {}: {why}; remove it, or set XDG_RUNTIME_DIR to a folder of yours \
         with mode 0700", path.display()
    )]
    NoRuntimeFolder {
        /// The last folder that was tried.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A socket's path is longer than the system can take.
    #[error(
        "the path of a socket has {length} bytes, and the system takes {limit}: {}; set \
         XDG_RUNTIME_DIR to a folder of yours with mode 0700 and a short path", path.display()
    )]
    LongSocketPath {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The most.
        limit: usize,
    },
}

impl Retryable for PlaceError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// Whether a store can be kept in this folder. Leaves the file of the writer's lock there, which
/// every store has.
pub(crate) fn check(folder: &Path) -> Result<(), PlaceError> {
    let denied = |what, source| PlaceError::Denied { path: folder.to_owned(), what, source };
    let metadata = fs::metadata(folder).map_err(|error| denied("found", error))?;
    if !metadata.is_dir() {
        return Err(PlaceError::NotAFolder { path: folder.to_owned() });
    }
    if let Some(name) = file_system(folder).and_then(refusal) {
        return Err(PlaceError::FileSystem { path: folder.to_owned(), name });
    }
    rustix::fs::access(folder, Access::READ_OK | Access::EXEC_OK)
        .map_err(|errno| denied("read", errno.into()))?;
    rustix::fs::access(folder, Access::WRITE_OK)
        .map_err(|errno| denied("written to", errno.into()))?;
    try_locks(&folder.join(PROBE))
}

/// Where the socket with this name is to lie. Makes the folder.
///
/// That is in `$XDG_RUNTIME_DIR/holdpoint`, where that variable names a folder that is ours alone,
/// and the path is not too long; else in `/tmp/holdpoint-<uid>`.
pub(crate) fn socket_path(name: &str) -> Result<PathBuf, PlaceError> {
    let session = std::env::var_os("XDG_RUNTIME_DIR");
    let uid = rustix::process::geteuid().as_raw();
    find_socket_path(name, session.as_deref(), Path::new("/tmp"), uid)
}

/// The same for a given surrounding.
pub(crate) fn find_socket_path(
    name: &str,
    session: Option<&OsStr>,
    common: &Path,
    uid: u32,
) -> Result<PathBuf, PlaceError> {
    if let Some(path) = session.and_then(|session| in_session(name, Path::new(session), uid)) {
        return Ok(path);
    }
    let folder = common.join(format!("holdpoint-{uid}"));
    let path = folder.join(name);
    let (length, limit) = (path.as_os_str().len(), SOCKET_PATH_LIMIT);
    if length > limit {
        return Err(PlaceError::LongSocketPath { path, length, limit });
    }
    match make_private(&folder, uid) {
        Ok(()) => Ok(path),
        Err(why) => Err(PlaceError::NoRuntimeFolder { path: folder, why }),
    }
}

/// The name of a file system that is refused, by the number that the system has for its kind.
pub(crate) const fn refusal(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFE53_4D42 => "SMB",
        0xFF53_4D42 => "CIFS",
        0x0102_1997 => "9p",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        _ => return None,
    })
}

/// The kind of a folder's file system, `None` where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system(folder: &Path) -> Option<u32> {
    // A number of 32 bits, whatever the width and the sign of the field.
    rustix::fs::statfs(folder).ok().map(|found| found.f_type as u32)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn file_system(_: &Path) -> Option<u32> {
    None
}

/// Whether a lock keeps out who opened the file for itself.
fn try_locks(path: &Path) -> Result<(), PlaceError> {
    let open = || {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| PlaceError::Denied { path: path.to_owned(), what: "opened", source })
    };
    let broken = |why: String| PlaceError::NoLocks { path: path.to_owned(), why };
    let is_free = |file: &File| match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(broken(error.to_string())),
    };
    let (one, other) = (open()?, open()?);
    // Where somebody else has it, it keeps us out, and that is all there is to know.
    if is_free(&one)? && is_free(&other)? {
        return Err(broken("a lock does not keep others out".to_owned()));
    }
    Ok(())
}

/// The path in the folder of the user's session, where that is fit.
fn in_session(name: &str, session: &Path, uid: u32) -> Option<PathBuf> {
    let folder = session.join("holdpoint");
    let path = folder.join(name);
    // It stands on a card in JSON, hence text.
    let is_fit =
        session.is_absolute() && path.to_str().is_some_and(|path| path.len() <= SOCKET_PATH_LIMIT);
    (is_fit && is_private(session, uid).is_ok() && make_private(&folder, uid).is_ok())
        .then_some(path)
}

/// Makes a folder that is ours alone, or finds that it is.
fn make_private(folder: &Path, uid: u32) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("it cannot be made: {error}"))
        }
        _ => is_private(folder, uid),
    }
}

/// Whether a folder is ours alone; else why not.
fn is_private(folder: &Path, uid: u32) -> Result<(), String> {
    let found = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if found.is_symlink() {
        return Err("it is a symbolic link".to_owned());
    }
    if !found.is_dir() {
        return Err("it is not a folder".to_owned());
    }
    if found.uid() != uid {
        return Err(format!("it belongs to user {}, not to {uid}", found.uid()));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others may use it (mode {mode:04o})"));
    }
    Ok(())
}
