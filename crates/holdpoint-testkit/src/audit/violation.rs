//! What an audit has to say.

use std::fmt;

use holdpoint_core::Stream;

/// A rule that the events of a stream break.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule: one of the list in [`audit`](mod@crate::audit).
    pub rule: &'static str,
    /// The stream.
    pub stream: Stream,
    /// The event that breaks it; for what is missing at the end, the last event there is.
    pub seq: u64,
    /// What is wrong, in words.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, stream, seq, message } = self;
        write!(f, "{rule}: {stream}, event {seq}: {message}")
    }
}

/// Takes down violations of one stream at one of its events.
pub(super) struct Notes<'a> {
    pub(super) stream: &'a Stream,
    pub(super) seq: u64,
    pub(super) found: &'a mut Vec<Violation>,
}

impl Notes<'_> {
    pub(super) fn add(&mut self, rule: &'static str, message: impl Into<String>) {
        let (stream, seq) = (self.stream.clone(), self.seq);
        self.found.push(Violation { rule, stream, seq, message: message.into() });
    }

    /// Takes it down unless `holds`.
    pub(super) fn check(&mut self, holds: bool, rule: &'static str, says: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, says());
        }
    }

    /// The same event, noted elsewhere.
    pub(super) fn aside<'b>(&'b self, found: &'b mut Vec<Violation>) -> Notes<'b> {
        Notes { stream: self.stream, seq: self.seq, found }
    }
}
