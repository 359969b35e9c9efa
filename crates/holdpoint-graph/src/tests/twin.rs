//! The places once more, over a lock and a flag that `shuttle` schedules. They name them as
//! `super::sync`, which here is another module than in the crate.
#![allow(dead_code, unreachable_pub, clippy::duplicate_mod)]

#[path = "../place.rs"]
pub(super) mod place;

mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicBool, Ordering};
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
}
