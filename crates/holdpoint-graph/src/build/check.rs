//! The checks of a build, in the order in which they need each other, and the frozen result.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use holdpoint_core::{Name, TaskName};
use holdpoint_hold::{Hold, HoldSet};

use super::{Draft, TopologyBuilder, canonical_key};
use crate::cycle;
use crate::error::{BuildError, Fault};
use crate::topology::{Class, Edge, EdgeKind, MAX_TASKS, Settings, TaskId, Topology};

/// One build: what was said, and the faults found so far.
pub(super) struct Build {
    said: TopologyBuilder,
    /// With the task they are about, for a stable order of the report.
    faults: Vec<(TaskId, Fault)>,
}

impl Build {
    pub(super) fn run(said: TopologyBuilder) -> Result<Topology, BuildError> {
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
                // Bad names may share a key.
                .then_with(|| (self.name(*l), l).cmp(&(self.name(*r), r)))
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
        let count = self.said.names.len();
        for (from, edge) in self.said.edges.extract_if(.., |(from, _)| from.index() >= count) {
            let task = self.said.names.get(edge.task()).to_owned();
            let unknown = format!("#{}", from.index());
            self.faults.push((edge.task(), Fault::Unknown { task, unknown }));
        }
        for (name, edge) in std::mem::take(&mut self.said.named_edges) {
            let by_name = |&task: &TaskId| canonical_key(self.name(task)).cmp(canonical_key(&name));
            if let Ok(index) = canonical.binary_search_by(by_name)
                && self.name(canonical[index]) == name
            {
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
            let no_attempts = draft.settings.retry.is_some_and(|retry| retry.attempts == 0);
            let reasons = [
                (draft.weight == 0, "its weight is 0; the least is 1"),
                (
                    draft.settings.timeout == Some(Duration::ZERO),
                    "its timeout is 0; leave it out for no limit",
                ),
                (no_attempts, "its attempts are 0; the first counts, so the least is 1"),
            ];
            let tags = draft.tags.clone();
            for tag in tags {
                if let Err(source) = Name::check(&self.said.tags[tag as usize]) {
                    let (name, tag) =
                        (self.name(task).to_owned(), self.said.tags[tag as usize].clone());
                    self.fault(task, Fault::BadTag { task: name, tag, source });
                }
            }
            for (_, reason) in reasons.into_iter().filter(|(wrong, _)| *wrong) {
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
                (Reverse(draft(task).priority), Reverse(path))
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
        let (settings, settings_of) = intern_settings(&said.drafts, said.draft_of);
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
            settings_of,
            settings,
            hold_lists: said.hold_lists,
            capacities: said.capacities,
        }
    }
}

/// Tasks with the same settings share them. Those with a retry are left apart: its numbers
/// have no order to look them up by, and few tasks have one.
fn intern_settings(drafts: &[Draft], mut draft_of: Vec<u32>) -> (Vec<Settings>, Vec<u32>) {
    let mut settings: Vec<Settings> = Vec::new();
    let mut known = HashMap::new();
    let places: Vec<u32> = drafts
        .iter()
        .map(|draft| {
            let it = &draft.settings;
            let flags = (it.allow_failure, it.gate, it.lookup, it.finally);
            let mut add = || {
                settings.push(it.clone());
                settings.len() as u32 - 1
            };
            match it.retry {
                Some(_) => add(),
                None => *known.entry((it.holds, it.timeout, flags)).or_insert_with(add),
            }
        })
        .collect();
    for draft in &mut draft_of {
        *draft = places[*draft as usize];
    }
    (settings, draft_of)
}

fn prefix(name: &str) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(canonical_key(name)) {
        *to = from;
    }
    u128::from_be_bytes(bytes)
}
