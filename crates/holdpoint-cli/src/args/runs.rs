//! The part of the command line that is about runs that are there already.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::How;

/// Which run is meant.
#[derive(Debug, Args)]
pub(crate) struct RunName {
    /// The run: its number (`7` or `#7`), `@last`, or the end of its id.
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
}

#[derive(Debug, Args)]
pub(crate) struct EnqueueArgs {
    /// Tasks to run, with what they need. None: the manifest's `default`.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Run every task of the manifest.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDPOINT_ALL", hide_env = true)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// List those that have ended too.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Draw when each task ran.
    #[arg(long, conflicts_with = "json")]
    pub(crate) timeline: bool,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// One task; none: all, in the order in which they began.
    #[arg(value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Go on as more is printed, until the run ends.
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// The manifest, instead of the nearest `holdpoint.yaml` here or in a folder above.
    // Here `-f` means to follow. Under its own name it takes the place of the one for all commands.
    #[arg(long, id = "file", value_name = "FILE", env = "HOLDPOINT_FILE", hide_env = true)]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// One task; none: all.
    #[arg(value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Over so many of the last runs.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) last: usize,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// A run, by its number, `@last` or the end of its id; or a task, of the last run that has it.
    #[arg(value_name = "RUN|TASK")]
    pub(crate) what: String,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Which question, by its number or its task; none: the only one that is open.
    #[arg(value_name = "QUESTION")]
    pub(crate) question: Option<String>,
    /// Why: kept with the answer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RejectArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Which question, by its number or its task; none: the only one that is open.
    #[arg(value_name = "QUESTION")]
    pub(crate) question: Option<String>,
    /// Why: kept with the answer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Which question, by its number or its task.
    #[arg(value_name = "QUESTION")]
    pub(crate) question: String,
    /// The answer: `yes`, `approve` or `true`, or `no`, `reject` or `false`, where it is one of
    /// these that is asked for.
    #[arg(value_name = "VALUE")]
    pub(crate) value: String,
    /// Why: kept with the answer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Why: kept as the cause.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) name: RunName,
    /// Only what did not succeed, and what needs it. The default.
    #[arg(long, conflicts_with_all = ["from", "again_all"])]
    failed: bool,
    /// These tasks and all that need them, besides what did not succeed.
    #[arg(long, value_name = "TASK")]
    pub(crate) from: Vec<String>,
    /// Everything.
    #[arg(long = "all", id = "again_all", conflicts_with = "from")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) how: How,
}
