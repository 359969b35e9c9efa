//! Faults as they are found, and the words they share.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Kind};
use crate::location::Location;
use crate::source::Source;

/// How much of a text from the manifest a message repeats, in characters.
const QUOTED: usize = 60;

/// Suggestions are looked for among this many names at most: a manifest with more is written by
/// a program, and each search reads them all.
const SEARCHED: usize = 10_000;

/// Collects the faults of one manifest, [`Diagnostics::MAX`] at most; the rest is counted.
pub(crate) struct Faults<'s> {
    source: &'s Arc<Source>,
    kept: Vec<Diagnostic>,
    left_out: usize,
}

impl<'s> Faults<'s> {
    pub(crate) fn new(source: &'s Arc<Source>) -> Self {
        Self { source, kept: Vec::new(), left_out: 0 }
    }

    /// Adds a fault. `help` is asked only where the fault is kept.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        location: Location,
        message: impl Into<String>,
        help: impl FnOnce() -> Option<String>,
    ) {
        if self.kept.len() == Diagnostics::MAX {
            self.left_out += 1;
            return;
        }
        self.kept.push(Diagnostic::new(self.source, kind, location, message.into(), help()));
    }

    /// How many faults were found.
    pub(crate) fn count(&self) -> usize {
        self.kept.len() + self.left_out
    }

    /// A fault of [`Kind::Invalid`].
    pub(crate) fn invalid(&mut self, location: Location, message: impl Into<String>) {
        self.add(Kind::Invalid, location, message, || None);
    }

    /// A fault of [`Kind::Invalid`] and how to put it right.
    pub(crate) fn invalid_but(
        &mut self,
        location: Location,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Kind::Invalid, location, message, || Some(help.into()));
    }

    /// A fault that is already worded.
    pub(crate) fn push(&mut self, fault: Diagnostic) {
        if self.kept.len() == Diagnostics::MAX {
            self.left_out += 1;
        } else {
            self.kept.push(fault);
        }
    }

    /// The faults as an error, where there are any.
    pub(crate) fn finish(self) -> Result<(), Diagnostics> {
        match Diagnostics::new(self.kept, self.left_out) {
            Some(faults) => Err(faults),
            None => Ok(()),
        }
    }
}

/// A text of the manifest in backticks, on one line, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "`\"\"`".into();
    }
    let (shown, rest) = match text.char_indices().nth(QUOTED) {
        Some((end, _)) => (&text[..end], "…"),
        None => (text, ""),
    };
    format!("`{}{rest}`", shown.replace('\n', "\\n"))
}

/// "did you mean": the candidate nearest to `text`, if one is near. The first of equals.
pub(crate) fn nearest<'c>(
    text: &str,
    candidates: impl ExactSizeIterator<Item = &'c str>,
) -> Option<&'c str> {
    if candidates.len() > SEARCHED || text.len() > 2 * holdpoint_core::name::MAX_NAME_LEN {
        return None;
    }
    // One slip in three letters; a short word has room for one, but something must be the same.
    // A swap of neighbours is one slip.
    let length = text.chars().count();
    let far = length.min(1 + length.max(3) / 3);
    candidates
        .filter(|candidate| candidate.len().abs_diff(text.len()) < far)
        .map(|candidate| (strsim::osa_distance(text, candidate), candidate))
        .filter(|&(distance, _)| distance < far)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// [`nearest`] as a sentence.
pub(crate) fn did_you_mean<'c>(
    text: &str,
    candidates: impl ExactSizeIterator<Item = &'c str>,
) -> Option<String> {
    nearest(text, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// "`a`, `b`, `c`"
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
