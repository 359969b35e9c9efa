//! `holdpoint store`: a store looked at, exported and pruned, apart from any run.

mod check;
mod export;
mod prune;

use std::path::PathBuf;

use holdpoint::run::Ending;
use holdpoint::store::{FileOptions, FileStore};

use crate::args::{Common, StoreArgs, StoreCommand};
use crate::failure::Failure;
use crate::text::plain;

/// Does what is asked for with the store that is meant.
pub(crate) fn store(common: &Common, args: &StoreArgs) -> Result<Ending, Failure> {
    let place = Place::of(common)?;
    match &args.command {
        StoreCommand::Check(args) => check::check(&place, args),
        StoreCommand::Export(args) => export::export(&place, args),
        StoreCommand::Prune(args) => prune::prune(&place, args),
    }
}

/// Where the store is.
struct Place<'a> {
    folder: PathBuf,
    common: &'a Common,
}

impl<'a> Place<'a> {
    fn of(common: &'a Common) -> Result<Self, Failure> {
        Ok(Self { folder: common.store_folder()?, common })
    }

    /// Opens the store to look at it.
    fn open_to_read(&self) -> Result<FileStore, Failure> {
        self.open(FileOptions::new().read_only())
    }

    /// Opens the store to change it. It must be there.
    fn open_to_write(&self) -> Result<FileStore, Failure> {
        self.open(FileOptions::new().create(false))
    }

    fn open(&self, options: FileOptions) -> Result<FileStore, Failure> {
        tracing::info!("opening the store in {}", self.folder.display());
        FileStore::open(&self.folder, options).map_err(Failure::Open)
    }

    /// The folder, for messages.
    fn name(&self) -> String {
        plain(&self.folder.display().to_string())
    }

    /// The program with another command for the same store: for help.
    fn again(&self, command: &str) -> String {
        self.common.again(&format!("store {command}"))
    }
}
