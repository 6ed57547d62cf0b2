//! The five fields of a message: found in the frame, checked in the order that errors name them.

use crate::error::{Detail, Field, ValidationError};
use crate::limits::ParseOptions;
use crate::scan::{self, JsonType, Span, Text, text};

/// A frame that is one JSON document within the limits, and where in it the fields are.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    root: Span,
    action: Option<Span>,
    event: Option<Span>,
    channel_name: Option<Span>,
    request_id: Option<Span>,
    payload: Option<Span>,
    default_payload: bool,
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
    #[inline]
    pub(super) fn scan(
        frame: &'a [u8],
        text: Option<&'a str>,
        options: &ParseOptions,
    ) -> Result<Self, ValidationError> {
        options.limits.check_size(frame.len())?;
        let (mut action, mut event, mut channel_name) = (None, None, None);
        let (mut request_id, mut payload) = (None, None);
        let (text, root) = scan::document(frame, text, options.limits.max_depth, |key, value| {
            let field = match field_name(frame, key) {
                b"action" => &mut action,
                b"event" => &mut event,
                b"channelName" => &mut channel_name,
                b"requestId" => &mut request_id,
                b"payload" => &mut payload,
                _ => return,
            };
            *field = Some(value);
        })
        .map_err(|malformed| ValidationError::wire(malformed.detail, malformed.at))?;
        let default_payload = options.default_payload;
        Ok(Self { text, root, action, event, channel_name, request_id, payload, default_payload })
    }

    fn json_type(&self, value: Span) -> JsonType {
        JsonType::of(self.text.as_bytes()[value.start])
    }

    /// The root must be an object; `name` is the message's name in errors.
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

    pub(super) fn event(&self) -> Result<Text, ValidationError> {
        self.string("event", self.event)
    }

    pub(super) fn channel_name(&self) -> Result<Text, ValidationError> {
        self.string("channelName", self.channel_name)
    }

    pub(super) fn request_id(&self) -> Result<Text, ValidationError> {
        self.string("requestId", self.request_id)
    }

    /// `payload` must be an object; `None` when it is missing and may be.
    pub(super) fn payload(&self) -> Result<Option<Span>, ValidationError> {
        if self.payload.is_none() && self.default_payload {
            return Ok(None);
        }
        self.required_payload().map(Some)
    }

    /// `payload` must be there and an object.
    pub(super) fn required_payload(&self) -> Result<Span, ValidationError> {
        let value = self.require("payload", self.payload)?;
        if self.json_type(value) == JsonType::Object {
            return Ok(value);
        }
        let field = Field::Named("payload");
        Err(ValidationError::new(field, Detail::ExpectedObject, value.start))
    }

    /// `action` must be one of `allowed`, whose wire strings are `names`.
    pub(super) fn action<A: Copy>(
        &self,
        allowed: &[A],
        names: &'static [&'static str],
    ) -> Result<A, ValidationError> {
        self.one_of("action", self.action, allowed, names)
    }

    /// `event` must be one of `allowed`, whose wire strings are `names`; returns its text too.
    pub(super) fn event_of<A: Copy>(
        &self,
        allowed: &[A],
        names: &'static [&'static str],
    ) -> Result<(A, Text), ValidationError> {
        let event = self.one_of("event", self.event, allowed, names)?;
        Ok((event, self.event()?))
    }

    fn one_of<A: Copy>(
        &self,
        field: &'static str,
        value: Option<Span>,
        allowed: &[A],
        names: &'static [&'static str],
    ) -> Result<A, ValidationError> {
        let value = self.require(field, value)?;
        let position = match self.json_type(value) {
            JsonType::String => names.iter().position(|name| self.is_text(value.text(), name)),
            _ => None,
        };
        position.map(|i| allowed[i]).ok_or_else(|| {
            let detail = Detail::ExpectedOneOf(names);
            ValidationError::new(Field::Named(field), detail, value.start)
        })
    }

    fn is_text(&self, text: Text, expected: &str) -> bool {
        let inside = &self.text[text.start..text.end];
        if text.escaped { text::unescapes_to(inside, expected) } else { inside == expected }
    }

    /// Whether there is an `action`, and whether it is `PRESENCE`.
    pub(super) fn is_presence(&self) -> Result<bool, ValidationError> {
        let value = self.require("action", self.action)?;
        Ok(self.json_type(value) == JsonType::String && self.is_text(value.text(), "PRESENCE"))
    }
}

/// The field that a key names, also when it is written with escapes; any other text for a key
/// that names none.
#[inline]
fn field_name(frame: &[u8], key: Text) -> &[u8] {
    let inside = &frame[key.start..key.end];
    if key.escaped { escaped_field_name(inside) } else { inside }
}

#[cold]
fn escaped_field_name(inside: &[u8]) -> &'static [u8] {
    const NAMES: [&str; 5] = ["action", "event", "channelName", "requestId", "payload"];
    let inside = std::str::from_utf8(inside).unwrap_or_default();
    NAMES.into_iter().find(|name| text::unescapes_to(inside, name)).unwrap_or("").as_bytes()
}
