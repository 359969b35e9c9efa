//! Random graphs as plain data: small enough to print, with everything a graph can have.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{Backoff, Name};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{EdgeKind, Hold, Limits, OnFailure, Retry, Scope, Topology};

/// The holds in play: name, project, units where counted. Two differ by scope alone.
pub(super) const HOLDS: [(&str, Option<&str>, Option<u32>); 5] = [
    ("db", None, None),
    ("db", Some("app"), None),
    ("log", None, None),
    ("gpu", None, Some(3)),
    ("net", Some("app"), Some(2)),
];

/// The tags in play. The last one never has a cap.
const TAGS: [&str; 4] = ["heavy", "net", "slow", "free"];

/// A graph and how it is run.
#[derive(Clone)]
pub(super) struct Plan {
    /// In the order of definition; an edge may name a task that is defined later.
    pub(super) tasks: Vec<Task>,
    pub(super) jobs: u32,
    pub(super) caps: Vec<(&'static str, u32)>,
    pub(super) on_failure: OnFailure,
    pub(super) grace: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) project: Option<&'static str>,
    pub(super) name: String,
    /// Predecessors by their place in [`Plan::tasks`].
    pub(super) after: Vec<(usize, EdgeKind)>,
    /// By place in [`HOLDS`].
    pub(super) holds: Vec<(usize, Mode)>,
    pub(super) tags: Vec<&'static str>,
    pub(super) weight: u32,
    pub(super) priority: i32,
    pub(super) expected: u64,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Option<(u32, Delays)>,
    pub(super) allow_failure: bool,
    pub(super) gated: bool,
    pub(super) lookup: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Shared,
    Exclusive,
    Units(u32),
}

/// Delays between attempts, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delays {
    Fixed(u64),
    Doubling { first: u64, most: u64 },
}

impl Plan {
    pub(super) fn topology(&self) -> Arc<Topology> {
        let mut builder = Topology::builder();
        for (name, project, units) in HOLDS {
            if let Some(units) = units {
                builder.hold_capacity(scope(project), name, units);
            }
        }
        let mut ids = Vec::new();
        for task in &self.tasks {
            let mut setup = builder.task(&task.full_name());
            ids.push(setup.id());
            for &(before, kind) in &task.after {
                let name = self.tasks[before].full_name();
                // Both ways to name a predecessor: by id where it is defined, by name always.
                setup = match (kind, ids.get(before)) {
                    (EdgeKind::Hard, Some(&id)) => setup.needs(id),
                    (EdgeKind::Hard, None) => setup.needs(name),
                    (EdgeKind::Soft, Some(&id)) => setup.after(id),
                    (EdgeKind::Soft, None) => setup.after(name),
                    (EdgeKind::Finally, _) => setup.finally(name),
                };
            }
            setup = task.holds.iter().fold(setup, |setup, &want| setup.hold(hold(want)));
            setup = task.tags.iter().fold(setup, |setup, tag| setup.tag(tag));
            setup = setup.weight(task.weight).priority(task.priority);
            setup = setup.expected(Duration::from_secs(task.expected));
            if let Some(limit) = task.timeout {
                setup = setup.timeout(limit);
            }
            if let Some((attempts, delays)) = task.retry {
                setup = setup.retry(Retry { attempts, backoff: delays.backoff() });
            }
            if task.allow_failure {
                setup = setup.allow_failure();
            }
            if task.gated {
                setup = setup.gated();
            }
            if task.lookup {
                setup.lookup();
            }
        }
        Arc::new(builder.build().expect("a plan is a good graph"))
    }

    pub(super) fn limits(&self) -> Limits {
        self.caps.iter().fold(Limits::jobs(self.jobs), |limits, &(tag, cap)| limits.tag(tag, cap))
    }

    /// Places in canonical order: no project first, then by project, then by task.
    pub(super) fn canonical(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.tasks.len()).collect();
        places.sort_by_key(|&place| (self.tasks[place].project, &self.tasks[place].name));
        places
    }

    /// The same graph, its tasks defined in another order.
    pub(super) fn redefined(&self, order: &[usize]) -> Self {
        let place_of = |old: usize| order.iter().position(|&place| place == old).expect("all");
        let moved = |&old: &usize| {
            let mut task = self.tasks[old].clone();
            task.after = task.after.iter().map(|&(old, kind)| (place_of(old), kind)).collect();
            task
        };
        Self { tasks: order.iter().map(moved).collect(), ..self.clone() }
    }
}

impl Task {
    pub(super) fn full_name(&self) -> String {
        self.project.map_or(self.name.clone(), |project| format!("{project}:{}", self.name))
    }

    pub(super) fn is_finally(&self) -> bool {
        self.after.iter().any(|&(_, kind)| kind == EdgeKind::Finally)
    }
}

/// One line a task, with what it has beyond the defaults.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, caps, on_failure, grace, .. } = self;
        write!(f, "jobs {jobs}, caps {caps:?}, {on_failure:?}, grace {grace:?}")?;
        for task in &self.tasks {
            write!(f, "\n    {}", task.full_name())?;
            for &(before, kind) in &task.after {
                write!(f, " {kind:?}({})", self.tasks[before].full_name())?;
            }
            let holds = task.holds.iter().map(|&want| hold(want)).collect::<Vec<_>>();
            write!(f, " holds {holds:?} tags {:?} weight {}", task.tags, task.weight)?;
            write!(f, " priority {} expected {}", task.priority, task.expected)?;
            write!(f, " timeout {:?} retry {:?}", task.timeout, task.retry)?;
            let flags = [task.allow_failure, task.gated, task.lookup];
            for (flag, name) in flags.into_iter().zip(["allow_failure", "gated", "lookup"]) {
                write!(f, "{}", if flag { format!(" {name}") } else { String::new() })?;
            }
        }
        Ok(())
    }
}

impl Delays {
    fn backoff(self) -> Backoff {
        match self {
            Self::Fixed(seconds) => Backoff::fixed(Duration::from_secs(seconds)),
            Self::Doubling { first, most } => {
                Backoff::exponential(Duration::from_secs(first)).max(Duration::from_secs(most))
            }
        }
    }
}

fn scope(project: Option<&str>) -> Scope {
    project.map_or(Scope::Workspace, |name| Scope::Project(Name::new(name).expect("a name")))
}

fn hold((place, mode): (usize, Mode)) -> Hold {
    let (name, project, _) = HOLDS[place];
    let hold = match mode {
        Mode::Shared => Hold::shared(name),
        Mode::Exclusive => Hold::exclusive(name),
        Mode::Units(units) => Hold::units(name, units),
    };
    match scope(project) {
        Scope::Workspace => hold,
        Scope::Project(project) => hold.in_project(project),
    }
}

/// Graphs of up to `most` tasks.
pub(super) fn plans(most: usize) -> impl Strategy<Value = Plan> {
    let names = (0..=most).prop_flat_map(|count| {
        let places: Vec<usize> = (0..count).collect();
        let tasks = prop::collection::vec(task(), count);
        (tasks, Just(places.clone()).prop_shuffle(), Just(places).prop_shuffle())
    });
    let caps = prop::collection::vec(prop::option::of(1..4_u32), TAGS.len() - 1);
    let jobs = prop_oneof![4 => 1..6_u32, 1 => Just(u32::MAX)];
    let on_failure = prop_oneof![
        2 => Just(OnFailure::KeepGoing), 1 => Just(OnFailure::Stop), 1 => Just(OnFailure::FailFast)
    ];
    let grace = prop::option::weighted(0.8, (0..4_u64).prop_map(Duration::from_secs));
    (names, jobs, caps, on_failure, grace).prop_map(
        |((drafts, numbers, order), jobs, caps, on_failure, grace)| {
            let mut tasks: Vec<Task> = Vec::new();
            for (place, (mut task, edges)) in drafts.into_iter().enumerate() {
                task.name = format!("t{}", numbers[place]);
                task.weight = task.weight.min(jobs);
                for (nth, (index, kind)) in edges.into_iter().enumerate().filter(|_| place > 0) {
                    // The first one is near, for long chains besides wide fans.
                    let near = if nth == 0 { place.min(4) } else { place };
                    let before = place - 1 - index.index(near);
                    if task.after.iter().all(|&(known, _)| known != before) {
                        task.after.push((before, kind));
                    }
                }
                tasks.push(task);
            }
            let caps = TAGS.into_iter().zip(caps).filter_map(|(tag, cap)| Some((tag, cap?)));
            let plan = Plan { tasks, jobs, caps: caps.collect(), on_failure, grace };
            plan.redefined(&order)
        },
    )
}

/// A task without a name, and what it comes after.
fn task() -> impl Strategy<Value = (Task, Vec<(Index, EdgeKind)>)> {
    let kind = prop_oneof![
        6 => Just(EdgeKind::Hard), 3 => Just(EdgeKind::Soft), 1 => Just(EdgeKind::Finally)
    ];
    let edges = prop::collection::vec((any::<Index>(), kind), 0..4);
    let project = prop_oneof![2 => Just(None), 1 => Just(Some("app")), 1 => Just(Some("lib"))];
    let tags = prop_oneof![
        2 => Just(Vec::new()), 1 => prop::sample::subsequence(TAGS.to_vec(), 1..=2)
    ];
    let rare = || prop::bool::weighted(0.15);
    let seconds = |range| prop::option::weighted(0.2, range);
    let delays = prop_oneof![
        (0..3_u64).prop_map(Delays::Fixed),
        (1..3_u64, 2..5_u64).prop_map(|(first, most)| Delays::Doubling { first, most })
    ];
    let retry = prop::option::weighted(0.2, (1..4_u32, delays));
    let order = (prop_oneof![3 => Just(0), 1 => -1..3], prop_oneof![3 => Just(0), 1 => 1..9_u64]);
    let flags = (rare(), rare(), prop::bool::weighted(0.4));
    (edges, project, holds(), tags, 1..4_u32, order, seconds(1..5_u64), retry, flags).prop_map(
        |(edges, project, holds, tags, weight, (priority, expected), timeout, retry, flags)| {
            let (allow_failure, gated, lookup) = flags;
            let timeout = timeout.map(Duration::from_secs);
            let (name, after) = (String::new(), Vec::new());
            let task = Task {
                project,
                name,
                after,
                holds,
                tags,
                weight,
                priority,
                expected,
                timeout,
                retry,
                allow_failure,
                gated,
                lookup,
            };
            (task, edges)
        },
    )
}

/// No to three different holds, each in a mode that it allows.
fn holds() -> impl Strategy<Value = Vec<(usize, Mode)>> {
    let places: Vec<usize> = (0..HOLDS.len()).collect();
    let some = prop::sample::subsequence(places, 1..=3).prop_flat_map(|places| {
        let modes = |place: usize| match HOLDS[place].2 {
            None => prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)].boxed(),
            Some(units) => prop_oneof![
                3 => (1..=units).prop_map(Mode::Units),
                1 => Just(Mode::Exclusive)
            ]
            .boxed(),
        };
        places.into_iter().map(|place| (Just(place), modes(place))).collect::<Vec<_>>()
    });
    prop_oneof![1 => Just(Vec::new()), 1 => some]
}
