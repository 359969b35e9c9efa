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
                // `now_v7` draws from the crate's process-wide counter, which keeps ids of one
                // millisecond in order.
                Self(Uuid::now_v7())
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

/// Uuid itself accepts braces, urn prefixes and upper case; here one id has one text.
fn parse(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut canonical = Uuid::encode_buffer();
    let is_canonical = id.as_hyphenated().encode_lower(&mut canonical) == text;
    let is_v7 = id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122;
    (is_canonical && is_v7).then_some(id)
}
