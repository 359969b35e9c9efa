//! Runs as sessions: begun, resumed, tried again and found by their number.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::session::StateName;
use holdpoint_core::store::{Filter, ReadError, Store, StreamInfo, StreamKind};
use holdpoint_core::{Cancel, CancelCode, EventSink, Retryable, SessionId, SessionState};
use holdpoint_graph::OnFailure;
use holdpoint_manifest::Manifest;
use holdpoint_process::{Environment, Spawner};
use holdpoint_session::{
    Body, CancelError, Recovery, ReleaseError, RunError as WaitError, SessionContext,
    SessionHandle, Sessions,
};

use crate::body::{CHANGE, Finished, Host, Settings, body};
use crate::error::RunError;
use crate::input::{Again, Change, RunInput, RunKind};
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::report::RunEnd;

/// The name of the body under which runs are registered.
pub const BODY: &str = "run";

/// How many streams are looked at at a time.
const BATCH: usize = 256;

/// What takes a turn of the session at the most.
const SOON: Duration = Duration::from_millis(1);

/// The runs of a store, or of this process alone.
///
/// ```
/// use std::sync::Arc;
/// use holdpoint_graph::OnFailure;
/// use holdpoint_manifest::Manifest;
/// use holdpoint_run::{Plan, RunKind, RunOptions, Runs, Targets};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("holdpoint.yaml");
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let runs = Runs::open(None, RunOptions::default()).await?;
/// let manifest = Manifest::parse(path, "tasks: { build: 'true' }")?;
/// let plan = Plan::new(Arc::new(manifest), &Targets::All, None)?;
/// let run = runs.start(&plan, OnFailure::Stop).await?;
/// let end = run.ended().await?;
/// assert!(end.report().is_some_and(|report| report.is_success()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Runs {
    sessions: Sessions,
    body: Body<RunInput, crate::body::RunOutput>,
    host: Arc<Host>,
}

/// One run: a session made from a manifest.
#[derive(Clone)]
pub struct Run {
    handle: SessionHandle,
    host: Arc<Host>,
}

/// A run in a store, as a list shows it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunInfo {
    /// The number of the run in its store.
    pub number: u64,
    /// Its session.
    pub id: SessionId,
    /// Where it stands.
    pub state: StateName,
    /// Whether a living process runs it, or waits with it.
    pub is_owned: bool,
    /// What the store knows of its stream.
    pub stream: StreamInfo,
}

/// Why a run was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindRunError {
    /// There is no last one.
    #[error("there is no run yet")]
    NoneYet,
    /// There is none of this number, or with this end of its id.
    #[error("there is no run `{0}`")]
    Unknown(String),
    /// Several ids end so.
    #[error("`{text}` is the end of {} ids: {}", .ids.len(), list(.ids))]
    Ambiguous {
        /// What was given.
        text: String,
        /// The ids, at most ten.
        ids: Vec<SessionId>,
    },
    /// It is neither a number nor the end of an id.
    #[error("`{0}` names no run; write its number as `7` or `#7`, `@last`, or the end of its id")]
    Malformed(String),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn list(ids: &[SessionId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Retryable for FindRunError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_retryable())
    }
}

impl Runs {
    /// The runs of a store; without one, of this process alone.
    ///
    /// Nothing that was left goes on by itself. Other processes can answer and cancel what runs
    /// here. Needs a tokio runtime with its time and I/O drivers.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn open(
        store: Option<Arc<dyn Store>>,
        options: RunOptions,
    ) -> Result<Self, RunError> {
        let spawner = options.spawner.map_or_else(Spawner::new, Ok)?;
        let host = Arc::new(Host {
            spawner,
            caller: options.caller.unwrap_or_else(Environment::of_this_process),
            process: options.process,
            holds: options.holds,
            clock: Arc::clone(&options.clock),
            kill: options.kill,
            output: options.output,
            store: store.clone(),
            folder: options.folder,
            parked: Arc::default(),
            lives: Mutex::default(),
        });
        let mut builder = Sessions::builder()
            .recovery(Recovery::Explicit)
            .clock(options.clock)
            .sink(Arc::new(Sinks(options.sinks)));
        if let Some(store) = store {
            builder = builder.store(store);
        }
        let sessions = builder.open().await.map_err(RunError::Open)?;
        let runner = Arc::clone(&host);
        let run = move |cx: SessionContext, input: RunInput| body(Arc::clone(&runner), cx, input);
        let body = sessions.register(BODY, run).map_err(RunError::Register)?;
        Ok(Self { sessions, body, host })
    }

    /// The sessions that they are.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Begins a run.
    ///
    /// # Errors
    /// [`RunError`]; no task was started.
    pub async fn start(&self, plan: &Plan, on_failure: OnFailure) -> Result<Run, RunError> {
        let input = RunInput::new(plan, on_failure, RunKind::Foreground);
        let run = self.body.spawn(input).await.map_err(RunError::Spawn)?;
        Ok(self.run(run.handle()))
    }

    /// Registers a run without starting it: [`resume`](Self::resume) does, here or elsewhere.
    ///
    /// # Errors
    /// [`RunError`]; there is no such run then.
    pub async fn enqueue(&self, plan: &Plan, on_failure: OnFailure) -> Result<Run, RunError> {
        let input = RunInput::new(plan, on_failure, RunKind::Enqueued);
        let run = self.body.plan(input).await.map_err(RunError::Spawn)?;
        Ok(self.run(run.handle()))
    }

    /// Goes on with a run that nobody runs (RUN-005): over the manifest with which it was planned.
    ///
    /// # Errors
    /// [`RunError::Resume`].
    pub async fn resume(&self, id: SessionId, settings: Settings) -> Result<Run, RunError> {
        let run = self.get(id)?;
        self.host.lives().entry(id).or_default().settings = settings;
        let resumed = run.handle.resume().await;
        if resumed.is_err() {
            self.host.lives().remove(&id);
        }
        resumed.map_err(RunError::Resume)?;
        Ok(run)
    }

    /// Makes another attempt of a run that failed or was cancelled, over the manifest as it is now
    /// (RUN-005): tasks that succeeded and have not changed keep their result.
    ///
    /// # Errors
    /// [`RunError::Resume`], and [`RunError::Plan`] where the manifest has no such run any more.
    pub async fn retry(
        &self,
        id: SessionId,
        manifest: Arc<Manifest>,
        again: Again,
        settings: Settings,
    ) -> Result<Run, RunError> {
        let run = self.get(id)?;
        let input = self.input(id)?;
        let plan = input.plan_of(Arc::clone(&manifest), settings.jobs)?;
        if let Again::From(names) = &again {
            let is_in = |name: &&String| plan.topology().find(name).is_none();
            if let Some(missing) = names.iter().find(is_in) {
                let target = missing.clone();
                if manifest.task(missing).is_some() {
                    return Err(crate::PlanError::NotInRun(target).into());
                }
                let nearest = manifest.nearest_task(missing).cloned();
                return Err(crate::PlanError::UnknownTarget { target, nearest }.into());
            }
        }
        {
            let mut lives = self.host.lives();
            let life = lives.entry(id).or_default();
            life.settings = settings;
            life.change = Some(Change { text: manifest.text().into(), again });
        }
        let retried = run.handle.retry().await;
        if retried.is_err() {
            self.host.lives().remove(&id);
        }
        retried.map_err(RunError::Resume)?;
        Ok(run)
    }

    /// A run, wherever it is.
    ///
    /// # Errors
    /// [`RunError::Get`].
    pub fn get(&self, id: SessionId) -> Result<Run, RunError> {
        Ok(self.run(self.sessions.get(id).map_err(RunError::Get)?))
    }

    fn input(&self, id: SessionId) -> Result<RunInput, RunError> {
        input_of(&self.sessions, id)
    }

    fn run(&self, handle: SessionHandle) -> Run {
        Run { handle, host: Arc::clone(&self.host) }
    }
}

/// With what a run was planned.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Planned {
    /// Where the manifest lay.
    pub path: std::path::PathBuf,
    /// What stood in it, when the last attempt began.
    pub text: Arc<str>,
    /// What was to be reached.
    pub targets: Vec<String>,
    /// How it came to be.
    pub kind: RunKind,
}

/// With what a run of a store was planned: to show it, and to compare it with what is there now.
///
/// # Errors
/// [`RunError::Get`] and [`RunError::Input`].
pub fn planned(store: &Arc<dyn Store>, id: SessionId) -> Result<Planned, RunError> {
    let sessions = Sessions::builder().store(Arc::clone(store)).build();
    let RunInput { path, text, targets, kind, .. } = input_of(&sessions, id)?;
    // Another attempt was made over the manifest as it was then. Of the first one the journal, which
    // is as long as the run has tasks, need not be read.
    let change = sessions.get(id).and_then(|handle| match handle.snapshot()?.attempt {
        1 => Ok(None),
        _ => handle.recorded(CHANGE),
    });
    let change = change.map_err(RunError::Get)?;
    let change = change.map(|change| serde_json::from_str::<Change>(&change)).transpose();
    let change = change.map_err(|error| RunError::Input { id, message: error.to_string() })?;
    let text = change.map_or(text, |change| change.text);
    Ok(Planned { path, text, targets, kind })
}

fn input_of(sessions: &Sessions, id: SessionId) -> Result<RunInput, RunError> {
    let input = sessions.get(id).and_then(|handle| handle.input()).map_err(RunError::Get)?;
    serde_json::from_str(&input).map_err(|error| RunError::Input { id, message: error.to_string() })
}

/// The runs of a store, in the order of their numbers, from after `number` on.
///
/// # Errors
/// The store cannot be read.
pub fn list_runs(store: &dyn Store, number: u64) -> Result<Vec<RunInfo>, ReadError> {
    let mut runs = Vec::new();
    let mut after = number;
    loop {
        let page = store.list(&Filter::of(StreamKind::Session).after(after).limit(BATCH))?;
        let Some(last) = page.last().and_then(|info| info.number) else { return Ok(runs) };
        after = last;
        runs.extend(page.into_iter().filter_map(|info| run_info(store, info)));
    }
}

/// The run that is meant by a number (`7`, `#7`), by `@last`, or by the end of its id.
///
/// # Errors
/// [`FindRunError`].
pub fn find_run(store: &dyn Store, text: &str) -> Result<RunInfo, FindRunError> {
    let unknown = || FindRunError::Unknown(text.to_owned());
    if text == "@last" {
        return list_runs(store, 0)?.pop().ok_or(FindRunError::NoneYet);
    }
    let number = text.strip_prefix('#').unwrap_or(text);
    // A text of digits alone is a number; that it is the end of an id too nobody means.
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && number.len() <= 12
    {
        let number: u64 = number.parse().map_err(|_| unknown())?;
        let filter = Filter::of(StreamKind::Session).after(number.saturating_sub(1)).limit(1);
        let found = store.list(&filter)?.into_iter().next();
        let found = found.filter(|info| info.number == Some(number));
        return found.and_then(|info| run_info(store, info)).ok_or_else(unknown);
    }
    if let Ok(id) = text.parse::<SessionId>() {
        return match store.info(&Stream::Session(id)) {
            Ok(info) => run_info(store, info).ok_or_else(unknown),
            Err(ReadError::NotFound { .. }) => Err(unknown()),
            Err(error) => Err(error.into()),
        };
    }
    let is_end = |c: char| c.is_ascii_hexdigit() || c == '-';
    if text.len() < 4 || !text.chars().all(is_end) {
        return Err(FindRunError::Malformed(text.to_owned()));
    }
    let wanted = text.to_ascii_lowercase();
    let mut found = list_runs(store, 0)?;
    found.retain(|run| run.id.to_string().ends_with(&wanted));
    match found.len() {
        0 => Err(unknown()),
        1 => found.pop().ok_or_else(unknown),
        _ => Err(FindRunError::Ambiguous {
            text: text.to_owned(),
            ids: found.iter().take(10).map(|run| run.id).collect(),
        }),
    }
}

fn run_info(store: &dyn Store, info: StreamInfo) -> Option<RunInfo> {
    let Stream::Session(id) = info.stream else { return None };
    let name = info.label.split('@').next().unwrap_or_default();
    let number = info.number.filter(|_| name == BODY)?;
    let is_owned = info.owner.is_some_and(|owner| store.is_alive(owner));
    let state = match info.state {
        // Its process is gone, and nobody has looked yet.
        StateName::Running if !is_owned => StateName::Suspended,
        state => state,
    };
    Some(RunInfo { number, id, state, is_owned, stream: info })
}

impl Run {
    /// The session that it is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.handle.id()
    }

    /// The session, to answer, cancel and observe it.
    #[must_use]
    pub fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    /// Its number in its store; none without a store.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.host.number(self.id())
    }

    /// Waits until the run has ended, or is let go of.
    ///
    /// # Errors
    /// [`RunError::Wait`] where it cannot be told how it ended.
    ///
    /// # Cancel safety
    /// Dropping the future disturbs nobody.
    pub async fn ended(&self) -> Result<RunEnd, RunError> {
        match self.handle.ended().await {
            Ok(_) | Err(WaitError::Suspended(_)) => self.end(),
            Err(error) => Err(RunError::Wait(error)),
        }
    }

    /// Waits until the run can do nothing before a question is answered (RUN-002). Only of a run
    /// of this process.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn parked(&self) {
        loop {
            self.host.parked.wait(self.id(), || self.handle.next_question()).await;
            if !self.is_late() {
                return;
            }
            tokio::time::sleep(SOON).await;
        }
    }

    /// Whether the time for an answer is over, and that is on its way to the task: so it is at
    /// once where the run goes on after that time.
    fn is_late(&self) -> bool {
        let now = self.host.clock.now().wall.as_micros();
        let questions = self.handle.questions().unwrap_or_default();
        let lives = self.host.lives();
        let limits = lives.get(&self.id()).map(|life| &life.limits);
        questions.iter().any(|question| {
            let limit = question.task.as_ref().and_then(|task| limits?.get(task));
            limit.is_some_and(|limit| {
                let waited = now.saturating_sub(question.asked_at.as_micros());
                u128::from(waited) >= limit.as_micros()
            })
        })
    }

    /// Lets go of the run, so that it can be resumed: what runs is ended in order, and what has
    /// really finished is recorded. Says where it stands then.
    ///
    /// # Errors
    /// [`RunError::Get`].
    pub async fn release(&self) -> Result<RunEnd, RunError> {
        match self.handle.release().await {
            Ok(()) | Err(ReleaseError::Ended { .. } | ReleaseError::NotHere(_)) => {}
            // It has no store that could keep it: then this is its end.
            Err(_) => match self.handle.cancel_as(CancelCode::User, "it cannot be kept").await {
                Ok(()) | Err(CancelError::Ended { .. }) => return self.ended().await,
                Err(error) => return Err(RunError::Cancel(error)),
            },
        }
        self.end()
    }

    fn end(&self) -> Result<RunEnd, RunError> {
        let state = self.handle.state().map_err(RunError::Get)?;
        let finished = if state.is_terminal() {
            self.host.lives().remove(&self.id()).and_then(|life| life.finished)
        } else {
            None
        };
        let (report, elapsed, logs) = match finished {
            Some(Ok(Finished { report, elapsed, logs })) => (Some(report), elapsed, logs),
            Some(Err(error)) => return Err(error.into()),
            None => (None, Duration::ZERO, None),
        };
        Ok(RunEnd { session: self.id(), report, state, elapsed, logs })
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [`RunError::Get`].
    pub fn state(&self) -> Result<SessionState, RunError> {
        self.handle.state().map_err(RunError::Get)
    }
}

/// Several sinks as one.
struct Sinks(Vec<Arc<dyn EventSink>>);

impl EventSink for Sinks {
    fn event(&self, event: &holdpoint_core::Event) {
        for sink in &self.0 {
            sink.event(event);
        }
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("session", &self.handle).finish_non_exhaustive()
    }
}

/// Runs one plan to its end, or until its token fires.
pub(crate) async fn run_once(plan: &Plan, options: RunOptions) -> Result<RunEnd, RunError> {
    let (on_failure, cancel) = (options.on_failure, options.cancel.clone());
    let runs = Runs::open(None, options).await?;
    let run = runs.start(plan, on_failure).await?;
    watch(&run, &cancel).await
}

async fn watch(run: &Run, cancel: &Cancel) -> Result<RunEnd, RunError> {
    let mut ended = std::pin::pin!(run.ended());
    tokio::select! {
        biased;
        end = &mut ended => return end,
        cause = cancel.cancelled() => {
            match run.handle.cancel_as(cause.code, cause.text).await {
                Ok(()) | Err(CancelError::Ended { .. }) => {}
                Err(error) => return Err(RunError::Cancel(error)),
            }
        }
    }
    ended.await
}
