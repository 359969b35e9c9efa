//! Spans: a session's work is found below whoever spawned it.

use std::cell::RefCell;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event as TracingEvent, Metadata, Subscriber};

use super::*;
use crate::StepFailure;

thread_local! {
    /// The spans that are entered on this thread, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the tree of spans, and in which span each message was told.
#[derive(Clone, Default)]
struct Tree(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Name and parent of each span; the first has number 1.
    spans: Vec<(&'static str, Option<u64>)>,
    messages: Vec<(String, Option<u64>)>,
    faults: Vec<String>,
}

impl Subscriber for Tree {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut kept = self.0.lock().unwrap();
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => {
                ENTERED.with_borrow(|spans| spans.last().copied())
            }
            None => None,
        };
        kept.spans.push((attributes.metadata().name(), parent));
        Id::from_u64(kept.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &TracingEvent<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
                self.0 = format!("{value:?}");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let span = ENTERED.with_borrow(|spans| spans.last().copied());
        self.0.lock().unwrap().messages.push((text.0, span));
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|spans| spans.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let left = ENTERED.with_borrow_mut(Vec::pop);
        if left != Some(span.into_u64()) {
            self.0.lock().unwrap().faults.push(format!("{span:?} is left, not {left:?}"));
        }
    }
}

async fn says(cx: SessionContext, name: String) -> Result<(), BodyError> {
    tracing::info!("{name} begins");
    ask_confirm(cx.clone(), ()).await?;
    tracing::info!("{name} goes on");
    cx.step("effect", || async {
        tracing::info!("{name} has an effect");
        tokio::task::yield_now().await;
        tracing::info!("{name} has more effect");
        Ok::<_, StepFailure>(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn sess_021_dd_21_a_session_runs_in_a_span_below_that_of_who_spawned_it() {
    let tree = Tree::default();
    let _guard = tracing::subscriber::set_default(tree.clone());
    for sessions in both().await {
        tree.0.lock().unwrap().messages.clear();
        let body = sessions.register("says", says).unwrap();
        let mut runs = Vec::new();
        let mut callers = Vec::new();
        for name in ["one", "two"] {
            let caller = tracing::info_span!("caller");
            callers.push(caller.id().unwrap().into_u64());
            let spawn = body.spawn(name.to_owned());
            runs.push(tracing::Instrument::instrument(spawn, caller).await.unwrap());
        }
        // The two are polled in turns; neither leaves its span behind for the other.
        for run in &runs {
            run.answer(question(run).await, true).await.unwrap();
            ENTERED.with_borrow(|spans| assert!(spans.is_empty(), "{spans:?}"));
        }
        for run in runs {
            within(run).await.unwrap();
        }
        let kept = tree.0.lock().unwrap();
        assert!(kept.faults.is_empty(), "{:?}", kept.faults);
        let said: Vec<_> = kept
            .messages
            .iter()
            .filter(|(text, _)| text.starts_with("one ") || text.starts_with("two "))
            .collect();
        assert_eq!(said.len(), 8);
        for (text, span) in said {
            let span = span.unwrap_or_else(|| panic!("`{text}` is said outside of all spans"));
            let (name, parent) = kept.spans[usize::try_from(span).unwrap() - 1];
            assert_eq!(name, "session", "{text}");
            let caller = callers[usize::from(text.starts_with("two"))];
            assert_eq!(parent, Some(caller), "{text}");
        }
    }
}
