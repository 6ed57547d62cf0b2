//! Messages that are sent back as they came, for WebSocket conformance suites (`--echo`).

use std::mem;

use bytes::Bytes;
use pondwire::websocket::{Head, MessageKind, Opcode, ReadError};

/// Whole frames that are to be written, before anything else is read.
#[derive(Default)]
pub(crate) struct Echo {
    frames: Vec<u8>,
}

impl Echo {
    /// Answers a message with itself. It goes without compression, which is always allowed: what is
    /// compressed here otherwise is frames that are shared.
    ///
    /// # Errors
    /// It is text, and not UTF-8.
    pub(crate) fn add(&mut self, message: &[u8], kind: MessageKind) -> Result<(), ReadError> {
        if kind.is_text && std::str::from_utf8(message).is_err() {
            return Err(ReadError::NotUtf8);
        }
        let frames = &mut self.frames;
        let opcode = if kind.is_text { Opcode::Text } else { Opcode::Binary };
        frames.extend_from_slice(Head::new(opcode, message.len()).as_bytes());
        frames.extend_from_slice(message);
        Ok(())
    }

    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let frames = mem::take(&mut self.frames);
        (!frames.is_empty()).then(|| frames.into())
    }
}
