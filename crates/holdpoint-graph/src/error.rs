//! What can be wrong with a graph, and with starting it.

use std::fmt;

use holdpoint_core::{NameError, Retryable};
use holdpoint_hold::{ClaimError, DeclareError};

/// Everything that is wrong with a graph, found in one pass (GRAPH-001).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the graph cannot be built: {}", Join(.faults))]
#[non_exhaustive]
pub struct BuildError {
    /// The faults, in the order of the tasks they concern; cycles last. Never empty.
    pub faults: Vec<Fault>,
}

impl Retryable for BuildError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// One thing that is wrong with a graph. Tasks are given by name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A task's name breaks the rules of CORE-002.
    #[error("task {name:?}: {source}")]
    BadName {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        source: NameError,
    },
    /// A tag's name breaks the rules of CORE-002.
    #[error("task `{task}`, tag {tag:?}: {source}")]
    BadTag {
        /// The task that carries it.
        task: String,
        /// The tag as given.
        tag: String,
        /// Which rule it breaks.
        source: NameError,
    },
    /// Two tasks have one name.
    #[error("task `{name}` is defined twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An edge comes from a name that no task has.
    #[error("task `{task}` waits for `{unknown}`, which is not a task")]
    Unknown {
        /// The task that waits.
        task: String,
        /// The name it gives; `#7` where it gives the number of a task of another graph.
        unknown: String,
    },
    /// A task waits for itself.
    #[error("task `{task}` waits for itself")]
    SelfEdge {
        /// The task.
        task: String,
    },
    /// One pair of tasks has edges of two kinds.
    #[error("task `{task}` waits for `{predecessor}` in two ways; keep one")]
    BothKinds {
        /// The task that waits.
        task: String,
        /// The task it waits for.
        predecessor: String,
    },
    /// Tasks that wait for each other in a circle.
    #[error("cycle: {}", Circle(.tasks))]
    Cycle {
        /// The shortest cycle of its group; each task waits for the next, the last for the
        /// first. It begins with the first in canonical order.
        tasks: Vec<String>,
    },
    /// The holds of a task cannot be taken together, or never.
    #[error("task `{task}`: {source}")]
    Hold {
        /// The task.
        task: String,
        /// What is wrong.
        source: ClaimError,
    },
    /// The capacity of a counted hold is declared wrongly.
    #[error("hold {hold:?}: {source}")]
    Capacity {
        /// The hold as given.
        hold: String,
        /// What is wrong.
        source: DeclareError,
    },
    /// A setting of a task is out of its range.
    #[error("task `{task}`: {reason}")]
    Setting {
        /// The task.
        task: String,
        /// What is wrong and what is allowed.
        reason: &'static str,
    },
    /// More tasks or edges than a graph can number (2^30 tasks, 2^32 edges).
    #[error("a graph holds at most 2^30 tasks and 2^32 edges")]
    TooLarge,
}

/// Why a run was refused before anything started.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A limit is zero, so that nothing could ever start.
    #[error("the limit of {what} is 0, so nothing could start; the least is 1")]
    ZeroLimit {
        /// `jobs`, or the tag.
        what: String,
    },
    /// A task takes more slots than there are.
    #[error("task `{task}` takes {weight} slots and the limit is {limit}")]
    WeightAboveLimit {
        /// The task.
        task: String,
        /// The slots it takes.
        weight: u32,
        /// The slots there are.
        limit: u32,
    },
    /// The hold set of the run refuses the holds of a task.
    #[error("task `{task}`: {source}")]
    Hold {
        /// The task.
        task: String,
        /// What is wrong.
        source: ClaimError,
    },
    /// A counted hold has another capacity in the hold set of the run.
    #[error("hold `{hold}`: {source}")]
    Capacity {
        /// The hold.
        hold: String,
        /// What is wrong.
        source: DeclareError,
    },
    /// The run needs a tokio runtime (it has timeouts or retries, or spreads tasks over
    /// threads), and there is none here.
    #[error("this run needs a tokio runtime, and it was started outside of one")]
    NoRuntime,
}

impl Retryable for RunError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// The value of a task cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The task did not succeed, or has not ended yet.
    #[error("task `{task}` has no value: it has not succeeded")]
    NotSucceeded {
        /// The task.
        task: String,
    },
    /// The key belongs to another graph.
    #[error("the key is of another graph")]
    OtherGraph,
}

impl Retryable for ValueError {
    fn is_retryable(&self) -> bool {
        false
    }
}

struct Join<'a>(&'a [Fault]);

impl fmt::Display for Join<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

struct Circle<'a>(&'a [String]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in self.0 {
            write!(f, "{task} -> ")?;
        }
        f.write_str(self.0.first().map_or("", String::as_str))
    }
}
