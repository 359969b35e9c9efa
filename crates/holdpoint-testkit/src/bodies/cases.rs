//! The cases and their bodies. What must come of each is written out, and known from nothing but the
//! body and what the outside does.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, join3, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use holdpoint_core::body::{Ask, BodyError, Child, Step, StepFailure, Terminal};
use holdpoint_core::{Backoff, BoxError, CancelCode};
use serde_json::{Value, json};

use super::witness::Witness;
use super::{Act, Case, End, Returned, TICK, When};

/// Longer than anybody waits.
const HOUR: Duration = Duration::from_secs(3600);

type Run = fn(Witness, Value) -> Returned;

/// Bodies by name, those that are started by others included.
pub(super) const BODIES: [(&str, Run); 22] = [
    ("chains", |w, _| Box::pin(chains(w))),
    ("ask_or_sleep", |w, input| Box::pin(ask_or_sleep(w, input))),
    ("step_or_sleep", |w, input| Box::pin(step_or_sleep(w, input))),
    ("sleeps", |w, _| Box::pin(sleeps(w))),
    ("unordered_steps", |w, _| Box::pin(unordered_steps(w))),
    ("unordered_asks", |w, _| Box::pin(unordered_asks(w))),
    ("rounds", |w, _| Box::pin(rounds(w))),
    ("retries", |w, _| Box::pin(retries(w))),
    ("limits", |w, _| Box::pin(limits(w))),
    ("borrows", |w, _| Box::pin(borrows(w))),
    ("cleans_up", |w, _| Box::pin(cleans_up(w))),
    ("stopped_at_work", |w, input| Box::pin(stopped_at_work(w, input))),
    ("parent", |w, input| Box::pin(parent(w, input))),
    ("child", |w, input| Box::pin(child(w, input))),
    ("sends_off", |w, _| Box::pin(sends_off(w))),
    ("sent_off", |w, _| Box::pin(sent_off(w))),
    ("asks_all", |w, _| Box::pin(asks_all(w))),
    ("tells", |w, _| Box::pin(tells(w))),
    ("fails", |w, input| Box::pin(fails(w, input))),
    ("secret", |w, _| Box::pin(secret(w))),
    ("misplaced", |w, _| Box::pin(misplaced(w))),
    ("wrong_type", |w, _| Box::pin(wrong_type(w))),
];

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = parallel();
    cases.extend(effects());
    cases.extend(ends());
    cases.extend(families());
    cases
}

/// A case of a body whose output is this.
fn case(name: &'static str, body: &'static str, input: Value, output: Value) -> Case {
    Case {
        name,
        body,
        input,
        acts: Vec::new(),
        end: End::Done(output),
        others: Vec::new(),
        progress: Vec::new(),
        is_by_chance: false,
    }
}

impl Case {
    fn act(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    fn answer(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.act(Act::Answer(name, value.into()))
    }

    fn end(self, end: End) -> Self {
        Self { end, ..self }
    }

    fn other(mut self, body: &'static str, end: End) -> Self {
        self.others.push((body, end));
        self
    }

    fn by_chance(self) -> Self {
        Self { is_by_chance: true, ..self }
    }
}

fn cancelled(code: CancelCode, text: &str) -> End {
    End::Cancelled { code, text: text.to_owned() }
}

fn failed(message: &str, retryable: bool) -> End {
    End::Failed { message: message.to_owned(), retryable, is_panic: false }
}

/// An error with all that led to it.
fn text(error: &BodyError) -> String {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What happens side by side.
fn parallel() -> Vec<Case> {
    let decided = json!(null);
    vec![
        case("two chains of two steps", "chains", json!(null), json!([12, 56, true]))
            .answer("go-on", true)
            .by_chance(),
        case(
            "a question answered before its limit",
            "ask_or_sleep",
            json!(null),
            json!(["yes", "b"]),
        )
        .answer("first", true)
        .answer("second", "b"),
        case("a question not answered in time", "ask_or_sleep", json!(3), json!(["slept", "b"]))
            .answer("second", "b"),
        case("a step done before its limit", "step_or_sleep", json!(null), json!(["done", "done"])),
        case("a step not done in time", "step_or_sleep", json!(2), json!(["slept", "done"])),
        case("sleeps side by side", "sleeps", json!(null), json!(["short", "middle", "long"])),
        case(
            "steps of one name, unordered",
            "unordered_steps",
            json!(null),
            json!([0, 1, 2, 3, 4, 5]),
        )
        .by_chance(),
        case(
            "questions of one name, unordered",
            "unordered_asks",
            json!(null),
            json!(["0", "1", "2", "3", "4"]),
        )
        .act(Act::Echo("vote"))
        .by_chance(),
        case("races whose winners nobody knows", "rounds", json!(null), decided)
            .act(Act::Maybe("poll"))
            .by_chance(),
        case("several questions at once", "asks_all", json!(null), json!([3, "two", "c"]))
            .answer("choice", "c")
            .answer("number", 3)
            .answer("text", "two"),
    ]
}

async fn chains(w: Witness) -> Result<Value, BoxError> {
    let chain = async |one, two, from: u64| {
        let first = w.work(one, from).await?;
        let second = w.work(two, first + 1).await?;
        Ok::<_, BodyError>(first * 10 + second)
    };
    let (left, right) = join(chain("left-1", "left-2", 1), chain("right-1", "right-2", 5)).await;
    let ok: bool = w.ask("go-on", Ask::confirm("go-on", "Go on?")).await?;
    Ok(json!([left?, right?, ok]))
}

/// A limit in ticks; an hour where there is none.
fn limit(input: &Value) -> Duration {
    input.as_u64().map_or(HOUR, |ticks| TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

async fn ask_or_sleep(w: Witness, input: Value) -> Result<Value, BoxError> {
    let asked = pin!(w.ask::<bool>("first", Ask::confirm("first", "First?")));
    let slept = pin!(w.sleep("limit", limit(&input)));
    let won = match select(asked, slept).await {
        Either::Left((answer, _)) => {
            if answer? {
                "yes"
            } else {
                "no"
            }
        }
        Either::Right((slept, _)) => {
            slept?;
            "slept"
        }
    };
    w.saw(won);
    let second: String = w.ask("second", Ask::choice("second", "Second?", ["a", "b"])).await?;
    Ok(json!([won, second]))
}

async fn step_or_sleep(w: Witness, input: Value) -> Result<Value, BoxError> {
    let is_slow = !input.is_null();
    let mut all = Vec::new();
    // A step that was dropped, and another of its name.
    for is_slow in [is_slow, false] {
        let limit = if is_slow { limit(&input) } else { HOUR };
        let work = pin!(w.step(
            "work",
            |step| step,
            async |effect| {
                if is_slow {
                    effect.hang().await;
                }
                effect.a_while().await;
                Ok("done".to_owned())
            }
        ));
        let slept = pin!(w.sleep("limit", limit));
        all.push(match select(work, slept).await {
            Either::Left((value, _)) => value?,
            Either::Right((slept, _)) => {
                slept?;
                "slept".to_owned()
            }
        });
        w.saw(all.join(" "));
    }
    Ok(json!(all))
}

async fn sleeps(w: Witness) -> Result<Value, BoxError> {
    let mut all = FuturesUnordered::new();
    for (name, ticks) in [("long", 9), ("short", 3), ("middle", 6)] {
        let slept = w.sleep(name, TICK * ticks);
        all.push(async move { slept.await.map(|()| name) });
    }
    let mut order = Vec::new();
    while let Some(name) = all.next().await {
        order.push(name?);
    }
    Ok(json!(order))
}

async fn unordered_steps(w: Witness) -> Result<Value, BoxError> {
    let mut all: FuturesUnordered<_> = (0..6).map(|value| w.work("same", value)).collect();
    let mut order = Vec::new();
    while let Some(value) = all.next().await {
        order.push(value?);
        w.saw(format_args!("{order:?}"));
    }
    order.sort_unstable();
    Ok(json!(order))
}

async fn unordered_asks(w: Witness) -> Result<Value, BoxError> {
    let ask = |number: u32| w.ask::<String>("vote", Ask::text("vote", number.to_string()));
    let mut all: FuturesUnordered<_> = (0..5).map(ask).collect();
    let mut order = Vec::new();
    while let Some(answer) = all.next().await {
        order.push(answer?);
        w.saw(format_args!("{order:?}"));
        // What is called here depends on what came, as long as more is to come.
        if order.len() < 4 {
            w.work(if *order[0] < *"2" { "low" } else { "high" }, 0).await?;
        }
    }
    order.sort_unstable();
    Ok(json!(order))
}

async fn rounds(w: Witness) -> Result<Value, BoxError> {
    for _ in 0..4 {
        let asked = pin!(w.ask::<bool>("poll", Ask::confirm("poll", "Now?")));
        let slept = pin!(w.sleep("nap", TICK * 2));
        let work = pin!(w.work("job", 1));
        let won = match select(select(asked, slept), work).await {
            Either::Left((Either::Left((answer, _)), _)) => {
                if answer? {
                    "yes"
                } else {
                    "no"
                }
            }
            Either::Left((Either::Right((slept, _)), _)) => {
                slept?;
                "slept"
            }
            Either::Right((value, _)) => {
                value?;
                "worked"
            }
        };
        w.saw(won);
        w.work(won, 1).await?;
    }
    Ok(json!(null))
}

async fn asks_all(w: Witness) -> Result<Value, BoxError> {
    let asks = vec![
        ("number", Ask::value("number", "How many?")),
        ("text", Ask::text("text", "What?")),
        ("choice", Ask::choice("choice", "Which?", ["a", "b", "c"])),
    ];
    Ok(json!(w.ask_all::<Value>(asks).await?))
}

/// What effects do.
fn effects() -> Vec<Case> {
    let charge = "step `refused` failed: no such card";
    let retried = json!(["third", charge, "step `down` failed: no connection", 1]);
    let limited = json!(["step `slow` took longer than 16ms", "second"]);
    let told = json!({ "draws differ": true, "time goes on": true });
    let mut tells =
        case("time, chance and progress", "tells", json!(null), told).answer("go-on", true);
    tells.progress = vec![json!("one"), json!({ "two": 2 }), json!(3)];
    vec![
        case("steps that are tried again", "retries", json!(null), retried),
        case("steps that take too long", "limits", json!(null), limited),
        case("steps that borrow", "borrows", json!(null), json!([1, 2, 3])),
        tells,
        case("a secret", "secret", json!(null), json!(7))
            .answer("token", "hunter2")
            .answer("go-on", true),
        case("an operation within an effect", "misplaced", json!(null), json!(true)),
        case("an answer of another type", "wrong_type", json!(null), json!(true))
            .answer("number", "x"),
    ]
}

async fn retries(w: Witness) -> Result<Value, BoxError> {
    let often = |step: Step| step.attempts(3).backoff(Backoff::fixed(TICK));
    let third: String = w
        .step("third", often, async |effect| {
            effect.a_while().await;
            match effect.number() {
                3 => Ok("third".to_owned()),
                number => Err(StepFailure::new(format!("{number} is not enough"))),
            }
        })
        .await?;
    // Another attempt would succeed, and is not made.
    let refused: Result<u64, _> = w
        .step("refused", often, async |effect| match effect.number() {
            1 => Err(StepFailure::terminal("no such card")),
            _ => Ok(1),
        })
        .await;
    let down: Result<u64, _> =
        w.step("down", often, async |_| Err(StepFailure::new("no connection"))).await;
    let fine = w.work("fine", 1).await?;
    let [refused, down] = [refused, down].map(|result| result.map_err(|error| text(&error)));
    Ok(json!([third, refused.unwrap_err(), down.unwrap_err(), fine]))
}

async fn limits(w: Witness) -> Result<Value, BoxError> {
    let slow: Result<u64, _> = w
        .step(
            "slow",
            |step| step.timeout(TICK * 2),
            async |effect| {
                effect.hang().await;
                Ok(0)
            },
        )
        .await;
    let twice = |step: Step| step.attempts(2).timeout(TICK * 2).backoff(Backoff::fixed(TICK));
    let second: String = w
        .step("second", twice, async |effect| {
            if effect.number() == 1 {
                effect.hang().await;
            }
            Ok("second".to_owned())
        })
        .await?;
    let slow = slow.map_err(|error| text(&error)).unwrap_err();
    Ok(json!([slow, second]))
}

async fn borrows(w: Witness) -> Result<Value, BoxError> {
    let (mut words, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        words.push("word".to_owned());
        let words = &words;
        let count: usize = w
            .step(
                "count",
                |step| step,
                |effect| async move {
                    effect.a_while().await;
                    Ok(words.len())
                },
            )
            .await?;
        counts.push(count);
    }
    Ok(json!(counts))
}

async fn tells(w: Witness) -> Result<Value, BoxError> {
    let mut seen = Vec::new();
    let mut look = |w: &Witness| {
        let (random, now) = (w.cx.random(), w.cx.now());
        // The same in each life.
        w.saw(format_args!("{random} at {now:?}"));
        seen.push((random, now));
    };
    look(&w);
    w.cx.emit("one")?;
    let (left, right) = join(w.work("left", 1), w.work("right", 2)).await;
    left?;
    right?;
    look(&w);
    w.cx.emit(&json!({ "two": 2 }))?;
    w.sleep("nap", TICK * 2).await?;
    look(&w);
    let _ok: bool = w.ask("go-on", Ask::confirm("go-on", "Go on?")).await?;
    look(&w);
    w.cx.emit(&3)?;
    let differ = (1..seen.len()).all(|place| !seen[..place].iter().any(|s| s.0 == seen[place].0));
    Ok(json!({ "draws differ": differ, "time goes on": seen.is_sorted_by_key(|seen| seen.1) }))
}

async fn secret(w: Witness) -> Result<Value, BoxError> {
    let token: String = w.ask("token", Ask::secret("token", "Token?")).await?;
    w.work("login", 1).await?;
    let _ok: bool = w.ask("go-on", Ask::confirm("go-on", "Go on?")).await?;
    Ok(json!(token.len()))
}

async fn misplaced(w: Witness) -> Result<Value, BoxError> {
    let cx = w.cx.clone();
    let outer: Result<(), _> = w
        .step(
            "outer",
            |step| step,
            |_| {
                let sleep = cx.sleep(HOUR);
                async move { Ok(sleep.await?) }
            },
        )
        .await;
    let text = outer.map_err(|error| text(&error)).unwrap_err();
    Ok(json!(text.starts_with("step `outer` failed: sleep `sleep` is called in the wrong place")))
}

async fn wrong_type(w: Witness) -> Result<Value, BoxError> {
    let number: Result<u64, _> = w.ask("number", Ask::text("number", "How many?")).await;
    let text = number.map_err(|error| text(&error)).unwrap_err();
    Ok(json!(text.starts_with("the result of ask `number` is no value of the type")))
}

/// How bodies end.
fn ends() -> Vec<Case> {
    let ends = |name, how: &str, end| case(name, "fails", json!(how), json!(null)).end(end);
    let stopped = |name, how: &str| {
        let both = When::Running(&["left", "right"]);
        case(name, "stopped_at_work", json!(how), json!(null))
            .act(Act::Cancel(both, "enough"))
            .act(Act::Open("go-on"))
    };
    let panicked =
        End::Failed { message: "it is broken".to_owned(), retryable: false, is_panic: true };
    vec![
        case("stopped while paused", "cleans_up", json!(null), json!(null))
            .act(Act::Cancel(When::Asked("go-on"), "changed my mind"))
            .end(cancelled(CancelCode::User, "changed my mind")),
        stopped("stopped while two steps run", "stops").end(cancelled(CancelCode::User, "enough")),
        stopped("stopped and done all the same", "goes on").end(End::Done(json!([
            1,
            2,
            "user: enough"
        ]))),
        ends("an error", "error", failed("no such branch", true)),
        ends("an error for good", "terminal", failed("permanent failure: no such card", false)),
        ends("a step's error", "step", failed("step `broken` failed: no such file", false)),
        ends("a panic", "panic", panicked),
    ]
}

async fn cleans_up(w: Witness) -> Result<Value, BoxError> {
    let before = w.work("take", 1).await?;
    let asked: Result<bool, _> = w.ask("go-on", Ask::confirm("go-on", "Go on?")).await;
    let Err(stopped) = asked else { return Ok(json!("answered")) };
    // What is called after it is stopped as well, but for cleaning up.
    if w.work("more", 1).await.is_ok() {
        return Ok(json!("worked on"));
    }
    let cleanup = w.cleanup();
    let given_back = cleanup.work("give-back", before).await?;
    cleanup.sleep("settle", TICK).await?;
    if given_back == before { Err(stopped.into()) } else { Ok(json!(given_back)) }
}

async fn stopped_at_work(w: Witness, input: Value) -> Result<Value, BoxError> {
    let work = |name, value: u64| {
        w.step(
            name,
            |step| step,
            move |effect| async move {
                effect.gate("go-on").await;
                effect.a_while().await;
                Ok(value)
            },
        )
    };
    let (left, right) = join(work("left", 1), work("right", 2)).await;
    let (left, right) = (left?, right?);
    let Err(stopped) = w.sleep("rest", HOUR).await else { return Ok(json!("slept")) };
    if input == "stops" {
        return Err(stopped.into());
    }
    w.cleanup().work("finish", 3).await?;
    let cause = w.cx.cancel().map(|cause| format!("{}: {}", cause.code, cause.text));
    Ok(json!([left, right, cause]))
}

async fn fails(w: Witness, input: Value) -> Result<Value, BoxError> {
    w.work("before", 1).await?;
    match input.as_str() {
        Some("error") => Err("no such branch".into()),
        Some("terminal") => Err(Terminal::new("no such card").into()),
        Some("step") => {
            let broken = async |_| Err(StepFailure::terminal("no such file"));
            w.step::<u64, _, _>("broken", |step| step, broken).await?;
            Ok(json!(null))
        }
        _ => panic!("it is broken"),
    }
}

/// Bodies that start others.
fn families() -> Vec<Case> {
    vec![
        case("a child beside a step", "parent", json!(2), json!([5, 14]))
            .answer("child-ok", true)
            .other("child", End::Done(json!(14))),
        case(
            "a child that fails",
            "parent",
            json!(0),
            json!([5, "child `kid` failed: zero children"]),
        )
        .other("child", failed("zero children", true)),
        case("stopped while its child is paused", "parent", json!(2), json!(null))
            .act(Act::Cancel(When::Asked("child-ok"), "stop"))
            .end(cancelled(CancelCode::User, "stop"))
            .other("child", cancelled(CancelCode::Parent, "")),
        case("a session of its own", "sends_off", json!(null), json!("sent"))
            .answer("sent-off-ok", "well")
            .other("sent_off", End::Done(json!("well"))),
    ]
}

async fn parent(w: Witness, input: Value) -> Result<Value, BoxError> {
    let kid = w.child::<u64>("kid", Child::new("child", &input));
    let (beside, kid, third) = join3(w.work("beside", 5), kid, w.sleep("nap", TICK)).await;
    third?;
    let beside = beside?;
    match kid {
        Ok(kid) => Ok(json!([beside, kid])),
        Err(error @ BodyError::Cancelled(_)) => Err(error.into()),
        Err(error) => Ok(json!([beside, text(&error)])),
    }
}

async fn child(w: Witness, input: Value) -> Result<Value, BoxError> {
    let number = w.work("grow", 7).await? * input.as_u64().unwrap_or(0);
    if number == 0 {
        return Err("zero children".into());
    }
    let _ok: bool = w.ask("child-ok", Ask::confirm("child-ok", "Go on?")).await?;
    Ok(json!(number))
}

async fn sends_off(w: Witness) -> Result<Value, BoxError> {
    w.detached("letter", Child::new("sent_off", &())).await?;
    w.work("after", 1).await?;
    Ok(json!("sent"))
}

async fn sent_off(w: Witness) -> Result<Value, BoxError> {
    w.work("travel", 1).await?;
    let how: String = w.ask("sent-off-ok", Ask::text("sent-off-ok", "How was it?")).await?;
    Ok(json!(how))
}
