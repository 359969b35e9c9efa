//! Topological order, and the shortest cycles where there is none. Iterative throughout.

use std::collections::VecDeque;

use crate::topology::{Edge, TaskId};

/// How many edges the search for shortest cycles may visit. Past it, the shortest cycle found
/// so far is reported: still a cycle, perhaps not the shortest.
const SEARCH_BUDGET: usize = 50_000_000;

/// Successor lists, as the topology stores them.
pub(crate) struct Adjacency<'a> {
    pub(crate) starts: &'a [u32],
    pub(crate) edges: &'a [Edge],
}

impl<'a> Adjacency<'a> {
    pub(crate) fn of(&self, task: TaskId) -> &'a [Edge] {
        &self.edges[self.starts[task.index()] as usize..self.starts[task.index() + 1] as usize]
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }
}

/// All tasks, predecessors first; or the tasks that lie on or behind a cycle.
pub(crate) fn sort(
    graph: &Adjacency<'_>,
    predecessors: &[u32],
) -> Result<Vec<TaskId>, Vec<TaskId>> {
    let mut open = predecessors.to_vec();
    let mut sorted: Vec<TaskId> =
        (0..graph.len() as u32).map(TaskId).filter(|task| open[task.index()] == 0).collect();
    let mut next = 0;
    while let Some(&task) = sorted.get(next) {
        next += 1;
        for edge in graph.of(task) {
            let open = &mut open[edge.task().index()];
            *open -= 1;
            if *open == 0 {
                sorted.push(edge.task());
            }
        }
    }
    if sorted.len() == graph.len() {
        return Ok(sorted);
    }
    Err((0..graph.len() as u32).map(TaskId).filter(|task| open[task.index()] > 0).collect())
}

/// One shortest cycle, in edge direction, for each strongly connected group of `rest`.
pub(crate) fn shortest_cycles(graph: &Adjacency<'_>, rest: &[TaskId]) -> Vec<Vec<TaskId>> {
    let mut budget = SEARCH_BUDGET;
    let groups = groups(graph, rest);
    let mut member = vec![NONE; graph.len()];
    for (number, group) in groups.iter().enumerate() {
        for task in group {
            member[task.index()] = number as u32;
        }
    }
    let mut search = Search { graph, member, parent: vec![NONE; graph.len()] };
    let shortest =
        |(number, group): (usize, &Vec<TaskId>)| search.shortest(group, number as u32, &mut budget);
    groups.iter().enumerate().filter_map(shortest).collect()
}

const NONE: u32 = u32::MAX;

struct Search<'a> {
    graph: &'a Adjacency<'a>,
    /// The group a task still belongs to.
    member: Vec<u32>,
    /// Breadth-first parents; reset after each search.
    parent: Vec<u32>,
}

impl Search<'_> {
    /// Tries each task as a start. A start is taken out afterwards, with all that then lies on
    /// no cycle any more: a single large cycle costs one search.
    fn shortest(
        &mut self,
        group: &[TaskId],
        number: u32,
        budget: &mut usize,
    ) -> Option<Vec<TaskId>> {
        let mut best: Option<Vec<TaskId>> = None;
        let mut degrees = Degrees::count(self.graph, group, &self.member, number);
        for &start in group {
            if self.member[start.index()] != number {
                continue;
            }
            let bound = best.as_ref().map_or(usize::MAX, Vec::len);
            if let Some(found) = self.through(start, number, bound, budget) {
                best = Some(found);
            }
            if *budget == 0 || best.as_ref().is_some_and(|cycle| cycle.len() == 2) {
                break;
            }
            degrees.remove(self.graph, start, &mut self.member, number);
        }
        best
    }

    /// The shortest cycle through `start` that has fewer than `bound` tasks.
    fn through(
        &mut self,
        start: TaskId,
        number: u32,
        bound: usize,
        budget: &mut usize,
    ) -> Option<Vec<TaskId>> {
        let mut queue = VecDeque::from([(start, 1_usize)]);
        let mut seen = vec![start];
        let mut last = None;
        'search: while let Some((task, length)) = queue.pop_front() {
            if length >= bound {
                break;
            }
            for edge in self.graph.of(task) {
                *budget = budget.saturating_sub(1);
                let next = edge.task();
                if next == start {
                    last = Some(task);
                    break 'search;
                }
                let inside = self.member[next.index()] == number;
                if inside && self.parent[next.index()] == NONE {
                    self.parent[next.index()] = task.0;
                    seen.push(next);
                    queue.push_back((next, length + 1));
                }
            }
        }
        let cycle = last.map(|last| {
            let mut cycle = vec![last];
            let mut at = last;
            while at != start {
                at = TaskId(self.parent[at.index()]);
                cycle.push(at);
            }
            cycle.reverse();
            cycle
        });
        for task in seen {
            self.parent[task.index()] = NONE;
        }
        cycle
    }
}

/// Edges in and out of each task within a group, and who comes before whom.
struct Degrees {
    incoming: std::collections::HashMap<TaskId, (u32, Vec<TaskId>)>,
    outgoing: std::collections::HashMap<TaskId, u32>,
}

impl Degrees {
    fn count(graph: &Adjacency<'_>, group: &[TaskId], member: &[u32], number: u32) -> Self {
        let mut degrees = Self { incoming: Default::default(), outgoing: Default::default() };
        for &task in group {
            for edge in graph.of(task) {
                if member[edge.task().index()] == number {
                    let (count, from) = degrees.incoming.entry(edge.task()).or_default();
                    *count += 1;
                    from.push(task);
                    *degrees.outgoing.entry(task).or_default() += 1;
                }
            }
        }
        degrees
    }

    /// Takes out `task`, and then every task left without a way in or out.
    fn remove(&mut self, graph: &Adjacency<'_>, task: TaskId, member: &mut [u32], number: u32) {
        let mut gone = vec![task];
        member[task.index()] = NONE;
        while let Some(task) = gone.pop() {
            for edge in graph.of(task) {
                let next = edge.task();
                if member[next.index()] == number
                    && let Some((count, _)) = self.incoming.get_mut(&next)
                {
                    *count -= 1;
                    if *count == 0 {
                        member[next.index()] = NONE;
                        gone.push(next);
                    }
                }
            }
            let before = self.incoming.get_mut(&task).map(|(_, from)| std::mem::take(from));
            for from in before.unwrap_or_default() {
                if member[from.index()] == number
                    && let Some(count) = self.outgoing.get_mut(&from)
                {
                    *count -= 1;
                    if *count == 0 {
                        member[from.index()] = NONE;
                        gone.push(from);
                    }
                }
            }
        }
    }
}

/// Strongly connected groups of more than one task: Tarjan's algorithm with its own stack.
fn groups(graph: &Adjacency<'_>, rest: &[TaskId]) -> Vec<Vec<TaskId>> {
    let count = graph.len();
    let mut number = vec![0_u32; count];
    let mut low = vec![0_u32; count];
    let mut on_stack = vec![false; count];
    let mut stack = Vec::new();
    let mut path: Vec<(TaskId, usize)> = Vec::new();
    let mut counter = 0;
    let mut groups = Vec::new();
    for &root in rest {
        if number[root.index()] != 0 {
            continue;
        }
        path.push((root, 0));
        while let Some((task, child)) = path.last_mut() {
            let task = *task;
            if *child == 0 {
                counter += 1;
                number[task.index()] = counter;
                low[task.index()] = counter;
                stack.push(task);
                on_stack[task.index()] = true;
            }
            if let Some(edge) = graph.of(task).get(*child) {
                *child += 1;
                let next = edge.task();
                if number[next.index()] == 0 {
                    path.push((next, 0));
                } else if on_stack[next.index()] {
                    low[task.index()] = low[task.index()].min(number[next.index()]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                low[parent.index()] = low[parent.index()].min(low[task.index()]);
            }
            if low[task.index()] == number[task.index()] {
                let start = stack.iter().rposition(|&member| member == task).unwrap_or(0);
                let mut group = stack.split_off(start);
                for member in &group {
                    on_stack[member.index()] = false;
                }
                if group.len() > 1 {
                    group.sort_unstable();
                    groups.push(group);
                }
            }
        }
    }
    groups
}
