//! The second stage: the grammar of a container, 64 tokens at a time.

use super::AHEAD;
use crate::scan::blocks::{Block, Brackets, Isa, literal};

/// The tokens of each step that were checked by the step before: with them at hand, no rule but
/// those of runs of digits needs a carry.
pub(super) const OVERLAP: usize = 6;

/// The tokens of a step that are new.
const FRESH: u64 = !0 << OVERLAP;

pub(super) struct Grammar {
    pub(super) brackets: Brackets,
    /// Bit 0: the digits of a fraction, or of an exponent, continue in the next step.
    fraction: u64,
    exponent: u64,
    /// An array at depth 3 holds an element that is not an object.
    pub(super) mixed: bool,
    /// The tokens of the last step that close a container at depth 2.
    pub(super) inner_ends: u64,
}

/// The verdict on a step; tokens are counted from its first one.
pub(super) enum Step {
    Valid,
    /// This token closes the container.
    End(usize),
    /// An error shows at this token, or before.
    Error(usize),
}

/// The masks of a step.
struct Masks {
    open: u64,
    close: u64,
    curly: u64,
    /// Tokens that only an object may hold: the colon of a member after another.
    of_object: u64,
    /// Tokens that only an array may hold: an element after a comma.
    of_array: u64,
    value_starts: u64,
}

impl Default for Grammar {
    /// Before a value in the root object.
    fn default() -> Self {
        Self {
            brackets: Brackets::in_root_object(),
            fraction: 0,
            exponent: 0,
            mixed: false,
            inner_ends: 0,
        }
    }
}

impl Grammar {
    /// Checks the tokens of `have` from `from` on, of `len` tokens in all.
    #[inline(always)]
    pub(super) fn step<I: Isa>(
        &mut self,
        isa: I,
        tokens: &[u8],
        len: usize,
        from: usize,
        have: u64,
        max_depth: usize,
    ) -> Step {
        let (block, _) = isa.load(tokens, from);
        let folded = block.with_bit_5();
        let strings = block.equal(b'"') & have;
        let colons = block.equal(b':') & have;
        let commas = block.equal(b',') & have;
        let open = folded.equal(b'{') & have;
        let close = folded.equal(b'}') & have;
        let curly = block.bit_5();
        let scalars = have & !(strings | colons | commas | open | close);
        let starts = scalars & !(scalars << 1);

        let value_starts = strings | open | starts;
        let value_ends = strings | close | scalars;
        let (objects, arrays) = (open & curly, open & !curly);
        let mut error = value_ends << 1 & value_starts;
        error |= objects << 1 & !(strings | close & curly);
        error |= arrays << 1 & !(value_starts | close & !curly);
        error |= (colons | commas) << 1 & !value_starts;
        let behind_string = strings << 1;
        error |= colons & !(behind_string & (objects | commas) << 2);
        error |= objects << 2 & behind_string & !colons;
        error |= self.scalars(block, folded, scalars, starts);
        error &= have & FRESH;
        error |= wrong_literals(tokens, len, from, Self::literals(block, starts) & have & FRESH);

        let of_array =
            commas << 1 & value_starts & !strings | commas << 2 & behind_string & !colons;
        let masks = Masks {
            open,
            close,
            curly,
            of_object: colons & commas << 2 & have & FRESH,
            of_array: of_array & have & FRESH,
            value_starts,
        };
        self.check_brackets(&masks, have, error, max_depth)
    }

    /// The first bytes of literals.
    #[inline(always)]
    fn literals<B: Block>(block: B, starts: u64) -> u64 {
        starts & !(block.within(b'0', b'9') | block.equal(b'-'))
    }

    /// The errors of numbers.
    #[inline(always)]
    fn scalars<B: Block>(&mut self, block: B, folded: B, scalars: u64, starts: u64) -> u64 {
        let digits = block.within(b'0', b'9');
        let minus = block.equal(b'-');
        // A run of a literal is cut out by one addition. The first token may be amid one: it never
        // starts one, and what is left of it was checked by the step before.
        let literals = starts & !(digits | minus) & !1;
        let numbers = scalars & scalars.wrapping_add(literals);
        let starts = starts & numbers;
        let (digits, minus) = (digits & numbers, minus & numbers);
        let dots = block.equal(b'.') & numbers;
        let zeros = block.equal(b'0') & numbers & (starts | (minus & starts) << 1);
        let behind_digit = digits << 1;
        let mut error = zeros << 1 & digits;
        error |= dots & !behind_digit;
        let fraction = dots << 1 & digits | self.fraction << (OVERLAP - 1) & digits;
        let (sum, over) = fraction.overflowing_add(digits);
        error |= sum & !digits & dots;
        self.fraction = u64::from(over);

        let others = numbers & !(digits | minus | dots);
        if others | self.exponent == 0 {
            error |= minus & !starts;
            return error | (minus | dots) << 1 & !digits;
        }
        let plus = block.equal(b'+') & numbers;
        let exponents = folded.equal(b'e') & numbers;
        error |= others & !(plus | exponents);
        let behind_exponent = exponents << 1;
        error |= minus & !(starts | behind_exponent);
        error |= plus & !behind_exponent;
        error |= exponents & !behind_digit;
        error |= (minus | plus | dots) << 1 & !digits;
        error |= behind_exponent & !(digits | minus | plus);
        let behind_sign = (behind_exponent & (minus | plus)) << 1;
        let exponent = (behind_exponent | behind_sign | self.exponent << (OVERLAP - 1)) & digits;
        let (sum, over) = exponent.overflowing_add(digits);
        error |= sum & !digits & (dots | exponents);
        self.exponent = u64::from(over);
        error
    }

    /// Checks each stretch between two brackets against its container; `error` are the errors that
    /// are known already.
    #[inline(always)]
    fn check_brackets(
        &mut self,
        masks: &Masks,
        have: u64,
        mut error: u64,
        max_depth: usize,
    ) -> Step {
        let mut brackets = (masks.open | masks.close) & have & FRESH;
        let mut lists = 0;
        let mut rest = have & FRESH;
        let mut after = self.brackets;
        self.inner_ends = 0;
        while brackets != 0 {
            let through = brackets ^ (brackets - 1);
            let bracket = brackets & brackets.wrapping_neg();
            let (stretch, curly) = (rest & through, masks.curly & bracket != 0);
            error |= stretch & after.wrong_here(masks.of_object, masks.of_array);
            if after.depth == 3 && !after.in_object() {
                lists |= stretch;
            }
            rest &= !through;
            brackets &= brackets - 1;
            let fits = if masks.open & bracket != 0 {
                after.depth < max_depth && {
                    after.open(curly);
                    true
                }
            } else {
                after.depth > 1 && curly == after.in_object() && {
                    after.close();
                    true
                }
            };
            if !fits {
                error |= bracket;
                break;
            }
            if after.depth > 2 {
                continue;
            }
            if after.depth == 2 {
                self.inner_ends |= masks.close & bracket;
            }
            if after.depth == 1 {
                error &= through;
                if error == 0 {
                    self.mixed |= lists & masks.value_starts & !(masks.open & masks.curly) != 0;
                    return Step::End(bracket.trailing_zeros() as usize);
                }
                break;
            }
        }
        error |= rest & after.wrong_here(masks.of_object, masks.of_array);
        if error != 0 {
            return Step::Error(error.trailing_zeros() as usize);
        }
        if after.depth == 3 && !after.in_object() {
            lists |= rest;
        }
        self.mixed |= lists & masks.value_starts & !(masks.open & masks.curly) != 0;
        self.brackets = after;
        Step::Valid
    }
}

/// Those of `starts` that begin no literal that is complete and followed by a bracket or a comma.
#[inline(always)]
fn wrong_literals(tokens: &[u8], len: usize, from: usize, mut starts: u64) -> u64 {
    let mut wrong = 0;
    while starts != 0 {
        let at = from + starts.trailing_zeros() as usize;
        let text = tokens[at..].first_chunk().expect("the tape has a margin");
        let start = starts & starts.wrapping_neg();
        wrong |= if is_literal(text, len - at) { 0 } else { start };
        starts ^= start;
    }
    wrong
}

/// Whether the first `left` bytes of `text` are a literal and what ends it. With bit 5 set, `]`
/// becomes `}`.
#[inline(always)]
fn is_literal(text: &[u8; AHEAD], left: usize) -> bool {
    let word = u64::from_le_bytes(*text);
    let (is_literal, len) = literal(word);
    let end = (word >> (8 * len)) as u8;
    is_literal & (left > len) & ((end == b',') | (end | 0x20 == b'}'))
}
