//! Dense storage that hands out `u32` indices and uses freed ones again.

use std::ops::{Index, IndexMut};

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// A vector with a list of free places. What lies in a freed place stays there until the place
/// is used again, so that generations survive; owners of heavy values take them out first.
#[derive(Debug, Default)]
pub(crate) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    /// A place to be filled, with what lay there before or the default.
    pub(crate) fn take_place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let index = index_of(self.items.len());
            self.items.push(T::default());
            index
        })
    }

    pub(crate) fn free_place(&mut self, index: u32) {
        self.free.push(index);
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.items.get(index as usize)
    }
}

/// `len` as an index.
pub(crate) fn index_of(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|&index| index != NONE).expect("BUG: 2^32 places in use")
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.items[index as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.items[index as usize]
    }
}
