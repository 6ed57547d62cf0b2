//! A run of a log's entries, which many readers read in place.

use std::sync::OnceLock;

use crate::frame::WireFrame;
use crate::log::{EVERYBODY, Entry, To};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// The most entries of a chunk: one bit of a word for each. Fewer in models, where a second chunk must come soon.
pub(super) const SLOTS: usize = if cfg!(pondwire_loom) { 2 } else { 64 };

/// Set in the state of a chunk to which no entry is added any more.
const SEALED: u32 = 1 << 31;

/// Written by the thread that has the group's lock, each slot once; read by any thread.
pub(super) struct Chunk {
    /// The number of the first entry; that of each next one is one more.
    pub(super) first: u64,
    /// The number of entries that are there, and [`SEALED`].
    state: AtomicU32,
    /// A bit for each entry that goes to all members.
    for_all: AtomicU64,
    frames: [OnceLock<WireFrame>; SLOTS],
    /// The recipients of the others.
    to: [OnceLock<To>; SLOTS],
    after: Mutex<After>,
}

/// What comes after a chunk.
pub(super) enum After {
    /// Nothing yet.
    Open,
    Chunk(Arc<Chunk>),
    /// The chunk has left the window, and the next one perhaps, too.
    Left,
}

/// The frames that a reader receives.
pub(crate) struct Recipient {
    pub(crate) audience: u32,
    /// The key of its user.
    pub(crate) user: u64,
    /// The number of the readers' cursor.
    pub(crate) cursor: u32,
    /// The number of its membership.
    pub(crate) member: u32,
    /// Its place among those that wait.
    pub(crate) place: u32,
}

/// The bits from `from` to before `end`, of which there is at least one.
#[inline]
const fn bits(from: u32, end: u32) -> u64 {
    (u64::MAX >> (64 - (end - from))) << from
}

impl Recipient {
    fn is_for(&self, to: &To) -> bool {
        match to {
            To::Members { audience, except, .. } => {
                audience & self.audience != 0 && *except != self.user
            }
            To::Member { cursor, seat, member } => {
                (*cursor, *seat, *member) == (self.cursor, self.place, self.member)
            }
            // In ascending order, as `Room::publish_to` makes it.
            To::Several { cursor, members } => {
                *cursor == self.cursor && members.binary_search(&(self.place, self.member)).is_ok()
            }
        }
    }
}

impl Chunk {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            state: AtomicU32::new(0),
            for_all: AtomicU64::new(0),
            frames: [const { OnceLock::new() }; SLOTS],
            to: [const { OnceLock::new() }; SLOTS],
            after: Mutex::new(After::Open),
        }
    }

    /// Makes a chunk empty that no other thread has.
    pub(super) fn reset(&mut self, first: u64) {
        let (len, _) = self.shown();
        self.first = first;
        self.state.store(0, Ordering::Relaxed);
        self.for_all.store(0, Ordering::Relaxed);
        for at in 0..len as usize {
            self.frames[at].take();
            self.to[at].take();
        }
        *self.after.lock() = After::Open;
    }

    /// Adds an entry to a chunk that is not full. To be called with the group's lock.
    pub(super) fn push(&self, entry: &Entry) {
        // Relaxed: only threads with the lock change it.
        let len = self.state.load(Ordering::Relaxed);
        let at = len as usize;
        let goes_to_all = matches!(entry.to, To::Members { audience: EVERYBODY, except: 0, .. });
        if goes_to_all {
            let before = self.for_all.load(Ordering::Relaxed);
            // Relaxed: shown by the state.
            self.for_all.store(before | 1 << at, Ordering::Relaxed);
        } else {
            let _ = self.to[at].set(entry.to.clone());
        }
        let _ = self.frames[at].set(entry.frame.clone());
        // Release: a reader that sees the number sees the entries, and to which members they go.
        self.state.store(len + 1, Ordering::Release);
    }

    /// Ends the chunk: `next` follows it.
    pub(super) fn seal(&self, next: &Arc<Self>) {
        *self.after.lock() = After::Chunk(Arc::clone(next));
        let len = self.state.load(Ordering::Relaxed);
        // Release: what follows is there.
        self.state.store(len | SEALED, Ordering::Release);
    }

    /// The chunk leaves the window. Returns what keeps the next one.
    pub(super) fn leave(&self) -> After {
        std::mem::replace(&mut *self.after.lock(), After::Left)
    }

    pub(super) fn after(&self) -> After {
        match &*self.after.lock() {
            After::Open => After::Open,
            After::Chunk(next) => After::Chunk(Arc::clone(next)),
            After::Left => After::Left,
        }
    }

    /// The number of entries that are there, and whether that is all of them.
    #[inline]
    pub(super) fn shown(&self) -> (u32, bool) {
        // Acquire: the entries.
        let state = self.state.load(Ordering::Acquire);
        (state & !SEALED, state & SEALED != 0)
    }

    /// [`chosen`](Self::chosen) of a reader that gets the frames to all, if there are no others.
    #[inline]
    pub(super) fn all_for_all(&self, from: u32, end: u32) -> Option<u64> {
        let range = bits(from, end);
        // Relaxed: shown by the state.
        (range & !self.for_all.load(Ordering::Relaxed) == 0).then_some(range)
    }

    /// Whether the chunk has so many entries, and more may come.
    #[inline]
    pub(super) fn is_open_at(&self, len: u32) -> bool {
        self.state.load(Ordering::Acquire) == len
    }

    /// The places of the entries from `from` to before `end` that go to this reader, as bits. They were
    /// [shown](Self::shown), and are at least one.
    pub(super) fn chosen(&self, from: u32, end: u32, recipient: &Recipient) -> u64 {
        let range = bits(from, end);
        // Relaxed: shown by the state.
        let for_all = self.for_all.load(Ordering::Relaxed);
        let mut chosen = if recipient.audience == 0 { 0 } else { range & for_all };
        let mut others = range & !for_all;
        while others != 0 {
            let at = others.trailing_zeros();
            others &= others - 1;
            let to = self.to[at as usize].get().expect("not for all, so it has recipients");
            if recipient.is_for(to) {
                chosen |= 1 << at;
            }
        }
        chosen
    }

    #[inline]
    pub(super) fn frames(&self) -> &[OnceLock<WireFrame>] {
        &self.frames
    }
}
