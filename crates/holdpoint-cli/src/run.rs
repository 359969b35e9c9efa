//! `holdpoint run`: a plan carried out, watched and summed up.

mod events;
mod signals;

use std::io::{self, Write as _};
use std::sync::Arc;

use holdpoint::run::{Ending, Plan, PlanError, RunEnd, RunOptions};
use holdpoint::{Cancel, CancelCode};

use crate::args::{Request, RunArgs};
use crate::check::order;
use crate::console::{Console, Look, Writer};
use crate::failure::Failure;
use crate::list;
use crate::load::load;
use crate::text::print;

use events::Events;
use signals::Signals;

/// Runs the targets to their end.
pub(crate) fn run(request: &Request, args: &RunArgs) -> Result<Ending, Failure> {
    let manifest = load(&request.cli.common)?;
    let plan = match Plan::new(Arc::clone(&manifest), &request.targets, args.jobs) {
        Err(PlanError::NoTargets) => {
            let _ = io::stderr().write_all(list::as_text(&manifest).as_bytes());
            return Err(PlanError::NoTargets.into());
        }
        plan => plan?,
    };
    if args.dry_run {
        print(&order(&plan)).map_err(Failure::Output)?;
        return Ok(Ending::Succeeded);
    }
    carry_out(plan, request, args)
}

fn carry_out(plan: Plan, request: &Request, args: &RunArgs) -> Result<Ending, Failure> {
    let (cancel, kill) = (Cancel::new(), Cancel::new());
    let unread = cancel.clone();
    let out = Writer::of_console(move || {
        unread.cancel(CancelCode::User, "nobody reads the output any more");
    })?;
    let events = Events::open(request, args, &out)?;
    let writers = [Some(&out), events.file()].into_iter().flatten().cloned().collect();
    let signals =
        Signals::watch(cancel.clone(), kill.clone(), writers).map_err(Failure::Runtime)?;
    let look = Look::new(&request.cli.common, args);
    let console = Arc::new(Console::new(plan.clone(), look, Arc::clone(&out)));
    let mut options = RunOptions::default()
        .on_failure(request.on_failure)
        .cancel(cancel)
        .kill(kill)
        .sink(Arc::clone(&console) as _)
        .output(Arc::clone(&console) as _);
    if let Some(sink) = events.sink() {
        options = options.sink(sink);
    }
    let result = drive(&plan, options);
    let signal = signals.received();
    if let Ok(end) = &result {
        console.sum_up(end, signal, &request.cli.common);
    }
    let unwritten = [out.close(), events.close()].into_iter().flatten().next();
    match (result?.ending(signal), unwritten) {
        // A signal is the stronger word; anything else than success would be a lie.
        (ending @ Ending::Signalled(_), _) | (ending, None) => Ok(ending),
        (_, Some(failure)) => Err(failure),
    }
}

/// Runs the plan on a runtime of one thread: the work is done by other processes, and they are
/// started by threads of the spawner.
fn drive(plan: &Plan, options: RunOptions) -> Result<RunEnd, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::Runtime)?;
    Ok(runtime.block_on(holdpoint::run::run(plan, options))?)
}
