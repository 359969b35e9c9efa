//! From a checked manifest and chosen targets to the graph of one run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::sync::Arc;

use holdpoint_core::event::{HoldMode as EventMode, HoldRef, HoldScope as EventScope};
use holdpoint_core::{Name, TaskName};
use holdpoint_graph::{BuildError, Hold, Limits, Retry, Scope, TaskId, Topology};
use holdpoint_manifest::{HoldMode, HoldName, HoldScope, HoldUse, Jobs, Manifest, Task};

use crate::durations::Durations;
use crate::error::PlanError;
use crate::faults;
use crate::selection::select;

/// What a run is to reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Targets {
    /// The manifest's `default`.
    #[default]
    Default,
    /// Every task.
    All,
    /// These tasks, by name. None at all means the default.
    Named(Vec<String>),
}

/// A run that can begin: its tasks as a checked graph, its limits, and what each task means.
///
/// ```
/// use std::sync::Arc;
/// use holdpoint_manifest::Manifest;
/// use holdpoint_run::{Plan, Targets};
///
/// let text = "tasks: { test: { needs: build, run: make test }, build: make, deploy: ./deploy }";
/// let manifest = Arc::new(Manifest::parse("holdpoint.yaml", text)?);
/// let plan = Plan::new(manifest, &Targets::Named(vec!["test".into()]), None)?;
/// let order: Vec<&str> = plan.order().map(|task| plan.task(task).name.value.as_str()).collect();
/// assert_eq!(order, ["build", "test"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    manifest: Arc<Manifest>,
    targets: Vec<Name>,
    jobs: Option<NonZeroU32>,
    limits: Limits,
    topology: Arc<Topology>,
    tasks: Arc<[Planned]>,
}

/// A task of the run. Its place in [`Plan::tasks`] is its id in the topology.
#[derive(Debug)]
struct Planned {
    /// Its place in [`Manifest::tasks`].
    position: usize,
    name: TaskName,
    holds: Arc<[HoldRef]>,
}

impl Plan {
    /// Plans a run. `jobs`, where given, replaces `limits.jobs` of the manifest.
    ///
    /// The whole manifest is looked at, also where the targets are only a part of it: whether it
    /// is right does not depend on what is run.
    ///
    /// # Errors
    /// [`PlanError`], with the place in the manifest where there is one.
    pub fn new(
        manifest: Arc<Manifest>,
        targets: &Targets,
        jobs: Option<NonZeroU32>,
    ) -> Result<Self, PlanError> {
        Self::expecting(manifest, targets, jobs, &Durations::default())
    }

    /// Plans a run of tasks of which it is known how long they take: of those that are ready, the
    /// ones begin first that most is known to follow (GRAPH-003).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn expecting(
        manifest: Arc<Manifest>,
        targets: &Targets,
        jobs: Option<NonZeroU32>,
        durations: &Durations,
    ) -> Result<Self, PlanError> {
        let everything: Vec<usize> = (0..manifest.tasks().len()).collect();
        let whole = build(&manifest, &everything, durations)?;
        let targets = resolve(&manifest, targets)?;
        let selected = select(&manifest, targets.iter().copied());
        let positions: Vec<usize> =
            everything.into_iter().filter(|&position| selected[position]).collect();
        let topology = if positions.len() == manifest.tasks().len() {
            whole
        } else {
            build(&manifest, &positions, durations)?
        };
        let limits = limits(&manifest, jobs);
        let heavy = faults::of_weights(&manifest, &positions, limits.slots());
        if !heavy.is_empty() {
            return Err(PlanError::Invalid(heavy));
        }
        let name = |position: usize| manifest.tasks()[position].name.value.clone();
        let targets = targets.into_iter().map(name).collect();
        let planned = positions.into_iter().map(|position| Planned {
            position,
            name: name(position).into(),
            holds: hold_refs(&manifest, &manifest.tasks()[position].holds),
        });
        let tasks = planned.collect();
        Ok(Self { targets, jobs, limits, topology: Arc::new(topology), tasks, manifest })
    }

    /// The manifest it was made from.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The targets, each once, in the order in which they were named.
    #[must_use]
    pub fn targets(&self) -> &[Name] {
        &self.targets
    }

    /// How many slots were asked for, instead of those of the manifest.
    #[must_use]
    pub fn jobs(&self) -> Option<NonZeroU32> {
        self.jobs
    }

    /// Slots and caps of the run.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The graph.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// What the manifest says about a task.
    ///
    /// # Panics
    /// Where `id` belongs to a larger graph.
    #[must_use]
    pub fn task(&self, id: TaskId) -> &Task {
        &self.manifest.tasks()[self.tasks[id.index()].position]
    }

    /// A task's name, as events and reports show it.
    ///
    /// # Panics
    /// Where `id` belongs to a larger graph.
    #[must_use]
    pub fn name(&self, id: TaskId) -> &TaskName {
        &self.tasks[id.index()].name
    }

    /// A task's holds, as events show them.
    pub(crate) fn holds(&self, id: TaskId) -> &Arc<[HoldRef]> {
        &self.tasks[id.index()].holds
    }

    /// The tasks in the order in which they would start, one at a time, if each succeeded.
    pub fn order(&self) -> impl ExactSizeIterator<Item = TaskId> + use<> {
        let topology = &self.topology;
        let mut ranked: Vec<(usize, TaskId)> = topology.tasks().enumerate().collect();
        ranked.sort_unstable_by_key(|(_, task)| *task);
        let mut waits_for = vec![0_usize; topology.len()];
        for (next, _) in topology.tasks().flat_map(|task| topology.successors(task)) {
            waits_for[next.index()] += 1;
        }
        let is_ready = |waits_for: &[usize], task: TaskId| waits_for[task.index()] == 0;
        let first = topology.tasks().filter(|task| is_ready(&waits_for, *task));
        let mut ready: BinaryHeap<Reverse<(usize, TaskId)>> =
            first.map(|task| Reverse(ranked[task.index()])).collect();
        let mut order = Vec::with_capacity(topology.len());
        while let Some(Reverse((_, task))) = ready.pop() {
            order.push(task);
            for (next, _) in topology.successors(task) {
                waits_for[next.index()] -= 1;
                if is_ready(&waits_for, next) {
                    ready.push(Reverse(ranked[next.index()]));
                }
            }
        }
        order.into_iter()
    }
}

/// The positions of the targets, each once.
fn resolve(manifest: &Manifest, targets: &Targets) -> Result<Vec<usize>, PlanError> {
    let find = |name: &str| {
        manifest.position(name).ok_or_else(|| PlanError::UnknownTarget {
            target: name.to_owned(),
            nearest: manifest.nearest_task(name).cloned(),
        })
    };
    let found: Vec<usize> = match targets {
        Targets::All => (0..manifest.tasks().len()).collect(),
        Targets::Named(names) if !names.is_empty() => {
            names.iter().map(|name| find(name)).collect::<Result<_, _>>()?
        }
        Targets::Default | Targets::Named(_) => {
            let default = manifest.default_targets().iter();
            default.map(|name| find(name.value.as_str())).collect::<Result<_, _>>()?
        }
    };
    if found.is_empty() {
        return Err(PlanError::NoTargets);
    }
    let mut seen = vec![false; manifest.tasks().len()];
    let first_of = |&position: &usize| !std::mem::replace(&mut seen[position], true);
    Ok(found.into_iter().filter(first_of).collect())
}

/// The graph of the tasks at these positions, which become its ids in the same order. An edge to
/// a task that is not among them is left out: only `after` and `finally` have such.
fn build(
    manifest: &Manifest,
    positions: &[usize],
    durations: &Durations,
) -> Result<Topology, PlanError> {
    let mut builder = Topology::builder();
    let mut ids = vec![None; manifest.tasks().len()];
    for &position in positions {
        let name = manifest.tasks()[position].name.value.as_str();
        ids[position] = Some(builder.task(name).id());
    }
    let id = |name: &Name| manifest.position(name.as_str()).and_then(|position| ids[position]);
    for (hold, capacity) in &manifest.limits().holds {
        let scope = scope(manifest, hold.scope);
        builder.hold_capacity(scope, hold.name.as_str(), capacity.value.get());
    }
    for (task, own) in positions.iter().map(|&at| (&manifest.tasks()[at], ids[at])) {
        let Some(own) = own else { continue };
        let mut setup = builder.setup(own);
        for predecessor in task.needs.iter().filter_map(|name| id(&name.value)) {
            setup = setup.needs(predecessor);
        }
        for predecessor in task.after.iter().filter_map(|name| id(&name.value)) {
            setup = setup.after(predecessor);
        }
        for predecessor in task.finally.iter().filter_map(|name| id(&name.value)) {
            setup = setup.finally(predecessor);
        }
        for used in &task.holds {
            setup = setup.hold(hold(manifest, used));
        }
        for tag in &task.tags {
            setup = setup.tag(tag.value.as_str());
        }
        if task.weight.value > NonZeroU32::MIN {
            setup = setup.weight(task.weight.value.get());
        }
        if let Some(limit) = task.timeout {
            setup = setup.timeout(limit);
        }
        if let Some(retry) = task.retry {
            let attempts = retry.attempts.get();
            setup = setup.retry(Retry { attempts, backoff: retry.backoff });
        }
        if task.allow_failure {
            setup = setup.allow_failure();
        }
        if let Some(duration) = durations.get(task.name.value.as_str()) {
            setup = setup.expected(duration);
        }
        if task.approval.is_some() {
            setup = setup.gated();
        }
        if task.condition.is_some() {
            // The answer to `if` is a lookup's: whether the task has to execute at all.
            let _ = setup.lookup();
        }
    }
    let refused = |error: BuildError| PlanError::Invalid(faults::of_graph(manifest, &error.faults));
    builder.build().map_err(refused)
}

fn limits(manifest: &Manifest, jobs: Option<NonZeroU32>) -> Limits {
    let limits = match (jobs, manifest.limits().jobs) {
        (Some(jobs), _) | (None, Jobs::Fixed(jobs)) => Limits::jobs(jobs.get()),
        (None, Jobs::Auto) => Limits::cores(),
    };
    let tags = manifest.limits().tags.iter();
    tags.fold(limits, |limits, (tag, cap)| limits.tag(tag.as_str(), cap.value.get()))
}

fn hold(manifest: &Manifest, used: &HoldUse) -> Hold {
    let HoldName { scope: of, name } = &used.hold;
    let hold = match used.mode {
        HoldMode::Exclusive => Hold::exclusive(name),
        HoldMode::Shared => Hold::shared(name),
        HoldMode::Units(units) => Hold::units(name, units.get()),
    };
    match scope(manifest, *of) {
        Scope::Workspace => hold,
        Scope::Project(project) => hold.in_project(project),
    }
}

fn hold_refs(manifest: &Manifest, uses: &[HoldUse]) -> Arc<[HoldRef]> {
    let reference = |used: &HoldUse| HoldRef {
        scope: match scope(manifest, used.hold.scope) {
            Scope::Workspace => EventScope::Workspace,
            Scope::Project(project) => EventScope::Project { project },
        },
        name: used.hold.name.clone(),
        mode: match used.mode {
            HoldMode::Exclusive => EventMode::Exclusive,
            HoldMode::Shared => EventMode::Shared,
            HoldMode::Units(units) => EventMode::Counted { units: units.get() },
        },
    };
    uses.iter().map(reference).collect()
}

fn scope(manifest: &Manifest, scope: HoldScope) -> Scope {
    match scope {
        HoldScope::Workspace => Scope::Workspace,
        HoldScope::Project => Scope::Project(project(manifest)),
    }
}

/// The project's name: that of its folder, where it is a name.
fn project(manifest: &Manifest) -> Name {
    let folder = manifest.root().file_name().and_then(|name| name.to_str());
    let named = folder.and_then(|folder| Name::new(folder).ok());
    named.unwrap_or_else(|| Name::new("project").expect("BUG: a name by its letters"))
}
