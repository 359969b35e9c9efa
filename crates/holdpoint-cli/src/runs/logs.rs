//! `logs`: what the tasks of a run have printed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use holdpoint::TaskName;
use holdpoint::event::Stream;
use holdpoint::process::{Rendering, escape};
use holdpoint::run::{Ending, Plan, RunInfo};
use holdpoint::session::StateName;
use holdpoint::store::Store;

use crate::args::{Common, LogsArgs};
use crate::failure::Failure;
use crate::workspace::Workspace;

use super::tasks::Story;
use super::watch::Watch;

/// How much is copied at a time.
const CHUNK: usize = 64 * 1024;

/// Prints what was printed.
pub(crate) fn logs(common: &Common, args: &LogsArgs) -> Result<Ending, Failure> {
    // Who follows wants to be told of the run's end, which who only reads is not.
    let workspace =
        if args.follow { Workspace::open(common)? } else { Workspace::open_to_read(common)? };
    let run = workspace.find(&args.name)?;
    let story = Story::read(&*workspace.store(), run.id).map_err(Failure::Read)?;
    let plan = workspace.plan_of(&run, None)?;
    let wanted: Option<TaskName> = match &args.task {
        None => None,
        Some(task) => {
            let found = plan.topology().find(task).map(|task| plan.name(task).clone());
            let nearest = plan.manifest().nearest_task(task).cloned();
            Some(found.ok_or_else(|| holdpoint::run::PlanError::UnknownTarget {
                target: task.clone(),
                nearest,
            })?)
        }
    };
    let folder = workspace.folder().join("logs").join(run.id.to_string());
    let mut printer = Printer::default();
    let tasks: Vec<TaskName> = match &wanted {
        Some(task) => vec![task.clone()],
        None => begun(&story, &plan, &folder),
    };
    let has_title = wanted.is_none();
    if args.follow {
        let wanted = wanted.as_ref();
        let follower = Follower { run: &run, plan: &plan, folder: &folder, wanted };
        workspace.block_on(follower.follow(&*workspace.store(), &mut printer))?;
        return Ok(Ending::Succeeded);
    }
    for task in &tasks {
        printer.print(&folder, task, has_title)?;
    }
    if !printer.has_printed && !folder.exists() {
        let _ = writeln!(io::stderr(), "run #{} has no logs", run.number);
    }
    Ok(Ending::Succeeded)
}

/// Follows a run until it has ended, or nobody runs it any more.
struct Follower<'a> {
    run: &'a RunInfo,
    plan: &'a Plan,
    folder: &'a Path,
    wanted: Option<&'a TaskName>,
}

impl Follower<'_> {
    async fn follow(&self, store: &dyn Store, printer: &mut Printer) -> Result<(), Failure> {
        let mut news = store.changes();
        let mut watch = Watch::new();
        loop {
            watch.look_at(self.folder);
            // First whether it goes on, then what it has written: so nothing is missed.
            let goes_on = self.goes_on(store)?;
            match self.wanted {
                Some(task) => printer.print(self.folder, task, false)?,
                None => {
                    let story = Story::read(store, self.run.id).map_err(Failure::Read)?;
                    for task in &begun(&story, self.plan, self.folder) {
                        printer.print(self.folder, task, true)?;
                    }
                }
            }
            if !goes_on {
                return Ok(());
            }
            tokio::select! {
                is_told = news.changed() => if !is_told { return Ok(()) },
                () = watch.changed() => {}
            }
        }
    }

    fn goes_on(&self, store: &dyn Store) -> Result<bool, Failure> {
        let info = store.info(&Stream::Session(self.run.id)).map_err(Failure::Read)?;
        let is_owned = info.owner.is_some_and(|owner| store.is_alive(owner));
        Ok(!info.state.is_terminal() && (is_owned || info.state == StateName::Planned))
    }
}

/// Prints files, each byte once.
#[derive(Default)]
struct Printer {
    files: Vec<(PathBuf, File)>,
    /// Of which of them something was printed last.
    last: Option<usize>,
    has_printed: bool,
}

impl Printer {
    /// What is new of a task, of all its attempts.
    fn print(&mut self, folder: &Path, task: &TaskName, has_title: bool) -> Result<(), Failure> {
        for path in files(folder, task) {
            let known = self.files.iter().position(|(known, _)| *known == path);
            let index = match known {
                Some(index) => index,
                None => {
                    let Ok(file) = File::open(&path) else { continue };
                    self.files.push((path, file));
                    self.files.len() - 1
                }
            };
            self.go_on(index, task, has_title)?;
        }
        Ok(())
    }

    /// What is new in one file, with a title where the last was of another.
    fn go_on(&mut self, index: usize, task: &TaskName, has_title: bool) -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read @ 1..) = self.files[index].1.read(&mut buffer) {
            if has_title && self.last != Some(index) {
                let title = title(&self.files[index].0, task);
                self.write(format!("==> {title}\n").as_bytes())?;
            }
            self.last = Some(index);
            self.write(&buffer[..read])?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.has_printed = true;
        let mut out = io::stdout().lock();
        let written = match Rendering::of(&io::stdout()) {
            Rendering::Raw => out.write_all(bytes),
            _ => {
                let mut shown = Vec::with_capacity(bytes.len());
                escape(bytes, true, &mut shown);
                out.write_all(&shown)
            }
        };
        written.and_then(|()| out.flush()).map_err(Failure::Output)
    }
}

/// The tasks that have begun. That one has is in the store a little later than its first output is
/// in its file.
fn begun(story: &Story, plan: &Plan, folder: &Path) -> Vec<TaskName> {
    let mut tasks = story.begun.clone();
    let all = plan.topology().tasks().map(|task| plan.name(task));
    let new = all.filter(|task| !story.begun.contains(*task) && !files(folder, task).is_empty());
    tasks.extend(new.cloned());
    tasks
}

/// The log files of a task, in the order of its attempts.
fn files(folder: &Path, task: &TaskName) -> Vec<PathBuf> {
    let name = task.to_string();
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let paths = entries.map(|entry| entry.path());
    let mut found: Vec<((u32, u32), PathBuf)> =
        paths.filter_map(|path| Some((attempt_in(&path, &name)?, path))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, path)| path).collect()
}

/// What stands above the output of an attempt: the task, and which attempt where there are others.
fn title(path: &Path, task: &TaskName) -> String {
    match attempt_in(path, &task.to_string()) {
        Some((1, attempt @ 2..)) => format!("{task}, attempt {attempt}"),
        Some((start @ 2.., 1)) => format!("{task}, start {start} of the run"),
        Some((start @ 2.., attempt)) => {
            format!("{task}, start {start} of the run, attempt {attempt}")
        }
        _ => task.to_string(),
    }
}

/// Start and attempt, of the log file of a task.
fn attempt_in(path: &Path, name: &str) -> Option<(u32, u32)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".log")?;
    attempt_of(stem.strip_prefix(name)?)
}

/// Start and attempt, of what stands behind a task's name.
fn attempt_of(rest: &str) -> Option<(u32, u32)> {
    if rest.is_empty() {
        return Some((1, 1));
    }
    let rest = rest.strip_prefix('@')?;
    match rest.split_once('.') {
        None => Some((1, rest.parse().ok()?)),
        Some((start, attempt)) => Some((start.parse().ok()?, attempt.parse().ok()?)),
    }
}
