//! Tests by subject. `rules` and `defects` prove the contract one by one, `model` and
//! `simulation` drive the registry against an independent statement of it, `conformance` runs
//! bodies on every host and cuts their journals, `kills` does so with processes. `twin` is the
//! driver compiled once more over locks whose schedules `schedules` explores.

mod basics;
mod conformance;
mod cuts;
mod defects;
mod kills;
mod model;
mod processes;
mod rules;
mod schedules;
mod simulation;
mod twin;

/// Cases of a property: 256, or as many as `HOLDPOINT_CASES` says.
#[allow(dead_code)]
fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}
