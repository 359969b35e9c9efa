//! What the whole crate does with a text or a file, by theme.

mod bombs;
mod bytes;
mod corpus;
mod files;
mod properties;
mod report;

use crate::{Diagnostics, Manifest};

/// The manifest in `text`.
fn parse(text: &str) -> Result<Manifest, Diagnostics> {
    Manifest::parse("holdpoint.yaml", text)
}

/// What is said about a `text` that must be refused.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(manifest) => panic!("accepted: {manifest:?}"),
        Err(faults) => faults.to_string(),
    }
}
