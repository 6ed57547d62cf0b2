//! A connection's place in a shard, and what other threads tell the shard.

use std::{fmt, mem};

use crate::frame::{Control, Form, Frame, WireFrame};
use crate::log::{Cursor, Log, Notify};
use crate::outbox::{CloseReason, OnceReason, OutboxOptions, Push};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Arc, AtomicWaker, Mutex};

/// The log of a room.
pub(in crate::room) type RoomLog = Log<Link>;

/// The connection from a log to one shard.
pub(in crate::room) struct Link {
    pub(in crate::room) shard: Arc<Shared>,
    /// The number of the room in the shard's table, or [`NONE`]; used by the shard only.
    pub(super) room: AtomicU32,
}

/// The number of no room, seat or place.
pub(super) const NONE: u32 = u32::MAX;

impl Link {
    pub(in crate::room) fn new(shard: Arc<Shared>) -> Self {
        Self { shard, room: AtomicU32::new(NONE) }
    }

    pub(in crate::room) fn is_of(&self, shard: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shard, shard)
    }
}

impl Notify for Link {
    type Command = Command;

    fn is_closed(&self) -> bool {
        self.shard.is_closed()
    }

    fn notify(&self, log: &RoomLog, cursor: &Arc<Cursor<Self>>) {
        if !self.shard.ready(Ready { log: log.clone(), cursor: Arc::clone(cursor) }) {
            // The shard did not find this room when it was dropped.
            log.abandon(cursor);
        }
    }
}

/// A room that has something to read.
pub(super) struct Ready {
    pub(super) log: RoomLog,
    pub(super) cursor: Arc<Cursor<Link>>,
}

/// What happens to a member at a position of its room's log.
pub(in crate::room) struct Command {
    pub(in crate::room) seat: SeatId,
    /// Different for each join of a room.
    pub(in crate::room) member: u32,
    pub(in crate::room) action: Action,
}

pub(in crate::room) enum Action {
    /// The member receives what comes after this, and `first` before it.
    Join {
        user: u64,
        audience: u32,
        first: Option<WireFrame>,
    },
    /// The member receives `last`, and nothing after it.
    Leave {
        last: Option<WireFrame>,
    },
    Audience(u32),
}

/// A seat and the number of times that it was free before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::room) struct SeatId {
    pub(in crate::room) seat: u32,
    pub(super) generation: u32,
}

/// What happens to a seat, in no order with what happens in rooms.
pub(super) enum SeatCommand {
    Open(Form, Arc<SeatState>),
    Push(WireFrame),
    /// More waited than allowed.
    Overflow(CloseReason),
    /// The writer cannot write to it.
    Fail,
    Close,
}

/// What the threads that publish, join and leave share with a shard.
pub(in crate::room) struct Shared {
    inbox: Mutex<Inbox>,
    pub(super) waker: AtomicWaker,
    pub(super) options: OutboxOptions,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) ready: Vec<Ready>,
    pub(super) commands: Vec<(SeatId, SeatCommand)>,
    /// Seats that are free.
    pub(super) free: Vec<SeatId>,
    /// The number of seats that were ever opened.
    seats: u32,
    /// The shard was dropped.
    is_closed: bool,
}

impl Shared {
    pub(super) fn new(options: OutboxOptions) -> Self {
        Self { inbox: Mutex::default(), waker: AtomicWaker::new(), options }
    }

    /// `false` if the shard is gone.
    fn ready(&self, ready: Ready) -> bool {
        self.with_inbox(|inbox| {
            if !inbox.is_closed {
                inbox.ready.push(ready);
            }
            !inbox.is_closed
        })
    }

    pub(super) fn command(&self, seat: SeatId, command: SeatCommand) {
        self.with_inbox(|inbox| inbox.commands.push((seat, command)));
    }

    /// Changes the inbox, and wakes the shard if the inbox was empty.
    fn with_inbox<R>(&self, change: impl FnOnce(&mut Inbox) -> R) -> R {
        let mut inbox = self.inbox.lock();
        let was_empty = inbox.ready.is_empty() && inbox.commands.is_empty();
        let changed = change(&mut inbox);
        let dropped = if inbox.is_closed { mem::take(&mut inbox.commands) } else { Vec::new() };
        drop(inbox);
        if was_empty {
            self.waker.wake();
        }
        refuse(dropped);
        changed
    }

    /// The shard is dropped: no command is kept from now on. Returns the rooms that are listed.
    pub(super) fn close(&self) -> Vec<Ready> {
        let (ready, commands) = self.take(|inbox| {
            inbox.is_closed = true;
            (mem::take(&mut inbox.ready), mem::take(&mut inbox.commands))
        });
        refuse(commands);
        ready
    }

    pub(in crate::room) fn is_closed(&self) -> bool {
        self.inbox.lock().is_closed
    }

    /// Calls `take` with the inbox; wakes nobody.
    pub(super) fn take<R>(&self, take: impl FnOnce(&mut Inbox) -> R) -> R {
        take(&mut self.inbox.lock())
    }
}

/// Drops the commands to a shard that is gone, and closes the seats that they open.
fn refuse(commands: Vec<(SeatId, SeatCommand)>) {
    for (_, command) in commands {
        if let SeatCommand::Open(_, state) = command {
            state.reason.set(CloseReason::ReaderDropped);
        }
    }
}

/// Opens seats in a shard; a clone is one more handle of the same shard.
#[derive(Clone)]
pub struct ShardHandle {
    pub(super) shared: Arc<Shared>,
}

impl ShardHandle {
    /// Opens a seat for a connection that is sent its frames in `form`. Its number is the lowest that was
    /// never used, or that of a seat whose end the shard has seen in a round: so a writer that finds a
    /// connection by this number keeps a handle of the seat for as long as the connection.
    pub fn open(&self, form: Form) -> Seat {
        let shared = &self.shared;
        shared.with_inbox(|inbox| {
            let id = inbox.free.pop().unwrap_or_else(|| {
                inbox.seats += 1;
                SeatId { seat: inbox.seats - 1, generation: 0 }
            });
            let state = Arc::new(SeatState {
                shard: Arc::clone(shared),
                id,
                handles: AtomicU32::new(1),
                waiting: AtomicU32::new(0),
                waiting_bytes: AtomicUsize::new(0),
                commands: AtomicU32::new(0),
                has_overflowed: AtomicBool::new(false),
                reason: OnceReason::default(),
            });
            inbox.commands.push((id, SeatCommand::Open(form, Arc::clone(&state))));
            Seat { state }
        })
    }
}

impl fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardHandle").finish_non_exhaustive()
    }
}

/// What the handles of a seat share with the shard.
pub(super) struct SeatState {
    shard: Arc<Shared>,
    id: SeatId,
    handles: AtomicU32,
    /// The number of pushed frames that the shard has not taken yet.
    waiting: AtomicU32,
    /// Their bytes.
    waiting_bytes: AtomicUsize,
    /// The number of joins, leaves and changes of audience that the shard has not taken yet.
    pub(super) commands: AtomicU32,
    has_overflowed: AtomicBool,
    pub(super) reason: OnceReason,
}

impl SeatState {
    /// The shard has taken a pushed frame.
    pub(super) fn taken(&self, frame: &WireFrame) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(frame.wire().len(), Ordering::Relaxed);
    }
}

/// A connection whose frames a [`Shard`](super::Shard) sends; one of many handles.
///
/// The seat ends with its last handle: it is a member of no room any more, and its number is used again.
pub struct Seat {
    state: Arc<SeatState>,
}

impl Seat {
    /// The number by which the shard names this connection.
    #[must_use]
    pub fn number(&self) -> usize {
        self.state.id.seat as usize
    }

    /// Sends a frame to this connection alone, in order with other such frames, but before or after what
    /// rooms send it meanwhile. [`Push::Closed`] if the seat has failed, perhaps because more such frames
    /// or bytes wait for the shard than its outboxes may hold.
    pub fn push(&self, frame: Frame) -> Push {
        self.push_wire(frame.into())
    }

    /// Sends a control frame to this connection, as [`push`](Self::push) does a message. A connection that
    /// is sent server-sent events gets a comment for a ping, and nothing for another control frame.
    pub fn control(&self, control: Control) -> Push {
        self.push_wire(control.into())
    }

    fn push_wire(&self, frame: WireFrame) -> Push {
        let state = &*self.state;
        if state.reason.get().is_some() {
            return Push::Closed;
        }
        let OutboxOptions { max_frames, max_bytes, .. } = state.shard.options;
        let frames = state.waiting.fetch_add(1, Ordering::Relaxed) as usize;
        let bytes = state.waiting_bytes.fetch_add(frame.wire().len(), Ordering::Relaxed);
        let overflow = if frames >= max_frames.max(1) {
            Some(CloseReason::TooManyFrames)
        } else if bytes + frame.wire().len() > max_bytes {
            Some(CloseReason::TooManyBytes)
        } else {
            None
        };
        if let Some(reason) = overflow {
            state.taken(&frame);
            if !state.has_overflowed.swap(true, Ordering::Relaxed) {
                state.shard.command(state.id, SeatCommand::Overflow(reason));
            }
            return Push::Closed;
        }
        state.shard.command(state.id, SeatCommand::Push(frame));
        Push::Queued
    }

    /// The number of pushed frames, joins and leaves that the shard has not taken yet, and the frames' bytes.
    /// A server that receives from a client only while both are small cannot be outrun by it.
    #[must_use]
    pub fn unread(&self) -> (usize, usize) {
        let state = &*self.state;
        // Relaxed: another thread may push or take one at any time.
        let number = state.waiting.load(Ordering::Relaxed) + state.commands.load(Ordering::Relaxed);
        (number as usize, state.waiting_bytes.load(Ordering::Relaxed))
    }

    /// Counts a command for the shard, until that has taken it.
    pub(super) fn count_command(&self) {
        self.state.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// A counted command was refused.
    pub(super) fn uncount_command(&self) {
        self.state.commands.fetch_sub(1, Ordering::Relaxed);
    }

    /// The reason why the shard sends nothing more to this connection; `None` while it does.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.reason.get()
    }

    pub(in crate::room) fn shard(&self) -> &Arc<Shared> {
        &self.state.shard
    }

    pub(in crate::room) fn id(&self) -> SeatId {
        self.state.id
    }
}

impl Clone for Seat {
    fn clone(&self) -> Self {
        // Relaxed: made from an existing handle, like a reference of an `Arc`.
        self.state.handles.fetch_add(1, Ordering::Relaxed);
        Self { state: Arc::clone(&self.state) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // AcqRel: what the other handles did comes before the end.
        if self.state.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.shard.command(self.state.id, SeatCommand::Close);
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("number", &self.number()).finish_non_exhaustive()
    }
}
