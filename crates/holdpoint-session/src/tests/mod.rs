//! Tests by subject. `basics` and `rules` prove the contract one by one, `model` drives the registry
//! against an independent statement of it, `conformance` runs the testkit's bodies on every host and
//! loses their process after every write, as `cuts` does with bodies of its own; `kills` and
//! `processes` do so with real processes. `twin` is the driver compiled once more over locks whose
//! schedules `schedules` explores.

mod basics;
mod conformance;
mod cuts;
mod defects;
mod kills;
mod model;
mod processes;
mod rules;
mod schedules;
mod twin;

/// Cases of a property: 256, or as many as `HOLDPOINT_CASES` says.
fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}
