//! At most one deadline a task, in order of time.

use std::collections::{BTreeSet, HashMap};

use holdpoint_core::Monotonic;

use crate::topology::TaskId;

/// What happens to a task when its deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The attempt has taken too long.
    Timeout,
    /// The token fired and the task has not ended within the grace.
    Grace,
    /// The delay before the next attempt is over.
    Retry,
}

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: BTreeSet<(Monotonic, TaskId)>,
    of: HashMap<TaskId, (Monotonic, Due)>,
}

impl Deadlines {
    /// Sets the deadline of a task, in place of the one it had.
    pub(crate) fn set(&mut self, task: TaskId, at: Monotonic, due: Due) {
        self.clear(task);
        self.queue.insert((at, task));
        self.of.insert(task, (at, due));
    }

    pub(crate) fn clear(&mut self, task: TaskId) {
        if self.of.is_empty() {
            return;
        }
        if let Some((at, _)) = self.of.remove(&task) {
            self.queue.remove(&(at, task));
        }
    }

    pub(crate) fn due(&self, task: TaskId) -> Option<Due> {
        self.of.get(&task).map(|(_, due)| *due)
    }

    pub(crate) fn next(&self) -> Option<Monotonic> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// A task whose deadline is not after `now`; it has none any more.
    pub(crate) fn pop(&mut self, now: Monotonic) -> Option<(TaskId, Due)> {
        let (at, task) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.of.remove(&task).map(|(_, due)| (task, due))
    }
}
