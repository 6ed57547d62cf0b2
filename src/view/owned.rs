//! A message that owns its frame, for another task or later use.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::document::{Document, Fields};
use crate::error::{Detail, ValidationError};
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::ClientAction;
use crate::scan::{Span, Text, text};

/// A validated message and its frame: `'static`, `Send`, and cheap to clone.
///
/// It shares the memory of the [`Bytes`] it was parsed from, which may be a much larger read
/// buffer; [`detach`](Self::detach) releases that. Made by `parse_owned` of the views; `A` is the
/// action, [`ClientAction`] or [`ServerAction`](crate::ServerAction). It cannot be changed; the
/// types of [`message`](crate::message) can.
///
/// ```
/// use bytes::Bytes;
/// use pondwire::{ClientMessage, Limits};
///
/// let frame = Bytes::from_static(br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"r-1","event":"say","payload":{"text":"hi"}}"#);
/// let message = ClientMessage::parse_owned(frame, Limits::default())?.detach();
/// let worker = std::thread::spawn(move || message.payload().get("text").unwrap().as_str().unwrap().into_owned());
/// assert_eq!(worker.join().unwrap(), "hi");
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone)]
pub struct OwnedMessage<A = ClientAction> {
    text: ByteString,
    action: A,
    event: OwnedText,
    channel_name: OwnedText,
    request_id: OwnedText,
    payload: Option<Span>,
}

/// A header string: its place in the frame, or the unescaped text.
#[derive(Clone)]
enum OwnedText {
    Plain(Text),
    Unescaped(Arc<str>),
}

impl OwnedText {
    fn new(frame: &str, field: Text) -> Self {
        if field.escaped {
            let inside = &frame[field.start..field.end];
            Self::Unescaped(text::unescape_lossy(inside, true).into())
        } else {
            Self::Plain(field)
        }
    }

    fn get<'a>(&'a self, frame: &'a str) -> &'a str {
        match self {
            Self::Plain(field) => &frame[field.start..field.end],
            Self::Unescaped(text) => text,
        }
    }
}

impl<A: Copy> OwnedMessage<A> {
    pub(super) fn parse(
        frame: Bytes,
        options: &ParseOptions,
        fields: impl FnOnce(&Document<'_>) -> Result<Fields<A>, ValidationError>,
    ) -> Result<Self, ValidationError> {
        options.limits.check_size(frame.len())?;
        let text = ByteString::try_from(frame)
            .map_err(|error| ValidationError::wire(Detail::Utf8, error.valid_up_to()))?;
        let found = fields(&Document::scan(text.as_bytes(), Some(&text), options)?)?;
        Ok(Self {
            action: found.action,
            event: OwnedText::new(&text, found.event),
            channel_name: OwnedText::new(&text, found.channel_name),
            request_id: OwnedText::new(&text, found.request_id),
            payload: found.payload,
            text,
        })
    }

    /// The action.
    #[must_use]
    pub const fn action(&self) -> A {
        self.action
    }

    /// The name of the event; may be empty.
    #[must_use]
    pub fn event(&self) -> &str {
        self.event.get(&self.text)
    }

    /// The channel that the message belongs to; may be empty.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        self.channel_name.get(&self.text)
    }

    /// The id that a reply repeats; may be empty.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.request_id.get(&self.text)
    }

    /// The payload, validated and not decoded. Borrows this message.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        self.payload.map_or(Payload::EMPTY, |span| Payload::from_span(&self.text, span))
    }

    /// The whole frame as it was received; shares the memory.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// The same message in its own memory, of exactly the frame's size, so that a larger read
    /// buffer can be reused. One allocation and one copy of the frame.
    #[must_use]
    pub fn detach(self) -> Self {
        Self { text: ByteString::from(&*self.text), ..self }
    }
}

impl<A: Copy + PartialEq> PartialEq for OwnedMessage<A> {
    /// Compares the five fields, the payload by its text.
    fn eq(&self, other: &Self) -> bool {
        self.action == other.action
            && self.event() == other.event()
            && self.channel_name() == other.channel_name()
            && self.request_id() == other.request_id()
            && self.payload() == other.payload()
    }
}

impl<A: Copy + Eq> Eq for OwnedMessage<A> {}

impl<A: Copy + fmt::Debug> fmt::Debug for OwnedMessage<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedMessage")
            .field("action", &self.action)
            .field("event", &self.event())
            .field("channel_name", &self.channel_name())
            .field("request_id", &self.request_id())
            .field("payload", &self.payload())
            .finish()
    }
}
