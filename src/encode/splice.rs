//! Received JSON into a new frame: byte for byte, but never a raw newline.

use super::Output;
use crate::payload::Payload;

/// Writes a validated payload as it was received, newlines aside.
pub(crate) fn put_payload(output: &mut impl Output, payload: Payload<'_>) {
    let json = payload.as_str().as_bytes();
    if payload.has_newlines() { without_newlines(output, json) } else { output.put(json) }
}

/// Writes validated JSON in which CR and LF can only be whitespace, as spaces: JavaScript clients
/// and SSE split a message at newlines.
fn without_newlines(output: &mut impl Output, json: &[u8]) {
    const BLOCK: usize = 256;
    for chunk in json.chunks(BLOCK) {
        let mut block = [0; BLOCK];
        for (to, &byte) in block.iter_mut().zip(chunk) {
            *to = if byte == b'\n' || byte == b'\r' { b' ' } else { byte };
        }
        output.put(&block[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn newlines_become_spaces_at_every_length() {
        for length in 0..600 {
            let json: Vec<u8> = (0..length).map(|i| b"\r1\n {\""[i % 6]).collect();
            let expected: Vec<u8> = (0..length).map(|i| b" 1  {\""[i % 6]).collect();
            let mut output = Vec::new();
            super::without_newlines(&mut output, &json);
            assert_eq!(output, expected);
        }
    }
}
