//! The edges of a graph, for the rule that only an audit who knows them can judge.

use std::collections::HashMap;

use holdpoint_core::TaskName;

/// How a task depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The other must have succeeded.
    Hard,
    /// The other must have ended, in any way.
    Soft,
}

/// The tasks of a graph, each with what it comes after.
///
/// ```
/// use holdpoint_testkit::audit::{Edge, Edges};
///
/// let mut edges = Edges::default();
/// edges.task("build".parse()?);
/// edges.edge("test".parse()?, "build".parse()?, Edge::Hard);
/// assert_eq!(edges.tasks().count(), 2);
/// # Ok::<(), holdpoint_core::NameError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edges {
    before: HashMap<TaskName, Vec<(TaskName, Edge)>>,
}

impl Edges {
    /// Adds a task.
    pub fn task(&mut self, task: TaskName) {
        self.before.entry(task).or_default();
    }

    /// Adds an edge: `task` comes after `before`. Adds both tasks where they are new.
    pub fn edge(&mut self, task: TaskName, before: TaskName, edge: Edge) {
        self.task(before.clone());
        self.before.entry(task).or_default().push((before, edge));
    }

    /// The tasks, in no order.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskName> {
        self.before.keys()
    }

    /// What a task comes after.
    pub(super) fn before(&self, task: &TaskName) -> &[(TaskName, Edge)] {
        self.before.get(task).map_or(&[], Vec::as_slice)
    }
}
