//! The end of a run: what failed and why, what was left out, and what it all took.

use std::fmt::Write as _;

use holdpoint::graph::{Outcome, Row, SkipCause};
use holdpoint::run::RunEnd;

use crate::args::Common;
use crate::load::nearby;
use crate::text::{plain, some, tasks, took};

use super::live::bare;
use super::look::{State, Style};
use super::{Console, Output, Target};

/// Failed tasks that are told of one by one; more are only named.
const TOLD: usize = 5;

/// Names in a list before the rest is counted.
const NAMED: usize = 8;

impl Console {
    /// Says how the run ended, on standard error.
    pub(crate) fn sum_up(&self, end: &RunEnd, signal: Option<u8>, common: &Common) {
        let failed: Vec<Row<'_>> = end.report().rows().filter(|row| is_at_fault(row)).collect();
        let mut text = String::new();
        for row in failed.iter().take(TOLD) {
            self.tell_of(row, &mut text);
        }
        let names: Vec<String> = failed.iter().map(|row| row.task.to_owned()).collect();
        if names.len() > TOLD {
            let _ = writeln!(text, "\nfailed too: {}", some(&names[TOLD..], NAMED));
        }
        self.tell_skipped(end, &mut text);
        if !failed.is_empty() && signal.is_none() {
            let command = format!("run {}", names[..names.len().min(NAMED)].join(" "));
            let _ = writeln!(text, "try again with: {}", common.again(&command));
        }
        if self.is_worth_a_total(end) {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{}", total(end));
        }
        if !text.is_empty() {
            self.say(text.trim_end());
        }
    }

    /// Why a task failed, its last output, and where the rest of it is.
    fn tell_of(&self, row: &Row<'_>, text: &mut String) {
        let (state, failure) = match &row.outcome {
            Outcome::Errored { failure, .. } => (State::Errored, failure),
            Outcome::Failed { failure, .. } => (State::Failed, failure),
            _ => return,
        };
        let word = self.look.word(state, 0);
        let _ = writeln!(text, "\n{} {word}: {}", row.task, plain(failure.message()));
        let name = self.plan.topology().find(row.task).map(|id| self.plan.name(id));
        let board = self.board();
        let Some(Output { log, tail, .. }) = name.and_then(|name| board.failed.get(name)) else {
            return;
        };
        if tail.lines().len() == 0 {
            return;
        }
        // What has just been shown line by line need not be shown again.
        if !self.alone || self.look.style != Style::Stream {
            for (_, line) in tail.lines() {
                let shown = bare(line, self.look.rendering(Target::Stderr));
                let _ = writeln!(text, "  | {}", String::from_utf8_lossy(&shown).trim_end());
            }
        }
        let _ = writeln!(text, "  log: {}", nearby(log.clone()).display());
    }

    /// Tasks that never began because of others. Conditions had rows of their own.
    fn tell_skipped(&self, end: &RunEnd, text: &mut String) {
        let is_left_out = |outcome: &Outcome| matches!(outcome, Outcome::Skipped(cause) if !matches!(cause, SkipCause::Condition(_)));
        let rows = end.report().rows().filter(|row| is_left_out(&row.outcome));
        let names: Vec<String> = rows.map(|row| row.task.to_owned()).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "\nnot started: {}", some(&names, NAMED));
        }
    }

    /// One task that ran well has said what there was to say.
    fn is_worth_a_total(&self, end: &RunEnd) -> bool {
        let went_well = end.report().is_success();
        !(went_well && self.alone && end.report().topology().len() == 1) || self.look.verbose
    }
}

fn is_at_fault(row: &Row<'_>) -> bool {
    matches!(
        row.outcome,
        Outcome::Failed { allowed: false, .. } | Outcome::Errored { allowed: false, .. }
    )
}

fn total(end: &RunEnd) -> String {
    let counts = end.report().counts();
    let parts = [
        (counts.fresh, "ok"),
        (counts.cached, "from cache"),
        (counts.failed, "failed"),
        (counts.errored, "errored"),
        (counts.allowed, "allowed to fail"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    let all = tasks(end.report().topology().len());
    format!("{all} in {}: {}", took(end.elapsed()), parts.join(", "))
}
