//! From the tree of values to the model's types, fault by fault.
//!
//! A reader never stops: what cannot be read is reported and left out, and the rest is read on,
//! so that one look at the output shows everything that is wrong. What several tasks have to do
//! with one another is not looked at here but in [`check`](crate::check).

mod approval;
mod duration;
mod holds;
mod hooks;
mod keys;
mod manifest;
mod task;
mod url;
mod values;

pub(crate) use manifest::Draft;

use std::sync::Arc;

use crate::faults::Faults;
use crate::source::Source;

/// Reads values of one manifest and collects their faults.
pub(crate) struct Reader<'s> {
    source: &'s Arc<Source>,
    pub(crate) faults: Faults<'s>,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(source: &'s Arc<Source>) -> Self {
        Self { source, faults: Faults::new(source) }
    }
}
