//! Places in a manifest.

use std::fmt;

/// A place in the manifest's text. Lines and columns count from 1, columns in characters; a
/// byte order mark at the beginning does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Location {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters a diagnostic underlines, at least 1. It may reach past the end of
    /// the line; the underline does not.
    pub width: u32,
}

impl Location {
    /// A place one character wide.
    #[must_use]
    pub const fn new(line: u32, column: u32) -> Self {
        Self { line, column, width: 1 }
    }

    /// The same place, `width` characters wide (at least 1).
    #[must_use]
    pub const fn with_width(mut self, width: u32) -> Self {
        self.width = if width == 0 { 1 } else { width };
        self
    }
}

impl fmt::Display for Location {
    /// `line:column`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it is written; for one that comes through a YAML alias, where the alias is.
    pub location: Location,
}

impl<T> Located<T> {
    /// `value`, written at `location`.
    #[must_use]
    pub const fn new(value: T, location: Location) -> Self {
        Self { value, location }
    }
}
