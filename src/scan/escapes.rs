//! Writing the inside of a string: quotes, backslashes and control characters are escaped.
//!
//! Text is written in pieces of as many bytes as an instruction set compares at once. A piece is copied as a whole, then
//! overwritten from the first byte on that must be escaped: by the escape, and by a copy of the bytes after it. So each
//! escape takes two copies of a fixed length, and all escapes of a piece are found in one mask.

use std::iter::zip;
use std::mem::MaybeUninit;

use super::blocks::{self, TextMasks};
use super::swar;

/// The bytes that represent a byte inside a string; the last of the eight is their number.
const ESCAPES: [[u8; 8]; 256] = {
    const fn short(letter: u8) -> [u8; 8] {
        [b'\\', letter, 0, 0, 0, 0, 0, 2]
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0x08 => short(b'b'),
            0x09 => short(b't'),
            0x0A => short(b'n'),
            0x0C => short(b'f'),
            0x0D => short(b'r'),
            special @ (b'"' | b'\\') => short(special),
            0..0x20 => [b'\\', b'u', b'0', b'0', DIGITS[byte >> 4], DIGITS[byte & 15], 0, 6],
            plain => [plain, 0, 0, 0, 0, 0, 0, 1],
        };
        byte += 1;
    }
    table
};

/// The bytes of an entry of [`ESCAPES`].
const ENTRY: usize = 8;

/// The most bytes that one byte becomes: `\u00` and two digits.
const LONGEST: usize = 6;

/// The bytes of the largest piece.
const LARGEST: usize = 64;

/// The bytes of text for which room is made at a time.
pub(super) const PART: usize = 4096;

/// The room, in bytes, that is enough for `len` bytes of text and the surplus of the last copies.
pub(super) const fn room(len: usize) -> usize {
    LONGEST * len + 2 * LARGEST + ENTRY
}

/// The bytes that were read and written.
pub(super) struct Progress {
    pub(super) read: usize,
    pub(super) written: usize,
}

/// Writes `from`, escaped, to the start of `to`, in pieces of `N` bytes. If `from` is not the `last` part of its text, fewer
/// than two pieces are left.
///
/// # Panics
/// There is too little room for whole copies: `to` is shorter than [`room`].
#[inline(always)]
pub(super) fn write<const N: usize, const BITS: usize>(
    from: &[u8],
    last: bool,
    to: &mut [MaybeUninit<u8>],
    masks: impl Fn(&[u8; N]) -> TextMasks<BITS>,
) -> Progress {
    const { assert!(ENTRY <= N && N <= LARGEST) };
    let progress = pieces(from, to, &masks);
    if !last || progress.read == from.len() {
        return progress;
    }
    // Fewer than two pieces are left. Plain bytes follow them here, so that whole pieces can be read.
    let rest = &from[progress.read..];
    let mut padded = [b' '; 3 * LARGEST];
    padded[..rest.len()].copy_from_slice(rest);
    let padded =
        pieces(&padded[..rest.len().next_multiple_of(N) + N], &mut to[progress.written..], &masks);
    let surplus = padded.read - rest.len();
    Progress { read: from.len(), written: progress.written + padded.written - surplus }
}

/// Writes each piece of `from` that one more piece follows, escaped; that one, too, if both are words of plain text.
#[inline(always)]
fn pieces<const N: usize, const BITS: usize>(
    from: &[u8],
    to: &mut [MaybeUninit<u8>],
    masks: impl Fn(&[u8; N]) -> TextMasks<BITS>,
) -> Progress {
    // Two words fill a vector register: the compiler tests both at once.
    let by_pairs = N == size_of::<u64>() && blocks::COMPILER_HAS_VECTORS;
    let (mut read, mut written) = (0, 0);
    while let Some(both) = from.get(read..).and_then(|from| from.get(..2 * N)) {
        let piece = both.first_chunk().expect("two pieces");
        if by_pairs && blocks::is_plain(both) {
            put::<N>(to, written, piece);
            put::<N>(to, written + N, both[N..].first_chunk().expect("two pieces"));
            (read, written) = (read + 2 * N, written + 2 * N);
            continue;
        }
        put::<N>(to, written, piece);
        let mut stops = masks(piece).stops;
        // Where the piece would begin if it was as long as it becomes up to the last escape.
        let mut begin = written;
        while stops != 0 {
            let place = stops.trailing_zeros() as usize / BITS % N;
            let escape = &ESCAPES[usize::from(piece[place])];
            put::<ENTRY>(to, begin + place, escape);
            begin += usize::from(escape[ENTRY - 1]) - 1;
            put::<N>(to, begin + place + 1, both[place + 1..].first_chunk().expect("two pieces"));
            stops &= if BITS == 4 { !0 << (place * BITS) << BITS } else { stops - 1 };
        }
        read += N;
        written = begin + N;
    }
    Progress { read, written }
}

/// Writes `bytes` to `to` at `at`.
#[inline(always)]
fn put<const N: usize>(to: &mut [MaybeUninit<u8>], at: usize, bytes: &[u8; N]) {
    let to: &mut [_; N] = to[at..].first_chunk_mut().expect("room for whole copies");
    for (to, &byte) in zip(to, bytes) {
        to.write(byte);
    }
}

/// [`write`] without a tier.
pub(super) fn write_by_words(from: &[u8], last: bool, to: &mut [MaybeUninit<u8>]) -> Progress {
    // A byte that is marked by mistake is written as itself.
    let masks = |piece: &[u8; 8]| TextMasks::<8> {
        stops: swar::interrupts_string(u64::from_le_bytes(*piece)),
        non_ascii: 0,
    };
    write(from, last, to, masks)
}
