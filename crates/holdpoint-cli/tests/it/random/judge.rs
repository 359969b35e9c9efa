//! Whether an event file tells of a run that obeyed the rules.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{COUNTED, Does, HOLDS, Made, Mode, TAGS, Task, UNITS};

/// What is wrong with a run; nothing where it is right.
pub(super) fn judge(made: &Made, code: i32, events: &[Value]) -> Vec<String> {
    let judge = Judge::new(made, events);
    judge.the_stream_is_whole();
    judge.every_task_ended_once();
    if judge.faults.borrow().is_empty() {
        judge.tasks_waited_for_others();
        judge.limits_were_kept();
        judge.attempts_are_those_asked_for();
        judge.outcomes_follow_from_what_tasks_do();
        judge.nothing_began_after_the_run_stopped();
        judge.the_session_ended_as_its_tasks(code);
    }
    judge.faults.into_inner()
}

struct Judge<'a> {
    made: &'a Made,
    events: &'a [Value],
    /// Positions of the tasks that are part of the run.
    part: BTreeSet<usize>,
    position: BTreeMap<&'a str, usize>,
    /// For each task the place of its end among the events.
    end: BTreeMap<usize, usize>,
    faults: RefCell<Vec<String>>,
}

impl<'a> Judge<'a> {
    fn new(made: &'a Made, events: &'a [Value]) -> Self {
        let names = made.tasks.iter().enumerate().map(|(at, task)| (task.name.as_str(), at));
        let position: BTreeMap<&str, usize> = names.collect();
        let mut end = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            if ENDS.contains(&kind_of(event))
                && let Some(&task) = event["task"].as_str().and_then(|name| position.get(name))
            {
                end.entry(task).or_insert(place);
            }
        }
        Self { made, events, part: part(made), position, end, faults: RefCell::default() }
    }

    fn fault(&self, text: impl Into<String>) {
        self.faults.borrow_mut().push(text.into());
    }

    fn task(&self, at: usize) -> &'a Task {
        &self.made.tasks[at]
    }

    /// The places of events of a kind of a task.
    fn places(&self, task: usize, kind: &str) -> Vec<usize> {
        let name = self.task(task).name.as_str();
        let is = |event: &Value| event["task"] == name && event["kind"] == kind;
        (0..self.events.len()).filter(|&place| is(&self.events[place])).collect()
    }

    /// How a task ended: the kind, and the cause where it has one.
    fn how(&self, task: usize) -> (&'a str, &'a str) {
        let event = &self.events[self.end[&task]];
        (kind_of(event), event["cause"].as_str().unwrap_or(""))
    }

    /// Whether successors and the run count a task as a success.
    fn is_good(&self, task: usize) -> bool {
        match self.how(task).0 {
            "task_succeeded" => true,
            "task_failed" | "task_errored" => self.task(task).allowed,
            _ => false,
        }
    }

    /// The first task whose failure counts, and the place of its end.
    fn first_failure(&self) -> Option<(usize, usize)> {
        let failed = self.end.iter().filter(|(task, _)| {
            matches!(self.how(**task).0, "task_failed" | "task_errored")
                && !self.task(**task).allowed
        });
        failed.map(|(task, place)| (*place, *task)).min().map(|(place, task)| (task, place))
    }

    fn the_stream_is_whole(&self) {
        for (index, event) in self.events.iter().enumerate() {
            if event["seq"] != index + 1 {
                self.fault(format!("event {} has number {}", index + 1, event["seq"]));
            }
        }
        for (place, kind) in [(0, "session_planned"), (1, "session_started")] {
            if self.events.get(place).is_none_or(|event| event["kind"] != kind) {
                self.fault(format!("event {} is not {kind}", place + 1));
            }
        }
    }

    fn every_task_ended_once(&self) {
        for (place, event) in self.events.iter().enumerate() {
            let Some(name) = event["task"].as_str() else { continue };
            match self.position.get(name).filter(|task| self.part.contains(task)) {
                None => self.fault(format!("{name} is no part of the run")),
                Some(task) if self.end.get(task).is_some_and(|end| *end < place) => {
                    self.fault(format!("{name}: {} after its end", event["kind"]));
                }
                Some(_) => {}
            }
        }
        for task in self.part.iter().filter(|task| !self.end.contains_key(task)) {
            self.fault(format!("{} has no end", self.task(*task).name));
        }
    }

    /// GRAPH-002, and that what did not start says so.
    fn tasks_waited_for_others(&self) {
        for &task in &self.part {
            let Task { name, needs, after, finally, .. } = self.task(task);
            let started = self.places(task, "task_started");
            let has_run =
                matches!(self.how(task).0, "task_succeeded" | "task_failed" | "task_errored");
            if started.len() > 1 || (has_run && started.is_empty()) {
                self.fault(format!("{name} started {} times", started.len()));
            }
            // A condition too is asked only when its turn has come.
            let declined = self.how(task).1 == "condition";
            let Some(began) = started.first().copied().or(declined.then(|| self.end[&task])) else {
                continue;
            };
            for other in
                needs.iter().chain(after).chain(finally).filter(|other| self.part.contains(other))
            {
                if self.end[other] > began {
                    self.fault(format!("{name} began before {} ended", self.task(*other).name));
                }
            }
            for other in needs.iter().filter(|other| !self.is_good(**other)) {
                self.fault(format!(
                    "{name} began although {} did not succeed",
                    self.task(*other).name
                ));
            }
        }
    }

    /// GRAPH-004 and HOLD-002, over the lives of processes and of holds.
    fn limits_were_kept(&self) {
        let mut running = BTreeSet::new();
        let mut holding = BTreeSet::new();
        for event in self.events {
            let Some(&task) = event["task"].as_str().and_then(|name| self.position.get(name))
            else {
                continue;
            };
            let name = &self.task(task).name;
            let kind = kind_of(event);
            match kind {
                "process_started" => {
                    if !running.insert(task) {
                        self.fault(format!("{name} runs twice at a time"));
                    }
                    let needs_holds =
                        !self.task(task).holds.is_empty() || self.task(task).units > 0;
                    if needs_holds && !holding.contains(&task) {
                        self.fault(format!("{name} runs without its holds"));
                    }
                }
                "process_exited" => _ = running.remove(&task),
                "hold_acquired" => _ = holding.insert(task),
                "hold_released" => {
                    holding.remove(&task);
                    if running.contains(&task) {
                        self.fault(format!("{name} lost its holds while it ran"));
                    }
                }
                _ if ENDS.contains(&kind) => {
                    if holding.contains(&task) || running.contains(&task) {
                        self.fault(format!("{name} ended before its process, or with its holds"));
                    }
                }
                _ => continue,
            }
            self.fits(&running);
            self.may_hold(&running, "run with");
            self.may_hold(&holding, "hold");
        }
    }

    fn fits(&self, tasks: &BTreeSet<usize>) {
        let jobs = self.made.jobs;
        let weight: u32 = tasks.iter().map(|&task| self.task(task).weight.min(jobs)).sum();
        if weight > jobs {
            self.fault(format!("{tasks:?} run with {weight} of {jobs} slots"));
        }
        for (tag, name) in TAGS.iter().enumerate() {
            let tagged = tasks.iter().filter(|&&task| self.task(task).tags.contains(&tag)).count();
            if tagged > self.made.caps[tag] as usize {
                self.fault(format!("{tagged} tasks of {name} run"));
            }
        }
    }

    fn may_hold(&self, tasks: &BTreeSet<usize>, what: &str) {
        for (hold, name) in HOLDS.iter().enumerate() {
            let uses = |shared: bool| {
                tasks
                    .iter()
                    .filter(|&&task| self.task(task).holds.contains(&(hold, shared)))
                    .count()
            };
            let (alone, shared) = (uses(false), uses(true));
            if alone > 1 || (alone == 1 && shared > 0) {
                self.fault(format!("{alone} alone and {shared} shared {what} {name}"));
            }
        }
        let units: u32 = tasks.iter().map(|&task| self.task(task).units).sum();
        if units > UNITS {
            self.fault(format!("{units} units {what} of {COUNTED}"));
        }
    }

    /// GRAPH-014: as many processes as attempts, numbered from 1.
    fn attempts_are_those_asked_for(&self) {
        for &task in &self.part {
            let places = self.places(task, "process_started");
            let numbers: Vec<u64> = places
                .iter()
                .map(|&place| self.events[place]["attempt"].as_u64().unwrap_or(0))
                .collect();
            let name = &self.task(task).name;
            if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
                self.fault(format!("{name} has attempts {numbers:?}"));
            }
            let most = self.processes(task);
            let begun = numbers.len() as u32;
            let all = matches!(self.how(task).0, "task_succeeded" | "task_errored")
                || (self.how(task).0 == "task_failed" && self.made.mode == Mode::KeepGoing);
            if begun > most || (all && begun != most) {
                self.fault(format!("{name} has {begun} processes and not {most}"));
            }
        }
    }

    /// The processes of a task that runs to its end.
    fn processes(&self, task: usize) -> u32 {
        let Task { attempts, does, .. } = *self.task(task);
        match does {
            Does::Succeed => 1,
            Does::Fail => attempts,
            Does::FailFirst(times) => attempts.min(times + 1),
            Does::Miss | Does::Decline => 0,
        }
    }

    /// GRAPH-007 and GRAPH-008: each end is one that the task itself or the ends of others bring.
    fn outcomes_follow_from_what_tasks_do(&self) {
        let first = self.first_failure();
        for &task in &self.part {
            let end = &self.events[self.end[&task]];
            let upstream =
                end["upstream"].as_str().and_then(|name| self.position.get(name)).copied();
            let bad: Vec<usize> = self
                .task(task)
                .needs
                .iter()
                .filter(|need| !self.is_good(**need))
                .copied()
                .collect();
            let stopped = first.filter(|(_, place)| self.end[&task] > *place).map(|(task, _)| task);
            let is_right = match self.how(task) {
                // In a run that went on, only others keep a task from doing what it does.
                ("task_skipped", "stopped") => {
                    self.made.mode == Mode::Stop && stopped.is_some() && upstream == stopped
                }
                ("task_cancelled", "internal") => {
                    self.made.mode == Mode::FailFast && stopped.is_some() && upstream == stopped
                }
                ("task_skipped", "condition") => {
                    self.task(task).does == Does::Decline && bad.is_empty()
                }
                ("task_skipped", cause) => {
                    let roots = self.roots(task);
                    upstream
                        .is_some_and(|root| roots.contains(&root) && cause == self.cause_of(root))
                }
                (kind, _) => bad.is_empty() && self.own_ends(task).contains(&kind),
            };
            if !is_right {
                self.fault(format!(
                    "{}: {end} is not what should have come of it",
                    self.task(task).name
                ));
            }
            if kind_of(end) == "task_failed"
                && self.task(task).does == Does::Fail
                && end["exit_code"] != 3
            {
                self.fault(format!("{}: exit code {}", self.task(task).name, end["exit_code"]));
            }
            let allowed = end["allowed"] == true;
            if matches!(kind_of(end), "task_failed" | "task_errored")
                && allowed != self.task(task).allowed
            {
                self.fault(format!("{}: allowed is {allowed}", self.task(task).name));
            }
        }
    }

    /// The ends that what a task does may have.
    fn own_ends(&self, task: usize) -> &'static [&'static str] {
        let Task { attempts, does, .. } = *self.task(task);
        let goes_on = self.made.mode == Mode::KeepGoing;
        match does {
            Does::Succeed => &["task_succeeded"],
            Does::Fail => &["task_failed"],
            Does::Miss => &["task_errored"],
            Does::Decline => &[],
            Does::FailFirst(times) if times >= attempts => &["task_failed"],
            Does::FailFirst(_) if goes_on => &["task_succeeded"],
            // The run may have stopped between two attempts.
            Does::FailFirst(_) => &["task_succeeded", "task_failed"],
        }
    }

    /// The tasks at which a chain of hard edges that ends at `task` may have broken.
    fn roots(&self, task: usize) -> BTreeSet<usize> {
        let mut roots = BTreeSet::new();
        let mut open: Vec<usize> = self.task(task).needs.clone();
        let mut seen = BTreeSet::new();
        while let Some(other) = open.pop() {
            if self.is_good(other) || !seen.insert(other) {
                continue;
            }
            match self.how(other) {
                ("task_skipped", cause) if cause.starts_with("upstream_") => {
                    open.extend(&self.task(other).needs);
                }
                _ => _ = roots.insert(other),
            }
        }
        roots
    }

    fn cause_of(&self, root: usize) -> &'static str {
        match self.how(root).0 {
            "task_failed" => "upstream_failed",
            "task_errored" => "upstream_errored",
            "task_cancelled" => "upstream_cancelled",
            _ => "upstream_skipped",
        }
    }

    /// GRAPH-007: after the failure that stops a run only finally-tasks begin.
    fn nothing_began_after_the_run_stopped(&self) {
        let Some((_, stopped)) = self.first_failure() else { return };
        if self.made.mode == Mode::KeepGoing {
            return;
        }
        for &task in &self.part {
            let is_last = self.task(task).finally.iter().any(|of| self.part.contains(of));
            let began = self.places(task, "task_started").first().copied();
            if !is_last && began.is_some_and(|place| place > stopped) {
                self.fault(format!("{} began after the run had stopped", self.task(task).name));
            }
        }
    }

    fn the_session_ended_as_its_tasks(&self, code: i32) {
        let expected = match self.first_failure() {
            Some(_) => ("session_failed", 1),
            None => ("session_done", 0),
        };
        let found = (self.events.last().map_or("", kind_of), code);
        if found != expected {
            self.fault(format!("the session ended with {found:?} and not {expected:?}"));
        }
    }
}

const ENDS: [&str; 5] =
    ["task_succeeded", "task_failed", "task_errored", "task_skipped", "task_cancelled"];

fn kind_of(event: &Value) -> &str {
    event["kind"].as_str().unwrap_or("")
}

/// What a run of the targets consists of, found by adding until nothing is missing.
fn part(made: &Made) -> BTreeSet<usize> {
    let mut part: BTreeSet<usize> = match made.targets.is_empty() {
        true => (0..made.tasks.len()).collect(),
        false => made.targets.iter().copied().collect(),
    };
    loop {
        let before = part.len();
        for (at, task) in made.tasks.iter().enumerate() {
            if task.finally.iter().any(|of| part.contains(of)) {
                part.insert(at);
            }
            if part.contains(&at) {
                part.extend(&task.needs);
            }
        }
        if part.len() == before {
            return part;
        }
    }
}
