//! Which file is the manifest.

use std::io;
use std::path::{Path, PathBuf};

use holdpoint_core::Retryable;

/// The names of a manifest, of which a folder has one.
pub const FILE_NAMES: [&str; 2] = ["holdpoint.yaml", "holdpoint.yml"];

/// Why no manifest was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Neither the folder nor one above it has a manifest.
    #[error("no holdpoint.yaml in {} or a folder above it", from.display())]
    NotFound {
        /// Where the search began.
        from: PathBuf,
    },
    /// A folder has two manifests, and nothing says which is meant.
    #[error("there are both {} and {}: one must go", first.display(), second.display())]
    Ambiguous {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A folder could not be looked into.
    #[error("cannot look for {}", path.display())]
    Io {
        /// What was looked for.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Retryable for FindError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// The manifest of `folder`: the file named `holdpoint.yaml` or `holdpoint.yml` in it, or in the
/// nearest folder above it that has one. The answer is absolute.
///
/// # Errors
/// [`FindError`], among them a folder that has both.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let inner = folder.path().join("src/deep");
/// std::fs::create_dir_all(&inner)?;
/// std::fs::write(folder.path().join("holdpoint.yaml"), "tasks: { hello: echo hello }")?;
///
/// assert_eq!(holdpoint_manifest::find(&inner)?, folder.path().join("holdpoint.yaml"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find(folder: &Path) -> Result<PathBuf, FindError> {
    let absolute = std::path::absolute(folder)
        .map_err(|source| FindError::Io { path: folder.to_owned(), source })?;
    for folder in absolute.ancestors() {
        let [first, second] = FILE_NAMES.map(|name| folder.join(name));
        match (is_there(&first)?, is_there(&second)?) {
            (true, true) => return Err(FindError::Ambiguous { first, second }),
            (true, false) => return Ok(first),
            (false, true) => return Ok(second),
            (false, false) => {}
        }
    }
    Err(FindError::NotFound { from: absolute })
}

/// Whether there is an entry of any sort: what is not a readable file is for `load` to refuse,
/// rather than to be passed over in silence.
fn is_there(path: &Path) -> Result<bool, FindError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(false)
        }
        Err(source) => Err(FindError::Io { path: path.to_owned(), source }),
    }
}
