//! Output on a terminal or in a file (PROC-006): whole lines with a prefix while tasks run, or
//! one block per task.

use std::io::{self, IsTerminal, Read, Write};

use crate::escape::escape;
use crate::output::{Line, LineEnd, LineSplitter};

/// How untrusted bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// As they are: for files and pipes.
    Raw,
    /// With [`escape`], colours let through: for terminals.
    Escaped,
}

impl Rendering {
    /// What suits this destination.
    ///
    /// ```
    /// use holdpoint_process::Rendering;
    ///
    /// assert_eq!(Rendering::of(&std::fs::File::open("/dev/null")?), Rendering::Raw);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of(destination: &impl IsTerminal) -> Self {
        if destination.is_terminal() { Self::Escaped } else { Self::Raw }
    }
}

/// What stands before each line of a task: `[app:build] `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(Vec<u8>);

impl Prefix {
    /// A prefix of this label, filled with blanks to `width` characters of label so that the
    /// lines of all tasks are aligned. `colour` is the number of a terminal colour (31 to 36,
    /// 91 to 96, ..); none for destinations without colours.
    #[must_use]
    pub fn new(label: &str, width: usize, colour: Option<u8>) -> Self {
        // A label is one word on one row wherever it is written.
        let label = label.replace(['\n', '\t'], " ");
        let mut bytes = Vec::new();
        if let Some(colour) = colour {
            bytes.extend_from_slice(format!("\x1b[{colour}m").as_bytes());
        }
        bytes.push(b'[');
        escape(label.as_bytes(), false, &mut bytes);
        bytes.push(b']');
        if colour.is_some() {
            bytes.extend_from_slice(RESET);
        }
        let fill = width.saturating_sub(label.chars().count()) + 1;
        bytes.resize(bytes.len() + fill, b' ');
        Self(bytes)
    }
}

const RESET: &[u8] = b"\x1b[0m";

/// Writes a line of a running task, with its prefix, in one call of `write_all`: lines of tasks
/// that run at the same time never mix. Each piece of a long line gets a row of its own.
///
/// ```
/// use holdpoint_process::{Line, LineEnd, Prefix, Rendering, write_line};
///
/// let mut out = Vec::new();
/// let line = Line { bytes: b"cc -c main.c", begins: true, end: LineEnd::Newline };
/// write_line(&mut out, &Prefix::new("build", 8, None), line, Rendering::Raw)?;
/// assert_eq!(out, b"[build]    cc -c main.c\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of `out`.
pub fn write_line(
    out: &mut (impl Write + ?Sized),
    prefix: &Prefix,
    line: Line<'_>,
    rendering: Rendering,
) -> io::Result<()> {
    // A long line may end exactly where its last piece did.
    if line.bytes.is_empty() && !line.begins {
        return Ok(());
    }
    let mut row = Vec::with_capacity(prefix.0.len() + line.bytes.len() + RESET.len() + 1);
    row.extend_from_slice(&prefix.0);
    render(line, rendering, &mut row);
    row.push(b'\n');
    out.write_all(&row)
}

/// Writes all output of a task as one block: the title on a row of its own, then what `output`
/// gives, ended with a newline. Reads and writes piece by piece; whoever else writes to `out`
/// must be kept off for the time of the call.
///
/// ```
/// use holdpoint_process::{Rendering, write_block};
///
/// let mut out = Vec::new();
/// write_block(&mut out, "build failed: exit code 1", &b"cc: no input files"[..], Rendering::Raw)?;
/// assert_eq!(out, b"build failed: exit code 1\ncc: no input files\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of `out` and `output`.
pub fn write_block(
    out: &mut (impl Write + ?Sized),
    title: &str,
    mut output: impl Read,
    rendering: Rendering,
) -> io::Result<()> {
    let mut rows = Vec::new();
    escape(title.replace('\n', " ").as_bytes(), rendering == Rendering::Escaped, &mut rows);
    rows.push(b'\n');
    let add = |line: Line<'_>, rows: &mut Vec<u8>| {
        render(line, rendering, rows);
        if line.end != LineEnd::Continued {
            rows.push(b'\n');
        }
    };
    let mut splitter = LineSplitter::default();
    let mut chunk = vec![0; 32 * 1024];
    loop {
        let taken = match output.read(&mut chunk) {
            Ok(0) => break,
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        splitter.push(&chunk[..taken], |line| add(line, &mut rows));
        out.write_all(&rows)?;
        rows.clear();
    }
    splitter.finish(|line| add(line, &mut rows));
    out.write_all(&rows)
}

fn render(line: Line<'_>, rendering: Rendering, row: &mut Vec<u8>) {
    match rendering {
        Rendering::Raw => row.extend_from_slice(line.bytes),
        Rendering::Escaped => {
            // The carriage return before a newline is part of the line's end.
            let text = match line.end {
                LineEnd::Newline => line.bytes.strip_suffix(b"\r").unwrap_or(line.bytes),
                LineEnd::Continued | LineEnd::Unterminated => line.bytes,
            };
            if escape(text, true, row) {
                // What a task leaves on must not colour the rows of others.
                row.extend_from_slice(RESET);
            }
        }
    }
}
