//! The pure rules: environment, machine, lines, presentation, reasons of refusals,
//! the record of groups.

mod environment;
mod exit;
mod launch;
mod machine;
mod output;
mod present;
mod record;

use proptest::test_runner::Config;

/// Cases of a property: 256, or what the variable says.
fn cases() -> Config {
    let given = std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok());
    Config { cases: given.unwrap_or(256), failure_persistence: None, ..Config::default() }
}
