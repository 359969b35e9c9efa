//! `ps`: the runs that have not ended, the newest first.

use std::fmt::Write as _;

use holdpoint::Timestamp;
use holdpoint::run::{Ending, RunInfo, list_runs};
use holdpoint::session::StateName;
use holdpoint::store::OpenError;
use serde::Serialize;

use crate::args::{Common, PsArgs};
use crate::failure::Failure;
use crate::list::json;
use crate::text::{ago, plain, print, short};
use crate::workspace::Workspace;

use super::show::approve_with;
use super::tasks::{Asked, Story};

/// Lists runs.
pub(crate) fn ps(common: &Common, args: &PsArgs) -> Result<Ending, Failure> {
    let workspace = match Workspace::open_to_read(common) {
        Ok(workspace) => Some(workspace),
        // Nothing has ever been run here.
        Err(Failure::Open(OpenError::Missing { .. })) => None,
        Err(failure) => return Err(failure),
    };
    let mut runs = Vec::new();
    if let Some(workspace) = &workspace {
        runs = list_runs(&*workspace.store(), 0).map_err(Failure::Read)?;
        runs.retain(|run| args.all || !run.state.is_terminal());
        runs.reverse();
    }
    let text = match (&workspace, args.json) {
        (Some(workspace), true) => as_json(workspace, &runs),
        (Some(workspace), false) => as_text(workspace, &runs, common, args),
        (None, true) => "[]\n".to_owned(),
        (None, false) => "nothing has been run here yet\n".to_owned(),
    };
    print(&text).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

#[derive(Serialize)]
struct Row {
    run: u64,
    id: String,
    state: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    targets: Vec<String>,
}

/// The targets of a run; none where they cannot be read, which the list is not to fail by.
fn targets(workspace: &Workspace, run: &RunInfo) -> Vec<String> {
    workspace.planned(run).map(|planned| planned.targets).unwrap_or_default()
}

fn as_json(workspace: &Workspace, runs: &[RunInfo]) -> String {
    let rows = runs.iter().map(|run| Row {
        run: run.number,
        id: run.id.to_string(),
        state: run.state.to_string(),
        created_at: run.stream.created_at,
        updated_at: run.stream.updated_at,
        targets: targets(workspace, run),
    });
    json(&rows.collect::<Vec<_>>())
}

fn as_text(workspace: &Workspace, runs: &[RunInfo], common: &Common, args: &PsArgs) -> String {
    if runs.is_empty() {
        let more = if args.all { "" } else { "; `holdpoint ps --all` lists those that have ended" };
        return format!("nothing runs and nothing waits{more}\n");
    }
    let mut text = String::new();
    let width = runs[0].number.to_string().len() + 1;
    for run in runs {
        let number = format!("#{}", run.number);
        let when = ago(run.stream.updated_at);
        let names = short(&targets(workspace, run).join(" "), 40);
        let row = format!("{number:>width$}  {:9}  {when:>9}  {names}", word(run));
        let _ = writeln!(text, "{}", row.trim_end());
        let gap = " ".repeat(width);
        let open = waits(workspace, run);
        for asked in &open {
            let prompt = plain(&asked.question.prompt);
            let _ = writeln!(text, "{gap}    {}: {prompt}", asked.question.name);
            let _ = writeln!(text, "{gap}    {}", approve_with(common, run, asked, open.len()));
        }
        if matches!(run.state, StateName::Suspended | StateName::Planned) {
            let _ = writeln!(text, "{gap}    {}", common.again(&format!("resume {}", run.number)));
        }
    }
    text
}

/// Where it stands, in one word.
fn word(run: &RunInfo) -> String {
    match run.state {
        StateName::Planned => "enqueued".to_owned(),
        state => state.to_string(),
    }
}

/// What a paused run asks.
fn waits(workspace: &Workspace, run: &RunInfo) -> Vec<Asked> {
    if run.state != StateName::Paused {
        return Vec::new();
    }
    let Ok(story) = Story::read(&*workspace.store(), run.id) else { return Vec::new() };
    story.open().cloned().collect()
}
