//! The store of a workspace, and the runs in it.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdpoint::manifest::Manifest;
use holdpoint::run::{Plan, Planned, RunInfo, Targets, find_run, planned};
use holdpoint::store::{FileOptions, FileStore, Store};

use crate::args::{Common, RunName};
use crate::console::Console;
use crate::failure::Failure;
use crate::load::nearby;

/// A store that is open.
pub(crate) struct Workspace {
    store: Arc<FileStore>,
    folder: PathBuf,
}

impl Workspace {
    /// The store that is meant, which must be there.
    pub(crate) fn open(common: &Common) -> Result<Self, Failure> {
        Self::with(common, FileOptions::new().create(false))
    }

    /// The same, to look at it.
    pub(crate) fn open_to_read(common: &Common) -> Result<Self, Failure> {
        Self::with(common, FileOptions::new().read_only())
    }

    /// The store that is meant, made where it is not there.
    pub(crate) fn open_or_make(common: &Common) -> Result<Self, Failure> {
        let workspace = Self::with(common, FileOptions::new())?;
        let ignore = workspace.folder.join(".gitignore");
        if !ignore.exists() {
            // A convenience, and not worth failing for.
            let _ = fs::write(ignore, "*\n");
        }
        Ok(workspace)
    }

    fn with(common: &Common, options: FileOptions) -> Result<Self, Failure> {
        let folder = common.store_folder()?;
        tracing::info!("opening the store in {}", folder.display());
        let store = Arc::new(FileStore::open(&folder, options).map_err(Failure::Open)?);
        Ok(Self { store, folder })
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The run that is meant.
    pub(crate) fn find(&self, name: &RunName) -> Result<RunInfo, Failure> {
        find_run(&*self.store, &name.run).map_err(Failure::FindRun)
    }

    /// With what a run was planned.
    pub(crate) fn planned(&self, run: &RunInfo) -> Result<Planned, Failure> {
        Ok(planned(&self.store(), run.id)?)
    }

    /// What a run was to do, as its manifest said when it was planned.
    pub(crate) fn plan_of(&self, run: &RunInfo, jobs: Option<NonZeroU32>) -> Result<Plan, Failure> {
        let Planned { path, text, targets, .. } = self.planned(run)?;
        let manifest = Manifest::parse(path, &text);
        let manifest = manifest.map_err(holdpoint::manifest::LoadError::Invalid);
        let manifest = Arc::new(manifest.map_err(Failure::Load)?);
        Ok(Plan::new(manifest, &Targets::Named(targets), jobs)?)
    }

    /// What a run is to do, as its manifest says now.
    pub(crate) fn plan_as_it_is(
        &self,
        run: &RunInfo,
        jobs: Option<NonZeroU32>,
    ) -> Result<Plan, Failure> {
        let Planned { path, targets, .. } = self.planned(run)?;
        let manifest = Arc::new(Manifest::load(&nearby(path)).map_err(Failure::Load)?);
        Ok(Plan::new(manifest, &Targets::Named(targets), jobs)?)
    }

    /// Says where the manifest is not what the run was planned with (RUN-005).
    pub(crate) fn tell_of_change(&self, console: &Console, run: &RunInfo) {
        if run.is_owned || run.state.is_terminal() {
            // It does not go on, and that is all there is to say.
            return;
        }
        let Ok(planned) = self.planned(run) else { return };
        let name = nearby(planned.path.clone());
        let word = match fs::read_to_string(&planned.path) {
            Ok(text) if text == *planned.text => return,
            Ok(_) => "has changed since",
            Err(_) => "cannot be read any more",
        };
        console.say(&format!(
            "note: {} {word}; the run goes on with what it was planned with",
            name.display()
        ));
    }

    /// Runs this on a runtime of one thread: the work is done by other processes, and they are
    /// started by threads of the spawner.
    pub(crate) fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::Runtime)?;
        let result = runtime.block_on(work);
        // A thread may still wait for what is typed at the terminal.
        runtime.shutdown_background();
        // What is on its way to the disk arrives there before the program ends.
        let closed = self.store.close().wait().map_err(Failure::Append);
        let value = result?;
        closed.map(|()| value)
    }
}
