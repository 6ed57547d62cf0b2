//! The bounds of both queues of a bus, and its timeouts.

use std::time::Duration;

/// How a queue that is full makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages are dropped until the new one fits.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

/// The bounds of a queue. They hold at every moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// What is dropped when a bound would be exceeded.
    pub overflow: Overflow,
    /// The most messages that wait; 0 counts as 1.
    pub max_messages: usize,
    /// The most bytes of their topics and payloads. A message that is larger by itself never fits, and no
    /// other is dropped for it.
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
    /// The queue of messages to be published, which fills while Redis is away. By default 65,536 messages
    /// and 32 MiB, `DropOldest`.
    pub publish: QueueBounds,
    /// The queue of the receiver. By default the same.
    pub receive: QueueBounds,
    /// The largest payload in bytes, in both directions; a larger one is dropped and counted. By default
    /// 16 MiB, as much as a node takes (`pondwire::distributed::ClusterOptions::message_limits`).
    pub max_payload: usize,
    /// The timeout for connecting and greeting, and for each answer. By default 5 s.
    pub timeout: Duration,
    /// The idle time of a connection until a `PING`, which must be answered. By default 10 s.
    pub ping_interval: Duration,
    /// The pause before the first attempt to connect again, which is cut by up to a half at random
    /// and doubles with each attempt. By default 100 ms.
    pub min_backoff: Duration,
    /// The longest such pause. After a connection that lived for longer the pauses begin anew. By default
    /// 5 s.
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
