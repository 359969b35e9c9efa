//! What a graph refuses, as diagnostics at the place in the manifest that asked for it.

use holdpoint_core::Name;
use holdpoint_graph::Fault;
use holdpoint_manifest::{Diagnostic, Located, Location, Manifest, Task};

/// Edges of a cycle that are listed with their places; a longer one is only shown by its names.
const LISTED_EDGES: usize = 8;

/// Says of each fault of a graph where in the manifest it comes from.
pub(crate) fn of_graph(manifest: &Manifest, faults: &[Fault]) -> Vec<Diagnostic> {
    let diagnose = |fault: &Fault| match fault {
        Fault::Cycle { tasks } => of_cycle(manifest, tasks, fault),
        Fault::Hold { task, .. } | Fault::Setting { task, .. } => {
            let place = manifest.task(task).map(|task| task.name.location);
            manifest.diagnostic(place.unwrap_or(TOP), fault.to_string(), None)
        }
        // What else a graph may refuse a checked manifest does not ask for.
        _ => manifest.diagnostic(TOP, fault.to_string(), None),
    };
    faults.iter().map(diagnose).collect()
}

/// The tasks among these that take more slots than there are, and so could never start.
pub(crate) fn of_weights(manifest: &Manifest, positions: &[usize], slots: u32) -> Vec<Diagnostic> {
    let tasks = positions.iter().map(|&position| &manifest.tasks()[position]);
    let heavy = tasks.filter(|task| task.weight.value.get() > slots);
    heavy.map(|task| of_weight(manifest, task, slots)).collect()
}

const TOP: Location = Location::new(1, 1);

/// The fault is shown at its first edge; where the others are written is the help.
fn of_cycle(manifest: &Manifest, tasks: &[String], fault: &Fault) -> Diagnostic {
    let nexts = tasks.iter().cycle().skip(1);
    let edges: Vec<Edge<'_>> = tasks
        .iter()
        .zip(nexts)
        .filter_map(|(task, next)| Edge::find(manifest.task(task)?, next))
        .collect();
    let place = edges.first().map_or(TOP, |edge| edge.to.location);
    let help = (edges.len() <= LISTED_EDGES).then(|| {
        let listed: Vec<String> = edges.iter().map(Edge::describe).collect();
        format!("one of these must go: {}", listed.join(", "))
    });
    manifest.diagnostic(place, fault.to_string(), help)
}

/// An edge as the manifest says it.
struct Edge<'m> {
    task: &'m Name,
    verb: &'static str,
    to: &'m Located<Name>,
}

impl<'m> Edge<'m> {
    fn find(task: &'m Task, next: &str) -> Option<Self> {
        let lists = [
            ("needs", &task.needs),
            ("comes after", &task.after),
            ("comes finally after", &task.finally),
        ];
        lists.into_iter().find_map(|(verb, list)| {
            let to = list.iter().find(|to| to.value.as_str() == next)?;
            Some(Self { task: &task.name.value, verb, to })
        })
    }

    fn describe(&self) -> String {
        let Self { task, verb, to } = self;
        format!("`{task}` {verb} `{}` (line {})", to.value, to.location.line)
    }
}

fn of_weight(manifest: &Manifest, task: &Task, slots: u32) -> Diagnostic {
    let weight = task.weight.value;
    let there_are = if slots == 1 { "there is 1".into() } else { format!("there are {slots}") };
    let message = format!(
        "`{}` takes {weight} slots, but {there_are}: it could never start",
        task.name.value
    );
    let help = format!("give the run more slots with `-j {weight}`, or the task a lower `weight`");
    manifest.diagnostic(task.weight.location, message, Some(help))
}
