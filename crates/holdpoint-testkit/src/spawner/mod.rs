//! The virtual spawner: stands for the system's child processes, on a clock that is an argument.
//!
//! It is a machine like the engines' own: told what to do ([`spawn`](VirtualSpawner::spawn),
//! [`signal`](VirtualSpawner::signal), [`reap`](VirtualSpawner::reap)) it changes, says when it
//! wants to be looked at again ([`next_deadline`](VirtualSpawner::next_deadline)), and gives out
//! what a watcher of the children would notice. It keeps the books that no real system keeps:
//! whether everything was reaped once, whether a signal hit a stranger, and what outlived its
//! end. It knows nothing of tokio, nor of the process crate: that crate's tests can use it.
//!
//! As on a real system a child leads a group, an ended child keeps its pid until it is reaped, a
//! pid is free for others afterwards, and output is open as long as anybody holds it.
//!
//! ```
//! use std::time::Duration;
//! use holdpoint_core::Monotonic;
//! use holdpoint_testkit::spawner::{ChildEnd, ChildScript, Noticed, VirtualSpawner};
//!
//! let mut system = VirtualSpawner::new();
//! let script = ChildScript::exits(Duration::from_secs(1), 3);
//! let child = system.spawn(Monotonic::ZERO, &script)?;
//! let end = system.next_deadline().ok_or("it ends")?;
//! system.advance(end);
//! assert_eq!(system.next_notice().map(|notice| notice.what), Some(Noticed::Exited));
//! assert_eq!(system.reap(child), Some(ChildEnd::Code(3)));
//! assert_eq!(system.at_rest(), Ok(()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! 1. Time only rises: what is due is carried out at its own time, in the order of times.
//! 2. `by_pid` names each process that is alive or not yet reaped, and no other.
//! 3. A pid is not given while a process or a group has it.

mod script;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use holdpoint_core::Monotonic;

pub use self::script::{ChildEnd, ChildScript, Grandchild, OnTerm, Refusal, Signal};

/// The pid of the first process.
const FIRST_PID: u32 = 100;
/// How long after the grace everything must be gone.
const LEEWAY: Duration = Duration::from_secs(1);

/// All virtual processes.
#[derive(Debug, Default)]
pub struct VirtualSpawner {
    now: Monotonic,
    processes: Vec<Process>,
    by_pid: HashMap<u32, usize>,
    /// The living processes of each group, by the pid of its leader.
    groups: HashMap<u32, BTreeSet<usize>>,
    reuses_pids: bool,
    limit: Option<(usize, Refusal)>,
    last_pid: u32,
    changes: BTreeMap<(Monotonic, u64), Change>,
    changes_made: u64,
    notices: VecDeque<Notice>,
    faults: Vec<String>,
    census: Census,
}

/// A child: its pid, and which of all that ever had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId {
    pid: u32,
    index: usize,
}

/// Something that a watcher of a child notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The child.
    pub child: ChildId,
    /// When.
    pub at: Monotonic,
    /// What.
    pub what: Noticed,
}

/// What a watcher notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// It wrote a line.
    Line(String),
    /// It has ended and is not reaped.
    Exited,
    /// Nobody holds its output any more.
    OutputClosed,
}

/// How many there were and are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Children that were started.
    pub spawned: usize,
    /// Children that were refused.
    pub refused: usize,
    /// Children that were reaped.
    pub reaped: usize,
    /// Children that have ended and are not reaped.
    pub zombies: usize,
    /// Processes that live, grandchildren included.
    pub alive: usize,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    /// Whose descendant it is: itself, for a child.
    child: usize,
    /// The pid of its group's leader.
    group: u32,
    alive: bool,
    on_term: OnTerm,
    holds_output: bool,
    /// What only a child has.
    record: Option<Record>,
}

/// What is known of a child.
#[derive(Debug)]
struct Record {
    end: Option<ChildEnd>,
    reaped: bool,
    /// How many processes hold its output.
    writers: usize,
    /// How many of its descendants live, itself included.
    living: usize,
    /// When its group was signalled first.
    signalled: Option<Monotonic>,
    /// When the last of its descendants ended.
    last_end: Monotonic,
}

#[derive(Debug)]
enum Change {
    Line(usize, String),
    End(usize, ChildEnd),
    Fork(usize, Grandchild),
}

impl VirtualSpawner {
    /// A system without processes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The lowest free pid is given again at once, as it is where many come and go: a signal that
    /// comes too late hits a stranger.
    #[must_use]
    pub fn reuse_pids(mut self) -> Self {
        self.reuses_pids = true;
        self
    }

    /// No more than so many children that are not reaped; others are refused.
    #[must_use]
    pub fn limit(mut self, children: usize, refusal: Refusal) -> Self {
        self.limit = Some((children, refusal));
        self
    }

    /// Starts a child.
    ///
    /// # Errors
    /// The system refuses it, by its script or by the limit.
    pub fn spawn(&mut self, now: Monotonic, script: &ChildScript) -> Result<ChildId, Refusal> {
        self.advance(now);
        let unreaped = self.census.spawned - self.census.reaped;
        let limited = self.limit.filter(|(most, _)| unreaped >= *most).map(|(_, refusal)| refusal);
        if let Some(refusal) = script.refused.or(limited) {
            self.census.refused += 1;
            return Err(refusal);
        }
        self.census.spawned += 1;
        let pid = self.free_pid();
        let index = self.processes.len();
        let record = Record {
            end: None,
            reaped: false,
            writers: 0,
            living: 0,
            signalled: None,
            last_end: now,
        };
        self.add(Process {
            pid,
            child: index,
            group: pid,
            alive: true,
            on_term: script.on_term,
            holds_output: true,
            record: Some(record),
        });
        // What comes at the time of the end comes before it.
        for (after, line) in &script.output {
            self.plan(now + *after, Change::Line(index, line.clone()));
        }
        for grandchild in &script.grandchildren {
            self.plan(now + grandchild.starts, Change::Fork(index, *grandchild));
        }
        if let Some((after, end)) = script.ends {
            self.plan(now + after, Change::End(index, end));
        }
        self.advance(now);
        Ok(ChildId { pid, index })
    }

    /// Sends a signal to the group of a child, by its pid, as a system does: where that belongs
    /// to another by now, it is the other that is hit, and that is a fault.
    pub fn signal(&mut self, now: Monotonic, child: ChildId, signal: Signal) {
        self.advance(now);
        let owner = self.by_pid.get(&child.pid).copied();
        let is_group = self.groups.contains_key(&child.pid);
        if owner.is_some_and(|owner| owner != child.index) {
            self.faults.push(format!("{child} was signalled when its pid was a stranger's"));
        } else if owner.is_none() && !is_group {
            self.faults.push(format!("{child} was signalled when nobody had its pid"));
        }
        if let Some(record) = self.record_mut(child.index) {
            record.signalled.get_or_insert(now);
        }
        for index in self.groups.get(&child.pid).cloned().unwrap_or_default() {
            self.hit(index, signal);
        }
        self.advance(now);
    }

    /// How many members the group of a child has besides the child itself.
    #[must_use]
    pub fn members(&self, child: ChildId) -> usize {
        let leads = self.processes.get(child.index).is_some_and(|process| process.alive);
        self.groups.get(&child.pid).map_or(0, BTreeSet::len) - usize::from(leads)
    }

    /// Takes the end of a child, once; its pid is free for others then. None, and a fault, where
    /// it has not ended or was reaped before.
    pub fn reap(&mut self, child: ChildId) -> Option<ChildEnd> {
        let record = self.record_mut(child.index);
        let end = record.as_ref().filter(|record| !record.reaped).and_then(|record| record.end);
        let (Some(record), Some(end)) = (record, end) else {
            self.faults.push(format!("{child} was reaped twice, or before its end"));
            return None;
        };
        record.reaped = true;
        self.by_pid.remove(&child.pid);
        self.census.reaped += 1;
        self.census.zombies -= 1;
        Some(end)
    }

    /// When something happens next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.changes.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets happen what is due at `now`. An earlier time than before changes nothing.
    pub fn advance(&mut self, now: Monotonic) {
        while let Some(entry) = self.changes.first_entry().filter(|entry| entry.key().0 <= now) {
            let (at, _) = *entry.key();
            let change = entry.remove();
            self.now = self.now.max(at);
            match change {
                Change::Line(index, line) if self.processes[index].alive => {
                    self.notice(index, Noticed::Line(line));
                }
                Change::End(index, end) if self.processes[index].alive => self.end(index, end),
                Change::Fork(index, script) if self.processes[index].alive => {
                    self.fork(index, script);
                }
                Change::Line(..) | Change::End(..) | Change::Fork(..) => {}
            }
        }
        self.now = self.now.max(now);
    }

    /// What was noticed next, in order.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// How many there were and are.
    #[must_use]
    pub fn census(&self) -> Census {
        self.census
    }

    /// What was done that must not be: signals to strangers, reaping twice.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Children whose group was signalled, and of which something lived on for more than the
    /// grace and a second after that, or lives still. To be asked when all should be over.
    #[must_use]
    pub fn outlived(&self, grace: Duration) -> Vec<ChildId> {
        let late = |record: &Record| {
            let Some(signalled) = record.signalled else { return false };
            record.living > 0 || record.last_end > signalled + grace + LEEWAY
        };
        let children = self.processes.iter().enumerate();
        let children = children.filter(|(_, process)| process.record.as_ref().is_some_and(late));
        children.map(|(index, process)| ChildId { pid: process.pid, index }).collect()
    }

    /// Whether all is over: no faults, every child reaped, nothing alive.
    ///
    /// # Errors
    /// What is not, in words.
    pub fn at_rest(&self) -> Result<(), String> {
        let Census { spawned, reaped, zombies, alive, .. } = self.census;
        if let Some(fault) = self.faults.first() {
            return Err(fault.clone());
        }
        if reaped != spawned || alive > 0 {
            return Err(format!(
                "{spawned} children, {reaped} reaped, {zombies} zombies, {alive} processes alive"
            ));
        }
        Ok(())
    }

    fn add(&mut self, process: Process) {
        let index = self.processes.len();
        let (pid, group, child) = (process.pid, process.group, process.child);
        let writes = usize::from(process.holds_output);
        self.by_pid.insert(pid, index);
        self.groups.entry(group).or_default().insert(index);
        self.census.alive += 1;
        self.processes.push(process);
        if let Some(record) = self.record_mut(child) {
            record.writers += writes;
            record.living += 1;
        }
    }

    fn fork(&mut self, parent: usize, script: Grandchild) {
        let pid = self.free_pid();
        let group = if script.escapes { pid } else { self.processes[parent].group };
        let index = self.processes.len();
        self.add(Process {
            pid,
            child: parent,
            group,
            alive: true,
            on_term: script.on_term,
            holds_output: script.keeps_output,
            record: None,
        });
        if let Some(lives) = script.lives {
            self.plan(self.now + lives, Change::End(index, ChildEnd::Code(0)));
        }
    }

    fn hit(&mut self, index: usize, signal: Signal) {
        let by_signal = ChildEnd::Signal(signal.number());
        match (signal, self.processes[index].on_term) {
            (Signal::Kill, _) | (Signal::Terminate, OnTerm::Dies) => self.end(index, by_signal),
            (Signal::Terminate, OnTerm::Exits(after, code)) => {
                self.plan(self.now + after, Change::End(index, ChildEnd::Code(code)));
            }
            (Signal::Terminate, OnTerm::Ignores) => {}
        }
    }

    fn end(&mut self, index: usize, end: ChildEnd) {
        let now = self.now;
        let process = &mut self.processes[index];
        process.alive = false;
        let (pid, group, child) = (process.pid, process.group, process.child);
        let wrote = process.holds_output;
        self.census.alive -= 1;
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&index);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
        if let Some(record) = self.record_mut(index) {
            record.end = Some(end);
            self.census.zombies += 1;
            self.notice(index, Noticed::Exited);
        } else {
            // Its own parent, or the system, reaps it.
            self.by_pid.remove(&pid);
        }
        if let Some(record) = self.record_mut(child) {
            record.living -= 1;
            record.last_end = now;
            record.writers -= usize::from(wrote);
            if wrote && record.writers == 0 {
                self.notice(child, Noticed::OutputClosed);
            }
        }
    }

    fn record_mut(&mut self, index: usize) -> Option<&mut Record> {
        self.processes.get_mut(index).and_then(|process| process.record.as_mut())
    }

    fn notice(&mut self, index: usize, what: Noticed) {
        let child = ChildId { pid: self.processes[index].pid, index };
        self.notices.push_back(Notice { child, at: self.now, what });
    }

    fn plan(&mut self, at: Monotonic, change: Change) {
        self.changes_made += 1;
        self.changes.insert((at, self.changes_made), change);
    }

    fn free_pid(&mut self) -> u32 {
        let first = if self.reuses_pids { FIRST_PID } else { FIRST_PID.max(self.last_pid + 1) };
        let is_free = |pid: &u32| !self.by_pid.contains_key(pid) && !self.groups.contains_key(pid);
        let pid = (first..).find(is_free).unwrap_or(first);
        self.last_pid = self.last_pid.max(pid);
        pid
    }
}

impl ChildId {
    /// Its pid, and the number of its group.
    #[must_use]
    pub fn pid(self) -> u32 {
        self.pid
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

impl std::error::Error for Refusal {}
