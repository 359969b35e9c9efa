//! The one door through which time enters (CORE-008).
//!
//! Two kinds of time are kept apart by type. [`Monotonic`] never steps and decides
//! durations, deadlines and TTLs. [`Timestamp`] is wall time, for people, cron and records.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Retryable;
use crate::rfc3339;

/// A point on a clock that never steps, in nanoseconds since that clock's origin.
///
/// Only points of one clock can be compared.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_core::Monotonic;
///
/// let start = Monotonic::ZERO;
/// let deadline = start + Duration::from_secs(2);
/// assert_eq!(deadline - start, Duration::from_secs(2));
/// assert_eq!(start - deadline, Duration::ZERO);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    /// Saturates at the end of the range, 584 years after the origin.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Monotonic {
    type Output = Duration;

    /// The time from `earlier` to `self`; zero where it is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall time, to the microsecond, from 1970 to the end of the year 9999.
///
/// Its text is RFC 3339 in UTC with six decimals, the same for [`Display`](fmt::Display),
/// [`FromStr`] and serde, and exact both ways.
///
/// ```
/// use holdpoint_core::Timestamp;
///
/// let time: Timestamp = "2026-11-21T02:00:00.123456Z".parse()?;
/// assert_eq!(time.as_micros(), 1_795_226_400_123_456);
/// assert_eq!(time.to_string(), "2026-11-21T02:00:00.123456Z");
/// # Ok::<(), holdpoint_core::ParseTimestampError>(())
/// ```
///
/// The wall clock may step, so that no duration can be had from it:
///
/// ```compile_fail,E0369
/// # use holdpoint_core::Timestamp;
/// let took = Timestamp::from_micros(9) - Timestamp::from_micros(5);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last microsecond that RFC 3339 can write: 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The time `micros` microseconds after 1970-01-01T00:00:00Z, at most [`MAX`](Self::MAX).
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        if micros < Self::MAX.0 { Self(micros) } else { Self::MAX }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounds down to the microsecond. Times out of range become the nearer end of it.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&rfc3339::Text::new(self.0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        rfc3339::parse(text).map(Self).ok_or(ParseTimestampError)
    }
}

/// The text is not a [`Timestamp`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UTC time: expected one like 2026-11-21T02:00:00.123456Z, not before 1970")]
#[non_exhaustive]
pub struct ParseTimestampError;

impl Retryable for ParseTimestampError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// Both times, read together, so that a step between two reads cannot split a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall time.
    pub wall: Timestamp,
    /// Monotonic time.
    pub monotonic: Monotonic,
}

/// Where an engine reads the time.
///
/// ```
/// use holdpoint_core::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let first = clock.now();
/// assert!(clock.now().monotonic >= first.monotonic);
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// Both times at this moment.
    fn now(&self) -> Now;

    /// Monotonic time alone; cheaper where wall time is not needed.
    fn monotonic(&self) -> Monotonic {
        self.now().monotonic
    }
}

/// The system's clocks. With the `tokio` feature the monotonic part follows tokio's clock,
/// so that `tokio::time::pause` moves it in tests.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

#[cfg(not(feature = "tokio"))]
use std::time::Instant;
#[cfg(feature = "tokio")]
use tokio::time::Instant;

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { wall: SystemTime::now().into(), monotonic: self.monotonic() }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::ZERO + self.origin.elapsed()
    }
}

/// A clock that moves only when told to. For tests.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp::from_micros(0));
/// clock.advance(Duration::from_secs(1));
/// clock.set_wall(Timestamp::from_micros(5));
/// assert_eq!(clock.now().monotonic.as_nanos(), 1_000_000_000);
/// assert_eq!(clock.now().wall.as_micros(), 5);
/// ```
#[cfg(feature = "test-util")]
#[derive(Debug)]
pub struct ManualClock {
    now: std::sync::Mutex<Now>,
}

#[cfg(feature = "test-util")]
impl ManualClock {
    /// A clock that shows `wall` and the monotonic origin.
    #[must_use]
    pub fn new(wall: Timestamp) -> Self {
        Self { now: std::sync::Mutex::new(Now { wall, monotonic: Monotonic::ZERO }) }
    }

    /// Moves both times forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.lock();
        now.monotonic = now.monotonic + duration;
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        now.wall = Timestamp::from_micros(now.wall.0.saturating_add(micros));
    }

    /// Steps wall time alone, in either direction.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(feature = "test-util")]
impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.lock()
    }
}

#[cfg(feature = "serde")]
mod serde_impls {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl Serialize for Timestamp {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Timestamp {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }
}
