//! What a process has of a counter, and what it does with it.
//!
//! # Invariants
//! 1. What is decided is decided under the lock of the tenure, and handed to the store under it: so
//!    the store has the changes in the order of the decisions.
//! 2. Answers leave in that order, each after the acknowledgement of all changes it tells of.
//! 3. After a failure nothing more is decided on the state in memory. Once nobody waits any more, it
//!    is read anew.
//! 4. A claim is made on a state that was read after the number of its last event. So if somebody
//!    has decided in between, under the same epoch too, the claim is refused as out of order.
//!
//! # Locks
//! The tenure, then the line. Whoever is told of an acknowledgement takes the line alone, so it may
//! come from any thread, and from within an append.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use holdpoint_core::Clock;
use holdpoint_core::event::{EventKind, Sequencer, Stream};
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{
    Appended, Fence, Reply, RequestError, Responder, Snapshot, Store, StreamInfo, Write,
};

use super::decider::{AskError, Flaw};
use super::line::{Line, Said, Way};
use super::{Counter, Decision, Input, events};

pub(super) struct Inner {
    me: Weak<Self>,
    pub(super) store: Arc<dyn Store>,
    pub(super) stream: Stream,
    pub(super) clock: Arc<dyn Clock>,
    flaw: Flaw,
    tenure: Mutex<Tenure>,
    line: Mutex<Line>,
    /// Only where it is a flaw to have it.
    remembered: Mutex<Option<Counter>>,
}

/// What this process has of the counter.
#[derive(Default)]
enum Tenure {
    /// Nothing, as far as it knows.
    #[default]
    None,
    /// It owns it under this epoch, or has just claimed it.
    Owner(Reign),
    /// It was let go. Nothing more is decided until all have heard.
    Over,
}

struct Reign {
    epoch: u64,
    counter: Counter,
    numbers: Sequencer,
}

/// What a write does to the owner.
#[derive(Clone, Copy)]
struct Step {
    fence: Fence,
    release: bool,
}

impl Inner {
    pub(super) fn new(
        store: Arc<dyn Store>,
        stream: Stream,
        clock: Arc<dyn Clock>,
        flaw: Flaw,
    ) -> Result<Arc<Self>, RequestError> {
        let inner = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            store,
            stream,
            clock,
            flaw,
            tenure: Mutex::default(),
            line: Mutex::default(),
            remembered: Mutex::default(),
        });
        inner.store.respond(Arc::new(Ear(Arc::downgrade(&inner))))?;
        Ok(inner)
    }

    /// Decides here, where this process is the owner, and has it told by `way`. Gives `way` back
    /// where it is not.
    pub(super) fn decide(&self, input: Input, way: Way) -> Result<Option<Way>, AskError> {
        let mut tenure = lock(&self.tenure);
        let Some(way) = self.await_end(&mut tenure, way) else { return Ok(None) };
        self.resume(&mut tenure)?;
        let Tenure::Owner(reign) = &mut *tenure else { return Ok(Some(way)) };
        let step = Step { fence: Fence::Owned { epoch: reign.epoch }, release: false };
        self.carry_out(reign, Some(input), Vec::new(), step, way)?;
        drop(tenure);
        self.settle();
        Ok(None)
    }

    /// Claims the counter. With an `input` it is decided and let go in the same write; without one
    /// it is kept.
    pub(super) fn claim(&self, input: Option<Input>, way: Way) -> Result<(), AskError> {
        let mut tenure = lock(&self.tenure);
        let Some(way) = self.await_end(&mut tenure, way) else { return Ok(()) };
        self.resume(&mut tenure)?;
        if let Tenure::Owner(_) = &*tenure {
            // Another thread was faster.
            lock(&self.line).push(None, Said::Again, Some(way));
        } else {
            let info = self.store.info(&self.stream)?;
            let mut reign = self.reign(&info, info.epoch + 1)?;
            let begins = events::claim(info.state, reign.epoch);
            let step = Step { fence: Fence::Claim { epoch: info.epoch }, release: input.is_some() };
            self.carry_out(&mut reign, input, begins, step, way)?;
            *tenure = if step.release { Tenure::Over } else { Tenure::Owner(reign) };
        }
        drop(tenure);
        self.settle();
        Ok(())
    }

    pub(super) fn let_go(&self, way: Way) -> Result<bool, AskError> {
        let mut tenure = lock(&self.tenure);
        let Some(way) = self.await_end(&mut tenure, way) else { return Ok(false) };
        self.resume(&mut tenure)?;
        let is_owner = if let Tenure::Owner(reign) = &mut *tenure {
            let step = Step { fence: Fence::Owned { epoch: reign.epoch }, release: true };
            self.carry_out(reign, None, Vec::new(), step, way)?;
            *tenure = Tenure::Over;
            true
        } else {
            lock(&self.line).push(None, Said::Again, Some(way));
            false
        };
        drop(tenure);
        self.settle();
        Ok(is_owner)
    }

    /// Where the tenure is over, or has failed, `way` waits until everybody before it has heard,
    /// and is to look again then.
    fn await_end(&self, tenure: &mut Tenure, way: Way) -> Option<Way> {
        self.settle();
        let mut line = lock(&self.line);
        if matches!(tenure, Tenure::Over) || line.has_failed() {
            if !line.is_empty() {
                line.push(None, Said::Again, Some(way));
                return None;
            }
            line.restart();
            *tenure = Tenure::None;
        }
        Some(way)
    }

    /// Goes on as owner where the store says so: after a failure that has not ended this process.
    fn resume(&self, tenure: &mut Tenure) -> Result<(), AskError> {
        if let Tenure::None = tenure {
            let info = self.store.info(&self.stream)?;
            if let Some(owner) = info.owner.filter(|owner| self.is_mine(*owner)) {
                *tenure = Tenure::Owner(self.reign(&info, owner.epoch)?);
            }
        }
        Ok(())
    }

    fn is_mine(&self, owner: Owner) -> bool {
        owner.instance == self.store.instance() && self.store.is_alive(owner)
    }

    /// Whether this process is the owner still. Others may have decided since where it is not: it
    /// has failed at something else, say.
    fn reigns(&self, epoch: u64) -> Result<bool, AskError> {
        let owner = self.store.info(&self.stream)?.owner;
        Ok(owner.is_some_and(|owner| owner.epoch == epoch && self.is_mine(owner)))
    }

    /// The state, read after `info`.
    fn reign(&self, info: &StreamInfo, epoch: u64) -> Result<Reign, AskError> {
        let snapshot = self.store.snapshot(&self.stream)?;
        let counter = snapshot.and_then(|snapshot| Counter::restore(&snapshot.data));
        let remembered = lock(&self.remembered).clone();
        let counter = remembered.or(counter).ok_or(AskError::Foreign { what: "snapshot" })?;
        Ok(Reign { epoch, counter, numbers: Sequencer::after(self.stream.clone(), info.last_seq) })
    }

    /// Decides, hands what has changed to the store, and has `way` wait for it.
    fn carry_out(
        &self,
        reign: &mut Reign,
        input: Option<Input>,
        mut kinds: Vec<EventKind>,
        step: Step,
        way: Way,
    ) -> Result<(), AskError> {
        let Reign { epoch, counter, numbers } = reign;
        if self.flaw == Flaw::ForgetsRequests {
            counter.forget();
        }
        let said = input.map(|input| {
            let Decision { change, answer } = counter.handle(input);
            let instance = self.store.instance();
            kinds.extend(change.map(|change| events::change(change, instance, *epoch)));
            Said::Answer(answer)
        });
        if step.release {
            kinds.push(events::release());
        }
        if self.flaw == Flaw::IgnoresOthers {
            *lock(&self.remembered) = Some(counter.clone());
        }
        let said = said.unwrap_or(Said::Again);
        let is_read = kinds.is_empty();
        // Whoever waits behind a change is told only if that was accepted of the owner.
        if is_read && lock(&self.line).is_empty() && !self.reigns(*epoch)? {
            let mut line = lock(&self.line);
            line.fail();
            line.push(None, Said::Again, Some(way));
            return Ok(());
        }
        let is_early = self.flaw == Flaw::AnswersEarly || self.flaw == Flaw::ReadsAhead && is_read;
        let change = if is_read {
            None
        } else {
            let at = self.clock.now().wall;
            let events: Vec<_> = kinds.into_iter().map(|kind| numbers.event(at, kind)).collect();
            let state = if step.release { StateName::Suspended } else { StateName::Running };
            let data = counter.snapshot();
            let mut write = Write::new(&self.stream, step.fence)
                .events(&events)
                .snapshot(Snapshot { state, data: &data });
            write.release = step.release;
            match self.store.append(&[write]) {
                Ok(Appended::Acked(_)) => None,
                Ok(Appended::Pending(ticket)) => Some(ticket),
                Err(error) => {
                    lock(&self.line).fail();
                    return Err(error.into());
                }
            }
        };
        let mut line = lock(&self.line);
        if is_early {
            line.push(change, said, None);
            drop(line);
            way.tell(Ok(said));
        } else {
            line.push(change, said, Some(way));
        }
        Ok(())
    }

    /// Tells those who need not wait any more.
    fn settle(&self) {
        let waker = Waker::from(Arc::new(Bell(Weak::clone(&self.me))));
        let mut cx = Context::from_waker(&waker);
        loop {
            let next = lock(&self.line).next(&mut cx);
            let Poll::Ready((way, outcome)) = next else { return };
            if let Some(way) = way {
                way.tell(outcome);
            }
        }
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        match &*lock(&self.tenure) {
            Tenure::Owner(reign) if !lock(&self.line).has_failed() => Some(reign.epoch),
            _ => None,
        }
    }
}

/// Takes the requests of other processes.
struct Ear(Weak<Inner>);

impl Responder for Ear {
    fn request(&self, stream: &Stream, request: &[u8], reply: Reply) {
        let Some(inner) = self.0.upgrade().filter(|inner| inner.stream == *stream) else { return };
        if let Some(input) = Input::decode(request) {
            // What cannot be decided here the asker may decide itself.
            let _ = inner.decide(input, Way::There(reply));
        }
    }
}

/// Rings when something was acknowledged.
struct Bell(Weak<Inner>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(inner) = self.0.upgrade() {
            inner.settle();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
