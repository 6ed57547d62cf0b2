//! Numbers and literals: all bytes outside of strings that are neither structure nor space.

use super::{Block, next, run_ends};

/// The state that carries over between blocks; each field but the runs is bit 0, for the next
/// block's first byte.
#[derive(Default)]
pub(super) struct Numbers {
    /// The block before ended in a scalar.
    scalar: u64,
    /// The run of a literal continues.
    literal: u64,
    /// The byte must be a digit: it follows a sign or a dot.
    digit: u64,
    /// The byte follows a digit.
    behind_digit: u64,
    /// The byte follows the minus that starts a number.
    behind_minus: u64,
    /// The byte must not be a digit: it follows a leading zero.
    behind_zero: u64,
    behind_dot: u64,
    behind_exponent: u64,
    behind_exponent_sign: u64,
    /// The digits of a fraction continue.
    fraction: u64,
    /// The digits of an exponent continue.
    exponent: u64,
}

/// The scalars of a block.
pub(super) struct Scalars {
    /// First bytes.
    pub(super) starts: u64,
    /// First bytes of scalars that are no numbers; the text there must be compared with `true`, `false`
    /// and `null`.
    pub(super) literals: u64,
    pub(super) error: u64,
}

/// The bytes of numbers in a block, by kind.
struct NumberBytes {
    /// First bytes.
    starts: u64,
    digits: u64,
    minus: u64,
    dots: u64,
}

impl NumberBytes {
    /// Those of `numbers` alone.
    #[inline(always)]
    const fn within(self, numbers: u64) -> Self {
        let Self { starts, digits, minus, dots } = self;
        Self {
            starts: starts & numbers,
            digits: digits & numbers,
            minus: minus & numbers,
            dots: dots & numbers,
        }
    }

    /// Those of `scalars` that are neither digit, minus nor dot.
    #[inline(always)]
    const fn others(&self, scalars: u64) -> u64 {
        scalars & !(self.digits | self.minus | self.dots)
    }
}

impl Numbers {
    /// Whether the document may end here, after a whole block.
    #[inline(always)]
    pub(super) fn is_complete(&self) -> bool {
        self.digit | self.behind_exponent == 0
    }

    /// Checks `scalars`, all bytes outside of strings that are neither structure nor space.
    #[inline(always)]
    pub(super) fn check<B: Block>(&mut self, block: B, scalars: u64) -> Scalars {
        // All other carries come from a scalar that reaches the end of its block.
        if scalars | self.scalar == 0 {
            return Scalars { starts: 0, literals: 0, error: 0 };
        }
        let starts = scalars & !next(scalars, &mut self.scalar);
        let mut bytes = NumberBytes {
            starts,
            digits: block.within(b'0', b'9') & scalars,
            minus: block.equal(b'-') & scalars,
            dots: block.equal(b'.') & scalars,
        };
        let in_exponent = self.behind_exponent | self.behind_exponent_sign | self.exponent;
        let others = bytes.others(scalars);
        if others | in_exponent | self.literal == 0 {
            return Scalars { starts, literals: 0, error: self.plain_numbers(block, &bytes) };
        }
        // Any other byte counts as a literal's start: the comparison of the text refuses it.
        let literals = starts & others;
        let (sum, over) = scalars.overflowing_add(literals);
        let (sum, over_again) = sum.overflowing_add(self.literal & scalars);
        self.literal = u64::from(over | over_again);
        let numbers = scalars & sum;
        bytes = bytes.within(numbers);
        let others = bytes.others(numbers);
        let error = if others | in_exponent == 0 {
            self.plain_numbers(block, &bytes)
        } else {
            self.all_numbers(block, others, &bytes)
        };
        Scalars { starts, literals, error }
    }

    /// Numbers without an exponent.
    #[inline(always)]
    fn plain_numbers<B: Block>(&mut self, block: B, bytes: &NumberBytes) -> u64 {
        let &NumberBytes { starts, digits, minus, dots } = bytes;
        let mut error = starts & !(digits | minus) | minus & !starts;
        error |= next(minus | dots, &mut self.digit) & !digits;
        error |= dots & !next(digits, &mut self.behind_digit);
        error |= self.leading_zeros(block, starts, digits, minus);
        if dots | self.behind_dot | self.fraction != 0 {
            let fraction = next(dots, &mut self.behind_dot) & digits;
            error |= run_ends(fraction, digits, &mut self.fraction) & dots;
        }
        error
    }

    #[inline(always)]
    fn leading_zeros<B: Block>(&mut self, block: B, starts: u64, digits: u64, minus: u64) -> u64 {
        let first_digits = starts | next(minus & starts, &mut self.behind_minus);
        let zeros = block.equal(b'0') & digits & first_digits;
        next(zeros, &mut self.behind_zero) & digits
    }

    /// Numbers of any form, with the bytes `others`, which may belong to no valid scalar.
    #[inline(always)]
    fn all_numbers<B: Block>(&mut self, block: B, others: u64, bytes: &NumberBytes) -> u64 {
        let &NumberBytes { starts, digits, minus, dots } = bytes;
        let plus = block.equal(b'+') & others;
        let exponents = block.with_bit_5().equal(b'e') & others;
        let mut error = others & !(plus | exponents);

        let behind_exponent = next(exponents, &mut self.behind_exponent);
        let signs = behind_exponent & (plus | minus);
        error |= starts & !(digits | minus);
        error |= (plus | minus) & !(signs | starts & minus);
        error |= (next(minus | plus | dots, &mut self.digit) | behind_exponent & !signs) & !digits;
        error |= (dots | exponents) & !next(digits, &mut self.behind_digit);
        error |= self.leading_zeros(block, starts, digits, minus);

        let fraction = next(dots, &mut self.behind_dot) & digits;
        error |= run_ends(fraction, digits, &mut self.fraction) & dots;
        let behind_sign = next(signs, &mut self.behind_exponent_sign);
        let exponent = (behind_exponent & !signs | behind_sign) & digits;
        error |= run_ends(exponent, digits, &mut self.exponent) & (dots | exponents);
        error
    }
}
