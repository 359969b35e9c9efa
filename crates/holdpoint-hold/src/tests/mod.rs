//! Tests by subject. `model` is an independent statement of the rules; `set_model` and
//! `holds_model` drive the accounting and the handles against it. `twin` is the driver compiled
//! once more over locks whose schedules `schedules` explores.

mod claims;
mod cost;
#[cfg(feature = "driver")]
mod holds;
#[cfg(feature = "driver")]
mod holds_model;
#[cfg_attr(not(feature = "driver"), expect(dead_code, reason = "who asks and reads"))]
mod model;
mod rules;
#[cfg(feature = "driver")]
mod schedules;
mod set_model;
#[cfg(feature = "driver")]
mod twin;

use proptest::test_runner::Config;

/// Cases of a property: 256, or as many as `HOLDPOINT_CASES` says.
fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}

fn config() -> Config {
    Config { cases: cases(), failure_persistence: None, ..Config::default() }
}
