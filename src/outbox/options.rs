//! The bounds of an outbox, and what happens when they would be exceeded.

use std::time::Duration;

/// The behavior of a push when the outbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Drops the oldest frames until the new one fits. The consumer learns how many it lost from
    /// [`Batch::lagged`](super::Batch::lagged). For streams in which the present matters.
    DropOldest,
    /// Drops the new frame. The queued frames stay without a gap; the loss is reported as above.
    DropNewest,
    /// The new frame replaces the queued frame with the same key, in that frame's place in the
    /// queue; frames without a key are all kept. If the outbox is full nevertheless, drops the
    /// oldest frames. For state: positions, prices, presence. A push takes a lock for as long as it
    /// takes to move a few words.
    Conflate,
    /// Closes the outbox: the connection ends, with a reason, and no client gets a stream with a
    /// gap. The queued frames are dropped when the reader next polls, or is dropped.
    Disconnect {
        /// Also disconnect if a push finds that the oldest frame has waited longer than this. Costs
        /// each push a read of the clock; without a later push, an old frame is not noticed.
        max_age: Option<Duration>,
    },
}

/// The bounds of an outbox and its [`Policy`].
///
/// They hold at every moment, with any number of producers. A connection keeps at most this much in
/// memory: `max_bytes`, `max_control_bytes`, the one [`Batch`](super::Batch) that its writer has
/// taken out, and 16 bytes for each of the most frames that ever waited at once, rounded up to 4,
/// 32, 256, … A frame counts with its wire length for each outbox it is in, although all share its
/// memory.
///
/// ```
/// use pondwire::{Outbox, OutboxOptions, Policy};
///
/// let options = OutboxOptions::new().with_policy(Policy::DropOldest);
/// let (outbox, reader) = Outbox::new(options);
/// # drop((outbox, reader));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxOptions {
    /// The behavior when `max_frames` or `max_bytes` would be exceeded. By default `Disconnect`
    /// without an age.
    pub policy: Policy,
    /// The number of frames that may wait: 1 to 131,072; other values are clamped. By default 256.
    pub max_frames: usize,
    /// The number of bytes that may wait, heads included: up to 512 MiB less one. By default 4 MiB.
    /// A frame that is larger by itself never fits: it is dropped, or disconnects.
    pub max_bytes: usize,
    /// The number of replies that may wait in the control queue, besides one close, one ping and
    /// one pong. One more disconnects, whatever the policy. By default 64.
    pub max_control_frames: usize,
    /// The number of bytes that these replies may have. By default 2 MiB.
    pub max_control_bytes: usize,
}

impl OutboxOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            policy: Policy::Disconnect { max_age: None },
            max_frames: 256,
            max_bytes: 4 << 20,
            max_control_frames: 64,
            max_control_bytes: 2 << 20,
        }
    }

    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub const fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets [`max_frames`](Self::max_frames).
    #[must_use]
    pub const fn with_max_frames(mut self, max_frames: usize) -> Self {
        self.max_frames = max_frames;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets [`max_control_frames`](Self::max_control_frames).
    #[must_use]
    pub const fn with_max_control_frames(mut self, max_control_frames: usize) -> Self {
        self.max_control_frames = max_control_frames;
        self
    }

    /// Sets [`max_control_bytes`](Self::max_control_bytes).
    #[must_use]
    pub const fn with_max_control_bytes(mut self, max_control_bytes: usize) -> Self {
        self.max_control_bytes = max_control_bytes;
        self
    }
}

impl Default for OutboxOptions {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}
