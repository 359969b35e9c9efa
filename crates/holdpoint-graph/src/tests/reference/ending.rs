//! How tasks end by the rules, and what that does to others.

use std::time::Duration;

use super::{Due, End, Node, Phase, Reference, Request, Said, Stage};
use crate::tests::plan::Delays;
use crate::{EdgeKind, OnFailure};

impl Reference<'_> {
    pub(super) fn attempt_failed(&mut self, task: usize, said: Said) {
        let attempts = self.nodes[task].attempts;
        let permanent = matches!(said, Said::Failed { permanent: true, .. });
        let retry = self.plan.tasks[task].retry.filter(|(most, _)| attempts < *most);
        let may_begin =
            self.may_begin(task) && (!self.is_failing() || self.plan.tasks[task].is_finally());
        match retry.filter(|_| !permanent && may_begin) {
            Some((_, delays)) => {
                let delay = Duration::from_secs(match delays {
                    Delays::Fixed(seconds) => seconds,
                    Delays::Doubling { first, most } => (first << (attempts - 1)).min(most),
                });
                self.nodes[task].stage = Stage::Delayed;
                self.nodes[task].deadline = Some((self.now + delay, Due::Retry));
                let (Said::Failed { text, .. } | Said::Errored { text }) = &said else {
                    panic!("it did not fail")
                };
                let line = format!("again ({}) in {delay:?}: {text}", attempts + 1);
                self.say(task, &line);
                self.nodes[task].last = Some(said);
            }
            None if self.recorded => self.finish(task, self.failure(task, &said)),
            None => self.fail(task, &said),
        }
    }

    /// The task has executed and is to end so.
    pub(super) fn finish(&mut self, task: usize, end: End) {
        if self.recorded {
            self.settle(task, end);
        } else {
            self.end(task, end);
        }
    }

    fn settle(&mut self, task: usize, end: End) {
        self.lines.push(format!("record {}: {}", self.name(task), end.text));
        self.nodes[task].stage = Stage::Settling(end);
    }

    /// The task has failed for good.
    pub(super) fn fail(&mut self, task: usize, said: &Said) {
        let end = self.failure(task, said);
        self.end(task, end);
        self.count(task);
    }

    /// What the end of a task means for the run.
    pub(super) fn count(&mut self, task: usize) {
        let Stage::Ended(end) = &self.nodes[task].stage else { panic!("it has not ended") };
        if end.success || !matches!(self.phase, Phase::Open) {
            return;
        }
        match self.plan.on_failure {
            OnFailure::KeepGoing => {}
            OnFailure::Stop => {
                self.phase = Phase::Stopping(task);
                self.end_the_rest();
            }
            OnFailure::FailFast => {
                self.phase = Phase::FailingFast(task);
                self.end_the_rest();
                let told: Vec<usize> = self.in_flight_where(|task| !task.is_finally());
                for &other in &told {
                    let cause = format!("internal: task {} failed", self.name(task));
                    self.lines.push(format!("cancel {}: {cause}", self.name(other)));
                }
                self.limit_those_in_flight(|task| told.contains(&task));
            }
        }
    }

    pub(super) fn failure(&self, task: usize, said: &Said) -> End {
        let allowed = self.plan.tasks[task].allow_failure;
        let mark = if allowed { " (allowed)" } else { "" };
        match said {
            Said::Failed { text, .. } => {
                End::new(format!("failed{mark}: {text}"), allowed, "failed")
            }
            Said::Errored { text } => {
                End::new(format!("errored{mark}: {text}"), allowed, "errored")
            }
            Said::Succeeded | Said::Cancelled => panic!("it did not fail"),
        }
    }

    /// Ends what is neither in flight nor allowed to begin: first the tasks themselves, then
    /// what only they kept from being skipped or from going on.
    pub(super) fn end_the_rest(&mut self) {
        let mut ended = Vec::new();
        for task in self.canonical.clone() {
            let node = &self.nodes[task];
            let over = matches!(node.stage, Stage::Ended(_) | Stage::Settling(_));
            if over || self.is_in_flight(task) || self.may_begin(task) {
                continue;
            }
            let (end, executed) = match (&self.phase, &node.last) {
                // It did fail; there is only no time for another attempt.
                (Phase::Stopping(_), Some(said)) => (self.failure(task, said), true),
                _ => (self.end_in_phase(task, ""), false),
            };
            match node.stage {
                Stage::Gated => self.lines.push(format!("drop gate of {}", self.name(task))),
                Stage::Waiting(_) | Stage::Reserved(_) => self.give_holds_back(task),
                _ => {}
            }
            self.nodes[task].deadline = None;
            if executed && self.recorded {
                self.settle(task, end);
                continue;
            }
            self.conclude(task, end);
            ended.push(task);
        }
        ended.into_iter().for_each(|task| self.skip_those_that_need(task));
        self.arrivals();
    }

    pub(super) fn abort(&mut self, task: usize) {
        self.lines.push(format!("abort {}", self.name(task)));
        if self.nodes[task].stage == Stage::Running && self.nodes[task].overdue {
            return self.executed(task, Said::Cancelled);
        }
        self.give_holds_back(task);
        self.end_by_phase(task, ", aborted");
    }

    pub(super) fn end_by_phase(&mut self, task: usize, aborted: &str) {
        let end = self.end_in_phase(task, aborted);
        self.end(task, end);
    }

    /// How a task ends that was stopped, or never begins.
    pub(super) fn end_in_phase(&self, task: usize, aborted: &str) -> End {
        let started = self.nodes[task].stage == Stage::Running;
        let finally = self.plan.tasks[task].is_finally();
        let cause = match &self.phase {
            Phase::Stopping(root) if !started => {
                let text = format!("skipped: stopped by {}", self.name(*root));
                return End::new(text, false, "was skipped");
            }
            Phase::FailingFast(root) | Phase::Cancelled { failed_fast: Some(root), .. }
                if !finally =>
            {
                let root = self.name(*root);
                format!("internal: task {root} failed, by {root}")
            }
            Phase::Cancelled { text, .. } => text.clone(),
            Phase::Open | Phase::Stopping(_) | Phase::FailingFast(_) => "by itself".to_owned(),
        };
        End::new(format!("cancelled: {cause}{aborted}"), false, "was cancelled")
    }

    /// The one way to end a task, with all that follows.
    pub(super) fn end(&mut self, task: usize, end: End) {
        self.conclude(task, end);
        self.skip_those_that_need(task);
        self.arrivals();
    }

    pub(super) fn conclude(&mut self, task: usize, end: End) {
        let text = end.text.clone();
        self.nodes[task].stage = Stage::Ended(end);
        self.say(task, &text);
    }

    /// Skips whatever needs `root`, directly or through others it skips.
    pub(super) fn skip_those_that_need(&mut self, root: usize) {
        let Stage::Ended(end) = &self.nodes[root].stage else { panic!("it has not ended") };
        if end.success {
            return;
        }
        let text = format!("skipped: {} {}", self.name(root), end.verb);
        let end = End { root: Some(root), ..End::new(text, false, "was skipped") };
        let is_skipped =
            |node: &Node| matches!(&node.stage, Stage::Ended(end) if end.root == Some(root));
        while let Some(task) = (0..self.nodes.len()).find(|&task| {
            self.nodes[task].stage == Stage::Pending
                && self.plan.tasks[task].after.iter().any(|&(before, kind)| {
                    kind == EdgeKind::Hard && (before == root || is_skipped(&self.nodes[before]))
                })
        }) {
            self.conclude(task, end.clone());
        }
    }

    /// Releases the holds of a task, or withdraws its request; others may become due.
    pub(super) fn give_holds_back(&mut self, task: usize) {
        let live = |request: &&mut Request| request.live && request.task == task;
        let Some(request) = self.requests.iter_mut().find(live) else { return };
        request.live = false;
        self.lines.push(format!("release {}", self.name(task)));
        if matches!(self.nodes[task].stage, Stage::Reserved(_) | Stage::Running) {
            self.say(task, "gave its holds back");
        }
        while let Some(ticket) = (0..self.requests.len()).find(|&ticket| {
            let request = &self.requests[ticket];
            request.live && !request.granted && self.is_due(ticket)
        }) {
            self.requests[ticket].granted = true;
        }
    }
}
