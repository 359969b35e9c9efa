//! What all processes together have done to a counter.

use std::collections::BTreeMap;

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::store::Store;

use super::{Change, Counter, events};

/// A counter's history, read from its events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The value.
    pub value: u64,
    /// Every request that was granted, with its amount.
    pub adds: BTreeMap<u64, u64>,
    /// Every claim, by its epoch, with the instance that has decided under it; none where that has
    /// not changed anything.
    pub claims: BTreeMap<u64, Option<u64>>,
}

impl Ledger {
    /// Reads a history and checks it: requests are granted once, the values are the sums, epochs
    /// rise, one instance decides under each, and the state that is kept is that after the last
    /// event.
    ///
    /// # Errors
    /// What is wrong with it, or why it cannot be read.
    pub fn read(store: &dyn Store, stream: &Stream) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("unreadable: {error}");
        let stored = store.events(stream, 0, usize::MAX).map_err(|error| unreadable(&error))?;
        let mut ledger = Self::default();
        for stored in stored {
            let event = stored.event().map_err(|error| unreadable(&error))?;
            let taken = ledger.take(&event.kind);
            taken.map_err(|what| format!("event {}: {what}", event.seq))?;
        }
        let snapshot = store.snapshot(stream).map_err(|error| unreadable(&error))?;
        let kept = snapshot.and_then(|snapshot| Counter::restore(&snapshot.data));
        let kept = kept.ok_or("the snapshot is none")?.value();
        if kept != ledger.value {
            return Err(format!("the state has {kept}, the events come to {}", ledger.value));
        }
        let epoch = store.info(stream).map_err(|error| unreadable(&error))?.epoch;
        let last = ledger.claims.keys().last().copied().unwrap_or(0);
        // A claim that was taken away has left no event.
        if epoch < last {
            return Err(format!("the epoch is {epoch}, and {last} was claimed"));
        }
        Ok(ledger)
    }

    fn take(&mut self, kind: &EventKind) -> Result<(), String> {
        let last = self.claims.last_key_value().map(|(epoch, by)| (*epoch, *by));
        match kind {
            EventKind::SessionStarted { start } | EventKind::SessionResumed { start } => {
                let epoch = u64::from(*start);
                if last.is_some_and(|(last, _)| last >= epoch) {
                    return Err(format!("epoch {epoch} after {last:?}"));
                }
                self.claims.insert(epoch, None);
                Ok(())
            }
            EventKind::SessionProgress { progress } => {
                let Some((change, instance, epoch)) = events::parse(progress) else {
                    return Err(format!("{progress} is no change of a counter"));
                };
                match last {
                    Some((last, by)) if last == epoch && by.is_none_or(|by| by == instance) => {}
                    _ => return Err(format!("{instance} decides under {epoch}, not {last:?}")),
                }
                self.claims.insert(epoch, Some(instance));
                self.add(change)
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, Change { request, amount, value }: Change) -> Result<(), String> {
        let expected = self.value.saturating_add(amount);
        if value != expected {
            return Err(format!("{} and {amount} make {value}", self.value));
        }
        if self.adds.insert(request, amount).is_some() {
            return Err(format!("request {request} was granted twice"));
        }
        self.value = value;
        Ok(())
    }
}
