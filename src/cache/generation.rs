//! Generations of channels, which show whether a cached frame is older than an invalidation.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of counters, a power of two. They take 8 KiB, since every hit reads one. Channels that
/// share a counter by chance are invalidated together.
const COUNTERS: usize = 1 << 10;

/// The generation of every channel; several channels may share a counter.
///
/// A counter's lowest bits are its own index and never change, so a [`Stamp`] alone identifies the
/// counter to compare it with: a hit need not hash the channel again.
pub(super) struct Generations {
    counters: Box<[AtomicU64; COUNTERS]>,
}

/// A channel's generation at one moment. A counter counts with 54 bits, so it does not wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Generations {
    pub(super) fn new() -> Self {
        Self { counters: Box::new(std::array::from_fn(|place| AtomicU64::new(place as u64))) }
    }

    #[inline]
    fn counter(&self, of: u64) -> &AtomicU64 {
        &self.counters[of as usize & (COUNTERS - 1)]
    }

    /// The present generation of the channel with this hash.
    #[inline]
    pub(super) fn now(&self, channel_hash: u64) -> Stamp {
        Stamp(self.counter(channel_hash).load(Ordering::Acquire))
    }

    /// Whether the channel has not been invalidated since the stamp was taken.
    #[inline]
    pub(super) fn is_current(&self, stamp: Stamp) -> bool {
        self.now(stamp.0) == stamp
    }

    /// Begins a new generation. Release: a thread that sees it also sees the caller's earlier changes.
    pub(super) fn advance(&self, channel_hash: u64) {
        self.counter(channel_hash).fetch_add(COUNTERS as u64, Ordering::AcqRel);
    }

    /// Begins a new generation of every channel.
    pub(super) fn advance_all(&self) {
        (0..COUNTERS as u64).for_each(|counter| self.advance(counter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_current_until_its_channel_advances() {
        let generations = Generations::new();
        let hashes = [0, 1, COUNTERS as u64 - 1, u64::MAX - 7];
        for hash in hashes {
            let stamps = hashes.map(|hash| generations.now(hash));
            generations.advance(hash);
            for (other, stamp) in hashes.into_iter().zip(stamps) {
                assert_eq!(generations.is_current(stamp), other != hash, "{hash} {other}");
                assert!(generations.is_current(generations.now(other)));
            }
        }
    }
}
