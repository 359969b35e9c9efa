//! The rules of one session: the core's state machine, and with it what a registry adds: answers
//! that count all or not at all, what they used, and time limits.
//!
//! # Invariants
//! 1. Every change of the session passes [`Machine::handle`]; a refused input changes nothing.
//! 2. Several answers are taken all or none (SESS-004).
//! 3. A limit that has passed asks for the end once, by the way of any other cancellation; the
//!    first cause stays (SESS-014, CORE-007).
//! 4. The limit of a pause runs from the event that began it to the one that ends it.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::session::{
    Answer, BodyEnd, Completion, IllegalTransition, Owner, Question, QuestionId, SessionInput,
    SessionMachine, SessionState, StateName, SuspendCause, Transition, Usage,
};
use holdpoint_core::{CancelCode, CancelInfo, Monotonic, Now};

/// What can happen to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// It is taken by an owner, who starts the body.
    Claim(Owner),
    /// The body asks.
    Ask(Arc<Question>),
    /// Somebody answers, all of these questions or none.
    Answer(&'a [Answered]),
    /// A question lost its asker.
    Withdraw(QuestionId),
    /// Somebody asks for the end.
    Cancel(CancelInfo),
    /// The body ended.
    End(BodyEnd),
    /// The owner lets go.
    Suspend(SuspendCause),
    /// It was started so many times in a row and recorded nothing.
    CrashLoop {
        /// The number of starts.
        starts: u32,
    },
    /// Another attempt is wanted.
    Retry,
    /// Time has passed.
    Tick,
}

/// An answer with what it used.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// What it used; none where nobody says so, and then what is summed is an estimate.
    pub usage: Option<Usage>,
}

/// Time limits of a session. Default: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "driver", derive(serde::Serialize, serde::Deserialize))]
pub struct TimeLimits {
    /// Of an attempt, from its first start, whatever the session waits for.
    #[cfg_attr(feature = "driver", serde(default, skip_serializing_if = "Option::is_none"))]
    pub session: Option<Duration>,
    /// Of each pause.
    #[cfg_attr(feature = "driver", serde(default, skip_serializing_if = "Option::is_none"))]
    pub pause: Option<Duration>,
}

/// A session, and all that decides about it.
///
/// Plain data: it reads no clock and does nothing by itself. What it says is to be published in
/// order, and [`next_deadline`](Self::next_deadline) is when it wants an [`Input::Tick`].
///
/// ```
/// use std::time::Duration;
/// use holdpoint_core::session::{Owner, StateName};
/// use holdpoint_core::{Monotonic, Now, Timestamp};
/// use holdpoint_session::machine::{Input, Machine, TimeLimits};
///
/// let at = |seconds| Now {
///     wall: Timestamp::from_micros(seconds * 1_000_000),
///     monotonic: Monotonic::ZERO + Duration::from_secs(seconds),
/// };
/// let limits = TimeLimits { session: Some(Duration::from_secs(10)), pause: None };
/// let (mut session, _planned) = Machine::plan(limits);
/// session.handle(at(0), Input::Claim(Owner { instance: 1, epoch: 1 }))?;
/// assert_eq!(session.next_deadline(), Some(at(10).monotonic));
///
/// // The limit passes: the body is asked to stop, and decides itself how it ends.
/// let transition = session.handle(at(10), Input::Tick)?;
/// assert_eq!(transition.events().map(|event| event.name()).collect::<Vec<_>>(), [
///     "session_cancel_requested",
/// ]);
/// assert_eq!(session.session().state().name(), StateName::Running);
/// # Ok::<(), holdpoint_core::session::IllegalTransition>(())
/// ```
#[derive(Debug, Clone)]
pub struct Machine {
    session: SessionMachine,
    /// Of the attempt. Boxed: rare, and paused sessions are kept by the million.
    usage: Option<Box<Usage>>,
    timers: Option<Box<Timers>>,
}

#[derive(Debug, Clone)]
struct Timers {
    limits: TimeLimits,
    /// How much of the session's limit was used by earlier starts.
    passed: Duration,
    session: Option<Monotonic>,
    pause: Option<Monotonic>,
}

/// Why answers were refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerRefusal {
    /// These are not open: unknown, answered, withdrawn, or named twice.
    NotOpen(Vec<QuestionId>),
    /// No question is open at all.
    NothingOpen(StateName),
}

impl Machine {
    /// A new session, Planned, and the transition that announces it.
    pub fn plan(limits: TimeLimits) -> (Self, Transition) {
        let (session, planned) = SessionMachine::plan();
        (Self::restore(session, None, limits, Duration::ZERO), planned)
    }

    /// A session as it was kept, `passed` after its first start.
    #[must_use]
    pub fn restore(
        session: SessionMachine,
        usage: Option<Usage>,
        limits: TimeLimits,
        passed: Duration,
    ) -> Self {
        let timers = (limits != TimeLimits::default())
            .then(|| Box::new(Timers { limits, passed, session: None, pause: None }));
        Self { session, usage: usage.map(Box::new), timers }
    }

    /// Where the session stands.
    #[must_use]
    pub fn session(&self) -> &SessionMachine {
        &self.session
    }

    /// What its answers used so far, in this attempt.
    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_deref()
    }

    /// When there is something to do by itself: [`Input::Tick`] at that time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let timers = self.timers.as_deref()?;
        [timers.session, timers.pause].into_iter().flatten().min()
    }

    /// Takes what happens, changes, and says what to publish.
    ///
    /// # Errors
    /// What does not go together with the state; nothing has changed.
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Result<Transition, IllegalTransition> {
        let transition = match input {
            Input::Claim(owner) => self.session.apply(SessionInput::Claim(owner)),
            Input::Ask(question) => self.session.apply(SessionInput::Ask(question)),
            Input::Answer(answers) => self.answer(answers),
            Input::Withdraw(id) => self.session.apply(SessionInput::Withdraw(id)),
            Input::Cancel(cause) => self.session.apply(SessionInput::Cancel(cause)),
            Input::End(end) => self.end(end),
            Input::Suspend(cause) => self.session.apply(SessionInput::Suspend(cause)),
            Input::CrashLoop { starts } => self.session.apply(SessionInput::CrashLoop { starts }),
            Input::Retry => self.retry(),
            Input::Tick => self.tick(now),
        }?;
        if self.timers.is_some() {
            self.set_timers(now);
        }
        Ok(transition)
    }

    /// Whether all of these could be answered now (SESS-004).
    ///
    /// # Errors
    /// Those that could not, or that nothing is asked.
    pub fn check_answers<'a>(
        &self,
        ids: impl Iterator<Item = QuestionId> + Clone + 'a,
    ) -> Result<(), AnswerRefusal> {
        let SessionState::Paused(open) = self.session.state() else {
            return Err(AnswerRefusal::NothingOpen(self.session.state().name()));
        };
        let mut refused = Vec::new();
        for (place, id) in ids.clone().enumerate() {
            if open.get(id).is_none() || ids.clone().take(place).any(|earlier| earlier == id) {
                refused.push(id);
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(AnswerRefusal::NotOpen(refused)) }
    }

    fn answer(&mut self, answers: &[Answered]) -> Result<Transition, IllegalTransition> {
        // One answer, by far the most common case, is refused as a whole by itself.
        let [first, more @ ..] = answers else { return Ok(Transition::default()) };
        let before = (!more.is_empty()).then(|| self.session.clone());
        let mut transition = self.session.apply(SessionInput::Answer(first.answer.clone()))?;
        for next in more {
            match self.session.apply(SessionInput::Answer(next.answer.clone())) {
                Ok(next) => transition.append(next),
                Err(refused) => {
                    if let Some(before) = before {
                        self.session = before;
                    }
                    return Err(refused);
                }
            }
        }
        for answered in answers {
            let sum = self.usage.get_or_insert_default();
            match &answered.usage {
                Some(usage) => sum.add(usage),
                // It used something, and nobody said how much (SESS-013).
                None => sum.estimated = true,
            }
        }
        Ok(transition)
    }

    fn end(&mut self, end: BodyEnd) -> Result<Transition, IllegalTransition> {
        let end = match end {
            BodyEnd::Ok(completion) => {
                let usage = self.usage.as_deref().cloned().map(Arc::new);
                BodyEnd::Ok(Completion { usage, ..completion })
            }
            end => end,
        };
        self.session.apply(SessionInput::End(end))
    }

    fn retry(&mut self) -> Result<Transition, IllegalTransition> {
        let transition = self.session.apply(SessionInput::Retry)?;
        self.usage = None;
        if let Some(timers) = self.timers.as_deref_mut() {
            timers.passed = Duration::ZERO;
        }
        Ok(transition)
    }

    /// Asks for the end where a limit has passed.
    fn tick(&mut self, now: Now) -> Result<Transition, IllegalTransition> {
        let Some(timers) = self.timers.as_deref_mut() else { return Ok(Transition::default()) };
        let passed = |deadline: &mut Option<Monotonic>| {
            deadline.take_if(|deadline| *deadline <= now.monotonic).is_some()
        };
        let text = if passed(&mut timers.session) {
            format!("the session's limit of {:?} passed", timers.limits.session.unwrap_or_default())
        } else if passed(&mut timers.pause) {
            format!("no answer within {:?}", timers.limits.pause.unwrap_or_default())
        } else {
            return Ok(Transition::default());
        };
        let cause = CancelInfo::new(CancelCode::Timeout, text, now.wall);
        self.session.apply(SessionInput::Cancel(cause))
    }

    /// Starts and stops the limits as the new state has it.
    fn set_timers(&mut self, now: Now) {
        let Some(timers) = self.timers.as_deref_mut() else { return };
        let state = self.session.state().name();
        let is_live = !state.is_terminal() && state != StateName::Planned;
        // A request to stop was made: there is nothing left to ask for.
        let may_ask = is_live && self.session.cancel_requested().is_none();
        if !may_ask {
            (timers.session, timers.pause) = (None, None);
            return;
        }
        if timers.session.is_none() {
            let left = timers.limits.session.map(|limit| limit.saturating_sub(timers.passed));
            timers.session = left.map(|left| now.monotonic + left);
        }
        if state != StateName::Paused {
            timers.pause = None;
        } else if timers.pause.is_none() {
            timers.pause = timers.limits.pause.map(|limit| now.monotonic + limit);
        }
    }
}
