//! UTF-8 by lookup, after "Validating UTF-8 In Less Than One Instruction Per Byte" (J. Keiser, D.
//! Lemire, 2020).
//!
//! Unlike the paper's code, a window is loaded once for each distance between the bytes that are
//! compared, and so depends on no window before it: the last one may overlap the one before, and an
//! error has its place without a second pass.

use crate::scan::blocks::BLOCK;

/// The bytes before a byte that decide whether it is right.
const BEHIND: usize = 3;

/// The bytes of a window: the last [`BLOCK`] of them are checked.
pub(super) const WINDOW: usize = BEHIND + BLOCK;

/// Flags for two neighbouring bytes. They are wrong if the entries of all three tables share a flag: those
/// for the first byte's high and low half and for the second byte's high half.
mod flag {
    /// A first byte of a character, or ASCII, where a continuation is due.
    pub(super) const SHORT: u8 = 1 << 0;
    /// A continuation behind ASCII.
    pub(super) const LONG: u8 = 1 << 1;
    /// A character of three bytes that needs fewer.
    pub(super) const OVERLONG_3: u8 = 1 << 2;
    /// F4 or more before 90 to BF: above U+10FFFF.
    pub(super) const TOO_LARGE: u8 = 1 << 3;
    /// U+D800 to U+DFFF.
    pub(super) const SURROGATE: u8 = 1 << 4;
    /// A character of two bytes that needs one.
    pub(super) const OVERLONG_2: u8 = 1 << 5;
    /// F5 or more before 80 to 8F: above U+10FFFF, too. F0 before 80 to 8F: a character of four bytes
    /// that needs fewer.
    pub(super) const BEYOND_4: u8 = 1 << 6;
    /// Two continuations: right only if they are the second and the third, or the third and the fourth.
    pub(super) const TWO: u8 = 1 << 7;
}

/// The flags of a first byte's high half.
pub(super) const HIGH: [u8; 16] = {
    use flag::{BEYOND_4, LONG, OVERLONG_2, OVERLONG_3, SHORT, SURROGATE, TOO_LARGE, TWO};
    let mut flags = [LONG; 16];
    let mut half = 0x8;
    while half < 0xC {
        flags[half] = TWO;
        half += 1;
    }
    flags[0xC] = SHORT | OVERLONG_2;
    flags[0xD] = SHORT;
    flags[0xE] = SHORT | OVERLONG_3 | SURROGATE;
    flags[0xF] = SHORT | TOO_LARGE | BEYOND_4;
    flags
};

/// The flags of a first byte's low half.
pub(super) const LOW: [u8; 16] = {
    use flag::{BEYOND_4, LONG, OVERLONG_2, OVERLONG_3, SHORT, SURROGATE, TOO_LARGE, TWO};
    const ANY: u8 = SHORT | LONG | TWO;
    let mut flags = [ANY | TOO_LARGE | BEYOND_4; 16];
    flags[0x0] = ANY | OVERLONG_3 | OVERLONG_2 | BEYOND_4;
    flags[0x1] = ANY | OVERLONG_2;
    flags[0x2] = ANY;
    flags[0x3] = ANY;
    flags[0x4] = ANY | TOO_LARGE;
    flags[0xD] |= SURROGATE;
    flags
};

/// The flags of a second byte's high half.
pub(super) const SECOND: [u8; 16] = {
    use flag::{BEYOND_4, LONG, OVERLONG_2, OVERLONG_3, SHORT, SURROGATE, TOO_LARGE, TWO};
    let mut flags = [SHORT; 16];
    let any = LONG | OVERLONG_2 | TWO;
    flags[0x8] = any | OVERLONG_3 | BEYOND_4;
    flags[0x9] = any | OVERLONG_3 | TOO_LARGE;
    flags[0xA] = any | SURROGATE | TOO_LARGE;
    flags[0xB] = any | SURROGATE | TOO_LARGE;
    flags
};

/// Checks all bytes; an error is the number of bytes before the first that is not UTF-8. `wrong` finds
/// those of a window's checked bytes that do not go with the three before each. `None` if one of the
/// first three bytes is not ASCII, since they are not checked.
#[inline(always)]
pub(super) fn check(
    bytes: &[u8],
    wrong: impl Fn(&[u8; WINDOW]) -> u64,
) -> Option<Result<(), usize>> {
    let Some(last) = bytes.last_chunk() else { return check_short(bytes, wrong) };
    // As one word, which is cheaper than the slice's own check.
    if u32::from_le_bytes(*bytes.first_chunk()?) & 0x80_8080 != 0 {
        return None;
    }
    let mut at = 0;
    while let Some(window) = bytes[at..].first_chunk() {
        let wrong = wrong(window);
        if wrong != 0 {
            return Some(Err(valid_len(bytes, at + BEHIND + wrong.trailing_zeros() as usize)));
        }
        at += BLOCK;
    }
    let wrong = wrong(last);
    if wrong != 0 {
        let behind = BLOCK - wrong.trailing_zeros() as usize;
        return Some(Err(valid_len(bytes, bytes.len() - behind)));
    }
    // A character that is cut short has no byte that is wrong.
    let [.., third, second, last] = *last;
    let is_complete = last < 0xC0 && second < 0xE0 && third < 0xF0;
    Some(if is_complete { Ok(()) } else { Err(valid_len(bytes, bytes.len())) })
}

/// [`check`] of less than a window: behind NULs, which are ASCII.
#[cold]
#[inline(never)]
fn check_short(bytes: &[u8], wrong: impl Fn(&[u8; WINDOW]) -> u64) -> Option<Result<(), usize>> {
    let mut window = [0; WINDOW];
    let added = WINDOW - bytes.len();
    window[added..].copy_from_slice(bytes);
    Some(check(&window, wrong)?.map_err(|at| at - added))
}

/// Where the first malformed character starts. The byte at `wrong` is the first that does not go with those before
/// it: it is in that character or cuts it short, or is malformed by itself.
#[inline(always)]
fn valid_len(text: &[u8], wrong: usize) -> usize {
    let [.., third, second, last] = text[..wrong] else { return wrong };
    if last >= 0xC0 {
        wrong - 1
    } else if second >= 0xE0 {
        wrong - 2
    } else if third >= 0xF0 {
        wrong - 3
    } else {
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::arch;

    /// The verdict of `std`, and of every tier.
    fn all_agree(bytes: &[u8]) -> bool {
        let expected = std::str::from_utf8(bytes).map_err(|error| error.valid_up_to());
        for tier in arch::Tier::ALL.iter().filter_map(|&tier| arch::Detected::of(tier)) {
            assert_eq!(arch::check_utf8(tier, bytes), expected, "{} {bytes:x?}", tier.tier());
        }
        let by_tables = |window: &[u8; WINDOW]| {
            let wrong = |at: usize| {
                let [fourth, third, second, byte] = *window[at..].first_chunk().unwrap();
                let half = |byte: u8| usize::from(byte >> 4);
                let low = usize::from(second & 0xF);
                let flags = HIGH[half(second)] & LOW[low] & SECOND[half(byte)];
                let due = third >= 0xE0 || fourth >= 0xF0;
                flags != if due { flag::TWO } else { 0 }
            };
            (0..BLOCK).map(|at| u64::from(wrong(at)) << at).fold(0, |mask, bit| mask | bit)
        };
        if let Some(checked) = check(bytes, by_tables) {
            assert_eq!(checked, expected.map(drop), "{bytes:x?}");
        }
        expected.is_ok()
    }

    /// The bytes beside the bounds of every rule.
    const BOUNDS: [u8; 24] = [
        0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
        0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
    ];

    #[test]
    fn every_sequence_of_bounds_is_judged_as_std_does() {
        let (mut valid, mut sequences) = (0, 0);
        let mut text = [b'a'; 2 * BLOCK + 9];
        // At the ends of windows, and at the end of the text.
        for at in [0, 3, BLOCK - 2, BLOCK + 2, 2 * BLOCK + 5] {
            for first in BOUNDS {
                for second in BOUNDS {
                    for (third, fourth) in BOUNDS.iter().flat_map(|&third| {
                        [0x61, 0x80, 0x90, 0xBF, 0xC2, 0xF0].map(|fourth| (third, fourth))
                    }) {
                        text[at..at + 4].copy_from_slice(&[first, second, third, fourth]);
                        valid += usize::from(all_agree(&text));
                        sequences += 1;
                    }
                }
            }
            text[at..at + 4].fill(b'a');
        }
        // Texts of every length that end with characters, whole or cut short, or with a stray byte.
        for len in 0..=140 {
            let mut text = vec![b'a'; len];
            for ending in ["", "ä", "€", "😀", "ä\u{80}", "€😀"] {
                for cut in 0..=ending.len() {
                    text.truncate(len);
                    text.extend(&ending.as_bytes()[..cut]);
                    valid += usize::from(all_agree(&text));
                    sequences += 1;
                    text.push(0x80);
                    all_agree(&text);
                    text.insert(0, 0xC3);
                    all_agree(&text);
                    text.remove(0);
                }
            }
        }
        println!("UTF-8: {sequences} sequences, {valid} valid");
        assert!(valid > 1000 && valid < sequences);
    }
}
