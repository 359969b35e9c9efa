//! Who holds what, and whether they go together (H1, H2, H6).
//!
//! # Invariant
//! `names` has for each name exactly what the lists in `held` say; both change in `add` and
//! `remove` only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use holdpoint_core::event::{HoldMode, HoldRef, HoldScope};
use holdpoint_core::{Name, Stream, TaskName};

use super::Settings;
use super::violation::Notes;

/// The holders and names of one hold set.
#[derive(Debug, Default)]
pub(super) struct HoldBook {
    names: HashMap<(HoldScope, Name), Usage>,
    held: BTreeMap<Holder, Vec<Arc<[HoldRef]>>>,
    /// Sessions that may have lost their owner, and their holds with it, without a word.
    doubtful: HashSet<Stream>,
}

/// A task of a session, or its body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) stream: Stream,
    pub(super) task: Option<TaskName>,
}

/// What is taken of one name.
#[derive(Debug, Default)]
struct Usage {
    exclusive: u32,
    shared: u32,
    units: u64,
    by: BTreeMap<Holder, u32>,
}

impl HoldBook {
    /// A request got its ticket.
    pub(super) fn wait(&self, holder: &Holder, notes: &mut Notes<'_>) {
        let free = holder.task.is_none() || !self.held.contains_key(holder);
        notes.check(free, "H2", || format!("{holder} waits for holds while it has some"));
    }

    pub(super) fn acquire(
        &mut self,
        holder: Holder,
        holds: &Arc<[HoldRef]>,
        settings: &Settings,
        notes: &mut Notes<'_>,
    ) {
        // A body may have several guards; a task asks once for all it needs.
        let again = holder.task.is_some() && self.held.contains_key(&holder);
        notes.check(!again, "H2", || format!("{holder} takes holds while it has some"));
        for hold in holds.iter() {
            self.add(&holder, hold);
            self.judge(&holder, hold, settings, notes);
        }
        self.held.entry(holder).or_default().push(Arc::clone(holds));
    }

    pub(super) fn release(
        &mut self,
        holder: &Holder,
        holds: &Arc<[HoldRef]>,
        notes: &mut Notes<'_>,
    ) {
        let lists = self.held.get_mut(holder);
        let place =
            lists.as_ref().and_then(|lists| lists.iter().position(|list| **list == **holds));
        let (Some(lists), Some(place)) = (lists, place) else {
            notes.add("H6", format!("{holder} releases {} which it has not", Listed(holds)));
            return;
        };
        lists.remove(place);
        if lists.is_empty() {
            self.held.remove(holder);
        }
        holds.iter().for_each(|hold| self.remove(holder, hold));
    }

    /// A task or an attempt of it has ended: whatever it still has is told, and forgotten.
    pub(super) fn end(&mut self, holder: &Holder, notes: &mut Notes<'_>) {
        for list in self.forget(holder) {
            notes.add("H6", format!("{holder} ended and still holds {}", Listed(&list)));
        }
    }

    /// The end of a session: whatever it still has is told, and forgotten.
    pub(super) fn end_stream(&mut self, stream: &Stream, notes: &mut Notes<'_>) {
        for holder in self.holders_of(stream) {
            self.end(&holder, notes);
        }
    }

    /// A session has lost its owner, and its holds with it.
    pub(super) fn forget_stream(&mut self, stream: &Stream) {
        for holder in self.holders_of(stream) {
            self.forget(&holder);
        }
    }

    /// Whether the holds of a session may be gone without a word: then nobody is blamed for
    /// taking the same.
    pub(super) fn set_doubtful(&mut self, stream: &Stream, doubtful: bool) {
        if doubtful {
            self.doubtful.insert(stream.clone());
        } else {
            self.doubtful.remove(stream);
        }
    }

    fn holders_of(&self, stream: &Stream) -> Vec<Holder> {
        let first = Holder { stream: stream.clone(), task: None };
        let holders = self.held.range(first..).map(|(holder, _)| holder);
        holders.take_while(|holder| holder.stream == *stream).cloned().collect()
    }

    fn forget(&mut self, holder: &Holder) -> Vec<Arc<[HoldRef]>> {
        let lists = self.held.remove(holder).unwrap_or_default();
        for list in &lists {
            list.iter().for_each(|hold| self.remove(holder, hold));
        }
        lists
    }

    fn judge(&self, holder: &Holder, hold: &HoldRef, settings: &Settings, notes: &mut Notes<'_>) {
        let key = (hold.scope.clone(), hold.name.clone());
        let Some(usage) = self.names.get(&key) else { return };
        let others = usage.exclusive + usage.shared > 1 || usage.units > 0;
        let conflict = usage.exclusive > 0 && others;
        if conflict && !self.is_doubtful(usage, holder) {
            let other = usage.by.keys().find(|by| *by != holder).unwrap_or(holder);
            notes.add("H1", format!("{holder} takes {} together with {other}", Held(hold)));
        }
        if let Some(&capacity) = settings.capacities.get(&key) {
            let fits = usage.units <= u64::from(capacity) || self.is_doubtful(usage, holder);
            notes.check(fits, "H1", || {
                format!("{} units of {} are taken, of {capacity}", usage.units, hold.name)
            });
        }
    }

    /// Whether another session that has this name may have lost it. In its own pause a session is
    /// judged by what it did itself.
    fn is_doubtful(&self, usage: &Usage, holder: &Holder) -> bool {
        let mut others = usage.by.keys().filter(|other| other.stream != holder.stream);
        others.any(|other| self.doubtful.contains(&other.stream))
    }

    fn add(&mut self, holder: &Holder, hold: &HoldRef) {
        let usage = self.names.entry((hold.scope.clone(), hold.name.clone())).or_default();
        match hold.mode {
            HoldMode::Exclusive => usage.exclusive += 1,
            HoldMode::Shared => usage.shared += 1,
            HoldMode::Counted { units } => usage.units += u64::from(units),
        }
        *usage.by.entry(holder.clone()).or_default() += 1;
    }

    fn remove(&mut self, holder: &Holder, hold: &HoldRef) {
        let key = (hold.scope.clone(), hold.name.clone());
        let Some(usage) = self.names.get_mut(&key) else { return };
        match hold.mode {
            HoldMode::Exclusive => usage.exclusive -= 1,
            HoldMode::Shared => usage.shared -= 1,
            HoldMode::Counted { units } => usage.units -= u64::from(units),
        }
        if let Some(count) = usage.by.get_mut(holder) {
            *count -= 1;
            if *count == 0 {
                usage.by.remove(holder);
            }
        }
        if usage.by.is_empty() {
            self.names.remove(&key);
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(f, "{task} of {}", self.stream),
            None => write!(f, "the body of {}", self.stream),
        }
    }
}

struct Held<'a>(&'a HoldRef);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let HoldScope::Project { project } = &self.0.scope {
            write!(f, "{project}:")?;
        }
        match self.0.mode {
            HoldMode::Exclusive => write!(f, "{}", self.0.name),
            HoldMode::Shared => write!(f, "{} (shared)", self.0.name),
            HoldMode::Counted { units } => write!(f, "{} ×{units}", self.0.name),
        }
    }
}

struct Listed<'a>(&'a [HoldRef]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hold) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, Held(hold))?;
        }
        Ok(())
    }
}
