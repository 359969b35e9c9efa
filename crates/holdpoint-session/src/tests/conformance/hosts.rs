//! The registry as a host of the testkit's bodies: in memory or over any store, and over a virtual
//! disk where its process is lost after so many writes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::event::EventKind;
use holdpoint_core::session::{FailureCause, QuestionId, SessionState, SuspendCause};
use holdpoint_core::store::Store;
use holdpoint_core::{Clock, Retryable, SessionId};
use holdpoint_testkit::bodies::{Asked, End, Host, Ledger};
use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::{Faults, FaultyStore, VirtualDisk};
use serde_json::Value;

use crate::driver::Flaw;
use crate::tests::rules::Steps;
use crate::{Answers, Body, Observed, Outcome, SessionContext, Sessions, SessionsBuilder, Since};

/// A life of a process: its registry, with the bodies of the cases.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) sessions: Sessions,
    bodies: Vec<Body<Value, Value>>,
}

impl Life {
    pub(crate) async fn begin(ledger: &Ledger, builder: SessionsBuilder) -> Self {
        let sessions = builder.open().await.unwrap();
        let register = |body: holdpoint_testkit::bodies::NamedBody| {
            let name = body.name();
            let run = move |cx: SessionContext, input: Value| body.call(cx, input);
            sessions.register(name, run).unwrap()
        };
        let bodies = ledger.next_life().into_iter().map(register).collect();
        Self { sessions, bodies }
    }

    fn body(&self, name: &str) -> Body<Value, Value> {
        self.bodies.iter().find(|body| body.name() == name).unwrap().clone()
    }

    fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.sessions.list().iter().map(|snapshot| snapshot.id).collect();
        ids.extend(self.sessions.list_stored(0, 1_000).unwrap());
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The registry, and nobody who kills it: each session has the key of its body.
impl Host for Life {
    async fn start(&mut self, body: &str, input: Value) -> SessionId {
        self.body(body).spawn(input).key(body).await.unwrap().id()
    }

    async fn questions(&mut self) -> Vec<Asked> {
        let mut all = Vec::new();
        for session in self.ids() {
            for question in self.sessions.get(session).unwrap().questions().unwrap() {
                let (name, prompt) = (question.name.to_string(), question.prompt.to_string());
                all.push(Asked { session, id: question.id, name, prompt });
            }
        }
        all
    }

    async fn answer(&mut self, session: SessionId, answers: Vec<(QuestionId, Value)>) {
        let all =
            answers.into_iter().fold(Answers::new(), |all, (id, value)| all.answer(id, value));
        let _refused = self.sessions.get(session).unwrap().answer_all(all).await;
    }

    async fn cancel(&mut self, session: SessionId, text: &str) -> bool {
        self.sessions.get(session).unwrap().cancel(text).await.is_ok()
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn end(&mut self, session: SessionId) -> Option<End> {
        let handle = self.sessions.get(session).unwrap();
        let state = handle.state().unwrap();
        if let SessionState::Suspended(cause @ SuspendCause::Mismatch { .. }) = state {
            return Some(End::Stuck(format!("{cause:?}")));
        }
        Some(match Outcome::of(&state)? {
            Outcome::Done(_) => End::Done(handle.typed::<Value>().await.unwrap()),
            Outcome::Failed(failure) => End::Failed {
                message: failure.message().to_string(),
                retryable: failure.is_retryable(),
                is_panic: matches!(failure.cause(), FailureCause::Panic),
            },
            Outcome::Cancelled(cause) => {
                End::Cancelled { code: cause.code, text: cause.text.to_string() }
            }
        })
    }

    async fn progress(&mut self, session: SessionId) -> Option<Vec<Value>> {
        let handle = self.sessions.get(session).unwrap();
        let mut observer = handle.observe(Since::Beginning).unwrap();
        let mut told = Vec::new();
        while let Some(next) = observer.next().await {
            if let Observed::Event(event) = next
                && let EventKind::SessionProgress { progress } = event.kind
            {
                told.push(serde_json::from_str(&progress).unwrap());
            }
        }
        Some(told)
    }
}

/// A process on a virtual disk that is lost when so many writes are acknowledged, again and again,
/// in the midst of coming up as well.
pub(crate) struct Cut {
    disk: VirtualDisk,
    ledger: Ledger,
    random: Random,
    flaw: Option<Flaw>,
    /// How many writes the next lives have; the one after them has no end.
    lives: VecDeque<usize>,
    left: usize,
    /// How often the process was lost.
    pub(crate) losses: usize,
    clock: Arc<Steps>,
    store: Arc<FaultyStore>,
    life: Life,
}

impl Cut {
    pub(crate) async fn new(
        ledger: &Ledger,
        seed: u64,
        lives: &[usize],
        flaw: Option<Flaw>,
    ) -> Self {
        let disk = VirtualDisk::new();
        let store = disk.open();
        let clock = Steps::new();
        let life = begin(&store, ledger, flaw, &clock).await;
        let mut cut = Self {
            disk,
            ledger: ledger.clone(),
            random: Random::new(seed),
            flaw,
            lives: lives.iter().copied().collect(),
            left: 0,
            losses: 0,
            clock,
            store,
            life,
        };
        cut.come_up().await;
        cut
    }

    /// Begins the next life, as often as it is lost before it has taken up what was left.
    async fn come_up(&mut self) {
        loop {
            self.store = self.disk.open_with(Faults::none().delay_all());
            self.life = begin(&self.store, &self.ledger, self.flaw, &self.clock).await;
            self.left = self.lives.pop_front().unwrap_or(usize::MAX);
            let sessions = self.life.sessions.clone();
            if self.drive(async move { sessions.recover().await }).await.is_some() {
                return;
            }
            self.is_down().await;
        }
    }

    /// Nobody is up for a while, in which sleeps may fall due.
    async fn is_down(&mut self) {
        tokio::time::sleep(self.random.millis(100)).await;
    }

    /// Waits for something while writes are acknowledged, one or some at a time; none where the
    /// process was lost.
    async fn drive<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        loop {
            for _ in 0..8 {
                let polled = poll_fn(|cx| Poll::Ready(what.as_mut().poll(cx))).await;
                if let Poll::Ready(value) = polled {
                    return Some(value);
                }
                tokio::task::yield_now().await;
            }
            let waiting = self.store.waiting();
            if waiting == 0 || self.random.percent(30) {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            if self.left > 0 {
                let count = waiting.min(1 + self.random.below(3) as usize).min(self.left);
                self.left -= count;
                self.store.release(count);
                // Written, and perhaps nobody in the process knows of it.
                if self.left > 0 || self.random.percent(50) {
                    continue;
                }
            }
            self.losses += 1;
            self.store.crash();
            return None;
        }
    }

    /// The same; where the process was lost it has come up again.
    async fn done<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let done = self.drive(what).await;
        if done.is_none() {
            self.is_down().await;
            self.come_up().await;
        }
        done
    }
}

async fn begin(
    store: &Arc<FaultyStore>,
    ledger: &Ledger,
    flaw: Option<Flaw>,
    clock: &Arc<Steps>,
) -> Life {
    let (store, clock): (Arc<dyn Store>, Arc<dyn Clock>) =
        (Arc::clone(store) as _, Arc::clone(clock) as _);
    Life::begin(ledger, Sessions::builder().store(store).clock(clock).flaw(flaw)).await
}

impl Host for Cut {
    async fn start(&mut self, body: &str, input: Value) -> SessionId {
        loop {
            let spawn = self.life.body(body).spawn(input.clone()).key(body);
            if let Some(run) = self.done(spawn).await {
                return run.unwrap().id();
            }
        }
    }

    async fn questions(&mut self) -> Vec<Asked> {
        self.life.questions().await
    }

    async fn answer(&mut self, session: SessionId, answers: Vec<(QuestionId, Value)>) {
        let all =
            answers.into_iter().fold(Answers::new(), |all, (id, value)| all.answer(id, value));
        let handle = self.life.sessions.get(session).unwrap();
        let _refused = self.done(handle.answer_all(all)).await;
    }

    async fn cancel(&mut self, session: SessionId, text: &str) -> bool {
        let handle = self.life.sessions.get(session).unwrap();
        self.done(handle.cancel(text)).await.is_some_and(|cancelled| cancelled.is_ok())
    }

    async fn pass(&mut self, time: Duration) {
        self.done(tokio::time::sleep(time)).await;
    }

    async fn end(&mut self, session: SessionId) -> Option<End> {
        let mut life = self.life.clone();
        self.done(async move { life.end(session).await }).await.flatten()
    }

    async fn progress(&mut self, session: SessionId) -> Option<Vec<Value>> {
        loop {
            let mut life = self.life.clone();
            if let Some(told) = self.done(async move { life.progress(session).await }).await {
                return told;
            }
        }
    }
}
