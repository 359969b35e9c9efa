//! What the benchmarks share: graph shapes, and the raw limits that stand beside Holdpoint.

pub mod alloc;
#[cfg(unix)]
pub mod process;
pub mod raw;
pub mod session;
pub mod shapes;
#[cfg(unix)]
pub mod store;
