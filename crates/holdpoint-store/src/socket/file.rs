//! A socket's name in the file system.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The name of a bound socket, removed when dropped, unless it became another's meanwhile.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a socket by `bind` and makes it ours alone.
    ///
    /// The path must be nobody else's: a socket that lies there is taken for one that was left
    /// behind, and removed. Anything else that lies there is an error.
    pub(crate) fn bind<S>(
        path: &Path,
        bind: impl Fn(&Path) -> io::Result<S>,
    ) -> io::Result<(S, Self)> {
        let socket = match bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_socket(path) => {
                fs::remove_file(path)?;
                bind(path)
            }
            bound => bound,
        }?;
        let found = fs::symlink_metadata(path)?;
        let file = Self { path: path.to_owned(), identity: (found.dev(), found.ino()) };
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok((socket, file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
