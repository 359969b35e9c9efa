//! What a session's journal says: one JSON object an entry.
//!
//! The order of the entries is the order in which the body was given what they tell of. Entries
//! of one kind, `opened`, give the body nothing: they keep what must not be asked, timed or
//! started twice.

use std::borrow::Cow;

use holdpoint_core::body::{OpError, OpKey, Payload};
use holdpoint_core::session::QuestionId;
use holdpoint_core::{CancelInfo, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of this format: newer ones are refused (CORE-010).
pub(crate) const FORMAT: u32 = 1;

/// An entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first entry of every attempt. Nothing before it is given to the body.
    Start(Start),
    /// An operation was opened that must not be opened twice.
    Opened(Opened),
    /// An operation is over.
    Done(Done),
    /// The session was asked to stop.
    Cancelled {
        /// When it was decided.
        at: Timestamp,
        /// The first cause.
        cause: CancelInfo,
    },
}

/// How an attempt begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) format: u32,
    pub(crate) at: Timestamp,
    /// Where the body's random numbers come from.
    pub(crate) seed: u64,
    /// With which secrets are hashed. As random as the seed, and not shown to the body.
    pub(crate) salt: String,
    pub(crate) input: Box<RawValue>,
}

/// An operation that was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) key: OpKey,
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What must not be done twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// It asked this question.
    Question(QuestionId),
    /// It waits for this time.
    Due(Timestamp),
    /// It started this child.
    Child(SessionId),
}

/// An operation that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) key: OpKey,
    pub(crate) at: Timestamp,
    pub(crate) result: Kept,
}

/// A result as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// The value.
    Ok(Box<RawValue>),
    /// What went wrong.
    Err(OpError),
    /// A secret: the value is not kept, its keyed hash is.
    Secret(Cow<'static, str>),
}

impl Record {
    /// The entry's text.
    pub(crate) fn encode(&self) -> String {
        serde_json::to_string(self).expect("BUG: a record has no map with odd keys")
    }

    /// The entry of a text.
    pub(crate) fn decode(entry: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(entry)
    }
}

impl Done {
    pub(crate) fn new(key: OpKey, at: Timestamp, result: &Result<Payload, OpError>) -> Self {
        let result = match result {
            Ok(value) => Kept::Ok(raw(value)),
            Err(error) => Kept::Err(error.clone()),
        };
        Self { key, at, result }
    }
}

/// Text that is JSON already. What is not becomes a JSON string, so that nothing is lost.
pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_else(|_| {
        serde_json::value::to_raw_value(text).expect("BUG: a text is a JSON string")
    })
}

/// The keyed hash of a secret.
pub(crate) fn hash_secret(salt: &str, value: &str) -> String {
    let key = blake3::derive_key("holdpoint session secret v1", salt.as_bytes());
    blake3::keyed_hash(&key, value.as_bytes()).to_hex().to_string()
}
