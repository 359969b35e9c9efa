//! Effects carried out late: the driver feeds what ended while effects still wait for their turn.
//! The events must be in order all the same, and the run must come to its end.

use std::collections::VecDeque;
use std::time::Duration;

use holdpoint_core::{CancelCode, CancelInfo, Timestamp};
use proptest::prelude::*;

use super::config;
use super::model::{Choices, choices};
use super::plan::{Delays, Plan, plans};
use super::rig::{Life, Rig};
use crate::{Effect, Gate, Input, Lookup, TaskEnd, TaskFailure, TaskId};

/// What was begun and has not ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    Gate(TaskId),
    Lookup(TaskId),
    Execution(TaskId),
    Record(TaskId),
}

impl Work {
    fn task(self) -> TaskId {
        match self {
            Self::Gate(task) | Self::Lookup(task) | Self::Execution(task) | Self::Record(task) => {
                task
            }
        }
    }

    /// Mostly well: the rest of the run is of interest too.
    fn end(self, choice: u16) -> Input {
        let boom = || TaskFailure::new("boom");
        match (self, choice % 8) {
            (Self::Gate(task), 6) => Input::GateEnded(task, Gate::Failed(boom())),
            (Self::Gate(task), _) => Input::GateEnded(task, Gate::Open),
            (Self::Lookup(task), 5 | 6) => Input::LookedUp(task, Lookup::Hit),
            (Self::Lookup(task), 7) => Input::LookedUp(task, Lookup::Errored(boom())),
            (Self::Lookup(task), _) => Input::LookedUp(task, Lookup::Miss),
            (Self::Execution(task), 5) => Input::Executed(task, TaskEnd::Failed(boom())),
            (Self::Execution(task), 6) => Input::Executed(task, TaskEnd::Errored(boom())),
            (Self::Execution(task), 7) => Input::Executed(task, TaskEnd::Cancelled),
            (Self::Execution(task), _) => Input::Executed(task, TaskEnd::Succeeded),
            (Self::Record(task), _) => Input::Recorded(task),
        }
    }
}

fn play(plan: &Plan, choices: &Choices, recorded: bool) {
    // Around again, with the first possibility once a round: all come to their turn.
    let mut choices = choices.iter().chain([0]).collect::<Vec<_>>().into_iter().cycle();
    let mut choose = || choices.next().unwrap_or(0);
    let life = Life { recorded, ..Life::default() };
    let mut rig = Rig::new(plan.topology(), &plan.limits(), plan.on_failure, plan.grace, life);
    let mut work: VecDeque<Work> = VecDeque::new();
    rig.feed(Input::Start(Timestamp::from_micros(0)));
    loop {
        let choice = choose();
        // One effect, most of the time and where nothing else can be done; or something ends.
        if (work.is_empty() || !choice.is_multiple_of(4))
            && let Some(effect) = rig.carry_out_one()
        {
            match effect {
                Effect::AwaitGate(task) => work.push_back(Work::Gate(task)),
                Effect::LookUp(task) => work.push_back(Work::Lookup(task)),
                Effect::Execute { task, .. } => work.push_back(Work::Execution(task)),
                Effect::Record { task, .. } => work.push_back(Work::Record(task)),
                Effect::DropGate(task) | Effect::Abort(task) => {
                    work.retain(|work| work.task() != task);
                }
                _ => {}
            }
        } else if choice % 97 == 96 {
            let at = Timestamp::from_micros(0);
            rig.feed(Input::Cancel(CancelInfo::new(CancelCode::User, "enough", at)));
        } else if let Some(task) = rig.due.pop_front() {
            rig.feed(Input::HoldsGranted(task));
        } else if !work.is_empty() {
            let index = usize::from(choose()) % work.len();
            let ended = work.remove(index).expect("it is there");
            rig.feed(ended.end(choose()));
        } else if let Some(deadline) = rig.machine.next_deadline() {
            rig.now = rig.now.max(deadline) + Duration::from_millis(u64::from(choice % 3) * 700);
            rig.feed(Input::Time);
        } else {
            break;
        }
    }
    let report = rig.finish();
    assert_eq!(report.rows().len(), plan.tasks.len());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn graph_008_graph_009_gr_1_gr_3_ho_3_inputs_may_come_before_effects_are_carried_out(
        mut plan in plans(30), choices in choices(), recorded in any::<bool>()
    ) {
        // Second attempts meet a stop in more places than first ones.
        for task in plan.tasks.iter_mut().step_by(2) {
            task.retry = Some((3, Delays::Fixed(0)));
        }
        play(&plan, &choices, recorded);
    }
}
