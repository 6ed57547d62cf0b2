//! The one loop that is not arithmetic on whole masks: over the brackets of a block.

use super::outline::Outline;

/// The open brackets, one bit a level, the innermost at the bottom: set for an object's.
#[derive(Clone, Copy, Default)]
pub(crate) struct Brackets {
    objects: u128,
    pub(in crate::scan) depth: usize,
}

/// The masks of a block that are checked against the open brackets.
pub(super) struct StructuralMasks {
    pub(super) open: u64,
    pub(super) close: u64,
    /// Bytes that are curly if they are brackets.
    pub(super) curly: u64,
    /// Colons and commas, which only containers hold.
    pub(super) separators: u64,
    /// Bytes that only an object may hold here: a key's colon.
    pub(super) of_object: u64,
    /// Bytes that only an array may hold here: an element that is no member.
    pub(super) of_array: u64,
    /// The first bytes of values, and of keys.
    pub(super) value_starts: u64,
}

/// The sums over the stretches of a block.
#[derive(Default)]
struct Sums {
    error: u64,
    /// Bytes at depth 1.
    level_1: u64,
    /// Bytes of arrays at depth 3.
    lists: u64,
}

impl Brackets {
    /// For each open bracket, from the outermost, whether it is an object's.
    pub(crate) fn outermost_first(self) -> impl Iterator<Item = bool> {
        (0..self.depth).rev().map(move |level| self.objects >> level & 1 == 1)
    }

    /// The brackets within an object that is the outermost value.
    pub(in crate::scan) const fn in_root_object() -> Self {
        Self { objects: 1, depth: 1 }
    }

    /// Checks each stretch between two brackets against its container. Returns the bytes at depth
    /// 1, the brackets that open depth 2 included; `None`, and no change, for an error.
    #[inline(always)]
    pub(super) fn check(
        &mut self,
        masks: &StructuralMasks,
        max_depth: usize,
        base: usize,
        outline: &mut Outline,
    ) -> Option<u64> {
        let mut after = *self;
        let mut brackets = masks.open | masks.close;
        let (mut rest, mut sums) = (!0_u64, Sums::default());
        while brackets != 0 {
            let through = brackets ^ (brackets - 1);
            let bracket = brackets & through;
            after.add_stretch(masks, rest & through, &mut sums);
            rest &= !through;
            brackets &= brackets - 1;
            let curly = masks.curly & bracket != 0;
            if masks.open & bracket != 0 {
                if after.depth == max_depth {
                    return None;
                }
                after.open(curly);
            } else {
                if after.depth == 0 || curly != after.in_object() {
                    return None;
                }
                after.close();
                if after.depth <= 2 {
                    outline.close_container(after.depth, base + bracket.trailing_zeros() as usize);
                }
            }
        }
        after.add_stretch(masks, rest, &mut sums);
        outline.mixed |= sums.lists & masks.value_starts & !(masks.open & masks.curly) != 0;
        if sums.error != 0 {
            return None;
        }
        *self = after;
        Some(sums.level_1)
    }

    /// Adds a stretch, whose only bracket may be its last byte, in the innermost container.
    #[inline(always)]
    fn add_stretch(&self, masks: &StructuralMasks, stretch: u64, sums: &mut Sums) {
        sums.error |= stretch & self.wrong_here(masks.of_object, masks.of_array);
        match self.depth {
            0 => sums.error |= stretch & masks.separators,
            1 => sums.level_1 |= stretch,
            3 if !self.in_object() => sums.lists |= stretch,
            _ => {}
        }
    }

    #[inline(always)]
    pub(in crate::scan) const fn open(&mut self, object: bool) {
        self.objects = self.objects << 1 | object as u128;
        self.depth += 1;
    }

    /// At least one must be open.
    #[inline(always)]
    pub(in crate::scan) const fn close(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    /// The brackets after `separator`, a bracket, colon or comma; `None` if it closes none that is
    /// open.
    pub(in crate::scan) fn after(mut self, separator: u8) -> Option<Self> {
        match separator {
            b'{' | b'[' => self.open(separator == b'{'),
            b'}' | b']' if self.depth == 0 || self.in_object() != (separator == b'}') => {
                return None;
            }
            b'}' | b']' => self.close(),
            _ => {}
        }
        Some(self)
    }

    #[inline(always)]
    pub(in crate::scan) const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// The bytes that the innermost container does not allow: those `of_array` in an object, those
    /// `of_object` in an array.
    #[inline(always)]
    pub(in crate::scan) const fn wrong_here(&self, of_object: u64, of_array: u64) -> u64 {
        let object = 0_u64.wrapping_sub(self.objects as u64 & 1);
        of_array & object | of_object & !object
    }
}
