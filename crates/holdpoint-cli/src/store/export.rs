//! `holdpoint store export`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use holdpoint::run::Ending;
use holdpoint::store::{ExportError, Exported, FileStore};

use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::text::{counted, plain};

use super::Place;

/// Bytes that are written at a time.
const BUFFER: usize = 256 * 1024;

/// Writes everything as lines, and says on standard error what that was.
pub(super) fn export(place: &Place<'_>, args: &ExportArgs) -> Result<Ending, Failure> {
    let store = place.open_to_read()?;
    let is_stdout = args.to == Path::new("-");
    let exported = if is_stdout {
        write_lines(&store, io::stdout().lock(), Failure::Output)?
    } else {
        to_file(&store, &place.common.path(&args.to)?)?
    };
    tell(&exported);
    Ok(if exported.damaged.is_empty() { Ending::Succeeded } else { Ending::Failed })
}

/// Says on standard error what was written, and what could not be.
fn tell(exported: &Exported) {
    let mut text = String::new();
    for (_, error) in &exported.damaged {
        text += &plain(&format!("damaged: {error}"));
        text.push('\n');
    }
    text += &format!(
        "exported {}, {}, {}\n",
        counted(exported.streams, "stream", "streams"),
        counted(exported.events, "event", "events"),
        counted(exported.entries, "journal entry", "journal entries"),
    );
    // Who cannot be told cannot be told that either.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn write_lines(
    store: &FileStore,
    out: impl Write,
    failure: impl FnOnce(io::Error) -> Failure,
) -> Result<Exported, Failure> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    store.export(&mut out).map_err(|error| match error {
        ExportError::Read(error) => Failure::Read(error),
        ExportError::Write(error) => failure(error),
        other => failure(io::Error::other(other)),
    })
}

/// Writes a file under another name, which gets its own when it is whole. What is there and no
/// file, such as a pipe, is written to as it is.
fn to_file(store: &FileStore, path: &Path) -> Result<Exported, Failure> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lost = |error| Failure::ExportLost(path.clone(), error);
    let there = fs::metadata(&path).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let out = OpenOptions::new().write(true).open(&path);
        return write_lines(
            store,
            out.map_err(|error| Failure::Export(path.clone(), error))?,
            lost,
        );
    }
    let partial = Partial::new(&path).map_err(|error| Failure::Export(path.clone(), error))?;
    let exported = write_lines(store, &partial.file, lost)?;
    partial.finish(&path, there.map(|there| there.permissions())).map_err(lost)?;
    Ok(exported)
}

/// A file that is not whole yet. Dropped before that, it is removed.
struct Partial {
    file: File,
    path: PathBuf,
    is_whole: bool,
}

impl Partial {
    fn new(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut partial = name.to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let path = path.with_file_name(partial);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, is_whole: false })
    }

    fn finish(mut self, path: &Path, permissions: Option<fs::Permissions>) -> io::Result<()> {
        if let Some(permissions) = permissions {
            self.file.set_permissions(permissions)?;
        }
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(&self.path);
        }
    }
}
