//! How much may wait on either side of a bus, and how long it waits for Redis.

use std::time::Duration;

/// What happens to a message that does not fit into its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages are dropped until it fits.
    DropOldest,
    /// It is dropped itself.
    DropNewest,
}

/// The bounds of a queue. They hold at every moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// What happens when one of the next two would be exceeded.
    pub overflow: Overflow,
    /// How many messages may wait; 0 counts as 1.
    pub max_messages: usize,
    /// How many bytes their topics and payloads may have. A message that is larger by itself never
    /// fits, and drops no other.
    pub max_bytes: usize,
}

/// The bounds of a bus and its patience.
///
/// ```
/// use pondwire_redis::{Overflow, RedisOptions};
///
/// let mut options = RedisOptions::default();
/// options.publish.overflow = Overflow::DropNewest;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// What may wait to be published, above all while Redis is away. By default 65,536 messages
    /// and 32 MiB, `DropOldest`.
    pub publish: QueueBounds,
    /// What may wait to be taken from the receiver. By default as above.
    pub receive: QueueBounds,
    /// How large a payload may be, in bytes, either way; a larger one is dropped and counted. By
    /// default 16 MiB, as much as a node takes; see
    /// [`ClusterOptions::message_limits`](crate::distributed::ClusterOptions::message_limits).
    pub max_payload: usize,
    /// How long Redis may take to connect and greet, or to answer. By default 5 s.
    pub timeout: Duration,
    /// How long a connection may be idle before it has to answer a `PING`. By default 10 s.
    pub ping_interval: Duration,
    /// The pause before the first attempt to connect again, which is cut by up to a half at random
    /// and doubles with each attempt. By default 100 ms.
    pub min_backoff: Duration,
    /// The longest such pause. A connection that lived for longer makes the next pause the first
    /// again. By default 5 s.
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
