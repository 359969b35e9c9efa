//! Bodies that every host of bodies must run alike (SESS-020), and what comes of them.
//!
//! A host is whoever runs bodies: a registry in memory, one that records in a store, a distributed
//! engine. Its tests implement [`Host`] for it, and [`play`] each of the [`cases`] on it. A case is a
//! body, what the outside does, and what must come of both, known without any host.
//!
//! All lives of a host's process share a [`Ledger`]. Bodies tell it what they are given and effects
//! what they do, and it finds what no result shows:
//! - what a body is given in one life it is given in the next, the same and in the same order;
//! - an effect whose result a body has was executed, and is not executed again;
//! - start and attempt of an effect together never come again.
//!
//! So a host that loses its process anywhere and goes on is judged by the same cases. What they do
//! side by side takes as long as chance says, another time in each life: a case marked
//! [`is_by_chance`](Case::is_by_chance) is worth many seeds.
//!
//! Effects wait for ticks of the ledger, which is to say for the player: no clock is read, and no
//! runtime is named. Bodies sleep, in multiples of [`TICK`].
//!
//! Reading order: [`Host`], [`Case`], [`play`], [`Ledger`]; inside, `cases`, then `witness`, through
//! which bodies are written.

mod cases;
mod ledger;
mod play;
mod witness;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use self::cases::cases;
pub use self::ledger::{Ledger, NamedBody};
pub use self::play::play;
use holdpoint_core::session::QuestionId;
use holdpoint_core::{BoxError, CancelCode, SessionId};
use serde_json::Value;

/// The time between two looks of the player. The cases sleep a few of these, or an hour.
pub const TICK: Duration = Duration::from_millis(8);

/// What a body returns: a future of its output.
pub type Returned = Pin<Box<dyn Future<Output = Result<Value, BoxError>> + Send>>;

/// Who runs bodies. One case is played on each host.
///
/// A host that loses its process, by its own choice at any moment in any call, comes up again within
/// the same call: with the bodies of the next life, [`Ledger::next_life`], and after it has taken up
/// what was left.
pub trait Host {
    /// Starts a session of a body. Where the process is lost meanwhile, there is still one.
    fn start(&mut self, body: &str, input: Value) -> impl Future<Output = SessionId>;

    /// All open questions, of all sessions.
    fn questions(&mut self) -> impl Future<Output = Vec<Asked>>;

    /// Answers open questions of a session, all or none. Where the process is lost, or one of them is
    /// not open any more, perhaps none.
    fn answer(
        &mut self,
        session: SessionId,
        answers: Vec<(QuestionId, Value)>,
    ) -> impl Future<Output = ()>;

    /// Asks a session to stop, for a person. Whether it is told that it has.
    fn cancel(&mut self, session: SessionId, text: &str) -> impl Future<Output = bool>;

    /// Lets so much time pass, and everything happen that happens meanwhile.
    fn pass(&mut self, time: Duration) -> impl Future<Output = ()>;

    /// How a session ended; none where it has not.
    fn end(&mut self, session: SessionId) -> impl Future<Output = Option<End>>;

    /// What a session that has ended told of its progress, in order and each once; none where that is not known.
    fn progress(&mut self, session: SessionId) -> impl Future<Output = Option<Vec<Value>>>;
}

/// An open question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whose it is.
    pub session: SessionId,
    /// Its id.
    pub id: QuestionId,
    /// The name under which it was asked.
    pub name: String,
    /// What is shown to whom is asked.
    pub prompt: String,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The body returned this.
    Done(Value),
    /// It returned an error, or panicked.
    Failed {
        /// With all that led to it.
        message: String,
        /// Whether the same again may succeed.
        retryable: bool,
        /// Whether it panicked.
        is_panic: bool,
    },
    /// It was cancelled.
    Cancelled {
        /// Who asked.
        code: CancelCode,
        /// Why.
        text: String,
    },
    /// It does not go on, though it has not ended: its host says why.
    Stuck(String),
}

/// A body, what the outside does meanwhile, and what must come of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    /// The name of its body.
    pub body: &'static str,
    /// The body's input.
    pub input: Value,
    /// What the outside does.
    pub acts: Vec<Act>,
    /// How the session ends.
    pub end: End,
    /// The sessions that it starts, by the names of their bodies, and how they end. A cancellation
    /// without a text may have any.
    pub others: Vec<(&'static str, End)>,
    /// What it tells of its progress.
    pub progress: Vec<Value>,
    /// Whether much happens side by side.
    pub is_by_chance: bool,
}

/// What the outside does. Answers are given sooner or later, whenever the question is open; the
/// others are done in their order, as soon as they can be.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers the question of this name.
    Answer(&'static str, Value),
    /// Answers all questions of this name, each by its prompt: some at a time, in no order.
    Echo(&'static str),
    /// Answers questions of this name by `true`, or does not.
    Maybe(&'static str),
    /// Asks the session to stop, with this text.
    Cancel(When, &'static str),
    /// Lets effects go on that wait for this.
    Open(&'static str),
}

/// A moment.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// This question is open.
    Asked(&'static str),
    /// The effects of these steps are being executed.
    Running(&'static [&'static str]),
}
