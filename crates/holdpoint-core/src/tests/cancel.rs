//! CORE-007.

use std::sync::Barrier;

use proptest::prelude::*;
use tokio_test::{assert_pending, assert_ready};

use super::config;
use crate::{Cancel, CancelCode, CancelInfo, Timestamp};

fn cause(text: String) -> CancelInfo {
    CancelInfo::new(CancelCode::User, text, Timestamp::from_micros(1))
}

#[test]
fn core_007_first_cause_is_kept_and_the_tree_isolates_siblings() {
    let root = Cancel::new();
    let (left, right) = (root.child(), root.child());
    let leaf = left.child();
    assert!(left.cancel(CancelCode::Timeout, "5s"));
    assert!(!left.cancel(CancelCode::User, "late"));
    assert!(leaf.is_cancelled());
    assert_eq!(leaf.cause().unwrap().code, CancelCode::Timeout);
    assert!(!root.is_cancelled() && !right.is_cancelled());
    assert!(root.cause().is_none() && right.cause().is_none());
    assert!(root.cancel(CancelCode::Shutdown, "bye"));
    assert_eq!(&*leaf.cause().unwrap().text, "5s");
    assert_eq!(&*right.cause().unwrap().text, "bye");
    assert!(!right.cancel(CancelCode::User, "late"));
}

#[test]
fn core_007_a_cause_has_code_text_and_time() {
    let token = Cancel::new();
    let cause = CancelInfo::new(CancelCode::Parent, "gone", Timestamp::from_micros(5));
    assert!(token.cancel_with(cause.clone()));
    assert_eq!(token.cause(), Some(&cause));
    assert_eq!(cause.to_string(), "parent: gone");
    let codes = [
        CancelCode::User,
        CancelCode::Timeout,
        CancelCode::Parent,
        CancelCode::Shutdown,
        CancelCode::Internal,
    ];
    let words = codes.map(|code| code.to_string());
    assert_eq!(words, ["user", "timeout", "parent", "shutdown", "internal"]);
}

#[test]
fn core_007_a_child_made_after_the_cancel_is_cancelled_with_its_cause() {
    let root = Cancel::new();
    root.cancel(CancelCode::User, "stop");
    let grandchild = root.child().child();
    assert!(grandchild.is_cancelled());
    assert_eq!(&*grandchild.cause().unwrap().text, "stop");
}

#[test]
fn core_007_a_dropped_waiter_disturbs_nobody_and_a_late_one_is_answered_at_once() {
    let root = Cancel::new();
    let child = root.child();
    let mut dropped = tokio_test::task::spawn(child.cancelled());
    let mut waiting = tokio_test::task::spawn(child.cancelled());
    assert_pending!(dropped.poll());
    assert_pending!(waiting.poll());
    drop(dropped);
    root.cancel(CancelCode::Shutdown, "bye");
    assert!(waiting.is_woken());
    assert_eq!(&*assert_ready!(waiting.poll()).text, "bye");
    assert_eq!(
        assert_ready!(tokio_test::task::spawn(child.cancelled()).poll()).code,
        CancelCode::Shutdown
    );
}

#[tokio::test]
async fn core_007_the_bare_token_counts_as_user() {
    let root = Cancel::new();
    let child = root.child();
    let waiter = tokio::spawn(async move { child.cancelled().await });
    root.token().cancel();
    assert_eq!(waiter.await.unwrap().code, CancelCode::User);
}

#[test]
fn core_007_racing_threads_agree_on_one_cause_for_each_token() {
    const THREADS: usize = 4;
    for _ in 0..1_000 {
        let root = Cancel::new();
        let middle = root.child();
        let leaf = middle.child();
        let tokens = [&root, &middle, &leaf];
        let start = Barrier::new(THREADS);
        let race = |thread: usize| {
            start.wait();
            let mut given = Vec::new();
            let mut seen = [const { None }; 3];
            for step in 0..3 {
                let target = (thread + step) % 3;
                let text = format!("{thread}.{step}");
                if tokens[target].cancel_with(cause(text.clone())) {
                    given.push((target, text));
                }
                for (seen, token) in seen.iter_mut().zip(tokens) {
                    let now = token.cause().cloned();
                    assert!(seen.is_none() || *seen == now, "a cause changed");
                    *seen = now;
                }
            }
            given
        };
        let given: Vec<(usize, String)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || race(n))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for (target, token) in tokens.into_iter().enumerate() {
            let winners: Vec<_> = given.iter().filter(|(of, _)| *of == target).collect();
            assert!(winners.len() <= 1, "two calls gave the cause of one token");
            let kept = &*token.cause().unwrap().text;
            assert!(given.iter().any(|(_, text)| text == kept));
            assert!(winners.iter().all(|(_, text)| text == kept));
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Against a model: the cause of a token is that of the first call on its path to the root,
    /// whether or not anybody looked at it in between.
    #[test]
    fn core_007_a_cancel_reaches_those_below_and_nobody_else(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        cancelled in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        watched in any::<bool>(),
    ) {
        let mut tokens = vec![(Cancel::new(), None)];
        for parent in parents {
            let parent = parent.index(tokens.len());
            tokens.push((tokens[parent].0.child(), Some(parent)));
        }
        let mut model: Vec<Option<String>> = vec![None; tokens.len()];
        for (order, target) in cancelled.into_iter().enumerate() {
            let target = target.index(tokens.len());
            let first = tokens[target].0.cancel_with(cause(order.to_string()));
            prop_assert_eq!(first, model[target].is_none());
            for (node, kept) in model.iter_mut().enumerate().filter(|(_, kept)| kept.is_none()) {
                let mut path = std::iter::successors(Some(node), |node| tokens[*node].1);
                if path.any(|above| above == target) {
                    *kept = Some(order.to_string());
                }
            }
            if watched {
                same(&tokens, &model)?;
            }
        }
        same(&tokens, &model)?;
    }
}

fn same(tokens: &[(Cancel, Option<usize>)], model: &[Option<String>]) -> Result<(), TestCaseError> {
    for ((token, _), expected) in tokens.iter().zip(model) {
        prop_assert_eq!(token.is_cancelled(), expected.is_some());
        prop_assert_eq!(token.cause().map(|cause| cause.text.to_string()), expected.clone());
    }
    Ok(())
}
