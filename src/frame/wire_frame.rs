//! A message or a control frame: bytes that are ready to be written to a socket.

use bytes::Bytes;

use super::shared::{Lent, Shared};
use super::{Control, Frame, variant};
#[cfg(feature = "deflate")]
use crate::deflate::DeflateOptions;
use crate::websocket::Opcode;

/// A message or a control frame as wire bytes. It is one word, as each of them is.
#[derive(Clone)]
pub(crate) struct WireFrame {
    pub(super) shared: Shared,
}

/// The form in which a connection is sent messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// WebSocket text frames: [`Frame::wire`].
    WebSocket,
    /// Server-sent events: [`Frame::sse`].
    Sse,
    /// WebSocket frames, compressed where that pays: [`Frame::deflated`].
    #[cfg(feature = "deflate")]
    Deflated,
}

impl WireFrame {
    #[inline]
    pub(crate) fn wire(&self) -> &[u8] {
        self.shared.wire()
    }

    /// Whether it is a message: a control frame has no other form.
    #[inline]
    pub(crate) fn is_message(&self) -> bool {
        self.wire()[0] & 0x0F == Opcode::Text.bits()
    }

    /// The bytes in that form, made now if this is the first request for it; the plain wire bytes
    /// if the frame has no such form.
    #[inline]
    pub(crate) fn bytes(&self, form: Form) -> &[u8] {
        match form {
            Form::WebSocket => self.wire(),
            Form::Sse if !self.is_message() => self.comment(),
            #[cfg(feature = "deflate")]
            Form::Deflated if !self.is_message() => self.wire(),
            Form::Sse => self.shared.variants().sse(self.shared.document().as_bytes()),
            #[cfg(feature = "deflate")]
            Form::Deflated => {
                let document = self.shared.document().as_bytes();
                let deflated = self.shared.variants().deflated(document, DeflateOptions::default());
                deflated.unwrap_or_else(|| self.wire())
            }
        }
    }

    /// A control frame for an event stream: a ping as a comment, which clients ignore and proxies take for
    /// traffic; nothing for others.
    fn comment(&self) -> &'static [u8] {
        if self.wire()[0] & 0x0F == Opcode::Ping.bits() { b": keepalive\n\n" } else { b"" }
    }

    /// [`bytes`](Self::bytes) as [`Bytes`] that share the memory: one small allocation, no copy.
    pub(crate) fn shared_bytes(&self, form: Form) -> Bytes {
        let frame = Self { shared: self.shared.clone() };
        match (frame.into_message(), form) {
            (Ok(frame), Form::Sse) => Bytes::from_owner(variant::Sse(frame)),
            #[cfg(feature = "deflate")]
            (Ok(frame), Form::Deflated) if frame.deflated().is_some() => {
                Bytes::from_owner(variant::Deflated(frame))
            }
            (Ok(Frame { shared }) | Err(Control { shared }), _) => {
                Bytes::from_owner(variant::Wire(shared))
            }
        }
    }

    /// The document of a message, `None` for a control frame.
    pub(crate) fn text(&self) -> Option<&str> {
        self.is_message().then(|| self.shared.document())
    }

    /// The message, or the control frame that it is instead.
    pub(crate) fn into_message(self) -> Result<Frame, Control> {
        if self.is_message() {
            Ok(Frame { shared: self.shared })
        } else {
            Err(Control { shared: self.shared })
        }
    }

    #[inline]
    pub(super) fn from_lent(lent: &mut Lent<'_>) -> Self {
        Self { shared: lent.one() }
    }
}

impl From<Frame> for WireFrame {
    #[inline]
    fn from(frame: Frame) -> Self {
        Self { shared: frame.shared }
    }
}

impl From<Control> for WireFrame {
    fn from(control: Control) -> Self {
        Self { shared: control.shared }
    }
}
