//! The members of an envelope: found in one scan, checked one by one as they are asked for.

use std::borrow::Cow;
use std::ops::Range;

use super::key::{KEYS, Key};
use super::recipients::{Recipients, UserIds};
use super::users::Users;
use crate::error::{Detail, Field, UserPart, ValidationError};
use crate::limits::Limits;
use crate::payload::{Payload, Value};
use crate::protocol::ChannelReceiver;
use crate::scan::skip::Items;
use crate::scan::{self, Span, Text, text};

/// What a recipient descriptor may be.
const DESCRIPTORS: &[&str] = &["ALL_USERS", "ALL_EXCEPT_SENDER", "array"];

/// A document that is one object within the limits, and where in it the members are.
pub(super) struct Fields<'a, 'f> {
    text: &'a str,
    root: usize,
    found: &'f Found<'a>,
}

/// The values of the keys as they are met; the last of each counts. Large, so that it stays where
/// it was made.
pub(super) struct Found<'a> {
    frame: &'a [u8],
    values: [Span; KEYS],
    /// Bit *i*: the key of that number was met.
    met: u32,
}

impl scan::Members for Found<'_> {
    /// Of ten members in Python's order, two of them numbers, and of the key behind them.
    const QUOTES_AHEAD: usize = 38;

    #[inline(always)]
    fn member(&mut self, key: Text, value: Span) {
        if let Some(key) = Key::at(self.frame, key) {
            self.values[key as usize] = value;
            self.met |= 1 << key as u32;
        }
    }
}

impl<'a> Found<'a> {
    #[inline(always)]
    pub(super) fn nothing_in(frame: &'a [u8]) -> Self {
        Self { frame, values: [Span::NOWHERE; KEYS], met: 0 }
    }
}

impl<'a, 'f> Fields<'a, 'f> {
    /// Fills `found` from its frame.
    #[inline(always)]
    pub(super) fn scan(found: &'f mut Found<'a>, limits: &Limits) -> Result<Self, ValidationError> {
        let frame = found.frame;
        limits.check_size(frame.len())?;
        let (text, root) = scan::document(frame, None, limits.max_depth, found)
            .map_err(|malformed| ValidationError::wire(malformed.detail, malformed.at))?;
        if frame[root.start] == b'{' {
            return Ok(Self { text, root: root.start, found });
        }
        let field = Field::Named("distributedMessage");
        Err(ValidationError::at(field, Detail::ExpectedObject, root.start))
    }

    #[inline(always)]
    fn value(&self, key: Key) -> Option<Span> {
        (self.found.met >> key as u32 & 1 == 1).then(|| self.found.values[key as usize])
    }

    /// The value, unless it is missing or `null`.
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

    /// Every type of value has first bytes of its own.
    #[inline(always)]
    fn starts_with(&self, value: Span, first: u8) -> bool {
        self.found.frame[value.start] == first
    }

    #[inline(always)]
    fn raw(&self, value: Span) -> &'a str {
        &self.text[value.start..value.end]
    }

    /// A string of the given texts, each of which needs no escaping.
    #[inline(always)]
    pub(super) fn constant(
        &self,
        key: Key,
        texts: &'static [&'static str; 1],
    ) -> Result<(), ValidationError> {
        let value = self.require(key)?;
        if self.starts_with(value, b'"') {
            let inside = &self.found.frame[value.start + 1..value.end - 1];
            if inside == texts[0].as_bytes() {
                return Ok(());
            }
            let raw = self.raw(value);
            if value.escaped && text::unescapes_to(&raw[1..raw.len() - 1], texts[0]) {
                return Ok(());
            }
        }
        Err(error(key, Detail::ExpectedOneOf(texts), value.start))
    }

    /// The number 1, written so.
    #[inline(always)]
    pub(super) fn one(&self, key: Key) -> Result<(), ValidationError> {
        let value = self.require(key)?;
        match &self.found.frame[value.start..value.end] {
            b"1" => Ok(()),
            _ => Err(error(key, Detail::ExpectedOneOf(&["1"]), value.start)),
        }
    }

    /// An integer from 0 on that 64 bits hold.
    #[inline(always)]
    pub(super) fn unsigned(&self, key: Key) -> Result<u64, ValidationError> {
        let value = self.require(key)?;
        let digits = &self.found.frame[value.start..value.end];
        let number = match digits.len() {
            // No number of so few digits is too large.
            ..20 => {
                let (mut number, mut all) = (0_u64, true);
                for byte in digits {
                    let digit = byte.wrapping_sub(b'0');
                    number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
                    all &= digit < 10;
                }
                all.then_some(number)
            }
            // The grammar lets no sign but `-` come so far.
            _ => self.raw(value).parse().ok(),
        };
        number.ok_or_else(|| error(key, Detail::ExpectedUnsigned, value.start))
    }

    /// A string that Rust can hold.
    #[inline(always)]
    pub(super) fn string(&self, key: Key) -> Result<Cow<'a, str>, ValidationError> {
        let value = self.require(key)?;
        self.string_at(key, value)
    }

    /// The same, or `default` for one that is missing or `null`.
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
            return Err(error(key, Detail::ExpectedString, value.start));
        }
        let inside = &self.text[value.start + 1..value.end - 1];
        let text = text::unescape(inside, value.escaped);
        text.ok_or_else(|| error(key, Detail::ExpectedUnicode, value.start))
    }

    /// An object; `None` when it is missing or `null`.
    #[inline(always)]
    pub(super) fn object(&self, key: Key) -> Result<Option<Payload<'a>>, ValidationError> {
        let Some(value) = self.some_value(key) else { return Ok(None) };
        if !self.starts_with(value, b'{') {
            return Err(error(key, Detail::ExpectedObject, value.start));
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

    /// For whom a message is.
    #[inline(always)]
    pub(super) fn recipients(&self) -> Result<Recipients<'a>, ValidationError> {
        let key = Key::RecipientDescriptor;
        let value = self.require(key)?;
        let raw = self.raw(value);
        let unknown = || error(key, Detail::ExpectedOneOf(DESCRIPTORS), value.start);
        match raw.as_bytes()[0] {
            b'[' => {
                check_ids(raw, value.start)?;
                Ok(Recipients::Users(UserIds::from_json(raw)))
            }
            b'"' => {
                let name = text::unescape_lossy(&raw[1..raw.len() - 1], value.escaped);
                let receiver = ChannelReceiver::from_bytes(name.as_bytes());
                receiver.map(Into::into).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }

    /// The users of a state; none when they are missing or `null`.
    pub(super) fn users(&self) -> Result<Users<'a>, ValidationError> {
        let Some(value) = self.some_value(Key::Users) else { return Ok(Users::from(&[][..])) };
        if !self.starts_with(value, b'[') {
            return Err(error(Key::Users, Detail::ExpectedArray, value.start));
        }
        let list = self.raw(value);
        for (index, (_, start, end)) in Items::new(list.as_bytes()).enumerate() {
            check_user(&list[start..end], index, value.start + start)?;
        }
        Ok(Users::from_json(Payload::from_span(self.text, value)))
    }
}

#[cold]
const fn error(key: Key, detail: Detail, at: usize) -> ValidationError {
    ValidationError::at(Field::Named(key.name()), detail, at)
}

/// Whether the inside of a string is one that Rust can hold.
fn is_unicode(inside: &str) -> bool {
    !inside.as_bytes().contains(&b'\\') || !text::has_lone_surrogate(inside)
}

/// Every item of `list`, which starts at `at`, must be a string that Rust can hold.
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

/// An item of a state must be an object with an id; its data objects, `null` or missing. `at` is
/// where it starts.
fn check_user(item: &str, index: usize, at: usize) -> Result<(), ValidationError> {
    let error = |part, detail, start| {
        Err(ValidationError::at(Field::User(index, part), detail, at + start))
    };
    if !item.starts_with('{') {
        return error(UserPart::Whole, Detail::ExpectedObject, 0);
    }
    let found = item_members(item);
    let Some(id) = found.id else { return error(UserPart::Id, Detail::Missing, 0) };
    if item.as_bytes()[id.start] != b'"' {
        return error(UserPart::Id, Detail::ExpectedString, id.start);
    }
    if !is_unicode(&item[id.start + 1..id.end - 1]) {
        return error(UserPart::Id, Detail::ExpectedUnicode, id.start);
    }
    for (part, place) in [(UserPart::Assigns, found.assigns), (UserPart::Presence, found.presence)]
    {
        if let Some(place) = place
            && !matches!(item.as_bytes()[place.start], b'{' | b'n')
        {
            return error(part, Detail::ExpectedObject, place.start);
        }
    }
    Ok(())
}

/// Where in an item of a state its members are; the last of each counts.
#[derive(Default)]
pub(super) struct ItemMembers {
    pub(super) id: Option<Range<usize>>,
    pub(super) assigns: Option<Range<usize>>,
    pub(super) presence: Option<Range<usize>>,
}

pub(super) fn item_members(item: &str) -> ItemMembers {
    let mut found = ItemMembers::default();
    for (key, start, end) in Items::new(item.as_bytes()) {
        let Some(key) = key else { continue };
        let name = text::unescape_lossy(&item[key.start..key.end], key.escaped);
        match &*name {
            "id" => found.id = Some(start..end),
            "assigns" => found.assigns = Some(start..end),
            "presence" => found.presence = Some(start..end),
            _ => {}
        }
    }
    found
}
