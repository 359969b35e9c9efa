//! A run that is made up, and what has to come of it whatever is killed on the way.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::random::Dice;

/// Tasks of a graph.
const TASKS: usize = 18;
/// Attempts of which each fails.
const ALWAYS: u32 = 9;
/// Holds that are taken alone.
const HOLDS: [&str; 2] = ["db", "tool"];

/// What a task is: its name, how long it takes, and how many attempts fail. Each line is one
/// write at the end of the file.
pub(super) const SCRIPT: &str = r#"
note() {
    printf '%s %s %s %s\n' "$1" "$name" "$HOLDPOINT_START" "$HOLDPOINT_ATTEMPT" >> journal
}
name=$1
note begin
sleep "$2"
note end
if [ "$HOLDPOINT_ATTEMPT" -le "$3" ]; then exit 3; fi
"#;

#[derive(Debug)]
pub(super) struct Made {
    pub(super) tasks: Vec<Task>,
    jobs: u32,
    pub(super) mode: Mode,
    /// Each question is answered with yes where the run is.
    pub(super) says_yes: bool,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: String,
    needs: Vec<usize>,
    after: Vec<usize>,
    finally: Vec<usize>,
    pub(super) hold: Option<&'static str>,
    is_allowed: bool,
    attempts: u32,
    millis: usize,
    does: Does,
    /// Whether it asks, and is let go on.
    pub(super) asks: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// So many attempts fail.
    Fail(u32),
    /// Its program is missing.
    Miss,
    /// Its condition does not want it.
    Decline,
    /// It has no command.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Stop,
    KeepGoing,
    FailFast,
}

impl Made {
    pub(super) fn up(dice: &mut Dice) -> Self {
        let mut numbers: Vec<usize> = (0..TASKS).collect();
        for index in (1..TASKS).rev() {
            numbers.swap(index, dice.below(index + 1));
        }
        let asks = dice.percent(60);
        // Edges go to earlier positions, so there is no cycle; names are in another order.
        let tasks = (0..TASKS).map(|at| Task::up(dice, at, numbers[at], asks)).collect();
        Self {
            tasks,
            jobs: 1 + dice.below(4) as u32,
            mode: [Mode::KeepGoing, Mode::KeepGoing, Mode::Stop, Mode::FailFast][dice.below(4)],
            says_yes: dice.percent(40),
        }
    }

    pub(super) fn manifest(&self) -> String {
        let mut text = format!("limits: {{ jobs: {} }}\ntasks:\n", self.jobs);
        for task in &self.tasks {
            let _ = writeln!(text, "  {}: {{ {} }}", task.name, self.keys(task).join(", "));
        }
        text
    }

    fn keys(&self, task: &Task) -> Vec<String> {
        let Task { name, attempts, is_allowed, .. } = task;
        let mut keys = Vec::new();
        match task.does {
            Does::Nothing => {}
            Does::Miss => keys.push("exec: [no-such-program]".to_owned()),
            Does::Decline => keys.push("if: 'false', run: 'touch declined'".to_owned()),
            Does::Fail(times) => {
                keys.push(format!("run: sh task.sh {name} 0.{:03} {times}", task.millis));
            }
        }
        for (key, list) in
            [("needs", &task.needs), ("after", &task.after), ("finally", &task.finally)]
        {
            let names: Vec<&str> = list.iter().map(|&at| &*self.tasks[at].name).collect();
            if !names.is_empty() {
                keys.push(format!("{key}: [{}]", names.join(", ")));
            }
        }
        if task.asks.is_some() {
            keys.push("approval: May it?".to_owned());
        }
        if let Some(hold) = task.hold {
            keys.push(format!("holds: [{hold}]"));
        }
        if task.does != Does::Nothing {
            keys.push(format!("retry: {{ attempts: {attempts}, initial: 1ms }}"));
        }
        keys.push(format!("allow_failure: {is_allowed}"));
        keys
    }

    /// Of a start: the first, or one that goes on.
    pub(super) fn arguments(&self, goes_on: bool) -> Vec<&'static str> {
        let mut arguments = match goes_on {
            false => vec!["run", "--all"],
            true => vec!["resume", "1"],
        };
        match self.mode {
            _ if goes_on => {}
            Mode::Stop => {}
            Mode::KeepGoing => arguments.push("-k"),
            Mode::FailFast => arguments.push("--fail-fast"),
        }
        if self.says_yes {
            arguments.push("-y");
        }
        arguments
    }

    /// How each task ends in a run in which a failure keeps nothing but successors from running.
    fn ends(&self) -> Vec<&'static str> {
        let mut ends: Vec<&'static str> = Vec::new();
        let mut good: Vec<bool> = Vec::new();
        for task in &self.tasks {
            let end = if task.needs.iter().any(|need| !good[*need]) {
                "skipped"
            } else if task.asks == Some(false) && !self.says_yes {
                "failed"
            } else {
                match task.does {
                    Does::Nothing => "succeeded",
                    Does::Decline => "skipped",
                    Does::Miss => "errored",
                    Does::Fail(times) if times >= task.attempts => "failed",
                    Does::Fail(_) => "succeeded",
                }
            };
            good.push(end == "succeeded" || task.is_allowed && end != "skipped");
            ends.push(end);
        }
        ends
    }

    /// Whether something fails that is not allowed to.
    pub(super) fn fails(&self) -> bool {
        let mut ends = self.tasks.iter().zip(self.ends());
        ends.any(|(task, end)| !task.is_allowed && matches!(end, "failed" | "errored"))
    }

    /// Whether a failure keeps more than successors from running.
    pub(super) fn stops(&self) -> bool {
        self.mode != Mode::KeepGoing && self.fails()
    }

    /// The ends that each task may have.
    pub(super) fn expected(&self) -> BTreeMap<&str, Vec<&'static str>> {
        let stops = self.stops();
        let named = self.tasks.iter().zip(self.ends());
        let all = named.map(|(task, end)| {
            let mut may = vec![end];
            if stops {
                // Where the run is stopped depends on what was faster.
                may.push("skipped");
                if self.mode == Mode::FailFast {
                    may.push("cancelled");
                }
                if matches!(task.does, Does::Fail(1..)) {
                    // It may be stopped between two attempts.
                    may.push("failed");
                }
            }
            (&*task.name, may)
        });
        all.collect()
    }
}

impl Task {
    fn up(dice: &mut Dice, at: usize, number: usize, may_ask: bool) -> Self {
        let is_last = dice.percent(10);
        let needs = if is_last { Vec::new() } else { dice.some(2, at, &[]) };
        let after = dice.some(1, at, &needs);
        let others = [needs.as_slice(), &after].concat();
        let does = match dice.below(20) {
            0 => Does::Fail(ALWAYS),
            1 => Does::Miss,
            2 => Does::Decline,
            3 => Does::Nothing,
            4..=6 => Does::Fail(1 + dice.below(2) as u32),
            _ => Does::Fail(0),
        };
        let asks = (may_ask && does != Does::Decline && dice.percent(15)).then(|| dice.percent(70));
        // A task without any command is a group, or nothing but its question.
        let does = match does {
            Does::Nothing if asks.is_none() && needs.is_empty() => Does::Fail(0),
            does => does,
        };
        Self {
            name: format!("t{number:02}"),
            finally: if is_last { dice.some(2, at, &others) } else { Vec::new() },
            needs,
            after,
            hold: dice.percent(30).then(|| HOLDS[dice.below(HOLDS.len())]),
            is_allowed: dice.percent(30),
            attempts: if dice.percent(70) { 2 + dice.below(2) as u32 } else { 1 },
            millis: if dice.percent(10) { 100 + dice.below(150) } else { dice.below(25) },
            does,
            asks,
        }
    }
}
