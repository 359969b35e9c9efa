//! `run`, `resume` and `retry`: a run carried out in this process, watched and summed up; and
//! `enqueue` and `--detach`, which leave that to another.

mod events;
mod prompt;
mod signals;

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdpoint::graph::OnFailure;
use holdpoint::run::{
    Again, Ending, Hooks, Plan, PlanError, Run, RunEnd, RunError, RunInfo, RunOptions, Runs,
    Settings,
};
use holdpoint::session::SessionState;
use holdpoint::{Cancel, CancelCode};

use crate::args::{Common, EnqueueArgs, How, Request, ResumeArgs, RetryArgs, RunArgs};
use crate::check::order;
use crate::console::{Console, Look, Writer};
use crate::failure::Failure;
use crate::list;
use crate::load::load;
use crate::text::{plain, print};
use crate::workspace::Workspace;

use events::Events;
use prompt::Prompt;
use signals::Signals;

/// What is to be carried out.
enum Job {
    Start(Plan),
    Resume(RunInfo),
    Retry(RunInfo, Again),
}

/// Runs the targets to their end.
pub(crate) fn run(request: &Request, args: &RunArgs) -> Result<Ending, Failure> {
    let plan = plan(request, args.how.jobs)?;
    if args.dry_run {
        print(&order(&plan)).map_err(Failure::Output)?;
        return Ok(Ending::Succeeded);
    }
    if args.detach {
        return detach(&plan, request, &args.how);
    }
    carry_out(Job::Start(plan), request, &args.how)
}

/// Registers a run, and prints its number.
pub(crate) fn enqueue(request: &Request, _: &EnqueueArgs) -> Result<Ending, Failure> {
    let plan = plan(request, None)?;
    let number = register(&plan, request)?;
    print(&format!("{number}\n")).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

/// Goes on with a run.
pub(crate) fn resume(request: &Request, args: &ResumeArgs) -> Result<Ending, Failure> {
    let run = Workspace::open(&request.cli.common)?.find(&args.name)?;
    carry_out(Job::Resume(run), request, &args.how)
}

/// Makes another attempt of a run.
pub(crate) fn retry(request: &Request, args: &RetryArgs) -> Result<Ending, Failure> {
    let run = Workspace::open(&request.cli.common)?.find(&args.name)?;
    let again = match (args.all, args.from.is_empty()) {
        (true, _) => Again::All,
        (false, true) => Again::Failed,
        (false, false) => Again::From(args.from.clone()),
    };
    carry_out(Job::Retry(run, again), request, &args.how)
}

fn plan(request: &Request, jobs: Option<std::num::NonZeroU32>) -> Result<Plan, Failure> {
    let manifest = load(&request.cli.common)?;
    match Plan::new(Arc::clone(&manifest), &request.targets, jobs) {
        Err(PlanError::NoTargets) => {
            let _ = io::stderr().write_all(list::as_text(&manifest).as_bytes());
            Err(PlanError::NoTargets.into())
        }
        plan => Ok(plan?),
    }
}

fn register(plan: &Plan, request: &Request) -> Result<u64, Failure> {
    let workspace = Workspace::open_or_make(&request.cli.common)?;
    let policy = request.on_failure.unwrap_or(OnFailure::Stop);
    workspace.block_on(async {
        let runs = Runs::open(Some(workspace.store()), RunOptions::default()).await?;
        let run = runs.enqueue(plan, policy).await?;
        run.number().ok_or(Failure::NoNumber)
    })
}

/// Leaves the run to a process of its own.
fn detach(plan: &Plan, request: &Request, how: &How) -> Result<Ending, Failure> {
    // What cannot be written is told of here, where somebody reads it.
    let events = match &how.events {
        Some(path) if how.events_take_stdout() => {
            let error = io::Error::other("a run in the background has no standard output");
            return Err(Failure::Events(path.clone(), error));
        }
        Some(path) => {
            let path = absolute(&request.cli.common.path(path)?)?;
            let file = std::fs::File::create(&path);
            file.map_err(|error| Failure::Events(path.clone(), error))?;
            Some(path)
        }
        None => None,
    };
    let number = register(plan, request)?;
    let program = std::env::current_exe().map_err(Failure::Runtime)?;
    let mut command = Command::new(program);
    command.args(["resume", &number.to_string()]);
    request.cli.common.lead(&mut command)?;
    if let Some(events) = events {
        command.arg("--events").arg(events);
    }
    if how.yes {
        command.arg("--yes");
    }
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(Failure::Runtime)?;
    print(&format!("{number}\n")).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

fn carry_out(job: Job, request: &Request, how: &How) -> Result<Ending, Failure> {
    let common = &request.cli.common;
    let workspace = match &job {
        Job::Start(_) => Workspace::open_or_make(common)?,
        Job::Resume(_) | Job::Retry(..) => Workspace::open(common)?,
    };
    let plan = match &job {
        Job::Start(plan) => plan.clone(),
        Job::Resume(run) => workspace.plan_of(run, how.jobs)?,
        Job::Retry(run, _) => workspace.plan_as_it_is(run, how.jobs)?,
    };
    let manifest = Arc::clone(plan.manifest());
    let (stop, kill) = (Cancel::new(), Cancel::new());
    let hurry = kill.clone();
    let unread = stop.clone();
    let out = Writer::of_console(move || {
        unread.cancel(CancelCode::User, "nobody reads the output any more");
    })?;
    let events = Events::open(common, how, &out)?;
    let writers = [Some(&out), events.file()].into_iter().flatten().cloned().collect();
    let signals = Signals::watch(stop.clone(), kill.clone(), writers).map_err(Failure::Runtime)?;
    let (hooks, told) = Hooks::of(&plan);
    let console = Arc::new(Console::new(plan, Look::new(common, how), Arc::clone(&out)));
    let mut options = RunOptions::default()
        .kill(kill)
        .folder(workspace.folder())
        .sink(Arc::clone(&console) as _)
        .sink(Arc::clone(&told) as _)
        .output(Arc::clone(&console) as _);
    if let Some(sink) = events.sink() {
        options = options.sink(sink);
    }
    let settings = Settings { jobs: how.jobs, on_failure: request.on_failure };
    let result = workspace.block_on(async {
        let runs = Runs::open(Some(workspace.store()), options).await?;
        let run = match job {
            Job::Start(plan) => {
                runs.start(&plan, request.on_failure.unwrap_or(OnFailure::Stop)).await?
            }
            Job::Resume(run) => {
                workspace.tell_of_change(&console, &run);
                runs.resume(run.id, settings).await.map_err(|error| not_resumed(&run, error))?
            }
            Job::Retry(run, again) => {
                let retried = runs.retry(run.id, manifest, again, settings).await;
                retried.map_err(|error| not_resumed(&run, error))?
            }
        };
        told.is_run(run.number());
        let prompt = Prompt::of(&run, how);
        let calls =
            hooks.serve(|failed| console.say(&format!("warning: {}", plain(&failed.to_string()))));
        tokio::pin!(calls);
        let end = tokio::select! {
            end = attend(&run, &console, &stop, prompt) => end?,
            () = &mut calls => unreachable!("BUG: hooks are served until the sink is closed"),
        };
        let number = run.number();
        // Those of the end are still to be called; who has sent two signals does not wait for them.
        told.close();
        tokio::select! {
            () = calls => {}
            _ = hurry.cancelled() => {}
        }
        Ok((end, number))
    });
    let signal = signals.received();
    if let Ok((end, number)) = &result {
        console.sum_up(end, *number, signal, common);
    }
    let unwritten = [out.close(), events.close()].into_iter().flatten().next();
    match (result?.0.ending(signal), unwritten) {
        // A signal is the stronger word; anything else than success would be a lie.
        (ending @ Ending::Signalled(_), _) | (ending, None) => Ok(ending),
        (_, Some(failure)) => Err(failure),
    }
}

fn not_resumed(run: &RunInfo, error: RunError) -> Failure {
    match error {
        RunError::Resume(error) => Failure::NotResumed { run: run.number, error: error.into() },
        error => error.into(),
    }
}

/// Stays with a run until it has ended, waits for an answer that nobody here gives, or is stopped.
async fn attend(
    run: &Run,
    console: &Console,
    stop: &Cancel,
    prompt: Prompt,
) -> Result<RunEnd, Failure> {
    let answers = prompt.answers();
    tokio::pin!(answers);
    let mut has_answers = true;
    loop {
        let end = tokio::select! {
            biased;
            end = run.ended() => end?,
            cause = stop.cancelled() => {
                console.stopping(&cause.text);
                return Ok(run.release().await?);
            }
            () = &mut answers, if has_answers => {
                has_answers = false;
                continue;
            }
            () = run.parked(), if !has_answers => run.release().await?,
        };
        match end.state() {
            // Somebody has answered while it was let go of.
            SessionState::Suspended(holdpoint::session::SuspendCause::Answered) => {
                run.handle().resume().await.map_err(RunError::Resume)?;
            }
            _ => return Ok(end),
        }
    }
}

impl Common {
    /// Leads another process of this program to the same manifest and store.
    fn lead(&self, command: &mut Command) -> Result<(), Failure> {
        command.arg("--store").arg(absolute(&self.store_folder()?)?);
        if let Some(file) = &self.file {
            command.arg("--file").arg(absolute(&self.path(file)?)?);
        } else if let Some(directory) = &self.directory {
            command.arg("--directory").arg(absolute(directory)?);
        }
        Ok(())
    }
}

fn absolute(path: &std::path::Path) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::Runtime)
}
