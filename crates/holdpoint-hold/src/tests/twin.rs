//! The driver and the handles once more, over locks that `shuttle` schedules. They name their
//! locks as `super::sync`, which here is another module than in the crate.
#![allow(dead_code, unreachable_pub, clippy::duplicate_mod)]

#[path = "../block_on.rs"]
mod block_on;
#[path = "../client.rs"]
mod client;
#[path = "../driver.rs"]
mod driver;
#[path = "../handle.rs"]
pub(super) mod handle;

mod sync {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
}
