//! The members of an envelope, located in one scan and checked one by one when they are read.

use std::borrow::Cow;
use std::convert::Infallible;

use super::key::{KEYS, Key};
use super::users::{Users, check_user, is_unicode};
use crate::error::{Detail, Field, ValidationError};
use crate::limits::Limits;
use crate::payload::{Payload, Value};
use crate::protocol::{Recipients, UserIds};
use crate::scan::skip::Items;
use crate::scan::{self, Span, Text, text};

/// The forms that a recipient descriptor may have, for the error.
const DESCRIPTORS: &[&str] = &["ALL_USERS", "ALL_EXCEPT_SENDER", "array"];

/// A scanned document: one JSON object within the limits, and the positions of its members.
pub(super) struct Document<'a, 'f> {
    text: &'a str,
    root: usize,
    found: &'f Found<'a>,
}

/// Collects the known members during the scan; the last duplicate counts. It is large, so the caller
/// owns it and [`Document`] borrows it.
pub(super) struct Found<'a> {
    frame: &'a [u8],
    values: [Option<Span>; KEYS],
}

impl scan::Members for Found<'_> {
    /// The quotes of ten members in Python's order, two of which are numbers, and of the next key.
    const QUOTES_AHEAD: usize = 38;

    type Key = Infallible;

    #[inline(always)]
    fn member(&mut self, key: Text, value: Span) {
        if let Some(key) = Key::at(self.frame, key) {
            self.values[key as usize] = Some(value);
        }
    }

    fn known(&mut self, key: Infallible, _: Span) {
        match key {}
    }
}

impl<'a> Found<'a> {
    #[inline(always)]
    pub(super) fn new(frame: &'a [u8]) -> Self {
        Self { frame, values: [None; KEYS] }
    }
}

impl<'a, 'f> Document<'a, 'f> {
    /// Scans the frame of `found`, filling it.
    #[inline(always)]
    pub(super) fn scan(found: &'f mut Found<'a>, limits: &Limits) -> Result<Self, ValidationError> {
        let frame = found.frame;
        limits.check_size(frame.len())?;
        let (text, root) = scan::document(frame, None, limits.max_depth, found)
            .map_err(|malformed| malformed.error(limits))?;
        if frame[root.start()] == b'{' {
            return Ok(Self { text, root: root.start(), found });
        }
        let field = Field::Named("distributedMessage");
        Err(ValidationError::at(field, Detail::ExpectedObject, root.start()))
    }

    #[inline(always)]
    fn value(&self, key: Key) -> Option<Span> {
        self.found.values[key as usize]
    }

    /// The value; `None` when it is missing or `null`.
    #[inline(always)]
    fn some_value(&self, key: Key) -> Option<Span> {
        match self.value(key) {
            Some(value) if self.starts_with(value, b'n') => None,
            value => value,
        }
    }

    pub(super) fn is_some(&self, key: Key) -> bool {
        self.some_value(key).is_some()
    }

    #[inline(always)]
    fn require(&self, key: Key) -> Result<Span, ValidationError> {
        self.value(key).ok_or_else(|| error(key, Detail::Missing, self.root))
    }

    /// Tests the type of a value, which its first byte determines.
    #[inline(always)]
    fn starts_with(&self, value: Span, first: u8) -> bool {
        self.found.frame[value.start()] == first
    }

    #[inline(always)]
    fn raw(&self, value: Span) -> &'a str {
        &self.text[value.range()]
    }

    /// Checks that a string is the given text, which needs no escaping.
    #[inline(always)]
    pub(super) fn constant(
        &self,
        key: Key,
        texts: &'static [&'static str; 1],
    ) -> Result<(), ValidationError> {
        let value = self.require(key)?;
        if self.starts_with(value, b'"') {
            let inside = &self.found.frame[value.start() + 1..value.end() - 1];
            if inside == texts[0].as_bytes() {
                return Ok(());
            }
            let raw = self.raw(value);
            if value.is_escaped() && text::unescapes_to(&raw[1..raw.len() - 1], texts[0]) {
                return Ok(());
            }
        }
        Err(error(key, Detail::ExpectedOneOf(texts), value.start()))
    }

    /// Checks that a value is the number 1, written `1`.
    #[inline(always)]
    pub(super) fn one(&self, key: Key) -> Result<(), ValidationError> {
        let value = self.require(key)?;
        match &self.found.frame[value.range()] {
            b"1" => Ok(()),
            _ => Err(error(key, Detail::ExpectedOneOf(&["1"]), value.start())),
        }
    }

    /// An integer that fits `u64`.
    #[inline(always)]
    pub(super) fn unsigned(&self, key: Key) -> Result<u64, ValidationError> {
        let value = self.require(key)?;
        let digits = &self.found.frame[value.range()];
        let number = match digits.len() {
            // No number of fewer than 20 digits overflows.
            ..20 => {
                let (mut number, mut all) = (0_u64, true);
                for byte in digits {
                    let digit = byte.wrapping_sub(b'0');
                    number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
                    all &= digit < 10;
                }
                all.then_some(number)
            }
            // The only sign that JSON's grammar admits is `-`.
            _ => self.raw(value).parse().ok(),
        };
        number.ok_or_else(|| error(key, Detail::ExpectedUnsigned, value.start()))
    }

    /// A string without lone surrogates.
    #[inline(always)]
    pub(super) fn string(&self, key: Key) -> Result<Cow<'a, str>, ValidationError> {
        let value = self.require(key)?;
        self.string_at(key, value)
    }

    /// [`string`](Self::string), or `default` when it is missing or `null`.
    #[inline(always)]
    pub(super) fn string_or(
        &self,
        key: Key,
        default: &'static str,
    ) -> Result<Cow<'a, str>, ValidationError> {
        match self.some_value(key) {
            Some(value) => self.string_at(key, value),
            None => Ok(Cow::Borrowed(default)),
        }
    }

    #[inline(always)]
    fn string_at(&self, key: Key, value: Span) -> Result<Cow<'a, str>, ValidationError> {
        if !self.starts_with(value, b'"') {
            return Err(error(key, Detail::ExpectedString, value.start()));
        }
        let inside = &self.text[value.start() + 1..value.end() - 1];
        let text = text::unescape(inside, value.is_escaped());
        text.ok_or_else(|| error(key, Detail::ExpectedUnicode, value.start()))
    }

    /// An object; `None` when it is missing or `null`.
    #[inline(always)]
    pub(super) fn object(&self, key: Key) -> Result<Option<Payload<'a>>, ValidationError> {
        let Some(value) = self.some_value(key) else { return Ok(None) };
        if !self.starts_with(value, b'{') {
            return Err(error(key, Detail::ExpectedObject, value.start()));
        }
        Ok(Some(Payload::from_span(self.text, value)))
    }

    /// An object; `{}` when it is missing or `null`.
    #[inline(always)]
    pub(super) fn object_or_empty(&self, key: Key) -> Result<Payload<'a>, ValidationError> {
        Ok(self.object(key)?.unwrap_or(Payload::EMPTY))
    }

    /// Any value; `null` when it is missing.
    pub(super) fn any(&self, key: Key) -> Value<'a> {
        Value::new(self.value(key).map_or("null", |value| self.raw(value)))
    }

    /// The recipients of a message.
    #[inline(always)]
    pub(super) fn recipients(&self) -> Result<Recipients<'a>, ValidationError> {
        let key = Key::RecipientDescriptor;
        let value = self.require(key)?;
        let raw = self.raw(value);
        let unknown = || error(key, Detail::ExpectedOneOf(DESCRIPTORS), value.start());
        match raw.as_bytes()[0] {
            b'[' => {
                check_ids(raw, value.start())?;
                Ok(Recipients::Users(UserIds::from_json(raw)))
            }
            b'"' => {
                let name = text::unescape_lossy(&raw[1..raw.len() - 1], value.is_escaped());
                Recipients::from_word(&name).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }

    /// The users of a state; an empty list when they are missing or `null`.
    pub(super) fn users(&self) -> Result<Users<'a>, ValidationError> {
        let Some(value) = self.some_value(Key::Users) else { return Ok(Users::from(&[][..])) };
        if !self.starts_with(value, b'[') {
            return Err(error(Key::Users, Detail::ExpectedArray, value.start()));
        }
        let list = self.raw(value);
        for (index, (_, start, end)) in Items::new(list.as_bytes()).enumerate() {
            check_user(&list[start..end], index, value.start() + start)?;
        }
        Ok(Users::from_json(Payload::from_span(self.text, value)))
    }
}

#[cold]
const fn error(key: Key, detail: Detail, at: usize) -> ValidationError {
    ValidationError::at(Field::Named(key.name()), detail, at)
}

/// Checks that every item of a list is a string without lone surrogates. `at` is the list's offset.
fn check_ids(list: &str, at: usize) -> Result<(), ValidationError> {
    for (index, (_, start, end)) in Items::new(list.as_bytes()).enumerate() {
        let detail = match list.as_bytes()[start] {
            b'"' if is_unicode(&list[start + 1..end - 1]) => continue,
            b'"' => Detail::ExpectedUnicode,
            _ => Detail::ExpectedString,
        };
        return Err(ValidationError::at(Field::Recipient(index), detail, at + start));
    }
    Ok(())
}
