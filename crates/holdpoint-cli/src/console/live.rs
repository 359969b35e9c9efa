//! The output of one attempt while its process runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use holdpoint::TaskName;
use holdpoint::process::{
    Line, LineEnd, OutputSink, Prefix, Rendering, Stream, Tail, escape, write_line,
};
use holdpoint::run::{Attempt, AttemptOutput};

use super::look::{Look, Style};
use super::writer::{Target, Writer};
use super::{Board, Console, Output, lock};

/// How much of a failed task's output the summary repeats: lines, and bytes.
const TAIL: (usize, usize) = (10, 4096);

/// Shows the lines of an attempt, each as it comes, and keeps the last ones.
pub(super) struct Live {
    task: TaskName,
    log: PathBuf,
    shown: Option<Shown>,
    tail: Tail,
    board: Arc<Mutex<Board>>,
}

/// How lines are written at once.
struct Shown {
    out: Arc<Writer>,
    look: Look,
    /// None for a task that is alone.
    prefix: Option<[Prefix; 2]>,
}

impl Live {
    pub(super) fn new(console: &Console, attempt: &Attempt<'_>) -> Self {
        let shown = (console.look.style == Style::Stream).then(|| Shown {
            out: Arc::clone(&console.out),
            look: console.look.clone(),
            prefix: (!console.alone).then(|| prefixes(console, attempt.task)),
        });
        Self {
            task: attempt.task.clone(),
            log: attempt.log.to_owned(),
            shown,
            tail: Tail::new(TAIL.0, TAIL.1),
            board: Arc::clone(&console.board),
        }
    }
}

impl AttemptOutput for Live {
    fn line(&mut self, stream: Stream, line: Line<'_>) {
        self.tail.line(stream, line);
        if let Some(shown) = &self.shown {
            shown.line(stream, line);
        }
    }

    fn close(self: Box<Self>, is_leaky: bool) {
        let output = Output { log: self.log, tail: self.tail, is_leaky };
        lock(&self.board).closed.insert(self.task, output);
    }
}

impl Shown {
    fn line(&self, stream: Stream, line: Line<'_>) {
        let target = match stream {
            Stream::Stdout => self.look.stdout,
            Stream::Stderr => Target::Stderr,
        };
        let rendering = self.look.rendering(target);
        match &self.prefix {
            None => self.out.write(target, whole(line, rendering)),
            Some([of_stdout, of_stderr]) => {
                let prefix = if target == Target::Stdout { of_stdout } else { of_stderr };
                // The writer's streams take everything.
                let _ = write_line(&mut self.out.stream(target), prefix, line, rendering);
            }
        }
    }
}

/// The names before the lines of a task, on standard output and on standard error.
fn prefixes(console: &Console, task: &TaskName) -> [Prefix; 2] {
    let task = task.to_string();
    let index = console.plan.topology().find(&task).map_or(0, |id| id.index());
    [Target::Stdout, Target::Stderr]
        .map(|target| Prefix::new(&task, console.width, console.look.name_colour(target, index)))
}

/// A line as it is, with its end.
fn whole(line: Line<'_>, rendering: Rendering) -> Vec<u8> {
    let mut row = bare(line.bytes, rendering);
    let is_ended = match rendering {
        Rendering::Raw => line.end == LineEnd::Newline,
        // What follows on a terminal begins on a row of its own.
        Rendering::Escaped => line.end != LineEnd::Continued,
    };
    row.extend(is_ended.then_some(b'\n'));
    row
}

/// A line byte by byte, or as a terminal may show it.
pub(super) fn bare(line: &[u8], rendering: Rendering) -> Vec<u8> {
    let mut row = Vec::with_capacity(line.len() + 8);
    match rendering {
        Rendering::Raw => row.extend_from_slice(line),
        Rendering::Escaped => {
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            if escape(text, true, &mut row) {
                row.extend_from_slice(b"\x1b[0m");
            }
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], end: LineEnd, rendering: Rendering) -> Vec<u8> {
        whole(Line { bytes, begins: true, end }, rendering)
    }

    #[test]
    fn proc_005_the_output_of_a_task_alone_is_its_bytes() {
        use LineEnd::{Continued, Newline, Unterminated};
        let raw = |bytes, end| shown(bytes, end, Rendering::Raw);
        assert_eq!(raw(b"\x1b[2J\xff\r", Newline), b"\x1b[2J\xff\r\n");
        assert_eq!(raw(b"no newline", Unterminated), b"no newline");
        assert_eq!(raw(b"a piece", Continued), b"a piece");
    }

    #[test]
    fn proc_005_out_1_on_a_terminal_it_is_escaped_and_its_lines_end() {
        use LineEnd::{Newline, Unterminated};
        let escaped = |bytes, end| shown(bytes, end, Rendering::Escaped);
        assert_eq!(escaped(b"\x1b[2Jgone\r", Newline), b"\\x1b[2Jgone\n");
        assert_eq!(escaped(b"\x1b[31mred", Unterminated), b"\x1b[31mred\x1b[0m\n");
    }
}
