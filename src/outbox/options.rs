//! How much may wait for a connection, and what happens when it would be more.

use std::time::Duration;

/// What a push does when the outbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Drops the oldest frames until the new one fits. The consumer is told how many it lost, by
    /// [`Batch::lagged`](super::Batch::lagged). For streams in which the present matters.
    DropOldest,
    /// Drops the new frame. What waits stays without a hole; the loss is told as above.
    DropNewest,
    /// Replaces the queued frame with the same key, in its place in the queue; frames without a
    /// key are all kept. When it is full nevertheless, drops the oldest. For state: positions,
    /// prices, presence. Its pushes take a lock for as long as it takes to move a few words.
    Conflate,
    /// Closes the outbox: the connection is told why and ends, and nobody gets a stream with a
    /// hole in it. What waited is dropped as soon as the reader looks, or goes.
    Disconnect {
        /// Also disconnect when a push finds that the oldest frame has waited for longer. Costs
        /// each push a look at the clock; a frame after which nothing comes is not found.
        max_age: Option<Duration>,
    },
}

/// The bounds of an outbox and its [`Policy`].
///
/// They hold at every moment and whoever pushes. What a connection can keep in memory at most is
/// `max_bytes`, `max_control_bytes`, what its writer took out as one
/// [`Batch`](super::Batch), and 16 bytes for each of the most frames that ever waited at once,
/// rounded up to 4, 32, 256, … A frame counts with its wire length for each outbox it is in,
/// though all share its memory.
///
/// ```
/// use pondwire::{Outbox, OutboxOptions, Policy};
///
/// let options = OutboxOptions { policy: Policy::DropOldest, ..OutboxOptions::default() };
/// let (outbox, reader) = Outbox::new(options);
/// # drop((outbox, reader));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxOptions {
    /// What happens when one of the next two would be exceeded. By default `Disconnect` without
    /// an age.
    pub policy: Policy,
    /// How many frames may wait: 1 to 131,072, values beyond count as these. By default 256.
    pub max_frames: usize,
    /// How many bytes may wait, heads included: up to 512 MiB less one. By default 4 MiB. A frame
    /// that is larger by itself never fits: it is dropped, or disconnects.
    pub max_bytes: usize,
    /// How many replies may wait in the control lane, beside one close, one ping and one pong.
    /// One more disconnects, whatever the policy. By default 64.
    pub max_control_frames: usize,
    /// How many bytes these replies may have. By default 2 MiB.
    pub max_control_bytes: usize,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            policy: Policy::Disconnect { max_age: None },
            max_frames: 256,
            max_bytes: 4 << 20,
            max_control_frames: 64,
            max_control_bytes: 2 << 20,
        }
    }
}
