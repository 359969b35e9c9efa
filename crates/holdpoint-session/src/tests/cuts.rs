//! Bodies whose process is lost after every single write, and led on by the next one.
//!
//! A life ends when so many writes are acknowledged; the next life recovers from what the disk has.
//! Whatever was recorded is not executed again, and what comes out is what would have come out
//! without any of it.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, join, select, try_join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use holdpoint_core::SessionId;
use holdpoint_core::event::Stream;
use holdpoint_core::session::{SessionState, SuspendCause};
use holdpoint_core::store::Store;
use holdpoint_testkit::sim::Random;
use holdpoint_testkit::store::{Faults, VirtualDisk};

use crate::driver::{Flaw, KeptResult, Record};
use crate::{Ask, Attempt, BodyError, Outcome, SessionContext, Sessions, StepFailure};

type Body =
    fn(SessionContext, Effects) -> Pin<Box<dyn Future<Output = Result<String, BodyError>> + Send>>;

/// What effects have done, over all lives.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<Done>>);

#[derive(Default)]
struct Done {
    seed: u64,
    /// Step, start and attempt of each execution.
    executed: BTreeSet<(String, u32, u32)>,
    /// Which start runs, and what was recorded before it.
    recorded: BTreeSet<String>,
    faults: Vec<String>,
    flaw: Option<Flaw>,
}

impl Effects {
    fn flaw(&self) -> Option<Flaw> {
        self.0.lock().unwrap().flaw
    }

    /// An effect that takes a while, which is another in each life.
    async fn run(self, name: String, attempt: Attempt, value: u32) -> Result<u32, StepFailure> {
        {
            let mut done = self.0.lock().unwrap();
            let key = (name.clone(), attempt.start(), attempt.number());
            if !done.executed.insert(key) {
                done.faults.push(format!("{name}: start and attempt came again"));
            }
        }
        self.begin(&name);
        tokio::time::sleep(self.pause()).await;
        Ok(value)
    }

    /// Something is executed.
    fn begin(&self, name: &str) {
        let mut done = self.0.lock().unwrap();
        if done.recorded.contains(name) {
            done.faults.push(format!("{name} was recorded, and is executed again"));
        }
    }

    fn pause(&self) -> Duration {
        let mut done = self.0.lock().unwrap();
        done.seed = done.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Duration::from_millis(done.seed >> 60)
    }
}

async fn step(
    cx: &SessionContext,
    on: &Effects,
    name: &'static str,
    value: u32,
) -> Result<u32, BodyError> {
    let on = on.clone();
    cx.step_with(name, move |attempt| on.clone().run(name.to_owned(), attempt, value)).await
}

fn chains(
    cx: SessionContext,
    on: Effects,
) -> Pin<Box<dyn Future<Output = Result<String, BodyError>> + Send>> {
    Box::pin(async move {
        let chain = async |a, b, from| {
            let one = step(&cx, &on, a, from).await?;
            let two = step(&cx, &on, b, from + 1).await?;
            Ok::<_, BodyError>(one * 10 + two)
        };
        let (left, right) = join(pin!(chain("a1", "a2", 1)), pin!(chain("b1", "b2", 5))).await;
        let ok: bool = cx.ask(Ask::confirm("ok", "?")).await?;
        Ok(format!("{} {} {ok} {}", left?, right?, cx.random()))
    })
}

fn races(
    cx: SessionContext,
    on: Effects,
) -> Pin<Box<dyn Future<Output = Result<String, BodyError>> + Send>> {
    Box::pin(async move {
        let mut won = String::new();
        for round in 0..3_usize {
            let asked = cx.ask::<bool>(Ask::confirm("race", "?"));
            let slept = cx.sleep(Duration::from_millis(6));
            match select(asked, slept).await {
                Either::Left((answer, _)) => won.push(if answer? { 'y' } else { 'n' }),
                Either::Right((slept, _)) => {
                    slept?;
                    won.push('s');
                }
            }
            agree(&cx, &won).await?;
            let work = pin!(step(&cx, &on, ["r0", "r1", "r2"][round], 1));
            match select(work, cx.sleep(Duration::from_millis(8))).await {
                Either::Left((value, _)) => won.push_str(&value?.to_string()),
                Either::Right((slept, _)) => {
                    slept?;
                    won.push('t');
                }
            }
            agree(&cx, &won).await?;
        }
        Ok("agreed".to_owned())
    })
}

/// What was decided must be what is decided in every later life: it is recorded here, and the next
/// lives must come to the same.
async fn agree(cx: &SessionContext, won: &str) -> Result<(), BodyError> {
    let told = won.to_owned();
    let kept: String = cx.step("won", || async move { Ok::<_, StepFailure>(told) }).await?;
    if kept == won { Ok(()) } else { panic!("{kept} is not {won}") }
}

fn unordered(
    cx: SessionContext,
    on: Effects,
) -> Pin<Box<dyn Future<Output = Result<String, BodyError>> + Send>> {
    Box::pin(async move {
        let mut set = FuturesUnordered::new();
        for value in 0..6_u32 {
            let on = on.clone();
            let name = format!("same{value}");
            set.push(
                cx.step_with("same", move |attempt| on.clone().run(name.clone(), attempt, value)),
            );
        }
        let mut order = Vec::new();
        while let Some(value) = set.next().await {
            let value = value?;
            order.push(value);
            if order.len() % 2 == 0 {
                let told = order.clone();
                let kept: Vec<u32> =
                    cx.step("order", || async move { Ok::<_, StepFailure>(told) }).await?;
                if kept != order {
                    return Ok(format!("{kept:?} is not {order:?}"));
                }
            }
        }
        order.sort_unstable();
        Ok(format!("{order:?}"))
    })
}

/// Parts side by side under a limit, whose order is another in each life, and a question: what a
/// graph does.
fn folds(
    cx: SessionContext,
    on: Effects,
) -> Pin<Box<dyn Future<Output = Result<String, BodyError>> + Send>> {
    Box::pin(async move {
        let ledger = cx.ledger(|key| &*key.name == "ok" || key.name.starts_with("part")).await?;
        let slots = tokio::sync::Semaphore::new(2);
        let parts = (0..6_u32).map(|value| {
            let (name, ledger, slots, on) = (format!("part{value}"), &ledger, &slots, &on);
            async move {
                if let Some(known) = ledger.get::<u32>(&name) {
                    return known;
                }
                let _slot = slots.acquire().await;
                on.begin(&name);
                tokio::time::sleep(on.pause()).await;
                ledger.record(name, &value, Vec::new()).await?;
                Ok(value)
            }
        });
        let asked = cx.ask::<bool>(Ask::confirm("ok", "?"));
        let (values, ok) = join(pin!(try_join_all(parts)), asked).await;
        Ok(format!("{} {}", values?.iter().sum::<u32>(), ok?))
    })
}

/// One life of the process. The session's outcome, where it came to it.
async fn live(
    disk: &VirtualDisk,
    body: Body,
    on: &Effects,
    id: &mut Option<SessionId>,
    writes: usize,
    random: &mut Random,
) -> Option<Result<Outcome, String>> {
    let store = disk.open_with(Faults::none().delay_all());
    let sessions =
        Sessions::builder().store(Arc::clone(&store) as _).flaw(on.flaw()).open().await.unwrap();
    if let Some(id) = *id {
        on.0.lock().unwrap().recorded = recorded(&*store, id);
    }
    let effects = on.clone();
    let registered = sessions
        .register("body", move |cx: SessionContext, _: ()| body(cx, effects.clone()))
        .unwrap();
    let mut spawn = id.is_none().then(|| Box::pin(registered.spawn(())));
    let handle = match &spawn {
        Some(spawn) => {
            *id = Some(spawn.id());
            None
        }
        None => Some(sessions.get((*id)?).unwrap()),
    };
    let mut handle = handle;
    let mut acknowledged = 0;
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..20_000 {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        if let Some(spawning) = &mut spawn
            && let Poll::Ready(run) = poll_fn(|cx| Poll::Ready(spawning.as_mut().poll(cx))).await
        {
            handle = Some(run.unwrap().handle());
            spawn = None;
        }
        while answers.try_join_next().is_some() {}
        if store.waiting() > 0 && random.percent(50) {
            if acknowledged == writes {
                store.crash();
                return None;
            }
            // Several at once are what a group commit acknowledges.
            let count =
                store.waiting().min(1 + random.below(3) as usize).min(writes - acknowledged);
            acknowledged += count;
            store.release(count);
            continue;
        }
        if let Some(handle) = &handle {
            let state = handle.state().unwrap();
            if let Some(outcome) = Outcome::of(&state) {
                return Some(Ok(outcome));
            }
            if let SessionState::Suspended(cause @ SuspendCause::Mismatch { .. }) = state {
                return Some(Err(format!("{cause:?}")));
            }
            if let SessionState::Paused(open) = &state
                && random.percent(30)
            {
                let (handle, question) = (handle.clone(), open.iter().next().unwrap().id);
                answers.spawn(async move {
                    let _late_or_lost = handle.answer(question, true).await;
                });
                continue;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Some(Err("it never ends".to_owned()))
}

/// The steps whose results lie on the disk.
fn recorded(store: &dyn Store, id: SessionId) -> BTreeSet<String> {
    let Ok(entries) = store.journal(&Stream::Session(id), 0, 10_000) else {
        return BTreeSet::new();
    };
    let records = entries.iter().map(|entry| Record::decode(&entry.data).unwrap());
    let names = records.filter_map(|record| match record {
        Record::Done(done) if done.key.name == "same" => match done.result {
            KeptResult::Ok(value) => Some(format!("same{}", value.get())),
            _ => None,
        },
        Record::Done(done) => Some(done.key.name.to_string()),
        _ => None,
    });
    names.collect()
}

/// Runs a body in lives of these lengths and then to its end. Whether a life was cut.
async fn run(
    body: Body,
    lives: &[usize],
    seed: u64,
    flaw: Option<Flaw>,
) -> (bool, Result<String, String>) {
    let disk = VirtualDisk::new();
    let on = Effects::default();
    let mut random = Random::new(seed);
    {
        let mut done = on.0.lock().unwrap();
        (done.seed, done.flaw) = (seed, flaw);
    }
    let (mut id, mut was_cut) = (None, false);
    for writes in lives.iter().chain(&[usize::MAX]) {
        let Some(outcome) = live(&disk, body, &on, &mut id, *writes, &mut random).await else {
            was_cut = true;
            // Nothing was written: it begins anew, as another session.
            if id.is_some_and(|id| disk.open().info(&Stream::Session(id)).is_err()) {
                id = None;
            }
            continue;
        };
        let faults = std::mem::take(&mut on.0.lock().unwrap().faults);
        let result = match outcome {
            Ok(Outcome::Done(_)) if !faults.is_empty() => Err(format!("{faults:?}")),
            Ok(Outcome::Done(completion)) => {
                Ok(serde_json::from_str(&completion.output.unwrap()).unwrap())
            }
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error),
        };
        return (was_cut, result);
    }
    unreachable!("the last life has no end but the session's");
}

type Expected = fn(&str) -> bool;

/// What comes out of each body, however often it is cut.
const BODIES: [(Body, Expected); 4] = [
    (chains, |output| output.starts_with("12 56 true ")),
    (races, |output| output == "agreed"),
    (unordered, |output| output == "[0, 1, 2, 3, 4, 5]"),
    (folds, |output| output == "15 true"),
];

/// Some lives and a body.
fn case(seed: u64) -> (Vec<usize>, Body, Expected) {
    let mut random = Random::new(seed);
    let lives = (0..=random.below(4)).map(|_| random.below(30) as usize).collect();
    let (body, expected) = BODIES[(seed % 4) as usize];
    (lives, body, expected)
}

fn rounds() -> u64 {
    u64::from(super::cases())
}

#[tokio::test(start_paused = true)]
async fn sess_020_sess_017_bodies_go_on_after_a_cut_at_every_write() {
    for (body, expected) in BODIES {
        for writes in 0.. {
            let (was_cut, output) = run(body, &[writes], writes as u64, None).await;
            assert!(output.as_deref().is_ok_and(expected), "cut at write {writes}: {output:?}");
            if !was_cut {
                assert!(writes > 5, "only {writes} writes");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sess_020_sess_017_bodies_go_on_after_many_cuts_at_random() {
    for seed in 0..rounds() {
        let (lives, body, expected) = case(seed);
        let (_, output) = run(body, &lives, seed, None).await;
        assert!(output.as_deref().is_ok_and(expected), "seed {seed}, lives {lives:?}: {output:?}");
    }
}

/// The control: with two records a turn, bodies come to other decisions than they came to before.
#[tokio::test(start_paused = true)]
async fn sess_020_sess_017_two_records_in_a_turn_are_seen() {
    for flaw in [Flaw::TwoLive, Flaw::TwoInReplay] {
        let mut bad = 0;
        for seed in 0..rounds().max(300) {
            let (lives, body, expected) = case(seed);
            let (_, output) = run(body, &lives, seed, Some(flaw)).await;
            bad += u32::from(!output.as_deref().is_ok_and(expected));
        }
        println!("{flaw:?}: {bad} bad");
        assert!(bad > 0, "{flaw:?} is not seen");
    }
}
