//! Other forms of a frame, each made at most once and kept with it.

use std::sync::OnceLock;

use super::Frame;
use super::shared::Shared;
#[cfg(feature = "deflate")]
use crate::deflate::{DeflateOptions, deflated_text};

/// The forms that have been asked for so far.
#[derive(Default)]
pub(super) struct Variants {
    sse: OnceLock<Box<[u8]>>,
    /// An inner `None` means that compressing was tried and does not pay.
    #[cfg(feature = "deflate")]
    deflated: OnceLock<Option<Box<[u8]>>>,
}

/// The text around a document in a server-sent event.
const EVENT: [&[u8]; 2] = [b"data: ", b"\n\n"];

/// The most bytes that all forms take together, for a frame of `wire` bytes and a document of
/// `json` bytes.
#[cfg(feature = "cache")]
#[inline]
pub(super) const fn most_bytes(wire: usize, json: usize) -> usize {
    let sse = json + EVENT[0].len() + EVENT[1].len();
    // A compressed form that is no shorter than the plain one is not kept.
    if cfg!(feature = "deflate") { sse + wire } else { sse }
}

impl Variants {
    pub(super) fn sse(&self, json: &[u8]) -> &[u8] {
        let [before, behind] = EVENT;
        self.sse.get_or_init(|| [before, json, behind].concat().into_boxed_slice())
    }

    #[cfg(feature = "deflate")]
    #[inline]
    pub(super) fn deflated(&self, json: &[u8], options: DeflateOptions) -> Option<&[u8]> {
        self.deflated.get_or_init(|| deflated_text(json, options)).as_deref()
    }
}

/// A frame as the owner of its wire form, for `Bytes::from_owner`.
pub(super) struct Wire(pub(super) Shared);

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

/// A frame that has a compressed form, as that form's owner.
#[cfg(feature = "deflate")]
pub(super) struct Deflated(pub(super) Frame);

#[cfg(feature = "deflate")]
impl AsRef<[u8]> for Deflated {
    fn as_ref(&self) -> &[u8] {
        self.0.deflated().unwrap_or_default()
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::Ordering;

    use super::{DeflateOptions, Variants};
    use crate::deflate::COMPRESSIONS;

    #[test]
    fn a_thousand_recipients_on_eight_threads_cost_one_compression() {
        let level = |level| DeflateOptions { level, ..DeflateOptions::default() };
        let document = vec![b'a'; 100_000];
        // At level 0 the document does not shrink, which must be remembered just as well.
        for (rounds, options) in [(1..=20, level(6)), (21..=40, level(0))] {
            for round in rounds {
                let variants = Variants::default();
                let barrier = Barrier::new(8);
                std::thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            barrier.wait();
                            for _ in 0..125 {
                                let deflated = variants.deflated(&document, options);
                                assert_eq!(deflated.is_some(), options.level > 0);
                            }
                        });
                    }
                });
                assert_eq!(COMPRESSIONS.load(Ordering::Relaxed), round);
            }
        }
    }
}
