//! The command line: flags, their variables and their help.

mod runs;
mod store;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use holdpoint::graph::OnFailure;
use holdpoint::run::Targets;

pub(crate) use runs::{
    AnswerArgs, ApproveArgs, CancelArgs, EnqueueArgs, LogsArgs, PsArgs, RejectArgs, ResumeArgs,
    RetryArgs, RunName, ShowArgs, StatsArgs, WhyArgs,
};
pub(crate) use store::{ExportArgs, PruneArgs, StoreArgs, StoreCheckArgs, StoreCommand};

const EXAMPLES: &str = "\
Examples:
  holdpoint                      list the tasks of the manifest
  holdpoint run                  run its `default`
  holdpoint run test lint        run these and what they need
  holdpoint run test -n          say what that would run, and in which order
  holdpoint run --all -k         run everything, whatever fails on the way
  holdpoint ps                   what runs, and what waits for you
  holdpoint approve 7            let run 7 go on; `reject 7 --reason ...` does not
  holdpoint resume 7             go on with a run that was stopped or killed
  holdpoint check                look for mistakes without running anything
  holdpoint store check          look whether the store is sound

A first manifest, in a file `holdpoint.yaml`:
  default: [test]
  tasks:
    build: make
    test: { needs: [build], run: make test }

Exit codes:
  0      everything succeeded
  1      something failed
  2      the command or the manifest has a mistake, and nothing was started
  3      the run waits for an answer, and nothing else can go on
  4      the run was cancelled from elsewhere
  128+n  ended by signal n: 130 by Ctrl-C, 143 by SIGTERM";

const RUN_NOTES: &str = "\
After a failure nothing more is started, and what runs may finish; -k and
--fail-fast change that. The first Ctrl-C ends the running tasks with time to
clean up, the second at once; `holdpoint resume` goes on with the run, as it does
after a crash, and does not do again what was done. Runs are kept beside the
manifest in .holdpoint/, what tasks print in .holdpoint/logs/.

Environment:
  Every flag has a variable, HOLDPOINT_ and its long name, such as
  HOLDPOINT_JOBS=2, HOLDPOINT_KEEP_GOING=1 or HOLDPOINT_STYLE=grouped. What
  stands on the command line comes before it.
  NO_COLOR and CI turn colours off, CI also groups the output.
  RUST_LOG turns on the program's own log.";

/// Run tasks in order and side by side, under limits and locks.
#[derive(Debug, Parser)]
#[command(name = "holdpoint", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) common: Common,
    /// List the tasks as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run tasks and what they need.
    #[command(after_help = RUN_NOTES)]
    Run(RunArgs),
    /// Register a run without starting it, and print its number.
    Enqueue(EnqueueArgs),
    /// List the runs that have not ended.
    Ps(PsArgs),
    /// Show a run: its tasks, its questions, where it stands.
    Show(ShowArgs),
    /// Print what the tasks of a run have printed.
    Logs(LogsArgs),
    /// Tell how long tasks take, and how often they fail.
    Stats(StatsArgs),
    /// Say why a run or a task waits, was skipped or has failed.
    Why(WhyArgs),
    /// Answer a question of a run with yes.
    Approve(ApproveArgs),
    /// Answer a question of a run with no.
    Reject(RejectArgs),
    /// Answer a question of a run.
    Answer(AnswerArgs),
    /// Ask a run to stop for good.
    Cancel(CancelArgs),
    /// Go on with a run that was stopped, or lost its process.
    Resume(ResumeArgs),
    /// Make another attempt of a run that failed or was cancelled.
    Retry(RetryArgs),
    /// Look for mistakes in the manifest, and say what would run.
    Check(CheckArgs),
    /// Check, export or prune the store.
    Store(StoreArgs),
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Common {
    /// The manifest, instead of the nearest `holdpoint.yaml` here or in a folder above.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDPOINT_FILE",
        hide_env = true
    )]
    pub(crate) file: Option<PathBuf>,
    /// Start in this folder.
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "DIR",
        env = "HOLDPOINT_DIRECTORY",
        hide_env = true
    )]
    pub(crate) directory: Option<PathBuf>,
    /// The folder of the store, instead of `.holdpoint` beside the manifest.
    #[arg(long, global = true, value_name = "DIR", env = "HOLDPOINT_STORE", hide_env = true)]
    pub(crate) store: Option<PathBuf>,
    /// Whether to use colours; auto: on a terminal, unless NO_COLOR or CI is set.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "HOLDPOINT_COLOR",
        hide_env = true
    )]
    pub(crate) color: ColorChoice,
    /// Say more: each start, each wait, and the program's own log.
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        env = "HOLDPOINT_VERBOSE",
        hide_env = true
    )]
    pub(crate) verbose: u8,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Tasks to run, with what they need. None: the manifest's `default`.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Say what would run, in order, and start nothing.
    #[arg(short = 'n', long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_DRY_RUN", hide_env = true)]
    pub(crate) dry_run: bool,
    /// Run every task of the manifest.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_ALL", hide_env = true)]
    all: bool,
    /// Begin the run in the background and print its number.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_DETACH", hide_env = true)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

/// How a run is carried out and shown.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// How many tasks run at a time, instead of `limits.jobs`.
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = slots,
        env = "HOLDPOINT_JOBS",
        hide_env = true
    )]
    pub(crate) jobs: Option<NonZeroU32>,
    /// After a failure, go on with what does not depend on it.
    #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_KEEP_GOING", hide_env = true)]
    keep_going: bool,
    /// After a failure, cancel what is running.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_FAIL_FAST", hide_env = true)]
    fail_fast: bool,
    /// Write what happens to FILE, one JSON object a line; `-` is standard output, and then the
    /// tasks' output goes to standard error.
    #[arg(long, value_name = "FILE", env = "HOLDPOINT_EVENTS", hide_env = true)]
    pub(crate) events: Option<PathBuf>,
    /// How the tasks' output is shown.
    #[arg(
        short = 'o',
        long,
        value_name = "STYLE",
        default_value = "auto",
        env = "HOLDPOINT_STYLE",
        hide_env = true
    )]
    pub(crate) style: StyleChoice,
    /// Answer every question of an approval with yes.
    #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_YES", hide_env = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Tasks whose run is to be listed. None: the manifest's `default`, or every task.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StyleChoice {
    /// `grouped` where CI is set, else `stream`.
    Auto,
    /// Line by line, each with its task's name; a task that runs alone without it.
    Stream,
    /// All output of a task in one block when it ends.
    Grouped,
    /// No output of tasks; the last lines of those that failed.
    None,
}

impl How {
    /// Whether standard output belongs to the events alone.
    pub(crate) fn events_take_stdout(&self) -> bool {
        self.events.as_deref() == Some(Path::new("-"))
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) cli: Cli,
    /// Of `run` and `enqueue`: what to reach.
    pub(crate) targets: Targets,
    /// What a failure does, where that was said.
    pub(crate) on_failure: Option<OnFailure>,
}

impl Request {
    /// Reads the command line and the variables.
    ///
    /// # Errors
    /// Also where help or the version was asked for: [`clap::Error::exit_code`] tells.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::from_matches(Cli::command().try_get_matches()?)
    }

    fn from_matches(matches: ArgMatches) -> Result<Self, clap::Error> {
        let cli = Cli::from_arg_matches(&matches)?;
        let mut request = Self { cli, targets: Targets::Default, on_failure: None };
        let refuse = |command: &str, message: &str| {
            let mut top = Cli::command();
            let spoken = top.find_subcommand_mut(command).map(|sub| sub.clone());
            spoken.unwrap_or(top).error(ErrorKind::ArgumentConflict, message)
        };
        match (&request.cli.command, matches.subcommand()) {
            (Some(Command::Run(run)), Some((name, given))) => {
                request.targets = reach(given, run.all, &run.targets)
                    .map_err(|Both| refuse(name, "--all and targets exclude each other"))?;
            }
            (Some(Command::Enqueue(enqueue)), Some((name, given))) => {
                request.targets = reach(given, enqueue.all, &enqueue.targets)
                    .map_err(|Both| refuse(name, "--all and targets exclude each other"))?;
            }
            (Some(Command::Logs(logs)), _) if logs.file.is_some() => {
                request.cli.common.file.clone_from(&logs.file);
            }
            (Some(Command::Check(check)), _) if !check.targets.is_empty() => {
                request.targets = Targets::Named(check.targets.clone());
            }
            _ => {}
        }
        if let (Some(how), Some((name, given))) = (request.how(), matches.subcommand()) {
            let both = ("keep_going", how.keep_going);
            request.on_failure = match exclusive(given, both, ("fail_fast", how.fail_fast)) {
                Ok(Choice::First) => Some(OnFailure::KeepGoing),
                Ok(Choice::Second) => Some(OnFailure::FailFast),
                Ok(Choice::Neither) => None,
                Err(Both) => {
                    let text = "--keep-going and --fail-fast exclude each other";
                    return Err(refuse(name, text));
                }
            };
        }
        if request.cli.json && request.cli.command.is_some() {
            return Err(refuse(
                "",
                "--json stands behind the command it is for, such as `check --json`",
            ));
        }
        Ok(request)
    }
}

impl Request {
    /// How a run is to be carried out, of a command that does.
    fn how(&self) -> Option<&How> {
        match &self.cli.command {
            Some(Command::Run(args)) => Some(&args.how),
            Some(Command::Resume(args)) => Some(&args.how),
            Some(Command::Retry(args)) => Some(&args.how),
            _ => None,
        }
    }
}

/// What is to be reached.
fn reach(given: &ArgMatches, all: bool, targets: &[String]) -> Result<Targets, Both> {
    Ok(match exclusive(given, ("all", all), ("targets", !targets.is_empty()))? {
        Choice::First => Targets::All,
        _ => Targets::Named(targets.to_vec()),
    })
}

enum Choice {
    Neither,
    First,
    Second,
}

/// Both were asked for in the same place.
struct Both;

/// Which of two settings that exclude each other counts: one on the command line comes before
/// one of a variable.
fn exclusive(
    given: &ArgMatches,
    (first, is_first): (&str, bool),
    (second, is_second): (&str, bool),
) -> Result<Choice, Both> {
    let typed = |id| given.value_source(id) == Some(ValueSource::CommandLine);
    match (is_first, is_second) {
        (false, false) => Ok(Choice::Neither),
        (true, false) => Ok(Choice::First),
        (false, true) => Ok(Choice::Second),
        (true, true) => match (typed(first), typed(second)) {
            (true, false) => Ok(Choice::First),
            (false, true) => Ok(Choice::Second),
            _ => Err(Both),
        },
    }
}

fn slots(text: &str) -> Result<NonZeroU32, String> {
    match text.parse::<u32>() {
        Ok(number) => NonZeroU32::new(number)
            .ok_or_else(|| "with no slot nothing could start; the least is 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names after `HOLDPOINT_` that tasks receive (PROC-001).
    const OF_TASKS: [&str; 9] =
        ["SESSION", "RUN", "TASK", "START", "ATTEMPT", "PROJECT", "WORKSPACE", "OUTPUT", "RESULTS"];

    fn read(words: &[&str]) -> Result<Request, clap::Error> {
        let words = std::iter::once("holdpoint").chain(words.iter().copied());
        Request::from_matches(Cli::command().try_get_matches_from(words)?)
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn prog_006_every_flag_of_run_has_a_variable_that_no_task_receives() {
        let mut command = Cli::command();
        command.build();
        let run = command.find_subcommand("run").unwrap();
        let mut variables = Vec::new();
        for flag in run.get_arguments().filter(|flag| flag.get_long().is_some()) {
            let long = flag.get_long().unwrap();
            if long == "help" {
                continue;
            }
            let expected = format!("HOLDPOINT_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
            variables.push(expected);
        }
        assert!(variables.len() >= 11, "{variables:?}");
        for variable in &variables {
            let rest = variable.strip_prefix("HOLDPOINT_").unwrap();
            assert!(!OF_TASKS.contains(&rest) && !rest.starts_with("PARAM_"), "{variable}");
        }
    }

    #[test]
    fn flags_of_every_command_stand_before_or_behind_it() {
        for words in [["-C", "src", "run"], ["run", "-C", "src"]] {
            let request = read(&words).unwrap();
            assert_eq!(request.cli.common.directory, Some("src".into()));
        }
    }

    #[test]
    fn targets_and_all_exclude_each_other() {
        assert_eq!(read(&["run"]).unwrap().targets, Targets::Named(vec![]));
        assert_eq!(read(&["run", "--all"]).unwrap().targets, Targets::All);
        let error = read(&["run", "--all", "test"]).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ArgumentConflict, 2));
    }

    #[test]
    fn keep_going_and_fail_fast_exclude_each_other() {
        assert_eq!(read(&["run"]).unwrap().on_failure, None);
        assert_eq!(read(&["run", "-k"]).unwrap().on_failure, Some(OnFailure::KeepGoing));
        let fail_fast = read(&["run", "--fail-fast"]).unwrap();
        assert_eq!(fail_fast.on_failure, Some(OnFailure::FailFast));
        assert!(read(&["run", "-k", "--fail-fast"]).is_err());
    }

    #[test]
    fn no_slot_is_a_mistake() {
        let error = read(&["run", "-j", "0"]).unwrap_err();
        assert!(error.to_string().contains("the least is 1"), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert!(read(&["run", "-j", "many"]).is_err());
    }

    #[test]
    fn json_is_for_lists() {
        assert!(read(&["--json"]).unwrap().cli.json);
        assert!(read(&["--json", "run"]).is_err());
    }
}
