//! Task runners for tests of the driver.

use std::future::{Future, poll_fn};
use std::task::Poll;

use crate::{SendTaskRunner, TaskContext, TaskEnd, TaskRunner};

/// Executes every task by one function.
pub(super) struct Each<F>(pub(super) F);

impl<F, Fut> TaskRunner for Each<F>
where
    F: Fn(TaskContext) -> Fut,
    Fut: Future<Output = TaskEnd>,
{
    fn execute(&self, cx: TaskContext) -> impl Future<Output = TaskEnd> {
        (self.0)(cx)
    }
}

/// As [`Each`], for tasks that are spread over threads.
pub(super) struct SendEach<F>(pub(super) F);

impl<F, Fut> SendTaskRunner for SendEach<F>
where
    F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = TaskEnd> + Send,
{
    fn execute(&self, cx: TaskContext) -> impl Future<Output = TaskEnd> + Send {
        (self.0)(cx)
    }
}

/// Is pending once and wakes at once, on any executor.
pub(super) async fn pause() {
    let mut paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
