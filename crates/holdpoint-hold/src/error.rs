//! Why a capacity or a list of holds is refused (HOLD-009).

use std::fmt;

use holdpoint_core::{NameError, Retryable};

use crate::hold::Hold;

/// Why a capacity could not be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// The name breaks the rules of names.
    #[error("bad hold name {name:?}: {source}")]
    BadName {
        /// The text given.
        name: String,
        /// The rule it breaks.
        source: NameError,
    },
    /// Nothing could ever take a unit of it.
    #[error("the capacity of hold {name} cannot be 0")]
    ZeroCapacity {
        /// The hold, with its project if it has one.
        name: String,
    },
    /// Somebody holds it or waits for it under another capacity.
    #[error("hold {name} is in use{}; its capacity cannot change until it is free", under(*.current))]
    InUse {
        /// The hold, with its project if it has one.
        name: String,
        /// The units it has now; `None` where it is not counted.
        current: Option<u32>,
    },
}

fn under(capacity: Option<u32>) -> String {
    capacity.map_or_else(|| " uncounted".to_owned(), |units| format!(" with capacity {units}"))
}

impl Retryable for DeclareError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}

/// Why a list of holds cannot be claimed: all its faults, in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimError {
    faults: Box<[ClaimFault]>,
}

impl ClaimError {
    pub(crate) fn new(faults: Vec<ClaimFault>) -> Self {
        debug_assert!(!faults.is_empty());
        Self { faults: faults.into() }
    }

    /// The faults; at least one.
    #[must_use]
    pub fn faults(&self) -> &[ClaimFault] {
        &self.faults
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ClaimError {}

impl Retryable for ClaimError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// One fault of a list of holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hold {}: {kind}", shown(.hold, .kind))]
#[non_exhaustive]
pub struct ClaimFault {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The hold at fault.
    pub hold: Hold,
    /// What is wrong with it.
    pub kind: ClaimFaultKind,
}

/// A name that is none is put in quotes.
fn shown(hold: &Hold, kind: &ClaimFaultKind) -> String {
    match kind {
        ClaimFaultKind::BadName(_) => format!("{:?}", hold.name()),
        _ => hold.to_string(),
    }
}

/// What is wrong with one hold of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimFaultKind {
    /// The name breaks the rules of names.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// The list names this hold before, in the same mode or in another.
    #[error("named twice in one list")]
    Repeated {
        /// The place in the list that names it first, from 0.
        first: usize,
    },
    /// Nothing can be done with no units.
    #[error("at least one unit must be taken")]
    ZeroUnits,
    /// It could never be granted.
    #[error("{units} units asked for, the capacity is {capacity}")]
    AboveCapacity {
        /// Units asked for.
        units: u32,
        /// Units there are.
        capacity: u32,
    },
    /// Units are asked of a name for which no capacity is declared.
    #[error("units asked for, but no capacity is declared for it")]
    NoCapacity,
    /// A counted name is taken by units or exclusively.
    #[error("it is counted (capacity {capacity}); take units of it instead of sharing it")]
    SharedCounted {
        /// Units there are.
        capacity: u32,
    },
}
