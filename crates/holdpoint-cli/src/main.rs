//! The `holdpoint` program.
//!
//! Reading order: `args` (what may be asked for), `load` (the manifest), `list` and `check` (what
//! needs no runtime), `workspace` (the store and its runs), `run` (the command, its signals and
//! events), `console` (what a person sees), `runs` (what is done with runs that are there), `store`
//! (what is done with a store apart from runs).

mod args;
mod check;
mod console;
mod failure;
mod list;
mod load;
mod run;
mod runs;
mod store;
mod text;
mod workspace;

use std::io;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::args::{Command, Common, Request};
use crate::console::colours_on;
use crate::failure::Failure;

fn main() -> ExitCode {
    let request = match Request::read() {
        Ok(request) => request,
        Err(error) => {
            // Help for a reader that is gone is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    log(&request.cli.common);
    let result = match &request.cli.command {
        None => list::list(&request.cli),
        Some(Command::Check(args)) => check::check(&request, args),
        Some(Command::Run(args)) => run::run(&request, args),
        Some(Command::Enqueue(args)) => run::enqueue(&request, args),
        Some(Command::Resume(args)) => run::resume(&request, args),
        Some(Command::Retry(args)) => run::retry(&request, args),
        Some(Command::Ps(args)) => runs::ps(&request.cli.common, args),
        Some(Command::Show(args)) => runs::show(&request.cli.common, args),
        Some(Command::Stats(args)) => runs::stats(&request.cli.common, args),
        Some(Command::Logs(args)) => runs::logs(&request.cli.common, args),
        Some(Command::Why(args)) => runs::why(&request.cli.common, args),
        Some(Command::Approve(args)) => runs::approve(&request.cli.common, args),
        Some(Command::Reject(args)) => runs::reject(&request.cli.common, args),
        Some(Command::Answer(args)) => runs::answer(&request.cli.common, args),
        Some(Command::Cancel(args)) => runs::cancel(&request.cli.common, args),
        Some(Command::Store(args)) => store::store(&request.cli.common, args),
    };
    let ending = result.unwrap_or_else(|failure: Failure| failure.report(&request.cli.common));
    ExitCode::from(ending.exit_code())
}

/// The program's own log, on standard error, where somebody asked for it.
fn log(common: &Common) {
    let by_flag = match common.verbose {
        0 => None,
        1 => Some("holdpoint=info"),
        2 => Some("holdpoint=debug"),
        _ => Some("trace"),
    };
    let filter = match (EnvFilter::try_from_default_env(), by_flag) {
        (Ok(filter), _) => filter,
        (Err(_), Some(level)) => EnvFilter::new(level),
        (Err(_), None) => return,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours_on(&io::stderr(), common.color))
        .init();
}
