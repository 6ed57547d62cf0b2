//! Serializes messages: every length is known before the first byte is written, so that one
//! allocation of the exact size holds the whole message. Parts whose length only writing them tells, typed payloads and
//! strings with something to escape, are written into memory that the thread keeps first.

mod envelope;
mod escape;
mod scratch;
mod typed;

pub(crate) use envelope::{
    Envelope, presence_len, presence_list_len, put_presence, put_presence_list,
};
pub(crate) use escape::{append_escaped, is_plain};
pub(crate) use scratch::Scratch;
pub(crate) use typed::with_json;

use crate::payload::Payload;

/// The destination of encoded bytes: a buffer with room for the announced length.
pub(crate) trait Output {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends `bytes`, valid JSON, with a space for each CR and LF.
    fn put_with_spaces(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_with_spaces(&mut self, bytes: &[u8]) {
        self.extend(
            bytes.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }),
        );
    }
}

/// Writes a validated payload as it was received, newlines aside: in validated JSON, CR and LF can
/// only be whitespace, and JavaScript clients and SSE split a message at them.
pub(crate) fn put_payload(output: &mut impl Output, payload: Payload<'_>) {
    let json = payload.as_str().as_bytes();
    if payload.has_newlines() { output.put_with_spaces(json) } else { output.put(json) }
}
