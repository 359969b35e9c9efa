//! What the tasks of a simulated graph do.

use std::time::Duration;

use holdpoint_graph::{Gate, Lookup, TaskEnd, TaskFailure, TaskId};

use crate::sim::Random;

/// What the tasks of a graph do: each answer comes with the time that it takes. By default all
/// of it goes well, in random times.
pub trait GraphWork: 'static {
    /// A gate is awaited.
    fn gate(&mut self, task: TaskId, random: &mut Random) -> (Duration, Gate) {
        let _ = task;
        (random.millis(50), Gate::Open)
    }

    /// A task is looked up.
    fn lookup(&mut self, task: TaskId, random: &mut Random) -> (Duration, Lookup) {
        let _ = task;
        (random.millis(5), Lookup::Miss)
    }

    /// A task is executed. The attempts count from 1.
    fn execute(&mut self, task: TaskId, attempt: u32, random: &mut Random) -> (Duration, TaskEnd) {
        let _ = (task, attempt);
        (random.millis(50), TaskEnd::Succeeded)
    }

    /// The token of an executing task fired: how long it takes to stop; none where it does not
    /// heed it.
    fn heeds(&mut self, task: TaskId, random: &mut Random) -> Option<Duration> {
        let _ = task;
        Some(random.millis(20))
    }
}

/// Work in which all goes well.
#[derive(Debug, Clone, Copy, Default)]
pub struct GoodWork;

impl GraphWork for GoodWork {}

/// Work in which everything that can happen does, now and then.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyWork;

impl GraphWork for AnyWork {
    fn gate(&mut self, _: TaskId, random: &mut Random) -> (Duration, Gate) {
        let gate = match random.below(10) {
            0 => Gate::Failed(TaskFailure::new("rejected")),
            1 => Gate::Skip("not today".into()),
            _ => Gate::Open,
        };
        (random.millis(50), gate)
    }

    fn lookup(&mut self, _: TaskId, random: &mut Random) -> (Duration, Lookup) {
        let lookup = match random.below(10) {
            0 => Lookup::Errored(TaskFailure::new("disk")),
            1 => Lookup::Skip("not wanted".into()),
            2..5 => Lookup::Hit,
            _ => Lookup::Miss,
        };
        (random.millis(5), lookup)
    }

    fn execute(&mut self, _: TaskId, _: u32, random: &mut Random) -> (Duration, TaskEnd) {
        let failure = TaskFailure::new("boom");
        let end = match random.below(12) {
            0 => TaskEnd::Failed(failure.permanent()),
            1 | 2 => TaskEnd::Failed(failure),
            3 => TaskEnd::Errored(failure),
            4 => TaskEnd::Cancelled,
            _ => TaskEnd::Succeeded,
        };
        // Now and then one that a cancel meets for certain.
        let most = if random.percent(5) { 500 } else { 50 };
        (random.millis(most), end)
    }

    fn heeds(&mut self, _: TaskId, random: &mut Random) -> Option<Duration> {
        random.percent(80).then(|| random.millis(40))
    }
}
