//! From `-C` and `-f` to the manifest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdpoint::manifest::{FindError, Manifest, find};

use crate::args::Common;
use crate::failure::Failure;
use crate::text::word;

/// The folder of the store, beside the manifest.
const STORE: &str = ".holdpoint";

/// The manifest that is meant.
pub(crate) fn load(common: &Common) -> Result<Arc<Manifest>, Failure> {
    let path = common.manifest()?;
    tracing::info!("reading {}", path.display());
    Manifest::load(&path).map(Arc::new).map_err(Failure::Load)
}

impl Common {
    /// Where the manifest that is meant lies.
    pub(crate) fn manifest(&self) -> Result<PathBuf, Failure> {
        Ok(match (&self.directory, &self.file) {
            (None, Some(file)) => file.clone(),
            (None, None) => nearby(find(Path::new(".")).map_err(Failure::Find)?),
            (Some(_), Some(file)) => nearby(self.path(file)?),
            (Some(_), None) => nearby(find(&self.path(Path::new(""))?).map_err(Failure::Find)?),
        })
    }

    /// A path as it is meant where a command line names it: from the folder of `-C`.
    pub(crate) fn path(&self, path: &Path) -> Result<PathBuf, Failure> {
        let Some(directory) = &self.directory else { return Ok(path.to_owned()) };
        let start = directory.canonicalize();
        let start = start.map_err(|error| Failure::Directory(directory.clone(), error))?;
        if start.is_dir() {
            return Ok(start.join(path));
        }
        Err(Failure::Directory(directory.clone(), std::io::ErrorKind::NotADirectory.into()))
    }

    /// The folder of the store that is meant.
    pub(crate) fn store_folder(&self) -> Result<PathBuf, Failure> {
        match &self.store {
            Some(folder) => Ok(nearby(self.path(folder)?)),
            None => match self.manifest() {
                Ok(manifest) => Ok(manifest.with_file_name(STORE)),
                // Where the manifest has gone, its runs are there all the same.
                Err(failure @ Failure::Find(FindError::NotFound { .. })) => {
                    self.store_nearby().ok_or(failure)
                }
                Err(failure) => Err(failure),
            },
        }
    }

    /// The nearest store here or in a folder above.
    fn store_nearby(&self) -> Option<PathBuf> {
        let start = self.path(Path::new("")).ok()?;
        let start =
            std::path::absolute(if start.as_os_str().is_empty() { Path::new(".") } else { &start });
        let folders = start.ok()?;
        let mut stores = folders.ancestors().map(|folder| folder.join(STORE));
        stores.find(|store| store.is_dir()).map(nearby)
    }

    /// The program with a command and the flags that lead to the same manifest and store: for help.
    pub(crate) fn again(&self, command: &str) -> String {
        let mut words = vec!["holdpoint".to_owned()];
        words.extend((!command.is_empty()).then(|| command.to_owned()));
        let paths = [("-C", &self.directory), ("-f", &self.file), ("--store", &self.store)];
        for (flag, path) in paths {
            words.extend(path.iter().map(|path| format!("{flag} {}", word(path))));
        }
        words.join(" ")
    }
}

/// As messages show it: from the working directory, where it lies below.
pub(crate) fn nearby(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or(path)
}
