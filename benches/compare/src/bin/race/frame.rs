//! WebSocket frames as far as the race needs them (RFC 6455, section 5.2).

use std::ops::Range;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// The mask of the clients' frames: a client must mask, and may choose any mask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The head of an unmasked text message.
pub(crate) fn text_head(out: &mut Vec<u8>, len: usize) {
    out.push(TEXT);
    push_length(out, len, 0);
}

fn push_length(out: &mut Vec<u8>, len: usize, mask_bit: u8) {
    match len {
        0..126 => out.push(mask_bit | len as u8),
        126..0x1_0000 => {
            out.push(mask_bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
}

/// A masked frame.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    push_length(&mut out, payload.len(), 0x80);
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The first of a server's frames, if all of it is there: its first byte and where its payload is.
pub(crate) fn server_frame(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (head, len) = head_and_length(bytes)?;
    (bytes.len() >= head + len).then_some((bytes[0], head..head + len))
}

/// The first of a client's frames, if all of it is there: the lengths of its head, which ends with
/// the mask, and of its payload.
pub(crate) fn client_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, len) = head_and_length(bytes)?;
    (bytes.len() >= head + 4 + len).then_some((head + 4, len))
}

fn head_and_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into())),
        127 => Some((10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize)),
        short => Some((2, short.into())),
    }
}
