//! Ids of sessions and batches (CORE-001).

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::Retryable;

/// A session's id: unique across processes and restarts, and ordered by creation time.
///
/// A UUID of version 7. Within a process ids made one after the other are strictly
/// increasing, as value and as text; across processes the order holds to the millisecond.
/// The text form is the only door in: an id that was parsed is safe as a file name.
///
/// ```
/// use holdpoint_core::SessionId;
///
/// let (first, second) = (SessionId::generate(), SessionId::generate());
/// assert!(first < second && first.to_string() < second.to_string());
/// assert_eq!(first.to_string().parse::<SessionId>(), Ok(first));
/// assert!("../../etc/passwd".parse::<SessionId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Uuid);

/// A batch's id, with the properties of a [`SessionId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(Uuid);

/// The text is not a session id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a session id: expected 36 characters of a lower-case UUID of version 7")]
#[non_exhaustive]
pub struct ParseSessionIdError;

/// The text is not a batch id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a batch id: expected 36 characters of a lower-case UUID of version 7")]
#[non_exhaustive]
pub struct ParseBatchIdError;

macro_rules! time_ordered_id {
    ($id:ident, $error:ident) => {
        impl $id {
            /// A new id.
            #[must_use]
            pub fn generate() -> Self {
                Self(generate())
            }
        }

        impl FromStr for $id {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                parse(text).map(Self).ok_or($error)
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Retryable for $error {
            fn is_retryable(&self) -> bool {
                false
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

time_ordered_id!(SessionId, ParseSessionIdError);
time_ordered_id!(BatchId, ParseBatchIdError);

/// A new id of version 7, as RFC 9562 has it with a fraction of the millisecond (its method 3).
///
/// The first 60 bits are the time in steps of 244 ns, or one step after the last id where that is
/// later: so ids of one process rise, and one step makes one id. The other 62 are a keyed hash of
/// them, whose key is the system's randomness, drawn once for the process: asking the system for
/// each id would cost more than all the rest of a short session.
#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
fn generate() -> Uuid {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};

    static LAST: AtomicU64 = AtomicU64::new(0);
    static KEY: OnceLock<RandomState> = OnceLock::new();

    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX) & ((1 << 48) - 1);
    let fraction = u64::from(time.subsec_nanos() % 1_000_000) * 4096 / 1_000_000;
    let now = millis << 12 | fraction;
    let next = |last: u64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
    let step = now.max(last + 1);
    let random = KEY.get_or_init(RandomState::new).hash_one(step);

    let high = (step >> 12) << 16 | 0x7000 | (step & 0xfff);
    let low = 0x8000_0000_0000_0000 | random >> 2;
    Uuid::from_u64_pair(high, low)
}

/// In a browser clock and randomness are had through `uuid`.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
fn generate() -> Uuid {
    Uuid::now_v7()
}

/// Uuid itself accepts braces, urn prefixes and upper case; here one id has one text.
fn parse(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut canonical = Uuid::encode_buffer();
    let is_canonical = id.as_hyphenated().encode_lower(&mut canonical) == text;
    let is_v7 = id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122;
    (is_canonical && is_v7).then_some(id)
}
