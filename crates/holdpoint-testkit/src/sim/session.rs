//! A session with a scripted body: it asks, works, ends, is cancelled, and loses its owner.
//!
//! What the body has done is done: claimed again after a crash it goes on with the first act that
//! was not finished, as a body whose steps are recorded does. Its open questions outlive its
//! owners and are answered in the meantime.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::EventKind;
use holdpoint_core::session::{
    Answer, BodyEnd, Completion, Failure, Owner, Question, QuestionId, QuestionKind, SessionInput,
    SessionState, StateName, SuspendCause,
};
use holdpoint_core::{CancelCode, CancelInfo};

use super::{Actor, Random, Recorder, World};

/// One thing that a scripted body does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Works for so long.
    Work(Duration),
    /// Asks, and goes on. Somebody answers so long after; nobody where it is none.
    Ask(Option<Duration>),
    /// Withdraws its oldest open question, where one is open.
    Withdraw,
    /// Waits until no question is open.
    AwaitAnswers,
    /// Tells of its progress.
    Progress,
    /// Fails.
    Fail,
    /// Panics.
    Panic,
}

/// What a session does, and what is done to it. A body whose acts are over returns `Ok`.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_core::session::StateName;
/// use holdpoint_testkit::sim::Simulation;
/// use holdpoint_testkit::sim::session::{Act, Script, SessionActor};
///
/// let second = Duration::from_secs(1);
/// let mut simulation = Simulation::new(1);
/// let session = simulation.add(SessionActor::new(Script {
///     acts: vec![Act::Ask(Some(second)), Act::AwaitAnswers],
///     crashes: vec![second / 2],
///     ..Script::default()
/// }));
/// let run = simulation.run()?;
/// assert_eq!(run.actor(session).state(), Some(StateName::Done));
/// # Ok::<(), holdpoint_testkit::sim::SimError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What the body does, one after the other. Default: nothing.
    pub acts: Vec<Act>,
    /// When somebody requests the end, and what says so. Default: never.
    pub cancels: Vec<(Duration, CancelCode)>,
    /// How long the body takes to heed that; none where it does not. Default: at once.
    pub heeds: Option<Duration>,
    /// When its owner is lost, counted from the start of the simulation. Default: never.
    pub crashes: Vec<Duration>,
    /// How long after that it is claimed again; none for never. Default: after a second.
    pub back: Option<Duration>,
    /// How often it is tried again after it failed or was cancelled. Default: not at all.
    pub retries: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            acts: Vec::new(),
            cancels: Vec::new(),
            heeds: Some(Duration::ZERO),
            crashes: Vec::new(),
            back: Some(Duration::from_secs(1)),
            retries: 0,
        }
    }
}

impl Script {
    /// Any script.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        let acts = (0..random.below(12)).map(|_| Act::random(random)).collect();
        let codes = [CancelCode::User, CancelCode::Timeout, CancelCode::Parent];
        let cancels = (0..random.below(5).saturating_sub(2))
            .filter_map(|_| Some((random.millis(400), *random.pick(&codes)?)))
            .collect();
        Self {
            acts,
            cancels,
            heeds: random.percent(80).then(|| random.millis(50)),
            crashes: (0..random.below(4)).map(|_| random.millis(400)).collect(),
            back: random.percent(90).then(|| random.millis(100)),
            retries: u32::try_from(random.below(3)).unwrap_or(0),
        }
    }
}

impl Act {
    fn random(random: &mut Random) -> Self {
        match random.below(20) {
            0..5 => Self::Work(random.millis(50)),
            5..11 => Self::Ask(random.percent(95).then(|| random.millis(100))),
            11..13 => Self::Withdraw,
            13..17 => Self::AwaitAnswers,
            17 => Self::Progress,
            18 => Self::Fail,
            _ => Self::Panic,
        }
    }
}

/// What can happen to a [`SessionActor`].
#[derive(Debug, Clone)]
pub struct SessionHappening(What);

#[derive(Debug, Clone)]
enum What {
    Claim,
    /// The body is to do its next act, where nothing came in between.
    Next(u64),
    /// The body of this life has heard that it is to stop.
    Heed(u32),
    Answer(QuestionId),
    Cancel(CancelCode),
    Crash,
}

/// Runs one [`Script`].
#[derive(Debug)]
pub struct SessionActor {
    script: Script,
    recorder: Option<Recorder>,
    /// The place of the act to come.
    place: usize,
    /// Whether the body waits for its answers.
    waits: bool,
    /// Which start of the body it is: what was meant for an earlier one is void.
    life: u32,
    /// How often it was told to go on: only the last time counts.
    turn: u64,
    retries: u32,
}

impl SessionActor {
    /// A session that is planned when the simulation begins, and claimed soon.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script, recorder: None, place: 0, waits: false, life: 0, turn: 0, retries: 0 }
    }

    /// Where the session stands; none before the simulation begins.
    #[must_use]
    pub fn state(&self) -> Option<StateName> {
        self.recorder.as_ref().map(|recorder| recorder.machine().state().name())
    }

    /// The session; none before the simulation begins.
    #[must_use]
    pub fn session(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }
}

type SessionWorld<'a> = World<'a, SessionHappening>;

impl Actor for SessionActor {
    type Happening = SessionHappening;

    fn begin(&mut self, world: &mut SessionWorld<'_>) {
        self.recorder = Some(Recorder::plan(world));
        later(world, 10, What::Claim);
        for crash in &self.script.crashes {
            world.after(*crash, SessionHappening(What::Crash));
        }
        for &(when, code) in &self.script.cancels {
            world.after(when, SessionHappening(What::Cancel(code)));
        }
    }

    fn happens(&mut self, what: SessionHappening, world: &mut SessionWorld<'_>) {
        let Some(recorder) = self.recorder.take() else { return };
        let mut turn = Turn { recorder, actor: self, world };
        match what.0 {
            What::Claim => turn.claim(),
            What::Next(number) if turn.actor.turn == number => turn.next(),
            What::Heed(life) if turn.is_alive(life) => turn.heed(),
            What::Next(_) | What::Heed(_) => {}
            What::Answer(question) => turn.answer(question),
            What::Cancel(code) => turn.cancel(code),
            What::Crash => turn.crash(),
        }
        let recorder = turn.recorder;
        self.recorder = Some(recorder);
    }

    /// A session that could go on and does not has been forgotten.
    fn end(&mut self) -> Result<(), String> {
        let Some(recorder) = &self.recorder else { return Ok(()) };
        let session = recorder.machine();
        let stuck = match session.state() {
            SessionState::Running => true,
            SessionState::Planned => true,
            SessionState::Suspended(_) => self.script.back.is_some(),
            SessionState::Paused(_) => session.owner().is_some() && !self.waits,
            _ => false,
        };
        if stuck { Err(format!("forgotten: {session:?}")) } else { Ok(()) }
    }
}

/// One happening, with all that it is about.
struct Turn<'a, 'w, 's> {
    recorder: Recorder,
    actor: &'a mut SessionActor,
    world: &'w mut SessionWorld<'s>,
}

impl Turn<'_, '_, '_> {
    /// Whether the body that this was meant for still runs.
    fn is_alive(&self, life: u32) -> bool {
        self.actor.life == life && self.recorder.machine().owner().is_some()
    }

    fn claim(&mut self) {
        let session = self.recorder.machine();
        // Two claims may be under way, and it may have ended; then this one is refused.
        let owner = Owner { instance: self.world.random().number(), epoch: session.epoch() + 1 };
        if self.recorder.apply(SessionInput::Claim(owner), self.world).is_ok() {
            self.actor.life += 1;
            self.go_on_within(10);
            if self.recorder.machine().cancel_requested().is_some() {
                self.tell_of_cancel();
            }
        }
    }

    fn next(&mut self) {
        let has_owner = self.recorder.machine().owner().is_some();
        if !has_owner || self.actor.waits && !self.open().is_empty() {
            return;
        }
        self.actor.waits = false;
        let act = self.actor.script.acts.get(self.actor.place).cloned();
        self.actor.place += 1;
        match act {
            None => self.end(BodyEnd::Ok(Completion::default())),
            Some(Act::Work(time)) => self.go_on_after(time),
            Some(Act::Ask(answer)) => {
                self.ask(answer);
                self.go_on_within(5);
            }
            Some(Act::Withdraw) => {
                if let Some(question) = self.open().first() {
                    self.recorder.must(SessionInput::Withdraw(*question), self.world);
                }
                self.go_on_within(5);
            }
            Some(Act::AwaitAnswers) => {
                self.actor.waits = true;
                self.go_on_within(0);
            }
            Some(Act::Progress) => {
                let kind = EventKind::SessionProgress { progress: "{}".into() };
                self.recorder.publish(kind, self.world);
                self.go_on_within(5);
            }
            Some(Act::Fail) => self.end(BodyEnd::Failed(Failure::from_error("no", true))),
            Some(Act::Panic) => self.end(BodyEnd::Failed(Failure::panic("boom"))),
        }
    }

    fn ask(&mut self, answer: Option<Duration>) {
        let id = self.recorder.machine().next_question();
        let question = Question {
            id,
            name: "step".into(),
            kind: QuestionKind::Confirm,
            prompt: "Go on?".into(),
            asked_at: self.world.now().wall,
            task: None,
        };
        self.recorder.must(SessionInput::Ask(Arc::new(question)), self.world);
        if let Some(after) = answer {
            self.world.after(after, SessionHappening(What::Answer(id)));
        }
    }

    /// Somebody answers, perhaps too late: then it is refused.
    fn answer(&mut self, question: QuestionId) {
        let is_open = self.open().contains(&question);
        let answered = self.recorder.apply(SessionInput::Answer(Answer::to(question)), self.world);
        if answered.is_ok() != is_open {
            self.world.fail(format!("question {question} open: {is_open}; {answered:?}"));
        }
        self.closed();
    }

    /// A question was closed: who waits for that goes on.
    fn closed(&mut self) {
        if self.actor.waits && self.open().is_empty() && self.recorder.machine().owner().is_some() {
            self.go_on_within(5);
        }
        self.come_back();
    }

    fn cancel(&mut self, code: CancelCode) {
        let cause = CancelInfo::new(code, "enough", self.world.now().wall);
        let had_owner = self.recorder.machine().owner().is_some();
        if self.recorder.apply(SessionInput::Cancel(cause), self.world).is_ok() && had_owner {
            self.tell_of_cancel();
            // Its questions were withdrawn, so a body that does not heed goes on.
            self.closed();
        }
        self.retry();
    }

    fn tell_of_cancel(&mut self) {
        if let Some(delay) = self.actor.script.heeds {
            self.world.after(delay, SessionHappening(What::Heed(self.actor.life)));
        }
    }

    fn heed(&mut self) {
        let own = CancelInfo::new(CancelCode::Internal, "stopped", self.world.now().wall);
        self.end(BodyEnd::Cancelled(own));
    }

    fn crash(&mut self) {
        let lost = SessionInput::Suspend(SuspendCause::Interrupted);
        if self.recorder.apply(lost, self.world).is_ok() {
            self.come_back();
        }
    }

    /// Somebody claims a session that has no owner and could go on.
    fn come_back(&mut self) {
        let session = self.recorder.machine();
        let orphaned =
            matches!(session.state(), SessionState::Suspended(_) | SessionState::Paused(_));
        if orphaned
            && session.owner().is_none()
            && let Some(back) = self.actor.script.back
        {
            self.world.after(back, SessionHappening(What::Claim));
        }
    }

    fn end(&mut self, end: BodyEnd) {
        self.recorder.must(SessionInput::End(end), self.world);
        self.retry();
    }

    fn retry(&mut self) {
        let state = self.recorder.machine().state().name();
        let may = matches!(state, StateName::Failed | StateName::Cancelled);
        if may && self.actor.retries < self.actor.script.retries {
            self.actor.retries += 1;
            (self.actor.place, self.actor.waits) = (0, false);
            self.recorder.must(SessionInput::Retry, self.world);
            later(self.world, 20, What::Claim);
        }
    }

    fn open(&self) -> Vec<QuestionId> {
        match self.recorder.machine().state() {
            SessionState::Paused(open) => open.iter().map(|question| question.id).collect(),
            _ => Vec::new(),
        }
    }

    fn go_on_within(&mut self, millis: u64) {
        let delay = self.world.random().millis(millis);
        self.go_on_after(delay);
    }

    fn go_on_after(&mut self, delay: Duration) {
        self.actor.turn += 1;
        self.world.after(delay, SessionHappening(What::Next(self.actor.turn)));
    }
}

/// Within so many milliseconds.
fn later(world: &mut SessionWorld<'_>, most: u64, what: What) {
    let delay = world.random().millis(most);
    world.after(delay, SessionHappening(what));
}
