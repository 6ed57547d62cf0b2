//! Received JSON into a new frame: byte for byte, but never a raw newline.

use super::Output;
use crate::payload::Payload;

/// Writes a validated payload as it was received, newlines aside: in validated JSON CR and LF can
/// only be whitespace, and JavaScript clients and SSE split a message at them.
pub(crate) fn put_payload(output: &mut impl Output, payload: Payload<'_>) {
    let json = payload.as_str().as_bytes();
    if payload.has_newlines() { output.put_with_spaces(json) } else { output.put(json) }
}
