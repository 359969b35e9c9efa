//! From what a caller says to a checked [`Topology`] (GRAPH-001).

mod check;

use std::collections::HashMap;
use std::time::Duration;

use holdpoint_hold::{Hold, Scope};

use self::check::Build;
use crate::error::BuildError;
use crate::topology::{Edge, EdgeKind, MAX_TASKS, Names, Retry, Settings, TaskId, Topology};

/// Collects tasks and edges; [`build`](Self::build) checks them all at once.
///
/// Nothing is refused before `build`, so that one pass reports every fault.
///
/// ```
/// use holdpoint_graph::{Fault, Topology};
///
/// let mut builder = Topology::builder();
/// builder.task("test").needs("build");
/// builder.task("build").needs("test");
/// let error = builder.build().unwrap_err();
/// let Fault::Cycle { tasks } = &error.faults[0] else { panic!() };
/// assert_eq!(tasks, &["build", "test"]);
/// assert_eq!(error.faults[0].to_string(), "cycle: build -> test -> build");
/// ```
#[derive(Debug, Clone)]
pub struct TopologyBuilder {
    names: Names,
    edges: Vec<(TaskId, Edge)>,
    named_edges: Vec<(String, Edge)>,
    drafts: Vec<Draft>,
    draft_of: Vec<u32>,
    tags: Vec<String>,
    tag_index: HashMap<String, u32>,
    hold_lists: Vec<Box<[Hold]>>,
    hold_index: HashMap<Box<[Hold]>, u32>,
    capacities: Vec<(Scope, String, u32)>,
}

/// What was said of a task besides its name and edges.
#[derive(Debug, Clone)]
struct Draft {
    settings: Settings,
    holds: Vec<Hold>,
    tags: Vec<u32>,
    weight: u32,
    priority: i32,
    expected: Duration,
}

impl Draft {
    const NONE: Self = Self {
        settings: Settings::NONE,
        holds: Vec::new(),
        tags: Vec::new(),
        weight: 1,
        priority: 0,
        expected: Duration::ZERO,
    };
}

/// A predecessor: a task of the same builder, or a name.
#[derive(Debug, Clone)]
pub struct Predecessor(Which);

#[derive(Debug, Clone)]
enum Which {
    Id(TaskId),
    Name(String),
}

impl From<TaskId> for Predecessor {
    fn from(task: TaskId) -> Self {
        Self(Which::Id(task))
    }
}

impl From<&str> for Predecessor {
    fn from(name: &str) -> Self {
        Self(Which::Name(name.to_owned()))
    }
}

impl From<String> for Predecessor {
    fn from(name: String) -> Self {
        Self(Which::Name(name))
    }
}

impl Default for TopologyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl TopologyBuilder {
    pub(crate) fn new() -> Self {
        Self {
            names: Names::default(),
            edges: Vec::new(),
            named_edges: Vec::new(),
            drafts: vec![Draft::NONE],
            draft_of: Vec::new(),
            tags: Vec::new(),
            tag_index: HashMap::new(),
            hold_lists: Vec::new(),
            hold_index: HashMap::new(),
            capacities: Vec::new(),
        }
    }

    /// Adds a task and returns its settings to be filled in.
    pub fn task(&mut self, name: &str) -> TaskSetup<'_> {
        let task = TaskId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(name);
        self.draft_of.push(0);
        TaskSetup { builder: self, task }
    }

    /// Declares a counted hold with its capacity in units.
    pub fn hold_capacity(&mut self, scope: Scope, name: &str, units: u32) -> &mut Self {
        self.capacities.push((scope, name.to_owned(), units));
        self
    }

    /// Goes on with a task added before.
    ///
    /// # Panics
    /// Where `task` belongs to a larger graph.
    pub fn setup(&mut self, task: TaskId) -> TaskSetup<'_> {
        assert!(task.index() < self.len(), "a task of another graph: {task:?}");
        TaskSetup { builder: self, task }
    }

    /// How many tasks were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no task was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks everything and freezes the graph. O((n + e) log n), without recursion.
    ///
    /// # Errors
    /// All faults found, see [`Fault`](crate::Fault).
    pub fn build(self) -> Result<Topology, BuildError> {
        Build::run(self)
    }

    fn draft(&mut self, task: TaskId) -> &mut Draft {
        let slot = &mut self.draft_of[task.index()];
        if *slot == 0 {
            *slot = u32::try_from(self.drafts.len()).unwrap_or(u32::MAX);
            self.drafts.push(Draft::NONE);
        }
        &mut self.drafts[*slot as usize]
    }
}

/// The settings of one task, each with its default.
#[derive(Debug)]
pub struct TaskSetup<'a> {
    builder: &'a mut TopologyBuilder,
    task: TaskId,
}

impl TaskSetup<'_> {
    /// The task, to name it in later edges.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task
    }

    /// Waits until `predecessor` has succeeded (a hard edge).
    pub fn needs(self, predecessor: impl Into<Predecessor>) -> Self {
        self.edge(predecessor.into(), EdgeKind::Hard)
    }

    /// Waits until `predecessor` has ended in any way (a soft edge).
    pub fn after(self, predecessor: impl Into<Predecessor>) -> Self {
        self.edge(predecessor.into(), EdgeKind::Soft)
    }

    /// Runs after `predecessor` ended in any way, also where the run stops at a failure.
    pub fn finally(self, predecessor: impl Into<Predecessor>) -> Self {
        self.builder.draft(self.task).settings.finally = true;
        self.edge(predecessor.into(), EdgeKind::Finally)
    }

    /// Takes a hold while it executes. May be called for several.
    pub fn hold(self, hold: Hold) -> Self {
        self.builder.draft(self.task).holds.push(hold);
        self
    }

    /// Counts against the cap of this tag, where the run has one.
    pub fn tag(self, tag: &str) -> Self {
        let index = match self.builder.tag_index.get(tag) {
            Some(&index) => index,
            None => {
                let index = u32::try_from(self.builder.tags.len()).unwrap_or(u32::MAX);
                self.builder.tags.push(tag.to_owned());
                self.builder.tag_index.insert(tag.to_owned(), index);
                index
            }
        };
        self.builder.draft(self.task).tags.push(index);
        self
    }

    /// How many slots of the global limit it takes. Default 1.
    pub fn weight(self, slots: u32) -> Self {
        self.builder.draft(self.task).weight = slots;
        self
    }

    /// Considered before ready tasks of lower priority. Default 0.
    pub fn priority(self, priority: i32) -> Self {
        self.builder.draft(self.task).priority = priority;
        self
    }

    /// How long it is known to take. Among equal priorities the task with the longest
    /// remaining path is considered first, where any durations are known.
    pub fn expected(self, duration: Duration) -> Self {
        self.builder.draft(self.task).expected = duration;
        self
    }

    /// How long one attempt may take before its token fires. Default: no limit.
    pub fn timeout(self, limit: Duration) -> Self {
        self.builder.draft(self.task).settings.timeout = Some(limit);
        self
    }

    /// How often a failure is tried again. Default: not at all.
    pub fn retry(self, retry: Retry) -> Self {
        self.builder.draft(self.task).settings.retry = Some(retry);
        self
    }

    /// A failure counts as a success for edges and for the run, and is marked.
    pub fn allow_failure(self) -> Self {
        self.builder.draft(self.task).settings.allow_failure = true;
        self
    }

    /// Awaits the runner's gate after the predecessors and before admission (GRAPH-018).
    pub fn gated(self) -> Self {
        self.builder.draft(self.task).settings.gate = true;
        self
    }

    /// Asks the runner's lookup before it executes (GRAPH-005).
    pub fn lookup(self) -> Self {
        self.builder.draft(self.task).settings.lookup = true;
        self
    }

    fn edge(self, predecessor: Predecessor, kind: EdgeKind) -> Self {
        let edge = Edge::new(TaskId(self.task.0 & (MAX_TASKS as u32 - 1)), kind);
        match predecessor.0 {
            Which::Id(from) => self.builder.edges.push((from, edge)),
            Which::Name(name) => self.builder.named_edges.push((name, edge)),
        }
        self
    }
}

/// The bytes by which names sort in canonical order: a project is a prefix of its own, and no
/// project comes before all.
pub(crate) fn canonical_key(name: &str) -> impl Iterator<Item = u8> + Clone + '_ {
    let alone = !name.contains(':');
    let bytes = name.bytes().map(|byte| if byte == b':' { 0 } else { byte });
    alone.then_some(0).into_iter().chain(bytes)
}
