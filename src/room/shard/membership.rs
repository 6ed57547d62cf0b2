//! One seat in a room.

use std::fmt;
use std::sync::Arc as StdArc;

use super::seat::{Action, Command, Link, RoomLog, Seat};
use crate::fanout::Closed;
use crate::frame::{Frame, WireFrame};
use crate::log::{Cursor, Refused, To};
use crate::outbox::Push;
use crate::room::Shared;
use crate::room::index::{IndexKey, NONE};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, Ordering};

/// Keeps a seat in a room; dropping it leaves the room.
///
/// The connection receives exactly what takes its place in the room's order between the join and the leave.
#[must_use = "dropping it leaves the room"]
pub struct SeatMembership {
    seat: Seat,
    room: StdArc<Shared>,
    /// The number of the membership.
    member: u32,
    /// The place in the room's index, or [`NONE`] after it has left.
    at: AtomicU32,
}

impl SeatMembership {
    #[cfg_attr(
        not(pondwire_loom),
        allow(clippy::missing_const_for_fn, reason = "not with loom's atomics")
    )]
    pub(in crate::room) fn new(seat: Seat, room: StdArc<Shared>, key: IndexKey) -> Self {
        Self { seat, room, member: key.member, at: AtomicU32::new(key.at) }
    }

    /// The connection's seat.
    #[must_use]
    pub const fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Sends a frame to this connection alone, in order with the room's frames.
    ///
    /// Costs as much as a publish. [`Push::DroppedNewest`] if the room's log is full, or the frame larger
    /// than it may be; [`Push::Closed`] if the room is closed or the seat has failed.
    #[allow(clippy::needless_pass_by_value, reason = "as `Seat::push` and `Outbox::push`")]
    pub fn push(&self, frame: Frame) -> Push {
        if self.seat.closed().is_some() {
            return Push::Closed;
        }
        let log = self.room.log.existing();
        let (cursor, seat) = (self.seat.cursor(log).number, self.seat.id().seat);
        match log.publish(&frame, To::Member { cursor, seat, member: self.member }) {
            Ok(()) => Push::Queued,
            Err(Refused::Closed) => Push::Closed,
            Err(Refused::Busy | Refused::TooLarge) => Push::DroppedNewest,
        }
    }

    /// Changes which frames the connection receives from now on: those that are published to an audience
    /// with one of these bits. By default a member has all bits.
    ///
    /// # Errors
    /// [`Closed`] if the room is closed, or the shard was dropped.
    pub fn set_audience(&self, audience: u32) -> Result<(), Closed> {
        self.command(|| Action::Audience(audience))?.announce();
        Ok(())
    }

    /// Leaves after one more frame, the last that the room sends to the connection.
    pub fn leave_with(self, last: Frame) {
        self.leave(Some(last));
    }

    /// Leaves by a shared reference, after the frame `last` if there is one: the connection receives
    /// nothing that is published or [pushed](Self::push) after this. `false` if it had left before.
    pub fn leave(&self, last: Option<Frame>) -> bool {
        // AcqRel: only the count of calls matters, and the leave is ordered by the log.
        let at = self.at.swap(NONE, Ordering::AcqRel);
        if at != NONE {
            self.leave_from(at, last);
        }
        at != NONE
    }

    /// Leaves a place in the index that no other thread leaves.
    fn leave_from(&self, at: u32, last: Option<Frame>) {
        let commanded = self.command(|| Action::Leave { last: last.map(Into::into) });
        // After the command: a frame to users by name that does not find this member any more comes after its
        // leave, so the member misses it only if it misses all that comes after, too.
        self.room.index.remove(IndexKey { at, member: self.member });
        // A room that is closed has ended the membership.
        if let Ok(commanded) = commanded {
            commanded.announce();
        }
    }

    /// Whether [`leave`](Self::leave) was called.
    #[must_use]
    pub fn has_left(&self) -> bool {
        // Relaxed: a concurrent leave may come before or after this.
        self.at.load(Ordering::Relaxed) == NONE
    }

    /// The member receives `first`, then what it missed, then what comes after this.
    #[inline(always)]
    pub(in crate::room) fn join(
        &self,
        user: u64,
        audience: u32,
        first: Option<Frame>,
        missed: Option<Box<[WireFrame]>>,
    ) -> Result<Commanded<'_>, Closed> {
        let join = || Action::Join { user, audience, first: first.map(Into::into) };
        let commanded = self.command(join)?;
        let Some(missed) = missed.filter(|missed| !missed.is_empty()) else { return Ok(commanded) };
        let bytes = missed.iter().map(|frame| frame.wire().len()).sum();
        self.seat.count_missed(bytes);
        self.command(|| Action::Missed(missed, bytes))
            .inspect_err(|_| self.seat.uncount_missed(bytes))
    }

    #[inline(always)]
    fn command(&self, action: impl FnOnce() -> Action) -> Result<Commanded<'_>, Closed> {
        let (log, seat, member) = (self.room.log.existing(), self.seat.id(), self.member);
        let cursor = self.seat.cursor(log);
        // Before the shard can take it.
        self.seat.count_command();
        log.command(cursor, || Command { seat, member, action: action() })
            .inspect_err(|_| self.seat.uncount_command())?;
        Ok(Commanded { log, cursor })
    }
}

/// A command of which the shard must be told, when no lock is held.
#[must_use]
pub(in crate::room) struct Commanded<'a> {
    log: &'a RoomLog,
    cursor: &'a Arc<Cursor<Link>>,
}

impl Commanded<'_> {
    #[inline(always)]
    pub(in crate::room) fn announce(self) {
        self.log.announce(self.cursor);
    }
}

impl Drop for SeatMembership {
    fn drop(&mut self) {
        // Relaxed, and not swapped: nobody else has it any more.
        let at = self.at.load(Ordering::Relaxed);
        if at != NONE {
            self.leave_from(at, None);
        }
    }
}

impl fmt::Debug for SeatMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeatMembership").field("seat", &self.seat.number()).finish_non_exhaustive()
    }
}
