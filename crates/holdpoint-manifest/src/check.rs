//! What the parts of a manifest have to do with one another.

use std::collections::{HashMap, HashSet};

use holdpoint_core::Name;

use crate::diagnostic::Kind;
use crate::faults::{Faults, did_you_mean};
use crate::location::Located;
use crate::model::{HoldMode, Jobs, Limits, Task};
use crate::read::Draft;

/// Reports what contradicts itself in `draft`.
pub(crate) fn check(draft: &Draft, faults: &mut Faults<'_>) {
    let names: HashSet<&Name> = draft.tasks.iter().map(|task| &task.name.value).collect();
    let known = Known { tasks: &draft.tasks, names };
    for target in &draft.default {
        known.must_have(target, faults);
    }
    for task in &draft.tasks {
        edges(task, &known, faults);
        weight(task, &draft.limits, faults);
        holds(task, &draft.limits, faults);
    }
}

/// The tasks there are.
struct Known<'d> {
    tasks: &'d [Task],
    names: HashSet<&'d Name>,
}

impl Known<'_> {
    fn must_have(&self, name: &Located<Name>, faults: &mut Faults<'_>) {
        if self.names.contains(&name.value) {
            return;
        }
        let message = format!("there is no task `{}`", name.value);
        faults.add(Kind::Invalid, name.location, message, || {
            let names = self.tasks.iter().map(|task| task.name.value.as_str());
            did_you_mean(name.value.as_str(), names)
        });
    }
}

/// Each other task exists, is not the task itself, and stands in one list only: `needs`, `after`
/// and `finally` say different things about when and whether it runs.
fn edges(task: &Task, known: &Known<'_>, faults: &mut Faults<'_>) {
    let own = &task.name.value;
    let mut listed: HashMap<&Name, &str> = HashMap::new();
    for (key, names) in [("needs", &task.needs), ("after", &task.after), ("finally", &task.finally)]
    {
        for name in names {
            if name.value == *own {
                faults.invalid(name.location, format!("`{own}` stands in its own `{key}`"));
                continue;
            }
            known.must_have(name, faults);
            if let Some(other) = listed.insert(&name.value, key) {
                let message = format!("`{}` stands in `{other}` and in `{key}`", name.value);
                faults.invalid_but(name.location, message, "keep the one that is meant");
            }
        }
    }
}

/// A task that takes more slots than there are would wait for ever.
fn weight(task: &Task, limits: &Limits, faults: &mut Faults<'_>) {
    let Jobs::Fixed(jobs) = limits.jobs else { return };
    if task.weight.value > jobs {
        let message = format!(
            "`{}` takes {} slots, but `limits.jobs` is {jobs}: it could never start",
            task.name.value, task.weight.value
        );
        faults.invalid(task.weight.location, message);
    }
}

/// HOLD-009, and what of shared and counted goes together (HOLD-002).
fn holds(task: &Task, limits: &Limits, faults: &mut Faults<'_>) {
    let mut taken = HashSet::new();
    for hold in &task.holds {
        let name = &hold.hold;
        if !taken.insert(name) {
            let message = format!("`{}` names the hold `{name}` twice", task.name.value);
            faults.invalid(hold.location, message);
        }
        let capacity = limits.holds.get(name).map(|capacity| capacity.value);
        match (hold.mode, capacity) {
            (HoldMode::Units(units), Some(capacity)) if units > capacity => {
                let message = format!(
                    "`{}` takes {units} units of `{name}`, which has {capacity}: it could never start",
                    task.name.value
                );
                faults.invalid(hold.location, message);
            }
            (HoldMode::Units(_), None) => {
                let message = format!("`{name}` has no units: its capacity is not declared");
                let help = format!("declare it: `limits: {{ holds: {{ \"{name}\": 4 }} }}`");
                faults.invalid_but(hold.location, message, help);
            }
            (HoldMode::Shared, Some(_)) => {
                let message = format!("`{name}` is counted by `limits.holds`: it cannot be shared");
                let help = "take `units: 1` of it";
                faults.invalid_but(hold.location, message, help);
            }
            _ => {}
        }
    }
}
