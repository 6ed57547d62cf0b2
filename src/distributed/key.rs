//! The keys of an envelope and of every body.

use crate::scan::{Text, text};

/// Declares the keys with their names.
macro_rules! keys {
    ($($key:ident = $name:literal,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Key {
            $($key,)+
        }

        const ALL: &[Key] = &[$(Key::$key),+];

        impl Key {
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$key => $name,)+
                }
            }
        }
    };
}

keys! {
    Protocol = "protocol",
    Version = "version",
    Type = "type",
    MessageId = "messageId",
    SourceNodeId = "sourceNodeId",
    EndpointName = "endpointName",
    ChannelName = "channelName",
    Timestamp = "timestamp",
    FromNode = "fromNode",
    Users = "users",
    UserId = "userId",
    Presence = "presence",
    Assigns = "assigns",
    FromUserId = "fromUserId",
    Event = "event",
    Payload = "payload",
    RequestId = "requestId",
    RecipientDescriptor = "recipientDescriptor",
    Name = "key",
    Value = "value",
    Reason = "reason",
    NodeId = "nodeId",
}

/// The number of keys.
pub(super) const KEYS: usize = ALL.len();

/// The number of bytes compared at once. One key is longer: its first and its last 16 bytes, which
/// overlap, are compared.
const WORD: usize = 16;

const SLOTS: usize = 32;

/// The bytes of `name` from `from` as a little-endian number, with zeros past its end.
const fn word(name: &[u8], from: usize) -> u128 {
    let mut word = 0;
    let mut at = if name.len() < from + WORD { name.len() } else { from + WORD };
    while at > from {
        at -= 1;
        word = word << 8 | name[at] as u128;
    }
    word
}

/// The table slot for a key with these first bytes and this length. The factor was found by trial:
/// with it no two keys share a slot.
#[inline(always)]
const fn slot(word: u128, length: usize) -> usize {
    const FACTOR: u64 = 0xBCB6_4AA1_9482_017B;
    let mixed = (word as u64).wrapping_add(length as u64).wrapping_mul(FACTOR);
    (mixed >> (u64::BITS - SLOTS.trailing_zeros())) as usize
}

#[derive(Clone, Copy)]
struct Entry {
    /// `None` in an unused slot.
    key: Option<Key>,
    length: usize,
    start: u128,
    /// The last [`WORD`] bytes of a key that is longer than that, else 0.
    end: u128,
}

/// For each length, a mask of the bytes that belong to the key.
static OF_LENGTH: [u128; WORD] = {
    let mut masks = [0; WORD];
    let mut length = 1;
    while length < WORD {
        masks[length] = masks[length - 1] << 8 | 0xFF;
        length += 1;
    }
    masks
};

static TABLE: [Entry; SLOTS] = {
    let mut table = [Entry { key: None, length: usize::MAX, start: 0, end: 0 }; SLOTS];
    let mut key = 0;
    while key < KEYS {
        let name = ALL[key].name().as_bytes();
        let start = word(name, 0);
        let slot = slot(start, name.len());
        assert!(table[slot].key.is_none(), "no two keys share a slot");
        assert!(name.len() <= 2 * WORD, "its first and last bytes cover all of it");
        let end = if name.len() > WORD { word(name, name.len() - WORD) } else { 0 };
        table[slot] = Entry { key: Some(ALL[key]), length: name.len(), start, end };
        key += 1;
    }
    table
};

impl Key {
    /// The known key at `place` of `frame`, if there is one.
    #[inline(always)]
    pub(super) fn at(frame: &[u8], place: Text) -> Option<Self> {
        if place.escaped {
            return Self::escaped(&frame[place.start..place.end]);
        }
        let length = place.end - place.start;
        let mask = OF_LENGTH.get(length).copied().unwrap_or(u128::MAX);
        let start = load(frame, place.start) & mask;
        let entry = &TABLE[slot(start, length)];
        let is_it = start == entry.start
            && length == entry.length
            && (length <= WORD || load(frame, place.end - WORD) == entry.end);
        if is_it { entry.key } else { None }
    }

    #[cold]
    fn escaped(inside: &[u8]) -> Option<Self> {
        let inside = std::str::from_utf8(inside).ok()?;
        ALL.iter().copied().find(|key| text::unescapes_to(inside, key.name()))
    }
}

/// [`WORD`] bytes from `at`, with zeros past the end.
#[inline(always)]
fn load(frame: &[u8], at: usize) -> u128 {
    match frame[at..].first_chunk::<WORD>() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => word(&frame[at..], 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inside: &str, behind: &str) -> Option<Key> {
        let frame = format!("{{\"{inside}\"{behind}");
        let escaped = inside.contains('\\');
        Key::at(frame.as_bytes(), Text { start: 2, end: 2 + inside.len(), escaped })
    }

    /// Escaped or not, and at any distance from the frame's end.
    #[test]
    fn every_key_is_found_and_similar_ones_are_not() {
        for &expected in ALL {
            let name = expected.name();
            let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
            for behind in ["", ":{}}", ":\"a string that goes on for a while\"}"] {
                assert_eq!(key(name, behind), Some(expected));
                assert_eq!(key(&escaped, behind), Some(expected));
                for at in 0..name.len() {
                    let mut other = name.to_owned();
                    other.replace_range(at..=at, "\u{1}");
                    assert_eq!(key(&other, behind), None);
                    assert_eq!(key(&name[..at], behind), None);
                }
                assert_eq!(key(&format!("{name}s"), behind), None);
                assert_eq!(key(&format!("{name}{name}"), behind), None);
            }
        }
        assert_eq!(key("", ":1}"), None);
        assert_eq!(key(&"long".repeat(9), ":1}"), None);
    }
}
