//! A connection's place in a shard, and what other threads tell the shard.

use std::sync::{Arc as StdArc, Weak};
use std::{fmt, mem};

use crate::frame::{Control, Form, Frame, WireFrame};
use crate::log::{Cursor, Log, Notify, Readers};
use crate::outbox::{CloseReason, OnceReason, OutboxOptions, Push};
use crate::ring::word::{MAX_BYTES, MAX_FRAMES};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, AtomicWaker, Mutex};

/// The log of a room.
pub(in crate::room) type RoomLog = Log<Link>;

/// The connection from a log to one shard, or to the readers.
pub(in crate::room) struct Link {
    to: Target,
    /// The number of the room in the shard's table, or [`NONE`]; used by the shard only.
    pub(super) room: AtomicU32,
}

enum Target {
    Shard(Arc<Shared>),
    Readers(Box<Readers>),
}

/// The number of no room, seat or place.
pub(super) const NONE: u32 = u32::MAX;

impl Link {
    fn new(to: Target) -> Self {
        Self { to, room: AtomicU32::new(NONE) }
    }

    /// The readers, whose link it is.
    #[inline]
    pub(in crate::room) fn readers(&self) -> Option<&Readers> {
        match &self.to {
            Target::Shard(_) => None,
            Target::Readers(readers) => Some(readers),
        }
    }

    fn is_of(&self, shard: &Arc<Shared>) -> bool {
        matches!(&self.to, Target::Shard(of) if Arc::ptr_eq(of, shard))
    }
}

/// The cursor of a log's readers.
pub(in crate::room) fn cursor_of_readers(log: &RoomLog) -> &Arc<Cursor<Link>> {
    let readers = || Link::new(Target::Readers(Box::new(Readers::new(log.bounds()))));
    log.cursor_of(|link| link.readers().is_some(), readers)
}

impl Notify for Link {
    type Command = Command;

    fn is_closed(&self) -> bool {
        matches!(&self.to, Target::Shard(shard) if shard.is_closed())
    }

    fn notify(&self, log: &RoomLog, cursor: &Arc<Cursor<Self>>) {
        match &self.to {
            Target::Shard(shard) => {
                if !shard.ready(Ready { log: log.clone(), cursor: Arc::clone(cursor) }) {
                    // The shard did not find this room when it was dropped.
                    log.abandon(cursor);
                }
            }
            Target::Readers(readers) => readers.notify(log, cursor),
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
    /// The member receives what it missed before it joined: frames of so many bytes.
    Missed(Box<[WireFrame]>, usize),
}

/// A seat and the number of times that it was free before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::room) struct SeatId {
    pub(in crate::room) seat: u32,
    pub(super) generation: u32,
}

/// What happens to a seat, in no order with what happens in rooms.
pub(super) enum SeatCommand {
    Open(Form, Weak<SeatState>),
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
    /// The shard was dropped; changed under the inbox's lock.
    is_closed: AtomicBool,
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
}

impl Shared {
    pub(super) fn new(options: OutboxOptions) -> Self {
        Self {
            inbox: Mutex::default(),
            is_closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            options,
        }
    }

    /// `false` if the shard is gone.
    fn ready(&self, ready: Ready) -> bool {
        self.with_inbox(|inbox| {
            let is_open = !self.is_closed();
            if is_open {
                inbox.ready.push(ready);
            }
            is_open
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
        let dropped = if self.is_closed() { mem::take(&mut inbox.commands) } else { Vec::new() };
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
            // Release: as the lock would; joins look without it.
            self.is_closed.store(true, Ordering::Release);
            (mem::take(&mut inbox.ready), mem::take(&mut inbox.commands))
        });
        refuse(commands);
        ready
    }

    pub(in crate::room) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Calls `take` with the inbox; wakes nobody.
    pub(super) fn take<R>(&self, take: impl FnOnce(&mut Inbox) -> R) -> R {
        take(&mut self.inbox.lock())
    }
}

/// Drops the commands to a shard that is gone, and closes the seats that they open.
fn refuse(commands: Vec<(SeatId, SeatCommand)>) {
    for (_, command) in commands {
        if let SeatCommand::Open(_, state) = command
            && let Some(state) = state.upgrade()
        {
            state.reason.set(CloseReason::ReaderDropped);
        }
    }
}

/// Opens seats in a shard; a clone is another handle of the same shard.
#[derive(Clone)]
pub struct ShardHandle {
    pub(super) shared: Arc<Shared>,
}

impl ShardHandle {
    /// Opens a seat for a connection that is sent its frames in `form`. Its number is the lowest one that
    /// was never used, or that of a seat whose end the shard has seen in a round. So a writer that finds
    /// connections by these numbers must keep a handle of the seat for as long as the connection lives.
    pub fn open(&self, form: Form) -> Seat {
        let shared = &self.shared;
        shared.with_inbox(|inbox| {
            let id = inbox.free.pop().unwrap_or_else(|| {
                inbox.seats += 1;
                SeatId { seat: inbox.seats - 1, generation: 0 }
            });
            let state = StdArc::new(SeatState {
                shard: Arc::clone(shared),
                id,
                waiting: AtomicU64::new(0),
                commands: AtomicU32::new(0),
                form,
                has_overflowed: AtomicBool::new(false),
                reason: OnceReason::default(),
            });
            inbox.commands.push((id, SeatCommand::Open(form, StdArc::downgrade(&state))));
            Seat { state }
        })
    }
}

impl fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardHandle").finish_non_exhaustive()
    }
}

/// What the handles of a seat share with the shard, which does not keep it: the last handle drops it.
pub(super) struct SeatState {
    shard: Arc<Shared>,
    id: SeatId,
    /// The number of pushed frames that the shard has not taken yet, above their [bytes](WAITING_BYTES).
    waiting: AtomicU64,
    /// The number of joins, leaves and changes of audience that the shard has not taken yet.
    commands: AtomicU32,
    form: Form,
    has_overflowed: AtomicBool,
    pub(super) reason: OnceReason,
}

/// Bits enough for the bytes that may wait and one more frame of each thread.
const WAITING_BYTES: u32 = 40;

/// What waits after one more frame, or less after one that was taken.
const fn one_waiting(frame_len: usize) -> u64 {
    1 << WAITING_BYTES | frame_len as u64
}

/// Commands of one seat.
#[derive(Default)]
pub(super) struct Taken {
    commands: u32,
    /// The old frames among them, as they were counted.
    waiting: u64,
}

impl Taken {
    pub(super) const fn add(&mut self, action: &Action) {
        self.commands += 1;
        if let Action::Missed(_, bytes) = action {
            self.waiting += one_waiting(*bytes);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.commands == 0
    }
}

impl SeatState {
    /// The shard has taken a pushed frame.
    pub(super) fn taken(&self, frame: &WireFrame) {
        self.waiting.fetch_sub(one_waiting(frame.wire().len()), Ordering::Relaxed);
    }

    /// The shard has taken commands.
    pub(super) fn commands_taken(&self, taken: &Taken) {
        self.commands.fetch_sub(taken.commands, Ordering::Relaxed);
        if taken.waiting > 0 {
            self.waiting.fetch_sub(taken.waiting, Ordering::Relaxed);
        }
    }
}

impl Drop for SeatState {
    fn drop(&mut self) {
        self.shard.command(self.id, SeatCommand::Close);
    }
}

/// A connection whose frames a [`Shard`](super::Shard) sends; one of many handles.
///
/// The seat ends with its last handle: it is a member of no room any more, and its number is used again.
#[derive(Clone)]
pub struct Seat {
    state: StdArc<SeatState>,
}

impl Seat {
    /// The number by which the shard names this connection.
    #[must_use]
    pub fn number(&self) -> usize {
        self.state.id.seat as usize
    }

    /// The form in which it is sent messages.
    #[must_use]
    pub fn form(&self) -> Form {
        self.state.form
    }

    /// Sends a frame to this connection alone, in order with other such frames, but before or after what
    /// rooms send it meanwhile. [`Push::Closed`] if the seat has failed, perhaps because more such frames
    /// or bytes wait for the shard than one of its outboxes may hold.
    pub fn push(&self, frame: Frame) -> Push {
        self.push_wire(frame.into())
    }

    /// Sends a control frame to this connection, as [`push`](Self::push) does a message. If the
    /// connection's form is server-sent events, it gets a comment for a ping, and nothing for other
    /// control frames.
    pub fn control(&self, control: Control) -> Push {
        self.push_wire(control.into())
    }

    fn push_wire(&self, frame: WireFrame) -> Push {
        let state = &*self.state;
        if state.reason.get().is_some() {
            return Push::Closed;
        }
        let OutboxOptions { max_frames, max_bytes, .. } = state.shard.options;
        let len = frame.wire().len();
        let waiting = state.waiting.fetch_add(one_waiting(len), Ordering::Relaxed);
        let (frames, bytes) = (waiting >> WAITING_BYTES, waiting & ((1 << WAITING_BYTES) - 1));
        let overflow = if frames >= max_frames.clamp(1, MAX_FRAMES as usize) as u64 {
            Some(CloseReason::TooManyFrames)
        } else if bytes + len as u64 > max_bytes.min(MAX_BYTES as usize) as u64 {
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

    /// The number of pushed frames, joins and leaves that the shard has not taken yet, and the bytes of these frames
    /// and of [old ones](crate::Room::seat_after). If a server receives from a client only while both are small, the
    /// client cannot send faster than the server delivers.
    #[must_use]
    pub fn unread(&self) -> (usize, usize) {
        let state = &*self.state;
        // Relaxed: another thread may push or take one at any time.
        let waiting = state.waiting.load(Ordering::Relaxed);
        let commands = state.commands.load(Ordering::Relaxed) as usize;
        let bytes = waiting & ((1 << WAITING_BYTES) - 1);
        ((waiting >> WAITING_BYTES) as usize + commands, bytes as usize)
    }

    /// Counts a command for the shard, until that has taken it.
    pub(super) fn count_command(&self) {
        self.state.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the bytes of old frames for the shard, until that has taken them: [`one_waiting`] frame of this length.
    pub(super) fn count_missed(&self, bytes: usize) {
        self.state.waiting.fetch_add(one_waiting(bytes), Ordering::Relaxed);
    }

    /// Counted old frames were refused.
    pub(super) fn uncount_missed(&self, bytes: usize) {
        self.state.waiting.fetch_sub(one_waiting(bytes), Ordering::Relaxed);
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

    /// The place from which its shard reads a room's log, which knows few shards.
    pub(in crate::room) fn cursor<'a>(&self, log: &'a RoomLog) -> &'a Arc<Cursor<Link>> {
        let shard = self.shard();
        log.cursor_of(|link| link.is_of(shard), || Link::new(Target::Shard(Arc::clone(shard))))
    }

    pub(in crate::room) fn id(&self) -> SeatId {
        self.state.id
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("number", &self.number()).finish_non_exhaustive()
    }
}
