//! `why`: what a run or a task waits for, or why it ended as it did.

use holdpoint::TaskName;
use holdpoint::graph::{EdgeKind, TaskId};
use holdpoint::run::{Ending, FindRunError, Plan, RunInfo, find_run, list_runs};
use holdpoint::session::StateName;

use crate::args::{Common, WhyArgs};
use crate::failure::Failure;
use crate::text::{plain, print, some};
use crate::workspace::Workspace;

use super::show::approve_with;
use super::tasks::{Asked, Row, Story, TaskState};

/// How many names are listed.
const NAMED: usize = 5;

/// Says why.
pub(crate) fn why(common: &Common, args: &WhyArgs) -> Result<Ending, Failure> {
    let workspace = Workspace::open_to_read(common)?;
    let store = workspace.store();
    let text = match find_run(&*store, &args.what) {
        Ok(run) => {
            let story = Story::read(&*store, run.id).map_err(Failure::Read)?;
            let plan = workspace.plan_of(&run, None)?;
            of_run(&run, &plan, &story, common)
        }
        Err(FindRunError::Unknown(_) | FindRunError::Malformed(_)) => {
            let mut runs = list_runs(&*store, 0).map_err(Failure::Read)?;
            runs.reverse();
            let mut found = None;
            for run in runs {
                // One that cannot be read is not to hide those before it.
                let Ok(plan) = workspace.plan_of(&run, None) else { continue };
                if let Some(task) = plan.topology().find(&args.what) {
                    found = Some((run, plan, task));
                    break;
                }
            }
            let Some((run, plan, task)) = found else {
                return Err(Failure::NoSuchThing(args.what.clone()));
            };
            let story = Story::read(&*store, run.id).map_err(Failure::Read)?;
            let why = of_task(&run, &plan, &story, task);
            format!("{why} (run #{})\n", run.number)
        }
        Err(error) => return Err(Failure::FindRun(error)),
    };
    print(&text).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

fn of_run(run: &RunInfo, plan: &Plan, story: &Story, common: &Common) -> String {
    let number = run.number;
    let again = |verb: &str| common.again(&format!("{verb} {number}"));
    let mut lines = Vec::new();
    match run.state {
        StateName::Planned => lines
            .push(format!("run #{number} is enqueued: nobody has begun it\n  {}", again("resume"))),
        StateName::Suspended => {
            lines
                .push(format!("run #{number} is suspended: nobody runs it\n  {}", again("resume")));
        }
        StateName::Paused => {
            let owner = if run.is_owned { "" } else { ", and nobody runs it" };
            lines.push(format!("run #{number} waits for an answer{owner}"));
        }
        StateName::Running => lines.push(format!("run #{number} runs")),
        StateName::Failed => lines.push(format!("run #{number} has failed")),
        StateName::Cancelled => lines.push(format!("run #{number} was cancelled")),
        state => lines.push(format!("run #{number} is {state}")),
    }
    let open: Vec<&Asked> = story.open().filter(|_| !run.state.is_terminal()).collect();
    for asked in &open {
        let prompt = plain(&asked.question.prompt);
        let command = approve_with(common, run, asked, open.len());
        lines.push(format!("  {}: {prompt}\n  {command}", asked.question.name));
    }
    let is_worth_it = |row: &Row| match row.state {
        TaskState::Failed | TaskState::Errored | TaskState::Running | TaskState::Waiting => true,
        TaskState::Cancelled => row.upstream.is_none(),
        _ => false,
    };
    for task in plan.topology().tasks() {
        if story.tasks.get(plan.name(task)).is_some_and(is_worth_it) {
            lines.push(format!("  {}", of_task(run, plan, story, task)));
        }
    }
    lines.join("\n") + "\n"
}

/// One sentence about a task.
fn of_task(run: &RunInfo, plan: &Plan, story: &Story, task: TaskId) -> String {
    let name = plan.name(task);
    let empty = Row::default();
    let row = story.tasks.get(name).unwrap_or(&empty);
    let said = row.message.as_deref().map(|text| format!(": {}", plain(text)));
    let said = said.unwrap_or_default();
    let upstream = row.upstream.as_ref().map(TaskName::to_string).unwrap_or_default();
    match row.state {
        TaskState::Succeeded if row.is_cached => format!("{name} was restored from the cache"),
        TaskState::Succeeded => format!("{name} has succeeded"),
        TaskState::Failed => format!("{name} has failed{said}"),
        TaskState::Errored => format!("{name} could not be done{said}"),
        TaskState::Running if run.is_owned => {
            let pid = row.pid.map(|pid| format!(", as process {pid}")).unwrap_or_default();
            format!("{name} runs{pid}, attempt {}", row.attempt)
        }
        TaskState::Waiting if run.is_owned => {
            let holds: Vec<String> = row.holds.iter().map(|hold| hold.name.to_string()).collect();
            format!("{name} waits for {}", holds.join(", "))
        }
        TaskState::Skipped => match row.cause {
            Some("stopped") => {
                format!("{name} was not begun: the run stopped when {upstream} failed")
            }
            Some("condition") => format!("{name} was skipped by its condition{said}"),
            _ => format!("{name} was skipped because of {upstream}"),
        },
        TaskState::Cancelled if row.upstream.is_some() => {
            format!("{name} was cancelled because of {upstream}")
        }
        TaskState::Cancelled => format!("{name} was cancelled{said}"),
        TaskState::Pending | TaskState::Running | TaskState::Waiting => {
            pending(run, plan, story, task)
        }
    }
}

fn pending(run: &RunInfo, plan: &Plan, story: &Story, task: TaskId) -> String {
    let name = plan.name(task);
    if story.asks_for(name) {
        return format!("{name} waits for an answer");
    }
    let has_ended =
        |task: TaskId| story.tasks.get(plan.name(task)).is_some_and(|row| row.state.has_ended());
    let topology = plan.topology();
    let needs = |before: &TaskId| {
        topology.successors(*before).any(|(next, _): (TaskId, EdgeKind)| next == task)
    };
    let open: Vec<String> = topology
        .tasks()
        .filter(needs)
        .filter(|before| !has_ended(*before))
        .map(|before| plan.name(before).to_string())
        .collect();
    if !open.is_empty() {
        return format!("{name} waits for {}", some(&open, NAMED));
    }
    match run.state {
        StateName::Running | StateName::Paused if run.is_owned => {
            format!("{name} is ready and waits for a slot")
        }
        StateName::Planned => format!("{name} has not begun: nobody has begun the run"),
        _ => format!("{name} has not begun: nobody runs the run"),
    }
}
