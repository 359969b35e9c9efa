//! Where the futures of a run live: polled by the driver itself, or spread over threads.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use holdpoint_hold::HoldTicket;
use tokio::task::AbortHandle;

use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::runner::LazyToken;

/// What a future ended with, or the message of its panic.
pub(crate) type Ended<T> = Result<T, String>;

/// The holds of an attempt. Released when its future has ended; where it is dropped before,
/// they go to whoever still has the attempt's token.
pub(crate) struct Held {
    ticket: Option<HoldTicket>,
    token: Arc<LazyToken>,
}

impl Held {
    pub(crate) fn new(ticket: HoldTicket, token: &Arc<LazyToken>) -> Self {
        Self { ticket: Some(ticket), token: Arc::clone(token) }
    }

    fn into_ticket(mut self) -> Option<HoldTicket> {
        self.ticket.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.token.keep(ticket);
        }
    }
}

/// Room for futures by slot number. The driver gives a number to one future at a time.
pub(crate) trait Place<F: Future> {
    /// Starts a future. Answers at once where it ended at its first poll.
    fn start(&mut self, slot: u32, future: F, held: Option<Held>) -> Option<Ended<F::Output>>;

    /// The next future that ended. Keeps the waker of the last call.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<(u32, Ended<F::Output>)>;

    /// Drops the future of a slot.
    fn stop(&mut self, slot: u32);
}

/// What woke up since the driver looked, and whom to tell.
#[derive(Debug)]
struct Inbox<T>(Mutex<(Vec<T>, Option<Waker>)>);

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self(Mutex::new((Vec::new(), None)))
    }
}

impl<T> Inbox<T> {
    fn push(&self, item: T) {
        let waker = {
            let mut inbox = lock(&self.0);
            inbox.0.push(item);
            inbox.1.take()
        };
        // Outside of the lock: waking may run other code.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Swaps all items into the empty `into`, or keeps the waker where there are none.
    fn take(&self, into: &mut Vec<T>, cx: &Context<'_>) -> Poll<()> {
        let mut inbox = lock(&self.0);
        if inbox.0.is_empty() {
            if !inbox.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                inbox.1 = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        std::mem::swap(&mut inbox.0, into);
        Poll::Ready(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave the list half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no message)"))
}

/// How many futures may be polled without an end before others have their turn: some wake
/// themselves each time, and would keep the driver from its timer, its token and its thread.
const POLLS: u32 = 256;

/// Futures polled by the driver's own task. They may borrow and need not be `Send`.
///
/// A slot's box and waker serve one future after the other, so that starting one allocates
/// nothing. A late wake-up of an earlier future polls the present one once too often, which
/// futures allow.
pub(crate) struct InlinePlace<F> {
    slots: Vec<InlineSlot<F>>,
    woken: Arc<Inbox<u32>>,
    /// Taken from `woken`, last first.
    batch: Vec<u32>,
}

struct InlineSlot<F> {
    // Before the holds: fields drop in this order.
    future: Pin<Box<Option<F>>>,
    held: Option<Held>,
    signal: Arc<Signal>,
    waker: Waker,
}

struct Signal {
    slot: u32,
    /// Whether the slot is in the inbox already.
    raised: AtomicBool,
    woken: Arc<Inbox<u32>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.woken.push(self.slot);
        }
    }
}

impl<F: Future> InlinePlace<F> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), woken: Arc::default(), batch: Vec::new() }
    }

    fn poll_slot(&mut self, slot: u32) -> Option<Ended<F::Output>> {
        let slot = &mut self.slots[slot as usize];
        let future = slot.future.as_mut().as_pin_mut()?;
        let mut cx = Context::from_waker(&slot.waker);
        // The future is dropped after a panic, so nobody sees it half changed.
        let ended = match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(message(&*panic)),
        };
        slot.clear();
        Some(ended)
    }
}

impl<F> InlineSlot<F> {
    fn clear(&mut self) {
        self.future.as_mut().set(None);
        drop(self.held.take().map(Held::into_ticket));
    }
}

impl<F: Future> Place<F> for InlinePlace<F> {
    fn start(&mut self, slot: u32, future: F, held: Option<Held>) -> Option<Ended<F::Output>> {
        while self.slots.len() <= slot as usize {
            let woken = Arc::clone(&self.woken);
            let slot = self.slots.len() as u32;
            let signal = Arc::new(Signal { slot, raised: AtomicBool::new(false), woken });
            let waker = Waker::from(Arc::clone(&signal));
            self.slots.push(InlineSlot { future: Box::pin(None), held: None, signal, waker });
        }
        let place = &mut self.slots[slot as usize];
        place.held = held;
        place.future.as_mut().set(Some(future));
        self.poll_slot(slot)
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<(u32, Ended<F::Output>)> {
        let mut polls = 0;
        loop {
            while let Some(slot) = self.batch.pop() {
                if polls == POLLS {
                    self.batch.push(slot);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                polls += 1;
                // Lowered before the poll: a wake-up during it must be heard. And taken, not only
                // stored: what whoever found it raised did before must be seen by the poll.
                self.slots[slot as usize].signal.raised.swap(false, Ordering::AcqRel);
                if let Some(ended) = self.poll_slot(slot) {
                    return Poll::Ready((slot, ended));
                }
            }
            if self.woken.take(&mut self.batch, cx).is_pending() {
                return Poll::Pending;
            }
            self.batch.reverse();
        }
    }

    fn stop(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        // A destructor may panic too; it belongs to a task that has ended already.
        let _ = catch_unwind(AssertUnwindSafe(|| slot.future.as_mut().set(None)));
        slot.held = None;
    }
}

/// Futures spawned on the tokio runtime, spread over its threads.
pub(crate) struct SpreadPlace<F: Future> {
    slots: Vec<SpreadSlot>,
    ended: Arc<Inbox<Answer<F::Output>>>,
    /// Taken from `ended`, last first.
    batch: Vec<Answer<F::Output>>,
}

/// Of a future that is gone.
struct Answer<T> {
    slot: u32,
    generation: u32,
    ended: Ended<T>,
    /// Released where the answer is read, so that who is due by it comes after it.
    _ticket: Option<HoldTicket>,
}

#[derive(Default)]
struct SpreadSlot {
    task: Option<AbortHandle>,
    /// Tells an answer of this future from a late one of an earlier future.
    generation: u32,
}

impl<F: Future> SpreadPlace<F> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), ended: Arc::default(), batch: Vec::new() }
    }
}

impl<F> Place<F> for SpreadPlace<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn start(&mut self, slot: u32, future: F, held: Option<Held>) -> Option<Ended<F::Output>> {
        if self.slots.len() <= slot as usize {
            self.slots.resize_with(slot as usize + 1, SpreadSlot::default);
        }
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        let generation = place.generation;
        let inbox = Arc::clone(&self.ended);
        let task = tokio::spawn(async move {
            // Moved in, so that an aborted future keeps its holds until it is gone.
            let held = held;
            let ended = catch(future).await;
            let _ticket = held.and_then(Held::into_ticket);
            inbox.push(Answer { slot, generation, ended, _ticket });
        });
        place.task = Some(task.abort_handle());
        None
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<(u32, Ended<F::Output>)> {
        loop {
            while let Some(answer) = self.batch.pop() {
                let place = &mut self.slots[answer.slot as usize];
                if place.generation == answer.generation && place.task.take().is_some() {
                    return Poll::Ready((answer.slot, answer.ended));
                }
            }
            if self.ended.take(&mut self.batch, cx).is_pending() {
                return Poll::Pending;
            }
            self.batch.reverse();
        }
    }

    fn stop(&mut self, slot: u32) {
        if let Some(task) = self.slots[slot as usize].task.take() {
            task.abort();
        }
    }
}

impl<F: Future> Drop for SpreadPlace<F> {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if let Some(task) = slot.task.take() {
                task.abort();
            }
        }
    }
}

async fn catch<F: Future>(future: F) -> Ended<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}
