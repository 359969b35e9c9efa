//! A checked graph: tasks, edges and settings, dense and immutable.
//!
//! A [`Topology`] exists only if it passed every check of GRAPH-001, so that what runs it need
//! not check anything. It knows no closures and no values: those are [`Graph`](crate::Graph)'s.

use std::ops::Range;
use std::time::Duration;

use holdpoint_core::Backoff;
use holdpoint_hold::{Hold, Scope};

/// A task of one topology, by its number in the order of definition.
///
/// ```
/// use holdpoint_graph::Topology;
///
/// let mut builder = Topology::builder();
/// let first = builder.task("first").id();
/// let topology = builder.build()?;
/// assert_eq!((first.index(), topology.name(first)), (0, "first"));
/// # Ok::<(), holdpoint_graph::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct TaskId(pub(crate) u32);

impl TaskId {
    /// The number, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a task depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// The predecessor must have succeeded.
    Hard = 0,
    /// The predecessor must have ended, in any way.
    Soft = 1,
    /// As soft; and the task runs although the run stops at a failure (GRAPH-014).
    Finally = 2,
}

/// How often and how a failed task is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Attempts in all, the first included. At least 1.
    pub attempts: u32,
    /// The delays between them.
    pub backoff: Backoff,
}

/// The settings of a task that has any besides tags and weight.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// An index into [`Topology::hold_lists`].
    pub(crate) holds: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) allow_failure: bool,
    pub(crate) gate: bool,
    pub(crate) lookup: bool,
    pub(crate) finally: bool,
}

impl Settings {
    pub(crate) const NONE: Self = Self {
        holds: None,
        timeout: None,
        retry: None,
        allow_failure: false,
        gate: false,
        lookup: false,
        finally: false,
    };
}

/// Tasks with the same weight and the same tags: caps admit or refuse them alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) weight: u32,
    /// Indices into [`Topology::tags`], ascending.
    pub(crate) tags: Box<[u32]>,
    /// Its tasks, as positions (see [`Topology::order`]).
    pub(crate) positions: Range<u32>,
}

/// A checked graph. Made by [`Topology::builder`]; cheap to share in an `Arc`.
///
/// Edges are stored as successor lists (CSR), four bytes each.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    pub(crate) names: Names,
    /// For each task, its range in `edges`.
    pub(crate) edge_starts: Vec<u32>,
    pub(crate) edges: Vec<Edge>,
    /// For each task, how many predecessors it has.
    pub(crate) predecessors: Vec<u32>,
    /// Positions group tasks by class and order each class for admission (GRAPH-003).
    pub(crate) order: Vec<TaskId>,
    /// The inverse of `order`.
    pub(crate) position: Vec<u32>,
    /// For each position, its place in the order over all classes. Empty where there is one
    /// class, since the position is the place then.
    pub(crate) rank: Vec<u32>,
    /// Tasks in canonical (project, task) order.
    pub(crate) canonical: Vec<TaskId>,
    pub(crate) classes: Vec<Class>,
    /// For each task, its class. Empty where there is one class.
    pub(crate) class_of: Vec<u32>,
    pub(crate) tags: Vec<String>,
    /// For each task, an index into `settings` (0 is "none").
    pub(crate) settings_of: Vec<u32>,
    pub(crate) settings: Vec<Settings>,
    pub(crate) hold_lists: Vec<Box<[Hold]>>,
    pub(crate) capacities: Vec<(Scope, String, u32)>,
}

/// An edge to a successor, with its kind in the two highest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge(u32);

/// The most tasks a graph can have; the two bits above are the edge kind.
pub(crate) const MAX_TASKS: usize = 1 << 30;

impl Edge {
    pub(crate) fn new(task: TaskId, kind: EdgeKind) -> Self {
        Self(task.0 | (kind as u32) << 30)
    }

    pub(crate) fn task(self) -> TaskId {
        TaskId(self.0 & (MAX_TASKS as u32 - 1))
    }

    pub(crate) fn kind(self) -> EdgeKind {
        match self.0 >> 30 {
            0 => EdgeKind::Hard,
            1 => EdgeKind::Soft,
            _ => EdgeKind::Finally,
        }
    }

    pub(crate) fn is_hard(self) -> bool {
        self.0 < MAX_TASKS as u32
    }
}

/// All names in one text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Names {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Names {
    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        // A text beyond 4 GiB is refused by the builder as too large.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    pub(crate) fn get(&self, task: TaskId) -> &str {
        let index = task.index();
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }
}

impl Topology {
    /// Starts an empty graph.
    #[must_use]
    pub fn builder() -> crate::TopologyBuilder {
        crate::TopologyBuilder::new()
    }

    /// How many tasks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many edges there are; an edge given twice counts once.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// A task's name, as it was given: `task` or `project:task`.
    ///
    /// # Panics
    /// Where `task` belongs to a larger topology.
    #[must_use]
    pub fn name(&self, task: TaskId) -> &str {
        self.names.get(task)
    }

    /// The task of this name. Costs O(log n).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TaskId> {
        let wanted = crate::build::canonical_key(name);
        let index = self
            .canonical
            .binary_search_by(|&task| {
                crate::build::canonical_key(self.name(task)).cmp(wanted.clone())
            })
            .ok()?;
        // Keys tell good names apart; of the others some look like one.
        Some(self.canonical[index]).filter(|&task| self.name(task) == name)
    }

    /// All tasks in canonical (project, task) order.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = TaskId> + '_ {
        self.canonical.iter().copied()
    }

    /// The tasks that wait for `task`, and how.
    pub fn successors(
        &self,
        task: TaskId,
    ) -> impl ExactSizeIterator<Item = (TaskId, EdgeKind)> + '_ {
        self.edges_of(task).iter().map(|edge| (edge.task(), edge.kind()))
    }

    /// The holds a task takes while it executes.
    #[must_use]
    pub fn holds(&self, task: TaskId) -> &[Hold] {
        self.settings(task).holds.map_or(&[], |list| &self.hold_lists[list as usize])
    }

    /// How many slots a task takes.
    #[must_use]
    pub fn weight(&self, task: TaskId) -> u32 {
        self.classes[self.class(task) as usize].weight
    }

    /// The tags of a task.
    pub fn tags(&self, task: TaskId) -> impl Iterator<Item = &str> + '_ {
        let class = &self.classes[self.class(task) as usize];
        class.tags.iter().map(|&tag| self.tags[tag as usize].as_str())
    }

    /// Whether a failure of the task counts as a success for edges and for the run.
    #[must_use]
    pub fn allows_failure(&self, task: TaskId) -> bool {
        self.settings(task).allow_failure
    }

    pub(crate) fn edges_of(&self, task: TaskId) -> &[Edge] {
        let index = task.index();
        &self.edges[self.edge_starts[index] as usize..self.edge_starts[index + 1] as usize]
    }

    pub(crate) fn settings(&self, task: TaskId) -> &Settings {
        &self.settings[self.settings_of[task.index()] as usize]
    }

    pub(crate) fn class(&self, task: TaskId) -> u32 {
        self.class_of.get(task.index()).copied().unwrap_or(0)
    }

    /// The place of a position in the order over all classes.
    pub(crate) fn rank(&self, position: u32) -> u32 {
        self.rank.get(position as usize).copied().unwrap_or(position)
    }
}
