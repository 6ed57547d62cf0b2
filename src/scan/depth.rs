//! Finding where a container ends, by the brackets of a mask.

/// The number of open containers.
#[derive(Default)]
pub(super) struct Depth(u32);

impl Depth {
    /// Counts the brackets of a block. Returns the number of bits up to and including the bracket that closes the
    /// container, or `None` if it stays open. `count` is the fastest way to count the bits of these masks.
    #[inline(always)]
    pub(super) fn ends_within(
        &mut self,
        open: u64,
        close: u64,
        count: impl Fn(u64) -> u32,
    ) -> Option<u32> {
        let closing = count(close);
        if closing < self.0 {
            // Even if all closing brackets came first, one container would stay open.
            self.0 = self.0 + count(open) - closing;
            return None;
        }
        let mut brackets = open | close;
        while brackets != 0 {
            let at = brackets.trailing_zeros();
            if open >> at & 1 == 1 {
                self.0 += 1;
            } else {
                self.0 = self.0.saturating_sub(1);
                if self.0 == 0 {
                    return Some(at + 1);
                }
            }
            brackets &= brackets - 1;
        }
        None
    }
}
