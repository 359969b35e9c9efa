//! Tests by subject. `plan`, `reference` and `model` check the machine against an independent
//! statement of the rules; `rig` and `script` are for scenarios of a few lines; `audit` checks the
//! events of every run, whatever the test is about.

#[cfg(feature = "driver")]
mod agreement;
mod attempts;
mod audit;
#[cfg(feature = "driver")]
mod blocking;
mod build;
mod cancels;
mod caps;
mod cycles;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
mod drops;
mod failures;
mod gates;
mod holds;
mod interleavings;
#[cfg(feature = "driver")]
mod lives;
mod model;
mod order;
#[cfg(feature = "driver")]
mod panics;
#[cfg(feature = "driver")]
mod places;
mod plan;
mod recorded;
mod reference;
mod rig;
#[cfg(feature = "driver")]
mod runners;
mod scale;
#[cfg(feature = "driver")]
mod schedules;
mod script;
#[cfg(feature = "driver")]
mod shared;
#[cfg(feature = "driver")]
mod timing;
#[cfg(feature = "driver")]
mod twin;
#[cfg(feature = "driver")]
mod values;
#[cfg(feature = "driver")]
mod waking;

use proptest::test_runner::Config;

/// How many cases a property test runs: 256, or what `HOLDPOINT_CASES` says.
pub(crate) fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}

fn config() -> Config {
    Config { cases: cases(), failure_persistence: None, ..Config::default() }
}
