//! A set of small numbers with a fast "first member from here".

/// A set over `0..len` as a tree of 64-bit words: insert, remove and search touch one word a
/// level, four levels for a million.
#[derive(Debug, Clone)]
pub(crate) struct BitTree {
    /// From the leaves, one bit a number, up to a single word.
    levels: Vec<Vec<u64>>,
}

impl BitTree {
    pub(crate) fn new(len: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = len.div_ceil(64).max(1);
        loop {
            levels.push(vec![0; words]);
            if words == 1 {
                return Self { levels };
            }
            words = words.div_ceil(64);
        }
    }

    pub(crate) fn insert(&mut self, number: u32) {
        let mut index = number as usize;
        for level in &mut self.levels {
            let word = &mut level[index / 64];
            let was_empty = *word == 0;
            *word |= 1 << (index % 64);
            if !was_empty {
                return;
            }
            index /= 64;
        }
    }

    pub(crate) fn remove(&mut self, number: u32) {
        let mut index = number as usize;
        for level in &mut self.levels {
            let word = &mut level[index / 64];
            *word &= !(1 << (index % 64));
            if *word != 0 {
                return;
            }
            index /= 64;
        }
    }

    /// The smallest member that is at least `from`.
    pub(crate) fn first_from(&self, from: u32) -> Option<u32> {
        let mut index = from as usize;
        let mut depth = 0;
        // Up, until a word has a member at or after the index.
        loop {
            let level = self.levels.get(depth)?;
            let word = level.get(index / 64)? & (u64::MAX << (index % 64));
            if word != 0 {
                index = index / 64 * 64 + word.trailing_zeros() as usize;
                break;
            }
            index = index / 64 + 1;
            depth += 1;
        }
        // Down, along the first member of each word.
        while depth > 0 {
            depth -= 1;
            index = index * 64 + self.levels[depth][index].trailing_zeros() as usize;
        }
        u32::try_from(index).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::BitTree;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(crate::tests::cases()) })]
        #[test]
        fn agrees_with_an_ordered_set(
            len in 1_usize..70_000,
            ops in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3), 1..200),
        ) {
            let mut tree = BitTree::new(len);
            let mut model = BTreeSet::new();
            for (index, op) in ops {
                let number = u32::try_from(index.index(len)).unwrap();
                match op {
                    0 => { tree.insert(number); model.insert(number); }
                    1 => { tree.remove(number); model.remove(&number); }
                    _ => {}
                }
                prop_assert_eq!(tree.first_from(number), model.range(number..).next().copied());
                prop_assert_eq!(tree.first_from(0), model.first().copied());
            }
        }
    }
}
