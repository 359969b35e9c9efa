//! The machine against the [`Reference`]: random graphs, driven by choices that are data too, so
//! that a failing case shrinks and what proptest prints of it is all that is needed to replay it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{CancelCode, CancelInfo, Monotonic, Timestamp};
use proptest::prelude::*;

use super::config;
use super::plan::{Plan, plans};
use super::reference::{Reference, Said};
use super::rig::{Life, Rig, outcome_text};
use crate::{Gate, Input, Lookup, TaskEnd, TaskFailure, TaskId};

/// Choices for one run. Where they end, the first possibility is taken, and everything succeeds.
#[derive(Clone)]
pub(super) struct Choices(Vec<u16>);

impl Choices {
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u16::to_string).collect();
        write!(f, "[{}]", numbers.join(", "))
    }
}

pub(super) fn choices() -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u16>(), 0..250).prop_map(Choices)
}

proptest! {
    #![proptest_config(config())]

    /// What starts and in which order, what waits, what is skipped and why, who holds what, how
    /// often it is tried, when it is stopped, and that it ends: after every step as the rules say.
    #[test]
    fn graph_002_gr_1_gr_3_ho_2_ba_1_the_machine_does_what_the_rules_say(
        plan in plans(60), choices in choices()
    ) {
        Play::run(&plan, &choices)?;
    }

    /// The same where ends are recorded, and where some had ended in an earlier life: these do
    /// nothing but end, at once; and what finished is neither cancelled nor skipped.
    #[test]
    fn graph_009_graph_008_store_011_gr_1_gr_3_ba_1_lives_of_a_run_go_by_the_rules_too(
        plan in plans(40), choices in choices(), recorded in any::<bool>(),
        known in prop::collection::vec(prop::option::weighted(0.2, 0..8_u8), 40)
    ) {
        let known = known.into_iter().take(plan.tasks.len()).enumerate();
        let known = known.filter_map(|(task, how)| Some((task, said(how?)))).collect();
        Play::in_life(&plan, &choices, recorded, known)?;
    }

    #[test]
    fn graph_003_same_graph_and_same_outcomes_give_the_same_events(
        plan in plans(25), choices in choices()
    ) {
        prop_assert_eq!(Play::run(&plan, &choices)?, Play::run(&plan, &choices)?);
    }

    /// What admission does depends on names and settings, never on the order of definition.
    #[test]
    fn graph_003_the_order_of_definition_does_not_matter(
        (plan, order) in plans(25).prop_flat_map(|plan| {
            let places: Vec<usize> = (0..plan.tasks.len()).collect();
            (Just(plan), Just(places).prop_shuffle())
        }),
        choices in choices()
    ) {
        let begun = |lines: Vec<String>| lines.iter().filter(begins).cloned().collect::<Vec<_>>();
        let redefined = plan.redefined(&order);
        let (left, right) = (Play::run(&plan, &choices)?, Play::run(&redefined, &choices)?);
        prop_assert_eq!(begun(left), begun(right));
    }
}

/// Whether a line is the beginning of something that takes a slot.
fn begins(line: &&String) -> bool {
    ["look up ", "ask for ", "execute "].iter().any(|start| line.starts_with(start))
}

/// One thing that can happen next.
#[derive(Debug, Clone, Copy)]
enum Move {
    Gate(usize),
    Lookup(usize),
    Execution(usize),
    Record(usize),
    Grant,
    Time,
}

/// One run, in the machine and in the reference at once.
struct Play<'a> {
    plan: &'a Plan,
    rig: Rig,
    reference: Reference<'a>,
    choices: std::slice::Iter<'a, u16>,
    log: Vec<String>,
}

impl<'a> Play<'a> {
    /// Gives every line that was said.
    fn run(plan: &'a Plan, choices: &'a Choices) -> Result<Vec<String>, TestCaseError> {
        Self::in_life(plan, choices, false, Vec::new())
    }

    fn in_life(
        plan: &'a Plan,
        choices: &'a Choices,
        recorded: bool,
        known: Vec<(usize, Said)>,
    ) -> Result<Vec<String>, TestCaseError> {
        let end_of = |(task, said): &(usize, Said)| (TaskId(*task as u32), end(said));
        let life = Life { recorded, known: known.iter().map(end_of).collect() };
        let rig = Rig::new(plan.topology(), &plan.limits(), plan.on_failure, plan.grace, life);
        let reference = Reference::new(plan, recorded, known);
        let mut play = Self { plan, rig, reference, choices: choices.0.iter(), log: Vec::new() };
        play.play().map_err(|fault| {
            TestCaseError::fail(format!("{fault}\n\nuntil then:\n{}", play.log.join("\n")))
        })?;
        Ok(play.compare_report())
    }

    fn play(&mut self) -> Result<(), String> {
        self.step("start", Input::Start(Timestamp::from_micros(0)), Reference::start)?;
        while !self.rig.machine.is_done() {
            self.rig.now = self.rig.now + Duration::from_millis(u64::from(self.choose(4)) * 100);
            match self.choose(40) {
                37 => self.cancel()?,
                38 | 39 => self.stray()?,
                _ => self.go_on()?,
            }
        }
        same("lines of a cancel after the end", self.rig.step(Input::Cancel(cause())), vec![])
    }

    fn step(
        &mut self,
        what: &str,
        input: Input,
        model: impl FnOnce(&mut Reference<'a>),
    ) -> Result<(), String> {
        self.log.push(format!("-- {what}"));
        let lines = self.rig.step(input);
        self.compare(lines, model)
    }

    /// What takes a slot is compared in its order, the rest as a bag.
    fn compare(
        &mut self,
        lines: Vec<String>,
        model: impl FnOnce(&mut Reference<'a>),
    ) -> Result<(), String> {
        self.log.extend(lines.iter().cloned());
        let now = self.rig.now - Monotonic::ZERO;
        let expected = self.reference.step(now, model);
        let begun = |lines: &[String]| lines.iter().filter(begins).cloned().collect::<Vec<_>>();
        same("what starts, in order", begun(&lines), begun(&expected))?;
        same("what follows", sorted(lines), sorted(expected))?;
        self.reference.check()?;
        same("parked", self.rig.machine.is_parked(), self.reference.is_parked())?;
        same("the end", self.rig.machine.is_done(), self.reference.is_done())?;
        let deadline = self.reference.next_deadline().map(|time| Monotonic::ZERO + time);
        same("the next deadline", self.rig.machine.next_deadline(), deadline)?;
        let due: Vec<usize> = self.rig.due.iter().map(|task| task.index()).collect();
        same("who is due for holds", sorted(due), sorted(self.reference.due()))
    }

    fn go_on(&mut self) -> Result<(), String> {
        let mut moves = Vec::new();
        moves.extend((!self.rig.due.is_empty()).then_some(Move::Grant));
        moves.extend(self.reference.running().into_iter().map(Move::Execution));
        moves.extend(self.reference.settling().into_iter().map(Move::Record));
        moves.extend(self.reference.looking_up().into_iter().map(Move::Lookup));
        moves.extend(self.reference.gated().into_iter().map(Move::Gate));
        moves.extend(self.reference.next_deadline().map(|_| Move::Time));
        let index = self.choose(moves.len());
        match moves[usize::from(index)] {
            Move::Gate(task) => self.gate(task),
            Move::Lookup(task) => self.lookup(task),
            Move::Execution(task) => self.execution(task),
            Move::Record(task) => {
                let what = format!("record of {}", self.name(task));
                let input = Input::Recorded(TaskId(task as u32));
                self.step(&what, input, |reference| reference.recorded(task))
            }
            Move::Grant => {
                let task = self.rig.due[0].index();
                self.log.push(format!("-- due: {}", self.name(task)));
                let lines = self.rig.deliver();
                self.compare(lines, |reference| reference.granted(task))
            }
            Move::Time => {
                let deadline = self.reference.next_deadline().expect("it is a move");
                // Sometimes late, so that several are due at once.
                let late = Duration::from_millis([0, 0, 1500, 5000][usize::from(self.choose(4))]);
                self.rig.now = self.rig.now.max(Monotonic::ZERO + deadline + late);
                self.step("time", Input::Time, Reference::time)
            }
        }
    }

    fn gate(&mut self, task: usize) -> Result<(), String> {
        let what = format!("gate of {}", self.name(task));
        let id = TaskId(task as u32);
        match self.choose(8) {
            6 => {
                let input = Input::GateEnded(id, Gate::Failed(TaskFailure::new("rejected")));
                self.step(&what, input, |reference| reference.gate_failed(task, "rejected"))
            }
            7 => {
                let input = Input::GateEnded(id, Gate::Skip("not today".into()));
                self.step(&what, input, |reference| reference.unwanted(task, "not today"))
            }
            _ => {
                let input = Input::GateEnded(id, Gate::Open);
                self.step(&what, input, |reference| reference.gate_opened(task))
            }
        }
    }

    fn lookup(&mut self, task: usize) -> Result<(), String> {
        let what = format!("lookup of {}", self.name(task));
        let id = TaskId(task as u32);
        match self.choose(10) {
            5..=7 => {
                let input = Input::LookedUp(id, Lookup::Hit);
                self.step(&what, input, |reference| reference.hit(task))
            }
            8 => {
                let input = Input::LookedUp(id, Lookup::Skip("not wanted".into()));
                self.step(&what, input, |reference| reference.unwanted(task, "not wanted"))
            }
            9 => {
                let input = Input::LookedUp(id, Lookup::Errored(TaskFailure::new("disk")));
                self.step(&what, input, |reference| reference.lookup_errored(task, "disk"))
            }
            _ => {
                let input = Input::LookedUp(id, Lookup::Miss);
                self.step(&what, input, |reference| reference.missed(task))
            }
        }
    }

    fn execution(&mut self, task: usize) -> Result<(), String> {
        let what = format!("execution of {}", self.name(task));
        let said = match self.choose(16) {
            9..=11 => said(4),
            12 => said(5),
            13 | 14 => said(6),
            15 => said(7),
            _ => said(0),
        };
        let input = Input::Executed(TaskId(task as u32), end(&said));
        self.step(&what, input, |reference| reference.executed(task, said))
    }

    fn cancel(&mut self) -> Result<(), String> {
        let input = Input::Cancel(cause());
        self.step("cancel", input, |reference| reference.cancel("user: enough"))
    }

    /// An answer that fits no state changes nothing.
    fn stray(&mut self) -> Result<(), String> {
        let task = usize::from(self.choose(self.plan.tasks.len()));
        let id = TaskId(task as u32);
        let is_in = |tasks: Vec<usize>| tasks.contains(&task);
        let input = match self.choose(5) {
            4 if !is_in(self.reference.settling()) => Input::Recorded(id),
            0 if !is_in(self.reference.gated()) => Input::GateEnded(id, Gate::Open),
            1 if !is_in(self.reference.looking_up()) => Input::LookedUp(id, Lookup::Hit),
            2 if !is_in(self.reference.running()) => Input::Executed(id, TaskEnd::Succeeded),
            3 => Input::HoldsQueued(id),
            _ => return Ok(()),
        };
        same("lines of a stray answer", self.rig.step(input), vec![])
    }

    fn compare_report(self) -> Vec<String> {
        let Self { plan, rig, reference, log, .. } = self;
        let topology = Arc::clone(&rig.topology);
        let report = rig.finish();
        for (place, task) in plan.tasks.iter().enumerate() {
            let id = topology.find(&task.full_name()).expect("it is in the graph");
            let outcome = outcome_text(&topology, &report.outcome(id));
            assert_eq!(Some(outcome.as_str()), reference.end_of(place), "{}", task.full_name());
            assert_eq!(report.row(id).attempts, reference.attempts(place), "{}", task.full_name());
        }
        log
    }

    /// The next choice, from `0..of`.
    fn choose(&mut self, of: usize) -> u16 {
        let choice = self.choices.next().copied().unwrap_or(0);
        u16::try_from(usize::from(choice) % of.max(1)).expect("less than it was")
    }

    fn name(&self, task: usize) -> String {
        self.plan.tasks[task].full_name()
    }
}

fn said(how: u8) -> Said {
    let text = || "boom".to_owned();
    match how {
        0..=3 => Said::Succeeded,
        4 => Said::Failed { text: text(), permanent: false },
        5 => Said::Failed { text: text(), permanent: true },
        6 => Said::Errored { text: text() },
        _ => Said::Cancelled,
    }
}

fn end(said: &Said) -> TaskEnd {
    match said {
        Said::Succeeded => TaskEnd::Succeeded,
        Said::Failed { text, permanent: false } => TaskEnd::Failed(TaskFailure::new(text)),
        Said::Failed { text, permanent: true } => {
            TaskEnd::Failed(TaskFailure::new(text).permanent())
        }
        Said::Errored { text } => TaskEnd::Errored(TaskFailure::new(text)),
        Said::Cancelled => TaskEnd::Cancelled,
    }
}

fn cause() -> CancelInfo {
    CancelInfo::new(CancelCode::User, "enough", Timestamp::from_micros(0))
}

fn same<T: PartialEq + fmt::Debug>(what: &str, machine: T, rules: T) -> Result<(), String> {
    if machine == rules {
        return Ok(());
    }
    Err(format!("{what}:\n  by the machine: {machine:?}\n  by the rules:   {rules:?}"))
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list
}
