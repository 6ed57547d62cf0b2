//! Other forms of a frame, each made at most once and kept with it.

use std::sync::OnceLock;

use super::Frame;

/// The forms that have been asked for so far.
#[derive(Default)]
pub(super) struct Variants {
    sse: OnceLock<Box<[u8]>>,
}

impl Variants {
    pub(super) fn sse(&self, json: &[u8]) -> &[u8] {
        self.sse.get_or_init(|| [b"data: ", json, b"\n\n"].concat().into_boxed_slice())
    }
}

/// A frame as the owner of its wire form, for `Bytes::from_owner`.
pub(super) struct Wire(pub(super) Frame);

impl AsRef<[u8]> for Wire {
    fn as_ref(&self) -> &[u8] {
        self.0.wire()
    }
}

/// A frame as the owner of its SSE form.
pub(super) struct Sse(pub(super) Frame);

impl AsRef<[u8]> for Sse {
    fn as_ref(&self) -> &[u8] {
        self.0.sse()
    }
}
