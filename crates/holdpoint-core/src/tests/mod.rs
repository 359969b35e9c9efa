//! Tests by subject. `session_table` states the transitions once more, independently;
//! `session_walk` drives the machine at random and checks what must always hold.

mod backoff;
#[cfg(feature = "body")]
mod body_bodies;
#[cfg(feature = "body")]
mod body_errors;
#[cfg(feature = "body")]
mod body_host;
#[cfg(feature = "body")]
mod body_operations;
#[cfg(feature = "body")]
mod body_replay;
#[cfg(feature = "body")]
mod body_steps;
mod body_table;
#[cfg(feature = "tokio")]
mod cancel;
mod clock;
mod error;
mod event;
#[cfg(feature = "serde")]
mod event_json;
mod id;
mod name;
mod session;
mod session_parts;
#[cfg(feature = "serde")]
mod session_stored;
mod session_table;
mod session_walk;
mod store;
mod store_waiting;

use proptest::test_runner::Config;

/// Properties run 256 cases, or as many as `HOLDPOINT_CASES` says.
fn config() -> Config {
    let cases = std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok());
    Config { cases: cases.unwrap_or(256), failure_persistence: None, ..Config::default() }
}
