//! `holdpoint.yaml` in, a checked [`Manifest`] out, every fault with file, line and column.
//!
//! The crate knows nothing of graphs, locks or processes: a manifest is plain data, and what
//! it means is decided by those who run it. What the types cannot express is checked here:
//! after [`Manifest::load`] every name is valid, every task that is referred to exists, and no
//! number is out of range. Only cycles are left to the graph builder, which reports them with
//! [`Manifest::diagnostic`] at the [`Location`]s kept in the model.
//!
//! Reading order: [`model`] (what a manifest says), [`mod@find`] and [`load`] (how it comes in),
//! [`diagnostic`] (how a fault reads). A text passes through `yaml` (text to tree), `read` (tree
//! to model) and `check` (the parts of the model against each other).
//!
//! ```
//! use holdpoint_manifest::{Action, Manifest};
//!
//! let text = "
//! default: test
//! tasks:
//!   build: cargo build
//!   test: { needs: [build], exec: [cargo, test] }
//! ";
//! let manifest = Manifest::parse("holdpoint.yaml", text)?;
//! let test = manifest.task("test").unwrap();
//! assert_eq!(test.needs[0].value.as_str(), "build");
//! assert!(matches!(&test.action, Some(Action::Exec { program, .. }) if program == "cargo"));
//!
//! let faults = Manifest::parse("holdpoint.yaml", "tasks: { test: { needs: biuld } }").unwrap_err();
//! assert_eq!(faults.first().location.column, 25);
//! # Ok::<(), holdpoint_manifest::Diagnostics>(())
//! ```

pub mod diagnostic;
pub mod find;
pub mod load;
pub mod location;
pub mod model;

mod check;
mod faults;
mod node;
mod read;
mod source;
mod yaml;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Diagnostics, Kind};
pub use find::{FindError, find};
pub use load::LoadError;
pub use location::{Located, Location};
pub use model::{
    Action, Approval, HoldMode, HoldName, HoldScope, HoldUse, Hook, HookAction, Hooks, Jobs,
    Limits, Manifest, OnTimeout, Retry, Task,
};
