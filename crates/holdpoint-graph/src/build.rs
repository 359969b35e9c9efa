//! From what a caller says to a checked [`Topology`] (GRAPH-001).

use std::collections::HashMap;
use std::time::Duration;

use holdpoint_core::{Name, TaskName};
use holdpoint_hold::{Hold, HoldSet, Scope};

use crate::cycle;
use crate::error::{BuildError, Fault};
use crate::topology::{Class, Edge, EdgeKind, MAX_TASKS, Names, Retry, Settings, TaskId, Topology};

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
    pub fn setup(&mut self, task: TaskId) -> TaskSetup<'_> {
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
    /// All faults found, see [`Fault`].
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

/// One build: what was said, and the faults found so far.
struct Build {
    said: TopologyBuilder,
    /// With the task they are about, for a stable order of the report.
    faults: Vec<(TaskId, Fault)>,
}

impl Build {
    fn run(said: TopologyBuilder) -> Result<Topology, BuildError> {
        if said.names.len() > MAX_TASKS
            || said.names.bytes() >= u32::MAX as usize
            || said.edges.len() + said.named_edges.len() >= u32::MAX as usize
        {
            return Err(BuildError { faults: vec![Fault::TooLarge] });
        }
        let mut build = Self { said, faults: Vec::new() };
        let canonical = build.sort_names();
        build.check_names(&canonical);
        build.resolve_names(&canonical);
        build.check_settings();
        let (edge_starts, edges, predecessors) = build.successor_lists();
        let graph = cycle::Adjacency { starts: &edge_starts, edges: &edges };
        let forward = build.said.edges.iter().all(|&(from, edge)| from < edge.task());
        let sorted = if forward { Ok(None) } else { cycle::sort(&graph, &predecessors).map(Some) };
        let mut faults = std::mem::take(&mut build.faults);
        faults.sort_by_key(|(task, _)| *task);
        let mut faults: Vec<Fault> = faults.into_iter().map(|(_, fault)| fault).collect();
        if let Err(core) = &sorted {
            faults.extend(build.describe(cycle::shortest_cycles(&graph, core), &canonical));
        }
        if !faults.is_empty() {
            return Err(BuildError { faults });
        }
        let paths = build.remaining_paths(&graph, sorted.unwrap_or_default().as_deref());
        Ok(build.freeze(canonical, edge_starts, edges, predecessors, &paths))
    }

    fn name(&self, task: TaskId) -> &str {
        self.said.names.get(task)
    }

    fn fault(&mut self, task: TaskId, fault: Fault) {
        self.faults.push((task, fault));
    }

    fn all(&self) -> impl Iterator<Item = TaskId> + use<> {
        (0..self.said.names.len() as u32).map(TaskId)
    }

    /// Tasks in canonical order, by a 16-byte prefix first: a million full comparisons of
    /// scattered texts would cost more than all other checks.
    fn sort_names(&self) -> Vec<TaskId> {
        let mut keyed: Vec<(u128, TaskId)> =
            self.all().map(|task| (prefix(self.name(task)), task)).collect();
        keyed.sort_unstable_by(|(left, l), (right, r)| {
            left.cmp(right)
                .then_with(|| canonical_key(self.name(*l)).cmp(canonical_key(self.name(*r))))
                .then_with(|| l.cmp(r))
        });
        keyed.into_iter().map(|(_, task)| task).collect()
    }

    fn check_names(&mut self, canonical: &[TaskId]) {
        for task in self.all() {
            if let Err(source) = TaskName::check(self.name(task)) {
                let name = self.name(task).to_owned();
                self.fault(task, Fault::BadName { name, source });
            }
        }
        for pair in canonical.windows(2) {
            if self.name(pair[0]) == self.name(pair[1]) {
                let name = self.name(pair[1]).to_owned();
                self.fault(pair[1], Fault::Duplicate { name });
            }
        }
    }

    fn resolve_names(&mut self, canonical: &[TaskId]) {
        for (name, edge) in std::mem::take(&mut self.said.named_edges) {
            let by_name = |&task: &TaskId| canonical_key(self.name(task)).cmp(canonical_key(&name));
            if let Ok(index) = canonical.binary_search_by(by_name) {
                self.said.edges.push((canonical[index], edge));
            } else {
                let task = self.name(edge.task()).to_owned();
                self.fault(edge.task(), Fault::Unknown { task, unknown: name });
            }
        }
    }

    /// Checks weights, retries, timeouts, tags and holds; interns the hold lists.
    fn check_settings(&mut self) {
        let mut set = HoldSet::new();
        for index in 0..self.said.capacities.len() {
            let (scope, name, units) = &self.said.capacities[index];
            if let Err(source) = set.declare(scope, name, *units) {
                let hold = name.clone();
                self.fault(TaskId(0), Fault::Capacity { hold, source });
            }
        }
        for task in self.all() {
            let draft_index = self.said.draft_of[task.index()] as usize;
            if draft_index == 0 {
                continue;
            }
            let draft = &mut self.said.drafts[draft_index];
            let holds = std::mem::take(&mut draft.holds);
            draft.tags.sort_unstable();
            draft.tags.dedup();
            let draft = &self.said.drafts[draft_index];
            let reason = if draft.weight == 0 {
                Some("its weight is 0; the least is 1")
            } else if draft.settings.timeout == Some(Duration::ZERO) {
                Some("its timeout is 0; leave it out for no limit")
            } else if draft.settings.retry.is_some_and(|retry| retry.attempts == 0) {
                Some("its attempts are 0; the first counts, so the least is 1")
            } else {
                None
            };
            let tags = draft.tags.clone();
            for tag in tags {
                if let Err(source) = Name::check(&self.said.tags[tag as usize]) {
                    let (name, tag) =
                        (self.name(task).to_owned(), self.said.tags[tag as usize].clone());
                    self.fault(task, Fault::BadTag { task: name, tag, source });
                }
            }
            if let Some(reason) = reason {
                let name = self.name(task).to_owned();
                self.fault(task, Fault::Setting { task: name, reason });
            }
            if !holds.is_empty() {
                let list = self.intern_holds(task, holds, &mut set);
                self.said.drafts[draft_index].settings.holds = list;
            }
        }
    }

    fn intern_holds(&mut self, task: TaskId, holds: Vec<Hold>, set: &mut HoldSet) -> Option<u32> {
        if let Some(&known) = self.said.hold_index.get(holds.as_slice()) {
            return Some(known);
        }
        if let Err(source) = set.claims(&holds) {
            let name = self.name(task).to_owned();
            self.fault(task, Fault::Hold { task: name, source });
            return None;
        }
        let holds = holds.into_boxed_slice();
        let index = self.said.hold_lists.len() as u32;
        self.said.hold_lists.push(holds.clone());
        self.said.hold_index.insert(holds, index);
        Some(index)
    }

    /// Successor lists without doubles, and the number of predecessors of each task.
    fn successor_lists(&mut self) -> (Vec<u32>, Vec<Edge>, Vec<u32>) {
        let count = self.said.names.len();
        let mut starts = vec![0_u32; count + 1];
        for (from, _) in &self.said.edges {
            starts[from.index() + 1] += 1;
        }
        for index in 0..count {
            starts[index + 1] += starts[index];
        }
        let mut next = starts.clone();
        let mut edges = vec![Edge::new(TaskId(0), EdgeKind::Hard); self.said.edges.len()];
        for &(from, edge) in &self.said.edges {
            edges[next[from.index()] as usize] = edge;
            next[from.index()] += 1;
        }
        drop(next);

        let mut predecessors = vec![0_u32; count];
        let mut kept = 0_usize;
        for task in (0..count as u32).map(TaskId) {
            let range = starts[task.index()] as usize..starts[task.index() + 1] as usize;
            if range.len() > 1 {
                edges[range.clone()].sort_unstable_by_key(|edge| (edge.task(), edge.kind()));
            }
            starts[task.index()] = kept as u32;
            let mut last: Option<Edge> = None;
            for index in range {
                let edge = edges[index];
                if last == Some(edge) {
                    continue;
                }
                if edge.task() == task {
                    let task_name = self.name(task).to_owned();
                    self.fault(task, Fault::SelfEdge { task: task_name });
                    continue;
                }
                if last.is_some_and(|last| last.task() == edge.task()) {
                    let (waits, predecessor) =
                        (self.name(edge.task()).to_owned(), self.name(task).to_owned());
                    self.fault(edge.task(), Fault::BothKinds { task: waits, predecessor });
                }
                last = Some(edge);
                edges[kept] = edge;
                kept += 1;
                predecessors[edge.task().index()] += 1;
            }
        }
        starts[count] = kept as u32;
        edges.truncate(kept);
        edges.shrink_to_fit();
        (starts, edges, predecessors)
    }

    /// Cycles by name, each rotated to begin with its first task in canonical order and turned
    /// from successor to "waits for" direction.
    fn describe(&self, cycles: Vec<Vec<TaskId>>, canonical: &[TaskId]) -> Vec<Fault> {
        let mut place = vec![0_u32; canonical.len()];
        for (index, task) in canonical.iter().enumerate() {
            place[task.index()] = index as u32;
        }
        let mut cycles = cycles;
        for tasks in &mut cycles {
            tasks.reverse();
            let first = (0..tasks.len()).min_by_key(|&index| place[tasks[index].index()]);
            tasks.rotate_left(first.unwrap_or(0));
        }
        cycles.sort_by_key(|tasks| place[tasks[0].index()]);
        cycles
            .into_iter()
            .map(|tasks| Fault::Cycle {
                tasks: tasks.into_iter().map(|task| self.name(task).to_owned()).collect(),
            })
            .collect()
    }

    /// For each task the length of the longest path that begins with it, in nanoseconds. Empty
    /// where no duration is known.
    fn remaining_paths(&self, graph: &cycle::Adjacency<'_>, sorted: Option<&[TaskId]>) -> Vec<u64> {
        if self.said.drafts.iter().all(|draft| draft.expected.is_zero()) {
            return Vec::new();
        }
        let mut paths = vec![0_u64; self.said.names.len()];
        let mut visit = |task: TaskId| {
            let own = self.said.drafts[self.said.draft_of[task.index()] as usize].expected;
            let own = u64::try_from(own.as_nanos()).unwrap_or(u64::MAX);
            let after = graph.of(task).iter().map(|edge| paths[edge.task().index()]).max();
            paths[task.index()] = own.saturating_add(after.unwrap_or(0));
        };
        match sorted {
            Some(sorted) => sorted.iter().rev().for_each(|&task| visit(task)),
            // Every edge leads to a later task: definition order is a topological order.
            None => (0..self.said.names.len() as u32).rev().map(TaskId).for_each(visit),
        }
        paths
    }

    fn freeze(
        self,
        canonical: Vec<TaskId>,
        edge_starts: Vec<u32>,
        edges: Vec<Edge>,
        predecessors: Vec<u32>,
        paths: &[u64],
    ) -> Topology {
        let said = self.said;
        let count = said.names.len();
        let draft = |task: TaskId| &said.drafts[said.draft_of[task.index()] as usize];

        let mut considered = canonical.clone();
        if !paths.is_empty() || said.drafts.iter().any(|draft| draft.priority != 0) {
            // Stable: canonical order decides among equals.
            considered.sort_by_key(|&task| {
                let path = paths.get(task.index()).copied().unwrap_or(0);
                (std::cmp::Reverse(draft(task).priority), std::cmp::Reverse(path))
            });
        }

        let mut classes: Vec<Class> = Vec::new();
        let mut index: HashMap<(u32, &[u32]), u32> = HashMap::new();
        let mut class_of = vec![0_u32; count];
        for &task in &considered {
            let draft = draft(task);
            let class = *index.entry((draft.weight, &draft.tags)).or_insert_with(|| {
                let tags = draft.tags.clone().into_boxed_slice();
                classes.push(Class { weight: draft.weight, tags, positions: 0..0 });
                classes.len() as u32 - 1
            });
            class_of[task.index()] = class;
            classes[class as usize].positions.end += 1;
        }
        let mut start = 0;
        for class in &mut classes {
            let size = class.positions.end;
            class.positions = start..start;
            start += size;
        }
        let mut order = vec![TaskId(0); count];
        let mut position = vec![0_u32; count];
        let mut rank = if classes.len() > 1 { vec![0_u32; count] } else { Vec::new() };
        for (place, &task) in considered.iter().enumerate() {
            let class = &mut classes[class_of[task.index()] as usize];
            let own = class.positions.end;
            class.positions.end += 1;
            order[own as usize] = task;
            position[task.index()] = own;
            if let Some(rank) = rank.get_mut(own as usize) {
                *rank = place as u32;
            }
        }
        if classes.len() <= 1 {
            class_of = Vec::new();
        }
        Topology {
            names: said.names,
            edge_starts,
            edges,
            predecessors,
            order,
            position,
            rank,
            canonical,
            classes,
            class_of,
            tags: said.tags,
            settings_of: said.draft_of,
            settings: said.drafts.into_iter().map(|draft| draft.settings).collect(),
            hold_lists: said.hold_lists,
            capacities: said.capacities,
        }
    }
}

/// The bytes by which names sort in canonical order: a project is a prefix of its own, and no
/// project comes before all.
pub(crate) fn canonical_key(name: &str) -> impl Iterator<Item = u8> + Clone + '_ {
    let alone = !name.contains(':');
    let bytes = name.bytes().map(|byte| if byte == b':' { 0 } else { byte });
    alone.then_some(0).into_iter().chain(bytes)
}

fn prefix(name: &str) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(canonical_key(name)) {
        *to = from;
    }
    u128::from_be_bytes(bytes)
}
