//! Compressing a document into a whole WebSocket frame.

use std::cell::Cell;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression, FlushCompress};

use super::FLUSHED;
use crate::websocket::{Head, Opcode};

/// A thread keeps an output buffer of up to this many bytes, about the size of its compressor.
const OUTPUT_KEPT: usize = 256 << 10;

/// The settings for compressing frames. Use the same settings in the whole server: a frame is
/// compressed once, with the settings of the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeflateOptions {
    /// The level, from 1 (fastest) to 9 (smallest); higher values count as 9. At 0 nothing shrinks, so
    /// nothing is compressed. By default 6, as in zlib and the other servers.
    pub level: u8,
    /// Shorter documents are sent uncompressed. In bytes, by default 256: shorter ones hardly shrink.
    pub min_bytes: usize,
    /// Longer documents are sent uncompressed. In bytes, by default 128 KiB, which take some milliseconds
    /// to compress; meanwhile the thread serves no other connection.
    pub max_bytes: usize,
}

impl DeflateOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { level: 6, min_bytes: 256, max_bytes: 128 << 10 }
    }

    /// Sets [`level`](Self::level).
    #[must_use]
    pub const fn with_level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Sets [`min_bytes`](Self::min_bytes).
    #[must_use]
    pub const fn with_min_bytes(mut self, min_bytes: usize) -> Self {
        self.min_bytes = min_bytes;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

impl Default for DeflateOptions {
    /// The same as [`new`](Self::new).
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

/// A thread's reusable compressor and output buffer.
struct Scratch {
    stream: Compress,
    level: Compression,
    output: Vec<u8>,
}

impl Scratch {
    fn new(level: Compression) -> Self {
        Self { stream: Compress::new(level, false), level, output: Vec::new() }
    }

    /// The compressed message (RFC 7692, section 7.2.1), if it is shorter than the document.
    fn compress(&mut self, document: &[u8], level: Compression) -> Option<&[u8]> {
        self.stream.reset();
        if self.level != level {
            self.stream.set_level(level).ok()?;
            self.level = level;
        }
        self.output.clear();
        // A flush is complete only if it leaves room in the buffer: one byte here, for a message that is
        // one byte shorter than the document.
        self.output.reserve(document.len() + FLUSHED.len());
        let room = self.output.capacity();
        self.stream.compress_vec(document, &mut self.output, FlushCompress::Sync).ok()?;
        if self.output.len() == room {
            return None;
        }
        let message = self.output.strip_suffix(&FLUSHED)?;
        (message.len() < document.len()).then_some(message)
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// The number of compressions, for unit tests.
#[cfg(test)]
pub(crate) static COMPRESSIONS: AtomicUsize = AtomicUsize::new(0);

/// The unmasked, compressed, final text frame of a document; `None` if compressing it does not pay.
/// Allocates only the result, except on a thread's first call and for documents above 256 KB.
pub(crate) fn deflated_text(document: &[u8], options: DeflateOptions) -> Option<Box<[u8]>> {
    if !(options.min_bytes..=options.max_bytes).contains(&document.len()) {
        return None;
    }
    #[cfg(test)]
    COMPRESSIONS.fetch_add(1, Ordering::Relaxed);
    let level = Compression::new(options.level.min(9).into());
    // Unavailable while a destructor sends at the end of its thread; then nothing is reused.
    let kept = SCRATCH.try_with(Cell::take).ok().flatten();
    let mut scratch = kept.unwrap_or_else(|| Scratch::new(level));
    let frame = scratch.compress(document, level).map(|message| {
        let head = Head::new(Opcode::Text, message.len()).compressed();
        [head.as_bytes(), message].concat().into_boxed_slice()
    });
    if scratch.output.capacity() > OUTPUT_KEPT {
        scratch.output = Vec::new();
    }
    // Not kept if the thread has destroyed its thread-locals already.
    let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    frame
}

#[cfg(test)]
mod tests {
    use super::{Compression, Scratch};

    #[test]
    fn a_reused_compressor_writes_the_same_as_a_fresh_one() {
        let documents: Vec<Vec<u8>> = (0..40_usize)
            .map(|i| (0..i * 97).flat_map(|n| format!("{},", n * i % 101).into_bytes()).collect())
            .collect();
        let mut reused = Scratch::new(Compression::new(6));
        let mut shrunk = 0;
        for (i, document) in documents.iter().enumerate() {
            for level in [(i % 10) as u32, 9, 1, 6, 6] {
                let level = Compression::new(level);
                let mut fresh = Scratch::new(level);
                let expected = fresh.compress(document, level).map(<[u8]>::to_vec);
                assert_eq!(reused.compress(document, level), expected.as_deref());
                shrunk += usize::from(expected.is_some());
            }
        }
        assert!(shrunk > 150, "{shrunk}");
    }
}
