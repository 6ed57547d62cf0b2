//! Messages in their wire form, serialized once for all their recipients.
//!
//! - [`Frame`] is one immutable, reference-counted message that is ready to send; each constructor
//!   makes one of the protocol's messages.
//! - [`FrameRefs`] holds many references to a frame, counted in one atomic operation, for a loop
//!   over connections.
//! - [`Control`] is a WebSocket control frame: a close, a ping or a pong.
//!
//! A [`Room`](crate::Room) or an [`Outbox`](crate::Outbox) takes frames to connections; a server
//! with queues of its own writes [`Frame::wire`] to its sockets.
//!
//! # Implementation
//!
//! A frame is one allocation: a header with the reference count, then the bytes on the wire. Other
//! forms of the message hang off that header and are made on first use.

mod constructors;
mod control;
mod references;
mod shared;
mod swap;
mod transform;
mod variant;
mod wire_frame;

use std::fmt;

use bytes::Bytes;

pub use control::Control;
pub use references::FrameRefs;
use shared::Shared;
pub use wire_frame::Form;
pub(crate) use wire_frame::WireFrame;

#[cfg(feature = "deflate")]
use crate::deflate::DeflateOptions;
use crate::scan::text;

/// A message serialized once, for any number of recipients: the unmasked WebSocket text frame,
/// which contains the JSON document, in one allocation.
///
/// ```text
///   Frame ──► references │ lengths │ variants │ 81 7E 00 93 │ {"action":"BROADCAST",…}
///  (1 word)                                   └─ wire() ────┴─ json() ──────────────────┘
/// ```
///
/// It is one word; cloning it takes a reference and allocates nothing. Other forms of the same
/// message are made at most once, on first use, and live as long as the frame.
///
/// A server with queues of its own keeps a clone for each recipient (for very many:
/// [`references`](Self::references)) and writes [`wire`](Self::wire) to its socket. A library that wants owned bytes
/// gets [`wire_bytes`](Self::wire_bytes) or [`json_bytes`](Self::json_bytes).
///
/// # Which answer
///
/// | what happened | answer |
/// |---|---|
/// | the frame is no message: the parser refused it | [`invalid_message`](Self::invalid_message) |
/// | a message breaks a rule of your own that is known at compile time | [`invalid_message_as`](Self::invalid_message_as), with its request id |
/// | a payload is not what you decode, or breaks another rule | [`refuse`](Self::refuse) with its request id |
/// | a join | [`acknowledge`](Self::acknowledge), or [`unauthorized`](Self::unauthorized) if declined, for whatever reason |
/// | an event for a channel that does not exist, or was not joined | [`not_found`](Self::not_found) |
/// | a request that failed | [`error`](Self::error) |
///
/// ```
/// use pondwire::{ClientMessage, Frame};
///
/// let received = br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"r-1","event":"say","payload":{"text":"hi"}}"#;
/// let message = ClientMessage::parse(received)?;
/// let frame = Frame::broadcast(message.channel_name(), message.event(), "b-1", message.payload());
/// assert_eq!(
///     frame.as_str(),
///     r#"{"action":"BROADCAST","event":"say","channelName":"/chat/42","requestId":"b-1","payload":{"text":"hi"}}"#,
/// );
/// assert_eq!(frame.wire()[..2], [0x81, 103]);
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone)]
pub struct Frame {
    shared: Shared,
}

impl Frame {
    /// The whole unmasked WebSocket frame: a head of 2, 4 or 10 bytes and the document.
    #[must_use]
    #[inline]
    pub fn wire(&self) -> &[u8] {
        self.shared.wire()
    }

    /// The document alone: UTF-8 without a raw newline. A payload that was spliced in keeps its other whitespace.
    #[must_use]
    #[inline]
    pub fn json(&self) -> &[u8] {
        &self.shared.wire()[self.shared.head_len()..]
    }

    /// The document as text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        self.shared.document()
    }

    /// [`wire`](Self::wire) as [`Bytes`] that share the frame's memory. One small allocation, no
    /// copy; slices and clones of the result allocate nothing.
    #[must_use]
    pub fn wire_bytes(&self) -> Bytes {
        Bytes::from_owner(variant::Wire(self.shared.clone()))
    }

    /// [`json`](Self::json) as [`Bytes`] that share the frame's memory; costs as
    /// [`wire_bytes`](Self::wire_bytes).
    #[must_use]
    pub fn json_bytes(&self) -> Bytes {
        self.wire_bytes().slice(self.shared.head_len()..)
    }

    /// The message as a server-sent event: one `data:` line and an empty line, without an `event:`
    /// line, which would hide it from the JavaScript clients. Made by the first call, shared by all
    /// calls: one allocation and one copy in the frame's life.
    #[must_use]
    pub fn sse(&self) -> &[u8] {
        self.shared.variants().sse(self.json())
    }

    /// [`sse`](Self::sse) as [`Bytes`] that share the memory.
    #[must_use]
    pub fn sse_bytes(&self) -> Bytes {
        Bytes::from_owner(variant::Sse(self.clone()))
    }

    /// The whole unmasked WebSocket frame, compressed as permessage-deflate specifies (RFC 7692,
    /// section 7.2.1; RSV1 is set), for every connection that has agreed on
    /// [`PermessageDeflate`](crate::websocket::PermessageDeflate). `None` when compressing does not
    /// pay, or the document is too large for it: then send [`wire`](Self::wire), which such a
    /// connection accepts at any time.
    ///
    /// Made by the first call, with the default [`DeflateOptions`], and shared by all; `None` is
    /// remembered too. Concurrent calls wait for the first. It costs one allocation of its size in
    /// the frame's life, and some 300 KB of working memory for each thread that compresses.
    #[cfg(feature = "deflate")]
    #[must_use]
    #[inline]
    pub fn deflated(&self) -> Option<&[u8]> {
        self.deflated_with(DeflateOptions::default())
    }

    /// [`deflated`](Self::deflated) with other options. They belong to the frame, not to the
    /// recipient: the first call decides, all others get the same bytes. So use one setting in the
    /// whole server, or call this where the frame is made and `deflated` everywhere else.
    #[cfg(feature = "deflate")]
    #[must_use]
    #[inline]
    pub fn deflated_with(&self, options: DeflateOptions) -> Option<&[u8]> {
        self.shared.variants().deflated(self.json(), options)
    }

    /// [`deflated`](Self::deflated) as [`Bytes`] that share the memory.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflated_bytes(&self) -> Option<Bytes> {
        self.deflated().map(|_| Bytes::from_owner(variant::Deflated(self.clone())))
    }

    /// The most bytes that all its forms take together, whether they have been made or not.
    #[cfg(feature = "cache")]
    #[inline]
    pub(crate) fn most_bytes(&self) -> usize {
        let (wire, json) = (self.wire().len(), self.json().len());
        wire + variant::most_bytes(wire, json)
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    /// The first 256 bytes or so, and the length when there are more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 256;
        let json = self.as_str();
        if json.len() <= SHOWN {
            return f.debug_tuple("Frame").field(&format_args!("{json}")).finish();
        }
        let shown = text::excerpt(json, SHOWN);
        let text = format_args!("{shown}… ({} bytes)", json.len());
        f.debug_tuple("Frame").field(&text).finish()
    }
}
