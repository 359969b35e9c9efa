//! The script of what goes wrong by itself.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_core::event::Stream;

use crate::sim::Random;

/// What becomes of the appends of a store, counted from 1 since the script was set. Default: every
/// one is carried out within its call.
///
/// ```
/// use holdpoint_testkit::store::{Failure, Faults};
///
/// let faults = Faults::none().delay(2).fail(5, Failure::Io);
/// # let _ = faults;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults {
    count: u64,
    delayed: BTreeSet<u64>,
    share: Option<(u8, Random)>,
    failures: BTreeMap<u64, Failure>,
}

/// How an append fails.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// As on a full disk: this append and the notes with it fail with
    /// [`Io`](holdpoint_core::store::AppendError::Io), all later ones with `Poisoned`. The instance
    /// counts as dead from then on; its reads go on.
    Io,
    /// As if an earlier write had failed unseen: this append and all later ones fail with
    /// `Poisoned`, and so do those that are delayed.
    Poisoned,
    /// As behind another program's lock: this append fails, and nothing else. Notes wait on.
    Busy,
    /// Just before this append, somebody else claims the stream and lets go of it again. So
    /// whatever writes to it under the old epoch fails with `LostOwnership`, now and later.
    LostOwnership(Stream),
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The n-th append is delayed until it is released; those after it wait behind it.
    #[must_use]
    pub fn delay(mut self, nth: u64) -> Self {
        self.delayed.insert(nth);
        self
    }

    /// Every append is delayed.
    #[must_use]
    pub fn delay_all(self) -> Self {
        self.delay_share(100, 0)
    }

    /// So many of a hundred appends are delayed; the seed decides which.
    #[must_use]
    pub fn delay_share(mut self, percent: u8, seed: u64) -> Self {
        self.share = Some((percent, Random::new(seed)));
        self
    }

    /// The n-th append fails. Where it is delayed too, it fails when it is released.
    #[must_use]
    pub fn fail(mut self, nth: u64, failure: Failure) -> Self {
        self.failures.insert(nth, failure);
        self
    }

    /// Whether the next append is delayed, and how it fails.
    pub(super) fn next(&mut self) -> (bool, Option<Failure>) {
        self.count += 1;
        let by_chance = self.share.as_mut().is_some_and(|(share, random)| random.percent(*share));
        (by_chance || self.delayed.contains(&self.count), self.failures.remove(&self.count))
    }
}
