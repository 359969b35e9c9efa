//! How many operations of each kind and name a body has called.

use std::collections::HashMap;

use super::port::{Kind, OpName};

/// So many names are looked through; beyond, a map is faster.
const FEW: usize = 16;

/// A count for each kind.
type Counts = [u32; 4];

/// How many operations of each kind and name a body has called, for hosts that number them without
/// an [`OpTable`](super::OpTable).
///
/// ```
/// use holdpoint_core::body::{Kind, Ordinals};
///
/// let mut ordinals = Ordinals::default();
/// assert_eq!(ordinals.next(Kind::Step, &"fetch".into()), 0);
/// assert_eq!(ordinals.next(Kind::Step, &"fetch".into()), 1);
/// assert_eq!(ordinals.next(Kind::Ask, &"fetch".into()), 0);
/// ```
#[derive(Debug, Default)]
pub struct Ordinals {
    few: Vec<(OpName, Counts)>,
    many: HashMap<OpName, Counts>,
}

impl Ordinals {
    /// The ordinal of the next operation of this kind and name.
    pub fn next(&mut self, kind: Kind, name: &OpName) -> u32 {
        let count = &mut self.counts(name)[kind as usize];
        let ordinal = *count;
        *count = ordinal.saturating_add(1);
        ordinal
    }

    fn counts(&mut self, name: &OpName) -> &mut Counts {
        if !self.many.is_empty() {
            // Not by `entry`, which wants a name of its own for each look.
            if !self.many.contains_key(name) {
                self.many.insert(name.clone(), Counts::default());
            }
            return self.many.get_mut(name).expect("BUG: a name that is there is found");
        }
        if let Some(place) = self.few.iter().position(|(known, _)| known == name) {
            return &mut self.few[place].1;
        }
        if self.few.len() == FEW {
            self.many.extend(self.few.drain(..));
            return self.many.entry(name.clone()).or_default();
        }
        self.few.push((name.clone(), Counts::default()));
        let last = self.few.len() - 1;
        &mut self.few[last].1
    }
}
