//! How a fault reads: place, message, the line itself, and how to put it right.
//!
//! ```text
//! holdpoint.yaml:4:13: there is no task `biuld`
//! 4 |     needs: [biuld]
//!   |             ^^^^^
//! help: did you mean `build`?
//! ```

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use holdpoint_core::Retryable;

use crate::location::Location;
use crate::source::Source;

/// How much of a long line is shown, in characters.
const SHOWN_WIDTH: usize = 100;

/// One fault of a manifest. Its `Display` form has several lines and no final line break.
#[derive(Clone)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What sort of fault it is.
    pub kind: Kind,
    /// Where it is.
    pub location: Location,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// How to put it right.
    pub help: Option<String>,
    source: Arc<Source>,
}

/// The sort of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The text is not YAML, or goes past a limit: size of nesting, aliases, documents.
    Syntax,
    /// A value has another type than its key takes.
    WrongType,
    /// A key that no version of the program knows.
    UnknownKey,
    /// Something that a later version of the program supports.
    Later,
    /// A value or a combination that cannot be.
    Invalid,
}

impl Diagnostic {
    pub(crate) fn new(
        source: &Arc<Source>,
        kind: Kind,
        location: Location,
        message: String,
        help: Option<String>,
    ) -> Self {
        Self { kind, location, message, help, source: Arc::clone(source) }
    }

    /// The manifest's file, the way the caller wrote it.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.source.shown
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { line, .. } = self.location;
        let file = self.file().to_string_lossy();
        write!(f, "{}:{}: {}", visible(&file), self.location, visible(&self.message))?;
        let excerpt = Excerpt::new(self.source.line(line), self.location);
        if !excerpt.text.is_empty() {
            let margin = line.to_string().len();
            write!(f, "\n{line} | {}", excerpt.text)?;
            let (start, width) = (excerpt.start, excerpt.width);
            write!(f, "\n{:margin$} | {:start$}{:^<width$}", "", "", "")?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {}", visible(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostic")
            .field("kind", &self.kind)
            .field("location", &self.location)
            .field("message", &self.message)
            .field("help", &self.help)
            .finish_non_exhaustive()
    }
}

impl Error for Diagnostic {}

impl Retryable for Diagnostic {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// The faults of one manifest: at least one, sorted by place. Its `Display` form separates
/// them by blank lines.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    shown: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    /// How many faults are kept; the rest is counted only. Nobody reads more at once, and one
    /// wrong line may make 100,000 of them.
    pub const MAX: usize = 100;

    pub(crate) fn one(fault: Diagnostic) -> Self {
        Self { shown: vec![fault], left_out: 0 }
    }

    /// `None` where there is no fault.
    pub(crate) fn new(mut faults: Vec<Diagnostic>, left_out: usize) -> Option<Self> {
        // Stable: faults of one place stay in the order they were found.
        faults.sort_by_key(|fault| (fault.location.line, fault.location.column));
        (!faults.is_empty()).then_some(Self { shown: faults, left_out })
    }

    /// The first fault of the file.
    #[must_use]
    pub fn first(&self) -> &Diagnostic {
        &self.shown[0]
    }

    /// The faults, at most [`Diagnostics::MAX`], sorted by place.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.shown.iter()
    }

    /// How many more there are.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.shown.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{fault}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl Error for Diagnostics {}

impl Retryable for Diagnostics {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// The part of a line that is shown, and the columns to underline in it.
struct Excerpt {
    text: String,
    start: usize,
    width: usize,
}

impl Excerpt {
    fn new(line: &str, location: Location) -> Self {
        let column = (location.column as usize).saturating_sub(1);
        let length = line.chars().count();
        // A long line is cut so that the place stands at about a third of what is shown.
        let most = length.saturating_sub(SHOWN_WIDTH);
        let skip = column.saturating_sub(SHOWN_WIDTH / 3).min(most);
        let mut excerpt = Self { text: String::new(), start: 0, width: 0 };
        if skip > 0 {
            excerpt.text.push('…');
        }
        let mut shown = excerpt.text.chars().count();
        for (index, c) in line.chars().enumerate().skip(skip).take(SHOWN_WIDTH) {
            let before = excerpt.text.len();
            push_visible(&mut excerpt.text, c);
            let cells = excerpt.text[before..].chars().count();
            if index < column {
                excerpt.start = shown + cells;
            } else if index - column < location.width as usize {
                excerpt.start = excerpt.start.min(shown);
                excerpt.width += cells;
            }
            shown += cells;
        }
        if length > skip + SHOWN_WIDTH {
            excerpt.text.push('…');
        }
        excerpt.width = excerpt.width.max(1);
        excerpt
    }
}

/// Text as it may be printed: control characters and those that reorder a line are escaped, so
/// that a manifest can neither steer the terminal nor show something else than it says.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' { shown.push(c) } else { push_visible(&mut shown, c) }
    }
    shown
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '\t' => out.push(' '),
        c if c.is_control() || reorders(c) => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
}

/// Bidirectional controls, line separators and invisible characters.
fn reorders(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}')
}
