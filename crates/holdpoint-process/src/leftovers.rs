//! Ending what an owner left behind that died (PROC-007).
//!
//! # Invariants
//! 1. No signal goes to a process that is not certainly one of the recorded group. A group is
//!    certain while one of its members is: a group's number is given to nobody else as long as it
//!    has members. A member is certain if it is the recorded leader, by id and start; if it was
//!    seen in the group when that was certain; or if it is in the group and writes to the pipes
//!    that were made for it.
//! 2. Nothing is signalled while the owner lives: it holds the file's lock.
//! 3. The file is removed only when none of its groups is left.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use tokio::time::{Instant, sleep};

use crate::error::PidFileError;
use crate::identity::{self, Process};
use crate::pid_file;
use crate::record::{self, Noted};

/// How long after SIGKILL the end is waited for.
const KILL_WAIT: Duration = Duration::from_secs(1);
/// First and longest pause between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));

/// What [`end_leftovers`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// Groups that still ran and have been ended, by number, in the order of the file.
    pub ended: Vec<u32>,
    /// Groups that did not end: they hang in the kernel, or belong to a user that we may not
    /// signal. The file stays, for the next who looks.
    pub remaining: Vec<u32>,
    /// Lines that could not be understood, such as one that was torn. They are passed over.
    pub unreadable: usize,
}

/// Ends the processes that the owner of this [`PidFile`](crate::PidFile) left behind when it
/// died: SIGTERM, after the grace SIGKILL (zero: at once), to each group that is still there. Waits
/// until they are gone and removes the file. Where there is no file, there is nothing to do.
///
/// Only processes that are certainly those recorded are signalled: of this boot, in this space
/// of process ids, with the recorded id and start; and who shares a group with such a process, or is
/// in a recorded group and writes to the pipe that was made for it. Whoever left the group is not
/// found. On systems other than Linux nobody is recognised, and nothing is signalled.
///
/// # Errors
/// [`PidFileError::InUse`] where the owner lives, or somebody else is ending its leftovers now.
/// [`PidFileError::Io`] where the system refuses the file.
///
/// # Panics
/// Outside a tokio runtime with a time driver, where something is left.
///
/// # Cancel safety
/// Dropping the future leaves the file, so that the next call goes on.
pub async fn end_leftovers(
    path: impl AsRef<Path>,
    grace: Duration,
) -> Result<Leftovers, PidFileError> {
    let path = path.as_ref();
    let failed = |source| PidFileError::Io { path: path.into(), source };
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Leftovers::default()),
        Err(source) => return Err(failed(source)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(PidFileError::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    if !pid_file::is_at(&file, path).map_err(failed)? {
        // It was removed since it was opened: its owner came to an end of its own, or somebody
        // else has ended its leftovers.
        return Ok(Leftovers::default());
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    let (noted, unreadable) = record::read(&text);

    let mut search = Search::new(noted);
    let mut left = search.look();
    let found = left.clone();
    if !left.is_empty() && !grace.is_zero() {
        signal(&left, Signal::TERM);
        signal(&left, Signal::CONT);
        search.until_gone(&mut left, grace).await;
    }
    if !left.is_empty() {
        signal(&left, Signal::KILL);
        search.until_gone(&mut left, KILL_WAIT).await;
    }
    if left.is_empty() {
        fs::remove_file(path).map_err(failed)?;
    }
    let ended = found.into_iter().filter(|group| !left.contains(group)).collect();
    Ok(Leftovers { ended, remaining: left, unreadable })
}

/// The recorded groups that may still be there.
struct Search {
    groups: Vec<(Noted, HashSet<(u32, u64)>)>,
}

impl Search {
    fn new(noted: Vec<Noted>) -> Self {
        let here = identity::place();
        let is_here = |noted: &Noted| noted.place == here && !here.starts_with(':');
        let groups = noted.into_iter().filter(is_here);
        Self { groups: groups.map(|noted| (noted, HashSet::new())).collect() }
    }

    /// The numbers of the groups that are certain and have a member that runs.
    fn look(&mut self) -> Vec<u32> {
        if self.groups.is_empty() {
            return Vec::new();
        }
        let processes = identity::all();
        let own = getpgrp().as_raw_pid().unsigned_abs();
        let mut found = Vec::new();
        for (noted, known) in &mut self.groups {
            if noted.leader.is_none() {
                noted.leader = being_started(noted, &processes);
            }
            let Some((pid, start)) = noted.leader else { continue };
            let members = || processes.iter().filter(|process| process.group == pid);
            let is_certain = |process: &Process| {
                (process.pid, process.start) == (pid, start)
                    || known.contains(&(process.pid, process.start))
                    || identity::holds(process.pid, noted.pipes)
            };
            // A task may be the one that looks. It does not end itself.
            if pid == own || !members().any(is_certain) {
                continue;
            }
            known.extend(members().map(|process| (process.pid, process.start)));
            if members().any(|process| process.alive) {
                found.push(pid);
            }
        }
        found
    }

    /// Looks until nobody of those left is left, or the time is over.
    async fn until_gone(&mut self, left: &mut Vec<u32>, time: Duration) {
        let end = Instant::now() + time;
        let mut pause = LOOK.0;
        loop {
            let now = Instant::now();
            *left = self.look();
            if left.is_empty() || now >= end {
                return;
            }
            sleep(pause.min(end - now)).await;
            pause = LOOK.1.min(pause * 2);
        }
    }
}

/// The process that was being started when the owner died: it leads its group and writes to the
/// pipes that were made for it.
fn being_started(noted: &Noted, processes: &[Process]) -> Option<(u32, u64)> {
    let leads = |process: &&Process| process.pid == process.group;
    let mut leaders = processes.iter().filter(leads);
    leaders
        .find(|process| identity::holds(process.pid, noted.pipes))
        .map(|process| (process.pid, process.start))
}

/// Between the look and the signal lie microseconds, in which no number comes round again.
fn signal(groups: &[u32], signal: Signal) {
    for group in groups {
        if let Some(group) = i32::try_from(*group).ok().and_then(Pid::from_raw) {
            // A refusal is no news: the next look tells who is left.
            let _: Result<(), Errno> = kill_process_group(group, signal);
        }
    }
}
