//! Readers that share one cursor of a log: one for each connection, which reads in place.
//!
//! The group of a room's readers has a [`Cursor`], as a shard has, so a publish costs the same for any number of
//! readers. Whoever finds the group's lock free moves what is new from the log into [`Chunk`]s, which all readers
//! read without a lock: a reader that polls and has read all that is there, or a publisher that found readers asleep.
//! A reader keeps its present chunk alive, and no other: a chunk that leaves the window does not lead to the next one
//! any more.
//!
//! # Invariants
//!
//! 1. A reader registers its waker, then looks at its chunk, then tries to advance the group, and sleeps only after
//!    that. If it gets the lock, it finds the log empty and marks in the log that the group sleeps, all under the
//!    lock. If another thread has the lock, the reader was registered before that thread wakes readers, which it
//!    does after it has unlocked.
//! 2. A thread that had the lock, for whatever, either wakes all readers, or looks at the log once more after it has
//!    unlocked: a publisher, or the thread that closes the log, may have found the mark, and then the lock taken. The
//!    look, the append and the close are read-modify-writes of the tail: if the look comes first, the other thread
//!    sees the lock free.
//! 3. A publisher that finds the mark lists the cursor, if it is not listed. Whoever has listed it takes it off the
//!    list before it tries to advance the group. So a publisher that finds it listed leaves its entry to that thread.
//! 4. The window keeps a chunk to which a reader may still come until the bounds are exceeded: from the chunk before
//!    it, or, to the oldest one, from a chunk that has left the window with a reader in it.
//!
//! The proofs are `models.rs` and, in the repository, `tests/loom/weakened.sh` and `tests/delivery/reader.rs`.

mod chunk;
#[cfg(all(test, pondwire_loom))]
mod models;
mod sleepers;

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::task::{Context, Poll};

pub(crate) use chunk::Recipient;

use super::{Cursor, Entry, Log, Notify, To};
use crate::fanout::Closed;
use crate::frame::WireFrame;
use crate::ring::Bounds;
use crate::ring::word::distance;
use crate::sync::{Arc, Mutex, spin_loop};
use chunk::{After, Chunk, SLOTS};
use sleepers::{Sleepers, Wake};

/// The number of bytes after which a chunk is sealed.
const CHUNK_BYTES: u32 = 64 << 10;

/// The number of times that a poll looks for frames that are for its reader before it lets other tasks run.
const LOOKS: usize = 8;

/// The number of chunks that have left the window, of which is looked at once whether their readers have, too.
const LEFT_AT_ONCE: usize = 4;

/// The readers of one log.
pub(crate) struct Readers {
    source: Mutex<Source>,
    sleepers: Sleepers,
    bounds: Bounds,
}

/// What the thread needs that moves entries.
struct Source {
    /// The position after the last entry that was moved, and its number: the distance from one to another is the
    /// same for both.
    end: u32,
    number: u64,
    readers: usize,
    window: Window,
    /// Empty; its memory is kept, up to a bound.
    freed: Vec<Entry>,
}

/// The chunks that are kept for readers; none if there is no reader.
#[derive(Default)]
struct Window {
    /// With the numbers of their bytes.
    chunks: VecDeque<(Arc<Chunk>, u64)>,
    frames: usize,
    bytes: u64,
    /// Chunks that have left with readers in them.
    left: VecDeque<Arc<Chunk>>,
    /// One that is used again.
    spare: Option<Arc<Chunk>>,
}

/// The outcome of [`Readers::advance`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Advance {
    Moved,
    /// By this thread; another one may be about to.
    Nothing,
    /// The log is closed, and all of it has been moved.
    End,
}

/// Set in a place if the entries of the chunk are not all that matters: its reader has left, or has an audience of
/// nobody; or it has lagged and was not told.
const SPECIAL: u32 = 1 << 30;
const LAGGED: u32 = 1 << 29;
const FLAGS: u32 = SPECIAL | LAGGED;

/// The place of one reader.
pub(crate) struct Place {
    chunk: Arc<Chunk>,
    /// The distance of the next entry to be read from the first of the chunk, perhaps beyond its end; and the
    /// [`FLAGS`].
    at: u32,
    /// `None` for a reader that has neither left nor lagged: a place is small.
    rare: Option<Box<Rare>>,
}

struct Rare {
    /// The number of the first entry that is not read any more.
    until: u64,
    /// The number of entries that left the window before they were read, since the last call of
    /// [`take_missed`](Place::take_missed).
    missed: u64,
}

/// What a reader has found in its chunk.
enum Found {
    /// The frames that are for it, as bits.
    Frames(u64),
    Nothing,
    /// It has left.
    End,
}

impl Found {
    const fn frames(self) -> Option<u64> {
        match self {
            Self::Frames(frames) => Some(frames),
            Self::Nothing | Self::End => None,
        }
    }
}

impl Place {
    /// The frames of the chunk in which the reader last found some.
    #[inline]
    pub(crate) fn frames(&self) -> &[OnceLock<WireFrame>] {
        self.chunk.frames()
    }

    /// The number of entries that left the window before they were read, since the last call of this.
    pub(crate) fn take_missed(&mut self) -> u64 {
        self.at &= !LAGGED;
        self.rare.as_mut().map_or(0, |rare| std::mem::take(&mut rare.missed))
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(Rare { until: u64::MAX, missed: 0 }))
    }

    fn until(&self) -> u64 {
        self.rare.as_ref().map_or(u64::MAX, |rare| rare.until)
    }

    /// The new entries of the chunk, if all of them are for the reader and nothing else is to be told; else there may
    /// be [others](Readers::try_read).
    #[inline]
    pub(crate) fn look(&mut self) -> Option<u64> {
        let (len, _) = self.chunk.shown();
        // Not with a flag.
        if self.at < len
            && let Some(frames) = self.chunk.all_for_all(self.at, len)
        {
            self.at = len;
            return Some(frames);
        }
        None
    }

    /// Whether there is nothing new for this reader now.
    #[inline]
    pub(crate) fn has_nothing<N: Notify>(&self, log: &Log<N>, cursor: &Cursor<N>) -> bool {
        self.chunk.is_open_at(self.at) && !is_behind(log, cursor)
    }

    /// The number of the next entry to be read.
    fn next(&self) -> u64 {
        self.chunk.first + u64::from(self.at & !FLAGS)
    }
}

impl Window {
    /// Appends an entry; `cursor` is the number of the readers' one.
    fn push(&mut self, number: u64, entry: &Entry, bounds: Bounds, cursor: u32, wake: &mut Wake) {
        let (last, bytes) = self.chunks.back().expect("a reader has opened a chunk");
        let (len, _) = last.shown();
        // So small that a window within the bounds has several.
        let most = (bounds.frames() / 4).clamp(1, SLOTS as u32);
        let most_bytes = (bounds.bytes() / 4).min(CHUNK_BYTES);
        let is_next = last.first + u64::from(len) == number;
        if !is_next || len >= most || *bytes >= u64::from(most_bytes) {
            self.open(number);
            // All are woken now and then, or one to which no frame goes would seem to lag.
            wake.all();
        }
        let (last, bytes) = self.chunks.back_mut().expect("just opened");
        last.push(entry);
        let len = entry.frame.wire().len() as u64;
        *bytes += len;
        self.bytes += len;
        self.frames += 1;
        match &entry.to {
            To::Members { .. } => wake.all(),
            To::Member { cursor: of, seat, .. } if *of == cursor => wake.named(*seat),
            To::Several { cursor: of, members } if *of == cursor => {
                members.iter().for_each(|(seat, _)| wake.named(*seat));
            }
            // For members at seats.
            To::Member { .. } | To::Several { .. } => {}
        }
    }

    /// Begins a chunk.
    fn open(&mut self, number: u64) {
        let mut spare = self.spare.take();
        if let Some(spare) = spare.as_mut().and_then(Arc::get_mut) {
            spare.reset(number);
        }
        let chunk = spare.unwrap_or_else(|| Arc::new(Chunk::new(number)));
        if let Some((last, _)) = self.chunks.back() {
            last.seal(&chunk);
        }
        self.chunks.push_back((chunk, 0));
    }

    /// Drops what no reader needs, and what exceeds the bounds.
    fn trim(&mut self, bounds: Bounds) {
        for _ in 0..self.left.len().min(LEFT_AT_ONCE) {
            let left = self.left.pop_front();
            self.left.extend(left.filter(|chunk| Arc::strong_count(chunk) > 1));
        }
        while self.chunks.len() > 1 {
            let exceeds =
                self.frames > bounds.frames() as usize || self.bytes > u64::from(bounds.bytes());
            // No chunk before it leads there.
            let is_needed = Arc::strong_count(&self.chunks[0].0) > 1 || !self.left.is_empty();
            if is_needed && !exceeds {
                return;
            }
            let Some((mut chunk, bytes)) = self.chunks.pop_front() else { return };
            self.frames -= chunk.shown().0 as usize;
            self.bytes -= bytes;
            drop(chunk.leave());
            if let Some(unused) = Arc::get_mut(&mut chunk) {
                unused.reset(0);
                self.spare = Some(chunk);
            } else {
                self.left.push_back(chunk);
            }
        }
    }
}

impl Readers {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let (end, number, readers) = (0, 0, 0);
        let (window, freed) = (Window::default(), Vec::new());
        Self {
            source: Mutex::new(Source { end, number, readers, window, freed }),
            sleepers: Sleepers::default(),
            bounds,
        }
    }

    /// A place among those that are woken; [`close`](Self::close) gives it back.
    pub(crate) fn open(&self) -> u32 {
        self.sleepers.open()
    }

    pub(crate) fn close(&self, place: u32) {
        self.sleepers.close(place);
    }

    /// Adds a reader, which receives what is appended after this.
    pub(crate) fn join<N: Notify>(
        &self,
        log: &Log<N>,
        cursor: &Cursor<N>,
        audience: u32,
    ) -> Result<Place, Closed> {
        self.with_source(log, cursor, |source| {
            let tail = log.tail_for(cursor)?;
            if source.readers == 0 {
                // Attached just now, at the tail.
                source.end = tail;
                source.window.open(source.number);
            }
            source.readers += 1;
            let next = source.number_of(tail);
            let (chunk, _) = source.window.chunks.back().expect("opened for the first reader");
            let (chunk, at) = (Arc::clone(chunk), (next - chunk.first) as u32);
            let special = if audience == 0 { SPECIAL } else { 0 };
            Ok(Place { chunk, at: at | special, rare: None })
        })
    }

    /// The reader receives nothing that is appended after this.
    pub(crate) fn leave<N: Notify>(&self, log: &Log<N>, cursor: &Cursor<N>, place: &mut Place) {
        let until = self.with_source(log, cursor, |source| source.number_of(log.tail_position()));
        let rare = place.rare();
        rare.until = rare.until.min(until);
        place.at |= SPECIAL;
    }

    /// A reader is gone.
    pub(crate) fn remove<N: Notify>(&self, log: &Log<N>, cursor: &Cursor<N>, place: Place) {
        // First, or the window would keep its chunk.
        drop(place);
        let dropped = self.with_source(log, cursor, |source| {
            source.readers -= 1;
            if source.readers > 0 {
                source.window.trim(self.bounds);
                return None;
            }
            let mut freed = std::mem::take(&mut source.freed);
            let is_detached = log.detach(cursor, &mut freed);
            debug_assert!(is_detached, "there are no commands, and this lock is held to attach");
            Some((std::mem::take(&mut source.window), freed))
        });
        if let Some((window, _)) = dropped {
            // One by one, not by recursion.
            window.chunks.iter().for_each(|(chunk, _)| drop(chunk.leave()));
        }
    }

    /// Changes the source, and then does what other threads left to this one (invariant 2).
    fn with_source<N: Notify, R>(
        &self,
        log: &Log<N>,
        cursor: &Cursor<N>,
        change: impl FnOnce(&mut Source) -> R,
    ) -> R {
        let mut source = self.source.lock();
        let changed = change(&mut source);
        let end = source.end;
        drop(source);
        if !log.is_quiet_at_in_order(end) {
            self.advance(log, cursor);
        }
        changed
    }

    /// The frames that are new for a reader, as bits of its [`frames`](Place::frames); `None` if there are none now.
    #[inline(never)]
    pub(crate) fn try_read<N: Notify>(
        &self,
        log: &Log<N>,
        cursor: &Cursor<N>,
        place: &mut Place,
        recipient: &Recipient,
    ) -> Option<u64> {
        match self.find(log, cursor, place, recipient) {
            Found::Nothing if is_behind(log, cursor) => {
                self.advance(log, cursor);
                self.find(log, cursor, place, recipient).frames()
            }
            found => found.frames(),
        }
    }

    /// [`try_read`](Self::try_read), or the waker is woken once there may be frames; `None` at the end.
    pub(crate) fn poll_read<N: Notify>(
        &self,
        log: &Log<N>,
        cursor: &Cursor<N>,
        place: &mut Place,
        recipient: &Recipient,
        cx: &mut Context<'_>,
    ) -> Poll<Option<u64>> {
        if let Some(frames) = self.try_read(log, cursor, place, recipient) {
            return Poll::Ready(Some(frames));
        }
        for _ in 0..LOOKS {
            // Invariant 1.
            self.sleepers.register(recipient.place, cx.waker());
            match self.find(log, cursor, place, recipient) {
                Found::Frames(frames) => return Poll::Ready(Some(frames)),
                Found::End => return Poll::Ready(None),
                Found::Nothing => {}
            }
            match self.advance(log, cursor) {
                Advance::Moved => {}
                // What was moved last, this reader has not seen perhaps.
                Advance::End => {
                    return Poll::Ready(self.find(log, cursor, place, recipient).frames());
                }
                Advance::Nothing => return Poll::Pending,
            }
        }
        // Much is published, and nothing for this reader.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks for frames in the reader's chunk and those after it.
    fn find<N: Notify>(
        &self,
        log: &Log<N>,
        cursor: &Cursor<N>,
        place: &mut Place,
        recipient: &Recipient,
    ) -> Found {
        loop {
            let chunk = &*place.chunk;
            let (len, is_sealed) = chunk.shown();
            let until = place.until().saturating_sub(chunk.first);
            let end = until.min(u64::from(len)) as u32;
            let (at, flags) = (place.at & !FLAGS, place.at & FLAGS);
            if at < end {
                let frames = chunk.chosen(at, end, recipient);
                place.at = end | flags;
                if frames != 0 {
                    return Found::Frames(frames);
                }
            } else if u64::from(at) >= until {
                return Found::End;
            } else if is_sealed {
                self.cross(log, cursor, place);
            } else {
                return Found::Nothing;
            }
        }
    }

    /// Moves a reader to the next chunk, or to the oldest one if it has lagged.
    #[cold]
    fn cross<N: Notify>(&self, log: &Log<N>, cursor: &Cursor<N>, place: &mut Place) {
        let next = match place.chunk.after() {
            After::Chunk(next) => next,
            After::Open | After::Left => self.with_source(log, cursor, |source| {
                let (oldest, _) = source.window.chunks.front().expect("there is a reader");
                Arc::clone(oldest)
            }),
        };
        let number = place.next();
        let left = std::mem::replace(&mut place.chunk, next);
        let missed = place.chunk.first.saturating_sub(number);
        let lagged = if missed > 0 { LAGGED } else { 0 };
        if missed > 0 {
            place.rare().missed += missed;
        }
        let flags = place.at & FLAGS | lagged;
        place.at = number.saturating_sub(place.chunk.first) as u32 | flags;
        // That of the window and this one: no reader comes after this one. If two leave at once, the next
        // reader to leave a chunk, or what is published next, lets it go.
        let is_last = Arc::strong_count(&left) == 2;
        drop(left);
        if is_last {
            self.with_source(log, cursor, |source| source.window.trim(self.bounds));
        }
    }

    /// Moves what is new in the log to the chunks, and wakes the readers that it is for.
    #[inline(never)]
    fn advance<N: Notify>(&self, log: &Log<N>, cursor: &Cursor<N>) -> Advance {
        let mut has_moved = false;
        loop {
            let Some(mut source) = self.source.try_lock() else { break };
            if source.readers == 0 {
                break;
            }
            cursor.unlist();
            let mut wake = Wake::default();
            let before = source.end;
            let end = source.take_new(log, cursor, self.bounds, &mut wake);
            has_moved |= end != before;
            // Invariant 2.
            let sleeps = !wake.is_all() && log.sleep(end);
            if !sleeps {
                wake.all();
            }
            // Looked at here, models switch threads between the mark and the end of the lock.
            let is_end = !has_moved && log.is_closed() && log.has_end(end);
            drop(source);
            self.sleepers.wake(&wake);
            if is_end {
                return Advance::End;
            }
            if !sleeps {
                // Mostly since a publisher is about to show its entry: the readers look again.
                spin_loop();
                break;
            }
            if log.is_quiet_at_in_order(end) {
                break;
            }
        }
        if has_moved { Advance::Moved } else { Advance::Nothing }
    }

    /// A publisher found the group asleep, or the log was closed.
    pub(crate) fn notify<N: Notify>(&self, log: &Log<N>, cursor: &Cursor<N>) {
        // First: invariant 3.
        cursor.unlist();
        self.advance(log, cursor);
    }
}

/// Whether the log has entries that were not moved.
#[inline]
fn is_behind<N: Notify>(log: &Log<N>, cursor: &Cursor<N>) -> bool {
    !cursor.is_at(log.tail_position())
}

impl Source {
    /// Moves what is new in the log to the window; returns the position after it.
    fn take_new<N: Notify>(
        &mut self,
        log: &Log<N>,
        cursor: &Cursor<N>,
        bounds: Bounds,
        wake: &mut Wake,
    ) -> u32 {
        let Self { end, number, window, freed, .. } = self;
        let read = log.read(cursor, |position, entry| {
            let number = *number + u64::from(distance(*end, position));
            window.push(number, entry, bounds, cursor.number, wake);
        });
        log.release(freed);
        freed.clear();
        freed.shrink_to(SLOTS);
        *number += u64::from(distance(*end, read.end));
        *end = read.end;
        window.trim(bounds);
        read.end
    }

    /// The number of an entry that was not moved yet.
    fn number_of(&self, position: u32) -> u64 {
        self.number + u64::from(distance(self.end, position))
    }
}
