//! Where the output of a run's processes goes, besides their log files.

use std::path::Path;

use holdpoint_core::TaskName;
use holdpoint_process::{Line, Stream};

/// Receives the output of a run's tasks. One value serves all of them, and gives each attempt a
/// receiver of its own.
pub trait TaskOutput: Send + Sync {
    /// The process of an attempt is about to be started.
    fn open(&self, attempt: &Attempt<'_>) -> Box<dyn AttemptOutput>;
}

/// One attempt of a task.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// The task.
    pub task: &'a TaskName,
    /// Which attempt it is, from 1.
    pub number: u32,
    /// The file that receives every byte of its output. It is made at the first byte.
    pub log: &'a Path,
}

/// Receives the output of one attempt, line by line, while its process runs.
///
/// Dropped without [`close`](Self::close) where the process was killed at once or could not be
/// started.
pub trait AttemptOutput: Send {
    /// A line, or a piece of a long one. Return soon: the whole run waits meanwhile.
    fn line(&mut self, stream: Stream, line: Line<'_>);

    /// The process has ended. `is_leaky`: one that it left behind still holds its output, and
    /// what that one writes is lost.
    fn close(self: Box<Self>, is_leaky: bool);
}

/// Wants no output.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOutput;

impl TaskOutput for NoOutput {
    fn open(&self, _: &Attempt<'_>) -> Box<dyn AttemptOutput> {
        Box::new(*self)
    }
}

impl AttemptOutput for NoOutput {
    fn line(&mut self, _: Stream, _: Line<'_>) {}

    fn close(self: Box<Self>, _: bool) {}
}
