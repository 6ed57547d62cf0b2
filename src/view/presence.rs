//! The presence message, whose payload has a fixed shape.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::document::{Document, Found, Kind, PRESENCE_NAMES, Refusal, parse_methods};
use super::fields::{Fields, Places};
use super::owned::OwnedMessage;
use crate::error::{Detail, Field, ValidationError};
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::{PresenceEvent, ServerAction};
use crate::scan::skip::Items;
use crate::scan::{JsonType, Span, text};

/// A change of a channel's presence: the presence of all users in it, and the one that changed.
///
/// ```
/// use pondwire::{PresenceEvent, PresenceMessage};
///
/// let frame = br#"{"action":"PRESENCE","event":"JOIN","channelName":"/chat/42","requestId":"r-1","payload":{"presence":[{"id":"u1"}],"changed":{"id":"u1"}}}"#;
/// let message = PresenceMessage::parse(frame)?;
/// assert_eq!(message.event(), PresenceEvent::Join);
/// assert_eq!(message.presence().next().unwrap().as_str(), r#"{"id":"u1"}"#);
/// assert_eq!(message.changed().get("id").unwrap().as_str().unwrap(), "u1");
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone)]
pub struct PresenceMessage<'a> {
    frame: &'a str,
    fields: PresenceFields,
}

const PRESENCE: Kind = Kind { name: "presenceMessage", actions: PRESENCE_NAMES };

fn presence_action(word: &[u8]) -> Option<ServerAction> {
    ServerAction::from_bytes(word).filter(|action| *action == ServerAction::Presence)
}

/// The fields of a valid presence message.
#[derive(Clone)]
pub(super) struct PresenceFields {
    pub(super) fields: Fields<ServerAction>,
    event: PresenceEvent,
    /// The two members of the payload.
    shape: Shape,
}

/// The list of all users' presence, and the one that changed.
#[derive(Clone, Copy)]
struct Shape {
    presence: Span,
    changed: Span,
}

impl<'a> PresenceMessage<'a> {
    parse_methods!(
        ServerAction,
        "not a presence message: the first failing field in the order `requestId`, `channelName`, \
         `event`, `action`, `payload`, `payload.presence`, its items, `payload.changed`. A missing \
         payload is an error here in any case."
    );

    fn from_document(document: &Document<'a, '_>) -> Result<Self, ValidationError> {
        Ok(Self::new(document.text, Self::fields(document)?))
    }

    fn owned_fields(document: &Document<'_, '_>) -> Result<Fields<ServerAction>, ValidationError> {
        Ok(Self::fields(document)?.fields)
    }

    #[inline(always)]
    pub(super) fn fields(document: &Document<'_, '_>) -> Result<PresenceFields, ValidationError> {
        match Self::usual_fields(document) {
            Some(fields) => Ok(fields),
            None => Self::unusual_fields(document),
        }
    }

    /// The fields of a message without escapes in its header whose payload's ends are known: nearly all messages.
    #[inline(always)]
    fn usual_fields(document: &Document<'_, '_>) -> Option<PresenceFields> {
        let fields = document.usual(presence_action)?;
        let event = PresenceEvent::from_bytes(fields.event(document.text).as_bytes())?;
        let shape = usual_shape(document, fields.payload?)?;
        Some(PresenceFields { fields, event, shape })
    }

    #[inline(never)]
    fn unusual_fields(document: &Document<'_, '_>) -> Result<PresenceFields, ValidationError> {
        let (places, event, payload) =
            Self::places(document).map_err(|refusal| document.error(refusal, &PRESENCE))?;
        let shape = payload_shape(document, payload)?;
        let fields = Fields::new(document.text, ServerAction::Presence, places);
        Ok(PresenceFields { fields, event, shape })
    }

    /// The places of the fields, the kind of change and the payload.
    fn places(document: &Document<'_, '_>) -> Result<(Places, PresenceEvent, Span), Refusal> {
        document.check_root()?;
        let request_id = document.request_id()?;
        let channel_name = document.channel_name()?;
        let (kind, event) = document.presence_event()?;
        document.action(presence_action, PRESENCE.actions)?;
        let payload = document.required_payload()?;
        let places = Places { event, channel_name, request_id, payload: Some(payload) };
        Ok((places, kind, payload))
    }

    pub(super) const fn new(frame: &'a str, fields: PresenceFields) -> Self {
        Self { frame, fields }
    }

    /// Always [`ServerAction::Presence`].
    #[must_use]
    pub const fn action(&self) -> ServerAction {
        ServerAction::Presence
    }

    /// The kind of change.
    #[must_use]
    pub const fn event(&self) -> PresenceEvent {
        self.fields.event
    }

    /// The channel that the message belongs to; may be empty.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        self.fields.fields.channel_name(self.frame)
    }

    /// The message's id; may be empty.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.fields.fields.request_id(self.frame)
    }

    /// The whole payload, validated and not decoded.
    #[must_use]
    pub fn payload(&self) -> Payload<'a> {
        self.fields.fields.payload(self.frame)
    }

    /// The presence of all users in the channel now, in the server's order. Each is found by
    /// skipping the ones before.
    pub fn presence(&self) -> impl Iterator<Item = Payload<'a>> + use<'a> {
        let (frame, list) = (self.frame, self.fields.shape.presence);
        Items::new(&frame.as_bytes()[list.range()]).map(move |(_, from, to)| {
            let (from, to) = (list.start() + from, list.start() + to);
            Payload::from_span(frame, Span::other(from, to, list.has_newlines(), false))
        })
    }

    /// The presence that changed: the new value, or the departed user's last value.
    #[must_use]
    pub fn changed(&self) -> Payload<'a> {
        Payload::from_span(self.frame, self.fields.shape.changed)
    }
}

impl PartialEq for PresenceMessage<'_> {
    /// Compares the five fields, the payload by its text.
    fn eq(&self, other: &Self) -> bool {
        self.fields.fields.equals(self.frame, &other.fields.fields, other.frame)
    }
}

impl Eq for PresenceMessage<'_> {}

impl fmt::Debug for PresenceMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.fields.debug(self.frame, "PresenceMessage", f)
    }
}

/// The two members of a payload that is `{"presence":[…],"changed":{…}}`, if the scan kept where both end
/// and found no element that is not an object.
#[inline(always)]
fn usual_shape(document: &Document<'_, '_>, payload: Span) -> Option<Shape> {
    let rest = |at| document.text.as_bytes().get(at..).unwrap_or_default();
    let (list, object) = (br#"{"presence":["#, br#","changed":{"#);
    if payload.is_mixed() || !rest(payload.start()).starts_with(list) {
        return None;
    }
    let list_start = payload.start() + list.len() - 1;
    let list_end = document.inner_end(payload, list_start)?;
    if !rest(list_end).starts_with(object) {
        return None;
    }
    let object_start = list_end + object.len() - 1;
    let object_end = document.inner_end(payload, object_start)?;
    (object_end + 1 == payload.range().end).then(|| Shape {
        presence: member(payload, list_start, list_end),
        changed: member(payload, object_start, object_end),
    })
}

/// The span of a container in `payload`.
fn member(payload: Span, start: usize, end: usize) -> Span {
    Span::other(start, end, payload.has_newlines(), false)
}

/// Finds `presence`, a list of objects, and `changed`, an object, in the payload's `span`.
fn payload_shape(document: &Document<'_, '_>, span: Span) -> Result<Shape, ValidationError> {
    let frame = document.text;
    let json = &frame.as_bytes()[span.range()];
    let (mut presence, mut changed) = (None, None);
    let mut items = Items::new(json);
    let end_of = |start| Some(document.inner_end(span, span.start() + start)? - span.start());
    while let Some((key, start, end)) = items.next_by(end_of) {
        let Some(key) = key else { continue };
        let inside = &frame[span.start() + key.start..span.start() + key.end];
        let is = |name: &str| match key.escaped {
            true => text::unescapes_to(inside, name),
            false => inside == name,
        };
        if is("presence") {
            presence = Some(start..end);
        } else if is("changed") {
            changed = Some(start..end);
        }
    }
    let require = |path, found: Option<Range<usize>>, wanted, detail| {
        let field = Field::Named(path);
        let missing = || ValidationError::at(field, Detail::Missing, span.start());
        let found = found.ok_or_else(missing)?;
        match JsonType::of(json[found.start]) == wanted {
            true => Ok(found),
            false => Err(ValidationError::at(field, detail, span.start() + found.start)),
        }
    };
    let presence = require("payload.presence", presence, JsonType::Array, Detail::ExpectedArray)?;
    // Usually the scan has found already that all entries are objects.
    let unsure = if span.is_mixed() { &json[presence.clone()] } else { b"" };
    for (index, (_, start, _)) in Items::new(unsure).enumerate() {
        let start = presence.start + start;
        if json[start] != b'{' {
            let field = Field::Item("payload.presence", index);
            let offset = span.start() + start;
            return Err(ValidationError::at(field, Detail::ExpectedObject, offset));
        }
    }
    let changed = require("payload.changed", changed, JsonType::Object, Detail::ExpectedObject)?;
    let place =
        |item: Range<usize>| member(span, span.start() + item.start, span.start() + item.end);
    Ok(Shape { presence: place(presence), changed: place(changed) })
}
