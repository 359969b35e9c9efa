//! The locks of the driver, in one place so that the tests can compile the driver a second time
//! over locks whose schedules are explored.

pub(super) use std::sync::{Mutex, MutexGuard};
