//! Messages that are sent back as they came, for WebSocket conformance suites (`--echo`).

use std::mem;

use bytes::Bytes;

use crate::websocket_reader::{Fault, Kind};

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
    pub(crate) fn add(&mut self, message: &[u8], kind: Kind) -> Result<(), Fault> {
        if kind.is_text && std::str::from_utf8(message).is_err() {
            return Err(Fault::NotUtf8);
        }
        let frames = &mut self.frames;
        frames.push(if kind.is_text { 0x81 } else { 0x82 });
        match message.len() {
            len @ 0..126 => frames.push(len as u8),
            len @ 126..0x1_0000 => {
                frames.push(126);
                frames.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                frames.push(127);
                frames.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        frames.extend_from_slice(message);
        Ok(())
    }

    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let frames = mem::take(&mut self.frames);
        (!frames.is_empty()).then(|| frames.into())
    }
}
