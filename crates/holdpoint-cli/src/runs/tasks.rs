//! The tasks of a run as its events tell of them.

use std::collections::{HashMap, HashSet};

use holdpoint::event::{CacheSource, EventKind, HoldRef, SkipCause, Stream};
use holdpoint::session::{Question, QuestionId, QuestionKind};
use holdpoint::store::{ReadError, Store};
use holdpoint::{Event, SessionId, TaskName, Timestamp};

use crate::text::plain;

/// How many events are read at a time.
const BATCH: usize = 4096;

/// What is known of one task, in the attempt of the run that counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) state: TaskState,
    pub(crate) is_cached: bool,
    pub(crate) attempt: u32,
    /// Which start of the session its process belongs to.
    pub(crate) start: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: Option<i32>,
    /// The word for why it ended so.
    pub(crate) cause: Option<&'static str>,
    pub(crate) message: Option<String>,
    pub(crate) upstream: Option<TaskName>,
    /// What it waits for.
    pub(crate) holds: Vec<HoldRef>,
    /// It was done in an earlier attempt, and its result was kept.
    pub(crate) is_kept: bool,
}

/// The states of a task, as `show --json` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TaskState {
    #[default]
    Pending,
    Waiting,
    Running,
    Succeeded,
    Failed,
    Errored,
    Skipped,
    Cancelled,
}

/// A question, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) answered_at: Option<Timestamp>,
    pub(crate) answer: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) is_withdrawn: bool,
}

/// A run as its events tell of it.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) tasks: HashMap<TaskName, Row>,
    /// In the order in which they first began, in whichever attempt.
    pub(crate) begun: Vec<TaskName>,
    seen: HashSet<TaskName>,
    /// How they ended in the attempt before.
    before: HashMap<TaskName, Row>,
    pub(crate) questions: Vec<Asked>,
    pub(crate) attempt: u32,
}

impl Asked {
    /// What was answered, by whom and why: `approved by ann: it is time`.
    pub(crate) fn how(&self) -> String {
        let word = match (&self.question.kind, self.answer.as_deref()) {
            (QuestionKind::Confirm, Some("true")) => "approved".to_owned(),
            (QuestionKind::Confirm, Some("false")) => "rejected".to_owned(),
            (_, Some(answer)) => format!("answered {}", plain(answer)),
            (_, None) => "answered".to_owned(),
        };
        let by = self.by.as_deref().map(|by| format!(" by {}", plain(by))).unwrap_or_default();
        let why = self.reason.as_deref().map(|why| format!(": {}", plain(why)));
        format!("{word}{by}{}", why.unwrap_or_default())
    }
}

impl TaskState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) const fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Waiting | Self::Running)
    }
}

impl Story {
    /// Reads a run's events.
    pub(crate) fn read(store: &dyn Store, run: SessionId) -> Result<Self, ReadError> {
        let mut story = Self::default();
        let stream = Stream::Session(run);
        let mut after = 0;
        loop {
            let page = store.events(&stream, after, BATCH)?;
            let Some(last) = page.last() else { return Ok(story) };
            after = last.seq;
            for stored in &page {
                story.take(&stored.event()?);
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::SessionPlanned { .. } => {
                self.before = std::mem::take(&mut self.tasks);
                self.attempt += 1;
            }
            // What ran was ended with its process, and is done by whoever goes on.
            EventKind::SessionSuspended(_) => {
                for row in self.tasks.values_mut().filter(|row| !row.state.has_ended()) {
                    *row = Row::default();
                }
            }
            EventKind::SessionQuestion(question) => self.questions.push(Asked {
                question: Question::clone(question),
                answered_at: None,
                answer: None,
                by: None,
                reason: None,
                is_withdrawn: false,
            }),
            EventKind::SessionAnswered { question, answer, by, reason } => {
                if let Some(asked) = self.asked(*question) {
                    let text =
                        |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
                    asked.answered_at = Some(at);
                    (asked.answer, asked.by, asked.reason) = (text(answer), text(by), text(reason));
                }
            }
            EventKind::SessionQuestionWithdrawn { question } => {
                if let Some(asked) = self.asked(*question) {
                    asked.is_withdrawn = true;
                }
            }
            kind => self.take_task(at, kind),
        }
    }

    fn asked(&mut self, id: QuestionId) -> Option<&mut Asked> {
        self.questions.iter_mut().rfind(|asked| asked.question.id == id)
    }

    fn row(&mut self, task: &TaskName) -> &mut Row {
        self.tasks.entry(task.clone()).or_default()
    }

    fn take_task(&mut self, at: Timestamp, kind: &EventKind) {
        match kind {
            EventKind::TaskStarted { task } => {
                if self.seen.insert(task.clone()) {
                    self.begun.push(task.clone());
                }
                let row = self.row(task);
                *row = Row { state: TaskState::Running, attempt: 1, ..Row::default() };
                row.started_at = Some(at);
            }
            EventKind::ProcessStarted { task, pid, start, attempt } => {
                let row = self.row(task);
                (row.pid, row.start, row.attempt) = (Some(*pid), *start, *attempt);
            }
            EventKind::ProcessExited { task, exit_code, .. } => {
                let row = self.row(task);
                (row.pid, row.exit_code) = (None, *exit_code);
            }
            EventKind::TaskRetry { task, message, .. } => {
                self.row(task).message = Some(message.to_string());
            }
            EventKind::HoldWaiting { task: Some(task), holds, .. } => {
                let row = self.row(task);
                row.state = TaskState::Waiting;
                row.holds = holds.to_vec();
            }
            EventKind::HoldAcquired { task: Some(task), .. } => {
                self.row(task).holds.clear();
            }
            EventKind::TaskSucceeded { task, source } => {
                let has_begun = self.tasks.get(task).is_some_and(|row| row.started_at.is_some());
                let kept = self.before.get(task).filter(|_| !has_begun);
                if let Some(kept) = kept.filter(|row| row.state == TaskState::Succeeded) {
                    let kept = Row { is_kept: true, ..kept.clone() };
                    self.tasks.insert(task.clone(), kept);
                    return;
                }
                let row = self.end(task, at, TaskState::Succeeded);
                row.is_cached = *source == CacheSource::Cache;
                // What an earlier attempt had to say is no cause of this.
                row.message = None;
            }
            EventKind::TaskFailed { task, cause, message, exit_code, .. } => {
                let row = self.end(task, at, TaskState::Failed);
                (row.exit_code, row.message) = (*exit_code, Some(message.to_string()));
                row.cause = Some(match cause {
                    holdpoint::event::FailCause::Error => "error",
                    holdpoint::event::FailCause::Panic => "panic",
                    holdpoint::event::FailCause::Exit => "exit",
                    holdpoint::event::FailCause::Signal => "signal",
                    holdpoint::event::FailCause::Timeout => "timeout",
                    holdpoint::event::FailCause::Rejected => "rejected",
                    _ => "other",
                });
            }
            EventKind::TaskErrored { task, message, .. } => {
                self.end(task, at, TaskState::Errored).message = Some(message.to_string());
            }
            EventKind::TaskSkipped { task, cause, upstream, message } => {
                let row = self.end(task, at, TaskState::Skipped);
                row.upstream.clone_from(upstream);
                row.message = message.as_deref().map(str::to_owned);
                row.cause = Some(match cause {
                    SkipCause::UpstreamFailed => "upstream_failed",
                    SkipCause::UpstreamErrored => "upstream_errored",
                    SkipCause::UpstreamCancelled => "upstream_cancelled",
                    SkipCause::UpstreamSkipped => "upstream_skipped",
                    SkipCause::Stopped => "stopped",
                    SkipCause::Condition => "condition",
                    _ => "other",
                });
            }
            EventKind::TaskCancelled { task, text, upstream, .. } => {
                let row = self.end(task, at, TaskState::Cancelled);
                row.upstream.clone_from(upstream);
                row.message = text.as_deref().map(str::to_owned);
            }
            _ => {}
        }
    }

    fn end(&mut self, task: &TaskName, at: Timestamp, state: TaskState) -> &mut Row {
        let row = self.row(task);
        row.state = state;
        row.finished_at = Some(at);
        row.holds.clear();
        row
    }

    /// A question that was asked, by its number, its name or its task.
    pub(crate) fn question(&self, wanted: &str) -> Option<&Asked> {
        self.questions.iter().rfind(|asked| {
            *asked.question.name == *wanted || asked.question.id.to_string() == wanted
        })
    }

    /// Whether a task waits for an answer.
    pub(crate) fn asks_for(&self, task: &TaskName) -> bool {
        self.open().any(|asked| asked.question.task.as_ref() == Some(task))
    }

    /// What waits for an answer.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Asked> {
        self.questions.iter().filter(|asked| asked.answered_at.is_none() && !asked.is_withdrawn)
    }
}
