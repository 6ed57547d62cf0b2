//! A bounded ring with many producers and more than one consumer: frames and bytes are bounded,
//! memory grows in steps, and the push that makes the ring non-empty wakes a sleeping consumer.
//!
//! Its two ends are words of position and byte sum ([`word`]); a producer claims a position by a
//! compare-and-swap on the tail, a popper by one on the head (the consumer, and producers that
//! drop the oldest). That one operation does all accounting: both limits are hard.
//!
//! Items lie in *segments*: segment 0 has [`INLINE`] slots inside the ring, each next one is an
//! array eight times as large, allocated by the first producer that finds the one before too small
//! and freed with the ring. A consumer that goes to sleep sends producers back to segment 0, so
//! that an idle connection uses the same few cache lines again and again, even after a burst. A
//! slot's tag names the position whose item it holds, so poppers find a position in any segment.
//!
//! # Invariants
//!
//! 1. A position is claimed once by a producer: the tail's position only grows, by a
//!    compare-and-swap from the very value on which the producer decided. (A value recurs only
//!    after 2³⁰ pushes whose bytes sum to a multiple of 2²⁹. A thread would have to stop
//!    between a load and its compare-and-swap for exactly that long.)
//! 2. A position is claimed once by a popper, likewise with the head, and only after its slot was
//!    seen full for that very position. So the head never passes the tail. If producers do not
//!    pop, only the consumer does (the contract of [`Ring::take`]), and a store suffices.
//! 3. A producer that claims position `p` in a segment of `n` slots saw a head beyond `p - n` and
//!    then the slot free. Items of that slot had positions up to `p - n`, so all of them were
//!    popped; and since the head was read with Acquire, the free tag is not an old one but
//!    means that the last popper is done.
//! 4. A slot's item is initialised from the store of a full tag to the claim of a popper, which
//!    alone reads it and then stores the free tag.
//! 5. `segments` hold null or arrays of `segment_len(segment)` slots that live as long as the ring:
//!    a suspended producer may still read their tags.

#![allow(unsafe_code)]

mod slot;
mod waking;
pub(crate) mod word;

use std::ptr;

use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::sync::{AtomicWaker, spin_loop};
use slot::Slot;
use word::{Word, after, distance};

pub(crate) use waking::Sleep;
pub(crate) use word::Bounds;

/// The slots of segment 0, which need no allocation. Fewer in models, where laps must come soon.
pub(crate) const INLINE: u32 = if cfg!(pondwire_loom) { 1 } else { 4 };

/// The factor by which each segment is larger than the one before, as a power of two.
const STEP_BITS: u32 = if cfg!(pondwire_loom) { 1 } else { 3 };

/// The number of segments that may be allocated: enough for `MAX_FRAMES`, except in models.
const GROWN: usize = if cfg!(pondwire_loom) { 2 } else { 5 };

/// The number of times that a producer checks again a slot that another thread is about to empty.
const SPINS: u32 = if cfg!(pondwire_loom) { 1 } else { 64 };

/// The reason why a push was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Closed,
    /// There are as many frames as allowed.
    Frames,
    /// There would be more bytes than allowed.
    Bytes,
    /// There is room, but a popper that claimed the slot has not emptied it yet.
    Busy,
}

/// The outcome of a pop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PopResult {
    /// `count` items from position `first` on, of `bytes` in total.
    Some {
        first: u32,
        count: u32,
        bytes: u32,
    },
    Empty,
    /// The oldest position is claimed, but its producer has not filled it yet.
    Busy,
}

/// In this order: the fields that pushes and pops access are adjacent.
#[repr(C)]
pub(crate) struct Ring<T> {
    tail: AtomicU64,
    head: AtomicU64,
    bounds: Bounds,
    /// Whether producers pop, too.
    shared_head: bool,
    /// Whether an out-of-band frame waits.
    out_of_band: AtomicBool,
    inline: [Slot<T>; INLINE as usize],
    segments: [AtomicPtr<Slot<T>>; GROWN],
    waker: AtomicWaker,
}

// SAFETY: only the thread that claimed a position accesses its item, one at a time, and the
// tags order these accesses (invariants 1 to 4); everything else is atomic.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: it owns its items and arrays.
unsafe impl<T: Send> Send for Ring<T> {}

/// The number of times that [`Ring::queued`] tries to read both ends at one moment.
const LOOKS: usize = 8;

impl<T> Ring<T> {
    /// With `shared_head` any thread may pop; otherwise only the consumer, at a lower cost.
    pub(crate) fn new(bounds: Bounds, shared_head: bool) -> Self {
        Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            bounds,
            shared_head,
            out_of_band: AtomicBool::new(false),
            inline: std::array::from_fn(|_| Slot::new()),
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            waker: AtomicWaker::new(),
        }
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The frames and bytes that wait now, never more than allowed.
    pub(crate) fn queued(&self) -> (u32, u32) {
        // The head first: it never passes a tail that is read later. If it is unchanged after that,
        // both are of one moment; else the difference may be larger than it ever was.
        let mut head = self.head.load(Ordering::Acquire);
        for _ in 0..LOOKS {
            let tail = Word(self.tail.load(Ordering::Acquire));
            let now = self.head.load(Ordering::Acquire);
            if now == head {
                return (tail.frames_since(Word(head)), tail.bytes_since(Word(head)));
            }
            head = now;
        }
        let tail = Word(self.tail.load(Ordering::Acquire));
        let (frames, bytes) = (tail.frames_since(Word(head)), tail.bytes_since(Word(head)));
        (frames.min(self.bounds.frames()), bytes.min(self.bounds.bytes()))
    }

    /// The number of slots of a segment. The last segment has no more than are needed.
    #[inline]
    fn segment_len(&self, segment: usize) -> u32 {
        (INLINE << (STEP_BITS * segment as u32)).min(self.bounds.slots)
    }

    /// The slots of a segment, if it is allocated.
    #[inline]
    fn segment(&self, segment: usize) -> Option<&[Slot<T>]> {
        let Some(grown) = segment.checked_sub(1) else { return Some(&self.inline) };
        // Acquire: the slots were made before the pointer was stored.
        let slots = ptr::NonNull::new(self.segments[grown].load(Ordering::Acquire))?;
        let count = self.segment_len(segment) as usize;
        // SAFETY: invariant 5.
        Some(unsafe { std::slice::from_raw_parts(slots.as_ptr(), count) })
    }

    /// The slots of a segment, which is allocated if necessary.
    #[inline]
    fn segment_or_grow(&self, segment: usize) -> &[Slot<T>] {
        self.segment(segment).unwrap_or_else(|| self.grow(segment))
    }

    #[cold]
    fn grow(&self, segment: usize) -> &[Slot<T>] {
        let count = self.segment_len(segment) as usize;
        let made: Box<[Slot<T>]> = (0..count).map(|_| Slot::new()).collect();
        let made = Box::into_raw(made);
        let installed = self.segments[segment - 1].compare_exchange(
            ptr::null_mut(),
            made.cast::<Slot<T>>(),
            // Release: the slots are initialised. Acquire: so are those of a faster thread.
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let slots = match installed {
            Ok(_) => made.cast::<Slot<T>>(),
            Err(others) => {
                // SAFETY: from `Box::into_raw` above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(made) });
                others
            }
        };
        // SAFETY: invariant 5, for this array or the faster thread's.
        unsafe { std::slice::from_raw_parts(slots, count) }
    }

    /// Puts an item of `len` bytes at the end, or returns it with the reason.
    ///
    /// `before_shown` is called with the position before the item is visible; it must not panic.
    ///
    /// `Ok(true)`: this push found the consumer asleep, and must [`wake`](Self::wake_found) it.
    #[inline]
    pub(crate) fn try_push(
        &self,
        item: T,
        len: u32,
        before_shown: impl FnOnce(u32),
    ) -> Result<bool, (T, PushError)> {
        let mut spins = 0;
        // Acquire, here and below: the head that the last producer saw is seen, too. So the
        // distance from a head read later is never more than the bounds.
        let mut tail = Word(self.tail.load(Ordering::Acquire));
        loop {
            if tail.is_closed() {
                return Err((item, PushError::Closed));
            }
            // Acquire: invariant 3.
            let head = Word(self.head.load(Ordering::Acquire));
            let queued = tail.frames_since(head);
            if queued > self.bounds.frames {
                // The head has passed this tail: it is stale.
                tail = Word(self.tail.load(Ordering::Acquire));
                continue;
            }
            if queued == self.bounds.frames {
                return Err((item, PushError::Frames));
            }
            // A stale head only makes both sums larger than they are.
            if u64::from(tail.bytes_since(head)) + u64::from(len) > u64::from(self.bounds.bytes) {
                return Err((item, PushError::Bytes));
            }
            let Some((segment, slot)) = self.free_slot(tail, queued) else {
                if spins == SPINS {
                    return Err((item, PushError::Busy));
                }
                spins += 1;
                spin_loop();
                tail = Word(self.tail.load(Ordering::Acquire));
                continue;
            };
            let next = tail.advanced(1, len, segment);
            // Release: a thread that reads it sees the head that this decision saw, and the
            // segment.
            match self.tail.compare_exchange_weak(
                tail.0,
                next.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    before_shown(tail.position());
                    // SAFETY: the compare-and-swap claimed the position for this slot, which was
                    // seen free after a head beyond all its former items (invariants 1 and 3).
                    unsafe { slot.fill(tail.position(), item, len) };
                    return Ok(tail.is_sleeping());
                }
                Err(now) => tail = Word(now),
            }
        }
    }

    /// The first segment, from the tail's on, in which the slot for its position is free.
    #[inline]
    fn free_slot(&self, tail: Word, queued: u32) -> Option<(usize, &Slot<T>)> {
        let mut segment = tail.segment();
        loop {
            let count = self.segment_len(segment);
            if queued < count {
                let slots = self.segment_or_grow(segment);
                let slot = &slots[(tail.position() & (count - 1)) as usize];
                if slot.is_free() {
                    return Some((segment, slot));
                }
            }
            if segment == GROWN || self.segment_len(segment + 1) == count {
                return None;
            }
            segment += 1;
        }
    }

    /// The slot that holds the item of `position`; `hint` is the segment to search first.
    #[inline]
    fn slot_of(&self, position: u32, hint: usize) -> Option<&Slot<T>> {
        match self.slot_in(hint, position) {
            Some(slot) => Some(slot),
            None => self.slot_elsewhere(position, hint),
        }
    }

    #[inline]
    fn slot_in(&self, segment: usize, position: u32) -> Option<&Slot<T>> {
        let slots = self.segment(segment)?;
        let slot = &slots[position as usize & (slots.len() - 1)];
        slot.holds(position).then_some(slot)
    }

    #[cold]
    fn slot_elsewhere(&self, position: u32, not_in: usize) -> Option<&Slot<T>> {
        let mut others = (0..=GROWN).filter(|&segment| segment != not_in);
        others.find_map(|segment| self.slot_in(segment, position))
    }

    /// Moves the oldest items, up to `frames` and of up to `bytes` in total but at least one, to
    /// the end of `into`.
    ///
    /// # Safety
    /// The caller may pop: the ring was made with a shared head, or the caller is its one consumer
    /// and no other pop is running.
    #[inline(always)]
    pub(crate) unsafe fn take(&self, frames: u32, bytes: u32, into: &mut Vec<T>) -> PopResult {
        // SAFETY: passed on.
        let claimed = unsafe { self.claim(frames, bytes) };
        if let PopResult::Some { first, count, .. } = claimed {
            into.reserve(count as usize);
            for ahead in 0..count {
                // SAFETY: claimed just now, and each is taken once.
                into.push(unsafe { self.take_at(after(first, ahead)) });
            }
        }
        claimed
    }

    /// Takes the oldest item out.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    #[inline(never)]
    pub(crate) unsafe fn take_one(&self) -> Result<T, PopResult> {
        // SAFETY: passed on.
        match unsafe { self.claim(1, 0) } {
            // SAFETY: claimed just now, and taken once.
            PopResult::Some { first, .. } => Ok(unsafe { self.take_at(first) }),
            nothing => Err(nothing),
        }
    }

    /// Moves the items of all positions before `end` to the end of `into`, as far as they are filled.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    pub(crate) unsafe fn take_before(&self, end: u32, into: &mut Vec<T>) {
        // A head beyond `end` is nearly the whole range of positions before it.
        let before_end = |first| match distance(first, end) {
            count if count <= word::MAX_FRAMES => count,
            _ => 0,
        };
        loop {
            // SAFETY: passed on.
            let claimed = unsafe { self.claim_some(before_end, u32::MAX) };
            let PopResult::Some { first, count, .. } = claimed else { return };
            // SAFETY: claimed just now, and each is taken once.
            into.extend((0..count).map(|ahead| unsafe { self.take_at(after(first, ahead)) }));
        }
    }

    /// Calls `read` with the item of `position`; `None` if its producer has not filled it yet. Other threads
    /// may read it at the same time.
    ///
    /// # Safety
    /// No pop claims `position` before this returns.
    #[inline]
    pub(crate) unsafe fn read<R>(&self, position: u32, read: impl FnOnce(&T) -> R) -> Option<R>
    where
        T: Sync,
    {
        let hint = Word(self.tail.load(Ordering::Relaxed)).segment();
        let slot = self.slot_of(position, hint)?;
        // SAFETY: it holds the position's item, which the caller promises is not taken.
        Some(unsafe { slot.read(read) })
    }

    /// The position of the oldest item, or of the next if there is none.
    pub(crate) fn head_position(&self) -> u32 {
        Word(self.head.load(Ordering::Acquire)).position()
    }

    /// The position of the next item.
    pub(crate) fn tail_position(&self) -> u32 {
        // Acquire: this thread sees the segments that producers used.
        Word(self.tail.load(Ordering::Acquire)).position()
    }

    /// [`tail_position`](Self::tail_position) in the order of all pushes: what the caller wrote before
    /// is seen by each thread that sees a later push.
    pub(crate) fn tail_position_in_order(&self) -> u32 {
        // An RMW, so that it is in the release sequences that later pushes read from.
        Word(self.tail.fetch_or(0, Ordering::AcqRel)).position()
    }

    /// Whether the ring is open and has no item at `position` or later, in the order of all pushes and the close: if
    /// so, each thread that sees a later one sees what the caller wrote before.
    pub(crate) fn is_quiet_at_in_order(&self, position: u32) -> bool {
        // An RMW, as above.
        let tail = Word(self.tail.fetch_or(0, Ordering::AcqRel));
        !tail.is_closed() && tail.position() == position
    }

    /// Claims items for the caller, which must [`take_at`](Self::take_at) each of them.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    #[inline(always)]
    unsafe fn claim(&self, max_frames: u32, max_bytes: u32) -> PopResult {
        // SAFETY: passed on.
        unsafe { self.claim_some(|_| max_frames, max_bytes) }
    }

    /// [`claim`](Self::claim) of at most as many items as `max_frames` says of the first position.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    #[inline(always)]
    unsafe fn claim_some(&self, max_frames: impl Fn(u32) -> u32, max_bytes: u32) -> PopResult {
        loop {
            let head = Word(self.head.load(Ordering::Acquire));
            // Acquire: this thread sees the segments that producers used.
            let tail = Word(self.tail.load(Ordering::Acquire));
            let (first, waiting) = (head.position(), tail.frames_since(head));
            let most = max_frames(first).min(waiting);
            if most == 0 {
                return PopResult::Empty;
            }
            let (mut count, mut bytes) = (0, 0);
            while count < most {
                let Some(slot) = self.slot_of(after(first, count), tail.segment()) else { break };
                let sum = slot.len().saturating_add(bytes);
                if count > 0 && sum > max_bytes {
                    break;
                }
                (count, bytes) = (count + 1, sum);
            }
            // If the head is unchanged, the slots held these positions, and the lengths were theirs
            // (invariant 2).
            if count == 0 {
                if self.head.load(Ordering::Acquire) == head.0 {
                    return PopResult::Busy;
                }
                continue;
            }
            let next = head.advanced(count, bytes, 0);
            // Release: the items were seen full; invariant 3 passes that on to producers.
            if !self.shared_head {
                self.head.store(next.0, Ordering::Release);
                return PopResult::Some { first, count, bytes };
            }
            let claimed =
                self.head.compare_exchange(head.0, next.0, Ordering::AcqRel, Ordering::Acquire);
            if claimed.is_ok() {
                return PopResult::Some { first, count, bytes };
            }
        }
    }

    /// Takes out an item.
    ///
    /// # Safety
    /// The caller has [claimed](Self::claim) the position, and calls this once for it.
    #[inline(always)]
    unsafe fn take_at(&self, position: u32) -> T {
        let hint = Word(self.tail.load(Ordering::Relaxed)).segment();
        let slot =
            self.slot_of(position, hint).expect("the slot was full when its position was claimed");
        // SAFETY: the caller claimed this position, after it was seen full, and calls this once.
        unsafe { slot.take() }
    }

    /// The result of `read` for the position and length of the oldest item; `None` if there is none yet, or a
    /// pop took it meanwhile.
    pub(crate) fn oldest<R>(&self, read: impl FnOnce(u32, u32) -> R) -> Option<R> {
        let head = Word(self.head.load(Ordering::Acquire));
        let tail = Word(self.tail.load(Ordering::Acquire));
        let len = self.slot_of(head.position(), tail.segment())?.len();
        let found = read(head.position(), len);
        (self.head.load(Ordering::Acquire) == head.0).then_some(found)
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        self.inline.iter_mut().for_each(Slot::clear);
        for segment in 1..=GROWN {
            let slots = self.segments[segment - 1].load(Ordering::Acquire);
            if slots.is_null() {
                continue;
            }
            let all = ptr::slice_from_raw_parts_mut(slots, self.segment_len(segment) as usize);
            // SAFETY: from `Box::into_raw` in `grow` with this length (invariant 5), and nothing
            // else uses the ring any more.
            let mut all = unsafe { Box::from_raw(all) };
            all.iter_mut().for_each(Slot::clear);
        }
    }
}
