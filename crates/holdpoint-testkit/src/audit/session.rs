//! The life of a session: its states, its questions and its ends (S1, S2, CORE-007, SESS-003,
//! SESS-009). What its
//! work did is judged by [`Tasks`] and [`HoldBook`].

use std::collections::BTreeSet;

use holdpoint_core::event::EventKind;
use holdpoint_core::session::{FailureCause, QuestionId, SuspendCause};
use holdpoint_core::{CancelInfo, Stream};

use super::Settings;
use super::holds::HoldBook;
use super::tasks::Tasks;
use super::violation::{Notes, Violation};

/// What the events of a session have said so far.
#[derive(Debug, Default)]
pub(super) struct SessionStory {
    state: State,
    attempt: u32,
    start: u32,
    cancel: Option<CancelInfo>,
    /// Whether that was requested in this start: the next begins with it, and may begin tasks
    /// before its body has heard.
    cancelled_now: bool,
    last_question: u32,
    open: BTreeSet<QuestionId>,
    /// Whether the pause that is going has asked something.
    asked: bool,
    tasks: Tasks,
    /// Where the hold set is not shared.
    holds: HoldBook,
    /// What looks wrong in the pause that is going; see the module's documentation.
    suspected: Vec<Violation>,
    /// There was a claim that no event told, so the work is not judged until the next start.
    blurred: bool,
}

/// Where a session stands, as far as its events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Unknown,
    Planned,
    Running,
    Paused,
    Suspended,
    Done,
    Failed,
    Cancelled,
}

impl SessionStory {
    pub(super) fn take(
        &mut self,
        kind: &EventKind,
        settings: &Settings,
        shared: Option<&mut HoldBook>,
        notes: &mut Notes<'_>,
    ) {
        let is_retry = matches!(kind, EventKind::SessionPlanned { .. });
        if self.state.is_terminal() && !is_retry {
            notes.add("S2", format!("{} after the session was {:?}", kind.name(), self.state));
            if !kind.ends_session() {
                return;
            }
        }
        match kind {
            EventKind::SessionPlanned { .. }
            | EventKind::SessionStarted { .. }
            | EventKind::SessionPaused
            | EventKind::SessionResumed { .. }
            | EventKind::SessionSuspended(_)
            | EventKind::SessionDone { .. }
            | EventKind::SessionFailed(_)
            | EventKind::SessionCancelled(_) => self.change(kind, settings, shared, notes),
            EventKind::SessionQuestion(question) => self.asks(question.id, notes),
            EventKind::SessionAnswered { question, .. }
            | EventKind::SessionQuestionWithdrawn { question } => {
                let was_open = self.open.remove(question);
                notes.check(was_open, "SESS-009", || format!("question {question} was not open"));
            }
            EventKind::TaskQuestion { task, question, .. } => {
                let is_open = self.open.contains(question);
                notes.check(is_open, "SESS-009", || {
                    format!("{task} waits for question {question}, which is not open")
                });
            }
            EventKind::SessionCancelRequested(cause) => {
                notes.check(self.cancel.is_none(), "CORE-007", || {
                    "a second request to cancel".into()
                });
                self.at_work(kind, notes);
                self.cancel.get_or_insert_with(|| cause.clone());
                self.cancelled_now = true;
            }
            EventKind::SessionProgress { .. } => self.at_work(kind, notes),
            _ => self.work(kind, settings, shared, notes),
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, shared: Option<&mut HoldBook>, notes: &mut Notes<'_>) {
        if self.state == State::Running {
            notes.add("S2", "the session still runs");
            if !self.blurred {
                self.tasks.end_session(None, notes);
                shared.unwrap_or(&mut self.holds).end_stream(notes.stream, notes);
            }
        }
    }

    /// A task, a hold or a process did something.
    fn work(
        &mut self,
        kind: &EventKind,
        settings: &Settings,
        shared: Option<&mut HoldBook>,
        notes: &mut Notes<'_>,
    ) {
        self.at_work(kind, notes);
        if self.blurred {
            return;
        }
        if let EventKind::TaskStarted { task } = kind {
            let late = settings.prompt_cancels && self.cancelled_now;
            notes.check(!late, "GRAPH-009", || format!("{task} starts after the cancel"));
        }
        if self.state == State::Paused
            && let EventKind::ProcessStarted { start, .. } = kind
            && *start > self.start
        {
            self.blur(notes.stream, shared);
            return;
        }
        let holds = shared.unwrap_or(&mut self.holds);
        if self.state == State::Paused {
            let mut notes = notes.aside(&mut self.suspected);
            self.tasks.take(kind, self.start, settings, holds, &mut notes);
        } else {
            self.tasks.take(kind, self.start, settings, holds, notes);
        }
    }

    fn at_work(&self, kind: &EventKind, notes: &mut Notes<'_>) {
        let is_at_work = matches!(self.state, State::Running | State::Paused);
        notes.check(is_at_work, "S1", || {
            format!("{} while the session is {:?}", kind.name(), self.state)
        });
    }

    fn asks(&mut self, id: QuestionId, notes: &mut Notes<'_>) {
        let paused = self.state == State::Paused;
        notes.check(paused, "SESS-009", || format!("question {id} outside a pause"));
        notes.check(id.0 > self.last_question, "SESS-003", || {
            format!("question {id} after question {}", self.last_question)
        });
        let over = paused && self.asked && self.open.is_empty();
        notes.check(!over, "SESS-009", || {
            format!("question {id} though the pause ended with its last question")
        });
        self.last_question = self.last_question.max(id.0);
        self.asked = true;
        self.open.insert(id);
    }

    fn change(
        &mut self,
        kind: &EventKind,
        settings: &Settings,
        mut shared: Option<&mut HoldBook>,
        notes: &mut Notes<'_>,
    ) {
        let (from, to) = (self.state, State::after(kind));
        let already_told = from.is_terminal() && to.is_terminal();
        if !already_told && !is_legal(from, kind) {
            notes.add("S1", format!("{} while the session is {from:?}", kind.name()));
        }
        if from == State::Paused {
            self.end_pause(kind, shared.as_deref_mut(), notes);
        }
        if let Some(shared) = shared.as_deref_mut() {
            shared.set_doubtful(notes.stream, to == State::Paused);
        }
        match kind {
            EventKind::SessionPlanned { attempt } => {
                let expected = self.attempt + 1;
                notes.check(*attempt == expected, "S1", || {
                    format!("attempt {attempt}, and {expected} was to come")
                });
                self.attempt = *attempt;
                self.tasks.begin_attempt();
            }
            EventKind::SessionStarted { start } => self.begin_start(*start, shared, notes),
            EventKind::SessionResumed { start } if from != State::Paused => {
                self.begin_start(*start, shared, notes);
            }
            EventKind::SessionPaused => self.asked = false,
            EventKind::SessionSuspended(_) => self.lose_work(notes.stream, shared),
            EventKind::SessionDone { .. }
            | EventKind::SessionFailed(_)
            | EventKind::SessionCancelled(_)
                if from == State::Running && !self.blurred =>
            {
                self.end_work(kind, settings, shared, notes);
            }
            kind if kind.ends_session() => self.lose_work(notes.stream, shared),
            _ => {}
        }
        if kind.ends_session() {
            self.end(kind, notes);
        }
        self.state = to;
    }

    /// A pause is over: its questions are closed, and what it was suspected of is decided.
    fn end_pause(
        &mut self,
        kind: &EventKind,
        shared: Option<&mut HoldBook>,
        notes: &mut Notes<'_>,
    ) {
        if let Some(open) = self.open.first() {
            notes.add("SESS-009", format!("{} while question {open} is open", kind.name()));
            self.open.clear();
        }
        notes.check(self.asked, "SESS-009", || "a pause that asked nothing".into());
        let suspected = std::mem::take(&mut self.suspected);
        match kind {
            EventKind::SessionResumed { start } if *start > self.start => {
                self.blur(notes.stream, shared);
                self.start = *start;
            }
            EventKind::SessionResumed { start } => {
                notes.check(*start == self.start, "S1", || {
                    format!("start {start} after start {}", self.start)
                });
                notes.found.extend(suspected);
            }
            _ => {}
        }
    }

    fn begin_start(&mut self, start: u32, shared: Option<&mut HoldBook>, notes: &mut Notes<'_>) {
        let last = self.start;
        notes.check(start > last, "S1", || format!("start {start} after start {last}"));
        self.start = start;
        self.lose_work(notes.stream, shared);
        self.blurred = false;
    }

    /// The work is not judged until the next start.
    fn blur(&mut self, stream: &Stream, shared: Option<&mut HoldBook>) {
        self.suspected.clear();
        self.lose_work(stream, shared);
        self.blurred = true;
    }

    /// Nobody works on it any more: what it had begun and what it held is gone with its owner.
    fn lose_work(&mut self, stream: &Stream, shared: Option<&mut HoldBook>) {
        self.cancelled_now = false;
        self.tasks.begin_start();
        shared.unwrap_or(&mut self.holds).forget_stream(stream);
    }

    /// The body has ended: so has its work.
    fn end_work(
        &mut self,
        kind: &EventKind,
        settings: &Settings,
        shared: Option<&mut HoldBook>,
        notes: &mut Notes<'_>,
    ) {
        // A panic tears down whatever the body was about, before anything could be told of it.
        let torn = matches!(kind, EventKind::SessionFailed(failure)
            if failure.cause() == FailureCause::Panic);
        if !torn {
            self.tasks.end_session(settings.graphs.get(notes.stream).map(|edges| &**edges), notes);
        }
        shared.unwrap_or(&mut self.holds).end_stream(notes.stream, notes);
    }

    fn end(&mut self, kind: &EventKind, notes: &mut Notes<'_>) {
        self.cancelled_now = false;
        self.tasks.begin_attempt();
        let first = self.cancel.take();
        if let (Some(first), EventKind::SessionCancelled(last)) = (first, kind) {
            notes.check(first == *last, "CORE-007", || {
                format!("cancelled by `{last}`, and the first request was `{first}`")
            });
        }
    }
}

impl State {
    fn after(kind: &EventKind) -> Self {
        match kind {
            EventKind::SessionPlanned { .. } => Self::Planned,
            EventKind::SessionStarted { .. } | EventKind::SessionResumed { .. } => Self::Running,
            EventKind::SessionPaused => Self::Paused,
            EventKind::SessionSuspended(_) => Self::Suspended,
            EventKind::SessionDone { .. } => Self::Done,
            EventKind::SessionFailed(_) => Self::Failed,
            _ => Self::Cancelled,
        }
    }

    fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// The table of the core, as far as events tell the inputs apart.
fn is_legal(from: State, kind: &EventKind) -> bool {
    use State::{Cancelled, Failed, Paused, Planned, Running, Suspended, Unknown};

    let failed_by = |allowed: fn(FailureCause) -> bool| match kind {
        EventKind::SessionFailed(failure) => allowed(failure.cause()),
        _ => false,
    };
    let limit = |cause| matches!(cause, FailureCause::Timeout { .. });
    let limit_or_loop =
        |cause| matches!(cause, FailureCause::Timeout { .. } | FailureCause::CrashLoop { .. });
    match from {
        Unknown | Failed | Cancelled => matches!(kind, EventKind::SessionPlanned { .. }),
        Planned => {
            let begins = matches!(kind, EventKind::SessionStarted { .. });
            begins || matches!(kind, EventKind::SessionCancelled(_)) || failed_by(limit)
        }
        Running => match kind {
            EventKind::SessionPaused
            | EventKind::SessionDone { .. }
            | EventKind::SessionCancelled(_) => true,
            EventKind::SessionSuspended(cause) => *cause != SuspendCause::Answered,
            _ => failed_by(|cause| !matches!(cause, FailureCause::CrashLoop { .. })),
        },
        Paused => match kind {
            EventKind::SessionResumed { .. } | EventKind::SessionCancelled(_) => true,
            EventKind::SessionSuspended(cause) => *cause == SuspendCause::Answered,
            _ => failed_by(limit_or_loop),
        },
        Suspended => {
            let goes_on = matches!(kind, EventKind::SessionResumed { .. });
            goes_on || matches!(kind, EventKind::SessionCancelled(_)) || failed_by(limit_or_loop)
        }
        State::Done => false,
    }
}
