//! A scanned frame and the five fields of a message in it, which are checked in the order in which
//! errors name them; and the parse methods of all views.

use super::fields::{Fields, Places};
use super::key::{KEYS, Key};
use crate::error::{Detail, Field, ValidationError};
use crate::limits::ParseOptions;
use crate::protocol::{PresenceEvent, ServerAction};
use crate::scan::{self, BEFORE, Fault, INNER_ENDS, JsonType, Malformed, Span, Text, text};

/// The one action of a presence message.
pub(super) const PRESENCE_NAMES: &[&str] = &[ServerAction::Presence.as_str()];

/// What a document is to be, in the words of its errors.
pub(super) struct Kind {
    /// The message's name.
    pub(super) name: &'static str,
    /// The words of its actions.
    pub(super) actions: &'static [&'static str],
}

/// Why a document is not a message: the rule, and the field that breaks it. It is as small as a
/// [`Malformed`], and becomes a [`ValidationError`] by [`Document::error`].
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    Root,
    Missing(Key),
    NoString(Key),
    NoUnicode(Key),
    NoObject(Key),
    /// A word that is none of those that an action, or the event of a presence message, may be.
    Unknown(Key),
}

/// A frame that was scanned as one JSON document within the limits, and the places of the fields.
pub(super) struct Document<'a, 'f> {
    pub(super) text: &'a str,
    root: Span,
    found: &'f Found<'a>,
    default_payload: bool,
}

/// The values of the five keys, recorded during the scan; the last of each counts. The caller owns
/// it and [`Document`] borrows it: a copy right after the scan would wait for its stores.
pub(super) struct Found<'a> {
    frame: &'a [u8],
    values: [Option<Span>; KEYS],
    /// The ends of the first containers in containers, in order.
    inner_ends: [u32; INNER_ENDS],
    inner_count: usize,
}

impl scan::Members for Found<'_> {
    /// The quotes of four members and of the key after them.
    const QUOTES_AHEAD: usize = 18;

    const KNOWS_BEFORE: bool = true;

    type Key = Key;

    #[inline(always)]
    fn member(&mut self, key: Text, value: Span) {
        if let Some(key) = Key::at(self.frame, key) {
            self.values[key as usize] = Some(value);
        }
    }

    /// Only a presence message needs them. An action behind the payload is not known yet.
    #[inline(always)]
    fn wants_inner_ends(&self) -> bool {
        let of_presence = |action: Span| action.range().len() == "\"PRESENCE\"".len();
        self.values[Key::Action as usize].is_none_or(of_presence)
    }

    #[inline(always)]
    fn inner_end(&mut self, end: usize) {
        if let Some(slot) = self.inner_ends.get_mut(self.inner_count) {
            *slot = end as u32;
            self.inner_count += 1;
        }
    }

    #[inline(always)]
    fn known_key(start: &[u8; BEFORE]) -> Option<(Key, usize)> {
        Key::at_start(start)
    }

    #[inline(always)]
    fn known(&mut self, key: Key, value: Span) {
        self.values[key as usize] = Some(value);
    }

    #[inline(always)]
    fn known_member(&mut self, before: &[u8; BEFORE], length: usize, value: Span) -> bool {
        let key = Key::before_value(before, length);
        if let Some(key) = key {
            self.values[key as usize] = Some(value);
        }
        key.is_some()
    }
}

impl<'a> Found<'a> {
    #[inline(always)]
    pub(super) const fn new(frame: &'a [u8]) -> Self {
        Self { frame, values: [None; KEYS], inner_ends: [0; INNER_ENDS], inner_count: 0 }
    }
}

impl<'a, 'f> Document<'a, 'f> {
    /// Scans the frame of `found`, filling it; `text` is the same bytes if they are known to be
    /// UTF-8.
    #[inline(always)]
    pub(super) fn scan(
        found: &'f mut Found<'a>,
        text: Option<&'a str>,
        options: &ParseOptions,
    ) -> Result<Self, Malformed> {
        let frame = found.frame;
        if options.limits.check_size(frame.len()).is_err() {
            return Err(Malformed::new(Fault::TooLarge, 0));
        }
        let (text, root) = scan::document(frame, text, options.limits.max_depth, found)?;
        Ok(Self { text, root, found, default_payload: options.default_payload })
    }

    /// The fields of a message whose strings have no escapes and whose action `read` knows: nearly
    /// all messages.
    #[inline(always)]
    pub(super) fn usual<A>(&self, read: impl Fn(&[u8]) -> Option<A>) -> Option<Fields<A>> {
        let [event, action, payload, request_id, channel_name] = self.found.values;
        if !Span::are_plain_strings([event, action, request_id, channel_name]) {
            return None;
        }
        let bytes = self.text.as_bytes();
        let action = action?.text();
        let action = read(bytes.get(action.start..action.end)?)?;
        if *bytes.get(payload?.start())? != b'{' {
            return None;
        }
        let (event, channel_name, request_id) = (event?, channel_name?, request_id?);
        Some(Fields::plain(action, Places { event, channel_name, request_id, payload }))
    }

    /// Whether all fields are there and right but the action, which is a string.
    pub(super) fn is_usual_but_action(&self) -> bool {
        let [event, action, payload, request_id, channel_name] = self.found.values;
        Span::are_plain_strings([event, action, request_id, channel_name])
            && payload.is_some_and(|payload| self.json_type(payload) == JsonType::Object)
    }

    /// The end of the container at `start` that is a member of the `payload`, if the scan kept it. The
    /// first end behind `start` is its own, because a member's ends are kept without gaps from the
    /// first. If none of the payload's are left, it is that of a container behind the payload.
    pub(super) fn inner_end(&self, payload: Span, start: usize) -> Option<usize> {
        let ends = self.found.inner_ends[..self.found.inner_count].iter();
        let end = ends.map(|&end| end as usize).find(|&end| end > start)?;
        (end < payload.range().end).then_some(end)
    }

    #[inline(always)]
    const fn value(&self, key: Key) -> Option<Span> {
        self.found.values[key as usize]
    }

    #[inline(always)]
    fn json_type(&self, value: Span) -> JsonType {
        JsonType::of(self.text.as_bytes()[value.start()])
    }

    /// Checks that the root is an object.
    #[inline(always)]
    pub(super) fn check_root(&self) -> Result<(), Refusal> {
        if self.json_type(self.root) == JsonType::Object { Ok(()) } else { Err(Refusal::Root) }
    }

    #[inline(always)]
    fn require(&self, key: Key) -> Result<Span, Refusal> {
        self.value(key).ok_or(Refusal::Missing(key))
    }

    /// A field that must be a string without lone surrogates.
    #[inline(always)]
    fn string(&self, key: Key) -> Result<Span, Refusal> {
        let value = self.require(key)?;
        if !value.is_string() {
            return Err(Refusal::NoString(key));
        }
        let text = value.text();
        if value.is_escaped() && text::has_lone_surrogate(&self.text[text.start..text.end]) {
            return Err(Refusal::NoUnicode(key));
        }
        Ok(value)
    }

    #[inline(always)]
    pub(super) fn event(&self) -> Result<Span, Refusal> {
        self.string(Key::Event)
    }

    #[inline(always)]
    pub(super) fn channel_name(&self) -> Result<Span, Refusal> {
        self.string(Key::ChannelName)
    }

    #[inline(always)]
    pub(super) fn request_id(&self) -> Result<Span, Refusal> {
        self.string(Key::RequestId)
    }

    /// The payload, which must be an object; `None` if it is missing and that is allowed.
    #[inline(always)]
    pub(super) fn payload(&self) -> Result<Option<Span>, Refusal> {
        if self.value(Key::Payload).is_none() && self.default_payload {
            return Ok(None);
        }
        self.required_payload().map(Some)
    }

    /// The payload, which must be present and an object.
    #[inline(always)]
    pub(super) fn required_payload(&self) -> Result<Span, Refusal> {
        let value = self.require(Key::Payload)?;
        let is_object = self.json_type(value) == JsonType::Object;
        if is_object { Ok(value) } else { Err(Refusal::NoObject(Key::Payload)) }
    }

    /// The action, which must be a word that `read` knows; `names` lists these.
    #[inline(always)]
    pub(super) fn action<A>(
        &self,
        read: impl Fn(&[u8]) -> Option<A>,
        names: &'static [&'static str],
    ) -> Result<A, Refusal> {
        self.one_of(Key::Action, read, names)
    }

    /// The event of a presence message, whose text must be one of its words.
    pub(super) fn presence_event(&self) -> Result<(PresenceEvent, Span), Refusal> {
        let names = PresenceEvent::NAMES;
        let event = self.one_of(Key::Event, PresenceEvent::from_bytes, names)?;
        Ok((event, self.event()?))
    }

    #[inline(always)]
    fn one_of<A>(
        &self,
        key: Key,
        read: impl Fn(&[u8]) -> Option<A>,
        names: &'static [&'static str],
    ) -> Result<A, Refusal> {
        let value = self.require(key)?;
        let word = if value.is_string() { read(self.word(value.text(), names)) } else { None };
        word.ok_or(Refusal::Unknown(key))
    }

    /// The error of a document that is refused as a message of this `kind`.
    #[cold]
    #[inline(never)]
    pub(super) fn error(&self, refusal: Refusal, kind: &Kind) -> ValidationError {
        let (key, detail) = match refusal {
            Refusal::Root => {
                let root = Field::Named(kind.name);
                return ValidationError::at(root, Detail::ExpectedObject, self.root.start());
            }
            Refusal::Missing(key) => (key, Detail::Missing),
            Refusal::NoString(key) => (key, Detail::ExpectedString),
            Refusal::NoUnicode(key) => (key, Detail::ExpectedUnicode),
            Refusal::NoObject(key) => (key, Detail::ExpectedObject),
            Refusal::Unknown(Key::Action) => (Key::Action, Detail::ExpectedOneOf(kind.actions)),
            Refusal::Unknown(key) => (key, Detail::ExpectedOneOf(PresenceEvent::NAMES)),
        };
        let place = self.value(key).unwrap_or(self.root);
        ValidationError::at(Field::Named(key.name()), detail, place.start())
    }

    /// The string unescaped if it is one of `names`; otherwise a string that is not one of them.
    #[inline(always)]
    fn word(&self, text: Text, names: &'static [&'static str]) -> &[u8] {
        let inside = &self.text[text.start..text.end];
        if text.escaped { escaped_word(inside, names) } else { inside.as_bytes() }
    }

    /// Whether `action` is `PRESENCE`; an error if it is missing.
    pub(super) fn is_presence(&self) -> Result<bool, Refusal> {
        let value = self.require(Key::Action)?;
        Ok(value.is_string() && self.word(value.text(), PRESENCE_NAMES) == b"PRESENCE")
    }
}

/// The word that `inside` is when unescaped; empty if that is not one of `words`.
#[cold]
fn escaped_word(inside: &str, words: &[&'static str]) -> &'static [u8] {
    words.iter().find(|word| text::unescapes_to(inside, word)).map_or(b"", |word| word.as_bytes())
}

/// Adds `parse` and its siblings to a view that has `from_document`, and `owned_fields` for an
/// `OwnedMessage` of the action `$action`; `$errors` documents the message errors.
macro_rules! parse_methods {
    ($action:ty, $errors:literal) => {
        /// Validates a whole frame within [`Limits::default`](crate::Limits) and views it. Linear
        /// in its length; allocates nothing unless a header string has an escape.
        ///
        /// # Errors
        /// The frame is larger or deeper than the limits, not UTF-8, not a JSON document, or
        #[doc = $errors]
        #[inline(always)]
        pub fn parse(frame: &'a [u8]) -> Result<Self, ValidationError> {
            Self::parse_with(frame, ParseOptions::default())
        }

        /// [`parse`](Self::parse) with other [`Limits`](crate::Limits) or [`ParseOptions`].
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        #[inline(always)]
        pub fn parse_with(
            frame: &'a [u8],
            options: impl Into<ParseOptions>,
        ) -> Result<Self, ValidationError> {
            Self::parse_as(frame, None, &options.into())
        }

        /// [`parse`](Self::parse) for text that is known to be UTF-8, as WebSocket libraries return
        /// it: it is not checked again.
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        #[inline(always)]
        pub fn parse_str(frame: &'a str) -> Result<Self, ValidationError> {
            Self::parse_str_with(frame, ParseOptions::default())
        }

        /// [`parse_str`](Self::parse_str) with other [`Limits`](crate::Limits) or
        /// [`ParseOptions`].
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        #[inline(always)]
        pub fn parse_str_with(
            frame: &'a str,
            options: impl Into<ParseOptions>,
        ) -> Result<Self, ValidationError> {
            Self::parse_as(frame.as_bytes(), Some(frame), &options.into())
        }

        /// `text` is the same bytes if they are known to be UTF-8.
        #[inline(always)]
        fn parse_as(
            frame: &'a [u8],
            text: Option<&'a str>,
            options: &ParseOptions,
        ) -> Result<Self, ValidationError> {
            let mut found = Found::new(frame);
            match Document::scan(&mut found, text, options) {
                Ok(document) => Self::from_document(&document),
                Err(malformed) => Err(malformed.error(&options.limits)),
            }
        }

        /// A view that owns its frame; see [`OwnedMessage`].
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        pub fn parse_owned(
            frame: Bytes,
            options: impl Into<ParseOptions>,
        ) -> Result<OwnedMessage<$action>, ValidationError> {
            OwnedMessage::parse(frame, &options.into(), Self::owned_fields)
        }
    };
}
pub(super) use parse_methods;
