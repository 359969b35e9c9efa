//! Values along edges: keys, the context of a closure, and what a run has produced so far.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdpoint_core::{BoxError, Cancel, CancelInfo};
use tokio::runtime::Handle;

use crate::build::Predecessor;
use crate::error::ValueError;
use crate::report::{Outcome, Report};
use crate::runner::{TaskContext, TaskEnd, TaskFailure};
use crate::topology::TaskId;

/// Names a task and the type of its value. From [`NodeSetup::key`](crate::NodeSetup::key); `Copy`.
pub struct TaskKey<T> {
    task: TaskId,
    value: PhantomData<fn() -> T>,
}

impl<T> TaskKey<T> {
    pub(super) fn new(task: TaskId) -> Self {
        Self { task, value: PhantomData }
    }

    /// The task without the type of its value.
    #[must_use]
    pub fn id(self) -> TaskId {
        self.task
    }
}

impl<T> Clone for TaskKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for TaskKey<T> {}

impl<T> fmt::Debug for TaskKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskKey({})", self.task.index())
    }
}

impl<T> From<TaskKey<T>> for Predecessor {
    fn from(key: TaskKey<T>) -> Self {
        key.task.into()
    }
}

/// What a closure knows of its task, and the values of its predecessors.
#[derive(Debug, Clone)]
pub struct TaskCx {
    context: TaskContext,
    values: Arc<Values>,
}

impl TaskCx {
    /// The value of a task that this one needs.
    ///
    /// # Panics
    /// Where that task has not succeeded. This cannot happen for a task named in `needs`,
    /// unless it is allowed to fail: use [`try_value`](Self::try_value) for such. The panic is
    /// a failure of the task that asks and says so; the run goes on.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Arc<T> {
        self.try_value(key).unwrap_or_else(|| {
            panic!("it reads the value of a task that has not succeeded; say `needs` for it")
        })
    }

    /// The value of a task, where it has succeeded.
    #[must_use]
    pub fn try_value<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Option<Arc<T>> {
        self.values.get(key)
    }

    pub(super) fn new(context: TaskContext, values: &Arc<Values>) -> Self {
        Self { context, values: Arc::clone(values) }
    }

    pub(super) fn set_value<T: Send + Sync + 'static>(&self, value: T) {
        self.values.set(self.task(), self.attempt(), value);
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.context.task()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.context.attempt()
    }

    /// The task's token; see [`TaskContext::cancel`].
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        self.context.cancel()
    }

    /// Waits until the token fires.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn cancelled(&self) -> CancelInfo {
        self.context.cancelled().await
    }
}

type AnyValue = Arc<dyn Any + Send + Sync>;

/// A value and the attempt that returned it.
type Slot = Mutex<Option<(u32, AnyValue)>>;

/// What one run of a graph has produced so far.
#[derive(Debug)]
pub(super) struct Values {
    slots: Vec<Slot>,
    /// Blocking functions that have begun and not ended, once an attempt.
    blocking: Mutex<Vec<TaskId>>,
}

impl Values {
    pub(super) fn new(tasks: usize) -> Self {
        Self { slots: (0..tasks).map(|_| Slot::default()).collect(), blocking: Mutex::default() }
    }

    fn get<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Option<Arc<T>> {
        let (_, value) = lock(self.slots.get(key.task.index())?).clone()?;
        value.downcast().ok()
    }

    /// An attempt that was given up may still return on its thread, before or after the next.
    fn set<T: Send + Sync + 'static>(&self, task: TaskId, attempt: u32, value: T) {
        let mut slot = lock(&self.slots[task.index()]);
        if slot.as_ref().is_none_or(|(last, _)| *last < attempt) {
            *slot = Some((attempt, Arc::new(value)));
        }
    }

    /// The value of `key` after the run, or why there is none.
    pub(super) fn read<T: Send + Sync + 'static>(
        &self,
        key: TaskKey<T>,
        report: &Report,
    ) -> Result<Arc<T>, ValueError> {
        let slot = self.slots.get(key.task.index()).ok_or(ValueError::OtherGraph)?;
        let value = lock(slot).clone();
        match (report.outcome(key.task), value) {
            (Outcome::Succeeded(_), Some((_, value))) => {
                value.downcast().map_err(|_| ValueError::OtherGraph)
            }
            _ => {
                let task = report.topology().name(key.task).to_owned();
                Err(ValueError::NotSucceeded { task })
            }
        }
    }

    /// The tasks whose blocking functions have begun and not ended.
    pub(super) fn still_running(&self) -> Vec<TaskId> {
        let tasks: BTreeSet<TaskId> = self.blocking().iter().copied().collect();
        tasks.into_iter().collect()
    }

    fn blocking(&self) -> MutexGuard<'_, Vec<TaskId>> {
        lock(&self.blocking)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the mark of a blocking function when it ends, by a panic too.
struct Blocking(TaskCx);

impl Drop for Blocking {
    fn drop(&mut self) {
        let mut running = self.0.values.blocking();
        if let Some(index) = running.iter().position(|&task| task == self.0.task()) {
            running.swap_remove(index);
        }
    }
}

/// Keeps the value of a body that returned, and says how it ended.
pub(super) fn finish<T: Send + Sync + 'static, E: Into<BoxError>>(
    cx: &TaskCx,
    result: Result<T, E>,
) -> TaskEnd {
    match result {
        Ok(value) => {
            cx.set_value(value);
            TaskEnd::Succeeded
        }
        Err(error) => {
            let error: BoxError = error.into();
            // Said through `?` by whoever looked at the token: not a failure of the work.
            if error.is::<Stopped>() && cx.cancel().is_cancelled() {
                TaskEnd::Cancelled
            } else {
                TaskEnd::Failed(TaskFailure::from(error))
            }
        }
    }
}

/// The error by which a task says that it stopped because its token fired; the task is then
/// reported as cancelled, not as failed.
///
/// ```
/// use holdpoint_graph::{Graph, Limits, Stopped};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut g = Graph::builder();
/// g.task("wait", async |cx| -> Result<(), Stopped> {
///     cx.cancelled().await;
///     Err(Stopped)
/// });
/// let cancel = holdpoint_core::Cancel::new();
/// cancel.cancel(holdpoint_core::CancelCode::User, "enough");
/// let report = g.build()?.run(Limits::cores()).cancel(cancel).await?;
/// assert_eq!(report.counts().cancelled, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by its token")]
pub struct Stopped;

/// Calls a blocking function on tokio's pool.
pub(super) async fn blocking<T, E, F>(body: Arc<Mutex<F>>, cx: TaskCx) -> Result<T, BoxError>
where
    T: Send + 'static,
    E: Into<BoxError> + 'static,
    F: FnMut(TaskCx) -> Result<T, E> + Send + 'static,
{
    let handle = Handle::try_current()?;
    cx.values.blocking().push(cx.task());
    let mark = Blocking(cx.clone());
    let work = move || {
        let _mark = mark;
        let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
        body(cx).map_err(Into::into)
    };
    match handle.spawn_blocking(work).await {
        Ok(result) => result,
        // Goes on in the driver, which makes it the task's failure.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(error.into()),
    }
}
