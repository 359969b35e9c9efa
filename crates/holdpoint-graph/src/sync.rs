//! The lock and the flag of the places, in one file so that the tests can compile them a second
//! time over ones whose schedules are explored.

pub(super) use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};
