//! The driver and what callers hold once more, over locks and tasks that `shuttle` schedules. They
//! name their locks as `super::sync` and their runtime as `super::rt`, which here are others than in
//! the crate. There is no time: timers never fire.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    private_interfaces,
    clippy::default_constructed_unit_structs,
    clippy::duplicate_mod
)]

#[path = "../body.rs"]
pub(super) mod body;
#[path = "../driver/mod.rs"]
pub(super) mod driver;
#[path = "../handle.rs"]
pub(super) mod handle;
#[path = "../observe.rs"]
pub(super) mod observe;
#[path = "../recover.rs"]
mod recover;
#[path = "../sessions.rs"]
pub(super) mod sessions;
#[path = "../stored.rs"]
mod stored;
#[path = "../verify.rs"]
mod verify;

/// All tasks of a schedule share one thread, and a lock is where they switch, or where one is
/// spawned: each finds the mark of its own body again.
mod sync {
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, PoisonError};

    use holdpoint_core::body::Mark;

    #[derive(Debug, Default)]
    pub(super) struct Mutex<T>(shuttle::sync::Mutex<T>);

    #[derive(Debug)]
    pub(super) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let mark = Mark::keep();
            let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            mark.restore();
            Ok(MutexGuard(Some(guard)))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            let mark = Mark::keep();
            self.0 = None;
            mark.restore();
        }
    }
}

mod rt {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use holdpoint_core::body::Mark;
    use holdpoint_core::store::{Completer, Ticket, ticket};
    use holdpoint_core::{Clock, Monotonic};

    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mark = Mark::keep();
        drop(shuttle::future::spawn(task));
        mark.restore();
        true
    }

    pub(super) fn is_here() -> bool {
        true
    }

    #[derive(Debug, Default)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn poll(
            &mut self,
            deadline: Option<Monotonic>,
            clock: &dyn Clock,
            _: &mut Context<'_>,
        ) -> Poll<()> {
            let is_due = deadline.is_some_and(|deadline| deadline <= clock.monotonic());
            if is_due { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[derive(Debug, Clone)]
    pub(super) struct Runtime;

    impl Runtime {
        pub(super) fn here() -> Option<Self> {
            Some(Self)
        }

        pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            spawn(task);
        }
    }

    pub(super) async fn yield_now() {
        shuttle::future::yield_now().await;
    }

    #[derive(Debug)]
    pub(super) struct Stop(#[expect(dead_code, reason = "its drop is what matters")] Completer<()>);

    pub(super) struct Stopped(Ticket<()>);

    pub(super) fn stop() -> (Stop, Stopped) {
        let (completer, ticket) = ticket();
        (Stop(completer), Stopped(ticket))
    }

    impl Stopped {
        pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            Pin::new(&mut self.0).poll(cx)
        }
    }
}
