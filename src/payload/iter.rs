//! The members of an object and the elements of an array, found by skipping.

use std::borrow::Cow;
use std::fmt;
use std::iter::FusedIterator;

use super::value::Value;
use crate::scan::skip::Items;
use crate::scan::{Text, text};

/// The members of an object in the order they are written, duplicates included.
#[derive(Clone)]
pub struct Members<'a> {
    json: &'a str,
    items: Items<'a>,
}

impl<'a> Members<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        Self { json, items: Items::new(json.as_bytes()) }
    }

    fn next_raw(&mut self) -> Option<(Text, Value<'a>)> {
        let (key, start, end) = self.items.next()?;
        Some((key?, Value::new(&self.json[start..end])))
    }

    /// The value of the last member whose key is `key`.
    pub(super) fn find_last(self, key: &str) -> Option<Value<'a>> {
        self.find_last_by(
            |inside, escaped| {
                if escaped { text::unescapes_to(inside, key) } else { inside == key }
            },
        )
    }

    /// The same for a reference token of a JSON pointer.
    pub(super) fn find_last_token(self, token: &str) -> Option<Value<'a>> {
        if !token.contains('~') {
            return self.find_last(token);
        }
        self.find_last_by(|inside, escaped| {
            text::unescape(inside, escaped).is_some_and(|key| token_names(token, &key))
        })
    }

    fn find_last_by(mut self, matches: impl Fn(&str, bool) -> bool) -> Option<Value<'a>> {
        let mut found = None;
        while let Some((key, value)) = self.next_raw() {
            if matches(&self.json[key.start..key.end], key.escaped) {
                found = Some(value);
            }
        }
        found
    }
}

/// Whether a pointer token, in which `~1` stands for `/` and `~0` for `~`, names `key`.
fn token_names(token: &str, key: &str) -> bool {
    let mut token = token.bytes();
    let mut key = key.bytes();
    loop {
        let expected = match token.next() {
            Some(b'~') => match token.next() {
                Some(b'0') => Some(b'~'),
                Some(b'1') => Some(b'/'),
                _ => return false,
            },
            other => other,
        };
        if expected != key.next() {
            return false;
        }
        if expected.is_none() {
            return true;
        }
    }
}

impl<'a> Iterator for Members<'a> {
    /// The key, owned if it is written with escapes, and the value. A lone surrogate in a key
    /// becomes U+FFFD.
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.next_raw()?;
        let inside = &self.json[key.start..key.end];
        Some((text::unescape_lossy(inside, key.escaped), value))
    }
}

impl FusedIterator for Members<'_> {}

impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
}

/// The elements of an array.
#[derive(Clone)]
pub struct Elements<'a> {
    json: &'a str,
    items: Items<'a>,
}

impl<'a> Elements<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        // A value of another type counts as an empty array.
        let array = if json.starts_with('[') { json } else { "" };
        Self { json, items: Items::new(array.as_bytes()) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let (_, start, end) = self.items.next()?;
        Some(Value::new(&self.json[start..end]))
    }
}

impl FusedIterator for Elements<'_> {}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").finish_non_exhaustive()
    }
}
