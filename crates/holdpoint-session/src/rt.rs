//! The runtime, in one place so that the tests can compile the driver a second time over another.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use holdpoint_core::{Clock, Monotonic};

/// Runs a future by itself; `false` outside of a runtime, and then the future is dropped.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> bool {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            drop(runtime.spawn(task));
            true
        }
        Err(_) => false,
    }
}

/// Whether futures can be spawned here.
pub(super) fn is_here() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

/// A timer that follows a deadline. Without one it costs a word.
#[derive(Debug, Default)]
pub(super) struct Timer {
    armed: Option<(Monotonic, Pin<Box<tokio::time::Sleep>>)>,
}

impl Timer {
    /// Whether the deadline has come; else it will wake. The timer is armed anew only where the
    /// deadline is another.
    pub(super) fn poll(
        &mut self,
        deadline: Option<Monotonic>,
        clock: &dyn Clock,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.armed = None;
            return Poll::Pending;
        };
        let now = clock.monotonic();
        if deadline <= now {
            self.armed = None;
            return Poll::Ready(());
        }
        let due = || tokio::time::Instant::now() + (deadline - now);
        match &mut self.armed {
            Some((armed, _)) if *armed == deadline => {}
            Some((armed, sleep)) => {
                *armed = deadline;
                sleep.as_mut().reset(due());
            }
            None => self.armed = Some((deadline, Box::pin(tokio::time::sleep_until(due())))),
        }
        let Some((_, sleep)) = &mut self.armed else { return Poll::Pending };
        match sleep.as_mut().poll(cx) {
            // The runtime's clock may be a tick ahead of ours: look again at once.
            Poll::Ready(()) => {
                self.armed = None;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A runtime to spawn on from other threads.
#[derive(Debug, Clone)]
pub(super) struct Runtime(tokio::runtime::Handle);

impl Runtime {
    /// The one that this thread is in.
    pub(super) fn here() -> Option<Self> {
        tokio::runtime::Handle::try_current().ok().map(Self)
    }

    /// Runs a future by itself.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }
}

/// Lets others run.
pub(super) async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Stops something when it is dropped.
#[derive(Debug)]
pub(super) struct Stop(
    #[expect(dead_code, reason = "its drop is what matters")] holdpoint_core::store::Completer<()>,
);

/// Tells that something is to stop.
pub(super) struct Stopped(holdpoint_core::store::Ticket<()>);

/// A stop and who is told of it.
pub(super) fn stop() -> (Stop, Stopped) {
    let (completer, ticket) = holdpoint_core::store::ticket();
    (Stop(completer), Stopped(ticket))
}

impl Stopped {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}
