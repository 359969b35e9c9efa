//! Tasks as commands: one process for each attempt, and one for `if`.

use std::fmt;
use std::sync::Arc;

use holdpoint_core::{BoxError, Cancel, Retryable, SessionId};
use holdpoint_graph::{Lookup, SendTaskRunner, TaskContext, TaskEnd, TaskFailure};
use holdpoint_manifest::{Action, Task};
use holdpoint_process::{
    Command, Environment, Exit, Failure, Line, OutputSink, ProcessError, RunOptions, Spawner,
    Status, Stream, Tail, TaskVariables, Verdict,
};

use crate::events::Recorder;
use crate::logs::Logs;
use crate::output::{Attempt, AttemptOutput, TaskOutput};
use crate::plan::Plan;

/// Runs the commands of one plan.
pub(crate) struct Commands {
    pub(crate) plan: Plan,
    pub(crate) session: SessionId,
    pub(crate) spawner: Spawner,
    /// The environment of whoever runs the plan.
    pub(crate) caller: Environment,
    pub(crate) options: RunOptions,
    /// Fires when no process may go on, not even to clean up.
    pub(crate) kill: Cancel,
    pub(crate) logs: Logs,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) output: Arc<dyn TaskOutput>,
}

/// A process that ended otherwise than well, kept behind a [`TaskFailure`] for the events.
#[derive(Debug)]
pub(crate) struct ProcessFailed(pub(crate) Status);

impl fmt::Display for ProcessFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ProcessFailed {}

impl SendTaskRunner for Commands {
    /// Evaluates `if`: tasks with a condition are the only ones that are looked up.
    async fn lookup(&self, cx: TaskContext) -> Lookup {
        let task = self.plan.task(cx.task());
        let Some(condition) = &task.condition else { return Lookup::Miss };
        let action = Action::Shell { script: condition.clone() };
        let command = self.command(&cx, task, &action);
        let mut tail = Tail::new(1, LAST_LINE);
        match self.accompany(&cx, &command, &mut tail).await {
            None => Lookup::Miss,
            Some(result) => condition_met(result.map(|exit| exit.verdict()), &tail),
        }
    }

    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        let task = self.plan.task(cx.task());
        let Some(action) = &task.action else { return TaskEnd::Succeeded };
        let name = self.plan.name(cx.task());
        let log = match self.logs.file(name, cx.attempt()) {
            Ok(log) => log,
            Err(message) => return TaskEnd::Errored(TaskFailure::new(message).permanent()),
        };
        let command = self.command(&cx, task, action).log(&log);
        let attempt = Attempt { task: name, number: cx.attempt(), log: &log };
        let mut relay = Relay { commands: self, cx: &cx, output: self.output.open(&attempt) };
        let Some(result) = self.accompany(&cx, &command, &mut relay).await else {
            return TaskEnd::Cancelled;
        };
        if let Some(exit) = exit_of(&result) {
            relay.output.close(exit.leaky_output);
            self.recorder.process_exited(cx.task(), exit);
        }
        task_end(result.map(|exit| exit.verdict()))
    }
}

impl Commands {
    /// Runs a process to its end; none where it was killed at once.
    async fn accompany(
        &self,
        cx: &TaskContext,
        command: &Command,
        sink: &mut (dyn OutputSink + Send),
    ) -> Option<Result<Exit, ProcessError>> {
        tokio::select! {
            biased;
            // Dropping the other future kills the process's whole group.
            _ = self.kill.cancelled() => None,
            result = self.spawner.run(command, sink, cx.cancel(), self.options) => Some(result),
        }
    }

    fn command(&self, cx: &TaskContext, task: &Task, action: &Action) -> Command {
        let root = self.plan.manifest().root();
        let directory = match &task.dir {
            Some(dir) => root.join(&dir.value),
            None => root.to_owned(),
        };
        let command = match action {
            Action::Shell { script } => Command::shell(directory, [script]),
            Action::Exec { program, args } => Command::program(directory, program, args),
        };
        command.environment(self.environment(cx, task))
    }

    /// No task has a cache yet, so each gets what the caller has; `pass_env` adds nothing to it.
    fn environment(&self, cx: &TaskContext, task: &Task) -> Environment {
        let root = self.plan.manifest().root();
        let own = TaskVariables {
            session: Some(self.session.to_string()),
            task: Some(self.plan.name(cx.task()).to_string()),
            start: Some(self.recorder.start()),
            attempt: Some(cx.attempt()),
            project: Some(root.to_owned()),
            workspace: Some(root.to_owned()),
            ..TaskVariables::default()
        };
        let declared = task.env.iter().map(|(name, value)| (name, &value.value)).collect();
        Environment::uncached(&self.caller, &declared, &own)
    }
}

/// Passes on what a process says of itself and prints.
struct Relay<'a> {
    commands: &'a Commands,
    cx: &'a TaskContext,
    output: Box<dyn AttemptOutput>,
}

impl OutputSink for Relay<'_> {
    fn started(&mut self, pid: u32) {
        self.commands.recorder.process_started(self.cx.task(), self.cx.attempt(), pid);
    }

    fn line(&mut self, stream: Stream, line: Line<'_>) {
        self.output.line(stream, line);
    }
}

/// How much of the last line of a condition's output a message repeats, in bytes.
const LAST_LINE: usize = 200;

/// Exit code 0: the task is wanted. Another: it is not, and the reason says so. Anything else is
/// no answer.
pub(crate) fn condition_met(end: Result<Verdict, ProcessError>, tail: &Tail) -> Lookup {
    match end {
        Ok(Verdict::Succeeded) => Lookup::Miss,
        // What was cancelled starts nothing: the graph ends the task with the cause.
        Ok(Verdict::Cancelled(_)) | Err(ProcessError::Cancelled { .. }) => Lookup::Miss,
        Ok(Verdict::Failed(Failure::Status(status @ Status::Code(_)))) => {
            let mut reason = format!("`if` ended with {status}");
            if let Some((_, line)) = tail.lines().last() {
                reason.push_str(": ");
                reason.push_str(&String::from_utf8_lossy(line));
            }
            Lookup::Skip(reason.into())
        }
        Ok(Verdict::Failed(failure)) => {
            Lookup::Errored(TaskFailure::new(format!("`if` ended with {failure}")))
        }
        Err(error) => {
            let failure = TaskFailure::from(BoxError::from(error));
            Lookup::Errored(TaskFailure::new(format!("`if`: {failure}")))
        }
    }
}

/// How the process ended, where it did so under our eyes.
fn exit_of(result: &Result<Exit, ProcessError>) -> Option<&Exit> {
    match result {
        Ok(exit) => Some(exit),
        Err(ProcessError::Log { exit, .. } | ProcessError::Output { exit, .. }) => Some(exit),
        Err(_) => None,
    }
}

pub(crate) fn task_end(end: Result<Verdict, ProcessError>) -> TaskEnd {
    match end {
        Ok(Verdict::Succeeded) => TaskEnd::Succeeded,
        Ok(Verdict::Failed(Failure::Status(status))) => {
            TaskEnd::Failed(TaskFailure::from(BoxError::from(ProcessFailed(status))))
        }
        // The graph that set the limit has its own words for it.
        Ok(Verdict::Failed(Failure::Timeout(_)) | Verdict::Cancelled(_))
        | Err(ProcessError::Cancelled { .. }) => TaskEnd::Cancelled,
        Err(error) => {
            let again = error.is_retryable();
            let failure = TaskFailure::from(BoxError::from(error));
            TaskEnd::Errored(if again { failure } else { failure.permanent() })
        }
    }
}
