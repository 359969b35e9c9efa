//! The end of an output, for summaries.

use std::collections::VecDeque;

use crate::output::{Line, OutputSink, Stream};

/// Keeps the last lines of an output, within a number of lines and of bytes.
///
/// ```
/// use holdpoint_process::{Line, LineEnd, OutputSink, Stream, Tail};
///
/// let mut tail = Tail::new(2, 1024);
/// for text in ["one", "two", "three"] {
///     tail.line(Stream::Stdout, Line { bytes: text.as_bytes(), begins: true, end: LineEnd::Newline });
/// }
/// assert_eq!(tail.dropped(), 1);
/// assert_eq!(tail.lines().map(|(_, text)| text).collect::<Vec<_>>(), [b"two".as_slice(), b"three"]);
/// ```
#[derive(Debug, Clone)]
pub struct Tail {
    max_lines: usize,
    max_bytes: usize,
    kept: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    dropped: u64,
}

impl Tail {
    /// Keeps at most so many lines and so many bytes. Of a line that alone is too long its end
    /// is kept.
    #[must_use]
    pub fn new(max_lines: usize, max_bytes: usize) -> Self {
        Self { max_lines, max_bytes, kept: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    /// The lines kept, oldest first, without newlines.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (Stream, &[u8])> {
        self.kept.iter().map(|(stream, bytes)| (*stream, bytes.as_slice()))
    }

    /// How many lines (or pieces of long ones) came before those kept.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl OutputSink for Tail {
    fn line(&mut self, stream: Stream, line: Line<'_>) {
        // The empty last piece of a long line is no line of its own.
        if line.bytes.is_empty() && !line.begins {
            return;
        }
        let end = &line.bytes[line.bytes.len().saturating_sub(self.max_bytes)..];
        self.kept.push_back((stream, end.to_vec()));
        self.bytes += end.len();
        while self.kept.len() > self.max_lines || self.bytes > self.max_bytes {
            if let Some((_, gone)) = self.kept.pop_front() {
                self.bytes -= gone.len();
                self.dropped += 1;
            }
        }
    }
}
