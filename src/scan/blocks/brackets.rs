//! The one loop that is not arithmetic on whole masks: over the brackets of a block.

use super::envelope::Outline;

/// The open brackets, one bit a level, the innermost at the bottom: set for an object's.
#[derive(Clone, Copy, Default)]
pub(crate) struct Brackets {
    objects: u128,
    pub(super) depth: usize,
}

/// The masks of a block that brackets decide about.
pub(super) struct Events {
    pub(super) open: u64,
    pub(super) close: u64,
    /// Brackets that are curly.
    pub(super) curly: u64,
    /// Colons and commas, which only containers hold.
    pub(super) separators: u64,
    /// What only an object may hold here: a key's colon.
    pub(super) of_object: u64,
    /// What only an array may hold here: an element that is no member.
    pub(super) of_array: u64,
    /// The first bytes of values, and of keys.
    pub(super) value_starts: u64,
}

impl Brackets {
    /// The open brackets from the outermost: whether each is an object's.
    pub(crate) fn outermost_first(self) -> impl Iterator<Item = bool> {
        (0..self.depth).rev().map(move |level| self.objects >> level & 1 == 1)
    }

    /// Within an object, the outermost value.
    pub(super) const fn in_root_object() -> Self {
        Self { objects: 1, depth: 1 }
    }

    /// Checks each stretch between two brackets against the container it is in. Returns the bytes
    /// at depth 1, the brackets that open depth 2 included, and whether all is well.
    #[inline(always)]
    pub(super) fn check(
        &mut self,
        events: &Events,
        max_depth: usize,
        base: usize,
        outline: &mut Outline,
    ) -> (u64, bool) {
        let mut brackets = events.open | events.close;
        let (mut rest, mut level_1, mut error, mut lists) = (!0_u64, 0, 0, 0);
        while brackets != 0 {
            let through = brackets ^ (brackets - 1);
            let bracket = brackets & through;
            let stretch = rest & through;
            error |= stretch & self.wrong_here(events);
            match self.depth {
                0 => error |= stretch & events.separators,
                1 => level_1 |= stretch,
                3 if !self.in_object() => lists |= stretch,
                _ => {}
            }
            rest &= !through;
            brackets &= brackets - 1;
            let curly = events.curly & bracket != 0;
            if events.open & bracket != 0 {
                if self.depth == max_depth {
                    return (0, false);
                }
                self.objects = self.objects << 1 | u128::from(curly);
                self.depth += 1;
            } else {
                if self.depth == 0 || curly != self.in_object() {
                    return (0, false);
                }
                self.objects >>= 1;
                self.depth -= 1;
                if self.depth == 1 {
                    outline.close_container(base + bracket.trailing_zeros() as usize);
                }
            }
        }
        error |= rest & self.wrong_here(events);
        match self.depth {
            0 => error |= rest & events.separators,
            1 => level_1 |= rest,
            3 if !self.in_object() => lists |= rest,
            _ => {}
        }
        outline.mixed |= lists & events.value_starts & !(events.open & events.curly) != 0;
        (level_1, error == 0)
    }

    #[inline(always)]
    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// The events that the innermost container does not allow.
    #[inline(always)]
    fn wrong_here(&self, events: &Events) -> u64 {
        let object = 0_u64.wrapping_sub(self.objects as u64 & 1);
        events.of_array & object | events.of_object & !object
    }
}
