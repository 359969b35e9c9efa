//! Through which the bodies of the cases are written: the operations of a session's context, each of
//! which tells the ledger what the body is given.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdpoint_core::SessionId;
use holdpoint_core::body::{Ask, Attempt, BodyError, Child, SessionContext, Step, StepFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Ledger;

/// What a body of the cases has of its session. A clone is the same.
#[derive(Clone)]
pub(super) struct Witness {
    ledger: Ledger,
    life: u64,
    pub(super) cx: SessionContext,
    told: Arc<Mutex<Told>>,
}

/// What this run of the body has come to.
#[derive(Default)]
struct Told {
    place: usize,
    /// How many operations of each kind and name were called.
    calls: BTreeMap<String, u32>,
}

/// An effect that is being executed.
pub(super) struct Effect {
    ledger: Ledger,
    life: u64,
    session: SessionId,
    name: String,
    number: u32,
}

impl Witness {
    pub(super) fn new(ledger: Ledger, life: u64, cx: SessionContext) -> Self {
        Self { ledger, life, cx, told: Arc::default() }
    }

    pub(super) fn begins(&self, body: &str) {
        self.ledger.begins(self.life, self.cx.session_id(), body);
    }

    pub(super) fn ends(&self) {
        let place = self.told().place;
        self.ledger.ends(self.life, self.cx.session_id(), place);
    }

    /// The same for cleaning up.
    pub(super) fn cleanup(&self) -> Self {
        Self { cx: self.cx.cleanup(), ..self.clone() }
    }

    /// The body has learned this, which it must learn in each life.
    pub(super) fn saw(&self, what: impl Display) {
        let place = {
            let mut told = self.told();
            told.place += 1;
            told.place - 1
        };
        self.ledger.given(self.life, self.cx.session_id(), place, &what.to_string());
    }

    /// A step with options. The effect is told which it is.
    pub(super) fn step<T, F, Fut>(
        &self,
        name: &'static str,
        options: fn(Step) -> Step,
        mut effect: F,
    ) -> impl Future<Output = Result<T, BodyError>> + use<T, F, Fut>
    where
        T: Serialize + DeserializeOwned + Debug,
        F: FnMut(Arc<Effect>) -> Fut,
        Fut: Future<Output = Result<T, StepFailure>>,
    {
        let key = self.call("step", name);
        let (me, of) = (self.clone(), key.clone());
        let op = self.cx.step_with(options(Step::new(name)), move |attempt| {
            let executed = Arc::new(me.executes(&of, name, &attempt));
            let work = effect(Arc::clone(&executed));
            async move {
                let result = work.await;
                drop(executed);
                result
            }
        });
        self.clone().told_of(key, op)
    }

    /// A step whose effect takes a while, and brings this.
    pub(super) fn work(
        &self,
        name: &'static str,
        value: u64,
    ) -> impl Future<Output = Result<u64, BodyError>> + use<> {
        self.step(
            name,
            |step| step,
            move |effect| async move {
                effect.a_while().await;
                Ok(value)
            },
        )
    }

    /// A question.
    pub(super) fn ask<T: DeserializeOwned + Debug>(
        &self,
        name: &'static str,
        ask: Ask,
    ) -> impl Future<Output = Result<T, BodyError>> + use<T> {
        let key = self.call("ask", name);
        self.clone().told_of(key, self.cx.ask::<T>(ask))
    }

    /// Several questions at once.
    pub(super) fn ask_all<T: DeserializeOwned + Debug>(
        &self,
        asks: Vec<(&'static str, Ask)>,
    ) -> impl Future<Output = Result<Vec<T>, BodyError>> + use<T> {
        let (names, asks): (Vec<_>, Vec<_>) = asks.into_iter().unzip();
        let keys: Vec<_> = names.iter().map(|name| self.call("ask", name)).collect();
        let (me, wait) = (self.clone(), self.cx.ask_all::<T>(asks));
        async move {
            let result = wait.await;
            if result.is_ok() {
                keys.iter().for_each(|key| me.is_over(key));
            }
            me.saw(format_args!("all: {result:?}"));
            result
        }
    }

    /// A sleep.
    pub(super) fn sleep(
        &self,
        name: &'static str,
        time: Duration,
    ) -> impl Future<Output = Result<(), BodyError>> + use<> {
        let key = self.call("sleep", name);
        self.clone().told_of(key, self.cx.sleep_named(name, time))
    }

    /// A child.
    pub(super) fn child<T: DeserializeOwned + Debug>(
        &self,
        name: &'static str,
        child: Child,
    ) -> impl Future<Output = Result<T, BodyError>> + use<T> {
        let key = self.call("child", name);
        self.clone().told_of(key, self.cx.spawn_child::<T>(child.named(name)))
    }

    /// A session of its own.
    pub(super) fn detached(
        &self,
        name: &'static str,
        child: Child,
    ) -> impl Future<Output = Result<SessionId, BodyError>> + use<> {
        let key = self.call("child", name);
        self.clone().told_of(key, self.cx.spawn_detached(child.named(name)))
    }

    /// The key of an operation that is called now.
    fn call(&self, kind: &str, name: &str) -> String {
        let mut told = self.told();
        let calls = told.calls.entry(format!("{kind} {name}")).or_default();
        *calls += 1;
        format!("{kind} {name}/{calls}")
    }

    async fn told_of<T: Debug>(
        self,
        key: String,
        op: impl Future<Output = Result<T, BodyError>>,
    ) -> Result<T, BodyError> {
        let result = op.await;
        if !matches!(&result, Err(BodyError::Cancelled(_))) {
            self.is_over(&key);
        }
        // When it was asked to stop is the host's affair.
        match &result {
            Err(BodyError::Cancelled(cause)) => {
                self.saw(format_args!("{key}: {}: {}", cause.code, cause.text));
            }
            result => self.saw(format_args!("{key}: {result:?}")),
        }
        result
    }

    fn is_over(&self, key: &str) {
        self.ledger.is_over(self.life, self.cx.session_id(), key);
    }

    fn executes(&self, key: &str, name: &str, attempt: &Attempt) -> Effect {
        let session = attempt.session();
        let pair = (attempt.start().into(), attempt.number().into());
        self.ledger.executes(self.life, session, (key, name), pair);
        // It is the same in each execution, and no other step has it.
        let stated = attempt.idempotency_key();
        let expected = key.strip_prefix("step ").map(|key| format!("{session}/{key}"));
        assert_eq!(Some(stated), expected, "the idempotency key of `{key}`");
        let (ledger, life) = (self.ledger.clone(), self.life);
        Effect { ledger, life, session, name: name.to_owned(), number: attempt.number() }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Effect {
    /// Which attempt it is, from 1.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Takes a while, another in each execution.
    pub(super) async fn a_while(&self) {
        let count = self.ledger.below(4);
        self.ledger.ticks(count).await;
    }

    /// Waits until the outside lets it go on.
    pub(super) async fn gate(&self, gate: &str) {
        self.ledger.gate(gate).await;
    }

    /// Never ends by itself.
    pub(super) async fn hang(&self) {
        std::future::pending::<()>().await;
    }
}

impl Drop for Effect {
    fn drop(&mut self) {
        self.ledger.executes_no_more(self.life, self.session, &self.name);
    }
}
