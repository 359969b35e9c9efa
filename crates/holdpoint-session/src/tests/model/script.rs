//! Bodies that do what a script says, and the world that they act upon.

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::{BoxError, SessionId};
use serde::{Deserialize, Serialize};

use crate::{Ask, Attempt, BodyError, Child, SessionContext, StepFailure, Terminal};

/// What a body does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    /// Names the script, and so its session.
    pub(crate) tag: u32,
    pub(crate) acts: Vec<Act>,
    pub(crate) after_cancel: AfterCancel,
    pub(crate) end: End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Several things side by side, until all are done.
    All(Vec<Vec<Op>>),
    /// The same until the first is done; the others are dropped.
    First(Vec<Vec<Op>>),
    Emit(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// It takes so many milliseconds.
    Step {
        takes: u64,
        fails: bool,
    },
    Ask,
    Sleep(u64),
    Child(Box<Script>),
    /// A child that goes its own way.
    Detach(Box<Script>),
}

/// What a body does when one of its operations was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AfterCancel {
    Heed,
    /// It returns a result all the same.
    Finish,
    /// It returns another error.
    Fail,
    /// It does this first, undisturbed, and heeds it then.
    Clean(Op),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Ok,
    Fail,
    Panic,
}

pub(crate) const FAILS: &str = "the script says so";
pub(crate) const PANICS: &str = "the script wants a panic";

/// What bodies act upon. It outlives all processes.
#[derive(Default)]
pub(crate) struct Ground(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The sessions of each script, in the order in which they began.
    ids: HashMap<u32, Vec<SessionId>>,
    executed: u64,
    /// Which execution of a step its body was given the result of.
    received: HashMap<(SessionId, u32), u64>,
    executions: HashSet<(SessionId, u32, u32, u32)>,
    wrong: Vec<String>,
}

impl Ground {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// The n-th session of a script, where its body was started.
    pub(crate) fn id(&self, tag: u32, nth: usize) -> Option<SessionId> {
        self.with(|inner| inner.ids.get(&tag)?.get(nth).copied())
    }

    /// A new attempt is made: what was recorded may be forgotten.
    pub(crate) fn forget(&self, id: SessionId) {
        self.with(|inner| inner.received.retain(|(of, _), _| *of != id));
    }

    /// What was found to be wrong, from within.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.with(|inner| inner.wrong.clone())
    }

    fn begins(&self, tag: u32, id: SessionId) {
        self.with(|inner| {
            let known = inner.ids.entry(tag).or_default();
            if !known.contains(&id) {
                known.push(id);
            }
        });
    }

    fn executes(&self, nth: u32, attempt: &Attempt) -> u64 {
        self.with(|inner| {
            inner.executed += 1;
            let id = attempt.session();
            if inner.received.contains_key(&(id, nth)) {
                let text = "is executed after its body was given its result";
                inner.wrong.push(format!("step {nth} of {id} {text}"));
            }
            let (start, number) = (attempt.start(), attempt.number());
            if !inner.executions.insert((id, nth, start, number)) {
                inner.wrong.push(format!("step {nth} of {id} is executed twice in start {start}"));
            }
            let key = attempt.idempotency_key();
            if key != format!("{id}/s/{}", nth + 1) {
                inner.wrong.push(format!("step {nth} of {id} has the key {key}"));
            }
            inner.executed
        })
    }

    fn receives(&self, id: SessionId, nth: u32, execution: u64) {
        self.with(|inner| {
            let known = *inner.received.entry((id, nth)).or_insert(execution);
            if known != execution {
                let text = format!("got the result of execution {execution} after {known}");
                inner.wrong.push(format!("step {nth} of {id} {text}"));
            }
        });
    }
}

/// The body of all scripts. What it returns tells what it was given.
pub(crate) async fn play(
    ground: Arc<Ground>,
    cx: SessionContext,
    script: Script,
) -> Result<Vec<String>, BoxError> {
    ground.begins(script.tag, cx.session_id());
    let steps = Arc::new(AtomicU32::new(0));
    let player = Player { ground, cx, steps };
    let mut log = Vec::new();
    for act in script.acts {
        let (ops, is_race) = match act {
            Act::All(lanes) => (lanes, false),
            Act::First(lanes) => (lanes, true),
            Act::Emit(number) => {
                player.cx.emit(&number)?;
                continue;
            }
        };
        let (said, cancelled) = player.run(ops, is_race).await;
        log.extend(said);
        let Some(cancelled) = cancelled else { continue };
        match script.after_cancel {
            AfterCancel::Heed => return Err(cancelled.into()),
            AfterCancel::Finish => return Ok(log),
            AfterCancel::Fail => return Err(Terminal::new(FAILS).into()),
            AfterCancel::Clean(op) => {
                let cx = player.cx.cleanup();
                Player { cx, ..player }.run(vec![vec![op]], false).await;
                return Err(cancelled.into());
            }
        }
    }
    match script.end {
        End::Ok => Ok(log),
        End::Fail => Err(Terminal::new(FAILS).into()),
        End::Panic => panic!("{PANICS}"),
    }
}

#[derive(Clone)]
struct Player {
    ground: Arc<Ground>,
    cx: SessionContext,
    /// How many steps were called.
    steps: Arc<AtomicU32>,
}

type Said = (Vec<String>, Option<BodyError>);

impl Player {
    /// Runs lanes side by side, polled in their order.
    async fn run(&self, lanes: Vec<Vec<Op>>, is_race: bool) -> Said {
        let mut lanes: Vec<Option<Pin<Box<dyn Future<Output = Said> + Send>>>> =
            lanes.into_iter().map(|ops| Some(Box::pin(self.clone().lane(ops)) as _)).collect();
        let mut said: Vec<Option<Said>> = lanes.iter().map(|_| None).collect();
        poll_fn(|cx| {
            for (lane, said) in lanes.iter_mut().zip(&mut said) {
                let Some(future) = lane else { continue };
                if let Poll::Ready(result) = future.as_mut().poll(cx) {
                    *said = Some(result);
                    *lane = None;
                    if is_race {
                        return Poll::Ready(());
                    }
                }
            }
            if lanes.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(lanes);
        let (mut log, mut cancelled) = (Vec::new(), None);
        for (lane, error) in said.into_iter().flatten() {
            log.extend(lane);
            cancelled = cancelled.or(error);
        }
        (log, cancelled)
    }

    /// One thing after the other, until one is cancelled.
    async fn lane(self, ops: Vec<Op>) -> Said {
        let mut log = Vec::new();
        for op in ops {
            match self.operate(op).await {
                Ok(said) => log.push(said),
                Err(BodyError::Cancelled(cause)) => {
                    log.push("cancelled".to_owned());
                    return (log, Some(BodyError::Cancelled(cause)));
                }
                Err(error) => log.push(format!("failed {}", error.operation().unwrap_or("?"))),
            }
        }
        (log, None)
    }

    async fn operate(&self, op: Op) -> Result<String, BodyError> {
        match op {
            Op::Step { takes, fails } => {
                let nth = self.steps.fetch_add(1, Ordering::Relaxed);
                let step =
                    self.cx.step_with("s", |attempt| self.effect(nth, attempt, takes, fails));
                let execution: u64 = step.await?;
                self.ground.receives(self.cx.session_id(), nth, execution);
                Ok("step".to_owned())
            }
            Op::Ask => {
                let answer: String = self.cx.ask(Ask::text("q", "What?")).await?;
                Ok(format!("answer {answer}"))
            }
            Op::Sleep(millis) => {
                self.cx.sleep(Duration::from_millis(millis)).await?;
                Ok("slept".to_owned())
            }
            Op::Child(script) => {
                let said: Vec<String> = self.cx.spawn_child(Child::new("script", &script)).await?;
                Ok(format!("child ({})", said.join(", ")))
            }
            Op::Detach(script) => {
                let _: SessionId = self.cx.spawn_detached(Child::new("script", &script)).await?;
                Ok("detached".to_owned())
            }
        }
    }

    async fn effect(
        &self,
        nth: u32,
        attempt: Attempt,
        takes: u64,
        fails: bool,
    ) -> Result<u64, StepFailure> {
        let execution = self.ground.executes(nth, &attempt);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        if fails { Err(StepFailure::terminal(FAILS)) } else { Ok(execution) }
    }
}
