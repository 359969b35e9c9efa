//! The task that runs a body, and nothing else.
//!
//! # Invariants
//! 1. A body is polled inside its own mark, so that operations called elsewhere are refused.
//! 2. A panic of the body is an outcome. Nothing of ours is unwound by it.
//! 3. Whatever becomes of the task, the session does not stay Running without one: a task that is
//!    dropped lets go of its session.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use holdpoint_core::body::{BodyFuture, BodyOutput, SessionPort, is_in_body, poll_body};
use holdpoint_core::session::SuspendCause;
use holdpoint_core::{BoxError, CancelInfo};

use super::life::FOREIGN;
use super::recorded::Turn;
use super::rt::Timer;
use super::session::{Effects, Orders, Session};
use super::sync::Mutex;
use super::turn::Settled;

/// How many turns are made before others may run.
const TURNS: u32 = 64;

/// Runs the body of one session.
pub(crate) struct BodyTask {
    session: Arc<Session>,
    body: Option<BodyFuture>,
    timer: Timer,
    /// Only where results are recorded: tells whether the body has woken itself in a poll.
    waker: Option<Arc<TurnWaker>>,
    span: tracing::Span,
    has_started: bool,
    is_over: bool,
}

/// How a body's poll ended.
enum Polled {
    Waits,
    Returned(Result<BodyOutput, BoxError>),
    Panicked(String),
}

/// The waker that a recorded body is polled with.
#[derive(Debug)]
struct TurnWaker {
    is_woken: AtomicBool,
    /// Woken by the body's own code, which is not done with what it was given.
    is_in_turn: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl BodyTask {
    pub(crate) fn new(session: Arc<Session>, body: BodyFuture, span: tracing::Span) -> Self {
        let waker = session.is_recorded.then(|| Arc::new(TurnWaker::new()));
        let timer = Timer::default();
        Self { session, body: Some(body), timer, waker, span, has_started: false, is_over: false }
    }

    /// One life: until the body has ended and all of it is shown, or the session is given away.
    fn live(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Before it looks at anything: what is decided or ordered after the look wakes it.
        self.session.follow(cx.waker());
        for _ in 0..TURNS {
            if self.session.show_acknowledged(cx).is_err() {
                self.drop_body();
                return Poll::Ready(());
            }
            if self.body.is_none() {
                return self.poll_settled();
            }
            if !self.has_started {
                // A body does not run before its session is there to stay.
                if !self.session.is_settled() {
                    return Poll::Pending;
                }
                self.has_started = true;
                self.session.end_if_closing();
            }
            match self.session.orders() {
                Orders::Run => {}
                Orders::Suspend(_) if self.session.is_executing() => {}
                Orders::Suspend(cause) => {
                    self.let_go(cause);
                    continue;
                }
                Orders::Abort(cause) => {
                    self.abort(cause);
                    continue;
                }
            }
            let went_on = match self.waker.clone() {
                Some(waker) => self.turn(&waker, cx),
                None => self.poll_direct(cx),
            };
            if !went_on {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls a body whose results are not recorded. Whether there is more to do at once.
    fn poll_direct(&mut self, cx: &mut Context<'_>) -> bool {
        match self.poll_body(cx) {
            Polled::Waits => self.tick_if_due(cx),
            polled => {
                self.end(polled);
                true
            }
        }
    }

    /// One turn of a body whose results are recorded, or a part of one. Whether there is more to
    /// do at once.
    fn turn(&mut self, waker: &Arc<TurnWaker>, cx: &mut Context<'_>) -> bool {
        waker.follow(cx.waker());
        // A turn is over when the body has not woken itself in its last poll. Effects may be woken
        // all the time: they are polled when there is nothing to give.
        if !waker.is_in_turn() && !self.begin_turn() && !waker.is_woken() {
            return self.tick_if_due(cx);
        }
        if self.body.is_none() {
            return true;
        }
        waker.clear();
        let own = Waker::from(Arc::clone(waker));
        match self.poll_body(&mut Context::from_waker(&own)) {
            Polled::Waits if waker.is_in_turn() => {}
            Polled::Waits => {
                let mut effects = Effects::default();
                let settled = self.session.settle(&mut effects);
                effects.carry_out(&self.session);
                self.after(settled);
                // Also where effects are woken all the time.
                self.tick_if_due(cx);
            }
            polled => self.end(polled),
        }
        true
    }

    /// Gives the body the next record. Whether it is to be polled.
    fn begin_turn(&mut self) -> bool {
        match self.session.orders() {
            Orders::Run => {}
            // It winds up what it has begun.
            Orders::Suspend(_) if self.session.tell_of_suspend() => {}
            _ => return false,
        }
        let mut effects = Effects::default();
        let turn = self.session.next_turn(&mut effects);
        let is_due = match turn {
            Turn::Poll => true,
            Turn::Nothing => false,
            Turn::Live => {
                let settled = self.session.go_live(&mut effects);
                effects.carry_out(&self.session);
                self.after(settled);
                // What was permitted has woken the body, what was recorded comes back; what was
                // acknowledged during the replay is there already.
                return self.body.is_none() || self.begin_turn();
            }
            Turn::Secret => {
                self.session.ask_secret(&mut effects);
                false
            }
            Turn::Mismatch { recorded, found } => {
                self.let_go(SuspendCause::Mismatch { recorded, found });
                true
            }
        };
        effects.carry_out(&self.session);
        is_due
    }

    fn after(&mut self, settled: Settled) {
        if let Settled::Foreign = settled {
            self.end(Polled::Panicked(FOREIGN.to_owned()));
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(body) = &mut self.body else { return Polled::Waits };
        let port: &dyn SessionPort = &*self.session;
        let poll = || self.span.in_scope(|| poll_body(port, || body.as_mut().poll(cx)));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Polled::Waits,
            Ok(Poll::Ready(result)) => Polled::Returned(result),
            Err(panic) => Polled::Panicked(message_of(&*panic)),
        }
    }

    /// The body is over: what it returned is what happened (SESS-008).
    fn end(&mut self, polled: Polled) {
        let end = match polled {
            Polled::Waits => return,
            Polled::Returned(result) => Ok(result),
            Polled::Panicked(message) => Err(message),
        };
        let end = match self.drop_body() {
            None => end,
            // What it returned is lost with what it left behind.
            Some(message) => Err(message),
        };
        self.session.end(end);
    }

    /// Lets go of the session, which others may take.
    fn let_go(&mut self, cause: SuspendCause) {
        self.drop_body();
        self.session.suspend(cause);
    }

    fn abort(&mut self, cause: CancelInfo) {
        self.drop_body();
        self.session.abort(cause);
    }

    /// Drops the body. Its destructors may panic; then the message is given.
    fn drop_body(&mut self) -> Option<String> {
        let body = self.body.take()?;
        let port: &dyn SessionPort = &*self.session;
        let drop_it = || self.span.in_scope(|| poll_body(port, || drop(body)));
        catch_unwind(AssertUnwindSafe(drop_it)).err().map(|panic| message_of(&*panic))
    }

    /// Whether something was due, and is done.
    fn tick_if_due(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.session.next_deadline();
        let is_due = self.timer.poll(deadline, self.session.clock(), cx).is_ready();
        if is_due {
            self.session.tick();
        }
        is_due
    }

    /// The body is gone: the task ends when all that was decided is shown.
    fn poll_settled(&mut self) -> Poll<()> {
        if self.session.is_settled() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn finish(&mut self, was_dropped: bool) {
        if !std::mem::replace(&mut self.is_over, true) {
            Session::task_is_over(&self.session, was_dropped);
        }
    }
}

impl Future for BodyTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.live(cx).is_pending() {
            return Poll::Pending;
        }
        this.finish(false);
        Poll::Ready(())
    }
}

impl Drop for BodyTask {
    /// The runtime went down, or dropped the task before its end.
    fn drop(&mut self) {
        if !self.is_over {
            if self.body.is_some() {
                self.let_go(SuspendCause::Interrupted);
            }
            self.finish(true);
        }
    }
}

impl TurnWaker {
    /// Woken: a body that starts is to be polled.
    fn new() -> Self {
        let (is_woken, is_in_turn) = (AtomicBool::new(true), AtomicBool::new(true));
        Self { is_woken, is_in_turn, task: Mutex::new(None) }
    }

    fn is_in_turn(&self) -> bool {
        self.is_in_turn.load(Ordering::Acquire)
    }

    fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Acquire)
    }

    fn clear(&self) {
        self.is_woken.store(false, Ordering::Release);
        self.is_in_turn.store(false, Ordering::Release);
    }

    /// From now on this task is told.
    fn follow(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            let replaced = known.replace(task.clone());
            drop(known);
            drop(replaced);
        }
    }
}

impl Wake for TurnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        if is_in_body() {
            self.is_in_turn.store(true, Ordering::Release);
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// What a panic says.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "the body panicked with something that is no text".to_owned()
    }
}
