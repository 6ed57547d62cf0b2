//! The five fields of a message: found in the frame, checked in the order that errors name them.

use crate::error::{Detail, Field, ValidationError};
use crate::limits::ParseOptions;
use crate::protocol::ServerAction;
use crate::scan::{self, JsonType, Span, Text, text};

/// The one action of a presence message.
pub(super) const PRESENCE_NAMES: &[&str] = &[ServerAction::Presence.as_str()];

/// A frame that is one JSON document within the limits, and where in it the fields are.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    root: Span,
    found: Found<'a>,
    default_payload: bool,
}

/// The values of the five keys as they are met; the last of each counts.
struct Found<'a> {
    frame: &'a [u8],
    action: Option<Span>,
    event: Option<Span>,
    channel_name: Option<Span>,
    request_id: Option<Span>,
    payload: Option<Span>,
}

impl scan::Members for Found<'_> {
    #[inline(always)]
    fn member(&mut self, key: Text, value: Span) {
        let inside = &self.frame[key.start..key.end];
        let name = if key.escaped { escaped_field_name(inside) } else { inside };
        let field = match name {
            b"action" => &mut self.action,
            b"event" => &mut self.event,
            b"channelName" => &mut self.channel_name,
            b"requestId" => &mut self.request_id,
            b"payload" => &mut self.payload,
            _ => return,
        };
        *field = Some(value);
    }
}

/// Where the fields of a valid message are.
#[derive(Clone, Copy)]
pub(super) struct Fields<A> {
    pub(super) action: A,
    pub(super) event: Text,
    pub(super) channel_name: Text,
    pub(super) request_id: Text,
    /// Absent only when a missing payload may be read as `{}`.
    pub(super) payload: Option<Span>,
}

impl<'a> Document<'a> {
    /// `text` is the frame once more when it is known to be UTF-8.
    #[inline(always)]
    pub(super) fn scan(
        frame: &'a [u8],
        text: Option<&'a str>,
        options: &ParseOptions,
    ) -> Result<Self, ValidationError> {
        options.limits.check_size(frame.len())?;
        let (action, event, channel_name) = (None, None, None);
        let (request_id, payload) = (None, None);
        let mut found = Found { frame, action, event, channel_name, request_id, payload };
        let (text, root) = scan::document(frame, text, options.limits.max_depth, &mut found)
            .map_err(|malformed| ValidationError::wire(malformed.detail, malformed.at))?;
        Ok(Self { text, root, found, default_payload: options.default_payload })
    }

    #[inline(always)]
    fn json_type(&self, value: Span) -> JsonType {
        JsonType::of(self.text.as_bytes()[value.start])
    }

    /// The root must be an object; `name` is the message's name in errors.
    #[inline(always)]
    pub(super) fn check_root(&self, name: &'static str) -> Result<(), ValidationError> {
        if self.json_type(self.root) == JsonType::Object {
            return Ok(());
        }
        Err(ValidationError::new(Field::Named(name), Detail::ExpectedObject, self.root.start))
    }

    fn require(&self, name: &'static str, field: Option<Span>) -> Result<Span, ValidationError> {
        field.ok_or_else(|| {
            ValidationError::new(Field::Named(name), Detail::Missing, self.root.start)
        })
    }

    /// A field that must be a string that Rust can hold.
    #[inline(always)]
    fn string(&self, name: &'static str, field: Option<Span>) -> Result<Text, ValidationError> {
        let value = self.require(name, field)?;
        let error = |detail| Err(ValidationError::new(Field::Named(name), detail, value.start));
        if self.json_type(value) != JsonType::String {
            return error(Detail::ExpectedString);
        }
        let text = value.text();
        if text.escaped && text::has_lone_surrogate(&self.text[text.start..text.end]) {
            return error(Detail::ExpectedUnicode);
        }
        Ok(text)
    }

    #[inline(always)]
    pub(super) fn event(&self) -> Result<Text, ValidationError> {
        self.string("event", self.found.event)
    }

    #[inline(always)]
    pub(super) fn channel_name(&self) -> Result<Text, ValidationError> {
        self.string("channelName", self.found.channel_name)
    }

    #[inline(always)]
    pub(super) fn request_id(&self) -> Result<Text, ValidationError> {
        self.string("requestId", self.found.request_id)
    }

    /// `payload` must be an object; `None` when it is missing and may be.
    #[inline(always)]
    pub(super) fn payload(&self) -> Result<Option<Span>, ValidationError> {
        if self.found.payload.is_none() && self.default_payload {
            return Ok(None);
        }
        self.required_payload().map(Some)
    }

    /// `payload` must be there and an object.
    #[inline(always)]
    pub(super) fn required_payload(&self) -> Result<Span, ValidationError> {
        let value = self.require("payload", self.found.payload)?;
        if self.json_type(value) == JsonType::Object {
            return Ok(value);
        }
        let field = Field::Named("payload");
        Err(ValidationError::new(field, Detail::ExpectedObject, value.start))
    }

    /// `action` must be a word that `read` knows; `names` are those.
    #[inline(always)]
    pub(super) fn action<A>(
        &self,
        read: impl Fn(&[u8]) -> Option<A>,
        names: &'static [&'static str],
    ) -> Result<A, ValidationError> {
        self.one_of("action", self.found.action, read, names)
    }

    /// `event` must be a word that `read` knows; `names` are those. Returns its text too.
    pub(super) fn event_of<A>(
        &self,
        read: impl Fn(&[u8]) -> Option<A>,
        names: &'static [&'static str],
    ) -> Result<(A, Text), ValidationError> {
        let event = self.one_of("event", self.found.event, read, names)?;
        Ok((event, self.event()?))
    }

    #[inline(always)]
    fn one_of<A>(
        &self,
        field: &'static str,
        value: Option<Span>,
        read: impl Fn(&[u8]) -> Option<A>,
        names: &'static [&'static str],
    ) -> Result<A, ValidationError> {
        let value = self.require(field, value)?;
        let word = match self.json_type(value) {
            JsonType::String => read(self.word(value.text(), names)),
            _ => None,
        };
        word.ok_or_else(|| {
            let detail = Detail::ExpectedOneOf(names);
            ValidationError::new(Field::Named(field), detail, value.start)
        })
    }

    /// What a string of the vocabulary writes; anything else for one that is none of `names`.
    #[inline(always)]
    fn word(&self, text: Text, names: &'static [&'static str]) -> &[u8] {
        let inside = &self.text[text.start..text.end];
        if text.escaped { escaped_word(inside, names) } else { inside.as_bytes() }
    }

    /// Whether there is an `action`, and whether it is `PRESENCE`.
    pub(super) fn is_presence(&self) -> Result<bool, ValidationError> {
        let value = self.require("action", self.found.action)?;
        Ok(self.json_type(value) == JsonType::String
            && self.word(value.text(), PRESENCE_NAMES) == b"PRESENCE")
    }
}

/// The word that is written with escapes; nothing for one that is none of `words`.
#[cold]
fn escaped_word(inside: &str, words: &[&'static str]) -> &'static [u8] {
    words.iter().find(|word| text::unescapes_to(inside, word)).map_or(b"", |word| word.as_bytes())
}

/// The field that a key written with escapes names; nothing for one that names none.
#[cold]
fn escaped_field_name(inside: &[u8]) -> &'static [u8] {
    const NAMES: [&str; 5] = ["action", "event", "channelName", "requestId", "payload"];
    escaped_word(std::str::from_utf8(inside).unwrap_or_default(), &NAMES)
}
