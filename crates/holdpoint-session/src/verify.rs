//! Rehearsals: a recorded session against new code, before that code is deployed (SESS-017).
//!
//! The body is led over the journal as after a crash, with two differences: nothing is written, and
//! nothing that comes after the journal is done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use holdpoint_core::body::{
    CancelWhen, ErasedBody, Execution, LedgerFault, OpError, OpEvent, OpId, OpKey, OpName, Open,
    Opened, Payload, SessionContext, SessionPort, TableEvent, poll_body,
};
use holdpoint_core::{CancelInfo, Monotonic, SessionId, Timestamp};

use super::driver::{Recorded, Turn, message_of};
use super::recover::Journal;
use crate::error::VerifyError;
use crate::report::Verified;

/// How often a body may wake itself in one turn before it counts as one that never waits.
const MAX_POLLS: u32 = 1_000_000;

/// What the body is given: its journal, and nothing else.
struct Rehearsal {
    session: SessionId,
    recorded: Mutex<Recorded>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Leads a body over a journal.
pub(crate) fn rehearse(
    body: &dyn ErasedBody,
    session: SessionId,
    journal: Journal,
) -> Result<Verified, VerifyError> {
    let Journal { start, entries } = journal;
    let records = entries.len();
    let recorded = Mutex::new(Recorded::new(&start, entries));
    let port = Arc::new(Rehearsal { session, recorded });
    let cx = SessionContext::new(Arc::clone(&port) as _);
    let mut body = body.start(cx, start.input.get())?;
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    loop {
        let mut polls = 0;
        let polled = loop {
            flag.0.store(false, Ordering::Release);
            let mut cx = Context::from_waker(&waker);
            let poll = || poll_body(&*port, || body.as_mut().poll(&mut cx));
            let polled = catch_unwind(AssertUnwindSafe(poll))
                .map_err(|panic| VerifyError::Panicked(message_of(&*panic).into()))?;
            polls += 1;
            if polled.is_ready() || !flag.0.load(Ordering::Acquire) {
                break polled;
            }
            if polls > MAX_POLLS {
                return Err(VerifyError::Foreign);
            }
        };
        let mut recorded = port.lock();
        if polled.is_ready() {
            return match recorded.check_end() {
                Ok(()) => Ok(Verified { records, has_ended: true, waits_for: Vec::new() }),
                Err((recorded, found)) => Err(VerifyError::Mismatch { recorded, found }),
            };
        }
        recorded.gather(Monotonic::ZERO);
        drop(recorded.drop_closed());
        let mut wakes = Default::default();
        let turn = recorded.next_turn(&mut wakes);
        let turn = match turn {
            Turn::Secret => {
                // Nobody is asked in a rehearsal: any text will do.
                recorded.know_secret("\"\"".to_owned());
                recorded.next_turn(&mut wakes)
            }
            turn => turn,
        };
        // What a body with a ledger awaits now is no business of a rehearsal.
        let is_idle = recorded.table.is_idle() && recorded.ledger.is_none();
        let waits_for = recorded.table.outstanding().map(ToString::to_string).collect();
        drop(recorded);
        wakes.wake();
        match turn {
            Turn::Mismatch { recorded, found } => {
                return Err(VerifyError::Mismatch { recorded, found });
            }
            Turn::Live if is_idle => return Err(VerifyError::Foreign),
            Turn::Live => return Ok(Verified { records, has_ended: false, waits_for }),
            Turn::Poll | Turn::Nothing | Turn::Secret => {}
        }
    }
}

impl Rehearsal {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionPort for Rehearsal {
    fn is_recorded(&self) -> bool {
        true
    }

    fn open(&self, name: OpName, op: Open, when: CancelWhen) -> OpId {
        self.lock().table.open(name, op, when)
    }

    fn poll(&self, op: OpId, cx: &mut Context<'_>) -> Poll<OpEvent> {
        let (event, replaced) = self.lock().table.poll(op, cx.waker());
        drop(replaced);
        event.map(|event| match event {
            TableEvent::Execute { ordinal } => {
                OpEvent::Execute(Execution { session: self.session, start: 1, ordinal })
            }
            TableEvent::Done(result) => OpEvent::Done(result),
        })
    }

    fn finish(&self, _: OpId, _: Result<Payload, OpError>) {}

    fn close(&self, op: OpId) {
        let waker = self.lock().table.close(op);
        drop(waker);
    }

    fn emit(&self, _: Payload) {}

    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn random(&self) -> u64 {
        self.lock().random()
    }

    fn session(&self) -> SessionId {
        self.session
    }

    fn cancel(&self) -> Option<CancelInfo> {
        self.lock().table.cancel().cloned()
    }

    fn poll_cancel_requested(&self, _: &mut Context<'_>) -> Poll<CancelInfo> {
        Poll::Pending
    }

    fn open_ledger(&self, knows: &mut dyn FnMut(&OpKey) -> bool) -> Result<Opened, LedgerFault> {
        self.lock().open_ledger(knows)
    }
}
