//! The command without a name: the tasks of the manifest.

use std::fmt::Write as _;

use holdpoint::manifest::{Manifest, Task};
use holdpoint::run::Ending;
use serde::Serialize;

use crate::args::Cli;
use crate::failure::Failure;
use crate::load::load;
use crate::text::{plain, print};

/// Prints the tasks in the order of the manifest.
pub(crate) fn list(cli: &Cli) -> Result<Ending, Failure> {
    let manifest = load(&cli.common)?;
    let text = if cli.json { as_json(&manifest) } else { as_text(&manifest) };
    print(&text).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

/// A row for each task: a mark where it runs by default, its name, what it is for.
pub(crate) fn as_text(manifest: &Manifest) -> String {
    let mut text = String::new();
    let names = manifest.tasks().iter().map(|task| task.name.value.as_str().len());
    let width = names.max().unwrap_or_default();
    for task in manifest.tasks() {
        let mark = if is_default(manifest, task) { '*' } else { ' ' };
        let desc = plain(task.desc.as_deref().unwrap_or_default());
        let row = format!("{mark} {:width$}  {desc}", task.name.value);
        let _ = writeln!(text, "{}", row.trim_end());
    }
    let note = match (manifest.tasks().is_empty(), manifest.default_targets().is_empty()) {
        (true, _) => "there are no tasks yet",
        (false, true) => "`holdpoint run NAME` runs a task and what it needs",
        (false, false) => "`holdpoint run` runs *, `holdpoint run NAME` a task and what it needs",
    };
    let gap = if text.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{gap}{note}");
    text
}

#[derive(Serialize)]
struct Row<'m> {
    task: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<&'m str>,
    default: bool,
}

fn as_json(manifest: &Manifest) -> String {
    let rows = manifest.tasks().iter().map(|task| Row {
        task: task.name.value.as_str(),
        desc: task.desc.as_deref(),
        default: is_default(manifest, task),
    });
    json(&rows.collect::<Vec<_>>())
}

/// A value as the last word of a command: indented, and with a line break at its end.
pub(crate) fn json(value: &impl Serialize) -> String {
    // Rows of texts and numbers: nothing in them can fail to be JSON.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn is_default(manifest: &Manifest, task: &Task) -> bool {
    manifest.default_targets().iter().any(|target| target.value == task.name.value)
}
