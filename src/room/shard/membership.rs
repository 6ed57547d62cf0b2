//! One seat in a room.

use std::fmt;
use std::sync::Arc as StdArc;

use super::seat::{Action, Command, Link, RoomLog, Seat};
use crate::fanout::Closed;
use crate::frame::Frame;
use crate::log::{Cursor, Refused, To};
use crate::outbox::Push;
use crate::room::index::{Index, IndexKey};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Keeps a seat in a room; dropping it leaves the room.
///
/// The connection receives exactly what takes its place in the room's order between the join and the leave.
#[must_use = "dropping it leaves the room"]
pub struct SeatMembership {
    seat: Seat,
    log: RoomLog,
    cursor: Arc<Cursor<Link>>,
    index: StdArc<Index>,
    key: IndexKey,
    has_left: AtomicBool,
}

impl SeatMembership {
    pub(in crate::room) fn new(
        seat: Seat,
        log: RoomLog,
        cursor: Arc<Cursor<Link>>,
        index: StdArc<Index>,
        key: IndexKey,
    ) -> Self {
        Self { seat, log, cursor, index, key, has_left: AtomicBool::new(false) }
    }

    /// The id of the user whose connection it is.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.key.user_id
    }

    /// The connection's seat.
    #[must_use]
    pub const fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Sends a frame to this connection alone, between those that the room was sent before and after.
    ///
    /// Costs as much as a publish. [`Push::DroppedNewest`] if the room's log is full, or the frame larger
    /// than it may be; [`Push::Closed`] if the room is closed or the seat has failed.
    #[allow(clippy::needless_pass_by_value, reason = "as `Seat::push` and `Outbox::push`")]
    pub fn push(&self, frame: Frame) -> Push {
        if self.seat.closed().is_some() {
            return Push::Closed;
        }
        let seat = self.seat.id().seat;
        let to = To::Member { cursor: self.cursor.number, seat, member: self.key.member() };
        match self.log.publish(&frame, to) {
            Ok(()) => Push::Queued,
            Err(Refused::Closed) => Push::Closed,
            Err(Refused::Busy | Refused::TooLarge) => Push::DroppedNewest,
        }
    }

    /// Changes which frames the connection receives from now on: those that are published to an audience
    /// with one of these bits. By default all.
    ///
    /// # Errors
    /// [`Closed`] if the room is closed, or the shard was dropped.
    pub fn set_audience(&self, audience: u32) -> Result<(), Closed> {
        self.command(Action::Audience(audience))
    }

    /// Leaves after one more frame, the last that the room sends to the connection.
    pub fn leave_with(self, last: Frame) {
        self.leave(Some(last));
    }

    /// Leaves although the membership is shared, after one more frame if there is one: the connection
    /// receives nothing that is published or [pushed](Self::push) after this. `false` if it had left.
    pub fn leave(&self, last: Option<Frame>) -> bool {
        // AcqRel: only the count of calls matters, and the leave is ordered by the log.
        let is_first = !self.has_left.swap(true, Ordering::AcqRel);
        if is_first {
            self.index.remove(&self.key);
            // A room that is closed has ended the membership.
            let _ = self.command(Action::Leave { last: last.map(Into::into) });
        }
        is_first
    }

    /// Whether [`leave`](Self::leave) was called.
    #[must_use]
    pub fn has_left(&self) -> bool {
        // Relaxed: a concurrent leave may come before or after this.
        self.has_left.load(Ordering::Relaxed)
    }

    pub(in crate::room) fn join(
        &self,
        user: u64,
        audience: u32,
        first: Option<Frame>,
    ) -> Result<(), Closed> {
        self.command(Action::Join { user, audience, first: first.map(Into::into) })
    }

    fn command(&self, action: Action) -> Result<(), Closed> {
        let command = Command { seat: self.seat.id(), member: self.key.member(), action };
        // Before the shard can take it.
        self.seat.count_command();
        self.log.command(&self.cursor, command).inspect_err(|_| self.seat.uncount_command())
    }
}

impl Drop for SeatMembership {
    fn drop(&mut self) {
        self.leave(None);
    }
}

impl fmt::Debug for SeatMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeatMembership").field("user_id", &self.user_id()).finish_non_exhaustive()
    }
}
