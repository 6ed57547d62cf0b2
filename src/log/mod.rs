//! The frames of one room for the connections that shards write to, each frame once.
//!
//! A publish appends one entry to a [`Ring`], however many members there are. Each *shard* (the connections of one
//! writer, [`Shard`](crate::room::Shard)) has a [`Cursor`] into it: it reads the entries from there on and sends them
//! to its members of the room. Frames for one member are entries, too; a join or a leave is a *command* before the
//! position at which it was given, and is in the cursor's own list. So all of them keep their order with broadcasts,
//! and publishers take no lock.
//!
//! # Invariants
//!
//! 1. A pop claims no position from which an attached cursor still reads: a thread that pops determines
//!    `end` as the tail, then the least position of any cursor, in this order; it pops what is before
//!    `end`. Positions of cursors only grow, so an old value only pops less. A cursor that was not seen
//!    attached has a position that is not before `end`: it reads the tail, by a read-modify-write, after it
//!    was shown as attaching, so whoever saw a later tail has seen that too.
//! 2. While [`READING`] is set in a cursor's state only the shard changes it. Publishers move an idle cursor
//!    on by a compare-and-swap when the ring is full: then the shard lags, and finds out by the position.
//! 3. A shard that has read the entry at a position finds all commands before that position in its list: the
//!    position of a command is the tail, read under the list's lock, and the shard takes the list out after it
//!    read the entries. If it did so before the command was given, the lock makes the tail that it read an
//!    older one than the command's.
//!
//! The proofs are `models.rs` and, in the repository, `tests/loom/weakened.sh` and `tests/delivery/shard.rs`.

#![allow(unsafe_code)]

mod cursor;
#[cfg(all(test, pondwire_loom))]
mod models;
mod readers;

use std::sync::{Arc as StdArc, OnceLock};

use crate::fanout::Closed;
use crate::frame::{Frame, WireFrame};
use crate::ring::word::{after, before, distance};
use crate::ring::{Bounds, PushError, Ring, Sleep};
use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex};

pub(crate) use cursor::{Cursor, Notify};
pub(crate) use readers::{Place, Readers, Recipient};

/// One position of the sequence.
pub(crate) struct Entry {
    pub(crate) frame: WireFrame,
    pub(crate) to: To,
}

/// The audience of a frame for all, and of a member that has not chosen another.
pub(crate) const EVERYBODY: u32 = u32::MAX;

/// The members that a frame goes to.
#[derive(Clone, Debug)]
pub(crate) enum To {
    Members {
        /// Those with one of these bits set,
        audience: u32,
        /// but not those of this user; 0: of any.
        except: u64,
        /// Whether the frame replaces one with the same key in an outbox that conflates.
        has_key: bool,
        key: u64,
    },
    /// The member with this number at a seat of the shard that has the cursor of this number.
    Member { cursor: u32, seat: u32, member: u32 },
    /// Several: their seats and numbers.
    Several { cursor: u32, members: StdArc<[(u32, u32)]> },
}

impl To {
    /// All members with one of these bits.
    pub(crate) const fn audience(audience: u32) -> Self {
        Self::Members { audience, except: 0, has_key: false, key: 0 }
    }
}

/// The reason why a frame was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Closed,
    /// The log is full, and the shard that is furthest behind is reading, or an append before is not
    /// finished: nothing can be dropped now.
    Busy,
    /// The frame has more bytes than the log may hold.
    TooLarge,
}

/// The number of times that an append tries to make room before it gives up.
const TRIES: u32 = if cfg!(pondwire_loom) { 2 } else { 64 };

/// The number of entries after which a shard that reads lets publishers drop them.
const READ_AT_ONCE: u32 = 64;

/// The sequence of one room; a handle.
pub(crate) struct Log<N: Notify>(Arc<State<N>>);

struct State<N: Notify> {
    ring: Ring<Entry>,
    /// The number of attached cursors.
    attached: AtomicUsize,
    first: OnceLock<Arc<Cursor<N>>>,
    cursor_numbers: AtomicU32,
    /// Held to make a cursor.
    making: Mutex<()>,
}

impl<N: Notify> Clone for Log<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<N: Notify> Log<N> {
    /// A log that holds at most so many frames and bytes for shards that have not read them yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(State {
            ring: Ring::new(bounds, true),
            attached: AtomicUsize::new(0),
            first: OnceLock::new(),
            cursor_numbers: AtomicU32::new(0),
            making: Mutex::new(()),
        }))
    }

    /// Every cursor, attached or not.
    fn cursors(&self) -> impl Iterator<Item = &Arc<Cursor<N>>> {
        std::iter::successors(self.0.first.get(), |cursor| cursor.next())
    }

    /// Whether a shard has members here.
    #[inline]
    fn is_attached(&self) -> bool {
        // Acquire: with the attaching shard's increment, its members are seen.
        self.0.attached.load(Ordering::Acquire) > 0
    }

    /// Appends a frame, if a shard has members here, and wakes the shards. Waits for no other thread.
    ///
    /// Costs one compare-and-swap, and a wake of every shard that sleeps.
    #[inline]
    pub(crate) fn publish(&self, frame: &Frame, to: To) -> Result<(), Refused> {
        if self.append_frame(frame, to)? {
            self.wake();
        }
        Ok(())
    }

    /// [`publish`](Self::publish) without waking: `true` if the caller must [`wake`](Self::wake) the shards.
    #[inline]
    pub(crate) fn append_frame(&self, frame: &Frame, to: To) -> Result<bool, Refused> {
        if !self.is_attached() {
            return if self.is_closed() { Err(Refused::Closed) } else { Ok(false) };
        }
        self.append(Entry { frame: frame.clone().into(), to })
    }

    /// Gives the cursor's shard a command, which takes place before whatever is appended after this. The
    /// cursor is attached if it was not. The caller then [announces](Self::announce) it.
    ///
    /// Waits only for other commands to the same shard, and for the shard to take them.
    // Inlined, and with a closure: a command is made where it is stored, and not copied through the stack.
    #[inline(always)]
    pub(crate) fn command(
        &self,
        cursor: &Arc<Cursor<N>>,
        command: impl FnOnce() -> N::Command,
    ) -> Result<(), Closed> {
        let mut commands = cursor.commands.lock();
        // Under the lock: a shard that is dropped later finds the cursor attached, and one that saw the log
        // closed finds all commands there.
        if self.is_closed() || cursor.notify.is_closed() {
            return Err(Closed);
        }
        if !cursor.is_attached() {
            self.attach(cursor);
        }
        commands.push((self.0.ring.tail_position(), command()));
        Ok(())
    }

    /// Tells the cursor's shard of the commands that this thread gave it. To be called without a lock: wakers
    /// run the caller's code, which may do anything.
    #[inline]
    pub(crate) fn announce(&self, cursor: &Arc<Cursor<N>>) {
        // A plain load: if the shard has unlisted the cursor and taken the commands before, the lock shows it.
        if !cursor.is_listed() {
            self.list(cursor);
        }
    }

    /// The position after all that was appended before, at which a reader of the cursor begins. The cursor is
    /// attached there if it was not.
    fn tail_for(&self, cursor: &Cursor<N>) -> Result<u32, Closed> {
        let _commands = cursor.commands.lock();
        if self.is_closed() || cursor.notify.is_closed() {
            return Err(Closed);
        }
        Ok(if cursor.is_attached() { self.tail_position() } else { self.attach(cursor) })
    }

    /// The position of the next entry.
    pub(crate) fn tail_position(&self) -> u32 {
        self.0.ring.tail_position()
    }

    /// Appends an entry; `true` if a shard sleeps, which the caller wakes.
    #[inline]
    fn append(&self, mut entry: Entry) -> Result<bool, Refused> {
        let len = u32::try_from(entry.frame.wire().len()).unwrap_or(u32::MAX);
        let mut tries = 0;
        loop {
            match self.0.ring.try_push(entry, len, |_| ()) {
                Ok(found_asleep) => return Ok(found_asleep),
                Err((_, PushError::Closed)) => return Err(Refused::Closed),
                Err((_, PushError::Bytes)) if len > self.0.ring.bounds().bytes() => {
                    return Err(Refused::TooLarge);
                }
                Err((_, PushError::Busy)) => return Err(Refused::Busy),
                Err((back, PushError::Frames | PushError::Bytes)) => {
                    tries += 1;
                    if !self.drop_oldest() && tries >= TRIES {
                        return Err(Refused::Busy);
                    }
                    entry = back;
                }
            }
        }
    }

    /// Drops the oldest entry, and moves on the cursors that have not read it; `false` if one of these is
    /// reading, or the entry is not there yet.
    #[cold]
    fn drop_oldest(&self) -> bool {
        let Some(oldest) = self.0.ring.oldest(|position, _| position) else { return false };
        if !self.cursors().all(|cursor| cursor.skip(oldest)) {
            return false;
        }
        let mut dropped = Vec::new();
        self.release(&mut dropped);
        !dropped.is_empty()
    }

    /// The first position that an attached cursor may still read.
    fn end(&self) -> u32 {
        // In this order: invariant 1.
        let tail = self.0.ring.tail_position();
        let before_tail = |cursor: &Arc<Cursor<N>>| cursor.distance_to(tail);
        let most = self.cursors().map(before_tail).max().unwrap_or(0);
        before(tail, most)
    }

    /// Drops the entries that no cursor needs any more.
    pub(crate) fn release(&self, freed: &mut Vec<Entry>) {
        let end = self.end();
        // SAFETY: the head is shared (`new`); invariant 1.
        unsafe { self.0.ring.take_before(end, freed) };
    }

    /// Ends the sequence: what was appended before is still read, nothing is appended after.
    pub(crate) fn close(&self) {
        if self.0.ring.mark_closed().is_sleeping() {
            self.wake();
        }
    }

    /// Those of the frames that are kept.
    pub(crate) fn bounds(&self) -> Bounds {
        self.0.ring.bounds()
    }

    /// The number of positions that are kept for a cursor, and the bytes of their frames.
    pub(crate) fn unread(&self) -> (u32, u32) {
        self.0.ring.queued()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.ring.is_closed()
    }

    /// Tells all shards to read.
    #[cold]
    pub(crate) fn wake(&self) {
        for cursor in self.cursors() {
            if cursor.is_attached() {
                self.list(cursor);
            }
        }
    }

    /// Tells the cursor's shard to read, unless it was told and has not begun to.
    pub(crate) fn list(&self, cursor: &Arc<Cursor<N>>) {
        if cursor.set_listed() {
            cursor.notify.notify(self, cursor);
        }
    }

    /// The cursor of the shard for which `is_of` is true, made now if there is none.
    pub(crate) fn cursor_of(
        &self,
        is_of: impl Fn(&N) -> bool,
        notify: impl FnOnce() -> N,
    ) -> &Arc<Cursor<N>> {
        let find = || self.cursors().find(|cursor| is_of(&cursor.notify));
        if let Some(found) = find() {
            return found;
        }
        // Or two threads could make one shard two cursors.
        let _making = self.0.making.lock();
        if let Some(found) = find() {
            return found;
        }
        // Relaxed: only the count matters.
        let number = self.0.cursor_numbers.fetch_add(1, Ordering::Relaxed);
        let last = self.cursors().last().map_or(&self.0.first, |last| last.next_place());
        last.get_or_init(|| Arc::new(Cursor::new(number, notify())))
    }

    /// Attaches a cursor, which is not: it reads what is appended from now on, at the position that this
    /// returns. The caller holds the lock of
    /// its commands.
    fn attach(&self, cursor: &Cursor<N>) -> u32 {
        self.0.attached.fetch_add(1, Ordering::AcqRel);
        cursor.begin_attaching();
        // In the order of pushes: invariant 1.
        let tail = self.0.ring.tail_position_in_order();
        cursor.attach_at(tail);
        tail
    }

    /// Detaches a cursor, unless there are commands for its shard; `true` if it is detached. To be called by
    /// the shard, when it has no member left.
    pub(crate) fn detach(&self, cursor: &Cursor<N>, freed: &mut Vec<Entry>) -> bool {
        // A join that holds the lock lists the room again.
        let Some(commands) = cursor.commands.try_lock() else { return false };
        let is_unused = commands.is_empty();
        if is_unused {
            self.detach_now(cursor, freed);
        }
        is_unused
    }

    /// Detaches the cursor of a shard that was dropped.
    pub(crate) fn abandon(&self, cursor: &Cursor<N>) {
        let mut freed = Vec::new();
        let mut commands = cursor.commands.lock();
        let dropped = std::mem::take(&mut *commands);
        if cursor.is_attached() {
            self.detach_now(cursor, &mut freed);
        }
        drop(commands);
        drop(dropped);
    }

    /// Detaches an attached cursor. The caller holds the lock of its commands.
    fn detach_now(&self, cursor: &Cursor<N>, freed: &mut Vec<Entry>) {
        cursor.detach();
        self.0.attached.fetch_sub(1, Ordering::AcqRel);
        self.release(freed);
    }

    /// Whether nothing was appended at this position.
    pub(crate) fn has_end(&self, position: u32) -> bool {
        self.0.ring.tail_position() == position
    }

    /// Whether the log is open and nothing was appended at this position, in the order of appends and the close: if
    /// so, a later one sees what this thread wrote before.
    fn is_quiet_at_in_order(&self, position: u32) -> bool {
        self.0.ring.is_quiet_at_in_order(position)
    }

    /// Reads all that is new for a cursor.
    ///
    /// To be called by the cursor's shard only, which attached it or saw it attached.
    pub(crate) fn read(&self, cursor: &Cursor<N>, mut each: impl FnMut(u32, &Entry)) -> Read {
        let first = cursor.begin_reading();
        let tail = self.0.ring.tail_position();
        let mut position = first;
        while position != tail {
            // SAFETY: the cursor is attached, and not moved on while it reads (invariants 1 and 2).
            let found = unsafe { self.0.ring.read(position, |entry| each(position, entry)) };
            if found.is_none() {
                break;
            }
            position = after(position, 1);
            if distance(first, position).is_multiple_of(READ_AT_ONCE) {
                cursor.advance(position);
            }
        }
        let lost = cursor.take_lost();
        cursor.end_reading(position);
        Read { first, end: position, lost }
    }

    /// Whether the shard may sleep: the next append lists the cursor again.
    #[inline]
    pub(crate) fn sleep(&self, end: u32) -> bool {
        self.0.ring.sleep_at(|| end) == Sleep::Asleep
    }
}

/// The positions that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Later than the end of the read before if entries were dropped between them.
    pub(crate) first: u32,
    pub(crate) end: u32,
    /// The number of frames among these.
    pub(crate) lost: u32,
}
