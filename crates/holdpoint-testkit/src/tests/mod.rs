//! Tests by subject. Those of the audit show each rule red on the least trace that breaks it, and
//! silent on good ones.

mod audit_batch;
mod audit_holds;
mod audit_schedule;
mod audit_session;
mod audit_tasks;
#[cfg(feature = "bodies")]
mod bodies;
mod sim;
mod sim_graph;
mod sim_process;
mod sim_session;
mod spawner;
mod store;
mod store_counter;
mod store_counter_sim;
mod store_faults;
mod store_requests;
mod words;

use proptest::test_runner::Config;

/// Properties run 256 cases, or as many as `HOLDPOINT_CASES` says.
fn config() -> Config {
    let cases = std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok());
    Config { cases: cases.unwrap_or(256), failure_persistence: None, ..Config::default() }
}
