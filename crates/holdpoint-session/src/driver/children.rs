//! Children: sessions that a body starts, and whose outcome is the result of an operation.
//!
//! The parent's journal names the child before the child exists, so that after a crash the same
//! child is found, or made if it was not yet.

use std::sync::Arc;

use holdpoint_core::body::{ChildSpec, OpError, Payload};
use holdpoint_core::event::Stream;
use holdpoint_core::session::{Completion, Transition};
use holdpoint_core::{CancelCode, CancelInfo, Retryable, SessionId};

use super::body::FromText;
use super::handle::SessionHandle;
use super::link::{Change, Delivery, Link, OpRef};
use super::session::{ChildStart, Effects, Session, Shown};
use super::shared::Shared;
use super::spawn::{Spawned, Spec};
use super::turn::record;
use super::{rt, stored};
use crate::error::{RunError, SpawnError};
use crate::report::Outcome;

impl Session {
    /// Starts a child, and a watch for its outcome.
    pub(crate) fn start_child(&self, start: ChildStart) {
        let Some(parent) = self.shared.get(self.id) else { return };
        if !start.spec.is_detached {
            let mut state = self.lock();
            let children = &mut state.rare().children;
            if !children.contains(&start.child) {
                children.push(start.child);
            }
        }
        rt::spawn(async move {
            let op = start.op.clone();
            let child = start.child;
            let result = parent.shared.run_child(&parent, start).await;
            parent.child_has_ended(&op, child, result);
        });
    }

    /// Whether it still waits for this child.
    fn wants(&self, child: SessionId) -> bool {
        let state = self.lock();
        match state.recorded.as_deref() {
            Some(recorded) => recorded.children.values().any(|known| *known == child),
            None => state.known_rare().is_some_and(|rare| rare.children.contains(&child)),
        }
    }

    /// A child has ended, or could not be started: the operation that waits for it is over.
    fn child_has_ended(&self, op: &OpRef, child: SessionId, result: Result<Payload, OpError>) {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.rare().children.retain(|known| *known != child);
        let before = state.before();
        let mut change = Change::new(now, Transition::default());
        match op {
            // A later start may have its place.
            OpRef::Slot(target) if !state.slots.awaits_child(*target, child) => return,
            OpRef::Slot(_) => change.deliveries.push(Delivery::Op(op.clone(), result)),
            OpRef::Key(key) => {
                let Some(recorded) = state.recorded.as_deref_mut() else { return };
                recorded.children.remove(key);
                // Nobody waits for it any more: the body has dropped it, or has ended.
                if !recorded.table.outstanding().any(|open| open == key) {
                    return;
                }
                record(&mut change, key.clone(), result);
            }
        }
        if state.machine.session().owner().is_none() {
            return;
        }
        self.commit(state, before, change, &mut effects).forget();
        drop(guard);
        effects.carry_out(self);
    }
}

impl Shared {
    async fn run_child(
        self: &Arc<Self>,
        parent: &Session,
        start: ChildStart,
    ) -> Result<Payload, OpError> {
        let ChildStart { child, spec, .. } = start;
        let is_detached = spec.is_detached;
        if !self.is_known(child) {
            // Who stops a child does not find one that is not there yet.
            if !is_detached && !parent.wants(child) {
                return Err(failed("nobody waits for it", false));
            }
            let made = self.make_child(parent, child, spec)?.wait().await;
            made.map_err(|error| failed(error.to_string(), error.is_retryable()))?;
            if !is_detached && !parent.wants(child) {
                self.stop_child(child);
            }
        }
        if is_detached {
            return Ok(format!("\"{child}\""));
        }
        // From before the first look: what happens between two looks is not missed.
        let mut news = self.store.as_ref().map(|store| store.changes());
        let handle = SessionHandle::new(Arc::clone(self), child);
        loop {
            match handle.ended().await {
                Ok(outcome) => return result_of(&handle, outcome),
                // It is resumed as its parent was, or by whoever finds it.
                Err(RunError::Suspended(_)) => {
                    if handle.resume().await.is_ok() {
                        continue;
                    }
                    let has_changed = match &mut news {
                        Some(news) => news.changed().await,
                        None => false,
                    };
                    if !has_changed {
                        return Err(failed("it is suspended and cannot be resumed", true));
                    }
                }
                Err(error) => return Err(failed(error.to_string(), error.is_retryable())),
            }
        }
    }

    fn make_child(
        self: &Arc<Self>,
        parent: &Session,
        child: SessionId,
        spec: ChildSpec,
    ) -> Result<Shown, OpError> {
        let bodies = self.bodies();
        let found = match spec.version {
            Some(version) => bodies.get(&spec.body, version).cloned(),
            None => bodies.latest(&spec.body).cloned(),
        };
        drop(bodies);
        let Some(body) = found else {
            let version =
                spec.version.map_or(String::new(), |version| format!(" of version {version}"));
            return Err(failed(format!("no body `{}`{version} is registered", spec.body), false));
        };
        let mut child_spec = Spec::new(spec.body.as_str().into(), body.version(), true);
        child_spec.id = child;
        child_spec.parent = (!spec.is_detached).then_some(parent.id);
        child_spec.input = Some(spec.input.clone());
        let launch = Box::new(FromText { body, input: spec.input.into() });
        self.spawn(child_spec, launch).map(Spawned::shown).map_err(|error| refused(&error))
    }

    /// Nobody waits for this child any more: it is asked to stop, wherever it is.
    pub(crate) fn stop_child(self: &Arc<Self>, child: SessionId) {
        let text = "its parent does not wait for it any more";
        let cause = CancelInfo::new(CancelCode::Parent, text, self.clock.now().wall);
        if let Some(session) = self.get(child) {
            let goes_its_way = |link: &Link| link.about.parent.is_none();
            if session.lock().link.as_deref().is_some_and(goes_its_way) {
                return;
            }
            match session.cancel(cause.clone()) {
                Ok(None) => {}
                Ok(Some(shown)) => return shown.forget(),
                // It has ended.
                Err(_) => return,
            }
        }
        if self.is_durable {
            let shared = Arc::clone(self);
            rt::spawn(async move {
                if stored::load(&shared, child).is_ok_and(|loaded| loaded.about.parent.is_some()) {
                    drop(stored::cancel(&shared, child, cause).await);
                }
            });
        }
    }

    fn is_known(&self, id: SessionId) -> bool {
        if self.get(id).is_some() {
            return true;
        }
        let stream = Stream::Session(id);
        self.store.as_ref().is_some_and(|store| store.info(&stream).is_ok())
    }
}

fn result_of(handle: &SessionHandle, outcome: Outcome) -> Result<Payload, OpError> {
    match outcome {
        Outcome::Done(completion) => output_text(handle, &completion),
        Outcome::Failed(failure) => {
            Err(failed(failure.message().to_string(), failure.is_retryable()))
        }
        Outcome::Cancelled(cause) => Err(failed(format!("it was cancelled: {cause}"), false)),
    }
}

/// The output of a child, as text also where nothing is recorded.
fn output_text(handle: &SessionHandle, completion: &Completion) -> Result<Payload, OpError> {
    if let Some(text) = &completion.output {
        return Ok(text.to_string());
    }
    let unknown = || failed("its output is not kept", false);
    let session = handle.here().ok_or_else(unknown)?;
    let mut state = session.lock();
    let output = state.output.clone().ok_or_else(unknown)?;
    let launch = state.launch.take().ok_or_else(unknown)?;
    drop(state);
    let text = launch.encode(&*output);
    session.lock().launch = Some(launch);
    text.map_err(|message| failed(message, false))
}

fn failed(message: impl Into<String>, retryable: bool) -> OpError {
    OpError::Failed { message: message.into(), retryable }
}

fn refused(error: &SpawnError) -> OpError {
    failed(error.to_string(), error.is_retryable())
}
