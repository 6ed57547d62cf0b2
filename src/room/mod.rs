//! The members of a channel: one frame goes to the outboxes of all of them, or of some.
//!
//! - [`Room`] holds the members of one channel and publishes frames to them.
//! - [`Membership`] keeps one connection in a room; dropping it leaves the room.
//! - [`Member`] is a connection as [`Room::for_each`] visits it: its user's id and its outbox.
//! - [`Delivery`] counts the outcome of one publish, by connection.
//! - [`Shard`] holds the connections of one writer, which need no outboxes: they have a [`Seat`] each, and
//!   a [`SeatMembership`] in every room.
//! - [`RoomReader`] is a member that takes the frames from the room itself, by a task of its own.
//! - [`RoomOptions`] bound what a room keeps, also for members that come back ([`Room::seat_after`]); a
//!   [`HistoryBudget`] bounds what many rooms together keep for these.
//!
//! # Implementation
//!
//! A room is a [`Subject`] whose observers are the members with an outbox, a log for those at seats and those with a
//! reader, and an index of all connections by user for publishes to users by name.

mod history;
mod index;
mod member;
mod reader;
mod shard;

use std::fmt;
use std::sync::{Arc as StdArc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;

pub use history::{HistoryBudget, Missed, Resume, Resumed};
pub use member::{Member, Membership};
pub use reader::RoomReader;
pub use shard::{Dropped, Seat, SeatMembership, Send, Shard, ShardHandle, ShardStats, Unsent};

use crate::fanout::{Closed, Subject};
use crate::frame::{Frame, FrameRefs};
use crate::log::{EVERYBODY, Refused, To};
use crate::outbox::{Outbox, Push};
use crate::protocol::Recipients;
use crate::ring::Bounds;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use history::{History, Recipients as KeptFor, to_wire};
use index::{Index, Receiver, UserId};
use shard::RoomLog;

/// A channel's members, each a connection of a user, and the ways to send a [`Frame`] to them.
///
/// Members join and leave while others publish. A publish to all, or to all but one user, takes no
/// lock: it walks the members in the order in which they joined and pushes to each outbox; the
/// references to the frame are counted up front, all at once. A publish to users by name finds them
/// in a table, under a lock that is held for the look-up and not for the pushes.
///
/// A room is a handle: clones share the members. It handles neither presence nor permissions nor
/// other nodes, and it never closes an outbox, because a connection may be in many rooms. With its last handle a room's
/// [readers](RoomReader) end, as by [`close`](Self::close).
///
/// ```
/// use pondwire::{Frame, Outbox, OutboxOptions, Payload, Room};
/// use pondwire::protocol::Recipients;
///
/// let room = Room::new();
/// let (ann, mut to_ann) = Outbox::new(OutboxOptions::default());
/// let (bob, mut to_bob) = Outbox::new(OutboxOptions::default());
/// let ann_is_here = room.join("ann", ann)?;
/// let bob_is_here = room.join("bob", bob)?;
///
/// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
/// assert_eq!(room.publish(&frame).queued, 2);
/// assert_eq!(room.send(&frame, &Recipients::AllExceptSender, "ann").queued, 1);
/// assert_eq!(room.send(&frame, &Recipients::users(["ann", "eve"]), "bob").queued, 1);
/// assert_eq!(room.send(&frame, &Recipients::users([""; 0]), "bob").queued, 0);
///
/// drop(bob_is_here);
/// assert_eq!(room.publish(&frame).queued, 1);
/// # Ok::<(), pondwire::fanout::Closed>(())
/// ```
#[derive(Clone)]
pub struct Room {
    members: Subject<Frame, Member>,
    shared: StdArc<Shared>,
    _end: StdArc<EndOfReaders>,
}

/// Ends the readers of a room with its last handle: nobody can publish to them any more.
struct EndOfReaders(StdArc<Shared>);

impl Drop for EndOfReaders {
    fn drop(&mut self) {
        // Members at seats do not wait for the room.
        if self.0.log.source.get().is_some() {
            self.0.log.close();
        }
    }
}

/// What a room's handles share with its memberships.
struct Shared {
    index: Index,
    log: Log,
    history: Option<History>,
}

/// The frames for members that sit in a shard or have a reader, and their bounds.
struct Log {
    /// Made with the first such member.
    log: OnceLock<RoomLog>,
    /// Made with the first reader.
    source: OnceLock<reader::Source>,
    options: RoomOptions,
    is_closed: AtomicBool,
    refused: AtomicU64,
}

/// The bounds on the frames that a room keeps for shards and [readers](RoomReader) that have not read them yet, and for
/// members that come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomOptions {
    /// The number of frames: 1 to 131,072; other values are clamped. By default 4,096.
    pub max_frames: usize,
    /// Their bytes, heads included: up to 512 MiB less one. By default 64 MiB.
    pub max_bytes: usize,
    /// The number of frames that are kept for [`Room::seat_after`]; by default none.
    pub history_frames: usize,
    /// Their bytes, heads included, and 8 for each user that a frame is for by name; by default without a bound of their
    /// own.
    pub history_bytes: usize,
    /// Their age, which is checked when a frame is kept and when a member asks. By default, and with
    /// [`Duration::MAX`], it has no bound, and no clock is read.
    pub history_age: Duration,
}

impl RoomOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_frames: 4096,
            max_bytes: 64 << 20,
            history_frames: 0,
            history_bytes: usize::MAX,
            history_age: Duration::MAX,
        }
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

    /// Sets how much is kept for members that join again, with [`Room::seat_after`]: the oldest frames are
    /// dropped as soon as one of the bounds is exceeded.
    #[must_use]
    pub const fn with_history(mut self, frames: usize, bytes: usize, age: Duration) -> Self {
        self.history_frames = frames;
        self.history_bytes = bytes;
        self.history_age = age;
        self
    }
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Room {
    /// A room without members. Two allocations.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(RoomOptions::new())
    }

    /// A room without members, with other bounds.
    #[must_use]
    pub fn with_options(options: RoomOptions) -> Self {
        Self::with(options, None)
    }

    /// [`with_options`](Self::with_options) with a history that shares this budget: all rooms that share it
    /// keep no more than it allows.
    #[must_use]
    pub fn with_history_budget(options: RoomOptions, budget: &HistoryBudget) -> Self {
        Self::with(options, Some(budget.clone()))
    }

    fn with(options: RoomOptions, budget: Option<HistoryBudget>) -> Self {
        let index = Index::new();
        let history = History::new(&options, budget, index.hash(""));
        let shared = StdArc::new(Shared {
            index,
            log: Log {
                log: OnceLock::new(),
                source: OnceLock::new(),
                options,
                is_closed: AtomicBool::new(false),
                refused: AtomicU64::new(0),
            },
            history,
        });
        let end = StdArc::new(EndOfReaders(StdArc::clone(&shared)));
        Self { members: Subject::typed(), shared, _end: end }
    }

    /// Makes a connection of `user_id` a member, after all others, until the [`Membership`] is
    /// dropped. A user may have several, each of which gets the user's frames.
    ///
    /// Every publish that begins after this returns reaches `outbox`. Costs two or three
    /// allocations and two short locks, none of which a publish takes.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close).
    pub fn join(&self, user_id: &str, outbox: Outbox) -> Result<Membership, Closed> {
        self.join_audience(EVERYBODY, user_id, outbox)
    }

    /// [`join`](Self::join) with an audience: the member gets a frame that is published to an audience
    /// only if the two have a bit in common; see [`publish_to_audience`](Self::publish_to_audience).
    ///
    /// # Errors
    /// As those of `join`.
    pub fn join_audience(
        &self,
        audience: u32,
        user_id: &str,
        outbox: Outbox,
    ) -> Result<Membership, Closed> {
        let hash = self.shared.index.hash(user_id);
        let key = self.shared.index.insert(user_id, hash, Receiver::Outbox(outbox.clone()))?;
        let user_id = UserId::from(user_id);
        let member = Member::new(StdArc::clone(&user_id), hash, outbox, audience);
        match self.members.subscribe_observer(member) {
            Ok(subscription) => {
                Ok(Membership::new(subscription, StdArc::clone(&self.shared), user_id, key))
            }
            Err(closed) => {
                self.shared.index.remove(key);
                Err(closed)
            }
        }
    }

    /// Makes a connection of `user_id` a member by its seat in a shard: the shard's writer sends it
    /// `first`, and then what is published from now on.
    ///
    /// A publish costs nothing for such a member, and its shard a share of one send. Costs two short
    /// locks, none of which a publish takes, and an allocation for a user id of more than 14 bytes.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close), if the shard was dropped or the seat has failed.
    pub fn seat(
        &self,
        user_id: &str,
        seat: &Seat,
        first: Option<Frame>,
    ) -> Result<SeatMembership, Closed> {
        self.seat_audience(EVERYBODY, user_id, seat, first)
    }

    /// [`seat`](Self::seat) with an audience: the member gets a frame that is published to an audience
    /// only if the two have a bit in common. [`SeatMembership::set_audience`] changes the bits.
    ///
    /// # Errors
    /// As those of `seat`.
    pub fn seat_audience(
        &self,
        audience: u32,
        user_id: &str,
        seat: &Seat,
        first: Option<Frame>,
    ) -> Result<SeatMembership, Closed> {
        let (membership, user) = self.new_membership(user_id, seat)?;
        membership.join(user, audience, first, None)?.announce();
        Ok(membership)
    }

    /// [`seat`](Self::seat) for a connection that comes back. It gets `first`, then what the room has kept after the
    /// last frame with the id [`Resume::after`], then the frame that `last` makes of the outcome, and then what is
    /// published from now on.
    ///
    /// `audience` is what [`set_audience`](SeatMembership::set_audience) would set right after. The member gets
    /// the frames for this audience that did not except its user, and those to its user by name: all that it
    /// would have got, each once and in order, if it had been a member all the time. Frames to single
    /// connections ([`SeatMembership::push`], [`Seat::push`]) and [passing](Self::publish_passing) ones are not kept.
    ///
    /// If the room does not have that frame any more, or never had it, the member gets nothing old, and
    /// [`Resumed::missed`] is `None`. The old frames wait in the seat's outbox if the socket does not take them at
    /// once, so keep no more than its bounds allow. Costs a lock that publishes take, too, for a comparison per
    /// frame that is kept and an atomic operation for each that the member gets. `last` is called under this lock:
    /// it must not use the room.
    ///
    /// ```
    /// # use std::task::{Context, Waker};
    /// # use std::time::Duration;
    /// # use pondwire::frame::Form;
    /// use pondwire::room::{Missed, Resume, RoomOptions, Shard};
    /// use pondwire::{Frame, OutboxOptions, Payload, Room};
    ///
    /// // The last hundred frames of the last minute, and at most a megabyte.
    /// let options = RoomOptions::new().with_history(100, 1 << 20, Duration::from_secs(60));
    /// let room = Room::with_options(options);
    /// let say = |id| Frame::broadcast("/chat/42", "say", id, Payload::EMPTY);
    /// for id in ["b-1", "b-2", "b-3"] {
    ///     room.publish(&say(id));
    /// }
    ///
    /// let mut shard = Shard::new(OutboxOptions::default());
    /// let seat = shard.handle().open(Form::WebSocket);
    /// let resume = Resume { after: Some("b-1"), ..Resume::default() };
    /// let (membership, resumed) =
    ///     room.seat_after("ann", &seat, u32::MAX, &resume, None, |_| Some(say("that is all")))?;
    /// let bytes = say("b-2").wire().len() * 2;
    /// assert_eq!(resumed.missed, Some(Missed { frames: 2, bytes }));
    /// assert_eq!(resumed.position.as_deref(), Some("b-3"));
    /// room.publish(&say("b-4"));
    /// # let mut cx = Context::from_waker(Waker::noop());
    /// # assert!(shard.poll_round(&mut cx).is_ready());
    /// let expected = ["b-2", "b-3", "that is all", "b-4"].map(|id| say(id).wire().to_vec()).concat();
    /// assert!(shard.sends().all(|send| send.bytes == expected));
    /// # assert_eq!(shard.sends().count(), 1);
    ///
    /// drop(membership);
    /// let resume = Resume { after: Some("a-9"), ..Resume::default() };
    /// let (_membership, resumed) = room.seat_after("ann", &seat, u32::MAX, &resume, None, |_| None)?;
    /// assert_eq!(resumed.missed, None);
    /// # Ok::<(), pondwire::fanout::Closed>(())
    /// ```
    ///
    /// # Errors
    /// As for [`seat`](Self::seat).
    pub fn seat_after(
        &self,
        user_id: &str,
        seat: &Seat,
        audience: u32,
        resume: &Resume<'_>,
        first: Option<Frame>,
        last: impl FnOnce(&Resumed) -> Option<Frame>,
    ) -> Result<(SeatMembership, Resumed), Closed> {
        let (membership, user) = self.new_membership(user_id, seat)?;
        let mut kept = self.shared.history.as_ref().map(History::lock);
        let hash = |id: &str| self.shared.index.hash(id);
        let missed = match &mut kept {
            Some(kept) => kept.missed(resume, user, audience, hash),
            None => resume.after.is_none().then(Vec::new),
        };
        let resumed = match &kept {
            Some(kept) => kept.resumed(missed.as_deref()),
            None => Resumed { missed: missed.as_ref().map(|_| Missed::default()), position: None },
        };
        let mut old = missed.unwrap_or_default();
        old.extend(last(&resumed));
        let joined = membership.join(user, audience, first, Some(to_wire(old)));
        // Unlocked first: what follows may run the caller's code.
        drop(kept);
        joined?.announce();
        Ok((membership, resumed))
    }

    /// The frames that [`seat_after`](Self::seat_after) would send a user with this audience now, besides `first` and
    /// `last`; `None` if it would find a hole. A server that compresses frames should compress these before the join,
    /// and not in its writer's round.
    #[must_use]
    pub fn missed(&self, user_id: &str, audience: u32, resume: &Resume<'_>) -> Option<Vec<Frame>> {
        let hash = |id: &str| self.shared.index.hash(id);
        let mut kept = self.shared.history.as_ref()?.lock();
        kept.missed(resume, user_key(hash(user_id)), audience, hash)
    }

    /// The number of frames that the room has ever kept for members that join again; see [`Resume::not_before`].
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.shared.history.as_ref().map_or(0, |history| history.lock().count())
    }

    /// Whether no frame is kept for members that come back.
    #[must_use]
    pub fn is_history_empty(&self) -> bool {
        self.shared.history.as_ref().is_none_or(|history| history.lock().is_empty())
    }

    /// Drops all that is kept for members that come back. Call it when frames that they missed may not have been kept:
    /// they are then told of a hole.
    pub fn clear_history(&self) {
        if let Some(history) = &self.shared.history {
            history.clear();
        }
    }

    /// Drops the frames kept for members that come back that are too old by now, as a publish does.
    pub fn trim_history(&self) {
        if let Some(history) = &self.shared.history {
            history.trim();
        }
    }

    /// Makes a connection of `user_id` a member by a reader, until the reader is dropped: the connection's task
    /// takes what is published from now on from the room itself. See [`RoomReader`].
    ///
    /// A publish costs nothing for such a member but, if it waits for frames, a call of its waker. Costs
    /// four short locks, none of which a publish waits for, and an allocation for a user id of more than 14 bytes.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close).
    pub fn reader(&self, user_id: &str) -> Result<RoomReader, Closed> {
        self.reader_audience(EVERYBODY, user_id)
    }

    /// [`reader`](Self::reader) with an audience: the member gets a frame that is published to an audience
    /// only if the two have a bit in common; see [`publish_to_audience`](Self::publish_to_audience).
    ///
    /// # Errors
    /// As those of `reader`.
    pub fn reader_audience(&self, audience: u32, user_id: &str) -> Result<RoomReader, Closed> {
        RoomReader::join(&self.shared, audience, user_id)
    }

    /// A membership that has not joined yet, and its user's key.
    #[inline]
    fn new_membership(&self, user_id: &str, seat: &Seat) -> Result<(SeatMembership, u64), Closed> {
        let log = self.shared.log.get()?;
        if seat.shard().is_closed() || seat.closed().is_some() {
            return Err(Closed);
        }
        let receiver = Receiver::Seat { cursor: seat.cursor(log).number, seat: seat.id().seat };
        let hash = self.shared.index.hash(user_id);
        let key = self.shared.index.insert(user_id, hash, receiver)?;
        let membership = SeatMembership::new(seat.clone(), StdArc::clone(&self.shared), key);
        Ok((membership, user_key(hash)))
    }

    /// Sends a frame to all members.
    ///
    /// Takes no lock and allocates only to grow outboxes; two atomic operations, and a push for
    /// each member. [`Subject::publish`] defines which members are reached if some join or leave
    /// meanwhile.
    #[inline]
    pub fn publish(&self, frame: &Frame) -> Delivery {
        self.publish_to_audience(EVERYBODY, frame)
    }

    /// [`publish`](Self::publish) to those members whose audience has one of these bits. A member without
    /// an audience of [its own](Self::join_audience) has all bits, and so has a frame that is published to
    /// all.
    ///
    /// ```
    /// use pondwire::{Frame, Outbox, OutboxOptions, Payload, Room};
    ///
    /// const TRACKED: u32 = 1 << 1;
    /// let room = Room::new();
    /// let (outbox, reader) = Outbox::new(OutboxOptions::default());
    /// let ann = room.join_audience(!TRACKED, "ann", outbox)?;
    /// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
    /// assert_eq!(room.publish_to_audience(TRACKED, &frame).queued, 0);
    /// assert_eq!(room.publish(&frame).queued, 1);
    /// # drop((ann, reader));
    /// # Ok::<(), pondwire::fanout::Closed>(())
    /// ```
    #[inline]
    pub fn publish_to_audience(&self, audience: u32, frame: &Frame) -> Delivery {
        self.append_for(frame, To::audience(audience));
        self.push_to_audience(audience, frame)
    }

    /// [`publish_to_audience`](Self::publish_to_audience) of a frame that is not kept for members that come back,
    /// because a newer one replaces it: a presence list, for instance.
    pub fn publish_passing(&self, audience: u32, frame: &Frame) -> Delivery {
        if self.append(frame, To::audience(audience)) {
            self.wake();
        }
        self.push_to_audience(audience, frame)
    }

    #[inline]
    fn push_to_audience(&self, audience: u32, frame: &Frame) -> Delivery {
        self.push_where(
            frame,
            |member| member.is_in(audience),
            |member, references| member.outbox().push_from(references),
        )
    }

    /// [`publish`](Self::publish), replacing the queued frame with the same key in outboxes whose
    /// policy is to conflate; see [`Outbox::push_keyed`].
    #[inline]
    pub fn publish_keyed(&self, key: u64, frame: &Frame) -> Delivery {
        self.append_for(frame, To::Members { audience: EVERYBODY, except: 0, has_key: true, key });
        self.push_where(
            frame,
            |_| true,
            |member, references| member.outbox().push_keyed_from(key, references),
        )
    }

    /// [`publish`](Self::publish) to all but the connections of `user_id`.
    #[inline]
    pub fn publish_except(&self, frame: &Frame, user_id: &str) -> Delivery {
        let hash = self.shared.index.hash(user_id);
        self.append_for(
            frame,
            To::Members { audience: EVERYBODY, except: user_key(hash), has_key: false, key: 0 },
        );
        self.push_where(
            frame,
            |member| !member.is_of(user_id, hash),
            |member, references| member.outbox().push_from(references),
        )
    }

    /// [`publish_to_audience`](Self::publish_to_audience) with two more choices: a key, as for
    /// [`publish_keyed`](Self::publish_keyed), and a user whose connections are left out, as for
    /// [`publish_except`](Self::publish_except).
    ///
    /// ```
    /// use pondwire::{Frame, Outbox, OutboxOptions, Payload, Room};
    ///
    /// const PLAYERS: u32 = 1 << 1;
    /// let room = Room::new();
    /// let (outbox, reader) = Outbox::new(OutboxOptions::default());
    /// let ann = room.join_audience(PLAYERS, "ann", outbox)?;
    /// let frame = Frame::broadcast("/game/42", "move", "b-1", Payload::EMPTY);
    /// assert_eq!(room.publish_selected(PLAYERS, None, Some("ann"), &frame).queued, 0);
    /// assert_eq!(room.publish_selected(PLAYERS, Some(7), Some("bob"), &frame).queued, 1);
    /// # drop((ann, reader));
    /// # Ok::<(), pondwire::fanout::Closed>(())
    /// ```
    pub fn publish_selected(
        &self,
        audience: u32,
        key: Option<u64>,
        except: Option<&str>,
        frame: &Frame,
    ) -> Delivery {
        let except = except.map(|user_id| (user_id, self.shared.index.hash(user_id)));
        self.append_for(
            frame,
            To::Members {
                audience,
                except: except.map_or(0, |(_, hash)| user_key(hash)),
                has_key: key.is_some(),
                key: key.unwrap_or(0),
            },
        );
        self.push_where(
            frame,
            |member| {
                member.is_in(audience) && !except.is_some_and(|(id, hash)| member.is_of(id, hash))
            },
            |member, references| match key {
                Some(key) => member.outbox().push_keyed_from(key, references),
                None => member.outbox().push_from(references),
            },
        )
    }

    /// Sends a frame to the connections of the users with these ids, each once; ids of users who
    /// are not members are ignored; without ids no connection receives it.
    ///
    /// Takes a lock for the look-up; allocates when there are more than eight ids or connections.
    pub fn publish_to<'a>(
        &self,
        frame: &Frame,
        user_ids: impl IntoIterator<Item = &'a str>,
    ) -> Delivery {
        // Collected before a lock is taken: the iterator is the caller's code and may do anything.
        let user_ids: SmallVec<[&str; 8]> = user_ids.into_iter().collect();
        self.publish_to_members(EVERYBODY, frame, &user_ids, &user_ids)
    }

    /// [`publish_to`](Self::publish_to) those of the users that `is_in` says are in an audience, where a form of the
    /// frame is published to each audience. The frame is kept for all of the users, whether or not they are members: one
    /// that comes back gets it if its audience then has one of these bits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pondwire::room::{Resume, RoomOptions};
    /// use pondwire::{Frame, Payload, Room};
    ///
    /// const PLAYERS: u32 = 1 << 1;
    /// const VIEWERS: u32 = 1 << 2;
    /// let options = RoomOptions::new().with_history(100, 1 << 20, Duration::MAX);
    /// let room = Room::with_options(options);
    /// let frame = |id| Frame::broadcast("/game/42", "hint", id, Payload::EMPTY);
    /// room.publish(&frame("b-1"));
    /// // Ann is away.
    /// room.publish_to_selected(PLAYERS, &frame("b-2"), ["ann"], |_| false);
    /// let resume = Resume { after: Some("b-1"), ..Resume::default() };
    /// assert_eq!(room.missed("ann", PLAYERS, &resume), Some(vec![frame("b-2")]));
    /// assert_eq!(room.missed("ann", VIEWERS, &resume), Some(vec![]));
    /// ```
    pub fn publish_to_selected<'a>(
        &self,
        audience: u32,
        frame: &Frame,
        user_ids: impl IntoIterator<Item = &'a str>,
        mut is_in: impl FnMut(&str) -> bool,
    ) -> Delivery {
        let user_ids: SmallVec<[&str; 8]> = user_ids.into_iter().collect();
        let members: SmallVec<[&str; 8]> =
            user_ids.iter().copied().filter(|id| is_in(id)).collect();
        self.publish_to_members(audience, frame, &user_ids, &members)
    }

    /// Sends a frame to the `members` among some users, and keeps it for all of these that come back with this audience.
    fn publish_to_members(
        &self,
        audience: u32,
        frame: &Frame,
        user_ids: &[&str],
        members: &[&str],
    ) -> Delivery {
        // Before the look-up: a member that joins again meanwhile is found by it, or gets the frame when it
        // joins.
        let mut kept =
            self.shared.history.as_ref().map(|history| history.lock_for(frame, user_ids.len()));
        let receivers = self.shared.index.receivers_of(members);
        // The cursor, seat and membership of each member at a seat.
        let mut seated = SmallVec::<[(u32, (u32, u32)); 8]>::new();
        seated.extend(receivers.iter().filter_map(|(receiver, member)| match receiver {
            Receiver::Seat { cursor, seat } => Some((*cursor, (*seat, *member))),
            Receiver::Outbox(_) => None,
        }));
        seated.sort_unstable();
        let mut found_asleep = false;
        for members in seated.chunk_by(|a, b| a.0 == b.0) {
            let to = match members {
                &[(cursor, (seat, member))] => To::Member { cursor, seat, member },
                _ => To::Several {
                    cursor: members[0].0,
                    members: members.iter().map(|member| member.1).collect(),
                },
            };
            found_asleep |= self.append(frame, to);
        }
        let hash = |id: &str| self.shared.index.hash(id);
        if let Some(kept) = &mut kept
            && !user_ids.is_empty()
        {
            let named = user_ids.iter().map(|id| user_key(hash(id))).collect();
            kept.keep(frame, KeptFor::Users { named, audience }, hash);
        }
        // Unlocked first: what follows may run the caller's code.
        drop(kept);
        if found_asleep {
            self.wake();
        }
        let mut references = frame.references(receivers.len() - seated.len());
        let mut delivery = Delivery::default();
        for (receiver, _) in &receivers {
            if let Receiver::Outbox(outbox) = receiver {
                delivery.count(outbox.push_from(&mut references));
            }
        }
        delivery
    }

    /// Sends a frame to the members that the protocol's `recipients` name. `sender` is the id of
    /// the user who sent it.
    pub fn send(&self, frame: &Frame, recipients: &Recipients<'_>, sender: &str) -> Delivery {
        match recipients {
            Recipients::AllUsers => self.publish(frame),
            Recipients::AllExceptSender => self.publish_except(frame, sender),
            Recipients::Users(ids) => {
                let ids: SmallVec<[_; 8]> = ids.iter().collect();
                self.publish_to(frame, ids.iter().map(AsRef::as_ref))
            }
        }
    }

    /// Calls `visit` with every member that has an outbox, exactly as [`publish`](Self::publish)
    /// would reach it: for frames that differ from one member to another.
    ///
    /// ```
    /// # use pondwire::{Frame, Outbox, OutboxOptions, Payload, Room};
    /// # let room = Room::new();
    /// # let (outbox, reader) = Outbox::new(OutboxOptions::default());
    /// # let member = room.join("ann", outbox)?;
    /// let for_most = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
    /// let for_ann = Frame::broadcast("/chat/42", "say-ann", "b-1", Payload::EMPTY);
    /// room.for_each(|member| {
    ///     let frame = if member.user_id() == "ann" { &for_ann } else { &for_most };
    ///     member.outbox().push(frame.clone());
    /// });
    /// # Ok::<(), pondwire::fanout::Closed>(())
    /// ```
    pub fn for_each(&self, visit: impl FnMut(&Member)) {
        self.members.for_each(visit);
    }

    /// Appends a frame to the log, and keeps it for members that join again.
    #[inline]
    fn append_for(&self, frame: &Frame, to: To) {
        let found_asleep = match &self.shared.history {
            None => self.append(frame, to),
            Some(history) => self.append_and_keep(history, frame, to),
        };
        if found_asleep {
            self.wake();
        }
    }

    #[inline(never)]
    fn append_and_keep(&self, history: &History, frame: &Frame, to: To) -> bool {
        let recipients = KeptFor::of(&to);
        let mut kept = history.lock_for(frame, 0);
        let found_asleep = self.append(frame, to);
        if let Some(recipients) = recipients {
            kept.keep(frame, recipients, |id| self.shared.index.hash(id));
        }
        found_asleep
    }

    /// Appends a frame to the log, if there is one; `true` if a shard sleeps.
    #[inline]
    fn append(&self, frame: &Frame, to: To) -> bool {
        let Some(log) = self.shared.log.log.get() else { return false };
        match log.append_frame(frame, to) {
            Ok(found_asleep) => found_asleep,
            Err(Refused::Closed) => false,
            Err(Refused::Busy | Refused::TooLarge) => {
                self.shared.log.refused.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Wakes the shards.
    fn wake(&self) {
        if let Some(log) = self.shared.log.log.get() {
            log.wake();
        }
    }

    /// The number of frames that some shard has not read yet, or no [reader](RoomReader) at all, and their bytes:
    /// readers slower than the quickest still lag. If a server lets clients publish only while both are small, they
    /// cannot publish faster than the shards and the quickest reader read, nor fill the log, which may
    /// [refuse](Self::refused) frames when it is full.
    #[must_use]
    pub fn unread(&self) -> (usize, usize) {
        let unread = self.shared.log.log.get().map_or((0, 0), RoomLog::unread);
        (unread.0 as usize, unread.1 as usize)
    }

    /// The number of frames that did not reach the members at seats and those with a reader, because the room's log
    /// was full and could not drop an older frame at that moment, or because they were larger than the log may be.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.log.refused.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn push_where(
        &self,
        frame: &Frame,
        wanted: impl Fn(&Member) -> bool,
        push: impl Fn(&Member, &mut FrameRefs<'_>) -> Push,
    ) -> Delivery {
        let (members, mut delivery) = (self.members.len(), Delivery::default());
        if members == 0 {
            return delivery;
        }
        let mut references = frame.references(members);
        self.members.for_each(|member| {
            if wanted(member) {
                delivery.count(push(member, &mut references));
            }
        });
        delivery
    }

    /// Whether a connection of `user_id` is a member.
    #[must_use]
    pub fn contains(&self, user_id: &str) -> bool {
        self.shared.index.contains(user_id)
    }

    /// The number of connections that are members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.index.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all memberships for good: no member is reached any more, and no connection may join.
    pub fn close(&self) {
        self.shared.index.close();
        self.members.close();
        self.shared.log.close();
        if let Some(history) = &self.shared.history {
            history.close();
        }
    }
}

/// The user of a member, as shards compare it: two users with the same hash of 64 bits under the room's
/// secret key would be one.
const fn user_key(hash: u64) -> u64 {
    // 0 is nobody.
    if hash == 0 { 1 } else { hash }
}

impl Log {
    fn get(&self) -> Result<&RoomLog, Closed> {
        let log = self.log.get_or_init(|| {
            let RoomOptions { max_frames, max_bytes, .. } = self.options;
            RoomLog::new(Bounds::new(max_frames, max_bytes))
        });
        // After it is there to be closed: either this sees the flag, or `close` the log.
        if self.is_closed.load(Ordering::SeqCst) {
            log.close();
            return Err(Closed);
        }
        Ok(log)
    }

    /// That of a room that has, or had, a member at a seat.
    fn existing(&self) -> &RoomLog {
        self.log.get().expect("made before the first membership")
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        if let Some(log) = self.log.get() {
            log.close();
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The outcome of a publish, in numbers of connections with an outbox. Members at seats and those with a reader are not
/// counted: whether they get the frame is decided later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Connections whose outbox queued the frame, possibly in place of older ones.
    pub queued: usize,
    /// Connections whose outbox dropped the frame: it was full, and its policy drops new frames.
    pub dropped: usize,
    /// Connections whose outbox is closed, possibly by this very frame.
    pub closed: usize,
}

impl Delivery {
    #[inline]
    const fn count(&mut self, push: Push) {
        match push {
            Push::DroppedNewest => self.dropped += 1,
            Push::Closed => self.closed += 1,
            _ => self.queued += 1,
        }
    }
}
