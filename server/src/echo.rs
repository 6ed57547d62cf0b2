//! Echoes messages unchanged, for WebSocket conformance suites (`--echo`).

use std::mem;

use bytes::Bytes;
use pondwire::frame::Control;
use pondwire::websocket::{Head, MessageKind, Opcode, ReadError};

/// Whole frames that must be written before anything else is read.
#[derive(Default)]
pub(crate) struct Echo {
    frames: Vec<u8>,
}

impl Echo {
    /// Answers a message with itself, uncompressed, which is always allowed. The server otherwise
    /// compresses only shared frames.
    ///
    /// # Errors
    /// It is a text message that is not UTF-8.
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

    pub(crate) fn add_control(&mut self, control: &Control) {
        self.frames.extend_from_slice(control.wire());
    }

    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let frames = mem::take(&mut self.frames);
        (!frames.is_empty()).then(|| frames.into())
    }
}
