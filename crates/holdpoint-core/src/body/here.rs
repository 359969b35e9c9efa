//! Whether the code that runs now is the body's own, and how much it has done in this poll.

use std::cell::Cell;

use super::port::SessionPort;

thread_local! {
    /// The address of the port whose body this thread polls; zero where it polls none, or where
    /// an effect runs.
    static BODY: Cell<usize> = const { Cell::new(0) };

    /// How many operations have given a result in this poll of a body, and then how many were asked
    /// to wait for the next one.
    static SPENT: Cell<u32> = const { Cell::new(0) };
}

/// How many operations may give their results in one poll of a body.
#[cfg(feature = "body")]
const BUDGET: u32 = 128;

/// Polls a body: for the time of the call its operations are taken on this thread. Hosts call it
/// around every poll of a body.
///
/// `port` is the very object that the body's [`SessionContext`](super::SessionContext) holds. What
/// is called anywhere else, from a spawned task or from within an effect, is refused with
/// [`BodyError::Misplaced`](super::BodyError::Misplaced). Bodies may be polled within one another.
///
/// Where results are not recorded, operations may be over at once, without end. So that others run
/// all the same, and the body hears of what has happened, 128 give their results in one poll; the
/// next one wakes its task and waits for the next poll.
///
/// # Panics
/// Where `poll` does; the mark is as before then.
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
/// use holdpoint_core::body::{SessionPort, poll_body};
///
/// fn poll<F: Future>(port: &dyn SessionPort, body: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
///     poll_body(port, || body.poll(cx))
/// }
/// ```
#[inline]
pub fn poll_body<R>(port: &dyn SessionPort, poll: impl FnOnce() -> R) -> R {
    SPENT.set(0);
    marked(address(port), poll)
}

/// Whether this thread polls a body's own code, and no effect. For hosts that must tell who woke the
/// body: the body itself, which is then not done with its turn, or an effect.
#[must_use]
pub fn is_in_body() -> bool {
    BODY.get() != 0
}

/// Which body this thread polls, for tests in which one thread switches between many: to be kept
/// before a switch, and restored after it.
///
/// ```
/// use holdpoint_core::body::Mark;
///
/// let mark = Mark::keep();
/// // Here others run.
/// mark.restore();
/// ```
#[cfg(feature = "test-util")]
#[derive(Debug, Clone, Copy)]
#[must_use = "what is kept is to be restored"]
pub struct Mark(usize);

#[cfg(feature = "test-util")]
impl Mark {
    /// The mark as it is.
    pub fn keep() -> Self {
        Self(BODY.get())
    }

    /// Sets it again.
    pub fn restore(self) {
        BODY.set(self.0);
    }
}

/// Runs a part of an effect: what it calls is not the body's own.
#[cfg(feature = "body")]
#[inline]
pub(super) fn elsewhere<R>(effect: impl FnOnce() -> R) -> R {
    marked(0, effect)
}

/// Whether the body that owns `port` is polled here, and no effect of it.
#[cfg(feature = "body")]
#[inline]
pub(super) fn is_body_of(port: &dyn SessionPort) -> bool {
    BODY.get() == address(port)
}

/// An operation has given its result.
#[cfg(feature = "body")]
#[inline]
pub(super) fn spend() {
    SPENT.set(SPENT.get().wrapping_add(1));
}

/// Whether as many have in this poll as may.
#[cfg(feature = "body")]
#[inline]
pub(super) fn is_spent() -> bool {
    SPENT.get() >= BUDGET
}

/// Whether the next operation is to wait for the next poll. Not without end: where one is polled until
/// it is over, whatever it says, one is let through after a while.
#[cfg(feature = "body")]
pub(super) fn is_to_wait() -> bool {
    let spent = SPENT.get();
    let is_to_wait = spent < 2 * BUDGET;
    SPENT.set(if is_to_wait { spent + 1 } else { BUDGET });
    is_to_wait
}

#[inline]
fn marked<R>(mark: usize, run: impl FnOnce() -> R) -> R {
    /// Restores the mark, in a panic too.
    struct Restore(usize);

    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            BODY.set(self.0);
        }
    }

    let _restore = Restore(BODY.replace(mark));
    run()
}

/// A port is known by where it lies: it does not move while somebody shares it.
#[inline]
fn address(port: &dyn SessionPort) -> usize {
    std::ptr::from_ref(port).cast::<()>().addr()
}
