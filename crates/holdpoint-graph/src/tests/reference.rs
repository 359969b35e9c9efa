//! The rules of GRAPH-002 to 009, 014 and 018 and HOLD-006 said once more, as plainly as
//! possible: every question is answered by looking at all tasks again.

use std::cmp::Reverse;
use std::time::Duration;

use super::plan::{Delays, HOLDS, Mode, Plan};
use crate::{EdgeKind, OnFailure};

/// Seconds and their parts since the start.
type Time = Duration;

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Pending,
    Gated,
    Ready,
    LookingUp,
    /// By ticket, here and below.
    Waiting(usize),
    Reserved(usize),
    Running,
    Delayed,
    Ended(End),
}

/// How a task ended, in the words of [`outcome_text`](super::rig::outcome_text).
#[derive(Debug, Clone, PartialEq)]
struct End {
    text: String,
    success: bool,
    /// How it reads where it is the root of a skip.
    verb: &'static str,
    /// The task where the skip began.
    root: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Due {
    Timeout,
    Grace,
    Retry,
}

#[derive(Debug, Clone)]
enum Phase {
    Open,
    Stopping(usize),
    FailingFast(usize),
    Cancelled { text: String, failed_fast: Option<usize> },
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    Succeeded,
    Failed { text: String, permanent: bool },
    Errored { text: String },
    Cancelled,
}

#[derive(Debug, Clone)]
struct Node {
    stage: Stage,
    attempts: u32,
    deadline: Option<(Time, Due)>,
    overdue: bool,
    /// How the last attempt failed.
    last: Option<Said>,
}

/// A hold request, from its ticket to its release.
#[derive(Debug, Clone)]
struct Request {
    task: usize,
    live: bool,
    granted: bool,
}

pub(super) struct Reference<'a> {
    plan: &'a Plan,
    canonical: Vec<usize>,
    nodes: Vec<Node>,
    /// By ticket.
    requests: Vec<Request>,
    phase: Phase,
    now: Time,
    lines: Vec<String>,
}

impl<'a> Reference<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let node =
            Node { stage: Stage::Pending, attempts: 0, deadline: None, overdue: false, last: None };
        Self {
            plan,
            canonical: plan.canonical(),
            nodes: vec![node; plan.tasks.len()],
            requests: Vec::new(),
            phase: Phase::Open,
            now: Time::ZERO,
            lines: Vec::new(),
        }
    }

    /// Does something at a time, admits what may start then, and gives what is to follow.
    pub(super) fn step(&mut self, now: Time, what: impl FnOnce(&mut Self)) -> Vec<String> {
        self.now = now;
        what(self);
        self.admit();
        std::mem::take(&mut self.lines)
    }

    pub(super) fn start(&mut self) {
        self.arrivals();
    }

    pub(super) fn gate_opened(&mut self, task: usize) {
        self.nodes[task].stage = Stage::Ready;
    }

    pub(super) fn gate_failed(&mut self, task: usize, text: &str) {
        self.fail(task, &Said::Failed { text: text.to_owned(), permanent: false });
    }

    /// By its gate or by its lookup.
    pub(super) fn unwanted(&mut self, task: usize, text: &str) {
        self.clear_deadline(task);
        self.end(task, End::new(format!("skipped: {text}"), false, "was skipped"));
    }

    pub(super) fn hit(&mut self, task: usize) {
        self.clear_deadline(task);
        self.end(task, End::new("hit", true, ""));
    }

    pub(super) fn missed(&mut self, task: usize) {
        self.clear_deadline(task);
        if self.may_begin(task) {
            self.say(task, "missed");
            self.ask(task);
        } else {
            self.end_by_phase(task, "");
        }
    }

    pub(super) fn lookup_errored(&mut self, task: usize, text: &str) {
        self.clear_deadline(task);
        self.fail(task, &Said::Errored { text: text.to_owned() });
    }

    /// The ticket of a waiting task is due.
    pub(super) fn granted(&mut self, task: usize) {
        let Stage::Waiting(ticket) = self.nodes[task].stage else { panic!("it does not wait") };
        assert!(self.requests[ticket].granted, "it is not due");
        self.say(task, "has its holds");
        self.nodes[task].stage = Stage::Reserved(ticket);
    }

    pub(super) fn executed(&mut self, task: usize, said: Said) {
        let overdue = std::mem::take(&mut self.nodes[task].overdue);
        self.clear_deadline(task);
        self.give_holds_back(task);
        match said {
            Said::Succeeded => self.end(task, End::new("succeeded", true, "")),
            _ if overdue => {
                let limit = self.plan.tasks[task].timeout.expect("it was too late");
                let text = format!("timed out after {limit:?}");
                self.attempt_failed(task, Said::Failed { text, permanent: false });
            }
            Said::Cancelled => self.end_by_phase(task, ""),
            said => self.attempt_failed(task, said),
        }
    }

    pub(super) fn cancel(&mut self, text: &str) {
        let failed_fast = match self.phase {
            Phase::FailingFast(root) => Some(root),
            Phase::Open | Phase::Stopping(_) => None,
            Phase::Cancelled { .. } => return,
        };
        self.phase = Phase::Cancelled { text: text.to_owned(), failed_fast };
        self.end_the_rest();
        self.limit_those_in_flight(|_| true);
    }

    /// Time has passed.
    pub(super) fn time(&mut self) {
        while let Some((at, task)) = self.next_due().filter(|(at, _)| *at <= self.now) {
            let (_, due) = self.nodes[task].deadline.take().expect("it is due");
            match due {
                Due::Retry => self.nodes[task].stage = Stage::Ready,
                Due::Timeout => {
                    let limit = self.plan.tasks[task].timeout.expect("it is due");
                    self.nodes[task].overdue = true;
                    self.lines.push(format!(
                        "cancel {}: timeout: timed out after {limit:?}",
                        self.name(task)
                    ));
                    self.nodes[task].deadline =
                        self.plan.grace.map(|grace| (self.now + grace, Due::Grace));
                }
                Due::Grace => self.abort(task),
            }
            assert!(self.nodes[task].deadline.is_none_or(|(next, _)| next >= at));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.next_due().map(|(at, _)| at)
    }

    pub(super) fn is_done(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node.stage, Stage::Ended(_)))
    }

    /// How a task ended, if it has.
    pub(super) fn end_of(&self, task: usize) -> Option<&str> {
        match &self.nodes[task].stage {
            Stage::Ended(end) => Some(&end.text),
            _ => None,
        }
    }

    pub(super) fn attempts(&self, task: usize) -> u32 {
        self.nodes[task].attempts
    }

    /// Tasks at their gates, in canonical order.
    pub(super) fn gated(&self) -> Vec<usize> {
        self.at(|stage| *stage == Stage::Gated)
    }

    pub(super) fn looking_up(&self) -> Vec<usize> {
        self.at(|stage| *stage == Stage::LookingUp)
    }

    pub(super) fn running(&self) -> Vec<usize> {
        self.at(|stage| *stage == Stage::Running)
    }

    /// Tasks that wait although their holds are kept for them.
    pub(super) fn due(&self) -> Vec<usize> {
        self.at(|stage| matches!(stage, Stage::Waiting(ticket) if self.requests[*ticket].granted))
    }

    /// What must hold between steps: caps are kept and used, holds too, and somebody can act.
    pub(super) fn check(&self) -> Result<(), String> {
        let ensure = |good: bool, what: String| if good { Ok(()) } else { Err(what) };
        let plan = self.plan;
        let in_flight = || (0..self.nodes.len()).filter(|&task| self.is_in_flight(task));
        let slots: u64 = in_flight().map(|task| u64::from(plan.tasks[task].weight)).sum();
        ensure(slots <= u64::from(plan.jobs), format!("{slots} slots taken"))?;
        for &(tag, cap) in &plan.caps {
            let used = in_flight().filter(|&task| plan.tasks[task].tags.contains(&tag)).count();
            ensure(used <= cap as usize, format!("{used} of {tag}"))?;
        }
        let idle = self.next_to_admit();
        ensure(idle.is_none(), format!("{idle:?} could start and does not"))?;
        for (ticket, request) in self.live_requests() {
            let due = self.is_due(ticket);
            ensure(request.granted == due, format!("{request:?}, and due is {due}"))?;
        }
        let moves = in_flight().count() + self.gated().len() + self.due().len();
        let may_move = moves > 0 || self.next_deadline().is_some();
        ensure(self.is_done() || may_move, "nothing can happen any more".to_owned())
    }

    // Beginning.

    /// Tasks whose predecessors allow it go on.
    fn arrivals(&mut self) {
        for task in self.canonical.clone() {
            let ready = self.plan.tasks[task].after.iter().all(|&(before, kind)| {
                let Stage::Ended(end) = &self.nodes[before].stage else { return false };
                end.success || kind != EdgeKind::Hard
            });
            if self.nodes[task].stage != Stage::Pending || !ready {
                continue;
            }
            if self.plan.tasks[task].gated {
                self.nodes[task].stage = Stage::Gated;
                self.say(task, "at its gate");
                self.lines.push(format!("await gate of {}", self.name(task)));
            } else {
                self.nodes[task].stage = Stage::Ready;
            }
        }
    }

    fn admit(&mut self) {
        while let Some(task) = self.next_to_admit() {
            let first = self.nodes[task].attempts == 0;
            if let Stage::Reserved(_) = self.nodes[task].stage {
                self.execute(task);
            } else if first && self.plan.tasks[task].lookup {
                self.nodes[task].stage = Stage::LookingUp;
                self.lines.push(format!("look up {}", self.name(task)));
            } else {
                self.ask(task);
            }
        }
    }

    /// The first in order that slots and caps allow.
    fn next_to_admit(&self) -> Option<usize> {
        let mut reserved = Vec::new();
        let mut ready = Vec::new();
        for (place, &task) in self.canonical.iter().enumerate() {
            match self.nodes[task].stage {
                Stage::Reserved(ticket) => reserved.push((ticket, task)),
                Stage::Ready => {
                    let priority = Reverse(self.plan.tasks[task].priority);
                    ready.push((priority, Reverse(self.path(task)), place, task));
                }
                _ => {}
            }
        }
        reserved.sort();
        ready.sort();
        let reserved = reserved.into_iter().map(|(_, task)| task);
        let mut all = reserved.chain(ready.into_iter().map(|(_, _, _, task)| task));
        all.find(|&task| self.fits(task))
    }

    fn fits(&self, task: usize) -> bool {
        let plan = self.plan;
        let in_flight = || (0..self.nodes.len()).filter(|&other| self.is_in_flight(other));
        let slots: u64 = in_flight().map(|other| u64::from(plan.tasks[other].weight)).sum();
        let tags = &plan.tasks[task].tags;
        slots + u64::from(plan.tasks[task].weight) <= u64::from(plan.jobs)
            && plan.caps.iter().filter(|(tag, _)| tags.contains(tag)).all(|&(tag, cap)| {
                in_flight().filter(|&other| plan.tasks[other].tags.contains(&tag)).count()
                    < cap as usize
            })
    }

    fn is_in_flight(&self, task: usize) -> bool {
        matches!(self.nodes[task].stage, Stage::LookingUp | Stage::Running)
    }

    /// The longest remaining path that begins with `task`.
    fn path(&self, task: usize) -> u64 {
        let after = (0..self.nodes.len())
            .filter(|&next| self.plan.tasks[next].after.iter().any(|(before, _)| *before == task));
        self.plan.tasks[task].expected + after.map(|next| self.path(next)).max().unwrap_or(0)
    }

    /// Takes the holds and executes, or waits for them without slot and caps.
    fn ask(&mut self, task: usize) {
        if self.plan.tasks[task].holds.is_empty() {
            return self.execute(task);
        }
        self.lines.push(format!("ask for {}", self.name(task)));
        let ticket = self.requests.len();
        self.requests.push(Request { task, live: true, granted: false });
        self.requests[ticket].granted = self.is_due(ticket);
        self.nodes[task].stage = Stage::Waiting(ticket);
        if self.requests[ticket].granted {
            self.say(task, "has its holds");
            self.execute(task);
        } else {
            self.say(task, "waits for holds");
        }
    }

    fn execute(&mut self, task: usize) {
        let node = &mut self.nodes[task];
        node.stage = Stage::Running;
        node.attempts += 1;
        let limit = self.plan.tasks[task].timeout;
        node.deadline = limit.map(|limit| (self.now + limit, Due::Timeout));
        match node.attempts {
            1 => {
                self.say(task, "started");
                self.lines.push(format!("execute {}", self.name(task)));
            }
            attempt => self.lines.push(format!("execute {} ({attempt})", self.name(task))),
        }
    }

    /// Whether neither a holder nor an earlier request stands in the way on any name.
    fn is_due(&self, ticket: usize) -> bool {
        let wants = |ticket: usize| &self.plan.tasks[self.requests[ticket].task].holds;
        let in_the_way = |other: &usize| *other < ticket || self.requests[*other].granted;
        wants(ticket).iter().all(|&(name, mode)| {
            let others = self.live_requests().map(|(other, _)| other);
            let others = others.filter(|other| *other != ticket).filter(in_the_way);
            let mut modes = others
                .flat_map(|other| wants(other).iter().filter(|(theirs, _)| *theirs == name))
                .map(|&(_, mode)| mode);
            match (mode, HOLDS[name].2) {
                (Mode::Shared, _) => modes.all(|mode| mode == Mode::Shared),
                (Mode::Exclusive, _) => modes.next().is_none(),
                (Mode::Units(own), most) => {
                    let taken: u32 = modes
                        .map(
                            |mode| if let Mode::Units(units) = mode { units } else { u32::MAX / 9 },
                        )
                        .sum();
                    taken + own <= most.expect("it is counted")
                }
            }
        })
    }

    fn live_requests(&self) -> impl Iterator<Item = (usize, &Request)> {
        self.requests.iter().enumerate().filter(|(_, request)| request.live)
    }

    // Ending.

    fn attempt_failed(&mut self, task: usize, said: Said) {
        let attempts = self.nodes[task].attempts;
        let permanent = matches!(said, Said::Failed { permanent: true, .. });
        let retry = self.plan.tasks[task].retry.filter(|(most, _)| attempts < *most);
        match retry.filter(|_| !permanent && self.may_begin(task)) {
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
            None => self.fail(task, &said),
        }
    }

    /// The task has failed for good.
    fn fail(&mut self, task: usize, said: &Said) {
        let end = self.failure(task, said);
        let counts = !end.success;
        self.end(task, end);
        if !counts || !matches!(self.phase, Phase::Open) {
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

    fn failure(&self, task: usize, said: &Said) -> End {
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
    fn end_the_rest(&mut self) {
        let mut ended = Vec::new();
        for task in self.canonical.clone() {
            let node = &self.nodes[task];
            let over = matches!(node.stage, Stage::Ended(_)) || self.is_in_flight(task);
            if over || self.may_begin(task) {
                continue;
            }
            let end = match (&self.phase, &node.last) {
                // It did fail; there is only no time for another attempt.
                (Phase::Stopping(_), Some(said)) => self.failure(task, said),
                _ => self.end_in_phase(task, ""),
            };
            match node.stage {
                Stage::Gated => self.lines.push(format!("drop gate of {}", self.name(task))),
                Stage::Waiting(_) | Stage::Reserved(_) => self.give_holds_back(task),
                _ => {}
            }
            self.nodes[task].deadline = None;
            self.conclude(task, end);
            ended.push(task);
        }
        ended.into_iter().for_each(|task| self.skip_those_that_need(task));
        self.arrivals();
    }

    fn abort(&mut self, task: usize) {
        self.lines.push(format!("abort {}", self.name(task)));
        if self.nodes[task].stage == Stage::Running && self.nodes[task].overdue {
            return self.executed(task, Said::Cancelled);
        }
        self.give_holds_back(task);
        self.end_by_phase(task, ", aborted");
    }

    fn end_by_phase(&mut self, task: usize, aborted: &str) {
        let end = self.end_in_phase(task, aborted);
        self.end(task, end);
    }

    /// How a task ends that was stopped, or never begins.
    fn end_in_phase(&self, task: usize, aborted: &str) -> End {
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
    fn end(&mut self, task: usize, end: End) {
        self.conclude(task, end);
        self.skip_those_that_need(task);
        self.arrivals();
    }

    fn conclude(&mut self, task: usize, end: End) {
        let text = end.text.clone();
        self.nodes[task].stage = Stage::Ended(end);
        self.say(task, &text);
    }

    /// Skips whatever needs `root`, directly or through others it skips.
    fn skip_those_that_need(&mut self, root: usize) {
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
    fn give_holds_back(&mut self, task: usize) {
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

    // Smaller questions.

    fn may_begin(&self, task: usize) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Stopping(_) | Phase::FailingFast(_) => self.plan.tasks[task].is_finally(),
            Phase::Cancelled { .. } => false,
        }
    }

    /// The tokens of these have fired: in a while they are dropped.
    fn limit_those_in_flight(&mut self, which: impl Fn(usize) -> bool) {
        for task in 0..self.nodes.len() {
            let has_grace = matches!(self.nodes[task].deadline, Some((_, Due::Grace)));
            if self.is_in_flight(task) && which(task) && !has_grace {
                self.nodes[task].deadline =
                    self.plan.grace.map(|grace| (self.now + grace, Due::Grace));
            }
        }
    }

    fn in_flight_where(&self, which: impl Fn(&super::plan::Task) -> bool) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&task| self.is_in_flight(task) && which(&self.plan.tasks[task]))
            .collect()
    }

    fn clear_deadline(&mut self, task: usize) {
        self.nodes[task].deadline = None;
    }

    fn next_due(&self) -> Option<(Time, usize)> {
        let deadlines = self.nodes.iter().enumerate();
        deadlines.filter_map(|(task, node)| Some((node.deadline?.0, task))).min()
    }

    fn at(&self, stage: impl Fn(&Stage) -> bool) -> Vec<usize> {
        let tasks = self.canonical.iter().copied();
        tasks.filter(|&task| stage(&self.nodes[task].stage)).collect()
    }

    fn name(&self, task: usize) -> String {
        self.plan.tasks[task].full_name()
    }

    fn say(&mut self, task: usize, what: &str) {
        self.lines.push(format!("{} {what}", self.name(task)));
    }
}

impl End {
    fn new(text: impl Into<String>, success: bool, verb: &'static str) -> Self {
        Self { text: text.into(), success, verb, root: None }
    }
}
