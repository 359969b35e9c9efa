//! What the tasks themselves wrote, held against what was recorded at each kill.

use std::collections::{BTreeMap, BTreeSet};

use super::ORPHANS_ARE_GONE;
use super::made::{Made, Task};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    begins: bool,
    task: String,
    pub(super) start: u32,
    attempt: u32,
}

/// At some moment: how long the journal was, and which tasks had ended for good.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) lines: usize,
    pub(super) recorded: BTreeSet<String>,
}

impl Line {
    /// None of a line that is still being written, or that a kill has cut off.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, task, start, attempt] = words[..] else { return None };
        let begins = match word {
            "begin" => true,
            "end" => false,
            _ => return None,
        };
        let (start, attempt) = (start.parse().ok()?, attempt.parse().ok()?);
        Some(Self { begins, task: task.to_owned(), start, attempt })
    }
}

/// What is wrong with what the tasks did.
pub(super) fn judge(made: &Made, journal: &[Line], moments: &[Moment]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut running: BTreeMap<&str, &Line> = BTreeMap::new();
    let mut newest = 0;
    let holds: BTreeMap<&str, &str> =
        made.tasks.iter().filter_map(|task| Some((&*task.name, task.hold?))).collect();
    for (place, line) in journal.iter().enumerate() {
        if !seen.insert(line) {
            faults.push(format!("line {place}: {line:?} a second time"));
        }
        if line.start > newest {
            newest = line.start;
            // What a killed start left is judged by the lines that it still writes.
            running.clear();
        }
        if line.start < newest {
            if ORPHANS_ARE_GONE {
                faults.push(format!("line {place}: {line:?} beside start {newest}"));
            }
            continue;
        }
        if !line.begins {
            if running.remove(&*line.task).is_none_or(|begun| begun.attempt != line.attempt) {
                faults.push(format!("line {place}: {line:?} has not begun"));
            }
            continue;
        }
        if let Some(hold) = holds.get(&*line.task)
            && let Some(other) = running
                .keys()
                .find(|other| **other != line.task && holds.get(**other) == Some(hold))
        {
            faults.push(format!("line {place}: {line:?} has {hold}, as {other} has"));
        }
        if let Some(other) = running.insert(&line.task, line) {
            faults.push(format!("line {place}: {line:?} beside {other:?}"));
        }
    }
    for moment in moments {
        for line in journal.iter().skip(moment.lines) {
            if line.begins && moment.recorded.contains(&line.task) {
                faults.push(format!(
                    "{line:?}, and its end was recorded when there were {} lines",
                    moment.lines
                ));
            }
        }
    }
    faults
}

#[test]
fn the_judge_of_killed_runs_sees_what_is_wrong() {
    let made = Made::up(&mut crate::random::Dice(1));
    let is_other = |one: &Task, other: &Task| one.name != other.name && one.hold == other.hold;
    let held = made.tasks.iter().filter(|task| task.hold.is_some());
    let two = |one| Some((one, made.tasks.iter().find(|other| is_other(one, other))?));
    let (task, other) = held.filter_map(two).next().unwrap();
    let (task, other) = (task.name.as_str(), other.name.as_str());
    let faults = |lines: &[(&str, &str, u32, u32)], recorded: Option<usize>| {
        let lines: Vec<Line> = lines
            .iter()
            .map(|(word, task, start, attempt)| format!("{word} {task} {start} {attempt}"))
            .map(|line| Line::parse(&line).unwrap())
            .collect();
        let recorded = recorded
            .map(|lines| Moment { lines, recorded: [task.to_owned()].into_iter().collect() });
        judge(&made, &lines, recorded.as_slice()).len()
    };
    let (begin, end) = ("begin", "end");
    assert_eq!(faults(&[(begin, task, 1, 1), (end, task, 1, 1)], Some(2)), 0);
    // Interrupted, and done by a later start.
    let again = [(begin, task, 1, 1), (begin, task, 2, 1), (end, task, 2, 1)];
    assert_eq!(faults(&again, None), 0);
    assert_eq!(faults(&again, Some(1)), 1);
    // The same start and attempt.
    let same = [(begin, task, 1, 1), (end, task, 1, 1), (begin, task, 1, 1)];
    assert_eq!(faults(&same, None), 1);
    // Two attempts at a time, and two tasks under one hold.
    assert_eq!(faults(&[(begin, task, 1, 1), (begin, task, 1, 2)], None), 1);
    assert_eq!(faults(&[(begin, task, 1, 1), (begin, other, 1, 1)], None), 1);
    // An end without a beginning.
    assert_eq!(faults(&[(begin, task, 1, 1), (end, task, 1, 2)], None), 1);
    // What an earlier start left.
    let left = [(begin, task, 1, 1), (begin, other, 2, 1), (end, task, 1, 1)];
    assert_eq!(faults(&left, None), usize::from(ORPHANS_ARE_GONE));
}
