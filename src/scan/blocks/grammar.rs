//! The grammar of a document, 64 bytes at a time.

use super::brackets::{Brackets, StructuralMasks};
use super::numbers::Numbers;
use super::outline::Outline;
use super::prefix::Prefix;
use super::strings::Strings;
use super::{BLOCK, Block, Isa, next, run_ends};

/// The state that carries over from one block to the next.
#[derive(Default)]
struct Grammar {
    /// The block before was all plain text of one string: no escape is pending, and the next block
    /// starts inside that string.
    in_text: bool,
    strings: Strings,
    numbers: Numbers,
    brackets: Brackets,
    /// The kind of byte that precedes the next byte other than a space; bit 0 of each.
    behind_open: u64,
    behind_colon: u64,
    behind_comma: u64,
    behind_key: u64,
    /// A string that may be a key continues.
    key: u64,
    non_ascii: u64,
    /// The last bracket, colon or comma so far.
    separator: Option<usize>,
}

/// The characters of a valid document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Ascii,
    /// Some bytes are not ASCII; whether they are UTF-8 was not checked.
    Other,
}

/// The site of an error, for the scalar scanner to explain it: the text before is valid so far.
pub(crate) struct ErrorSite {
    /// The last bracket, colon or comma before the block in which the error showed, or before the input's end.
    pub(crate) separator: Option<usize>,
    /// The containers that are open after that separator.
    pub(crate) brackets: Brackets,
    /// If the block starts in the string behind the separator: a place up to which that is valid, and not in an escape.
    pub(crate) text: Option<usize>,
    /// All bytes before this place are ASCII; 0 if that is not known.
    pub(crate) ascii_until: usize,
}

/// Validates `bytes`, at most 4 GiB, as one document of at most `max_depth` (1 to 127) nested
/// brackets that starts with `prefix`, and fills `outline` with the places after it.
#[inline(always)]
pub(crate) fn outline<I: Isa>(
    isa: I,
    bytes: &[u8],
    prefix: &Prefix,
    max_depth: usize,
    outline: &mut Outline,
) -> Result<Charset, ErrorSite> {
    let mut grammar = Grammar { non_ascii: prefix.non_ascii, ..Grammar::default() };
    if prefix.end > 0 {
        grammar.brackets = Brackets::in_root_object();
        grammar.behind_comma = 1;
        grammar.separator = Some(prefix.end - 1);
    } else {
        // The document itself stands where a value is due, as after a colon.
        grammar.behind_colon = 1;
    }
    outline.newlines = prefix.newlines;
    let mut context = BlockContext { bytes, base: prefix.end, max_depth };
    // Whole blocks have a loop of their own, in which the compiler drops the mask and the shift of a
    // block that is cut short.
    while bytes.len() - context.base >= BLOCK {
        let (block, valid) = isa.load(bytes, context.base);
        if let Err(text) = grammar.block(isa, block, valid, &context, outline) {
            return Err(grammar.error_site(context.base, text));
        }
        context.base += BLOCK;
    }
    if context.base < bytes.len() {
        let (block, valid) = isa.load(bytes, context.base);
        if let Err(text) = grammar.block(isa, block, valid, &context, outline) {
            return Err(grammar.error_site(context.base, text));
        }
    }
    if grammar.is_complete() {
        Ok(if grammar.non_ascii == 0 { Charset::Ascii } else { Charset::Other })
    } else {
        Err(grammar.error_site(bytes.len(), grammar.strings.text_at(bytes.len())))
    }
}

/// A block's place, and the document that it is a part of.
struct BlockContext<'a> {
    bytes: &'a [u8],
    base: usize,
    max_depth: usize,
}

impl Grammar {
    #[cold]
    const fn error_site(&self, block: usize, text: Option<usize>) -> ErrorSite {
        let ascii_until = if self.non_ascii == 0 { block } else { 0 };
        ErrorSite { separator: self.separator, brackets: self.brackets, text, ascii_until }
    }

    /// Whether the document may end here: all containers are closed and nothing is due. A number
    /// that ends with its block has yet to be checked.
    #[inline(always)]
    fn is_complete(&self) -> bool {
        self.strings.inside == 0
            && self.brackets.depth == 0
            && self.behind_colon == 0
            && self.numbers.is_complete()
    }

    /// Checks a block, of which the bytes of `valid` count. Fails if an error is in it or shows there,
    /// with [`ErrorSite::text`]; `brackets` and `separator` are then as they were before.
    #[inline(always)]
    fn block<I: Isa>(
        &mut self,
        isa: I,
        block: I::Block,
        valid: u64,
        context: &BlockContext<'_>,
        outline: &mut Outline,
    ) -> Result<(), Option<usize>> {
        self.non_ascii |= block.non_ascii();
        if self.in_text {
            if block.specials() & valid == 0 {
                return Ok(());
            }
            self.in_text = false;
        }
        let low = block.within(0, b' ');
        let controls = low & !block.equal(b' ');
        let strings = self.strings.masks(isa, block, controls);
        if strings.quotes == 0 && strings.inside == !0 {
            outline.escapes |= strings.backslashes != 0 && self.brackets.depth == 1;
            self.in_text = strings.backslashes == 0;
            return match strings.error {
                0 => Ok(()),
                _ => Err(strings.text_in(context.bytes, context.base)),
            };
        }
        let outside = !(strings.inside | strings.quotes) & valid;
        let folded = block.with_bit_5();
        let open = folded.equal(b'{') & outside;
        let close = folded.equal(b'}') & outside;
        let colons = block.equal(b':') & outside;
        let commas = block.equal(b',') & outside;
        let separators = open | close | colons | commas;
        let mut spaces = 0;
        if low & outside != 0 {
            let newlines = block.equal(b'\n') | block.equal(b'\r');
            outline.newlines |= newlines & outside != 0;
            spaces = (block.equal(b' ') | block.equal(b'\t') | newlines) & outside;
        }
        let scalar_bytes = outside & !(separators | spaces);
        let scalars = self.numbers.check(block, scalar_bytes);

        let opening = strings.quotes & strings.inside;
        let closing = strings.quotes & !strings.inside;
        let value_starts = opening | open | scalars.starts;

        // A value must stand where one is due, and nowhere else; but a container may be empty.
        let behind_open = follow(open, spaces, &mut self.behind_open);
        let behind_comma = follow(commas, spaces, &mut self.behind_comma);
        let behind_colon = follow(colons, spaces, &mut self.behind_colon);
        let item_due = behind_open | behind_comma;
        let mut error = strings.error | scalars.error;
        error |= (value_starts ^ (item_due | behind_colon)) & !(behind_open & close);

        // Whether an item is a member or an element shows at its colon. Which one it must be is
        // checked with the brackets.
        let keys = opening & item_due;
        let key_ends = run_ends(keys, strings.inside, &mut self.key) & closing;
        let behind_key = follow(key_ends, spaces, &mut self.behind_key);
        error |= colons & !behind_key;
        let masks = StructuralMasks {
            open,
            close,
            curly: block.bit_5(),
            separators: colons | commas,
            of_object: colons,
            of_array: item_due & value_starts & !opening | behind_key & !colons,
            value_starts,
        };
        // Bits after the input's end count too: they show what the end leaves unfinished.
        if error != 0 || !literals_are_right(context, scalars.literals) {
            return Err(strings.text_in(context.bytes, context.base));
        }
        let checked = self.brackets.check(&masks, context.max_depth, context.base, outline);
        let Some(level_1) = checked else {
            return Err(strings.text_in(context.bytes, context.base));
        };
        outline.push_quotes(strings.quotes & level_1, context.base);
        outline.escapes |= strings.backslashes & level_1 != 0;
        if separators != 0 {
            self.separator = Some(context.base + separators.ilog2() as usize);
        }
        Ok(())
    }
}

/// Whether each of `starts` begins a literal that is complete and followed by a byte that may stand
/// after one.
#[inline(always)]
fn literals_are_right(context: &BlockContext<'_>, mut starts: u64) -> bool {
    let mut wrong = false;
    while starts != 0 {
        let text = &context.bytes[context.base + starts.trailing_zeros() as usize..];
        wrong |= match text.first_chunk() {
            Some(word) => !is_literal(u64::from_le_bytes(*word)),
            None => !is_last_literal(text),
        };
        starts &= starts - 1;
    }
    !wrong
}

/// Whether a literal and a byte that may follow it start `word`. Without branches: which literal comes
/// next cannot be predicted.
#[inline(always)]
fn is_literal(word: u64) -> bool {
    let (is_literal, len) = literal(word);
    let end = (word >> (8 * len)) as u8;
    let is_space = (end == b' ') | (end == b'\n') | (end == b'\r') | (end == b'\t');
    is_literal & ((end == b',') | (end | 0x20 == b'}') | is_space)
}

/// [`is_literal`] for the last bytes of the document, fewer than eight: spaces stand for the rest.
#[cold]
fn is_last_literal(text: &[u8]) -> bool {
    let mut word = [b' '; 8];
    word[..text.len()].copy_from_slice(text);
    is_literal(u64::from_le_bytes(word))
}

/// Whether the eight bytes of `word`, the first in its lowest byte, start with a literal, and how long
/// that is (4 if it is none).
#[inline(always)]
pub(in crate::scan) fn literal(word: u64) -> (bool, usize) {
    let start = word as u32;
    let is_false = (start == u32::from_le_bytes(*b"fals")) & ((word >> 32) as u8 == b'e');
    let others = [*b"true", *b"null"].map(u32::from_le_bytes);
    let is_literal = is_false | (start == others[0]) | (start == others[1]);
    (is_literal, if is_false { 5 } else { 4 })
}

/// The first byte after each of `mask` that is not a space.
#[inline(always)]
pub(in crate::scan) fn follow(mask: u64, spaces: u64, carry: &mut u64) -> u64 {
    let behind = next(mask, carry);
    if spaces == 0 {
        return behind;
    }
    let (sum, over) = (behind & spaces).overflowing_add(spaces);
    *carry |= u64::from(over);
    (sum | behind) & !spaces
}
