//! The connections of one writer, which receive from rooms by log.

mod membership;
mod round;
mod seat;
mod unsent;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Weak;
use std::task::{Context, Poll};
use std::{fmt, mem, slice};

use ahash::RandomState;
use smallvec::SmallVec;

pub use membership::SeatMembership;
use seat::{Command, SeatId, Shared};
pub(super) use seat::{Link, RoomLog, cursor_of_readers};
pub use seat::{Seat, ShardHandle};
pub use unsent::Unsent;

use crate::frame::{Form, WireFrame};
use crate::log::Entry;
use crate::outbox::{CloseReason, Outbox, OutboxOptions, OutboxStats};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, register};
use round::{Event, Frames, Subjects};
use seat::{NONE, Ready, SeatCommand, SeatState};

/// The connections of one writer.
///
/// Members that sit in a shard ([`Room::seat`](super::Room::seat)) share one cursor into the room's log, so
/// a publish costs the same whatever their number. The writer gives them what is new in *rounds*: in each,
/// every connection is sent one run of bytes, and most connections of a room the very same.
///
/// It does no input or output itself:
///
/// ```
/// use std::task::{Context, Waker};
/// use pondwire::frame::Form;
/// use pondwire::room::Shard;
/// use pondwire::{Frame, OutboxOptions, Payload, Room};
///
/// let mut shard = Shard::new(OutboxOptions::default());
/// let room = Room::new();
/// let seat = shard.handle().open(Form::WebSocket);
/// let membership = room.seat("ann", &seat, None)?;
/// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
/// room.publish(&frame);
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(shard.poll_round(&mut cx).is_ready());
/// for send in shard.sends() {
///     assert_eq!((send.seats, send.bytes), (&[seat.number() as u32][..], frame.wire()));
/// }
/// // A socket took only two bytes: the shard keeps the rest for this connection.
/// shard.fell_short(seat.number(), 2);
/// shard.end_round();
/// // Later the socket has space again.
/// let mut sent = Vec::new();
/// shard.write_behind(seat.number(), |bytes| {
///     sent.extend_from_slice(bytes);
///     bytes.len()
/// });
/// assert_eq!(sent, &frame.wire()[2..]);
/// # Ok::<(), pondwire::fanout::Closed>(())
/// ```
///
/// A connection that took all of its bytes keeps nothing in memory but its seat. One that did not is
/// *behind*: it gets an outbox of its own, with the bounds and the policy of the shard's options, into
/// which each round pushes what the connection's rooms publish, until it has caught up.
///
/// Frames of one room keep their order, also with joins, leaves and frames to users by name. Between rooms
/// there is no order.
pub struct Shard {
    shared: Arc<Shared>,
    seats: Vec<Slot>,
    rooms: Vec<SeatedRoom>,
    free_rooms: Vec<u32>,
    /// Whether a round has begun and not ended.
    is_open: bool,
    /// The rooms with something new in this round.
    active: Vec<u32>,
    events: Vec<Event>,
    subjects: Subjects,
    /// The connections that are sent bytes of their own in this round.
    apart: Vec<Apart>,
    /// Their bytes.
    bytes: Vec<u8>,
    failed: Vec<(u32, CloseReason)>,
    /// The rests of frames that were sent in part to seats that have failed.
    rests: Vec<(u32, Unsent)>,
    /// The seats that were put behind in this round because their bytes are many.
    held_back: Vec<u32>,
    /// The seats that are behind.
    behind: HashMap<u32, Behind, RandomState>,
    /// The seats whose last handle was dropped, before this round and since it began: a room may still send
    /// them their last frames.
    closed_before: Vec<u32>,
    closed: Vec<u32>,
    /// All counters but those of connections that are behind now.
    stats: ShardStats,
    // Emptied in each round; their memory is kept.
    users: Vec<u64>,
    left: Vec<(u32, u32)>,
    spare_frames: Vec<Frames>,
    ready: Vec<Ready>,
    commands: Vec<(SeatId, SeatCommand)>,
    freed: Vec<Entry>,
}

/// The most rooms for whose next round memory is kept.
const SPARE_FRAMES: usize = 16;

/// The most bytes and events for which memory is kept between rounds.
const SPARE_BYTES: usize = 1 << 20;
const SPARE_EVENTS: usize = 1 << 14;

/// One seat.
struct Slot {
    generation: u32,
    form: Form,
    status: Status,
    /// Its place in `apart`, or [`NONE`].
    apart: u32,
    /// Empty after the seat's last handle was dropped.
    state: Weak<SeatState>,
    memberships: Memberships,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Free,
    /// The socket has taken everything.
    Current,
    /// It has not: there is a [`Behind`].
    Behind,
    /// Nothing more is sent but the rest of a frame that was sent in part.
    Failed,
}

/// A connection that has not taken everything.
struct Behind {
    /// For what comes after the round in which the connection fell behind.
    outbox: Outbox,
    unsent: Unsent,
}

impl Behind {
    /// The bytes that wait for the connection.
    const fn bytes(&self, outbox: &OutboxStats) -> usize {
        outbox.queued_bytes + self.unsent.bytes()
    }
}

/// A membership of a seat.
struct Seated {
    room: u32,
    member: u32,
    user: UserKey,
    audience: u32,
    list: List,
    /// The place in that list.
    place: u32,
}

/// The key of a user, aligned as the other fields of a membership are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct UserKey {
    upper: u32,
    lower: u32,
}

const fn pair(upper: u32, lower: u32) -> u64 {
    (upper as u64) << 32 | lower as u64
}

impl UserKey {
    const fn new(key: u64) -> Self {
        Self { upper: (key >> 32) as u32, lower: key as u32 }
    }

    const fn get(self) -> u64 {
        pair(self.upper, self.lower)
    }
}

/// The list of a room that a membership is in: the number of a group, all members of which are sent the same bytes, or
/// another one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct List(u32);

impl List {
    /// None during a round.
    const NOWHERE: Self = Self(u32::MAX);
    const OTHERS: Self = Self(u32::MAX - 1);
}

/// The memberships of a seat, nearly always one.
#[derive(Default)]
enum Memberships {
    #[default]
    None,
    One(Seated),
    /// In a box, because most seats have no space for more than its pointer.
    #[allow(clippy::box_collection)]
    Several(Box<Vec<Seated>>),
}

impl Memberships {
    fn push(&mut self, seated: Seated) {
        *self = match mem::take(self) {
            Self::None => Self::One(seated),
            Self::One(first) => Self::Several(Box::new(vec![first, seated])),
            Self::Several(mut several) => {
                several.push(seated);
                Self::Several(several)
            }
        };
    }

    fn remove(&mut self, at: usize) {
        *self = match mem::take(self) {
            Self::Several(mut several) => {
                several.remove(at);
                if several.len() > 1 {
                    Self::Several(several)
                } else {
                    several.pop().map_or(Self::None, Self::One)
                }
            }
            Self::One(_) | Self::None => Self::None,
        };
    }
}

impl Deref for Memberships {
    type Target = [Seated];

    fn deref(&self) -> &[Seated] {
        match self {
            Self::None => &[],
            Self::One(one) => slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl DerefMut for Memberships {
    fn deref_mut(&mut self) -> &mut [Seated] {
        match self {
            Self::None => &mut [],
            Self::One(one) => slice::from_mut(one),
            Self::Several(several) => several,
        }
    }
}

/// A room with members in this shard.
struct SeatedRoom {
    /// `None`: the number is free.
    source: Option<Ready>,
    /// The position after the last entry that was read.
    end: u32,
    /// Frames were dropped before the position at this distance.
    lost_before: Option<u32>,
    /// Those before a position that the last read did not come to.
    commands: Vec<(u32, Command)>,
    is_active: bool,
    memberships: u32,
    groups: SmallVec<[Group; 1]>,
    /// The seats that are behind or have other memberships.
    others: Vec<u32>,
    /// Empty between rounds.
    frames: Frames,
}

/// Members that take the same bytes.
struct Group {
    audience: u32,
    form: Form,
    seats: Vec<u32>,
    /// The upper half of the key of each one's user.
    users: Vec<u32>,
}

/// A connection that is sent bytes that are not those of its group.
struct Apart {
    seat: u32,
    /// The room and audience whose bytes these are a part of; `None` if they are its own.
    source: Option<(u32, u32)>,
    bytes: Range<usize>,
    events: Range<usize>,
}

/// The counters of a [`Shard`]. All but the last three only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// The number of messages and control frames that were sent to connections or queued for them,
    /// counted for each connection.
    pub sent_frames: u64,
    /// Their bytes, in the connections' forms.
    pub sent_bytes: u64,
    /// The frames that connections did not receive.
    pub dropped: Dropped,
    /// The connections that are behind now.
    pub behind: usize,
    /// The number of frames that wait for them.
    pub queued_frames: usize,
    /// The bytes of these frames, each counted for every connection that it waits for.
    pub queued_bytes: usize,
}

/// Numbers of frames that the connections of a [`Shard`] did not receive, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Dropped for newer ones.
    pub oldest: u64,
    /// Dropped because there was no space for them.
    pub newest: u64,
    /// Replaced by a newer one with the same key.
    pub conflated: u64,
    /// Queued for a connection that failed.
    pub discarded: u64,
    /// Dropped by a room before the shard read them; see [`Shard::lost`].
    pub lost: u64,
}

impl Dropped {
    const fn add(&mut self, outbox: &OutboxStats) {
        self.oldest += outbox.dropped_oldest;
        self.newest += outbox.dropped_newest;
        self.conflated += outbox.conflated;
        self.discarded += outbox.discarded;
    }
}

/// The bytes that some connections are sent in a round.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// The numbers of the connections' seats.
    pub seats: &'a [u32],
    /// Whole frames, at least one.
    pub bytes: &'a [u8],
}

impl Shard {
    /// A shard without connections. A connection that falls behind gets an outbox with these options; they
    /// also bound the frames that wait for one connection alone.
    #[must_use]
    pub fn new(options: OutboxOptions) -> Self {
        Self {
            shared: Arc::new(Shared::new(options)),
            seats: Vec::new(),
            rooms: Vec::new(),
            free_rooms: Vec::new(),
            is_open: false,
            active: Vec::new(),
            events: Vec::new(),
            subjects: Subjects::default(),
            apart: Vec::new(),
            bytes: Vec::new(),
            failed: Vec::new(),
            rests: Vec::new(),
            held_back: Vec::new(),
            behind: HashMap::default(),
            closed_before: Vec::new(),
            closed: Vec::new(),
            users: Vec::new(),
            left: Vec::new(),
            stats: ShardStats::default(),
            spare_frames: Vec::new(),
            ready: Vec::new(),
            commands: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// Opens seats, from any thread.
    #[must_use]
    pub fn handle(&self) -> ShardHandle {
        ShardHandle { shared: Arc::clone(&self.shared) }
    }

    /// Begins a round if there is something to do; otherwise the waker is woken once there is. If the
    /// previous round was not [ended](Self::end_round), it is ended now.
    ///
    /// Costs, besides the bytes, a few nanoseconds for each entry of the rooms that have something new, and
    /// for each connection that is sent something of its own.
    pub fn poll_round(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end_round();
        register(&self.shared.waker, cx.waker());
        let ready = &mut self.ready;
        let has_commands = self.shared.take(|inbox| {
            mem::swap(&mut inbox.ready, ready);
            !inbox.commands.is_empty()
        });
        if ready.is_empty() && !has_commands && self.closed.is_empty() {
            return Poll::Pending;
        }
        mem::swap(&mut self.closed_before, &mut self.closed);
        self.is_open = true;
        self.read_rooms();
        // After the rooms: a seat was opened before it became a member.
        let commands = &mut self.commands;
        self.shared.take(|inbox| mem::swap(&mut inbox.commands, commands));
        self.run_seat_commands();
        self.set_apart();
        self.compose();
        Poll::Ready(())
    }

    /// What is to be sent in this round; each connection appears at most once. The connections of
    /// [`held_back`](Self::held_back) have to be written to, too.
    pub fn sends(&self) -> impl Iterator<Item = Send<'_>> {
        let groups = self.active.iter().flat_map(|&room| {
            let room = &self.rooms[room as usize];
            room.groups.iter().filter_map(|group| {
                let bytes = room.frames.bytes_for(group.audience, group.form)?;
                (!bytes.is_empty() && !group.seats.is_empty())
                    .then_some(Send { seats: &group.seats, bytes })
            })
        });
        let apart = self.apart.iter().filter_map(|apart| {
            if !matches!(self.seats[apart.seat as usize].status, Status::Current) {
                return None;
            }
            let all = match apart.source {
                None => &self.bytes,
                Some((room, audience)) => {
                    let form = self.seats[apart.seat as usize].form;
                    self.rooms[room as usize].frames.bytes_for(audience, form)?
                }
            };
            let bytes = &all[apart.bytes.clone()];
            let seats = slice::from_ref(&apart.seat);
            (!bytes.is_empty()).then_some(Send { seats, bytes })
        });
        groups.chain(apart)
    }

    /// The connections for which this round did not join bytes, because they would be many and for that
    /// connection alone. They are not among [`sends`](Self::sends), and count as behind: write to them as if
    /// their sockets had been full.
    pub fn held_back(&self) -> impl Iterator<Item = usize> + '_ {
        self.held_back.iter().map(|number| *number as usize)
    }

    /// Reports that the connection took only the first `sent` bytes of this round: it is behind from
    /// now on. Call it at most once for a connection in a round, and before the round's end.
    ///
    /// # Panics
    /// The seat is not open, or no round is.
    pub fn fell_short(&mut self, seat: usize, sent: usize) {
        let number = seat as u32;
        let slot = &self.seats[seat];
        assert!(!matches!(slot.status, Status::Free), "seat {seat} is not open");
        assert!(self.is_open, "the round has ended: what the socket did not take is lost");
        if !matches!(slot.status, Status::Current) {
            return;
        }
        self.put_behind(number, sent);
        self.place(number);
    }

    /// Keeps what a seat is sent in this round, but for the first `sent` bytes.
    fn put_behind(&mut self, number: u32, sent: usize) {
        let slot = &self.seats[number as usize];
        let (outbox, reader) = Outbox::new(self.shared.options);
        let (form, mut left) = (slot.form, sent);
        let mut unsent = Unsent::new(form, Some(reader));
        let mut keep = |frame: &WireFrame, _: Option<u64>| {
            let len = frame.bytes(form).len();
            if left >= len {
                left -= len;
            } else {
                unsent.push(frame.clone(), mem::take(&mut left));
            }
        };
        if slot.apart != NONE {
            let run = self.apart[slot.apart as usize].events.clone();
            self.walk(&self.events[run], |piece| piece.for_each(&mut keep));
        } else if let Some(seated) = slot.memberships.first() {
            let room = &self.rooms[seated.room as usize];
            room.frames.for_each(0..room.frames.len(), seated.audience, keep);
        }
        self.seats[number as usize].status = Status::Behind;
        self.behind.insert(number, Behind { outbox, unsent });
    }

    /// Writes what a connection that is behind has not taken. `write` is given bytes and returns how many
    /// of them the socket took; it is called until the socket takes less than it is given or nothing is
    /// left. `true` if nothing is left.
    pub fn write_behind(&mut self, seat: usize, mut write: impl FnMut(&[u8]) -> usize) -> bool {
        let Some(slot) = self.seats.get_mut(seat) else { return true };
        let number = seat as u32;
        let Some(behind) = self.behind.get_mut(&number) else {
            return slot.status != Status::Failed;
        };
        while let Some(rest) = behind.unsent.peek() {
            let (len, sent) = (rest.len(), write(rest));
            behind.unsent.advance(sent.min(len));
            if sent < len {
                return false;
            }
        }
        if behind.outbox.closed().is_none() {
            self.stats.dropped.add(&behind.outbox.stats());
            self.behind.remove(&number);
            slot.status = Status::Current;
            // One that is set apart has its place at the end of the round.
            if slot.apart == NONE {
                self.place(number);
            }
            return true;
        }
        self.check_outbox(number);
        false
    }

    /// Stops sending to a connection, and returns what its socket has not taken: after a
    /// [failure](Self::failed) at most the rest of a frame. The seat is used again once its last handle has
    /// been dropped. Ends the round, if one is open.
    ///
    /// A room that the connection left before the last round began sends nothing after this. Nothing happens
    /// if no round has seen the seat yet.
    pub fn end(&mut self, seat: usize) -> Unsent {
        self.end_round();
        let Some(slot) = self.seats.get_mut(seat) else { return Unsent::default() };
        let unsent = match mem::replace(&mut slot.status, Status::Failed) {
            Status::Free => {
                slot.status = Status::Free;
                return Unsent::default();
            }
            Status::Current => Unsent::default(),
            Status::Behind => {
                let behind = self.behind.remove(&(seat as u32));
                let Behind { outbox, unsent } = behind.expect("its status says so");
                self.stats.dropped.add(&outbox.stats());
                unsent
            }
            Status::Failed => {
                let rest = self.rests.iter().position(|(number, _)| *number == seat as u32);
                rest.map_or_else(Unsent::default, |at| self.rests.swap_remove(at).1)
            }
        };
        if let Some(state) = slot.state.upgrade() {
            state.reason.set(CloseReason::Finished);
        }
        self.place(seat as u32);
        unsent
    }

    /// The number of frames that members here did not receive because their rooms' logs were full before
    /// this shard read them, counted for each member.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.stats.dropped.lost
    }

    /// The counters of all connections. Visits each connection that is behind.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        let mut stats = self.stats;
        stats.behind = self.behind.len();
        for behind in self.behind.values() {
            let outbox = behind.outbox.stats();
            stats.dropped.add(&outbox);
            stats.queued_frames += outbox.queued_frames + behind.unsent.len();
            stats.queued_bytes += behind.bytes(&outbox);
        }
        stats
    }

    /// Fails the connections that have the most bytes queued, until at most `max_queued_bytes` are queued for all
    /// together. Returns how many have failed, each for [`CloseReason::TooManyBytes`]. Visits and sorts the
    /// connections that are behind.
    ///
    /// It is for a server that has a bound for all of its shards: the bounds of [`OutboxOptions`] are each
    /// connection's own.
    pub fn shed(&mut self, max_queued_bytes: usize) -> usize {
        let bytes = |behind: &Behind| behind.bytes(&behind.outbox.stats());
        let queues = self.behind.iter().map(|(seat, behind)| (bytes(behind), *seat));
        let mut queues: Vec<(usize, u32)> = queues.collect();
        let mut queued: usize = queues.iter().map(|(bytes, _)| bytes).sum();
        queues.sort_unstable();
        let mut failed = 0;
        while queued > max_queued_bytes
            && let Some((bytes, seat)) = queues.pop()
        {
            self.fail_for(seat, CloseReason::TooManyBytes);
            (queued, failed) = (queued - bytes, failed + 1);
        }
        failed
    }

    /// Whether some connection is behind.
    #[must_use]
    pub fn has_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether the connection has not taken everything.
    #[must_use]
    pub fn is_behind(&self, seat: usize) -> bool {
        self.behind.contains_key(&(seat as u32))
    }

    /// Ends a connection that cannot be written to any more: nothing is sent to it from now on. The seat is
    /// used again once its last handle has been dropped.
    pub fn fail(&mut self, seat: usize) {
        match self.seats.get(seat) {
            Some(Slot { status: Status::Current | Status::Behind, .. }) => {
                self.fail_for(seat as u32, CloseReason::ReaderDropped);
            }
            // The shard learns in the next round that it was opened.
            slot @ (Some(Slot { status: Status::Free, .. }) | None) => {
                let generation = slot.map_or(0, |slot| slot.generation);
                let id = SeatId { seat: seat as u32, generation };
                self.shared.command(id, SeatCommand::Fail);
            }
            Some(_) => {}
        }
    }

    /// The connections that have failed since the last call, with the reason: their outbox was closed by its
    /// policy, too many frames waited for them, or [`fail`](Self::fail) was called.
    ///
    /// For each, tell the task that reads from the connection to end, and send what [`end`](Self::end) returns, or the
    /// client gets a part of a frame. The connection's [memberships](SeatMembership) stay until they are dropped: its
    /// rooms count it in [`Room::len`](crate::Room::len), and the seat is not used again.
    pub fn failed(&mut self) -> impl Iterator<Item = (usize, CloseReason)> + '_ {
        self.failed.drain(..).map(|(number, reason)| (number as usize, reason))
    }

    /// Ends a round: makes the connections ready for the next one, and drops the frames.
    pub fn end_round(&mut self) {
        if !mem::take(&mut self.is_open) {
            return;
        }
        for at in 0..self.apart.len() {
            let seat = self.apart[at].seat;
            self.seats[seat as usize].apart = NONE;
            self.place(seat);
        }
        for number in mem::take(&mut self.closed_before) {
            self.free(number);
        }
        self.apart.clear();
        self.apart.shrink_to(SPARE_EVENTS);
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES);
        self.events.clear();
        self.events.shrink_to(SPARE_EVENTS);
        self.subjects.clear();
        self.held_back.clear();
        let mut active = mem::take(&mut self.active);
        for number in active.drain(..) {
            let room = &mut self.rooms[number as usize];
            room.is_active = false;
            let mut frames = mem::take(&mut room.frames);
            if self.spare_frames.len() < SPARE_FRAMES {
                frames.clear();
                self.spare_frames.push(frames);
            }
            let Some(source) = &room.source else { continue };
            // In this order: no command is given after the log was seen closed.
            let is_over = source.log.is_closed()
                && source.log.has_end(room.end)
                && !source.cursor.has_commands();
            if is_over {
                self.end_memberships(number);
            }
            self.settle(number);
        }
        // Its memory is used again.
        self.active = active;
    }

    /// Detaches a room without members. Otherwise its next entry wakes the shard; if that is there already,
    /// the room is listed again.
    fn settle(&mut self, number: u32) {
        let room = &mut self.rooms[number as usize];
        let Some(Ready { log, cursor }) = &room.source else { return };
        let is_unused = room.memberships == 0 && room.commands.is_empty();
        if is_unused && log.detach(cursor, &mut self.freed) {
            cursor.notify.room.store(NONE, Ordering::Relaxed);
            *room = SeatedRoom::default();
            self.free_rooms.push(number);
        } else if !log.sleep(room.end) {
            log.list(cursor);
        } else {
            // Again: of two shards that read to the end at once, neither may have seen the other's position.
            // One of them has fallen asleep later, and then has seen it.
            log.release(&mut self.freed);
        }
        self.freed.clear();
    }

    /// Ends all memberships of a room that is closed.
    fn end_memberships(&mut self, number: u32) {
        let room = &mut self.rooms[number as usize];
        let mut seats = mem::take(&mut room.others);
        seats.extend(room.groups.drain(..).flat_map(|group| group.seats));
        if seats.len() < room.memberships as usize {
            // Those of seats that have failed are in no list.
            let is_member = |slot: &Slot| slot.memberships.iter().any(|it| it.room == number);
            let found = self.seats.iter().enumerate().filter(|(_, slot)| is_member(slot));
            seats.extend(found.map(|(at, _)| at as u32));
        }
        room.memberships = 0;
        for seat in seats {
            let memberships = &mut self.seats[seat as usize].memberships;
            while let Some(at) = memberships.iter().position(|seated| seated.room == number) {
                memberships.remove(at);
            }
            self.place(seat);
        }
    }

    /// Puts each membership of a seat into the list that it belongs to.
    fn place(&mut self, number: u32) {
        let slot = &self.seats[number as usize];
        let is_grouped = matches!(slot.status, Status::Current) && slot.memberships.len() == 1;
        let is_sent = !matches!(slot.status, Status::Free | Status::Failed);
        for at in 0..slot.memberships.len() {
            let seated = &self.seats[number as usize].memberships[at];
            let is_placed = match seated.list {
                List::NOWHERE => !is_sent,
                List::OTHERS => is_sent && !is_grouped,
                List(_) => is_grouped,
            };
            if is_placed {
                continue;
            }
            self.unplace(number, at);
            if !is_sent {
                continue;
            }
            let slot = &mut self.seats[number as usize];
            let seated = &mut slot.memberships[at];
            let room = &mut self.rooms[seated.room as usize];
            (seated.list, seated.place) = if is_grouped {
                room.add_to_group(number, slot.form, seated.audience, seated.user, !self.is_open)
            } else {
                room.others.push(number);
                (List::OTHERS, room.others.len() as u32 - 1)
            };
        }
    }

    /// Takes a membership out of its list.
    fn unplace(&mut self, number: u32, at: usize) {
        let seated = &mut self.seats[number as usize].memberships[at];
        let (room_number, place) = (seated.room, seated.place as usize);
        let list = mem::replace(&mut seated.list, List::NOWHERE);
        let room = &mut self.rooms[room_number as usize];
        let seats = match list {
            List::NOWHERE => return,
            List::OTHERS => &mut room.others,
            List(group) => {
                let group = &mut room.groups[group as usize];
                group.users.swap_remove(place);
                &mut group.seats
            }
        };
        let last = seats.len() as u32 - 1;
        seats.swap_remove(place);
        if let Some(&moved) = seats.get(place) {
            // A seat may be in `others` more than once: the one that was last.
            let moved = self.seats[moved as usize]
                .memberships
                .iter_mut()
                .find(|it| it.room == room_number && it.list == list && it.place == last)
                .expect("a seat in a list has a membership that says so");
            moved.place = place as u32;
        }
    }

    /// Fails the seat if its outbox was closed.
    fn check_outbox(&mut self, number: u32) {
        if let Some(reason) = self.behind.get(&number).and_then(|behind| behind.outbox.closed()) {
            self.fail_for(number, reason);
        }
    }

    /// Ends a seat whose last handle was dropped.
    fn free(&mut self, number: u32) {
        let slot = &mut self.seats[number as usize];
        match mem::replace(&mut slot.status, Status::Free) {
            Status::Failed => {
                self.failed.retain(|(failed, _)| *failed != number);
                self.rests.retain(|(rest, _)| *rest != number);
            }
            Status::Behind => {
                let behind = self.behind.remove(&number).expect("its status says so");
                self.stats.dropped.add(&behind.outbox.stats());
            }
            Status::Free | Status::Current => {}
        }
        self.place(number);
        let slot = &mut self.seats[number as usize];
        slot.state = Weak::new();
        slot.generation = slot.generation.wrapping_add(1);
        let generation = slot.generation;
        for seated in mem::take(&mut slot.memberships).iter() {
            let room = &mut self.rooms[seated.room as usize];
            room.memberships -= 1;
            // A room of this round is settled after it.
            if room.memberships == 0 && !room.is_active {
                self.settle(seated.room);
            }
        }
        let id = SeatId { seat: number, generation };
        self.shared.take(|inbox| inbox.free.push(id));
    }

    fn fail_for(&mut self, number: u32, reason: CloseReason) {
        let slot = &mut self.seats[number as usize];
        if matches!(slot.status, Status::Free | Status::Failed) {
            return;
        }
        slot.status = Status::Failed;
        if let Some(Behind { outbox, unsent }) = self.behind.remove(&number) {
            let queued = unsent.len();
            let rest = unsent.into_partial();
            // After the outbox has lost its reader, and counted what it dropped.
            self.stats.dropped.add(&outbox.stats());
            self.stats.dropped.discarded += (queued - rest.len()) as u64;
            if rest.len() > 0 {
                self.rests.push((number, rest));
            }
        }
        if let Some(state) = slot.state.upgrade() {
            state.reason.set(reason);
        }
        self.failed.push((number, reason));
        self.place(number);
    }
}

impl SeatedRoom {
    /// `reuse`: a group without members may become another, as no round is open.
    fn add_to_group(
        &mut self,
        seat: u32,
        form: Form,
        audience: u32,
        user: UserKey,
        reuse: bool,
    ) -> (List, u32) {
        let same = |group: &Group| group.audience == audience && group.form == form;
        let unused = |group: &Group| reuse && group.seats.is_empty();
        let found = self.groups.iter().position(same);
        let found = found.or_else(|| self.groups.iter().position(unused));
        let at = found.unwrap_or_else(|| {
            self.groups.push(Group { audience, form, seats: Vec::new(), users: Vec::new() });
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        (group.audience, group.form) = (audience, form);
        group.seats.push(seat);
        group.users.push(user.upper);
        (List(at as u32), group.seats.len() as u32 - 1)
    }
}

impl Slot {
    /// The place of a membership.
    fn place_of(&self, room: u32, member: u32) -> Option<usize> {
        self.memberships.iter().position(|it| it.room == room && it.member == member)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            generation: 0,
            form: Form::WebSocket,
            status: Status::Free,
            apart: NONE,
            state: Weak::new(),
            memberships: Memberships::None,
        }
    }
}

impl Default for SeatedRoom {
    fn default() -> Self {
        Self {
            source: None,
            end: 0,
            lost_before: None,
            commands: Vec::new(),
            is_active: false,
            memberships: 0,
            groups: SmallVec::new(),
            others: Vec::new(),
            frames: Frames::default(),
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        for state in self.seats.iter().filter_map(|slot| slot.state.upgrade()) {
            state.reason.set(CloseReason::ReaderDropped);
        }
        let listed = self.shared.close();
        let known = self.rooms.iter().filter_map(|room| room.source.as_ref());
        // Those that were taken and not read are there after a panic.
        for Ready { log, cursor } in known.chain(&listed).chain(&self.ready) {
            log.abandon(cursor);
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("seats", &self.seats.len()).finish_non_exhaustive()
    }
}

/// Pushes a frame of a room to a connection that is behind; `false` if its outbox is closed, perhaps by this.
/// [`Shard::check_outbox`] looks for that.
fn push(outbox: &Outbox, frame: &WireFrame, key: Option<u64>) -> bool {
    !outbox.push_wire(key, frame.clone()).is_closed()
}

/// Likewise a frame for this connection alone, which must arrive: a policy that drops frames does not drop
/// it.
fn push_single(outbox: &Outbox, frame: &WireFrame) -> bool {
    let pushed = match frame.clone().into_message() {
        Ok(message) if outbox.may_drop() => outbox.reply(message),
        Ok(message) => outbox.push(message),
        Err(control) if control.is_close() => outbox.push_wire(None, control.into()),
        Err(control) => outbox.control(control),
    };
    !pushed.is_closed()
}
