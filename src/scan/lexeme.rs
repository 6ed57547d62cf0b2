//! The lexemes of JSON: where a number, a literal or plain string text ends.
//!
//! The scalar scanner and the blocks both use these and share no other code, so the scalar scanner
//! can be the oracle that the blocks are tested against.

use super::{Fault, Malformed, swar};

/// The byte at `at`; NUL past the end, which is never valid JSON.
#[inline]
pub(super) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The error `fault` at `at`, or an unexpected end if the input ends there.
#[cold]
pub(super) fn unexpected(bytes: &[u8], fault: Fault, at: usize) -> Malformed {
    if at < bytes.len() {
        Malformed::new(fault, at)
    } else {
        Malformed::new(Fault::UnexpectedEnd, bytes.len())
    }
}

/// The end of the number or literal at `at`; `None` if there is none.
pub(super) fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    scalar(bytes, at).ok()
}

/// The end of the number or literal at `at`.
#[inline(always)]
pub(super) fn scalar(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match byte(bytes, at) {
        b'-' | b'0'..=b'9' => number(bytes, at),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        _ => Err(unexpected(bytes, Fault::ExpectedValue, at)),
    }
}

/// The end of the number that starts at `start`, with its sign or first digit.
#[inline]
pub(super) fn number(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start + usize::from(byte(bytes, start) == b'-');
    at = if byte(bytes, at) == b'0' { at + 1 } else { digits(bytes, at)? };
    if byte(bytes, at) == b'.' {
        at = digits(bytes, at + 1)?;
    }
    if byte(bytes, at) | 0x20 == b'e' {
        at += 1;
        at = digits(bytes, at + usize::from(matches!(byte(bytes, at), b'+' | b'-')))?;
    }
    Ok(at)
}

/// The end of the digits that start at `start`; there must be at least one.
#[inline]
fn digits(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start;
    while byte(bytes, at).is_ascii_digit() {
        at += 1;
    }
    if at > start { Ok(at) } else { Err(unexpected(bytes, Fault::ExpectedDigit, at)) }
}

#[inline]
fn literal(bytes: &[u8], at: usize, word: &'static [u8]) -> Result<usize, Malformed> {
    if bytes[at..].starts_with(word) {
        return Ok(at + word.len());
    }
    let same = std::iter::zip(&bytes[at..], word).take_while(|(a, b)| a == b).count();
    Err(unexpected(bytes, Fault::InvalidLiteral, at + same))
}

/// The end of plain string text: a quote, a backslash, a control character or the input's end.
#[inline]
pub(crate) fn plain_text_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = swar::load(bytes, at) {
        let mask = swar::interrupts_string(next);
        if mask != 0 {
            return at + swar::first(mask);
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\').count()
}

/// Whether there are four hexadecimal digits at `at`.
#[inline]
pub(super) fn has_four_hex_digits(bytes: &[u8], at: usize) -> bool {
    let digits = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    digits.is_some_and(|digits| digits.iter().all(|&digit| HEX_DIGITS[usize::from(digit)]))
}

const HEX_DIGITS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_hexdigit();
        byte += 1;
    }
    table
};
