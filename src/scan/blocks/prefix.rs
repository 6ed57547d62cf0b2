//! The usual start of a message: an object whose first members are plain strings, written
//! compactly. Then the quotes alone tell all: `{"key":"value","key":"value",` has them at places
//! that follow from each other, and nothing between them needs a look.

use super::{BLOCK, Block, Isa, Outline};

/// Only the start of a message is looked at; an envelope is shorter.
const WITHIN: usize = 4 * BLOCK;

/// Quotes of four members and of the key behind them.
const ENOUGH: usize = 18;

/// What the prefix of a document was found to be.
pub(super) struct Prefix {
    /// Where the next key starts, behind a comma; 0 when the document does not start like this.
    pub(super) end: usize,
    /// Bits of bytes that are not ASCII, from the start to `end` at least.
    pub(super) non_ascii: u64,
}

/// Passes the members in front that are compact and have neither escapes nor control characters,
/// each followed by a comma, and keeps their quotes in `outline`, which must be new.
#[inline(always)]
pub(super) fn string_members<I: Isa>(isa: I, bytes: &[u8], outline: &mut Outline) -> Prefix {
    let mut non_ascii = 0;
    let none = Prefix { end: 0, non_ascii: 0 };
    if !bytes.starts_with(b"{\"") {
        return none;
    }
    let mut base = 0;
    while base < bytes.len().min(WITHIN) && outline.quote_count() < ENOUGH {
        let (block, valid) = isa.load(bytes, base);
        let stops = block.equal(b'\\') | block.within(0, 0x1F);
        let before_stops = (stops & stops.wrapping_neg()).wrapping_sub(1);
        outline.push_quotes(block.equal(b'"') & before_stops, base);
        non_ascii |= block.non_ascii() & valid;
        if stops != 0 || base == 0 && !outline.starts_compactly() {
            break;
        }
        base += BLOCK;
    }
    let (mut members, mut end) = (0, 1);
    while let Some([key, key_end, value, value_end]) = outline.quotes_of_member(members) {
        let compact = key == end && value == key_end + 2 && bytes[key_end + 1] == b':';
        if !compact || bytes.get(value_end + 1) != Some(&b',') {
            break;
        }
        end = value_end + 2;
        members += 1;
    }
    outline.keep_members(members);
    if members == 0 { none } else { Prefix { end, non_ascii } }
}
