//! The bounds of both queues of a bus, and its timeouts.

use std::time::Duration;

/// How a full queue makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages are dropped until the new one fits.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

/// The bounds of a queue. They always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// The messages to drop when a bound would be exceeded.
    pub overflow: Overflow,
    /// The most queued messages; 0 counts as 1.
    pub max_messages: usize,
    /// The most bytes of their topics and payloads. A single larger message never fits, and no other is
    /// dropped for it.
    pub max_bytes: usize,
}

/// The bounds and the timeouts of a bus.
///
/// ```
/// use pondwire_redis::{Overflow, RedisOptions};
///
/// let mut options = RedisOptions::default();
/// options.publish.overflow = Overflow::DropNewest;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// The queue of messages to be published, which fills while Redis is unreachable. By default 65,536
    /// messages and 32 MiB, `DropOldest`.
    pub publish: QueueBounds,
    /// The queue of the receiver. By default the same.
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

impl Default for RedisOptions {
    fn default() -> Self {
        let bounds = QueueBounds {
            overflow: Overflow::DropOldest,
            max_messages: 1 << 16,
            max_bytes: 32 << 20,
        };
        Self {
            publish: bounds,
            receive: bounds,
            max_payload: 16 << 20,
            timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
        }
    }
}
