//! The bounds of both queues of a bus, and its timeouts.

use std::time::Duration;

/// How a full queue makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest messages are dropped until the new one fits.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

/// The bounds of a queue. They always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueBounds {
    /// The messages to drop when a bound would be exceeded. By default `DropOldest`.
    pub overflow: Overflow,
    /// The most queued messages; 0 counts as 1. By default 65,536.
    pub max_messages: usize,
    /// The most bytes of their topics and payloads. A single larger message never fits, and no other is
    /// dropped for it. By default 32 MiB.
    pub max_bytes: usize,
}

impl QueueBounds {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { overflow: Overflow::DropOldest, max_messages: 1 << 16, max_bytes: 32 << 20 }
    }

    /// Sets [`overflow`](Self::overflow).
    #[must_use]
    pub const fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets [`max_messages`](Self::max_messages).
    #[must_use]
    pub const fn with_max_messages(mut self, max_messages: usize) -> Self {
        self.max_messages = max_messages;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

impl Default for QueueBounds {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// The bounds and the timeouts of a bus.
///
/// ```
/// use pondwire_redis::{Overflow, QueueBounds, RedisOptions};
///
/// let publish = QueueBounds::new().with_overflow(Overflow::DropNewest);
/// let options = RedisOptions::new().with_publish(publish);
/// # assert_eq!(options.publish.max_messages, QueueBounds::default().max_messages);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisOptions {
    /// The queue of messages to be published, which fills while Redis is unreachable. By default
    /// [`QueueBounds::new`].
    pub publish: QueueBounds,
    /// The queue of the receiver. By default [`QueueBounds::new`].
    pub receive: QueueBounds,
    /// The largest payload in bytes, in both directions; a larger one is dropped and counted. By default 16
    /// MiB, the most that a node accepts (`pondwire::distributed::ClusterOptions::message_limits`).
    pub max_payload: usize,
    /// The timeout for connecting with the greeting, and for each answer. By default 5 s.
    pub timeout: Duration,
    /// The idle time of a connection before a `PING` is sent, which must be answered. By default 10 s.
    pub ping_interval: Duration,
    /// The pause before the first attempt to reconnect. It doubles with each attempt, and each pause is
    /// shortened at random by up to a half. By default 100 ms.
    pub min_backoff: Duration,
    /// The longest such pause. After a connection that lasted longer than this, the pauses start over. By
    /// default 5 s.
    pub max_backoff: Duration,
}

impl RedisOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            publish: QueueBounds::new(),
            receive: QueueBounds::new(),
            max_payload: 16 << 20,
            timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
        }
    }

    /// Sets [`publish`](Self::publish).
    #[must_use]
    pub const fn with_publish(mut self, publish: QueueBounds) -> Self {
        self.publish = publish;
        self
    }

    /// Sets [`receive`](Self::receive).
    #[must_use]
    pub const fn with_receive(mut self, receive: QueueBounds) -> Self {
        self.receive = receive;
        self
    }

    /// Sets [`max_payload`](Self::max_payload).
    #[must_use]
    pub const fn with_max_payload(mut self, max_payload: usize) -> Self {
        self.max_payload = max_payload;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`ping_interval`](Self::ping_interval).
    #[must_use]
    pub const fn with_ping_interval(mut self, ping_interval: Duration) -> Self {
        self.ping_interval = ping_interval;
        self
    }

    /// Sets [`min_backoff`](Self::min_backoff).
    #[must_use]
    pub const fn with_min_backoff(mut self, min_backoff: Duration) -> Self {
        self.min_backoff = min_backoff;
        self
    }

    /// Sets [`max_backoff`](Self::max_backoff).
    #[must_use]
    pub const fn with_max_backoff(mut self, max_backoff: Duration) -> Self {
        self.max_backoff = max_backoff;
        self
    }
}

impl Default for RedisOptions {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}
