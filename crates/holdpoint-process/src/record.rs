//! What is written down of the groups that run, so that others can end them (PROC-007).
//!
//! A record is a file of lines of one length. A start takes a line that is free, its end crosses
//! it out, so the file is as long as the most groups that ran at once. Nothing is synced: the
//! system keeps it when the process dies, and after a crash of the system no group is left.
//!
//! ```text
//! ? 0 0 <where> <stdout> <stderr>         it is being started
//! + <pid> <start> <where> <stdout> <stderr>   it runs; its group has this number
//! - ..                                    crossed out, free
//! ```
//!
//! `start` is when the process was made, in ticks since the boot; `where` names the boot and the
//! space of process ids; the last two are the inodes of the pipes that it writes to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identity;

/// Length of a line. All numbers at their longest fit.
const LINE: usize = 128;

const STARTING: char = '?';
const RUNNING: char = '+';
const CROSSED_OUT: &[u8] = b"-";

/// The inodes of the pipes that a process writes to.
pub(crate) type Pipes = [u64; 2];

/// Takes lines. A clone is the same record.
#[derive(Debug, Clone)]
pub(crate) struct Record(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: File,
    place: String,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    free: Vec<u64>,
    /// How many there are, free or not.
    count: u64,
}

/// One line. Crossed out when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    record: Record,
    number: u64,
    pipes: Pipes,
}

/// What a line says that is not crossed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The leader and when it was made; none where it was being started.
    pub(crate) leader: Option<(u32, u64)>,
    /// Whose process ids these are; see [`identity::place`].
    pub(crate) place: String,
    pub(crate) pipes: Pipes,
}

impl Record {
    /// Lines go to an empty file. Its offset stays where it is.
    pub(crate) fn new(file: File) -> Self {
        Self(Arc::new(Shared { file, place: identity::place(), lines: Mutex::default() }))
    }

    /// Notes a process that is about to be started.
    pub(crate) fn enter(&self, pipes: Pipes) -> io::Result<Entry> {
        let number = self.0.take_line();
        let entry = Entry { record: self.clone(), number, pipes };
        entry.write(STARTING, (0, 0)).map(|()| entry)
    }
}

impl Shared {
    fn take_line(&self) -> u64 {
        let mut lines = self.lines();
        lines.free.pop().unwrap_or_else(|| {
            lines.count += 1;
            lines.count - 1
        })
    }

    /// Nothing panics under the lock but for want of memory; the lines are whole even then.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Notes that it runs. Where that cannot be written, or the system does not tell when it was
    /// made, the line stands as it was, and the pipes still tell whose it is.
    pub(crate) fn started(&self, leader: (u32, u64)) {
        let _ = self.write(RUNNING, leader);
    }

    fn write(&self, mark: char, (pid, start): (u32, u64)) -> io::Result<()> {
        let shared = &self.record.0;
        let [stdout, stderr] = self.pipes;
        let mut line = format!("{mark} {pid} {start} {} {stdout} {stderr}", shared.place);
        line.extend(std::iter::repeat_n(' ', LINE.saturating_sub(line.len() + 1)));
        line.push('\n');
        shared.file.write_all_at(line.as_bytes(), self.number * LINE as u64)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let shared = &self.record.0;
        // A line that could not be crossed out names a process that is gone. It is not used again.
        if shared.file.write_all_at(CROSSED_OUT, self.number * LINE as u64).is_ok() {
            shared.lines().free.push(self.number);
        }
    }
}

/// All lines that are not crossed out, and how many could not be understood.
pub(crate) fn read(text: &[u8]) -> (Vec<Noted>, usize) {
    let mut unreadable = 0;
    let noted = text.split(|byte| *byte == b'\n').filter_map(|line| {
        // A line that was never written, before one that was, reads as zeros.
        let line = line.trim_ascii_end();
        let line = &line[line.iter().position(|byte| *byte != 0).unwrap_or(line.len())..];
        if line.is_empty() || line.starts_with(CROSSED_OUT) {
            return None;
        }
        let noted = str::from_utf8(line).ok().and_then(noted);
        unreadable += usize::from(noted.is_none());
        noted
    });
    (noted.collect(), unreadable)
}

fn noted(line: &str) -> Option<Noted> {
    let mut words = line.split_ascii_whitespace();
    let mark = words.next()?;
    let leader = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let place = words.next()?.to_owned();
    let pipes = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
    let leader = match mark {
        "?" => None,
        // The first process of all is never a child of ours, and no group has the number zero.
        "+" if leader.0 > 1 && i32::try_from(leader.0).is_ok() => Some(leader),
        _ => return None,
    };
    words.next().is_none().then_some(Noted { leader, place, pipes })
}
