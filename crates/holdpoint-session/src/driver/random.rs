//! Random numbers of a body: drawn once, and then the same in each of its starts.

use std::hash::{BuildHasher, RandomState};

/// A seed that nobody can guess: the system's randomness, by the standard library's own door.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(0_u64)
}

/// The `n`-th number from a seed (splitmix64).
pub(crate) fn nth(seed: u64, n: u64) -> u64 {
    let mut mixed = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
