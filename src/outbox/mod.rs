//! The frames that wait for one connection: a bounded queue, and what happens when it is full.
//!
//! Whoever has a frame for a connection pushes it into the connection's [`Outbox`] and never
//! waits; the connection's writer takes what has gathered as one [`Batch`] from its
//! [`OutboxReader`]. A connection that reads too slowly is found by its [`Policy`], not by memory
//! that grows.
//!
//! # Patterns
//!
//! - **A chat room**: `Disconnect`. A client that cannot keep up comes back and loads what it
//!   missed; none is shown a conversation with a hole.
//! - **A live stream** of which only the present matters: `DropOldest`. [`Batch::lagged`] tells
//!   the writer that it might send a fresh snapshot.
//! - **State by key** (positions, prices, presence): `Conflate` and [`Outbox::push_keyed`]. A slow
//!   client gets each key's latest value and skips those between.
//! - **Best effort** (typing, reactions): `DropNewest`.
//! - **Answers to the connection alone**, which must not wait behind a broadcast nor be dropped
//!   for one: [`Outbox::reply`] and [`Outbox::control`]. A reply overtakes what is queued: what
//!   must stay in order with broadcasts is pushed as they are.
//! - **One frame for many**: [`Frame::references`](crate::Frame::references) and
//!   [`Outbox::push_from`].
//! - **A WebSocket library**, which writes the frames' heads itself: [`Batch::texts`],
//!   [`Batch::into_frames`] or, with the feature `stream`, the reader as a `Stream`.
//! - **Event streams, and compression**: [`Batch::into_sse`] and, with the feature `deflate`,
//!   `Batch::into_deflated`. The bounds count a frame's plain WebSocket form in any case.
//! - **The end**: [`Outbox::close`] delivers what is queued; [`Outbox::control`] with a close frame
//!   does not; dropping the reader frees everything. A push then says [`Push::Closed`].
//!
//! # Performance
//!
//! A push is one compare-and-swap; with `Disconnect` and `DropNewest` a batch is none, and what
//! remains is the count of each frame that is dropped after it was written. Only the push that
//! finds the consumer asleep wakes it. Both use the same two lines of the cache as long as no more
//! than four frames wait. The figures are made by `benches/compare` in the repository.
//!
//! # Limitations
//!
//! - All that waits for one connection lies close together for the sake of the many. Several
//!   threads that push into one and the same outbox all the time contend for those lines.
//! - Memory for bursts (16 bytes a frame, in steps of 4, 32, 256, …) stays until the outbox is
//!   dropped; a stopped thread might still look at it.
//! - `Conflate` locks, for as long as it takes to look up a key and move a few words.
//! - Frames of one producer keep their order. A thread that is stopped in the midst of a push
//!   (a few instructions) holds up the frames behind its own, and the reader polls again and again
//!   rather than sleep. No producer waits for it: what does not fit meanwhile is dropped or
//!   disconnects as if the queue were full.
//! - The age of the oldest frame is looked at by pushes, not by a clock of its own.
//! - A batch is no longer in the outbox: a writer that is stuck in a write holds up to 64 frames
//!   beside the limits, and what it holds is neither dropped nor replaced.
//!
//! How the ring works, and why nothing is lost, is told in `src/outbox/ring/`; the proofs are
//! `src/outbox/models.rs`, `tests/outbox*.rs` and `tests/loom/weakened_outbox.sh`.

mod aborted;
mod age;
mod batch;
mod conflated;
mod frame;
mod lane;
#[cfg(all(test, pondwire_loom))]
mod models;
mod options;
mod push;
mod reader;
mod reason;
mod ring;
mod state;
mod stats;

use std::fmt;

pub use aborted::Aborted;
pub use batch::Batch;
pub use frame::OutboxFrame;
pub use options::{OutboxOptions, Policy};
pub use push::Push;
pub use reader::OutboxReader;
pub use reason::CloseReason;
pub use stats::OutboxStats;

use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use state::State;

/// Where frames for a connection are put, by whoever has some; one of many handles.
///
/// A clone is two atomic steps and allocates nothing. When the last one is dropped the outbox
/// finishes, as by [`close`](Self::close).
pub struct Outbox {
    state: Arc<State>,
}

impl Outbox {
    /// An outbox and the end from which the connection's writer takes batches.
    ///
    /// Allocates once, about 400 bytes; memory for more than four frames comes when they do.
    #[must_use]
    pub fn new(options: OutboxOptions) -> (Self, OutboxReader) {
        let state = Arc::new(State::new(&options));
        (Self { state: Arc::clone(&state) }, OutboxReader::new(state))
    }

    /// Lets nothing in any more. What is queued is delivered, then the reader is told the end.
    pub fn close(&self) {
        self.state.finish();
    }

    /// Why nothing more may be pushed, once that is so.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.closed()
    }

    /// Whether its [`Policy`] may drop a frame and stay open. What must arrive then goes by
    /// [`reply`](Self::reply), as nothing that was pushed is certain to.
    ///
    /// ```
    /// use pondwire::{Outbox, OutboxOptions, Policy};
    ///
    /// let (outbox, _reader) = Outbox::new(OutboxOptions::default());
    /// assert!(!outbox.may_drop(), "by default it disconnects");
    /// let options = OutboxOptions { policy: Policy::Conflate, ..OutboxOptions::default() };
    /// assert!(Outbox::new(options).0.may_drop());
    /// ```
    #[must_use]
    pub fn may_drop(&self) -> bool {
        !matches!(self.state.kind, state::Kind::Disconnect(_))
    }

    /// The outbox in numbers, without a lock.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.state.stats()
    }
}

impl Clone for Outbox {
    fn clone(&self) -> Self {
        // Relaxed: made from a handle that is there, as a reference of an `Arc`.
        self.state.producers.fetch_add(1, Ordering::Relaxed);
        Self { state: Arc::clone(&self.state) }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // AcqRel: what the others pushed comes before the end.
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
