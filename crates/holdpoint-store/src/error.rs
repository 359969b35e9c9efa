//! Why a store cannot be opened.

use std::io;
use std::path::PathBuf;

use holdpoint_core::Retryable;

use crate::place::PlaceError;

/// Why a store cannot be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no store, and none was to be made.
    #[error("there is no store in {}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be one of a store.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The file is none of ours.
    #[error("{} is not a Holdpoint store: {what}; move it away or choose another folder", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The file was written by a newer version (CORE-010).
    #[error(
        "{} has version {found} of the format, and this program knows only up to {known}; use a \
         newer one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest we know.
        known: u32,
    },
    /// The file is of an older version, and other processes have it open, so that it cannot be
    /// brought up to date.
    #[error(
        "{} has version {found} of the format and is brought up to date to {known} by the first \
         who opens it, but another process has it open; end that first", path.display()
    )]
    OlderInUse {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version it would get.
        known: u32,
    },
    /// The log of the latest commits is damaged in its middle: commits after the damage were
    /// acknowledged, and opening the database would drop them without a word (STORE-005).
    #[error(
        "{} is damaged at frame {frame} of {frames}: {commits} later commits cannot be read. \
         Nothing was changed. Copy the folder; then bring back a copy of that file from before \
         the damage, or move it away to go on with the state before its {frames} frames",
        path.display()
    )]
    DamagedLog {
        /// The file of the log.
        path: PathBuf,
        /// The first damaged frame, from 1.
        frame: u64,
        /// How many frames there are.
        frames: u64,
        /// How many commits lie behind the damage.
        commits: u64,
    },
    /// The file is damaged.
    #[error("{} is damaged: {what}; bring back a copy from before the damage", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another program keeps the database locked.
    #[error("{} is locked by another program", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What could not be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's own word.
        source: io::Error,
    },
}

impl Retryable for OpenError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::OlderInUse { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::Interrupted,
            _ => false,
        }
    }
}
