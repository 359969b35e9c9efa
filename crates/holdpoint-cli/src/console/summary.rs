//! The end of a run: what failed and why, what was left out, and what it all took.

use std::fmt::Write as _;
use std::time::Duration;

use holdpoint::TaskName;
use holdpoint::graph::{Outcome, Report, SkipCause};
use holdpoint::run::RunEnd;
use holdpoint::session::SessionState;

use crate::args::Common;
use crate::load::nearby;
use crate::text::{plain, some, tasks, took};

use super::live::bare;
use super::look::{State, Style};
use super::{Console, Output, Target};

/// Names in a list before the rest is counted.
const NAMED: usize = 8;

impl Console {
    /// Says how the run ended, on standard error.
    pub(crate) fn sum_up(
        &self,
        end: &RunEnd,
        number: Option<u64>,
        signal: Option<u8>,
        common: &Common,
    ) {
        let Some(report) = end.report() else { return self.is_left(end, number, common) };
        let mut text = String::new();
        let board = self.board();
        for (name, output) in &board.failed {
            self.tell_of(report, name, output.as_ref(), &mut text);
        }
        let failed = names(report, is_at_fault);
        let told: Vec<String> = board.failed.iter().map(|(name, _)| name.to_string()).collect();
        let others: Vec<String> =
            failed.iter().filter(|name| !told.contains(name)).cloned().collect();
        let left_out = names(report, is_left_out);
        for (what, names) in [("failed too", others), ("not started", left_out)] {
            if !names.is_empty() {
                let _ = writeln!(text, "\n{what}: {}", some(&names, NAMED));
            }
        }
        if (1..=NAMED).contains(&failed.len()) && signal.is_none() {
            let command = match number {
                Some(number) => format!("retry {number}"),
                None => format!("run {}", failed.join(" ")),
            };
            let _ = writeln!(text, "try again with: {}", common.again(&command));
        }
        if self.is_worth_a_total(report) {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{}", total(report, end.elapsed()));
        }
        if !text.is_empty() {
            self.say(text.trim_end());
        }
    }

    /// The run goes on another time.
    fn is_left(&self, end: &RunEnd, number: Option<u64>, common: &Common) {
        let number = number.map_or_else(|| end.session().to_string(), |number| number.to_string());
        let again = |verb: &str| common.again(&format!("{verb} {number}"));
        if let SessionState::Paused(open) = end.state() {
            let names: Vec<String> = open.iter().map(|one| one.name.to_string()).collect();
            // Where it asks several things, the command says which is meant.
            let which = names.first().filter(|_| names.len() > 1);
            let which = which.map(|name| format!(" {name}")).unwrap_or_default();
            let answer = |verb: &str| common.again(&format!("{verb} {number}{which}"));
            self.say(&format!(
                "\nrun #{number} waits for an answer: {}\n  {}\n  {} --reason ...\nthen go on \
                 with: {}",
                some(&names, NAMED),
                answer("approve"),
                answer("reject"),
                again("resume")
            ));
        } else {
            self.say(&format!("\nrun #{number} is suspended; go on with: {}", again("resume")));
        }
    }

    /// Why a task failed, its last output, and where the rest of it is.
    fn tell_of(
        &self,
        report: &Report,
        name: &TaskName,
        output: Option<&Output>,
        text: &mut String,
    ) {
        let Some(task) = report.topology().find(&name.to_string()) else { return };
        let (state, failure) = match report.outcome(task) {
            Outcome::Errored { failure, .. } => (State::Errored, failure),
            Outcome::Failed { failure, .. } => (State::Failed, failure),
            _ => return,
        };
        let word = self.look.word(state, 0);
        let _ = writeln!(text, "\n{name} {word}: {}", plain(failure.message()));
        let Some(Output { log, tail, .. }) = output else { return };
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

    /// One task that ran well has said what there was to say.
    fn is_worth_a_total(&self, report: &Report) -> bool {
        let went_well = report.is_success();
        !(went_well && self.alone && report.topology().len() == 1) || self.look.verbose
    }
}

/// The tasks that ended in a way, in canonical order.
fn names(report: &Report, way: impl Fn(&Outcome) -> bool) -> Vec<String> {
    let rows = report.rows().filter(|row| way(&row.outcome));
    rows.map(|row| row.task.to_owned()).collect()
}

fn is_at_fault(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Failed { allowed: false, .. } | Outcome::Errored { allowed: false, .. }
    )
}

/// It never began because of others. Who did not by its own condition had a row.
fn is_left_out(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Skipped(SkipCause::Upstream { .. } | SkipCause::Stopped { .. }))
}

fn total(report: &Report, elapsed: Duration) -> String {
    let counts = report.counts();
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
    let all = tasks(report.topology().len());
    format!("{all} in {}: {}", took(elapsed), parts.join(", "))
}
