//! Values along edges, and what closures can be (GRAPH-013).

use std::convert::Infallible;
use std::sync::Arc;

use crate::{Graph, Limits, Outcome, SkipCause, Source, ValueError};

type Never<T> = Result<T, Infallible>;

#[tokio::test]
async fn graph_013_values_flow_along_edges_by_type() {
    let mut g = Graph::builder();
    let words = g.task("words", async |_| Never::Ok(vec!["one", "two", "three"])).key();
    let count = g
        .task("count", move |cx| async move { Never::Ok(cx.value(words).len()) })
        .needs(words)
        .key();
    let text = g
        .task("text", move |cx| async move {
            Never::Ok(format!("{} of {}", cx.value(words)[1], cx.value(count)))
        })
        .needs(words)
        .needs(count)
        .key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();
    assert_eq!(*report.value(text).unwrap(), "two of 3");
    assert_eq!(*report.value(count).unwrap(), 3);
    assert!(Arc::ptr_eq(&report.value(words).unwrap(), &report.value(words).unwrap()), "shared");
}

#[tokio::test]
async fn graph_013_values_reach_tasks_on_other_threads() {
    let mut g = Graph::send_builder();
    let parts: Vec<_> = (0..8_u64)
        .map(|n| g.task(&format!("part{n}"), move |_| async move { Never::Ok(n) }).key())
        .collect();
    let keys = parts.clone();
    let mut sum = g.task("sum", move |cx| {
        let sum: u64 = keys.iter().map(|key| *cx.value(*key)).sum();
        async move { Never::Ok(sum) }
    });
    for part in parts {
        sum = sum.needs(part);
    }
    let sum = sum.key();
    let graph = g.build().unwrap();
    assert_eq!(*graph.run(Limits::cores()).spawned().await.unwrap().value(sum).unwrap(), 28);
    assert_eq!(*graph.run(Limits::cores()).await.unwrap().value(sum).unwrap(), 28);
}

#[tokio::test]
async fn graph_013_graph_005_a_hit_brings_its_value() {
    let mut g = Graph::builder();
    let found = g
        .task("found", async |_| Err::<u32, _>("it is not executed"))
        .lookup(async |_| Some(7))
        .key();
    let missed = g.task("missed", async |_| Never::Ok(1)).lookup(async |_| None).key();
    let sum =
        g.task("sum", move |cx| async move { Never::Ok(*cx.value(found) + *cx.value(missed)) });
    let sum = sum.needs(found).needs(missed).key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();
    assert_eq!(*report.value(sum).unwrap(), 8);
    assert!(matches!(report.outcome(found.id()), Outcome::Succeeded(Source::Cache)));
    assert!(matches!(report.outcome(missed.id()), Outcome::Succeeded(Source::Fresh)));
}

#[tokio::test]
async fn graph_013_a_value_is_there_only_where_its_task_succeeded() {
    let mut g = Graph::builder();
    let bad = g.task("bad", async |_| Err::<u32, _>("boom")).allow_failure().key();
    let asks =
        g.task("asks", move |cx| async move { Never::Ok(cx.try_value(bad)) }).needs(bad).key();
    // Nobody said that it needs it: a failure of the task that asks, and of no other.
    let careless = g.task("careless", move |cx| async move { Never::Ok(cx.value(asks)) }).key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();
    assert_eq!(*report.value(asks).unwrap(), None);
    assert_eq!(report.value(bad), Err(ValueError::NotSucceeded { task: "bad".into() }));
    let Outcome::Failed { failure, .. } = report.outcome(careless.id()) else { panic!() };
    assert_eq!(failure.code(), Some("panic"));
    assert!(failure.message().contains("has not succeeded"), "{failure}");
}

#[tokio::test]
async fn graph_013_a_key_of_another_graph_is_refused() {
    let mut g = Graph::builder();
    let key = g.task("a", async |_| Never::Ok(1_u8)).key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();

    let mut other = Graph::builder();
    let text = other.task("a", async |_| Never::Ok("text")).key();
    let second = other.task("b", async |_| Never::Ok(1_u8)).key();
    drop(other);
    assert_eq!(*report.value(key).unwrap(), 1);
    assert_eq!(report.value(text), Err(ValueError::OtherGraph), "of another type");
    assert_eq!(report.value(second), Err(ValueError::OtherGraph), "of a larger one");
}

/// A graph can be run again, also while it runs: each run has values of its own.
#[tokio::test]
async fn graph_013_each_run_has_its_own_values() {
    let mut g = Graph::builder();
    let mut runs = 0;
    let number = g
        .task("number", move |_| {
            runs += 1;
            async move {
                tokio::task::yield_now().await;
                Never::Ok(runs)
            }
        })
        .key();
    let twice = g
        .task("twice", move |cx| async move { Never::Ok(*cx.value(number) * 2) })
        .needs(number)
        .key();
    let graph = g.build().unwrap();
    let run = || async { graph.run(Limits::cores()).await.unwrap() };
    let (first, second) = tokio::join!(run(), run());
    assert_eq!((*first.value(twice).unwrap(), *second.value(twice).unwrap()), (2, 4));
    assert_eq!(*run().await.value(twice).unwrap(), 6);
    assert_eq!(*first.value(number).unwrap(), 1, "the first report is as it was");
}

#[tokio::test]
async fn graph_014_graph_013_a_condition_may_skip() {
    let mut g = Graph::builder();
    let wanted = g
        .task("wanted", async |_| Never::Ok(1))
        .only_if(async |_| true)
        .lookup(async |_| Some(2))
        .key();
    let unwanted = g
        .task("unwanted", async |_| Never::Ok(1))
        .lookup(async |_| panic!("the condition comes first"))
        .only_if(async |_| false)
        .key();
    let below = g.task("below", async |_| Never::Ok(1)).needs(unwanted).key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();
    assert_eq!(*report.value(wanted).unwrap(), 2);
    assert!(matches!(report.outcome(unwanted.id()), Outcome::Skipped(SkipCause::Condition(_))));
    let Outcome::Skipped(SkipCause::Upstream { root, .. }) = report.outcome(below.id()) else {
        panic!()
    };
    assert_eq!(root, unwanted.id());
    assert!(report.is_success());
}

/// Errors keep their source, and their chain is the message.
#[tokio::test]
async fn graph_013_errors_of_any_kind_become_failures() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot load")]
    struct Load(#[source] std::num::ParseIntError);

    let mut g = Graph::builder();
    let text = g.task("text", async |_| Err::<(), _>("boom")).key();
    let typed = g.task("typed", async |_| "x".parse::<u8>().map_err(Load)).key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();
    let failure = |key| match report.outcome(key) {
        Outcome::Failed { failure, allowed: false } => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(text.id()).message(), "boom");
    let failure = failure(typed.id());
    assert_eq!(failure.message(), "cannot load: invalid digit found in string");
    assert!(failure.source().is_some_and(|source| source.is::<Load>()));
}
