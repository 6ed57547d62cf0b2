//! The end of a container in a valid document: brackets are counted, nothing is looked at.

use super::strings::Strings;
use super::{BLOCK, Block, Isa};

/// Where the container whose bracket is at `start` ends; the text's length when it does not.
#[inline(always)]
pub(crate) fn container_end<I: Isa>(isa: I, bytes: &[u8], start: usize) -> usize {
    let (mut strings, mut depth, mut at) = (Strings::default(), 0, start);
    while at < bytes.len() {
        let (block, valid) = isa.load(bytes, at);
        let (quotes, inside) = strings.valid_masks(isa, block);
        let outside = !(quotes | inside) & valid;
        let folded = block.with_bit_5();
        let open = folded.equal(b'{') & outside;
        let close = folded.equal(b'}') & outside;
        let closing = close.count_ones();
        if closing < depth {
            // Even if all that close came first, something would stay open.
            depth = depth + open.count_ones() - closing;
        } else if let Some(end) = end_within(open, close, &mut depth) {
            return at + end;
        }
        at += BLOCK;
    }
    bytes.len()
}

/// Where in a block the depth comes back to 0; otherwise counts on.
#[inline(always)]
fn end_within(open: u64, close: u64, depth: &mut u32) -> Option<usize> {
    let mut brackets = open | close;
    while brackets != 0 {
        let at = brackets.trailing_zeros();
        if open >> at & 1 == 1 {
            *depth += 1;
        } else {
            *depth = depth.saturating_sub(1);
            if *depth == 0 {
                return Some(at as usize + 1);
            }
        }
        brackets &= brackets - 1;
    }
    None
}
