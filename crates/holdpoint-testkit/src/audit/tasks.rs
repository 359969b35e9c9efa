//! What the tasks of a session and their processes do (G1, G4, SE-8, G9).

use std::collections::{BTreeMap, HashMap};

use holdpoint_core::TaskName;
use holdpoint_core::event::{CacheSource, EventKind};

use super::Settings;
use super::edges::{Edge, Edges};
use super::holds::{HoldBook, Holder};
use super::violation::Notes;

/// The tasks of one session.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Which life of the work it is; what a task did in an earlier one is over.
    life: u64,
    /// Whether a task of this attempt was told of.
    any: bool,
    known: HashMap<TaskName, Task>,
    /// Tasks that began something in this life and have not ended. In order, for the messages.
    open: BTreeMap<TaskName, ()>,
    /// Processes that run.
    processes: HashMap<u32, TaskName>,
}

#[derive(Debug, Default)]
struct Task {
    life: u64,
    started: bool,
    hit: bool,
    /// The attempt that runs or is to come, from 1.
    attempt: u32,
    process: Option<u32>,
    /// Whether it ended in this life.
    ended: bool,
    /// How it ended in this attempt of the session, in this life or an earlier one.
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// Whether edges count it as a success.
    success: bool,
    /// Whether it was executed and succeeded.
    executed: bool,
}

impl Tasks {
    /// The session ended, or begins again from nothing.
    pub(super) fn begin_attempt(&mut self) {
        self.begin_start();
        self.known = HashMap::new();
        self.any = false;
    }

    /// The body begins again: what was begun is over, what has ended has ended.
    pub(super) fn begin_start(&mut self) {
        self.life += 1;
        self.open.clear();
        self.processes.clear();
    }

    pub(super) fn take(
        &mut self,
        kind: &EventKind,
        start: u32,
        settings: &Settings,
        holds: &mut HoldBook,
        notes: &mut Notes<'_>,
    ) {
        match kind {
            EventKind::TaskStarted { task } => self.starts(task, settings, notes),
            EventKind::TaskHit { task, .. } => {
                let started = self.begun(task, settings, notes).started;
                notes.check(!started, "G4", || format!("{task} was found after it had started"));
                self.task(task).hit = true;
            }
            EventKind::TaskMiss { task, .. } => {
                self.begun(task, settings, notes);
            }
            EventKind::TaskRetry { task, attempt, .. } => {
                self.retries(task, *attempt, notes);
                holds.end(&holder(notes, Some(task)), notes);
            }
            EventKind::TaskQuestion { task, .. } => {
                self.begun(task, settings, notes);
            }
            EventKind::HoldWaiting { task, .. } => {
                self.open_task(task.as_ref(), settings, notes);
                holds.wait(&holder(notes, task.as_ref()), notes);
            }
            EventKind::HoldAcquired { task, holds: list } => {
                self.open_task(task.as_ref(), settings, notes);
                holds.acquire(holder(notes, task.as_ref()), list, settings, notes);
            }
            EventKind::HoldReleased { task, holds: list } => {
                self.open_task(task.as_ref(), settings, notes);
                holds.release(&holder(notes, task.as_ref()), list, notes);
            }
            EventKind::ProcessStarted { task, pid, start: of, attempt } => {
                notes.check(*of == start, "G9", || {
                    format!("process {pid} of start {of} in start {start}")
                });
                self.process_starts(task, *pid, *attempt, notes);
            }
            EventKind::ProcessExited { task, pid, .. } => self.process_exits(task, *pid, notes),
            kind => match kind.ended_task() {
                Some(task) => self.ends(task, kind, settings, holds, notes),
                None => notes.add("CORE-006", format!("{} in a session", kind.name())),
            },
        }
    }

    /// The session ends: so has every task.
    pub(super) fn end_session(&mut self, edges: Option<&Edges>, notes: &mut Notes<'_>) {
        for task in self.open.keys() {
            notes.add("G4", format!("{task} began and has no end"));
        }
        if self.any
            && let Some(edges) = edges
        {
            let open = |task: &&TaskName| self.known.get(*task).is_none_or(|it| it.end.is_none());
            let mut missing: Vec<&TaskName> = edges.tasks().filter(open).collect();
            missing.retain(|task| !self.open.contains_key(*task));
            missing.sort_unstable();
            for task in missing {
                notes.add("G4", format!("{task} has no end"));
            }
        }
        let mut left: Vec<(&u32, &TaskName)> = self.processes.iter().collect();
        left.sort_unstable();
        for (pid, task) in left {
            notes.add("G9", format!("process {pid} of {task} was not reaped"));
        }
        self.begin_start();
    }

    fn starts(&mut self, name: &TaskName, settings: &Settings, notes: &mut Notes<'_>) {
        let task = self.begun(name, settings, notes);
        let (started, hit, end) = (task.started, task.hit, task.end);
        notes.check(!started, "G4", || format!("{name} started twice"));
        notes.check(!hit, "G4", || format!("{name} started though it was found"));
        let again = settings.durable && end.is_some_and(|end| end.executed);
        notes.check(!again, "SE-8", || format!("{name} is executed again after its success"));
        self.task(name).started = true;
    }

    fn retries(&mut self, name: &TaskName, failed: u32, notes: &mut Notes<'_>) {
        let task = self.present(name, notes);
        let (started, attempt, process) = (task.started, task.attempt, task.process);
        task.attempt = failed.saturating_add(1);
        notes.check(started, "G4", || format!("{name} is tried again before it started"));
        notes.check(failed == attempt, "G4", || {
            format!("attempt {failed} of {name} failed, and {attempt} was going")
        });
        notes.check(process.is_none(), "G9", || {
            format!("attempt {failed} of {name} ended before its process")
        });
    }

    fn process_starts(&mut self, name: &TaskName, pid: u32, of: u32, notes: &mut Notes<'_>) {
        let task = self.present(name, notes);
        let (started, attempt, other) = (task.started, task.attempt, task.process);
        task.process = Some(pid);
        notes.check(started, "G9", || format!("process {pid} before {name} started"));
        notes.check(of == attempt, "G9", || {
            format!("process {pid} of attempt {of} of {name} in attempt {attempt}")
        });
        if let Some(other) = other {
            notes.add("G9", format!("process {pid} of {name} while its process {other} runs"));
        }
        if let Some(task) = self.processes.insert(pid, name.clone()) {
            notes.add("G9", format!("process {pid} started twice; it is that of {task}"));
        }
    }

    fn process_exits(&mut self, name: &TaskName, pid: u32, notes: &mut Notes<'_>) {
        let task = self.present(name, notes);
        if task.process == Some(pid) {
            task.process = None;
        }
        let known = self.processes.get(&pid).is_some_and(|task| task == name);
        notes.check(known, "G9", || format!("process {pid} of {name} ended and did not run"));
        if known {
            self.processes.remove(&pid);
        }
    }

    fn ends(
        &mut self,
        name: &TaskName,
        kind: &EventKind,
        settings: &Settings,
        holds: &mut HoldBook,
        notes: &mut Notes<'_>,
    ) {
        // Those that were skipped or cancelled may never have had their turn.
        let had_turn =
            !matches!(kind, EventKind::TaskSkipped { .. } | EventKind::TaskCancelled { .. });
        let task =
            if had_turn { self.begun(name, settings, notes) } else { self.present(name, notes) };
        let (started, process) = (task.started, task.process.take());
        let fresh = matches!(kind, EventKind::TaskSucceeded { source: CacheSource::Fresh, .. });
        match kind {
            EventKind::TaskSucceeded { .. } => {
                notes.check(started || !fresh, "G4", || {
                    format!("{name} was executed and never started")
                });
                notes.check(!started || fresh, "G4", || format!("{name} started, for a hit"));
            }
            EventKind::TaskSkipped { .. } => {
                notes.check(!started, "G4", || format!("{name} was skipped after it started"));
            }
            _ => {}
        }
        if let Some(pid) = process {
            notes.add("G9", format!("{name} ended before its process {pid}"));
            self.processes.remove(&pid);
        }
        let success = match kind {
            EventKind::TaskSucceeded { .. } => true,
            EventKind::TaskFailed { allowed, .. } | EventKind::TaskErrored { allowed, .. } => {
                *allowed
            }
            _ => false,
        };
        let task = self.task(name);
        task.ended = true;
        let before = task.end.is_some_and(|end| end.executed);
        task.end = Some(End { success, executed: fresh || before });
        self.open.remove(name);
        holds.end(&holder(notes, Some(name)), notes);
    }

    /// A task that asks for holds has begun too; a body asks for none but its own.
    fn open_task(&mut self, name: Option<&TaskName>, settings: &Settings, notes: &mut Notes<'_>) {
        if let Some(name) = name {
            self.begun(name, settings, notes);
        }
    }

    /// The task, which begins or goes on: its turn has come (G1).
    fn begun(&mut self, name: &TaskName, settings: &Settings, notes: &mut Notes<'_>) -> &mut Task {
        let first = !self.open.contains_key(name);
        if first && let Some(edges) = settings.graphs.get(notes.stream) {
            self.judge_turn(name, edges, notes);
        }
        self.present(name, notes)
    }

    /// The task, of which there is something to tell: so it has not ended.
    fn present(&mut self, name: &TaskName, notes: &mut Notes<'_>) -> &mut Task {
        let ended = self.task(name).ended;
        notes.check(!ended, "G4", || format!("{name} goes on after its end"));
        if !ended && !self.open.contains_key(name) {
            self.open.insert(name.clone(), ());
        }
        self.task(name)
    }

    /// The task as this life knows it.
    fn task(&mut self, name: &TaskName) -> &mut Task {
        self.any = true;
        let life = self.life;
        let task = self.known.entry(name.clone()).or_default();
        if task.life != life || task.attempt == 0 {
            *task = Task { life, attempt: 1, end: task.end, ..Task::default() };
        }
        task
    }

    fn judge_turn(&self, name: &TaskName, edges: &Edges, notes: &mut Notes<'_>) {
        for (before, edge) in edges.before(name) {
            let end = self.known.get(before).and_then(|task| task.end);
            match (end, edge) {
                (None, _) => notes.add("G1", format!("{name} begins before {before} has ended")),
                (Some(end), Edge::Hard) if !end.success => {
                    notes.add("G1", format!("{name} begins though {before} has not succeeded"));
                }
                _ => {}
            }
        }
    }
}

fn holder(notes: &Notes<'_>, task: Option<&TaskName>) -> Holder {
    Holder { stream: notes.stream.clone(), task: task.cloned() }
}
