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

/// What the stretches of a block add up to.
#[derive(Default)]
struct Found {
    error: u64,
    /// Bytes at depth 1.
    level_1: u64,
    /// Bytes of arrays at depth 3.
    lists: u64,
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
        let (mut rest, mut found) = (!0_u64, Found::default());
        while brackets != 0 {
            let through = brackets ^ (brackets - 1);
            let bracket = brackets & through;
            after.look(events, rest & through, &mut found);
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
        after.look(events, rest, &mut found);
        outline.mixed |= found.lists & events.value_starts & !(events.open & events.curly) != 0;
        if found.error != 0 {
            return None;
        }
        *self = after;
        Some(found.level_1)
    }

    /// What a `stretch` without a bracket before its last byte is, in the innermost container.
    #[inline(always)]
    fn look(&self, events: &Events, stretch: u64, found: &mut Found) {
        found.error |= stretch & self.wrong_here(events);
        match self.depth {
            0 => found.error |= stretch & events.separators,
            1 => found.level_1 |= stretch,
            3 if !self.in_object() => found.lists |= stretch,
            _ => {}
        }
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
