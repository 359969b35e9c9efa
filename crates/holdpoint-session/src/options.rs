//! Settings of a registry and of a session.

/// How many events of a session are kept in memory for those who look later (SESS-010).
///
/// With a store all events are in the store; this says how many are also at hand without
/// reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum History {
    /// None. Whoever observes from before now begins with a gap. The last event of a session that
    /// has ended is kept all the same.
    None,
    /// So many, the last ones. Kept as they come: a session with four events keeps four.
    Last(usize),
    /// All, for as long as the session is in memory.
    All,
}

impl Default for History {
    /// The last 64.
    fn default() -> Self {
        Self::Last(64)
    }
}

impl History {
    #[cfg(feature = "driver")]
    pub(crate) const fn limit(self) -> usize {
        match self {
            Self::None => 0,
            Self::Last(limit) => limit,
            Self::All => usize::MAX,
        }
    }
}

/// What to do with what is above a limit (SESS-015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It waits its turn, first come, first served. The default.
    #[default]
    Queue,
    /// It is refused, with an error that names the limit.
    Refuse,
}

/// How many sessions of a registry may be under way (SESS-015). Default: no limit.
///
/// Children of sessions do not count: a parent that waits for a child which waits for its parent's
/// place would wait for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// The most sessions whose bodies run, paused ones included. What is above is Planned until a
    /// place is free, or refused.
    pub live: Option<usize>,
    /// The most sessions that are paused. A question above that is asked when another pause has
    /// ended, or is refused to the body.
    pub paused: Option<usize>,
    /// What happens above.
    pub overflow: Overflow,
}

impl Limits {
    /// No limits.
    #[must_use]
    pub const fn none() -> Self {
        Self { live: None, paused: None, overflow: Overflow::Queue }
    }

    /// At most so many sessions whose bodies run.
    #[must_use]
    pub const fn live(mut self, most: usize) -> Self {
        self.live = Some(most);
        self
    }

    /// At most so many paused sessions.
    #[must_use]
    pub const fn paused(mut self, most: usize) -> Self {
        self.paused = Some(most);
        self
    }

    /// What is above is refused.
    #[must_use]
    pub const fn refuse(mut self) -> Self {
        self.overflow = Overflow::Refuse;
        self
    }
}

/// Whether sessions that were left are taken up when their body is registered (SESS-018). Only
/// with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// Those that lost their process, that it suspended when it went down, or that were answered
    /// meanwhile, go on as soon as their body is registered. The default.
    #[default]
    Automatic,
    /// Each goes on when somebody resumes it.
    Explicit,
}
