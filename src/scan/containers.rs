//! The open brackets around the scanner's position: one bit each, object or array.

use smallvec::{SmallVec, smallvec};

use super::{Malformed, RECURSION_LIMIT};
use crate::error::Detail;

/// A stack of bits. The first 128 levels, one more than the default limit, take no allocation;
/// deeper ones, which only a raised limit admits, take one bit each.
pub(super) struct Containers {
    /// Bit `d % 64` of word `d / 64`: the bracket at depth `d` is an object's.
    objects: SmallVec<[u64; 2]>,
    depth: usize,
    max_depth: usize,
}

impl Containers {
    pub(super) fn new(max_depth: usize) -> Self {
        Self { objects: smallvec![0; 2], depth: 0, max_depth }
    }

    #[inline]
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    pub(super) fn open(&mut self, object: bool, at: usize) -> Result<(), Malformed> {
        if self.depth >= RECURSION_LIMIT.min(self.max_depth) {
            self.admit_deep(at)?;
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        Ok(())
    }

    #[cold]
    fn admit_deep(&mut self, at: usize) -> Result<(), Malformed> {
        if self.depth >= self.max_depth {
            return Err(Malformed { detail: Detail::TooDeep { limit: self.max_depth }, at });
        }
        if self.depth / 64 == self.objects.len() {
            self.objects.push(0);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn close(&mut self) {
        self.depth -= 1;
    }

    /// Whether the innermost open bracket is an object's. There must be one.
    #[inline]
    pub(super) fn in_object(&self) -> bool {
        let innermost = self.depth - 1;
        self.objects[innermost / 64] >> (innermost % 64) & 1 == 1
    }
}
