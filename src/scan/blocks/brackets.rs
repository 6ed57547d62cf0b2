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
    /// at depth 1, the brackets that open depth 2 included; `None`, and no change, for an error.
    #[inline(always)]
    pub(super) fn check(
        &mut self,
        events: &Events,
        max_depth: usize,
        base: usize,
        outline: &mut Outline,
    ) -> Option<u64> {
        let mut after = *self;
        let mut brackets = events.open | events.close;
        let (mut rest, mut level_1, mut error, mut lists) = (!0_u64, 0, 0, 0);
        while brackets != 0 {
            let through = brackets ^ (brackets - 1);
            let bracket = brackets & through;
            let stretch = rest & through;
            error |= stretch & after.wrong_here(events);
            match after.depth {
                0 => error |= stretch & events.separators,
                1 => level_1 |= stretch,
                3 if !after.in_object() => lists |= stretch,
                _ => {}
            }
            rest &= !through;
            brackets &= brackets - 1;
            let curly = events.curly & bracket != 0;
            if events.open & bracket != 0 {
                if after.depth == max_depth {
                    return None;
                }
                after.objects = after.objects << 1 | u128::from(curly);
                after.depth += 1;
            } else {
                if after.depth == 0 || curly != after.in_object() {
                    return None;
                }
                after.objects >>= 1;
                after.depth -= 1;
                if after.depth == 1 {
                    outline.close_container(base + bracket.trailing_zeros() as usize);
                }
            }
        }
        error |= rest & after.wrong_here(events);
        match after.depth {
            0 => error |= rest & events.separators,
            1 => level_1 |= rest,
            3 if !after.in_object() => lists |= rest,
            _ => {}
        }
        outline.mixed |= lists & events.value_starts & !(events.open & events.curly) != 0;
        if error != 0 {
            return None;
        }
        *self = after;
        Some(level_1)
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
