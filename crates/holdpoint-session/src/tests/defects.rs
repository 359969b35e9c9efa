//! Faults of systems like this one, each shown to be none of ours. What is shown with its rule
//! stands in [`rules`](super::rules); what cannot happen here is told in the contract.

mod events;
mod lives;
mod rivals;

/// Cases of a random test that are cheap: sixteen for each of the usual number.
fn many() -> u64 {
    u64::from(super::cases()) * 16
}
