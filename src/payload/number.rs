//! The numbers of validated JSON.

/// A number, and what reading it once told.
struct Number<'a> {
    /// The document, and where the number is in it.
    text: &'a str,
    start: usize,
    end: usize,
    negative: bool,
    /// Written without fraction and exponent.
    integer: bool,
    /// All digits but the exponent's as one integer, if `exact`.
    digits: u64,
    /// The power of ten by which `digits` are multiplied, if `exact`.
    exponent: i32,
    /// Neither did the digits overflow nor was the exponent long.
    exact: bool,
}

/// A number as `serde_json` presents it to a type that accepts any.
pub(super) enum AnyNumber {
    Unsigned(u64),
    Signed(i64),
    Double(f64),
}

/// Numbers of up to this many digits always fit into 64 bits.
const DIGITS_OF_U64: usize = 19;

/// An exponent of up to this many digits is added up.
const DIGITS_OF_EXPONENT: usize = 4;

/// The number that the next eight digits write, if as many follow.
#[inline(always)]
fn eight_digits(json: &[u8], at: usize) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let eight = json.get(at..)?.first_chunk::<8>()?;
    // Mostly there are fewer.
    if !eight[7].is_ascii_digit() {
        return None;
    }
    let word = u64::from_le_bytes(*eight);
    let above = word.wrapping_add(ONES * (0x7F - b'9' as u64));
    let values = word.wrapping_sub(ONES * b'0' as u64);
    if (above | values) & (ONES * 0x80) != 0 {
        return None;
    }
    // Pairs, then all eight.
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let odd = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let even = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    Some(odd.wrapping_add(even) >> 32)
}

/// Reads the digits from `at` on, onto `number`, which wraps around if there are too many. Returns where they end.
#[inline(always)]
fn digits(json: &[u8], mut at: usize, number: &mut u64) -> usize {
    while let Some(digit @ 0..=9) = json.get(at).map(|byte| byte.wrapping_sub(b'0')) {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// The same for decimals, of which there are often more.
#[inline(always)]
fn decimals(json: &[u8], mut at: usize, number: &mut u64) -> usize {
    while let Some(eight) = eight_digits(json, at) {
        *number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    digits(json, at, number)
}

/// The number at `start` as `serde_json` presents it to a type that accepts any, and where it ends; `None` if it is
/// beyond the range of doubles.
pub(super) fn any(json: &str, start: usize) -> Option<(AnyNumber, usize)> {
    let (number, end) = Number::read(json, start);
    Some((number.any()?, end))
}

/// As [`any`], but decimals and integers beyond 64 bits are the nearest single.
pub(super) fn any_single(json: &str, start: usize) -> Option<(AnyNumber, usize)> {
    let (number, end) = Number::read(json, start);
    Some((number.any_single()?, end))
}

/// The nearest double to the number; `None` if it is infinite.
pub(super) fn double(json: &str) -> Option<f64> {
    match any(json, 0)?.0 {
        AnyNumber::Unsigned(number) => Some(number as f64),
        AnyNumber::Signed(number) => Some(number as f64),
        AnyNumber::Double(number) => Some(number),
    }
}

impl<'a> Number<'a> {
    /// The number at `start` and where it ends.
    #[inline(always)]
    fn read(text: &'a str, start: usize) -> (Self, usize) {
        let json = text.as_bytes();
        let negative = json.get(start) == Some(&b'-');
        let first = start + usize::from(negative);
        let mut value = 0;
        let mut at = digits(json, first, &mut value);
        let mut count = at - first;
        let (mut integer, mut exact, mut exponent) = (true, true, 0_i32);
        if json.get(at) == Some(&b'.') {
            let point = at;
            at = decimals(json, point + 1, &mut value);
            integer = false;
            exponent = -((at - point - 1) as i32);
            count += at - point - 1;
        }
        if let Some(b'e' | b'E') = json.get(at) {
            integer = false;
            let sign = json.get(at + 1);
            let from = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let mut power = 0;
            at = digits(json, from, &mut power);
            exact = at - from <= DIGITS_OF_EXPONENT;
            let power = power as i32;
            let power = if sign == Some(&b'-') { power.wrapping_neg() } else { power };
            exponent = exponent.wrapping_add(power);
        }
        exact &= count <= DIGITS_OF_U64;
        (Self { text, start, end: at, negative, integer, digits: value, exponent, exact }, at)
    }

    /// The number as `serde_json` presents it to a type that accepts any; `None` if it is beyond the range of doubles.
    #[inline(always)]
    fn any(&self) -> Option<AnyNumber> {
        if !self.integer {
            return self.decimal().map(AnyNumber::Double);
        }
        match self.magnitude() {
            Some(magnitude) if !self.negative => Some(AnyNumber::Unsigned(magnitude)),
            Some(magnitude) => match 0_i64.checked_sub_unsigned(magnitude) {
                Some(number @ ..=-1) => Some(AnyNumber::Signed(number)),
                _ => Some(AnyNumber::Double(-(magnitude as f64))),
            },
            None => self.decimal().map(AnyNumber::Double),
        }
    }

    /// As [`any`](Self::any), but decimals and long integers are the nearest single.
    #[inline(always)]
    fn any_single(&self) -> Option<AnyNumber> {
        if self.integer && self.magnitude().is_some() {
            return self.any();
        }
        let single: Option<f32> = if self.exact {
            self.written().parse().ok().filter(|number: &f32| number.is_finite())
        } else {
            serde_json::from_str(self.written()).ok()
        };
        single.map(|number| AnyNumber::Double(number.into()))
    }

    /// The number's own text.
    fn written(&self) -> &'a str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// The magnitude of an integer, if it fits.
    #[inline(always)]
    fn magnitude(&self) -> Option<u64> {
        if self.exact { Some(self.digits) } else { self.long_magnitude() }
    }

    /// Of 20 digits or more: only 20 can fit.
    #[cold]
    fn long_magnitude(&self) -> Option<u64> {
        self.written().trim_start_matches('-').parse().ok()
    }

    /// The nearest double.
    #[inline(always)]
    fn decimal(&self) -> Option<f64> {
        if !self.exact {
            return self.long_decimal();
        }
        match exact_double(self.digits, self.exponent)
            .or_else(|| nearest_double(self.digits, self.exponent))
        {
            Some(number) => Some(if self.negative { -number } else { number }),
            None => self.short_decimal(),
        }
    }

    /// With so few digits, std needs no long arithmetic.
    #[cold]
    fn short_decimal(&self) -> Option<f64> {
        self.written().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// `serde_json`'s reader is quick with numbers of many digits near the middle between two doubles; std's takes up to
    /// 100 times as long.
    #[cold]
    fn long_decimal(&self) -> Option<f64> {
        serde_json::from_str(self.written()).ok()
    }
}

/// The powers of ten that are doubles without rounding.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The nearest double to `digits` · 10^`exponent`, if one multiplication or division of exact doubles gives it.
/// [`nearest_double`] would do, too, but a payload of short decimals would take 5 % longer.
#[inline(always)]
fn exact_double(digits: u64, exponent: i32) -> Option<f64> {
    if digits > 1 << f64::MANTISSA_DIGITS {
        return None;
    }
    let power = EXACT_POWERS.get(exponent.unsigned_abs() as usize)?;
    Some(if exponent < 0 { digits as f64 / power } else { digits as f64 * power })
}

/// The powers of ten for which [`nearest_double`] is exact.
const LEAST: i32 = -27;
const GREATEST: i32 = 55;

/// 5^q for each q from [`LEAST`] to [`GREATEST`], shifted until the highest of 128 bits is set, reciprocals rounded up.
const POWERS_OF_FIVE: [u128; (GREATEST - LEAST + 1) as usize] = {
    let mut powers = [0; (GREATEST - LEAST + 1) as usize];
    let mut five = 1_u128;
    let mut q = 0;
    while q <= GREATEST {
        powers[(q - LEAST) as usize] = five << five.leading_zeros();
        if -q >= LEAST && q > 0 {
            // 2^(length + 127) / five, by long division.
            let steps = u128::BITS - five.leading_zeros() + 127;
            let (mut remainder, mut quotient, mut step) = (1, 0, 0);
            while step < steps {
                remainder *= 2;
                quotient *= 2;
                if remainder >= five {
                    remainder -= five;
                    quotient += 1;
                }
                step += 1;
            }
            powers[(-q - LEAST) as usize] = quotient + 1;
        }
        if q < GREATEST {
            five *= 5;
        }
        q += 1;
    }
    powers
};

/// The nearest double to `digits` · 10^`exponent`, ties to even, for exponents from [`LEAST`] to [`GREATEST`]: the
/// algorithm of Eisel and Lemire, which never fails for these (D. Lemire, "Number parsing at a gigabyte per second",
/// 2021; N. Mushtak and D. Lemire, "Fast number parsing without fallback", 2023).
#[inline(always)]
fn nearest_double(digits: u64, exponent: i32) -> Option<f64> {
    /// The bits of a double's fraction.
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    if digits == 0 {
        return Some(0.0);
    }
    let power = *POWERS_OF_FIVE.get(usize::try_from(exponent - LEAST).ok()?)?;
    let shift = digits.leading_zeros();
    let normal = u128::from(digits << shift);
    // The product's highest 128 of 192 bits; the lower half of the power seldom matters.
    let mut product = normal * (power >> 64);
    if (product >> 64) as u64 & (u64::MAX >> (FRACTION + 3)) == u64::MAX >> (FRACTION + 3) {
        product = product.wrapping_add((normal * (power & u128::from(u64::MAX))) >> 64);
    }
    let (high, low) = ((product >> 64) as u64, product as u64);
    let upper = high >> 63;
    let dropped = upper as u32 + 64 - FRACTION - 3;
    // The fraction with its leading bit and one more to round by.
    let mut mantissa = high >> dropped;
    // Between two doubles: only powers of five that fit the product exactly get here.
    if low <= 1 && (-4..=23).contains(&exponent) && mantissa & 3 == 1 && mantissa << dropped == high
    {
        mantissa &= !1;
    }
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    // log2(10) · exponent, and the exponent's bias.
    let mut power_of_two =
        ((exponent * (152_170 + 65_536)) >> 16) + 63 + upper as i32 - shift as i32 + 1023;
    if mantissa >= 2 << FRACTION {
        mantissa = 1 << FRACTION;
        power_of_two += 1;
    }
    let fraction = mantissa & !(1 << FRACTION);
    Some(f64::from_bits((power_of_two as u64) << FRACTION | fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_the_nearest_ones() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state ^ state >> 29
        };
        let compare = |digits: u64, exponent: i32| {
            let expected: f64 = format!("{digits}e{exponent}").parse().unwrap();
            let exact = exact_double(digits, exponent);
            assert!(exact.is_none_or(|double| double == expected), "{digits}e{exponent}");
            let nearest = nearest_double(digits, exponent);
            let has_power = (LEAST..=GREATEST).contains(&exponent);
            assert_eq!(nearest.is_some(), has_power || digits == 0);
            assert!(nearest.is_none_or(|double| double == expected), "{digits}e{exponent}");
        };
        for exponent in LEAST - 2..=GREATEST + 2 {
            for digits in
                [0, 1, 5, 9, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, u64::MAX - 1, u64::MAX]
            {
                compare(digits, exponent);
            }
            for _ in 0..2000 {
                let digits = next();
                compare(digits >> (digits & 63), exponent);
                // Nearly, or exactly, between two doubles.
                let half = (digits >> 10 | 1 << 53) & !1 | 1;
                compare(half << (digits & 7), exponent);
                compare((half << (digits & 7)) + 1, exponent);
            }
        }
        // Between two doubles by powers of five: the double times 2 and plus 1, times 5^q.
        for q in 1..=4 {
            for _ in 0..2000 {
                let half = next() >> 10 | 1 | 1 << 53;
                if let Some(digits) = half.checked_mul(5_u64.pow(q)) {
                    compare(digits, -(q as i32));
                }
                compare((half / 5_u64.pow(q)) | 1, q as i32);
            }
        }
    }
}
