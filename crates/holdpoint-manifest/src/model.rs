//! What a manifest says, checked: plain data without behaviour.
//!
//! The types rule out what they can (a command has a program, a weight is not zero); for the
//! rest, holding a [`Manifest`] means that the checks of this crate have passed.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{Backoff, Name};

use crate::diagnostic::Diagnostic;
use crate::faults::nearest;
use crate::location::{Located, Location};
use crate::source::Source;

/// A checked manifest. Cloning copies the tasks and shares the text.
///
/// Guaranteed: names are valid and unique; `needs`, `after`, `finally` and `default` name tasks
/// of this manifest; no task names itself, or another one twice; caps and weights are at least
/// 1; a task fits into fixed `jobs`; no task names a hold twice; counted uses stay within the
/// declared capacity. Not guaranteed: freedom from cycles.
#[derive(Debug, Clone)]
pub struct Manifest {
    source: Arc<Source>,
    default: Vec<Located<Name>>,
    limits: Limits,
    tasks: Vec<Task>,
    hooks: Hooks,
    by_name: BTreeMap<Name, usize>,
}

impl Manifest {
    /// `tasks` in order of declaration; their names are unique.
    pub(crate) fn new(
        source: Arc<Source>,
        default: Vec<Located<Name>>,
        limits: Limits,
        tasks: Vec<Task>,
        hooks: Hooks,
    ) -> Self {
        let by_name = tasks
            .iter()
            .enumerate()
            .map(|(index, task)| (task.name.value.clone(), index))
            .collect();
        Self { source, default, limits, tasks, hooks, by_name }
    }

    /// What runs where no target is named, in the order written; empty where nothing is set.
    #[must_use]
    pub fn default_targets(&self) -> &[Located<Name>] {
        &self.default
    }

    /// Slots, caps and capacities.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All tasks in the order of their declaration.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// All tasks in the order of their names.
    pub fn tasks_by_name(&self) -> impl ExactSizeIterator<Item = &Task> {
        self.by_name.values().map(|&index| &self.tasks[index])
    }

    /// The task of this name.
    #[must_use]
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.position(name).map(|index| &self.tasks[index])
    }

    /// The position in [`tasks`](Self::tasks) of the task of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The task that may have been meant by `name`, which is none: for "did you mean".
    ///
    /// ```
    /// use holdpoint_manifest::Manifest;
    ///
    /// let manifest = Manifest::parse("holdpoint.yaml", "tasks: { build: make, test: make test }")?;
    /// assert_eq!(manifest.nearest_task("biuld").unwrap().as_str(), "build");
    /// assert!(manifest.nearest_task("deploy").is_none());
    /// # Ok::<(), holdpoint_manifest::Diagnostics>(())
    /// ```
    #[must_use]
    pub fn nearest_task(&self, name: &str) -> Option<&Name> {
        let near = nearest(name, self.tasks.iter().map(|task| task.name.value.as_str()))?;
        self.task(near).map(|task| &task.name.value)
    }

    /// What is told of a run, and whom.
    ///
    /// ```
    /// use holdpoint_manifest::{Action, HookAction, Manifest};
    ///
    /// let text = "{ tasks: { build: make }, on: { failure: ./tell.sh } }";
    /// let manifest = Manifest::parse("holdpoint.yaml", text)?;
    /// let hook = manifest.hooks().failure.as_ref().unwrap();
    /// assert!(matches!(&hook.what, HookAction::Command(Action::Shell { script }) if script == "./tell.sh"));
    /// assert!(manifest.hooks().paused.is_none());
    /// # Ok::<(), holdpoint_manifest::Diagnostics>(())
    /// ```
    #[must_use]
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// The manifest's file, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// The folder the manifest lies in, absolute. Paths in the manifest are relative to it.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.source.root()
    }

    /// The text the manifest was read from, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// A fault found by someone else at a place of this manifest, in the same form as those
    /// found here. `message` is a lowercase fragment; `help` says how to put it right.
    ///
    /// ```
    /// use holdpoint_manifest::Manifest;
    ///
    /// let manifest = Manifest::parse("holdpoint.yaml", "tasks:\n  a: { needs: b }\n  b: { needs: a }\n")?;
    /// let edge = &manifest.tasks()[0].needs[0];
    /// let fault = manifest.diagnostic(edge.location, "`a` waits for itself: a -> b -> a", None);
    /// assert!(fault.to_string().starts_with("holdpoint.yaml:2:15: `a` waits for itself"));
    /// # Ok::<(), holdpoint_manifest::Diagnostics>(())
    /// ```
    #[must_use]
    pub fn diagnostic(
        &self,
        location: Location,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic::new(&self.source, crate::Kind::Invalid, location, message.into(), help)
    }
}

/// `limits:` Slots, caps of tags, capacities of counted holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// How many slots there are. Default: [`Jobs::Auto`].
    pub jobs: Jobs,
    /// How many tasks with this tag run at a time. A tag that is not here has no cap.
    pub tags: BTreeMap<Name, Located<NonZeroU32>>,
    /// Units of each counted hold. A hold that is not here is taken exclusively or shared.
    pub holds: BTreeMap<HoldName, Located<NonZeroU32>>,
}

/// `limits.jobs`: how many slots there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jobs {
    /// As many as the machine has processors.
    #[default]
    Auto,
    /// This many; a task's `weight` counts against them.
    Fixed(NonZeroU32),
}

/// One entry of `tasks:`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Task {
    /// Its name, at its key.
    pub name: Located<Name>,
    /// One line for people.
    pub desc: Option<String>,
    /// What it runs; `None` for a group, which only brings other tasks together.
    pub action: Option<Action>,
    /// Where its process starts, relative to [`Manifest::root`], without `.` and `..`. `None`
    /// is the root itself.
    pub dir: Option<Located<PathBuf>>,
    /// Hard edges: these must succeed first. No entry twice.
    pub needs: Vec<Located<Name>>,
    /// Soft edges: order only, where the other is part of the run. None that is in `needs`.
    pub after: Vec<Located<Name>>,
    /// This task joins every run that has these, and runs after they ended in any way.
    pub finally: Vec<Located<Name>>,
    /// Variables given to it, by name, each at the place of its name. No name begins with
    /// `HOLDPOINT_`, none is in `pass_env` too.
    pub env: BTreeMap<String, Located<String>>,
    /// Variables of the caller that are passed on.
    pub pass_env: Vec<Located<String>>,
    /// Locks it takes, all or none. No hold twice.
    pub holds: Vec<HoldUse>,
    /// Its tags, on which caps of [`Limits::tags`] act. No tag twice.
    pub tags: Vec<Located<Name>>,
    /// Slots it takes. Default: 1, at the task's name. Within [`Jobs::Fixed`].
    pub weight: Located<NonZeroU32>,
    /// How long one attempt may take; more than zero. `None`: for ever.
    pub timeout: Option<Duration>,
    /// Further attempts after a failure. `None`: one attempt.
    pub retry: Option<Retry>,
    /// Whether its failure leaves the run a success. Default: no.
    pub allow_failure: bool,
    /// `if:` a shell command; the task is skipped where it exits with another code than 0.
    pub condition: Option<String>,
    /// Asks a person before the task runs.
    pub approval: Option<Approval>,
}

/// What a task or a hook runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `run:` a shell script; its lines, where the manifest lists them, are joined by `\n`.
    /// Never blank.
    Shell {
        /// The script, as given to the shell in one argument.
        script: String,
    },
    /// `exec:` a program and its arguments, without a shell.
    Exec {
        /// The program. Never empty.
        program: String,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// One entry of a task's `holds:`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldUse {
    /// Which hold.
    pub hold: HoldName,
    /// How it is taken.
    pub mode: HoldMode,
    /// The entry's place.
    pub location: Location,
}

/// A hold's scope and name (HOLD-001). Written `name` or `~:name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldName {
    /// Who shares the hold.
    pub scope: HoldScope,
    /// Its name within the scope.
    pub name: Name,
}

impl fmt::Display for HoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            HoldScope::Workspace => write!(f, "{}", self.name),
            HoldScope::Project => write!(f, "~:{}", self.name),
        }
    }
}

/// Who shares a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldScope {
    /// All projects of the workspace.
    Workspace,
    /// `~:` the project that declares the task.
    Project,
}

/// How a hold is taken (HOLD-002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldMode {
    /// By nobody else at the same time; of a counted hold, all units.
    Exclusive,
    /// Together with others that take it shared. Never of a counted hold.
    Shared,
    /// This many units of a counted hold, within its capacity.
    Units(NonZeroU32),
}

/// `retry:`
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Retry {
    /// How often the task is tried at most, the first time included.
    pub attempts: NonZeroU32,
    /// How long to wait after each failure. Default: one second, doubled up to five minutes.
    pub backoff: Backoff,
}

/// `approval:` a question that must be answered with yes before the task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Approval {
    /// What is asked, as written. Never blank, at most 65536 bytes.
    pub prompt: String,
    /// How long the answer may take; more than zero. `None`: for ever.
    pub timeout: Option<Duration>,
    /// What becomes of the task where nobody has answered by then. Default:
    /// [`OnTimeout::Fail`].
    pub on_timeout: OnTimeout,
}

/// `on_timeout:` what becomes of a task whose question nobody has answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnTimeout {
    /// It fails, because it took too long.
    #[default]
    Fail,
    /// It fails, as if the answer had been no.
    Reject,
}

/// `on:` what is told of a run, and whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Hooks {
    /// When a run has failed.
    pub failure: Option<Hook>,
    /// When a run has succeeded.
    pub success: Option<Hook>,
    /// When a run waits for an answer.
    pub paused: Option<Hook>,
    /// When a schedule has failed so often that it stops.
    pub tripped: Option<Hook>,
}

/// One entry of `on:`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hook {
    /// What is done.
    pub what: HookAction,
    /// How long it may take; more than zero. `None`: nothing is said about it.
    pub timeout: Option<Duration>,
    /// The place of the entry's key.
    pub location: Location,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// Runs a command.
    Command(Action),
    /// `webhook:` posts to an address.
    Webhook {
        /// The address: `http` or `https`, with a host, in ASCII, without credentials and without
        /// a fragment; at most 8192 bytes.
        url: String,
        /// The variable of the caller that holds the key with which the message is signed.
        secret_env: Option<String>,
    },
}
