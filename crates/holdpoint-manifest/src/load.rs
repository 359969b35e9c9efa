//! A manifest from a file or a text.

use std::fs::{File, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdpoint_core::Retryable;

use crate::check::check;
use crate::diagnostic::{Diagnostic, Diagnostics, Kind};
use crate::faults::Faults;
use crate::location::Location;
use crate::model::Manifest;
use crate::read::{Draft, Reader};
use crate::source::Source;
use crate::yaml;

/// The largest manifest, in bytes: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// Why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is not a regular file, and is not read: a pipe may never answer, a device never end.
    #[error("cannot read {}: it is {found}, not a file", path.display())]
    NotAFile {
        /// What was to be read.
        path: PathBuf,
        /// What it is: "a folder", "a pipe".
        found: &'static str,
    },
    /// It is larger than [`MAX_BYTES`], and is not read.
    #[error("cannot read {}: a manifest has at most {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// What was to be read.
        path: PathBuf,
    },
    /// It could not be opened or read.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It was read and has faults.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

impl Retryable for LoadError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy)
            }
            Self::NotAFile { .. } | Self::TooLarge { .. } | Self::Invalid(_) => false,
        }
    }
}

impl Manifest {
    /// Reads and checks the manifest in the file `path`. Messages name the file as `path` does.
    ///
    /// # Errors
    /// [`LoadError::Invalid`] with all that was found, where the file could be read.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = read(path)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Self::parse(path, text)?),
            Err(error) => Err(not_utf8(path, &bytes, error.valid_up_to()).into()),
        }
    }

    /// Checks the manifest `text`. `path` is where it comes from; nothing is read from there.
    ///
    /// # Errors
    /// Everything that was found, sorted by place. Where the text is not YAML, that is the first
    /// such fault alone.
    pub fn parse(path: impl Into<PathBuf>, text: &str) -> Result<Self, Diagnostics> {
        let source = Arc::new(Source::new(path.into(), text));
        let mut reader = Reader::new(&source);
        let draft = read_draft(&source, &mut reader);
        reader.faults.finish()?;
        Ok(Self::new(source, draft.default, draft.limits, draft.tasks, draft.hooks))
    }
}

fn read_draft(source: &Arc<Source>, reader: &mut Reader<'_>) -> Draft {
    if source.text.len() > MAX_BYTES {
        let message = format!("a manifest has at most {MAX_BYTES} bytes");
        reader.faults.add(Kind::Syntax, Location::new(1, 1), message, || None);
        return Draft::default();
    }
    hidden_order(source, &mut reader.faults);
    match yaml::parse(source) {
        Ok(root) => {
            let draft = reader.manifest(&root);
            check(&draft, &mut reader.faults);
            draft
        }
        Err(fault) => {
            reader.faults.push(fault);
            Draft::default()
        }
    }
}

/// Reports characters that make a line read otherwise than it runs: who looks at a command must
/// see that command. Written as escapes in double quotes they are allowed.
fn hidden_order(source: &Source, faults: &mut Faults<'_>) {
    let reorders = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    for (offset, found) in source.text.match_indices(reorders).take(Diagnostics::MAX) {
        let code = found.escape_unicode();
        let message = format!("the character {code} would hide in which order this line reads");
        let help = "where it is meant, write it as an escape in double quotes, as in `\"\\u202e\"`";
        faults.add(Kind::Syntax, source.place(offset), message, || Some(help.into()));
    }
}

/// The bytes of a regular file within the cap. The file is looked at before it is opened, since
/// opening a pipe waits for its other end, and once more afterwards, since another may have taken
/// its place; no more than the cap is read, since a file may grow or not know its size.
fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Io { path: path.to_owned(), source };
    let too_large = || LoadError::TooLarge { path: path.to_owned() };
    regular(path, path.metadata().map_err(failed)?.file_type())?;
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    regular(path, metadata.file_type())?;
    if metadata.len() > MAX_BYTES as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn regular(path: &Path, kind: FileType) -> Result<(), LoadError> {
    if kind.is_file() {
        return Ok(());
    }
    Err(LoadError::NotAFile { path: path.to_owned(), found: described(kind) })
}

fn described(kind: FileType) -> &'static str {
    if kind.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "something else"
}

fn not_utf8(path: &Path, bytes: &[u8], offset: usize) -> Diagnostics {
    let source = Arc::new(Source::new(path.to_owned(), &String::from_utf8_lossy(bytes)));
    // The bytes before the fault are the same in both, but for a byte order mark.
    let marked = bytes.starts_with("\u{feff}".as_bytes());
    let place = source.place(if marked { offset - '\u{feff}'.len_utf8() } else { offset });
    let message = format!("the byte 0x{:02x} at offset {offset} is not UTF-8", bytes[offset]);
    let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let help = wide.then(|| "the file looks like UTF-16: save it as UTF-8".to_owned());
    Diagnostics::one(Diagnostic::new(&source, Kind::Syntax, place, message, help))
}
