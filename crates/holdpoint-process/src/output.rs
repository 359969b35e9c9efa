//! Output as lines (PROC-005): what a caller sees of it, and the splitter that makes them.

use std::fmt;

/// Longest piece of a line that is passed on, in bytes: the bound of the memory that a
/// stream without newlines takes.
pub const MAX_LINE: usize = 64 * 1024;

/// One of the two output streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// A line of output without its newline, or a piece of a line longer than [`MAX_LINE`].
///
/// Put together, with a newline after each that ends in [`LineEnd::Newline`], the lines of a
/// stream are its bytes exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes, in no particular encoding.
    pub bytes: &'a [u8],
    /// Whether the line begins here; false for the later pieces of a long one.
    pub begins: bool,
    /// What follows the bytes.
    pub end: LineEnd,
}

/// What follows the bytes of a [`Line`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineEnd {
    /// A newline.
    Newline,
    /// More of the same line: it is longer than [`MAX_LINE`].
    Continued,
    /// Nothing: the stream ended without a newline.
    Unterminated,
}

/// Receives what a running command does, while it runs.
///
/// Calls come from the future of [`Spawner::run`](crate::Spawner::run), one at a time, and hold
/// up this command alone: while a call lasts its pipes fill and then its process waits. A
/// closure `FnMut(Stream, Line<'_>)` is a sink.
pub trait OutputSink {
    /// The process runs, under this id. Comes once, before any line.
    fn started(&mut self, pid: u32) {
        let _ = pid;
    }

    /// A line, or a piece of a long one. Lines of one stream come in their order, lines of both
    /// in the order in which they were read.
    fn line(&mut self, stream: Stream, line: Line<'_>);
}

impl<F: FnMut(Stream, Line<'_>)> OutputSink for F {
    fn line(&mut self, stream: Stream, line: Line<'_>) {
        self(stream, line);
    }
}

/// Cuts one stream into lines. Keeps the begun line, [`MAX_LINE`] bytes at most.
///
/// ```
/// use holdpoint_process::{LineEnd, LineSplitter};
///
/// let mut splitter = LineSplitter::default();
/// let mut seen = Vec::new();
/// splitter.push(b"one\ntw", |line| seen.push((line.bytes.to_vec(), line.end)));
/// splitter.push(b"o", |line| seen.push((line.bytes.to_vec(), line.end)));
/// splitter.finish(|line| seen.push((line.bytes.to_vec(), line.end)));
/// assert_eq!(
///     seen,
///     [(b"one".to_vec(), LineEnd::Newline), (b"two".to_vec(), LineEnd::Unterminated)],
/// );
/// ```
#[derive(Debug, Default)]
pub struct LineSplitter {
    begun: Vec<u8>,
    /// Pieces of the current line were passed on.
    continuing: bool,
}

impl LineSplitter {
    /// Takes the next bytes of the stream and passes on the lines that they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Line<'_>)) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(at) = window.iter().position(|byte| *byte == b'\n') {
                self.emit(&window[..at], LineEnd::Newline, &mut emit);
                bytes = &bytes[at + 1..];
            } else if window.len() == room {
                self.emit(window, LineEnd::Continued, &mut emit);
                bytes = &bytes[room..];
            } else {
                self.begun.extend_from_slice(window);
                return;
            }
        }
    }

    /// The stream has ended: passes on what has no newline.
    pub fn finish(&mut self, mut emit: impl FnMut(Line<'_>)) {
        if !self.begun.is_empty() || self.continuing {
            self.emit(&[], LineEnd::Unterminated, &mut emit);
        }
    }

    fn emit(&mut self, rest: &[u8], end: LineEnd, emit: &mut impl FnMut(Line<'_>)) {
        let begins = !self.continuing;
        if self.begun.is_empty() {
            emit(Line { bytes: rest, begins, end });
        } else {
            self.begun.extend_from_slice(rest);
            emit(Line { bytes: &self.begun, begins, end });
            self.begun.clear();
        }
        self.continuing = end == LineEnd::Continued;
    }
}
