//! `cancel`.

use holdpoint::CancelCode;
use holdpoint::run::Ending;
use holdpoint::session::{CancelError, Sessions, StateName};

use crate::args::{CancelArgs, Common};
use crate::failure::Failure;
use crate::text::print;
use crate::workspace::Workspace;

use super::answer::who;

/// Asks a run to stop for good.
pub(crate) fn cancel(common: &Common, args: &CancelArgs) -> Result<Ending, Failure> {
    let workspace = Workspace::open(common)?;
    let run = workspace.find(&args.name)?;
    if run.state == StateName::Cancelled {
        print(&format!("run #{} was cancelled before\n", run.number)).map_err(Failure::Output)?;
        return Ok(Ending::Succeeded);
    }
    let said = workspace.block_on(async {
        let sessions = Sessions::builder().store(workspace.store()).build();
        let handle = sessions.get(run.id).map_err(holdpoint::run::RunError::Get)?;
        let reason = args.reason.clone().unwrap_or_else(|| format!("cancelled by {}", who()));
        match handle.cancel_as(CancelCode::User, reason).await {
            Ok(()) => {}
            Err(CancelError::Ended { state }) => {
                return Err(Failure::HasEnded { run: run.number, state });
            }
            Err(error) => return Err(holdpoint::run::RunError::Cancel(error).into()),
        }
        let has_ended = handle.state().is_ok_and(|state| state.is_terminal());
        Ok(match has_ended {
            true => format!("run #{} is cancelled\n", run.number),
            false => format!("run #{} was asked to stop, and ends what it runs\n", run.number),
        })
    })?;
    print(&said).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}
