//! Runs a plan: the graph over the commands, with every event recorded.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;

use holdpoint_core::SessionId;
use holdpoint_core::session::{BodyEnd, Failure};
use holdpoint_graph::{RunOptions as GraphOptions, TaskEvent};
use holdpoint_process::{Environment, Spawner};

use crate::commands::Commands;
use crate::error::RunError;
use crate::events::Recorder;
use crate::logs::Logs;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::report::{RunEnd, body_end};

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
/// assert_eq!(end.report().counts().fresh, 1);
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
    let RunOptions { on_failure, cancel, kill, holds, clock, sinks, output, .. } = options;
    let session = options.session.unwrap_or_else(SessionId::generate);
    let spawner = options.spawner.map_or_else(Spawner::new, Ok)?;
    let began = clock.monotonic();
    let recorder = Arc::new(Recorder::begin(plan.clone(), session, Arc::clone(&clock), sinks));
    let commands = Commands {
        plan: plan.clone(),
        session,
        spawner,
        caller: options.caller.unwrap_or_else(Environment::of_this_process),
        options: options.process,
        kill,
        logs: Logs::new(plan.manifest().root(), session),
        recorder: Arc::clone(&recorder),
        output,
    };
    let graph_options = GraphOptions::default()
        .limits(plan.limits().clone())
        .on_failure(on_failure)
        .cancel(cancel.clone())
        .holds(holds)
        .label(session.to_string())
        // The process layer ends what does not end by itself.
        .grace(None)
        .clock(Arc::clone(&clock))
        .seed(RandomState::new().hash_one(session))
        .observer(|event: &TaskEvent| recorder.task(event));
    let result = {
        let mut requested = false;
        let mut running = pin!(holdpoint_graph::run(plan.topology(), &commands, graph_options));
        loop {
            tokio::select! {
                biased;
                cause = cancel.cancelled(), if !requested => {
                    requested = true;
                    recorder.cancel_requested(&cause);
                }
                result = &mut running => break result,
            }
        }
    };
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            recorder.end(BodyEnd::Failed(Failure::from_error(error.clone(), false)));
            return Err(error.into());
        }
    };
    if let Some(panic) = report.observer_panic() {
        tracing::error!("{panic}");
    }
    let state = recorder.end(body_end(&report, cancel.cause()));
    let logs = commands.logs.close();
    Ok(RunEnd { session, report, state, elapsed: clock.monotonic() - began, logs })
}
