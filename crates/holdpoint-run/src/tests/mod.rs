//! Tests by subject. Those that show a rule of the contract begin with its id.

mod commands;
mod events;
mod hooks;
mod plan;
mod report;
mod run;

use std::path::Path;
use std::sync::Arc;

use holdpoint_manifest::Manifest;

use crate::plan::{Plan, Targets};

/// A manifest in `folder`, from its text.
fn manifest(folder: &Path, text: &str) -> Arc<Manifest> {
    Arc::new(Manifest::parse(folder.join("holdpoint.yaml"), text).unwrap())
}

/// A plan of every task of a manifest in `folder`.
fn plan(folder: &Path, text: &str) -> Plan {
    Plan::new(manifest(folder, text), &Targets::All, None).unwrap()
}
