//! The place from which a shard reads a log, and the commands to the shard.

use std::sync::OnceLock;

use super::Log;
use crate::ring::word::{MAX_FRAMES, after, distance};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Arc, Mutex};

/// The state of a cursor that no shard reads from.
const DETACHED: u32 = 1 << 31;
/// The state of a cursor whose position is not known yet: nothing may be dropped.
const ATTACHING: u32 = 1 << 31 | 1;
/// Set in the state while the shard reads.
const READING: u32 = 1 << 30;

/// Tells a shard to read.
pub(crate) trait Notify: Sized {
    /// What a shard does for one of its members at a position.
    type Command;

    /// The shard is gone: nothing is read any more.
    fn is_closed(&self) -> bool;

    /// The cursor is listed: it has something to read.
    fn notify(&self, log: &Log<Self>, cursor: &Arc<Cursor<Self>>);
}

/// The place of one shard in one log.
pub(crate) struct Cursor<N: Notify> {
    /// A position of 30 bits and [`READING`], or a value from [`DETACHED`] on.
    state: AtomicU32,
    /// Whether the shard has been notified and has not begun to read.
    pub(super) is_listed: AtomicBool,
    /// The number of frames that were dropped before they were read.
    lost: AtomicU32,
    /// What the shard has not taken out yet, and the positions before which it happens (invariant 3). The
    /// lock is also held to attach and to detach.
    pub(super) commands: Mutex<Vec<(u32, N::Command)>>,
    /// Different from that of every other cursor of the log.
    pub(crate) number: u32,
    pub(crate) notify: N,
    next: OnceLock<Arc<Cursor<N>>>,
}

impl<N: Notify> Cursor<N> {
    pub(super) fn new(number: u32, notify: N) -> Self {
        Self {
            state: AtomicU32::new(DETACHED),
            is_listed: AtomicBool::new(false),
            lost: AtomicU32::new(0),
            commands: Mutex::new(Vec::new()),
            number,
            notify,
            next: OnceLock::new(),
        }
    }

    pub(super) fn next(&self) -> Option<&Arc<Self>> {
        self.next.get()
    }

    pub(super) const fn next_place(&self) -> &OnceLock<Arc<Self>> {
        &self.next
    }

    /// Acquire: what the attaching thread did before.
    pub(crate) fn is_attached(&self) -> bool {
        self.state.load(Ordering::Acquire) & DETACHED == 0
    }

    /// Acquire, as for [`set_listed`](Self::set_listed).
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// `true` if the cursor was not listed: the caller notifies the shard.
    pub(super) fn set_listed(&self) -> bool {
        // AcqRel: the shard's `unlist` reads it and sees the entry that was appended before; and if the
        // shard has unlisted it already, the shard's read comes after that.
        !self.is_listed.swap(true, Ordering::AcqRel)
    }

    /// To be called by the shard before it reads.
    pub(crate) fn unlist(&self) {
        self.is_listed.swap(false, Ordering::AcqRel);
    }

    pub(super) fn begin_attaching(&self) {
        // Release, though the order matters only with the tail's read-modify-write that follows.
        self.state.store(ATTACHING, Ordering::Release);
    }

    pub(super) fn attach_at(&self, position: u32) {
        self.state.store(position, Ordering::Release);
    }

    pub(super) fn detach(&self) {
        // Release: the last read is done.
        self.state.store(DETACHED, Ordering::Release);
    }

    /// Returns the position to read from.
    pub(super) fn begin_reading(&self) -> u32 {
        // Acquire: the publisher that moved the cursor on. An RMW: it comes before or after such a move.
        let state = self.state.fetch_or(READING, Ordering::AcqRel);
        debug_assert!(
            state & (DETACHED | READING) == 0,
            "attached, and read by one thread: {state:x}"
        );
        state
    }

    /// Entries before `position` are not read any more.
    pub(super) fn advance(&self, position: u32) {
        // Release: as at the end.
        self.state.store(position | READING, Ordering::Release);
    }

    /// The number of frames that were dropped since the last call.
    pub(super) fn take_lost(&self) -> u32 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    pub(super) fn end_reading(&self, position: u32) {
        // Release: the thread that pops what is before comes after the reads.
        self.state.store(position, Ordering::Release);
    }

    /// Whether all before this position has been read, and nobody reads.
    #[inline]
    pub(super) fn is_at(&self, position: u32) -> bool {
        // Relaxed: an old value costs or saves one look.
        self.state.load(Ordering::Relaxed) == position
    }

    /// The number of positions before `tail` that the shard still reads.
    pub(super) fn distance_to(&self, tail: u32) -> u32 {
        match self.state.load(Ordering::Acquire) {
            DETACHED => 0,
            // More than there are: nothing may be dropped.
            ATTACHING => MAX_FRAMES,
            // A position beyond this tail, which is an old one, is nearly the whole range before it.
            state => match distance(state & !READING, tail) {
                count if count <= MAX_FRAMES => count,
                _ => 0,
            },
        }
    }

    /// Moves the cursor on if it is at `position`; `false` if the shard is reading there.
    pub(super) fn skip(&self, position: u32) -> bool {
        let state = self.state.load(Ordering::Acquire);
        if state == DETACHED || state != ATTACHING && state & !READING != position {
            return true;
        }
        // Fails if the shard has begun to read. AcqRel: its last read is done before the entry is dropped.
        let next = after(position, 1);
        let skipped = self
            .state
            .compare_exchange(position, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if skipped {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        skipped
    }

    /// Moves all commands to the end of `into`, in the order in which they were given.
    pub(crate) fn take_commands(&self, into: &mut Vec<(u32, N::Command)>) {
        let mut commands = self.commands.lock();
        if into.is_empty() {
            // The cursor of an idle room keeps no memory.
            *into = std::mem::take(&mut *commands);
        } else {
            into.append(&mut commands);
        }
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.lock().is_empty()
    }
}
