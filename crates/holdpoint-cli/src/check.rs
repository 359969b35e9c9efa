//! `holdpoint check`, and what `run -n` prints: what would run, and in which order.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use holdpoint::manifest::{Action, Diagnostic, Manifest, Task};
use holdpoint::run::{Ending, Plan, PlanError, Targets};
use serde::Serialize;

use crate::args::{CheckArgs, Request};
use crate::failure::Failure;
use crate::list::json;
use crate::load::{load, nearby};
use crate::text::{print, short, some, tasks};

/// How much of a command a row shows, in characters.
const COMMAND: usize = 60;

/// Targets that are named before the rest is counted.
const TARGETS: usize = 8;

/// Looks for mistakes, and lists what a run of the targets would start.
pub(crate) fn check(request: &Request, args: &CheckArgs) -> Result<Ending, Failure> {
    let result = checked(request);
    let answer = match &result {
        Ok(checked) if args.json => json(&checked.answer()),
        Ok(checked) => checked.text(),
        Err(failure) if args.json => json(&Answer::of_failure(failure)),
        Err(_) => String::new(),
    };
    print(&answer).map_err(Failure::Output)?;
    result.map(|_| Ending::Succeeded)
}

/// What would run, one row a task, in the order of a run with one slot.
pub(crate) fn order(plan: &Plan) -> String {
    let mut text = String::new();
    let targets: Vec<String> = plan.targets().iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "a run of {} would start, in this order:", some(&targets, TARGETS));
    let names = plan.order().map(|id| plan.task(id).name.value.as_str().len());
    let width = names.max().unwrap_or_default();
    for task in plan.order().map(|id| plan.task(id)) {
        let does = command(task).map_or("(a group)".to_owned(), |command| short(&command, COMMAND));
        let _ = writeln!(text, "  {:width$}  {does}", task.name.value);
    }
    text
}

/// What a task runs, in one row; none for a group.
pub(crate) fn command(task: &Task) -> Option<String> {
    Some(match task.action.as_ref()? {
        Action::Shell { script } => script.trim().replace('\n', "; "),
        Action::Exec { program, args } => {
            [std::slice::from_ref(program), args.as_slice()].concat().join(" ")
        }
    })
}

/// A manifest without mistakes. It may have no tasks, and then there is no plan.
struct Checked {
    manifest: Arc<Manifest>,
    plan: Option<Plan>,
}

fn checked(request: &Request) -> Result<Checked, Failure> {
    let manifest = load(&request.cli.common)?;
    let targets = match &request.targets {
        Targets::Default if manifest.default_targets().is_empty() => &Targets::All,
        targets => targets,
    };
    match Plan::new(Arc::clone(&manifest), targets, None) {
        Err(PlanError::NoTargets) => Ok(Checked { manifest, plan: None }),
        plan => Ok(Checked { manifest, plan: Some(plan?) }),
    }
}

impl Checked {
    fn file(&self) -> PathBuf {
        nearby(self.manifest.path().to_owned())
    }

    fn text(&self) -> String {
        let count = tasks(self.manifest.tasks().len());
        let order = self.plan.as_ref().map(order).unwrap_or_default();
        format!("{}: no mistakes, {count}\n{order}", self.file().display())
    }

    fn answer(&self) -> Answer<'_> {
        let plan = self.plan.as_ref();
        let targets = plan.map(Plan::targets).unwrap_or_default();
        let ids = plan.into_iter().flat_map(|plan| plan.order().map(|id| plan.task(id)));
        Answer {
            ok: true,
            file: Some(self.file()),
            targets: targets.iter().map(|name| name.as_str()).collect(),
            tasks: ids.map(Row::of).collect(),
            faults: Vec::new(),
        }
    }
}

/// What `check --json` prints.
#[derive(Serialize, Default)]
struct Answer<'m> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    targets: Vec<&'m str>,
    /// In the order in which they would start.
    tasks: Vec<Row<'m>>,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Row<'m> {
    task: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    needs: Vec<&'m str>,
    after: Vec<&'m str>,
    finally: Vec<&'m str>,
    tags: Vec<&'m str>,
    holds: Vec<String>,
    weight: u32,
}

#[derive(Serialize)]
struct Fault {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Answer<'_> {
    fn of_failure(failure: &Failure) -> Self {
        let mut faults: Vec<Fault> = failure.faults().into_iter().map(Fault::of).collect();
        if faults.is_empty() {
            let message = failure.message();
            faults.push(Fault { file: None, line: None, column: None, message, help: None });
        }
        Self { faults, ..Self::default() }
    }
}

impl<'m> Row<'m> {
    fn of(task: &'m Task) -> Self {
        let names = |names: &'m [_]| names.iter().map(text_of).collect();
        Self {
            task: task.name.value.as_str(),
            desc: task.desc.as_deref(),
            command: command(task),
            needs: names(&task.needs),
            after: names(&task.after),
            finally: names(&task.finally),
            tags: names(&task.tags),
            holds: task.holds.iter().map(|used| used.hold.to_string()).collect(),
            weight: task.weight.value.get(),
        }
    }
}

fn text_of(name: &holdpoint::manifest::Located<holdpoint::Name>) -> &str {
    name.value.as_str()
}

impl Fault {
    fn of(fault: &Diagnostic) -> Self {
        Self {
            file: Some(fault.file().to_owned()),
            line: Some(fault.location.line),
            column: Some(fault.location.column),
            message: fault.message.clone(),
            help: fault.help.clone(),
        }
    }
}
