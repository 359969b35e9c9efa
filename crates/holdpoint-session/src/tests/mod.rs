//! Tests by subject. `basics` and `rules` prove the contract one by one, `model` drives the registry
//! against an independent statement of it, `cuts` loses the process after every write, `processes`
//! kills real ones. `twin` is the driver compiled once more over locks whose schedules `schedules`
//! explores.

mod basics;
mod cuts;
mod defects;
mod model;
mod processes;
mod rules;
mod schedules;
mod twin;

/// Cases of a property: 256, or as many as `HOLDPOINT_CASES` says.
fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}
