//! Runs a plan once, with nothing kept: for those who need no more.

use crate::error::RunError;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::report::RunEnd;
use crate::runs::run_once;

/// Runs a plan to its end: every task has its outcome, and no process of it is left.
///
/// Tasks that fail are no error; [`RunEnd`] tells of them. Needs a tokio runtime with its time
/// and I/O drivers.
///
/// ```
/// use std::sync::Arc;
/// use holdpoint_manifest::Manifest;
/// use holdpoint_run::{Ending, Plan, RunOptions, Targets, run};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("holdpoint.yaml");
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let manifest = Manifest::parse(path, "tasks: { build: 'true', test: { needs: build, run: exit 3 } }")?;
/// let plan = Plan::new(Arc::new(manifest), &Targets::All, None)?;
/// let end = run(&plan, RunOptions::default()).await?;
/// assert_eq!(end.report().map(|report| report.counts().fresh), Some(1));
/// assert_eq!(end.ending(None), Ending::Failed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`RunError`], where no task could be started.
///
/// # Cancel safety
/// Dropping the future kills the processes that run, and no further event is told: for an end in
/// order fire the token of [`RunOptions::cancel`].
pub async fn run(plan: &Plan, options: RunOptions) -> Result<RunEnd, RunError> {
    run_once(plan, options).await
}
