//! Fresh ids for requests, messages and connections.

use std::fmt;
use std::ops::Deref;

/// A random id in its usual text form, held in place: 36 bytes, no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid([u8; 36]);

/// A fresh random UUID (version 4), lower case and dashed. Allocates nothing.
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

impl Deref for Uuid {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits and dashes")
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
