//! `show`: one run, its tasks and its questions.

use std::fmt::Write as _;
use std::time::Duration;

use holdpoint::run::{Ending, Plan, RunInfo};
use holdpoint::session::StateName;
use holdpoint::{TaskName, Timestamp};
use serde::Serialize;

use crate::args::{Common, ShowArgs};
use crate::failure::Failure;
use crate::list::json;
use crate::text::{ago, plain, print, short, took};
use crate::workspace::Workspace;

use super::tasks::{Asked, Row, Story, TaskState};

/// The columns of a timeline.
const COLUMNS: u64 = 50;

/// Shows a run.
pub(crate) fn show(common: &Common, args: &ShowArgs) -> Result<Ending, Failure> {
    let workspace = Workspace::open_to_read(common)?;
    let run = workspace.find(&args.name)?;
    let story = Story::read(&*workspace.store(), run.id).map_err(Failure::Read)?;
    let plan = workspace.plan_of(&run, None)?;
    let text = match (args.json, args.timeline) {
        (true, _) => as_json(&workspace, &run, &plan, &story)?,
        (false, true) => timeline(&run, &story),
        (false, false) => as_text(&run, &plan, &story, common),
    };
    print(&text).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

#[derive(Serialize)]
struct Shown {
    run: u64,
    id: String,
    state: String,
    attempt: u32,
    created_at: Timestamp,
    updated_at: Timestamp,
    targets: Vec<String>,
    tasks: Vec<Task>,
    questions: Vec<Question>,
}

#[derive(Serialize)]
struct Task {
    task: String,
    state: &'static str,
    source: Option<&'static str>,
    attempt: u32,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    exit_code: Option<i32>,
    cause: Option<String>,
    upstream: Option<String>,
}

#[derive(Serialize)]
struct Question {
    id: u32,
    task: Option<String>,
    prompt: String,
    asked_at: Timestamp,
    answered_at: Option<Timestamp>,
    answer: Option<String>,
    by: Option<String>,
    reason: Option<String>,
    withdrawn: bool,
}

/// The tasks of a run in canonical order, each as far as it is.
pub(crate) fn rows(run: &RunInfo, plan: &Plan, story: &Story) -> Vec<(TaskName, Row)> {
    plan.topology()
        .tasks()
        .map(|task| {
            let name = plan.name(task).clone();
            let mut row = story.tasks.get(&name).cloned().unwrap_or_default();
            if !row.state.has_ended() && run.state == StateName::Cancelled {
                // Nobody ran it when it was cancelled, and so nobody told of its tasks.
                row = Row { state: TaskState::Cancelled, ..Row::default() };
            } else if row.state == TaskState::Pending && story.asks_for(&name) {
                row.state = TaskState::Waiting;
                row.message = Some("for an answer".to_owned());
            }
            (name, row)
        })
        .collect()
}

fn as_json(
    workspace: &Workspace,
    run: &RunInfo,
    plan: &Plan,
    story: &Story,
) -> Result<String, Failure> {
    let task = |(name, row): (TaskName, Row)| Task {
        task: name.to_string(),
        state: row.state.name(),
        source: (row.state == TaskState::Succeeded).then_some(if row.is_cached {
            "cache"
        } else {
            "fresh"
        }),
        attempt: row.attempt,
        started_at: row.started_at,
        finished_at: row.finished_at,
        exit_code: row.exit_code,
        cause: row.cause.map(str::to_owned).or(row.message.filter(|_| row.state.has_ended())),
        upstream: row.upstream.map(|task| task.to_string()),
    };
    let question = |asked: &Asked| Question {
        id: asked.question.id.0,
        task: asked.question.task.as_ref().map(ToString::to_string),
        prompt: asked.question.prompt.to_string(),
        asked_at: asked.question.asked_at,
        answered_at: asked.answered_at,
        answer: asked.answer.clone(),
        by: asked.by.clone(),
        reason: asked.reason.clone(),
        withdrawn: asked.is_withdrawn,
    };
    Ok(json(&Shown {
        run: run.number,
        id: run.id.to_string(),
        state: run.state.to_string(),
        attempt: story.attempt,
        created_at: run.stream.created_at,
        updated_at: run.stream.updated_at,
        targets: workspace.planned(run)?.targets,
        tasks: rows(run, plan, story).into_iter().map(task).collect(),
        questions: story.questions.iter().map(question).collect(),
    }))
}

fn as_text(run: &RunInfo, plan: &Plan, story: &Story, common: &Common) -> String {
    let state = run.state;
    let targets: Vec<String> = plan.targets().iter().map(ToString::to_string).collect();
    let mut text = format!(
        "run #{}  {state}  {}  {}\n{}\n\n",
        run.number,
        ago(run.stream.updated_at),
        short(&targets.join(" "), 60),
        run.id
    );
    let rows = rows(run, plan, story);
    let width = rows.iter().map(|(name, _)| name.to_string().len()).max().unwrap_or_default();
    for (name, row) in &rows {
        let name = name.to_string();
        let line = format!("  {name:width$}  {:9}  {}", row.state.name(), detail(row));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let open: Vec<&Asked> = story.open().collect();
    if !run.state.is_terminal() && !open.is_empty() {
        text.push('\n');
        for asked in &open {
            let prompt = plain(&asked.question.prompt);
            let _ = writeln!(text, "{} asks: {prompt}", asked.question.name);
            let _ = writeln!(text, "  {}", approve_with(common, run, asked, open.len()));
        }
    }
    let answered = story.questions.iter().filter(|asked| asked.answered_at.is_some());
    for (index, asked) in answered.enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}{} was {}", asked.question.name, asked.how());
    }
    if matches!(run.state, StateName::Suspended | StateName::Planned) {
        let _ = writeln!(text, "\n{}", common.again(&format!("resume {}", run.number)));
    } else if matches!(run.state, StateName::Failed | StateName::Cancelled) {
        let _ = writeln!(text, "\n{}", common.again(&format!("retry {}", run.number)));
    }
    text
}

/// The command that answers an open question with yes; where it is not the only one, by its name.
pub(crate) fn approve_with(common: &Common, run: &RunInfo, asked: &Asked, open: usize) -> String {
    let which = if open > 1 { format!(" {}", asked.question.name) } else { String::new() };
    common.again(&format!("approve {}{which}", run.number))
}

/// What there is to say of a task beside its state.
pub(crate) fn detail(row: &Row) -> String {
    let time = lasted(row).map(took);
    let said = row.message.as_deref().map(|message| short(message, 60));
    let cached = row.is_cached.then(|| "from cache".to_owned());
    let kept = row.is_kept.then(|| "as before".to_owned());
    let tries = (row.attempt > 1).then(|| format!("attempt {}", row.attempt));
    let upstream = row.upstream.as_ref().map(|task| format!("because of {task}"));
    let holds = (!row.holds.is_empty()).then(|| {
        let names: Vec<String> = row.holds.iter().map(|hold| hold.name.to_string()).collect();
        format!("for {}", names.join(", "))
    });
    let parts = [holds, said, upstream, cached, kept, tries, time];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// From when the task began to its end.
pub(crate) fn lasted(row: &Row) -> Option<Duration> {
    let (start, end) = row.started_at.zip(row.finished_at)?;
    Some(Duration::from_micros(end.as_micros().saturating_sub(start.as_micros())))
}

/// When each task ran, as bars over the time of the run.
fn timeline(run: &RunInfo, story: &Story) -> String {
    let bars = story.begun.iter().filter_map(|task| Some((task, story.tasks.get(task)?)));
    let mut bars: Vec<(&TaskName, &Row)> = bars.filter(|(_, row)| !row.is_kept).collect();
    bars.sort_by_key(|(_, row)| row.started_at);
    let starts = bars.iter().filter_map(|(_, row)| row.started_at).min();
    let ends = bars.iter().filter_map(|(_, row)| row.finished_at).max();
    let (Some(first), Some(last)) = (starts, ends.max(starts)) else {
        return format!("run #{}: no task has begun\n", run.number);
    };
    let span = last.as_micros().saturating_sub(first.as_micros()).max(1);
    let column = |at: Timestamp| at.as_micros().saturating_sub(first.as_micros()) * COLUMNS / span;
    let width = bars.iter().map(|(name, _)| name.to_string().len()).max().unwrap_or_default();
    let total = took(Duration::from_micros(span));
    let mut text = format!("run #{}  {total}\n\n", run.number);
    for (name, row) in bars {
        let Some(start) = row.started_at else { continue };
        let from = column(start).min(COLUMNS - 1);
        let to = row.finished_at.map_or(COLUMNS, column).clamp(from + 1, COLUMNS);
        let mark = match row.state {
            TaskState::Succeeded => '=',
            TaskState::Failed | TaskState::Errored => 'x',
            _ => '-',
        };
        let bar: String =
            (0..COLUMNS).map(|at| if (from..to).contains(&at) { mark } else { ' ' }).collect();
        let time = lasted(row).map_or_else(|| "runs".to_owned(), took);
        let name = name.to_string();
        let _ = writeln!(text, "  {name:width$}  |{bar}|  {time}");
    }
    text
}
