//! The frames that wait for one connection: a bounded queue, and what happens when it is full.
//!
//! A producer pushes frames for a connection into its [`Outbox`] and never waits; the connection's
//! writer takes the queued frames as one [`Batch`] from its [`OutboxReader`]. Slow consumers are
//! detected by the [`Policy`], not by memory growth.
//!
//! # Patterns
//!
//! - **A chat room**: `Disconnect`. A client that cannot keep up comes back and loads what it
//!   missed; no client shows a conversation with a gap.
//! - **A live stream** of which only the present matters: `DropOldest`. [`Batch::lagged`] shows the
//!   writer when to send a fresh snapshot.
//! - **State by key** (positions, prices, presence): `Conflate` and [`Outbox::push_keyed`]. A slow
//!   client gets each key's latest value and skips those between.
//! - **Best effort** (typing, reactions): `DropNewest`.
//! - **Answers to the connection alone**, which must not wait behind a broadcast nor be dropped
//!   for one: [`Outbox::reply`] and [`Outbox::control`]. A reply overtakes the queued frames: push
//!   instead the frames that must stay in order with broadcasts.
//! - **One frame for many**: [`Frame::references`](crate::Frame::references) and
//!   [`Outbox::push_from`].
//! - **A WebSocket library**, which writes the frames' heads itself: [`Batch::texts`],
//!   [`Batch::into_frames`] or, with the feature `stream`, the reader as a `Stream`.
//! - **Event streams, and compression**: [`Batch::into_sse`] and, with the feature `deflate`,
//!   `Batch::into_deflated`. The bounds count a frame's plain WebSocket form in any case.
//! - **The end**: [`Outbox::close`] delivers the queued frames; [`Outbox::control`] with a close
//!   frame does not; dropping the reader frees everything. A push then returns [`Push::Closed`].
//!
//! # Performance
//!
//! A push is one compare-and-swap. With `Disconnect` and `DropNewest` taking a batch needs none,
//! and only the reference count of each frame remains, when it is dropped after the write. Only the
//! push that finds the consumer asleep wakes it. Both ends use the same two cache lines as long as
//! no more than four frames wait. The figures are made by `benches/compare` in the repository.
//!
//! # Limitations
//!
//! - The state of one connection is packed closely, which suits many connections. Threads that
//!   constantly push into the same outbox contend for its cache lines.
//! - Memory for bursts (16 bytes a frame, in steps of 4, 32, 256, …) stays until the outbox is
//!   dropped; a suspended thread might still read it.
//! - `Conflate` locks, for as long as it takes to look up a key and move a few words.
//! - Frames of one producer keep their order. A thread that is suspended in the middle of a push
//!   (a few instructions) holds up the frames behind its own, and the reader polls again and again
//!   instead of sleeping. No producer waits for it: frames that do not fit meanwhile are dropped or
//!   disconnect, as if the queue were full.
//! - The age of the oldest frame is checked by pushes, not by a timer.
//! - A batch is no longer in the outbox: a writer that is stuck in a write holds up to 64 frames
//!   beyond the limits, and these are neither dropped nor replaced.
//!
//! `src/ring/` explains how the ring works and why no frame is lost; the proofs are
//! `src/outbox/models.rs` and, in the repository, `tests/delivery/outbox*.rs` and
//! `tests/loom/weakened.sh`.

mod batch;
mod conflated;
mod control_queue;
#[cfg(all(test, pondwire_loom))]
mod models;
mod options;
mod push;
mod reader;
mod reason;

mod state;
mod stats;

use std::fmt;

pub use batch::{Batch, OutboxFrame};
pub use options::{OutboxOptions, Policy};
pub use push::Push;
pub use reader::{Aborted, OutboxReader};
pub use reason::CloseReason;
pub(crate) use reason::OnceReason;
pub use stats::OutboxStats;

use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use state::State;

/// The producers' end of a connection's queue of frames; one of many handles.
///
/// A clone is two atomic operations and allocates nothing. When the last one is dropped the outbox
/// finishes, as by [`close`](Self::close).
pub struct Outbox {
    state: Arc<State>,
}

impl Outbox {
    /// An outbox and the end from which the connection's writer takes batches.
    ///
    /// Allocates once, about 400 bytes; memory for more than four frames is allocated when needed.
    #[must_use]
    pub fn new(options: OutboxOptions) -> (Self, OutboxReader) {
        let state = Arc::new(State::new(&options));
        (Self { state: Arc::clone(&state) }, OutboxReader::new(state))
    }

    /// Closes the outbox to pushes. The queued frames are delivered, then the reader sees the end.
    pub fn close(&self) {
        self.state.finish();
    }

    /// The reason why the outbox is closed; `None` while it is open.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.closed()
    }

    /// Whether its [`Policy`] may drop a frame and stay open. A frame that must arrive then needs
    /// [`reply`](Self::reply), because a pushed one may be dropped.
    ///
    /// ```
    /// use pondwire::{Outbox, OutboxOptions, Policy};
    ///
    /// let (outbox, _reader) = Outbox::new(OutboxOptions::default());
    /// assert!(!outbox.may_drop(), "by default it disconnects");
    /// let options = OutboxOptions::new().with_policy(Policy::Conflate);
    /// assert!(Outbox::new(options).0.may_drop());
    /// ```
    #[must_use]
    pub fn may_drop(&self) -> bool {
        !matches!(self.state.kind, state::Kind::Disconnect(_))
    }

    /// The counters of the outbox, read without a lock.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.state.stats()
    }
}

impl Clone for Outbox {
    fn clone(&self) -> Self {
        // Relaxed: made from an existing handle, like a reference of an `Arc`.
        self.state.producers.fetch_add(1, Ordering::Relaxed);
        Self { state: Arc::clone(&self.state) }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // AcqRel: the pushes of the other handles come before the end.
        if self.state.producers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.finish();
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
