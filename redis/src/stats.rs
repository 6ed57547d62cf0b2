//! The counters of a bus.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The counters of a bus at one moment, read without a lock.
///
/// Each counter is exact, but while messages are being published the counters may not add up. When no
/// message is being published or on its way to Redis, the number of messages offered to an open bus equals
/// `queued_messages + published + refused + unconfirmed + dropped_oldest + dropped_newest + too_large +
/// discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Messages queued to be published now.
    pub queued_messages: usize,
    /// Bytes of their topics and payloads.
    pub queued_bytes: usize,
    /// Messages that Redis accepted.
    pub published: u64,
    /// The published messages that had no subscriber at that moment, on any node.
    pub unheard: u64,
    /// Messages that Redis answered with an error, such as `NOPERM` or `LOADING`.
    pub refused: u64,
    /// Messages that were handed to a connection which broke or timed out before Redis answered. They may
    /// have arrived.
    pub unconfirmed: u64,
    /// Messages dropped for newer ones while they waited to be published.
    pub dropped_oldest: u64,
    /// Messages not published because the queue was full.
    pub dropped_newest: u64,
    /// Messages not published because of [`max_payload`](crate::RedisOptions::max_payload).
    pub too_large: u64,
    /// Messages still queued when the bus ended.
    pub discarded: u64,
    /// Messages waiting to be taken from the receiver now.
    pub waiting_messages: usize,
    /// Bytes of their topics and payloads.
    pub waiting_bytes: usize,
    /// Messages that arrived.
    pub received: u64,
    /// The arrived messages that were dropped because the receiver's queue was full, or the receiver was
    /// dropped.
    pub overflowed: u64,
    /// The arrived messages that were dropped because of [`max_payload`](crate::RedisOptions::max_payload).
    pub oversized: u64,
    /// Whether the publishing side is connected.
    pub publisher_connected: bool,
    /// Whether the subscribing side is connected, with all topics subscribed to.
    pub subscriber_connected: bool,
    /// Connections made after the first of each side.
    pub reconnects: u64,
    /// Failed attempts to connect.
    pub failed_attempts: u64,
}

impl RedisStats {
    /// Messages that were offered but not published, as far as this bus can know.
    #[must_use]
    pub const fn unpublished(&self) -> u64 {
        self.refused
            + self.unconfirmed
            + self.dropped_oldest
            + self.dropped_newest
            + self.too_large
            + self.discarded
    }

    /// Messages that arrived but that the receiver never gets.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.overflowed + self.oversized
    }
}

/// Counters that only grow. Relaxed throughout: no synchronization depends on them.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) queued: Level,
    pub(crate) published: Counter,
    pub(crate) unheard: Counter,
    pub(crate) refused: Counter,
    pub(crate) unconfirmed: Counter,
    pub(crate) dropped_oldest: Counter,
    pub(crate) dropped_newest: Counter,
    pub(crate) too_large: Counter,
    pub(crate) discarded: Counter,
    pub(crate) waiting: Level,
    pub(crate) received: Counter,
    pub(crate) overflowed: Counter,
    pub(crate) oversized: Counter,
    pub(crate) publisher_connected: AtomicBool,
    pub(crate) subscriber_connected: AtomicBool,
    pub(crate) reconnects: Counter,
    pub(crate) failed_attempts: Counter,
}

impl Counters {
    /// Messages that were lost on the way to Redis, or may have been, so far.
    pub(crate) fn unpublished(&self) -> u64 {
        let dropped = self.dropped_oldest.get() + self.dropped_newest.get();
        self.refused.get() + self.unconfirmed.get() + dropped
    }

    pub(crate) fn stats(&self) -> RedisStats {
        RedisStats {
            queued_messages: self.queued.messages.load(Ordering::Relaxed),
            queued_bytes: self.queued.bytes.load(Ordering::Relaxed),
            published: self.published.get(),
            unheard: self.unheard.get(),
            refused: self.refused.get(),
            unconfirmed: self.unconfirmed.get(),
            dropped_oldest: self.dropped_oldest.get(),
            dropped_newest: self.dropped_newest.get(),
            too_large: self.too_large.get(),
            discarded: self.discarded.get(),
            waiting_messages: self.waiting.messages.load(Ordering::Relaxed),
            waiting_bytes: self.waiting.bytes.load(Ordering::Relaxed),
            received: self.received.get(),
            overflowed: self.overflowed.get(),
            oversized: self.oversized.get(),
            publisher_connected: self.publisher_connected.load(Ordering::Relaxed),
            subscriber_connected: self.subscriber_connected.load(Ordering::Relaxed),
            reconnects: self.reconnects.get(),
            failed_attempts: self.failed_attempts.get(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How full a queue is; written only under the queue's lock.
#[derive(Default)]
pub(crate) struct Level {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Level {
    pub(crate) fn set(&self, messages: usize, bytes: usize) {
        self.messages.store(messages, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}
