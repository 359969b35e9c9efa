//! Session ids (CORE-001).

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

/// The text is not a session id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a session id: expected 36 characters of a lower-case UUID of version 7")]
#[non_exhaustive]
pub struct ParseSessionIdError;

impl Retryable for ParseSessionIdError {
    fn is_retryable(&self) -> bool {
        false
    }
}

impl SessionId {
    /// A new id.
    #[must_use]
    pub fn generate() -> Self {
        // `now_v7` draws from the crate's process-wide counter, which keeps ids of one
        // millisecond in order.
        Self(Uuid::now_v7())
    }
}

impl FromStr for SessionId {
    type Err = ParseSessionIdError;

    fn from_str(text: &str) -> Result<Self, ParseSessionIdError> {
        let id = Uuid::try_parse(text).map_err(|_| ParseSessionIdError)?;
        // Uuid accepts braces, urn prefixes and upper case; one id has one text here.
        let canonical = Self(id);
        if id.get_version_num() == 7 && canonical.to_string() == text {
            Ok(canonical)
        } else {
            Err(ParseSessionIdError)
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
mod serde_impls {
    use super::SessionId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl Serialize for SessionId {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for SessionId {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }
}
