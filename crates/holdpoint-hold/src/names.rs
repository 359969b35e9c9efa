//! The names of a hold set, interned once, and the check of a list of holds against them.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use holdpoint_core::Name;

use crate::error::{ClaimError, ClaimFault, ClaimFaultKind, DeclareError};
use crate::hold::{Hold, Mode, Scope};
use crate::slab::index_of;

/// A checked list of holds, ready to be requested any number of times.
///
/// Made by [`HoldSet::claims`](crate::HoldSet::claims), for that set: there a request costs no
/// look-up. Another set takes it too and finds the names anew. Where the capacity of a name has
/// changed since, or is another in that set, the claim takes what it can of it: units above the
/// capacity take all, units of an uncounted name take it alone, and a shared claim of a counted
/// name takes one unit.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    items: Box<[Claim]>,
}

impl Claims {
    /// How many holds the list has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True for a list without holds, which is granted at once, always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn items(&self) -> &[Claim] {
        &self.items
    }
}

/// One hold of a list.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    key: Arc<Key>,
    index: u32,
    share: Share,
}

#[derive(Debug, Clone, Copy)]
enum Share {
    One,
    Units(u32),
    All,
}

/// What tells one hold from another.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) scope: Scope,
    pub(crate) name: Name,
}

/// Every name that was ever claimed or declared. A name is never forgotten: a workspace has few,
/// and their indices stay good.
#[derive(Debug, Default)]
pub(crate) struct Names {
    entries: Vec<NameEntry>,
    /// Two levels, so that a look-up by text makes no key.
    index: HashMap<Scope, HashMap<Name, u32>>,
}

#[derive(Debug)]
struct NameEntry {
    key: Arc<Key>,
    /// Units declared; `None` for a name that is shared or exclusive.
    declared: Option<NonZeroU32>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn key(&self, index: u32) -> &Key {
        &self.entries[index as usize].key
    }

    pub(crate) fn is_counted(&self, index: u32) -> bool {
        self.entries[index as usize].declared.is_some()
    }

    /// The units of a name. An uncounted one has so many that shared holds never fill it.
    pub(crate) fn capacity(&self, index: u32) -> u64 {
        let declared = self.entries[index as usize].declared;
        u64::from(declared.map_or(u32::MAX, NonZeroU32::get))
    }

    /// The index of a claimed name, and the units that the claim takes of it.
    pub(crate) fn resolve(&mut self, claim: &Claim) -> (u32, u32) {
        let index = match self.entries.get(claim.index as usize) {
            Some(entry) if Arc::ptr_eq(&entry.key, &claim.key) => claim.index,
            _ => self.intern(&claim.key.scope, &claim.key.name),
        };
        let declared = self.entries[index as usize].declared;
        let all = declared.map_or(u32::MAX, NonZeroU32::get);
        let units = match (claim.share, declared) {
            (Share::One, _) => 1,
            (Share::Units(units), Some(_)) => units.min(all),
            (Share::Units(_), None) | (Share::All, _) => all,
        };
        (index, units)
    }

    /// Sets the units of a name, which `in_use` may forbid.
    pub(crate) fn declare(
        &mut self,
        scope: &Scope,
        name: &str,
        capacity: u32,
        in_use: impl Fn(u32) -> bool,
    ) -> Result<(), DeclareError> {
        let shown = || format!("{scope}{name}");
        let checked = Name::new(name)
            .map_err(|source| DeclareError::BadName { name: name.to_owned(), source })?;
        let Some(capacity) = NonZeroU32::new(capacity) else {
            return Err(DeclareError::ZeroCapacity { name: shown() });
        };
        let index = self.intern(scope, &checked);
        let declared = &mut self.entries[index as usize].declared;
        if *declared != Some(capacity) && in_use(index) {
            let current = declared.map(NonZeroU32::get);
            return Err(DeclareError::InUse { name: shown(), current });
        }
        *declared = Some(capacity);
        Ok(())
    }

    /// Checks the whole list, then interns its names. A refused list leaves no trace.
    pub(crate) fn claims(&mut self, holds: &[Hold]) -> Result<Claims, ClaimError> {
        let mut faults = Vec::new();
        let mut seen = HashMap::new();
        for (index, hold) in holds.iter().enumerate() {
            let mut fault = |kind| faults.push(ClaimFault { index, hold: hold.clone(), kind });
            if holds.len() > 1 {
                let first = *seen.entry((hold.scope(), hold.name())).or_insert(index);
                if first != index {
                    fault(ClaimFaultKind::Repeated { first });
                }
            }
            if let Err(kind) = self.check(hold) {
                fault(kind);
            }
        }
        if !faults.is_empty() {
            return Err(ClaimError::new(faults));
        }
        Ok(Claims { items: holds.iter().map(|hold| self.claim(hold)).collect() })
    }

    fn check(&self, hold: &Hold) -> Result<(), ClaimFaultKind> {
        let known = self.find(hold.scope(), hold.name());
        if known.is_none() {
            Name::check(hold.name())?;
        }
        let declared = known.and_then(|index| self.entries[index as usize].declared);
        match (hold.mode(), declared.map(NonZeroU32::get)) {
            (Mode::Units(0), _) => Err(ClaimFaultKind::ZeroUnits),
            (Mode::Units(_), None) => Err(ClaimFaultKind::NoCapacity),
            (Mode::Units(units), Some(capacity)) if units > capacity => {
                Err(ClaimFaultKind::AboveCapacity { units, capacity })
            }
            (Mode::Shared, Some(capacity)) => Err(ClaimFaultKind::SharedCounted { capacity }),
            (Mode::Shared | Mode::Exclusive | Mode::Units(_), _) => Ok(()),
        }
    }

    fn claim(&mut self, hold: &Hold) -> Claim {
        let index = self.find(hold.scope(), hold.name()).unwrap_or_else(|| {
            let name = Name::new(hold.name()).expect("BUG: claimed without its check");
            self.intern(hold.scope(), &name)
        });
        let share = match hold.mode() {
            Mode::Shared => Share::One,
            Mode::Exclusive => Share::All,
            Mode::Units(units) => Share::Units(units),
        };
        Claim { key: Arc::clone(&self.entries[index as usize].key), index, share }
    }

    fn find(&self, scope: &Scope, name: &str) -> Option<u32> {
        self.index.get(scope)?.get(name).copied()
    }

    fn intern(&mut self, scope: &Scope, name: &Name) -> u32 {
        if let Some(index) = self.find(scope, name.as_str()) {
            return index;
        }
        let index = index_of(self.entries.len());
        let key = Arc::new(Key { scope: scope.clone(), name: name.clone() });
        self.entries.push(NameEntry { key, declared: None });
        self.index.entry(scope.clone()).or_default().insert(name.clone(), index);
        index
    }
}
