//! The five keys of a message.

use crate::scan::{BEFORE, Text, text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Event,
    Action,
    Payload,
    RequestId,
    ChannelName,
}

/// The number of keys.
pub(super) const KEYS: usize = 5;

/// A bound on the lengths of the names, which all differ.
const WORD: usize = 16;

const ALL: [Key; KEYS] = [Key::Event, Key::Action, Key::Payload, Key::RequestId, Key::ChannelName];

/// The names as numbers.
const WORDS: [u128; KEYS] = {
    let mut words = [0; KEYS];
    let mut key = 0;
    while key < KEYS {
        let name = ALL[key].name().as_bytes();
        let mut at = name.len();
        while at > 0 {
            at -= 1;
            words[key] = words[key] << 8 | name[at] as u128;
        }
        key += 1;
    }
    words
};

/// The ends of the bytes before the values of the keys, `"event":`, as numbers whose highest bytes
/// come last, and the masks of these bytes.
const BEFORE_VALUES: [(u128, u128); KEYS] = {
    let mut ends = [(0, 0); KEYS];
    let mut key = 0;
    while key < KEYS {
        let quoted = (WORDS[key] << 8 | b'"' as u128)
            | (b'"' as u128) << (8 * (ALL[key].name().len() + 1))
            | (b':' as u128) << (8 * (ALL[key].name().len() + 2));
        let free = 8 * (BEFORE - ALL[key].name().len() - 3);
        ends[key] = (quoted << free, !0 << free);
        key += 1;
    }
    ends
};

/// The key of each length; an arbitrary one for a length that no key has.
const OF_LENGTH: [Key; WORD] = {
    let mut table = [Key::Event; WORD];
    let mut key = 0;
    while key < KEYS {
        table[ALL[key].name().len()] = ALL[key];
        key += 1;
    }
    table
};

impl Key {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Action => "action",
            Self::Payload => "payload",
            Self::RequestId => "requestId",
            Self::ChannelName => "channelName",
        }
    }

    /// The key at `place` in `frame`. A table and a comparison of 16 bytes, instead of
    /// unpredictable branches: clients send the keys in different orders.
    #[inline(always)]
    pub(super) fn at(frame: &[u8], place: Text) -> Option<Self> {
        let length = place.end - place.start;
        match frame[place.start..].first_chunk::<WORD>() {
            Some(bytes) if length < WORD && !place.escaped => {
                let key = OF_LENGTH[length];
                let word = u128::from_le_bytes(*bytes) & !(!0 << (8 * length));
                (word == WORDS[key as usize]).then_some(key)
            }
            _ => Self::unusual(&frame[place.start..place.end]),
        }
    }

    /// The key of `length` bytes that `before`, the bytes before a value, ends with in quotes and
    /// with a colon.
    #[inline(always)]
    pub(super) fn before_value(before: &[u8; BEFORE], length: usize) -> Option<Self> {
        let key = OF_LENGTH[length % WORD];
        let (expected, mask) = BEFORE_VALUES[key as usize];
        let differs = (u128::from_le_bytes(*before) ^ expected) & mask;
        (differs == 0).then_some(key)
    }

    /// The key that `start` has in quotes and with a colon, as far as it goes, and its length.
    /// Branches, which are predicted, instead of a table, which would have to be waited for.
    #[inline(always)]
    pub(super) fn at_start(start: &[u8; BEFORE]) -> Option<(Self, usize)> {
        let key = match start[1] {
            b'a' => Self::Action,
            b'c' => Self::ChannelName,
            b'e' => Self::Event,
            b'p' => Self::Payload,
            b'r' => Self::RequestId,
            _ => return None,
        };
        let (before, mask) = BEFORE_VALUES[key as usize];
        let free = 8 * (BEFORE - key.name().len() - 3);
        let differs = u128::from_le_bytes(*start) ^ before >> free;
        (differs & mask >> free == 0).then_some((key, key.name().len()))
    }

    /// A key that is long, escaped, or close to the end of the frame.
    #[inline(never)]
    fn unusual(inside: &[u8]) -> Option<Self> {
        let inside = std::str::from_utf8(inside).ok()?;
        ALL.into_iter().find(|key| text::unescapes_to(inside, key.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_before_its_value_in_full_only() {
        for expected in ALL {
            let name = expected.name();
            let found = |text: &str| {
                let padded = format!("{text:>16}");
                Key::before_value(padded.as_bytes().last_chunk().unwrap(), name.len())
            };
            let quoted = format!("\"{name}\":");
            let start = |text: &str| {
                let padded = format!("{text:<16}");
                Key::at_start(padded.as_bytes().first_chunk().unwrap())
            };
            assert_eq!(start(&quoted), Some((expected, name.len())));
            assert_eq!(start(&format!("{quoted}{{}}}}")), Some((expected, name.len())));
            assert_eq!(found(&quoted), Some(expected));
            assert_eq!(found(&format!(",{quoted}")), Some(expected));
            for at in 0..quoted.len() {
                let mut other = quoted.clone().into_bytes();
                other[at] ^= 1;
                let other = std::str::from_utf8(&other).unwrap();
                assert_eq!((found(other), start(other)), (None, None));
            }
        }
    }

    fn key(inside: &str, behind: &str) -> Option<Key> {
        let frame = format!("{{\"{inside}\"{behind}");
        let escaped = inside.contains('\\');
        Key::at(frame.as_bytes(), Text { start: 2, end: 2 + inside.len(), escaped })
    }

    #[test]
    fn each_is_found_however_it_is_written_and_wherever() {
        for expected in ALL {
            let name = expected.name();
            let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
            for behind in ["", ":{}}", ":\"a string that goes on for a while\"}"] {
                assert_eq!(key(name, behind), Some(expected));
                assert_eq!(key(&escaped, behind), Some(expected));
                for at in 0..name.len() {
                    let mut other = name.to_owned();
                    other.replace_range(at..=at, "X");
                    assert_eq!(key(&other, behind), None);
                    assert_eq!(key(&name[..at], behind), None);
                }
                assert_eq!(key(&format!("{name}s"), behind), None);
            }
        }
        assert_eq!(key(&"long".repeat(9), ":1}"), None);
    }
}
