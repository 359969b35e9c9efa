//! Tasks as commands: one process for each attempt, and one for `if`; approvals as questions.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdpoint_core::body::{Ask, BodyError, Ledger, SessionContext};
use holdpoint_core::{BoxError, Cancel, Retryable, SessionId};
use holdpoint_graph::{
    Gate, Lookup, Outcome, SendTaskRunner, TaskContext, TaskEnd, TaskFailure, TaskId,
};
use holdpoint_manifest::{Action, Approval, OnTimeout, Task};
use holdpoint_process::{
    Command, Environment, Exit, Failure, Line, OutputSink, ProcessError, RunOptions, Spawner,
    Status, Stream, Tail, TaskVariables, Verdict,
};

use crate::events::Recorder;
use crate::input::Recorded;
use crate::logs::Logs;
use crate::output::{Attempt, AttemptOutput, TaskOutput};
use crate::parked::Parked;
use crate::plan::Plan;

/// Runs the commands of one plan.
pub(crate) struct Commands {
    pub(crate) plan: Plan,
    pub(crate) session: SessionId,
    /// The run's number in its store.
    pub(crate) run: Option<u64>,
    pub(crate) spawner: Spawner,
    /// The environment of whoever runs the plan.
    pub(crate) caller: Environment,
    pub(crate) options: RunOptions,
    /// Fires when no process may go on, not even to clean up.
    pub(crate) kill: Cancel,
    /// Fires when the session is let go of: processes end, and what they were to do is done by
    /// whoever goes on with it.
    pub(crate) suspend: Cancel,
    /// What is under way that has to come to an end before the session is let go of.
    pub(crate) busy: Busy,
    pub(crate) parked: Arc<Parked>,
    pub(crate) cx: SessionContext,
    pub(crate) ledger: Ledger,
    pub(crate) logs: Logs,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) output: Arc<dyn TaskOutput>,
}

/// Counts what is under way, and tells when there is nothing.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    count: AtomicUsize,
    idle: tokio::sync::Notify,
}

impl Busy {
    fn begin(&self) -> Under<'_> {
        self.count.fetch_add(1, Ordering::AcqRel);
        Under(self)
    }

    /// Waits until nothing is under way.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if !self.is_idle() {
                idle.await;
                continue;
            }
            // Between the end of a process and the record of its task the graph may have let
            // others run.
            tokio::task::yield_now().await;
            if self.is_idle() {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

struct Under<'a>(&'a Busy);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
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
        if self.suspend.is_cancelled() {
            return pending().await;
        }
        let action = Action::Shell { script: condition.clone() };
        let command = self.command(&cx, task, &action);
        let mut tail = Tail::new(1, LAST_LINE);
        match self.accompany(&cx, &command, &mut tail).await {
            None => Lookup::Miss,
            Some(result) => condition_met(result.map(|exit| exit.verdict()), &tail),
        }
    }

    async fn gate(&self, cx: TaskContext) -> Gate {
        let task = self.plan.task(cx.task());
        match &task.approval {
            Some(approval) => {
                let gate = self.approve(cx.task(), approval).await;
                // Where its task does not go on the run is parked as before, and says so no more.
                if matches!(gate, Gate::Open) {
                    self.parked.remove(self.session);
                }
                gate
            }
            None => Gate::Open,
        }
    }

    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        if self.suspend.is_cancelled() {
            return pending().await;
        }
        let task = self.plan.task(cx.task());
        let Some(action) = &task.action else { return TaskEnd::Succeeded };
        let name = self.plan.name(cx.task());
        let log = match self.logs.file(name, self.recorder.start(), cx.attempt()) {
            Ok(log) => log,
            Err(message) => return TaskEnd::Errored(TaskFailure::new(message).permanent()),
        };
        let command = self.command(&cx, task, action).log(&log);
        let attempt = Attempt { task: name, number: cx.attempt(), log: &log };
        let mut relay = Relay { commands: self, cx: &cx, output: self.output.open(&attempt) };
        let Some(result) = self.accompany(&cx, &command, &mut relay).await else {
            return self.unless_suspended(TaskEnd::Cancelled).await;
        };
        if let Some(exit) = exit_of(&result) {
            relay.output.close(exit.leaky_output);
            self.recorder.process_exited(cx.task(), exit);
        }
        self.unless_suspended(task_end(result.map(|exit| exit.verdict()))).await
    }

    /// The end of a task is durable before anything follows from it.
    async fn record(&self, cx: TaskContext, outcome: Outcome) {
        let _under_way = self.busy.begin();
        let task = self.plan.task(cx.task());
        let name = self.plan.name(cx.task()).to_string();
        let Some(recorded) = Recorded::of(&outcome, cx.attempt(), task) else { return };
        let event = self.recorder.end(cx.task(), &outcome);
        let events = event.into_iter().collect();
        if let Err(error) = self.ledger.record(name, &recorded, events).await {
            // Too large a message, at the most: the task has ended all the same.
            tracing::error!("the end of {} is not recorded: {error}", self.plan.name(cx.task()));
        }
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
        let _under_way = self.busy.begin();
        self.parked.remove(self.session);
        let token = cx.cancel().child();
        let suspended = async {
            let cause = self.suspend.cancelled().await;
            token.cancel_with(cause);
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            // Dropping the other future kills the process's whole group.
            _ = self.kill.cancelled() => {}
            result = self.spawner.run(command, sink, &token, self.options) => return Some(result),
            () = suspended => {}
        }
        // Who kills has asked for the end before, and that is on its way to here.
        tokio::select! {
            _ = cx.cancelled() => {}
            _ = self.suspend.cancelled() => {}
        }
        None
    }

    /// A process that was ended because the session is let go of has not ended its task.
    async fn unless_suspended(&self, end: TaskEnd) -> TaskEnd {
        if self.suspend.is_cancelled() && matches!(end, TaskEnd::Cancelled) {
            return pending().await;
        }
        end
    }

    /// Asks whether the task may run, once in the life of the run (RUN-001).
    async fn approve(&self, task: TaskId, approval: &Approval) -> Gate {
        let name = self.plan.name(task);
        let ask = Ask::confirm(name.to_string(), approval.prompt.clone()).of_task(name.clone());
        let answer = self.cx.ask::<bool>(ask);
        let answered = match approval.timeout {
            None => answer.await,
            Some(limit) => {
                // Counted from the first time it was asked, whoever goes on with the run.
                let late = self.cx.sleep_named(name.to_string(), limit);
                tokio::select! {
                    biased;
                    answered = answer => answered,
                    late = late => match late {
                        Ok(()) => return unanswered(approval),
                        Err(error) => Err(error),
                    },
                }
            }
        };
        match answered {
            Ok(true) => Gate::Open,
            Ok(false) => Gate::Failed(TaskFailure::new("rejected").with_code("rejected")),
            // The graph hears of it too, and ends the task with the cause.
            Err(BodyError::Cancelled(_)) => pending().await,
            Err(error) => Gate::Failed(TaskFailure::from(BoxError::from(error))),
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
            run: self.run,
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

/// What becomes of a task whose question nobody has answered in time.
fn unanswered(approval: &Approval) -> Gate {
    let limit = approval.timeout.unwrap_or_default();
    let failure = TaskFailure::new(format!("nobody answered within {limit:?}"));
    Gate::Failed(match approval.on_timeout {
        OnTimeout::Reject => failure.with_code("rejected"),
        OnTimeout::Fail => failure.with_code("timeout"),
    })
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
