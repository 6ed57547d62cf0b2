//! What may be written to a socket as it is, whatever it means.

use super::shared::{Lent, Shared};
use super::{Control, Frame};
#[cfg(feature = "deflate")]
use crate::deflate::DeflateOptions;
use crate::websocket::Opcode;

/// A message or a control frame as wire bytes; one word, as they are.
pub(crate) struct Prepared {
    pub(super) shared: Shared,
}

/// What a message is written as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Wire,
    Sse,
    #[cfg(feature = "deflate")]
    Deflated,
}

impl Prepared {
    #[inline]
    pub(crate) fn wire(&self) -> &[u8] {
        self.shared.wire()
    }

    /// Whether it is a message: a control frame has no other form.
    #[inline]
    pub(crate) fn is_message(&self) -> bool {
        self.wire()[0] & 0x0F == Opcode::Text.bits()
    }

    /// The bytes in that form, which are made now if nobody has asked for them yet; those on the
    /// wire where there is no such form.
    #[inline]
    pub(crate) fn bytes(&self, form: Form) -> &[u8] {
        match form {
            Form::Wire => self.wire(),
            _ if !self.is_message() => self.wire(),
            Form::Sse => self.shared.variants().sse(self.shared.document().as_bytes()),
            #[cfg(feature = "deflate")]
            Form::Deflated => {
                let document = self.shared.document().as_bytes();
                let deflated = self.shared.variants().deflated(document, DeflateOptions::default());
                deflated.unwrap_or_else(|| self.wire())
            }
        }
    }

    #[inline]
    pub(super) fn from_lent(lent: &mut Lent<'_>) -> Self {
        Self { shared: lent.one() }
    }
}

impl From<Frame> for Prepared {
    #[inline]
    fn from(frame: Frame) -> Self {
        Self { shared: frame.shared }
    }
}

impl From<Control> for Prepared {
    fn from(control: Control) -> Self {
        Self { shared: control.shared }
    }
}
