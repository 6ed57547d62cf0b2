//! Fresh ids for requests, messages and connections.

use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

/// A random id in the usual text form, stored inline: 36 bytes, no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid([u8; 36]);

/// A fresh random UUID (version 4), lower case and dashed. Allocates nothing.
///
/// The random bits come from a cryptographic generator seeded by the operating system.
///
/// ```
/// let id = pondwire::uuid();
/// assert_eq!(id.len(), 36);
/// assert_ne!(id, pondwire::uuid());
/// ```
#[must_use]
pub fn uuid() -> Uuid {
    let mut text = [0; 36];
    uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    Uuid(text)
}

impl Uuid {
    /// The text, 36 bytes of lower-case hexadecimal digits and dashes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits and dashes")
    }
}

impl Deref for Uuid {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Uuid {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Uuid {
    fn eq(&self, other: &str) -> bool {
        self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Uuid {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::uuid;

    #[test]
    fn ids_are_lower_case_dashed_version_4_and_distinct() {
        let ids: HashSet<_> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')));
            assert_eq!(id.as_bytes()[14], b'4', "version");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "variant");
        }
    }

    #[test]
    fn all_conversions_of_an_id_give_the_same_text() {
        let id = uuid();
        let text = id.to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(id, text.as_str());
        assert_eq!(AsRef::<str>::as_ref(&id), text);
        assert_eq!(format!("{id:?}"), text);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_ne!(id, "");
    }
}
