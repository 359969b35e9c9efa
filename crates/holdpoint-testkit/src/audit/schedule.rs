//! The runs of a schedule (T0, T1, T2, T9, T10).

use std::collections::BTreeSet;

use holdpoint_core::event::{EventKind, FireCause};
use holdpoint_core::{Event, Timestamp};

use super::Settings;
use super::violation::Notes;

/// What the events of a schedule have said so far.
#[derive(Debug, Default)]
pub(super) struct ScheduleStory {
    known: bool,
    paused: bool,
    tripped: bool,
    last_run: u64,
    open: BTreeSet<u64>,
    /// The last occurrence that fired by itself, by the present definition and wall clock.
    last_due: Option<Timestamp>,
    last_at: Timestamp,
}

impl ScheduleStory {
    pub(super) fn take(&mut self, event: &Event, settings: &Settings, notes: &mut Notes<'_>) {
        let kind = &event.kind;
        if event.at < self.last_at {
            // The wall clock was stepped back: occurrences may come again.
            self.last_due = None;
        }
        self.last_at = event.at;
        match kind {
            EventKind::ScheduleAdded => {
                notes.check(!self.known, "T10", || "added twice".into());
                (self.known, self.paused, self.tripped) = (true, false, false);
                self.last_due = None;
            }
            EventKind::ScheduleReplaced => self.last_due = None,
            EventKind::ScheduleRemoved => {
                notes.check(self.known, "T10", || "removed and not there".into());
                self.known = false;
            }
            EventKind::SchedulePaused => self.paused = true,
            EventKind::ScheduleResumed => self.paused = false,
            EventKind::ScheduleFired { run, cause, due_at, .. } => {
                self.fires(event.at, *run, *cause, *due_at, settings, notes);
            }
            EventKind::ScheduleSucceeded { run } => {
                self.tripped = false;
                self.ends(*run, notes);
            }
            EventKind::ScheduleFailed { run, .. }
            | EventKind::ScheduleCancelled { run, .. }
            | EventKind::ScheduleInterrupted { run, .. } => self.ends(*run, notes),
            EventKind::ScheduleTripped { .. } => {
                notes.check(!self.tripped, "T9", || "tripped twice".into());
                self.tripped = true;
            }
            EventKind::ScheduleReset => self.tripped = false,
            EventKind::ScheduleClockStepped { .. } => self.last_due = None,
            EventKind::ScheduleSkipped { .. } | EventKind::ScheduleBackoff { .. } => {}
            _ => notes.add("CORE-006", format!("{} in a schedule", kind.name())),
        }
    }

    pub(super) fn finish(&self, notes: &mut Notes<'_>) {
        for run in &self.open {
            notes.add("T0", format!("run {run} has no end"));
        }
    }

    fn fires(
        &mut self,
        at: Timestamp,
        run: u64,
        cause: FireCause,
        due_at: Timestamp,
        settings: &Settings,
        notes: &mut Notes<'_>,
    ) {
        notes.check(self.known, "T10", || format!("run {run} fires, and the schedule is gone"));
        notes.check(run > self.last_run, "T0", || {
            format!("run {run} fires after run {}", self.last_run)
        });
        self.last_run = self.last_run.max(run);
        self.open.insert(run);
        notes.check(!self.tripped, "T9", || format!("run {run} fires ({cause:?}) while tripped"));
        let by_itself = cause != FireCause::Trigger;
        notes.check(!(self.paused && by_itself), "T10", || {
            format!("run {run} fires ({cause:?}) in a pause")
        });
        if settings.wall_steps {
            return;
        }
        notes.check(at >= due_at, "T2", || format!("run {run} fires at {at}, due at {due_at}"));
        if by_itself && cause != FireCause::Repeated {
            let passed = self.last_due.is_some_and(|last| due_at <= last);
            notes.check(!passed, "T1", || {
                format!("run {run} fires for {due_at}, which has passed or fired")
            });
            self.last_due = Some(self.last_due.map_or(due_at, |last| last.max(due_at)));
        }
    }

    fn ends(&mut self, run: u64, notes: &mut Notes<'_>) {
        let was_open = self.open.remove(&run);
        notes.check(was_open, "T0", || format!("run {run} ends and was not going"));
    }
}
