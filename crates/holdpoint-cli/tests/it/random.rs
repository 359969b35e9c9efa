//! Random graphs of processes, their events judged by rules written a second time, here.
//!
//! The judge knows the manifest as it was made and the lines of the event file, and nothing of the
//! program's own code. `HOLDPOINT_ROUNDS` says how many graphs there are, `HOLDPOINT_SEED` makes one
//! of them again.

mod judge;

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::Project;

/// Tasks of a graph.
const TASKS: usize = 60;

/// Tags, and holds taken alone or shared; the counted hold is one more.
const TAGS: [&str; 2] = ["net", "cpu"];
const HOLDS: [&str; 3] = ["db", "tool", "printer"];
const COUNTED: &str = "gpu";
const UNITS: u32 = 3;

/// A run that was made up: the tasks, the limits, and the command line.
#[derive(Debug)]
struct Made {
    tasks: Vec<Task>,
    jobs: u32,
    caps: [u32; 2],
    mode: Mode,
    /// Positions of the targets; none for every task.
    targets: Vec<usize>,
}

#[derive(Debug)]
struct Task {
    name: String,
    needs: Vec<usize>,
    after: Vec<usize>,
    finally: Vec<usize>,
    tags: Vec<usize>,
    weight: u32,
    /// A place in [`HOLDS`], and whether it is shared.
    holds: Vec<(usize, bool)>,
    units: u32,
    allowed: bool,
    attempts: u32,
    does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Succeed,
    Fail,
    /// So many attempts fail.
    FailFirst(u32),
    /// Its program is missing.
    Miss,
    /// Its condition does not want it.
    Decline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stop,
    KeepGoing,
    FailFast,
}

/// Numbers that a seed decides (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// True in so many cases of a hundred.
    pub(crate) fn percent(&mut self, cases: usize) -> bool {
        self.below(100) < cases
    }

    /// Up to `most` of the numbers below `end`, none of them among `others`.
    pub(crate) fn some(&mut self, most: usize, end: usize, others: &[usize]) -> Vec<usize> {
        let mut chosen = Vec::new();
        for _ in 0..self.below(most + 1) {
            let number = self.below(end.max(1));
            if number < end && !others.contains(&number) && !chosen.contains(&number) {
                chosen.push(number);
            }
        }
        chosen
    }
}

impl Made {
    fn up(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut numbers: Vec<usize> = (0..TASKS).collect();
        for index in (1..TASKS).rev() {
            numbers.swap(index, dice.below(index + 1));
        }
        // Edges go to earlier positions, so there is no cycle; names are in another order.
        let tasks = (0..TASKS).map(|at| Task::up(&mut dice, at, numbers[at])).collect();
        let mode = [Mode::Stop, Mode::KeepGoing, Mode::KeepGoing, Mode::FailFast][dice.below(4)];
        Self {
            tasks,
            jobs: 1 + dice.below(8) as u32,
            caps: [1 + dice.below(3) as u32, 1 + dice.below(3) as u32],
            mode,
            targets: if dice.percent(60) { Vec::new() } else { dice.some(6, TASKS, &[]) },
        }
    }

    fn manifest(&self) -> String {
        let mut text = format!(
            "limits: {{ jobs: {}, tags: {{ {}: {}, {}: {} }}, holds: {{ {COUNTED}: {UNITS} }} }}\ntasks:\n",
            self.jobs, TAGS[0], self.caps[0], TAGS[1], self.caps[1]
        );
        for task in &self.tasks {
            let _ = writeln!(text, "  {}: {{ {} }}", task.name, self.keys(task).join(", "));
        }
        text
    }

    fn keys(&self, task: &Task) -> Vec<String> {
        let names = |of: &[usize]| {
            of.iter().map(|&at| self.tasks[at].name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let mut keys = vec![match task.does {
            Does::Succeed => format!("run: 'sleep 0.00{}'", task.weight),
            Does::Fail => "run: exit 3".to_owned(),
            Does::FailFirst(times) => format!("run: 'test $HOLDPOINT_ATTEMPT -gt {times}'"),
            Does::Miss => "exec: [no-such-program]".to_owned(),
            Does::Decline => "if: 'false', run: 'true'".to_owned(),
        }];
        for (key, list) in
            [("needs", &task.needs), ("after", &task.after), ("finally", &task.finally)]
        {
            if !list.is_empty() {
                keys.push(format!("{key}: [{}]", names(list)));
            }
        }
        if !task.tags.is_empty() {
            let tags: Vec<&str> = task.tags.iter().map(|&tag| TAGS[tag]).collect();
            keys.push(format!("tags: [{}]", tags.join(", ")));
        }
        let mut holds: Vec<String> = task
            .holds
            .iter()
            .map(|&(hold, shared)| format!("{{ name: {}, shared: {shared} }}", HOLDS[hold]))
            .collect();
        if task.units > 0 {
            holds.push(format!("{{ name: {COUNTED}, units: {} }}", task.units));
        }
        if !holds.is_empty() {
            keys.push(format!("holds: [{}]", holds.join(", ")));
        }
        if task.attempts > 1 {
            keys.push(format!("retry: {{ attempts: {}, initial: 1ms }}", task.attempts));
        }
        keys.push(format!(
            "weight: {}, allow_failure: {}",
            task.weight.min(self.jobs),
            task.allowed
        ));
        keys
    }

    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["run", "-o", "none"];
        match self.mode {
            Mode::Stop => {}
            Mode::KeepGoing => arguments.push("-k"),
            Mode::FailFast => arguments.push("--fail-fast"),
        }
        if self.targets.is_empty() {
            arguments.push("--all");
        }
        arguments.extend(self.targets.iter().map(|&at| self.tasks[at].name.as_str()));
        arguments
    }
}

impl Task {
    fn up(dice: &mut Dice, at: usize, number: usize) -> Self {
        let is_last = dice.percent(10);
        let needs = if is_last { Vec::new() } else { dice.some(3, at, &[]) };
        let after = dice.some(2, at, &needs);
        let others = [needs.as_slice(), &after].concat();
        let does = match dice.below(20) {
            0 | 1 => Does::Fail,
            2 => Does::Miss,
            3 => Does::Decline,
            4 | 5 => Does::FailFirst(1 + dice.below(3) as u32),
            _ => Does::Succeed,
        };
        let holds = dice.some(2, HOLDS.len(), &[]);
        Self {
            name: format!("t{number:02}"),
            finally: if is_last { dice.some(2, at, &others) } else { Vec::new() },
            needs,
            after,
            tags: dice.some(2, TAGS.len(), &[]),
            weight: 1 + dice.below(4) as u32 / 3,
            holds: holds.into_iter().map(|hold| (hold, dice.percent(60))).collect(),
            units: if dice.percent(20) { 1 + dice.below(UNITS as usize) as u32 } else { 0 },
            allowed: dice.percent(20),
            attempts: if dice.percent(40) { 2 + dice.below(2) as u32 } else { 1 },
            does,
        }
    }
}

pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn gr_random_60() {
    let only = setting("HOLDPOINT_SEED");
    let rounds = setting("HOLDPOINT_ROUNDS").unwrap_or(5);
    let seeds = only.map_or(1..=rounds, |seed| seed..=seed);
    for seed in seeds {
        let made = Made::up(seed);
        let project = Project::new(&made.manifest());
        let (ran, events) = project.events(&made.arguments());
        let faults = judge::judge(&made, ran.code(), &events);
        assert!(
            faults.is_empty(),
            "HOLDPOINT_SEED={seed}, {:?}\n{}\n{}\n{}",
            made.arguments(),
            faults.join("\n"),
            made.manifest(),
            project.read("events.jsonl"),
        );
    }
}

/// The judge is worth something only where it finds fault: with a line that is missing, that has
/// moved, or that says something else.
#[test]
fn the_judge_of_random_graphs_sees_what_is_wrong() {
    let goes_on = |made: &Made| made.mode == Mode::KeepGoing && made.targets.is_empty();
    let made = (1..).map(Made::up).find(goes_on).unwrap();
    let project = Project::new(&made.manifest());
    let (ran, events) = project.events(&made.arguments());
    let code = ran.code();
    assert_eq!(judge::judge(&made, code, &events), [] as [String; 0]);
    let objects = |events: Vec<Value>, code: i32| {
        let mut events = events;
        for (index, event) in events.iter_mut().enumerate() {
            event["seq"] = (index + 1).into();
        }
        !judge::judge(&made, code, &events).is_empty()
    };
    assert!(objects(events.clone(), 1 - code));

    let did_well = |task: &&Task| {
        let is_end =
            |event: &Value| event["task"] == *task.name && event["kind"] == "task_succeeded";
        task.does == Does::Succeed && !task.holds.is_empty() && events.iter().any(is_end)
    };
    let held = made.tasks.iter().find(did_well).unwrap().name.as_str();
    let place = |task: &str, kind: &str| {
        events.iter().position(|event| event["task"] == task && event["kind"] == kind).unwrap()
    };
    for kind in
        ["task_started", "task_succeeded", "process_exited", "hold_acquired", "hold_released"]
    {
        let mut fewer = events.clone();
        fewer.remove(place(held, kind));
        assert!(objects(fewer, code), "{kind} is not missed");
    }
    for (one, two) in [
        ("task_started", "task_succeeded"),
        ("process_exited", "task_succeeded"),
        ("hold_acquired", "process_started"),
        ("process_exited", "hold_released"),
    ] {
        let mut moved = events.clone();
        moved.swap(place(held, one), place(held, two));
        assert!(objects(moved, code), "{one} and {two} may change places");
    }
    let blames = |event: &Value| event["kind"] == "task_skipped" && event["upstream"].is_string();
    let skipped = events.iter().position(blames).unwrap();
    for (key, value) in [("upstream", events[skipped]["task"].clone()), ("cause", "stopped".into())]
    {
        let mut other = events.clone();
        other[skipped][key] = value;
        assert!(objects(other, code), "{key} may be anything");
    }
}
