//! A message that owns its frame, for another task or later use.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::document::{Document, Found};
use super::fields::Fields;
use crate::error::{Detail, ValidationError};
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::ClientAction;

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
    fields: Fields<A>,
}

impl<A: Copy> OwnedMessage<A> {
    pub(super) fn parse(
        frame: Bytes,
        options: &ParseOptions,
        fields: impl FnOnce(&Document<'_, '_>) -> Result<Fields<A>, ValidationError>,
    ) -> Result<Self, ValidationError> {
        options.limits.check_size(frame.len())?;
        let text = ByteString::try_from(frame)
            .map_err(|error| ValidationError::wire(Detail::Utf8, error.valid_up_to()))?;
        let mut found = Found::new(text.as_bytes());
        let document = Document::scan(&mut found, Some(&text), options)
            .map_err(|malformed| malformed.error(&options.limits))?;
        let fields = fields(&document)?;
        Ok(Self { text, fields })
    }

    /// The action.
    #[must_use]
    pub const fn action(&self) -> A {
        self.fields.action
    }

    /// The name of the event; may be empty.
    #[must_use]
    pub fn event(&self) -> &str {
        self.fields.event(&self.text)
    }

    /// The channel that the message belongs to; may be empty.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        self.fields.channel_name(&self.text)
    }

    /// The id that a reply repeats; may be empty.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.fields.request_id(&self.text)
    }

    /// The payload, validated and not decoded. Borrows this message.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        self.fields.payload(&self.text)
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
        self.fields.equals(&self.text, &other.fields, &other.text)
    }
}

impl<A: Copy + Eq> Eq for OwnedMessage<A> {}

impl<A: Copy + fmt::Debug> fmt::Debug for OwnedMessage<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.debug(&self.text, "OwnedMessage", f)
    }
}
