//! The file that keeps all output.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// A log file that is made at the first byte. After a failed write it takes nothing more, so
/// that what it holds is the beginning of the output without gaps.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    path: Option<&'a Path>,
    state: State,
}

#[derive(Debug)]
enum State {
    Untouched,
    Open(File),
    Failed(io::Error),
}

impl<'a> Log<'a> {
    pub(crate) fn new(path: Option<&'a Path>) -> Self {
        Self { path, state: State::Untouched }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let Some(path) = self.path else { return };
        if let State::Untouched = self.state {
            self.state = File::create(path).map_or_else(State::Failed, State::Open);
        }
        if let State::Open(file) = &mut self.state
            && let Err(error) = file.write_all(bytes)
        {
            self.state = State::Failed(error);
        }
    }

    /// The file and what went wrong with it, if anything did.
    pub(crate) fn failure(self) -> Option<(&'a Path, io::Error)> {
        match self.state {
            State::Failed(error) => self.path.map(|path| (path, error)),
            State::Untouched | State::Open(_) => None,
        }
    }
}
