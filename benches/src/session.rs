//! What sessions are measured by, and the least code on tokio that does the same.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use holdpoint_session::{
    Ask, Body, BodyError, History, Run, SessionContext, Sessions, StepFailure,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};

/// How many sessions are in flight.
pub const IN_FLIGHT: usize = 64;

/// A runtime with two workers.
///
/// # Panics
/// Where there are no threads.
#[must_use]
pub fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A runtime on the calling thread.
///
/// # Panics
/// Where the system has no timer or no poll.
#[must_use]
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// On a worker, where a service spawns.
///
/// # Panics
/// Where the future does.
pub fn on<T: Send + 'static>(
    runtime: &Runtime,
    what: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime.block_on(async { tokio::spawn(what).await }).expect("no panic")
}

/// A body that does nothing.
pub async fn same(_: SessionContext, value: u64) -> Result<u64, BodyError> {
    Ok(value)
}

/// So many sessions from spawn to outcome, ended ones collected on the way.
///
/// # Panics
/// Where one has no outcome.
pub async fn spawn(n: u64) {
    let sessions = Sessions::new();
    let body: Body<u64, u64> = sessions.register("same", same).expect("a name");
    let mut runs: VecDeque<Run<u64>> = VecDeque::new();
    for i in 0..n {
        if runs.len() == IN_FLIGHT
            && let Some(run) = runs.pop_front()
        {
            black_box(run.await.expect("it is done"));
        }
        if i % 1024 == 0 {
            sessions.collect(Duration::ZERO);
        }
        runs.push_back(body.spawn(i).await.expect("it is taken"));
    }
    for run in runs {
        black_box(run.await.expect("it is done"));
    }
}

/// So many tasks, each with a watch of its state and a oneshot of its outcome.
///
/// # Panics
/// Where one has no outcome.
pub async fn raw_spawn(n: u64) {
    let mut runs = VecDeque::new();
    for i in 0..n {
        if runs.len() == IN_FLIGHT
            && let Some((_, outcome)) = runs.pop_front()
        {
            let outcome: oneshot::Receiver<u64> = outcome;
            black_box(outcome.await.expect("it is done"));
        }
        let (state, watched) = watch::channel(0_u8);
        let (done, outcome) = oneshot::channel();
        tokio::spawn(async move {
            state.send_replace(1);
            done.send(i).expect("it is awaited");
            state.send_replace(2);
        });
        runs.push_back((watched, outcome));
    }
    for (_, outcome) in runs {
        black_box(outcome.await.expect("it is done"));
    }
}

/// A body that asks so many times.
///
/// # Errors
/// What a question says that is not answered.
pub async fn asks(cx: SessionContext, times: u64) -> Result<u64, BodyError> {
    let mut yes = 0;
    for _ in 0..times {
        yes += u64::from(cx.ask::<bool>(Ask::confirm("ok", "?")).await?);
    }
    Ok(yes)
}

/// One session that asks so many times, and is answered. `seen` is called at each pause.
///
/// # Panics
/// Where an answer is lost.
pub async fn answer(n: u64, mut seen: impl FnMut()) {
    let sessions = Sessions::builder().history(History::None).build();
    let body = sessions.register("asks", asks).expect("a name");
    let run = body.spawn(n).await.expect("it is taken");
    while let Some(question) = run.next_question().await.expect("it is here") {
        seen();
        run.answer(question.id, true).await.expect("it is open");
    }
    assert_eq!(run.await.expect("it is done"), n);
}

/// A task that sends so many questions through a channel, each with a oneshot for its answer.
///
/// # Panics
/// Where an answer is lost.
pub async fn raw_answer(n: u64, mut seen: impl FnMut()) {
    let (ask, mut questions) = mpsc::channel::<oneshot::Sender<bool>>(1);
    let body = tokio::spawn(async move {
        let mut yes = 0;
        for _ in 0..n {
            let (answer, answered) = oneshot::channel();
            ask.send(answer).await.expect("somebody answers");
            yes += u64::from(answered.await.expect("it is answered"));
        }
        yes
    });
    while let Some(question) = questions.recv().await {
        seen();
        question.send(true).expect("it is awaited");
    }
    assert_eq!(body.await.expect("no panic"), n);
}

/// An effect: as good as nothing.
///
/// # Errors
/// Never.
pub async fn effect(value: u64) -> Result<u64, StepFailure> {
    Ok(black_box(value) + 1)
}

/// A body of so many steps.
///
/// # Errors
/// Never.
pub async fn steps(cx: SessionContext, times: u64) -> Result<u64, BodyError> {
    let mut value = 0;
    for _ in 0..times {
        value = cx.step("add", || effect(value)).await?;
    }
    Ok(value)
}

/// One session of so many steps.
///
/// # Panics
/// Where it does not succeed.
pub async fn step(n: u64) -> u64 {
    let sessions = Sessions::new();
    let body = sessions.register("steps", steps).expect("a name");
    let run = body.spawn(n).await.expect("it is taken");
    run.await.expect("it is done")
}

/// The effects of these steps, called one after the other.
///
/// # Panics
/// Never.
pub async fn raw_step(n: u64) -> u64 {
    let mut value = 0;
    for _ in 0..n {
        value = effect(value).await.expect("no failure");
    }
    value
}

/// A body that sleeps.
///
/// # Errors
/// Where it is cancelled.
pub async fn sleeper(cx: SessionContext, millis: u64) -> Result<u64, BodyError> {
    cx.sleep(Duration::from_millis(millis)).await?;
    Ok(millis)
}
