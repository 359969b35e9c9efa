//! Recorded bodies, cut after every record and run again (SESS-017), and the same bodies where
//! nothing is recorded (SESS-020).

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, join, join3, select};
use futures_util::stream::FuturesUnordered;

use super::body_host::{Dice, Life, Record, call, record};
use crate::body::{Ask, BodyError, Child, OpKey, SessionContext, Step, StepFailure};

type Trace = Vec<String>;

/// The world outside of a body: effects take their time, and every execution is counted.
#[derive(Clone)]
struct World(Rc<RefCell<(Dice, HashMap<String, u32>)>>);

impl World {
    fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new((Dice::new(seed), HashMap::new()))))
    }

    /// An effect that needs some polls.
    async fn work(&self, name: &str) -> Result<String, StepFailure> {
        *self.0.borrow_mut().1.entry(name.to_owned()).or_default() += 1;
        let mut polls = self.0.borrow_mut().0.below(4);
        poll_fn(|cx| {
            if polls == 0 {
                return Poll::Ready(());
            }
            polls -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Ok(name.to_owned())
    }

    fn executions(&self, name: &str) -> u32 {
        self.0.borrow().1.get(name).copied().unwrap_or_default()
    }
}

/// What a body saw, in the order in which it saw it.
#[derive(Default)]
struct Seen(RefCell<Trace>);

impl Seen {
    fn add(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }
}

/// Two chains side by side, and a question against a sleep, then a step against a sleep.
async fn joined(cx: SessionContext, world: World) -> Result<Trace, BodyError> {
    let seen = Seen::default();
    let chain = |name: &'static str| {
        let (cx, world, seen) = (&cx, &world, &seen);
        async move {
            for _ in 0..2 {
                seen.add(cx.step(name, || world.work(name)).await?);
                seen.add(format!("{} {}", cx.random(), cx.now()));
            }
            Ok::<_, BodyError>(())
        }
    };
    let raced = async {
        let answer = cx.ask::<String>(Ask::text("who", "Who?"));
        match select(answer, cx.sleep(Duration::from_secs(9))).await {
            Either::Left((answer, _)) => seen.add(answer?),
            Either::Right((slept, answer)) => {
                slept?;
                seen.add("slept");
                // Open still: it may win or lose against a later step.
                let step = pin!(cx.step("late", || world.work("late")));
                match select(answer, step).await {
                    Either::Left((answer, _)) => seen.add(answer?),
                    Either::Right((late, _)) => seen.add(late?),
                }
            }
        }
        Ok::<_, BodyError>(())
    };
    let (left, right, raced) = join3(chain("left"), chain("right"), raced).await;
    left.and(right).and(raced)?;
    let child: String = cx.spawn_child(Child::new("other", "input")).await?;
    seen.add(child);
    let step = pin!(cx.step("last", || world.work("last")));
    match select(step, cx.sleep(Duration::from_secs(1))).await {
        Either::Left((last, _)) => seen.add(last?),
        Either::Right((slept, _)) => seen.add(format!("{slept:?}")),
    }
    Ok(seen.0.into_inner())
}

/// Many steps of one name, in the order in which they end, each followed by another.
async fn unordered(cx: SessionContext, world: World) -> Result<Trace, BodyError> {
    let seen = Seen::default();
    let mut steps = FuturesUnordered::new();
    let step = |number: u32| {
        let (cx, world) = (cx.clone(), world.clone());
        async move {
            let name = format!("n{number}");
            cx.step("same", || world.work(&name)).await
        }
    };
    (0..4).for_each(|number| steps.push(step(number)));
    let mut number = 4;
    while let Some(name) = steps.next().await {
        seen.add(name?);
        if number < 9 {
            steps.push(step(number));
            number += 1;
        }
    }
    Ok(seen.0.into_inner())
}

/// A chain that may be asked to stop anywhere, and cleans up.
async fn stopped(cx: SessionContext, world: World) -> Result<Trace, BodyError> {
    let seen = Seen::default();
    let work = async {
        let both = join(
            cx.step("build", || world.work("build")),
            cx.ask::<String>(Ask::text("name", "Name?")),
        );
        let (built, name) = both.await;
        seen.add(format!("{built:?} {name:?}"));
        built?;
        name?;
        cx.sleep(Duration::from_secs(1)).await?;
        seen.add(cx.step("deploy", || world.work("deploy")).await?);
        Ok::<_, BodyError>(())
    };
    let end = work.await;
    let cleaned = cx.cleanup().step("clean", || world.work("clean")).await?;
    seen.add(format!("{end:?} {cleaned} {}", cx.is_cancelled()));
    Ok(seen.0.into_inner())
}

/// Runs a body to its end, then again from each prefix of what was recorded, with another order of
/// what comes after. Returns how many runs there were and how many went another way.
fn cut_everywhere<Fut: Future<Output = Result<Trace, BodyError>>>(
    body: impl Fn(SessionContext, World) -> Fut,
    life: Life,
) -> (usize, Vec<String>) {
    let world = World::new(life.seed);
    let first = record(|cx| body(cx, world.clone()), &[], life);
    let (trace, journal) = first.expect("a first run matches");
    let trace = trace.expect("it ends well");
    let mut faults = Vec::new();
    for cut in 0..=journal.len() {
        let world = World::new(life.seed + 1000);
        let again = Life { seed: life.seed + 7, start: 2, records_a_turn: 1, ..life };
        let again = Life { cancel_at: again.cancel_at.filter(|at| *at >= cut), ..again };
        let kept = &journal[..cut];
        match record(|cx| body(cx, world.clone()), kept, again) {
            Err(mismatch) => faults.push(format!("{cut}: {mismatch}")),
            Ok((seen, whole)) => {
                assert_eq!(&whole[..cut], kept, "what is recorded stays");
                let seen = seen.expect("it ends well");
                if cut == journal.len() && seen != trace {
                    faults.push(format!("{cut}: {seen:?} instead of {trace:?}"));
                }
                faults.extend(executed_again(&world, kept).map(|name| format!("{cut}: {name}")));
            }
        }
    }
    (journal.len() + 1, faults)
}

/// Steps that are recorded and were executed all the same. Their value is their effect's name.
fn executed_again<'a>(world: &'a World, kept: &'a [Record]) -> impl Iterator<Item = String> + 'a {
    kept.iter().filter_map(|record| {
        let Record::Op(OpKey { kind: crate::body::Kind::Step, .. }, Ok(value)) = record else {
            return None;
        };
        let name: String = serde_json::from_str(value).unwrap();
        // Chains execute one name twice, and each recorded execution is one less.
        let recorded = kept.iter().filter(|other| match other {
            Record::Op(_, Ok(other)) => other == value,
            _ => false,
        });
        let uses = if name == "left" || name == "right" { 2 } else { 1 };
        let left = uses - u32::try_from(recorded.count()).unwrap().min(uses);
        (world.executions(&name) > left).then(|| format!("`{name}` was executed again"))
    })
}

#[test]
fn sess_017_joined_and_raced_operations_replay_from_every_prefix_of_their_records() {
    for seed in 0..60 {
        let (runs, faults) = cut_everywhere(joined, Life::new(seed));
        assert!(runs > 7);
        assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    }
}

#[test]
fn sess_017_unordered_operations_of_one_name_replay_from_every_prefix_of_their_records() {
    for seed in 0..60 {
        let (runs, faults) = cut_everywhere(unordered, Life::new(seed));
        assert_eq!(runs, 10);
        assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    }
}

#[test]
fn sess_017_a_cancellation_keeps_its_place_among_the_records() {
    for seed in 0..60 {
        for cancel_at in 0..4 {
            let life = Life { cancel_at: Some(cancel_at), ..Life::new(seed) };
            let (_, faults) = cut_everywhere(stopped, life);
            assert!(faults.is_empty(), "seed {seed}, cancelled at {cancel_at}: {faults:#?}");
        }
    }
}

/// The control: with two records in one turn bodies do go another way when they are run again, and
/// the tests above see it.
#[test]
fn sess_017_two_records_in_one_turn_would_lead_a_body_another_way() {
    let broken = |seed| Life { records_a_turn: 2, ..Life::new(seed) };
    let bad = (0..60).filter(|seed| !cut_everywhere(joined, broken(*seed)).1.is_empty());
    assert!(bad.count() > 0, "the tests of this file see no broken turn");
}

#[test]
fn sess_017_a_body_that_lost_a_step_does_not_match_and_both_names_are_told() {
    let before = async |cx: SessionContext| cx.step("old", async || Ok(1_u32)).await;
    let ((), journal) =
        record(|cx| async move { before(cx).await.map(drop).unwrap() }, &[], Life::new(1)).unwrap();
    let after = async |cx: SessionContext| cx.step("new", async || Ok(1_u32)).await;
    let mismatch = record(after, &journal, Life::new(1)).unwrap_err();
    assert_eq!(mismatch, "recorded is `step old`, open are [\"step new\"]");
}

/// Everything a body can do, with a result that does not depend on what comes first.
async fn everything(cx: SessionContext, world: World) -> Result<Trace, BodyError> {
    let local = String::from("borrowed");
    let mut seen = vec![cx.step("local", || world.work(&local)).await?];
    let (left, right) = join(
        async {
            let one = cx.step("left", || world.work("left")).await?;
            Ok::<_, BodyError>(one + &cx.step("left", || world.work("left-2")).await?)
        },
        cx.step("right", || world.work("right")),
    )
    .await;
    seen.extend([left?, right?]);
    seen.extend(cx.ask_all::<String>([Ask::text("a", "A?"), Ask::text("b", "B?")]).await?);
    cx.sleep(Duration::from_secs(1)).await?;
    let retried = cx.step_with(Step::new("retried").attempts(3), async |attempt| {
        if attempt.number() < 3 {
            return Err(StepFailure::new("not yet"));
        }
        Ok(attempt.idempotency_key())
    });
    seen.push(retried.await?);
    let failed = cx.step("fails", async || Err::<(), _>(StepFailure::terminal("no"))).await;
    seen.push(format!("{failed:?}"));
    cx.emit("half")?;
    seen.push(cx.spawn_child::<String>(Child::new("other", "input").version(2)).await?);
    seen.push(format!("{} {}", cx.random(), cx.session_id()));
    seen.push(cx.cleanup().step("clean", || world.work("clean")).await?);
    Ok(seen)
}

#[test]
fn sess_020_one_body_has_one_result_on_a_host_that_records_and_on_one_that_does_not() {
    let called = call(|cx| everything(cx, World::new(1))).unwrap();
    let recorded = record(|cx| everything(cx, World::new(1)), &[], Life::new(1)).unwrap();
    assert_eq!(recorded.0.unwrap(), called);
    for cut in 0..recorded.1.len() {
        let again = Life { start: 2, ..Life::new(3) };
        let again = record(|cx| everything(cx, World::new(2)), &recorded.1[..cut], again);
        assert_eq!(again.unwrap().0.unwrap(), called, "cut after {cut} records");
    }
}
