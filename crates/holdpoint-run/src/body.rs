//! The graph of a plan as the body of a session.
//!
//! The body keeps a ledger (SESS-017): one record for each task that was executed, under its name.
//! What is recorded is not executed again, whoever goes on with the run. All else is found out
//! anew: caps, holds and conditions are what they are when the run goes on.
//!
//! # Invariants
//! 1. Whatever a start decides follows from the input, the ledger and the world, not from what an
//!    earlier start has seen.
//! 2. The session is let go of when no process of it runs and no end of a task is on its way to
//!    the disk.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdpoint_core::body::{BodyError, Ledger, OpKey, SessionContext, Terminal};
use holdpoint_core::event::Stream;
use holdpoint_core::store::Store;
use holdpoint_core::{
    BoxError, Cancel, CancelCode, CancelInfo, Clock, EventKind, SessionId, TaskName,
};
use holdpoint_graph::{
    EdgeKind, OnFailure, Outcome, Report, RunOptions as GraphOptions, Source, TaskEnd, TaskEvent,
    TaskId,
};
use holdpoint_hold::Holds;
use holdpoint_process::{
    Environment, PidFile, PidFileError, RunOptions as ProcessOptions, Spawner, end_leftovers,
};
use serde::{Deserialize, Serialize};

use crate::commands::{Busy, Commands};
use crate::durations::Durations;
use crate::events::{Recorder, ended};
use crate::input::{Again, Change, Recorded, RunInput, digest};
use crate::logs::Logs;
use crate::output::TaskOutput;
use crate::parked::Parked;
use crate::plan::Plan;
use crate::report::failure_of;

/// What stands in the ledger beside tasks: `@` is in no task's name.
pub(crate) const CHANGE: &str = "@change";

/// How long what an earlier start has left behind has to end by itself.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// How many events are read at a time.
const BATCH: usize = 1024;

/// What the runs of one process share.
pub(crate) struct Host {
    pub(crate) spawner: Spawner,
    /// The environment of whoever runs them.
    pub(crate) caller: Environment,
    pub(crate) process: ProcessOptions,
    pub(crate) holds: Holds,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) kill: Cancel,
    pub(crate) output: Arc<dyn TaskOutput>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) parked: Arc<Parked>,
    pub(crate) lives: Mutex<HashMap<SessionId, Life>>,
}

/// What concerns one run for as long as this process runs it.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) settings: Settings,
    /// What was made anew for an attempt that is about to begin.
    pub(crate) change: Option<Change>,
    /// How long its approvals wait, those that do not for ever.
    pub(crate) limits: HashMap<TaskName, Duration>,
    /// How it ended, or why its graph could not be run.
    pub(crate) finished: Option<Result<Finished, holdpoint_graph::RunError>>,
}

/// Settings of one life of a run, instead of those it was planned with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// How many slots there are.
    pub jobs: Option<NonZeroU32>,
    /// What a failure does to the rest.
    pub on_failure: Option<OnFailure>,
}

/// What is left of a run that has ended here.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) report: Report,
    pub(crate) elapsed: Duration,
    pub(crate) logs: Option<PathBuf>,
}

/// The output of a run's session: how many tasks ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct RunOutput {
    fresh: usize,
    cached: usize,
    skipped: usize,
    allowed: usize,
}

impl Host {
    pub(crate) fn lives(&self) -> MutexGuard<'_, HashMap<SessionId, Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What earlier starts of this attempt have told of the ends of tasks.
    fn told(&self, session: SessionId) -> HashMap<TaskName, &'static str> {
        let mut ended = HashMap::new();
        let Some(store) = &self.store else { return ended };
        let stream = Stream::Session(session);
        let mut after = 0;
        // What cannot be read was told once; told twice it does no harm.
        while let Ok(page) = store.events(&stream, after, BATCH) {
            let Some(last) = page.last() else { break };
            after = last.seq;
            for event in page.iter().filter_map(|event| event.event().ok()) {
                if let Some(task) = event.kind.ended_task() {
                    ended.insert(task.clone(), event.kind.name());
                } else if matches!(event.kind, EventKind::SessionPlanned { .. }) {
                    ended.clear();
                }
            }
        }
        ended
    }

    /// How long tasks have taken before.
    fn durations(&self) -> Durations {
        self.folder.as_deref().map(Durations::of).unwrap_or_default()
    }

    /// Keeps how long they have taken now. Without it the next run begins in another order, no more.
    fn keep_durations(&self, report: &Report) {
        let Some(folder) = &self.folder else { return };
        let mut durations = Durations::of(folder);
        durations.take_in(report);
        if let Err(error) = durations.keep(folder) {
            tracing::warn!("how long tasks have taken is not kept: {error}");
        }
    }

    /// Where log files go.
    fn folder(&self, plan: &Plan) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| plan.manifest().root().join(".holdpoint"))
    }

    /// What starts the processes of a run. None of an earlier start is left when it comes back
    /// (PROC-007): what the runner's death has left behind is ended before a second attempt begins.
    async fn spawner_of(&self, session: SessionId) -> Result<Spawner, BoxError> {
        let is_kept = self.store.as_ref().is_some_and(|store| store.is_durable());
        let Some(folder) = self.folder.as_ref().filter(|_| is_kept) else {
            return Ok(self.spawner.clone());
        };
        let folder = folder.join("pids");
        let path = folder.join(session.to_string());
        let mut tries = 0;
        let left = loop {
            match end_leftovers(&path, LEFTOVERS).await {
                // A start under way when its runner died has it for a moment longer.
                Err(PidFileError::InUse { .. }) if tries < 40 => tries += 1,
                left => break left?,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        if !left.remaining.is_empty() {
            let pids: Vec<String> = left.remaining.iter().map(ToString::to_string).collect();
            return Err(format!(
                "processes of an earlier start of the run do not end: {}",
                pids.join(", ")
            )
            .into());
        }
        let file = std::fs::create_dir_all(&folder)
            .map_err(BoxError::from)
            .and_then(|()| PidFile::create(path).map_err(BoxError::from));
        match file {
            Ok(file) => Ok(self.spawner.recording(&file)),
            Err(error) => {
                // They still end with this process, but would not be found at the next start.
                tracing::warn!("processes of the run are not recorded: {error}");
                Ok(self.spawner.clone())
            }
        }
    }

    pub(crate) fn number(&self, session: SessionId) -> Option<u64> {
        let store = self.store.as_ref().filter(|store| store.is_durable())?;
        store.info(&Stream::Session(session)).ok()?.number
    }
}

/// Runs the graph of a plan to its end.
pub(crate) async fn body(
    host: Arc<Host>,
    cx: SessionContext,
    input: RunInput,
) -> Result<RunOutput, BoxError> {
    let session = cx.session_id();
    let ledger = cx.ledger(is_known).await?;
    let (settings, change) = {
        let mut lives = host.lives();
        let life = lives.entry(session).or_default();
        (life.settings, life.change.take())
    };
    let change = settle_change(&ledger, change).await?;
    let text = change.as_ref().map(|change| &*change.text);
    let plan = input.plan(text, settings.jobs, &host.durations()).map_err(Terminal::new)?;
    let again = change.map(|change| change.again).unwrap_or_default();
    host.lives().entry(session).or_default().limits = limits(&plan);
    let known = known(&ledger, &plan, &again).await?;

    let notes = ledger.notes();
    let told = if ledger.start() > 1 { host.told(session) } else { HashMap::new() };
    let recorder =
        Arc::new(Recorder::new(plan.clone(), ledger.start(), told, move |kind| notes.note(kind)));
    let commands = Commands {
        session,
        run: host.number(session),
        spawner: host.spawner_of(session).await?,
        caller: host.caller.clone(),
        options: host.process,
        kill: host.kill.clone(),
        suspend: Cancel::new(),
        busy: Busy::default(),
        parked: Arc::clone(&host.parked),
        logs: Logs::new(host.folder(&plan), session),
        recorder: Arc::clone(&recorder),
        output: Arc::clone(&host.output),
        plan,
        cx,
        ledger,
    };
    let policy = settings.on_failure.unwrap_or_else(|| input.on_failure());
    run(&host, commands, policy, known).await
}

fn limits(plan: &Plan) -> HashMap<TaskName, Duration> {
    let limit = |task| Some((plan.name(task).clone(), plan.task(task).approval.as_ref()?.timeout?));
    plan.order().filter_map(limit).collect()
}

/// Tasks, and what stands beside them. Whether a task is one of this plan is seen later: a ledger
/// is never wrong about it, as the plan is recorded with it.
fn is_known(key: &OpKey) -> bool {
    *key.name == *CHANGE || key.name.parse::<TaskName>().is_ok()
}

/// What a new attempt changes: of an earlier start, or recorded now.
async fn settle_change(
    ledger: &Ledger,
    change: Option<Change>,
) -> Result<Option<Change>, BodyError> {
    if let Some(settled) = ledger.get::<Change>(CHANGE) {
        return settled.map(Some);
    }
    if let Some(change) = &change {
        ledger.record(CHANGE, change, Vec::new()).await?;
    }
    Ok(change)
}

/// The tasks that had ended before: recorded in this attempt, or kept of the last one. What is kept
/// is recorded and told again, so that each attempt is whole.
async fn known(
    ledger: &Ledger,
    plan: &Plan,
    again: &Again,
) -> Result<Vec<(TaskId, TaskEnd)>, BodyError> {
    let mut known = Vec::new();
    let mut recordings = Vec::new();
    // Whether a task, or one that it needs, has to be executed.
    let mut is_new = vec![false; plan.topology().len()];
    for task in plan.order() {
        let name = plan.name(task).to_string();
        if let Some(recorded) = ledger.get::<Recorded>(&name) {
            known.push((task, recorded?.end()));
            continue;
        }
        let offer = ledger.offer::<Recorded>(&name).transpose()?;
        let may_stay = match again {
            Again::Failed => true,
            Again::From(names) => !names.contains(&name),
            Again::All => false,
        };
        let stays =
            |offer: &Recorded| offer.has_succeeded() && offer.digest == digest(plan.task(task));
        match offer.filter(|offer| may_stay && !is_new[task.index()] && stays(offer)) {
            Some(offer) => {
                let outcome = Outcome::Succeeded(Source::Fresh);
                let event = ended(plan, plan.name(task).clone(), &outcome);
                recordings.push(ledger.record(name, &offer, event.into_iter().collect()));
                known.push((task, TaskEnd::Succeeded));
            }
            None => {
                is_new[task.index()] = true;
                for (next, kind) in plan.topology().successors(task) {
                    is_new[next.index()] |= kind == EdgeKind::Hard;
                }
            }
        }
    }
    // They were all called before the first is awaited, so that they are one write.
    for recording in recordings {
        recording.await?;
    }
    Ok(known)
}

async fn run(
    host: &Host,
    commands: Commands,
    policy: OnFailure,
    known: Vec<(TaskId, TaskEnd)>,
) -> Result<RunOutput, BoxError> {
    let began = host.clock.monotonic();
    let (session, recorder) = (commands.session, Arc::clone(&commands.recorder));
    let cancel = Cancel::new();
    let parked = Arc::clone(&host.parked);
    let options = GraphOptions::default()
        .limits(commands.plan.limits().clone())
        .on_failure(policy)
        .cancel(cancel.clone())
        .holds(host.holds.clone())
        .label(session.to_string())
        // The process layer ends what does not end by itself.
        .grace(None)
        .clock(Arc::clone(&host.clock))
        .seed(RandomState::new().hash_one(session))
        .recorded(true)
        .known(known)
        .on_parked(move || parked.add(session))
        .observer(|event: &TaskEvent| recorder.task(event));
    let topology = Arc::clone(commands.plan.topology());
    let mut requested = None;
    let result = {
        let mut running = pin!(holdpoint_graph::run(&topology, &commands, options));
        let mut cancelled = pin!(commands.ledger.cancel_requested());
        let mut suspended = pin!(commands.ledger.suspend_requested());
        let mut wound_up = pin!(commands.busy.wait_idle());
        let mut is_suspended = false;
        loop {
            tokio::select! {
                biased;
                cause = &mut cancelled, if requested.is_none() => {
                    cancel.cancel_with(cause.clone());
                    requested = Some(cause);
                }
                cause = &mut suspended, if !is_suspended => {
                    is_suspended = true;
                    recorder.wind_up();
                    let text = format!("the run is let go of: {cause:?}");
                    let at = host.clock.now().wall;
                    commands.suspend.cancel_with(CancelInfo::new(CancelCode::Shutdown, text, at));
                    wound_up.set(commands.busy.wait_idle());
                }
                result = &mut running => break result,
                () = &mut wound_up, if is_suspended => commands.ledger.let_go().await,
            }
        }
    };
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            host.lives().entry(session).or_default().finished = Some(Err(error.clone()));
            return Err(error.into());
        }
    };
    if let Some(panic) = report.observer_panic() {
        tracing::error!("{panic}");
    }
    host.keep_durations(&report);
    let output = RunOutput::of(&report);
    let end = failure_of(&report, requested.as_ref());
    host.parked.remove(session);
    let finished =
        Finished { report, elapsed: host.clock.monotonic() - began, logs: commands.logs.close() };
    host.lives().entry(session).or_default().finished = Some(Ok(finished));
    match end {
        None => Ok(output),
        Some(error) => Err(error),
    }
}

impl RunOutput {
    fn of(report: &Report) -> Self {
        let counts = report.counts();
        Self {
            fresh: counts.fresh,
            cached: counts.cached,
            skipped: counts.skipped,
            allowed: counts.allowed,
        }
    }
}
