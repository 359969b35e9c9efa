//! Growing delays between attempts (TIME-007, GRAPH-014).

use std::time::Duration;

use crate::error::Retryable;

/// Delays that grow by a factor up to a maximum, shortened by jitter.
///
/// The delay after the n-th failure in a row is `min(initial × multiplier^(n−1), max)`, times
/// `1 − jitter × u` with `u` in `[0, 1)`. It saturates and is never above `max`.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_core::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_secs(1)).max(Duration::from_secs(5));
/// let delays: Vec<u64> = (1..=4).map(|n| backoff.delay(n, 0.0).as_secs()).collect();
/// assert_eq!(delays, [1, 2, 4, 5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    initial: Duration,
    multiplier: f64,
    max: Duration,
    jitter: f64,
}

/// Why a [`Backoff`] is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// The multiplier is below 1, infinite or not a number.
    #[error("the multiplier is a number of at least 1, not {found}")]
    Multiplier {
        /// The value given.
        found: f64,
    },
    /// The jitter is outside 0 to 1 or not a number.
    #[error("the jitter is a number from 0 to 1, not {found}")]
    Jitter {
        /// The value given.
        found: f64,
    },
}

impl Retryable for BackoffError {
    fn is_retryable(&self) -> bool {
        false
    }
}

impl Backoff {
    /// The same delay after each failure, without jitter.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self { initial: delay, multiplier: 1.0, max: delay, jitter: 0.0 }
    }

    /// Doubles from `initial` up to five minutes, without jitter.
    #[must_use]
    pub const fn exponential(initial: Duration) -> Self {
        Self { initial, multiplier: 2.0, max: Duration::from_secs(300), jitter: 0.0 }
    }

    /// The longest delay. Default: five minutes.
    #[must_use]
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// The factor from one delay to the next. Default: 2.
    ///
    /// # Errors
    /// [`BackoffError::Multiplier`] below 1 and for what is not a finite number.
    pub fn multiplier(mut self, multiplier: f64) -> Result<Self, BackoffError> {
        if !(multiplier.is_finite() && multiplier >= 1.0) {
            return Err(BackoffError::Multiplier { found: multiplier });
        }
        self.multiplier = multiplier;
        Ok(self)
    }

    /// The share of a delay that chance may take away, 0 to 1. Default: 0.
    ///
    /// # Errors
    /// [`BackoffError::Jitter`] outside 0 to 1.
    pub fn jitter(mut self, jitter: f64) -> Result<Self, BackoffError> {
        if !(0.0..=1.0).contains(&jitter) {
            return Err(BackoffError::Jitter { found: jitter });
        }
        self.jitter = jitter;
        Ok(self)
    }

    /// The delay after the `streak`-th failure in a row (1 is the first), where chance drew
    /// `u` in `[0, 1)`. A value outside is taken as the nearer end.
    #[must_use]
    pub fn delay(&self, streak: u32, u: f64) -> Duration {
        let base = self.undisturbed(streak);
        let u = if u.is_nan() { 0.0 } else { u.clamp(0.0, 1.0) };
        shorten(base, self.jitter * u)
    }

    fn undisturbed(&self, streak: u32) -> Duration {
        // Exact where nothing grows; and zero stays zero, though 0 × ∞ is no number.
        if streak <= 1 || self.initial.is_zero() || self.multiplier == 1.0 {
            return self.initial.min(self.max);
        }
        let exponent = i32::try_from(streak - 1).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        // Too many seconds for a duration, infinitely many included, are above any maximum.
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }
}

fn shorten(delay: Duration, share: f64) -> Duration {
    if share <= 0.0 {
        return delay;
    }
    // Rounding may carry the product of a huge delay out of range; never above the delay.
    Duration::try_from_secs_f64(delay.as_secs_f64() * (1.0 - share)).unwrap_or(delay).min(delay)
}
