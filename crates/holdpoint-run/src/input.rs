//! What is recorded of a run, so that any process can go on with it: its manifest, its targets and
//! its settings, and of every task that was executed how it ended.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use holdpoint_core::BoxError;
use holdpoint_graph::{OnFailure, Outcome, TaskEnd, TaskFailure};
use holdpoint_manifest::{Action, Manifest, Task};
use holdpoint_process::Status;
use serde::{Deserialize, Serialize};

use crate::commands::ProcessFailed;
use crate::durations::Durations;
use crate::error::PlanError;
use crate::plan::{Plan, Targets};

/// The version of what is recorded. A newer one is refused (CORE-010).
const FORMAT: u32 = 1;

/// The input of a run's session: the checked manifest as it was when the run was planned (RUN-005),
/// and what was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunInput {
    format: u32,
    /// Where the manifest lay.
    pub(crate) path: PathBuf,
    /// What stood in it.
    pub(crate) text: Arc<str>,
    pub(crate) targets: Vec<String>,
    jobs: Option<NonZeroU32>,
    on_failure: Policy,
    /// Who may go on with it by itself.
    #[serde(default)]
    pub(crate) kind: RunKind,
}

/// How a run came to be, and so who takes it up by itself (RUN-007).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunKind {
    /// Somebody waits for it, and resumes it.
    #[default]
    Foreground,
    /// It waits for whoever works off what is enqueued.
    Enqueued,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    KeepGoing,
    Stop,
    FailFast,
}

/// How an executed task ended, under its name in the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) end: End,
    /// The last attempt.
    pub(crate) attempt: u32,
    /// Of what the task does: a later attempt of the run executes it again where that has changed.
    pub(crate) digest: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Succeeded,
    Failed(Why),
    Errored(Why),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Why {
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// What a new attempt of a run changes: recorded first, so that all of its lives agree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The manifest as it is now.
    pub(crate) text: Arc<str>,
    pub(crate) again: Again,
}

/// Which tasks a new attempt executes again. Those that did not succeed, whose definition has
/// changed, or that need one of these, always are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Again {
    /// Those that did not succeed.
    #[default]
    Failed,
    /// These too, and all that need them.
    From(Vec<String>),
    /// All.
    All,
}

impl RunInput {
    pub(crate) fn new(plan: &Plan, on_failure: OnFailure, kind: RunKind) -> Self {
        let manifest = plan.manifest();
        Self {
            format: FORMAT,
            path: manifest.path().to_owned(),
            text: manifest.text().into(),
            targets: plan.targets().iter().map(ToString::to_string).collect(),
            jobs: plan.jobs(),
            on_failure: match on_failure {
                OnFailure::KeepGoing => Policy::KeepGoing,
                OnFailure::FailFast => Policy::FailFast,
                _ => Policy::Stop,
            },
            kind,
        }
    }

    /// The plan, over another text of the manifest where there is one.
    pub(crate) fn plan(
        &self,
        text: Option<&str>,
        jobs: Option<NonZeroU32>,
        durations: &Durations,
    ) -> Result<Plan, BoxError> {
        if self.format > FORMAT {
            return Err(format!(
                "the run is recorded in format {}, and this version knows formats up to {FORMAT}",
                self.format
            )
            .into());
        }
        let manifest = Manifest::parse(&self.path, text.unwrap_or(&self.text))?;
        let targets = Targets::Named(self.targets.clone());
        let jobs = jobs.or(self.jobs);
        Ok(Plan::expecting(Arc::new(manifest), &targets, jobs, durations).map_err(Box::new)?)
    }

    /// The same, over the file as it is, for a caller who wants to be told what is wrong with it.
    pub(crate) fn plan_of(
        &self,
        manifest: Arc<Manifest>,
        jobs: Option<NonZeroU32>,
    ) -> Result<Plan, PlanError> {
        Plan::new(manifest, &Targets::Named(self.targets.clone()), jobs.or(self.jobs))
    }

    pub(crate) fn on_failure(&self) -> OnFailure {
        match self.on_failure {
            Policy::KeepGoing => OnFailure::KeepGoing,
            Policy::Stop => OnFailure::Stop,
            Policy::FailFast => OnFailure::FailFast,
        }
    }
}

impl Recorded {
    /// None for what is no end of an executed task.
    pub(crate) fn of(outcome: &Outcome, attempt: u32, task: &Task) -> Option<Self> {
        let end = match outcome {
            Outcome::Succeeded(_) => End::Succeeded,
            Outcome::Failed { failure, .. } => End::Failed(Why::of(failure)),
            Outcome::Errored { failure, .. } => End::Errored(Why::of(failure)),
            _ => return None,
        };
        Some(Self { end, attempt, digest: digest(task) })
    }

    /// The end, for the graph of a later life.
    pub(crate) fn end(&self) -> TaskEnd {
        match &self.end {
            End::Succeeded => TaskEnd::Succeeded,
            End::Failed(why) => TaskEnd::Failed(why.failure()),
            End::Errored(why) => TaskEnd::Errored(why.failure()),
        }
    }

    pub(crate) fn has_succeeded(&self) -> bool {
        matches!(self.end, End::Succeeded)
    }
}

impl Why {
    fn of(failure: &TaskFailure) -> Self {
        let process = failure.source().and_then(|source| source.downcast_ref::<ProcessFailed>());
        let (exit_code, signal) = match process {
            Some(ProcessFailed(Status::Code(code))) => (Some(*code), None),
            Some(ProcessFailed(Status::Signal(signal))) => (None, Some(*signal)),
            None => (None, None),
        };
        let code = failure.code().map(str::to_owned);
        Self { message: failure.message().to_owned(), exit_code, signal, code }
    }

    fn failure(&self) -> TaskFailure {
        let status = match (self.exit_code, self.signal) {
            (Some(code), _) => Some(Status::Code(code)),
            (None, Some(signal)) => Some(Status::Signal(signal)),
            (None, None) => None,
        };
        let failure = match status {
            Some(status) => TaskFailure::from(BoxError::from(ProcessFailed(status))),
            None => TaskFailure::new(self.message.clone()),
        };
        match self.code.as_deref() {
            Some("timeout") => failure.with_code("timeout"),
            Some("panic") => failure.with_code("panic"),
            Some("rejected") => failure.with_code("rejected"),
            _ => failure,
        }
    }
}

/// A fingerprint of what a task does. What it waits for, and under which locks, is no part of it.
pub(crate) fn digest(task: &Task) -> String {
    let mut hasher = blake3::Hasher::new();
    // Each part with its length, so that no two tasks give the same bytes.
    let mut add = |part: &str| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    };
    match &task.action {
        None => add("group"),
        Some(Action::Shell { script }) => {
            add("shell");
            add(script);
        }
        Some(Action::Exec { program, args }) => {
            add("exec");
            add(program);
            args.iter().for_each(|arg| add(arg));
        }
    }
    add("dir");
    add(&task.dir.as_ref().map_or_else(String::new, |dir| dir.value.display().to_string()));
    for (name, value) in &task.env {
        add("env");
        add(name);
        add(&value.value);
    }
    for name in &task.pass_env {
        add("pass_env");
        add(&name.value);
    }
    add("if");
    add(task.condition.as_deref().unwrap_or_default());
    hasher.finalize().to_hex().to_string()
}
