//! The rules of GRAPH-002 to 009, 014 and 018 and HOLD-006 said once more, as plainly as
//! possible: every question is answered by looking at all tasks again.

mod ending;

use std::cmp::Reverse;
use std::time::Duration;

use super::plan::{HOLDS, Mode, Plan};
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
    /// It executed, and this end is being recorded.
    Settling(End),
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
    /// Its lookup missed when nothing could begin.
    missed: bool,
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
    /// Whether ends are recorded.
    recorded: bool,
    /// What had ended before.
    known: Vec<(usize, Said)>,
    canonical: Vec<usize>,
    /// For each task the length of the longest path that begins with it.
    paths: Vec<u64>,
    nodes: Vec<Node>,
    /// By ticket.
    requests: Vec<Request>,
    phase: Phase,
    now: Time,
    lines: Vec<String>,
}

impl<'a> Reference<'a> {
    pub(super) fn new(plan: &'a Plan, recorded: bool, known: Vec<(usize, Said)>) -> Self {
        let node = Node {
            stage: Stage::Pending,
            attempts: 0,
            deadline: None,
            overdue: false,
            last: None,
            missed: false,
        };
        Self {
            plan,
            recorded,
            known,
            canonical: plan.canonical(),
            paths: longest_paths(plan),
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
        let mut known = std::mem::take(&mut self.known);
        known.retain(|(_, said)| *said != Said::Cancelled);
        for (task, said) in &known {
            let end = match said {
                Said::Succeeded => End::new("succeeded", true, ""),
                said => self.failure(*task, said),
            };
            self.conclude(*task, end);
        }
        known.sort_by_key(|(task, _)| self.canonical.iter().position(|place| place == task));
        known.iter().for_each(|(task, _)| self.skip_those_that_need(*task));
        known.iter().for_each(|(task, _)| self.count(*task));
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
        if !self.may_begin(task) {
            self.end_by_phase(task, "");
        } else if self.is_failing() {
            self.nodes[task].missed = true;
            self.nodes[task].stage = Stage::Ready;
        } else {
            self.say(task, "missed");
            self.ask(task);
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
            Said::Succeeded => self.finish(task, End::new("succeeded", true, "")),
            _ if overdue => {
                let limit = self.plan.tasks[task].timeout.expect("it was too late");
                let text = format!("timed out after {limit:?}");
                self.attempt_failed(task, Said::Failed { text, permanent: false });
            }
            Said::Cancelled => self.end_by_phase(task, ""),
            said => self.attempt_failed(task, said),
        }
    }

    pub(super) fn recorded(&mut self, task: usize) {
        let Stage::Settling(end) = self.nodes[task].stage.clone() else { panic!("it does not") };
        self.end(task, end);
        self.count(task);
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

    pub(super) fn settling(&self) -> Vec<usize> {
        self.at(|stage| matches!(stage, Stage::Settling(_)))
    }

    /// Whether only gates are waited for.
    pub(super) fn is_parked(&self) -> bool {
        let idle = |stage: &Stage| matches!(stage, Stage::Pending | Stage::Ended(_));
        let all = self.nodes.len();
        !self.gated().is_empty() && self.gated().len() + self.at(idle).len() == all
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
        let may_move = moves + self.settling().len() > 0 || self.next_deadline().is_some();
        ensure(self.is_done() || may_move, "nothing can happen any more".to_owned())
    }

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
            } else if std::mem::take(&mut self.nodes[task].missed) {
                self.say(task, "missed");
                self.ask(task);
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
        if self.is_failing() {
            return None;
        }
        let mut reserved = Vec::new();
        let mut ready = Vec::new();
        for (place, &task) in self.canonical.iter().enumerate() {
            match self.nodes[task].stage {
                Stage::Reserved(ticket) => reserved.push((ticket, task)),
                Stage::Ready => {
                    let priority = Reverse(self.plan.tasks[task].priority);
                    ready.push((priority, Reverse(self.paths[task]), place, task));
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

    fn may_begin(&self, task: usize) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Stopping(_) | Phase::FailingFast(_) => self.plan.tasks[task].is_finally(),
            Phase::Cancelled { .. } => false,
        }
    }

    /// Whether a failure is being recorded at which the run will stop.
    fn is_failing(&self) -> bool {
        let fails = |node: &Node| matches!(&node.stage, Stage::Settling(end) if !end.success);
        self.plan.on_failure != OnFailure::KeepGoing
            && matches!(self.phase, Phase::Open)
            && self.nodes.iter().any(fails)
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

/// Grows the paths by one task at a time, until none grows any more.
fn longest_paths(plan: &Plan) -> Vec<u64> {
    let mut paths = vec![0; plan.tasks.len()];
    loop {
        let before = paths.clone();
        for (task, settings) in plan.tasks.iter().enumerate() {
            let comes_after =
                |next: &usize| plan.tasks[*next].after.iter().any(|&(before, _)| before == task);
            let rest = (0..paths.len()).filter(comes_after).map(|next| paths[next]).max();
            paths[task] = settings.expected + rest.unwrap_or(0);
        }
        if paths == before {
            return paths;
        }
    }
}
