//! A bounded ring with many producers and more than one consumer: frames and bytes are limits,
//! memory comes in steps, and a sleeping consumer is woken by who makes it non-empty.
//!
//! Its two ends are words of position and byte sum ([`word`]); a producer claims a position by a
//! compare-and-swap on the tail, a popper by one on the head (the consumer, and producers that
//! drop the oldest). That one step does all accounting: both limits are hard.
//!
//! Items lie in *places*: place 0 has [`INLINE`] slots inside the ring, each next one is an array
//! eight times as large, allocated by the first producer that finds the one before too small
//! and freed with the ring. A consumer that goes to sleep sends producers back to place 0, so that
//! a connection at rest uses the same few lines of the cache over and over, whatever bursts it
//! has seen. A slot's tag names the position whose item it holds, so poppers find a position in
//! whatever place it went to.
//!
//! # Invariants
//!
//! 1. A position is claimed once by a producer: the tail's position only grows, by a
//!    compare-and-swap from the very value on which the producer decided. (A value comes back
//!    only after 2³⁰ pushes whose bytes sum to a multiple of 2²⁹. A thread would have to stop
//!    between a load and its compare-and-swap for exactly that long.)
//! 2. A position is claimed once by a popper, likewise with the head, and only after its slot was
//!    seen full for that very position. So the head never passes the tail. Where producers do
//!    not pop, only the consumer does ([`Ring::take`], which the reader calls with `&mut self`),
//!    and a store will do.
//! 3. A producer that claims position `p` in a place of `n` slots saw a head beyond `p - n` and
//!    then the slot free. Items of that slot had positions up to `p - n`, so all of them were
//!    popped; and since the head was read with Acquire, the free tag is not an old one but
//!    says that the last popper is done.
//! 4. A slot's item is initialised from the store of a full tag to the claim of a popper, which
//!    alone reads it and then stores the free tag.
//! 5. `places` hold null or arrays of `slots_of(place)` slots that live as long as the ring: a
//!    producer that stopped in its tracks may still look at their tags.

#![allow(unsafe_code)]

mod bounds;
mod slot;
mod waking;
pub(crate) mod word;

use std::ptr;

use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::sync::{AtomicWaker, spin_loop};
use slot::Slot;
use word::{Word, after};

pub(super) use bounds::Bounds;
pub(super) use waking::Sleep;

/// Slots of place 0, without an allocation. Fewer in models, where laps must come soon.
pub(super) const INLINE: u32 = if cfg!(pondwire_loom) { 1 } else { 4 };

/// How much larger each place is than the one before, as a power of two.
const STEP_BITS: u32 = if cfg!(pondwire_loom) { 1 } else { 3 };

/// How many places may be allocated: enough for `MAX_FRAMES`, but in models.
const GROWN: usize = if cfg!(pondwire_loom) { 2 } else { 5 };

/// How often a producer looks again at a slot that another thread is about to empty.
const SPINS: u32 = if cfg!(pondwire_loom) { 1 } else { 64 };

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Closed,
    /// There are as many frames as there may be.
    Frames,
    /// There would be more bytes than there may be.
    Bytes,
    /// There is place, but a popper that claimed it has not emptied it yet.
    Busy,
}

/// What a popper got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// `count` items from position `first` on, of `bytes` together.
    Some {
        first: u32,
        count: u32,
        bytes: u32,
    },
    Empty,
    /// The oldest position is claimed, but its producer has not filled it yet.
    Busy,
}

/// In this order: what pushes and pops touch lies side by side.
#[repr(C)]
pub(super) struct Ring<T> {
    tail: AtomicU64,
    head: AtomicU64,
    bounds: Bounds,
    /// Whether producers pop, too.
    shared_head: bool,
    /// Whether something waits beside the ring.
    beside: AtomicBool,
    inline: [Slot<T>; INLINE as usize],
    places: [AtomicPtr<Slot<T>>; GROWN],
    waker: AtomicWaker,
}

// SAFETY: an item is accessed only by who claimed its position, one thread at a time, and the
// tags order these accesses (invariants 1 to 4); everything else is atomic.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: it owns its items and arrays.
unsafe impl<T: Send> Send for Ring<T> {}

/// How often a moment is looked for at which nobody is at work.
const LOOKS: usize = 8;

impl<T> Ring<T> {
    /// With `shared_head` anybody may pop, else only the consumer, for whom it costs less.
    pub(super) fn new(bounds: Bounds, shared_head: bool) -> Self {
        Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            bounds,
            shared_head,
            beside: AtomicBool::new(false),
            inline: std::array::from_fn(|_| Slot::new()),
            places: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Frames and bytes that wait now, never more than may.
    pub(super) fn queued(&self) -> (u32, u32) {
        // The head first: it never passes a tail that is read later. If it is still the same after
        // that, both are of one moment; else the difference may be larger than it ever was.
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

    /// How many slots a place has. The last one that is needed has no more than are needed.
    #[inline]
    fn slots_of(&self, place: usize) -> u32 {
        (INLINE << (STEP_BITS * place as u32)).min(self.bounds.slots)
    }

    /// The slots of a place that is there.
    #[inline]
    fn slots(&self, place: usize) -> Option<&[Slot<T>]> {
        let Some(grown) = place.checked_sub(1) else { return Some(&self.inline) };
        // Acquire: the slots were made before the pointer was stored.
        let slots = ptr::NonNull::new(self.places[grown].load(Ordering::Acquire))?;
        let count = self.slots_of(place) as usize;
        // SAFETY: invariant 5.
        Some(unsafe { std::slice::from_raw_parts(slots.as_ptr(), count) })
    }

    /// The slots of a place, allocated if they are not there.
    #[inline]
    fn slots_or_grow(&self, place: usize) -> &[Slot<T>] {
        self.slots(place).unwrap_or_else(|| self.grow(place))
    }

    #[cold]
    fn grow(&self, place: usize) -> &[Slot<T>] {
        let count = self.slots_of(place) as usize;
        let made: Box<[Slot<T>]> = (0..count).map(|_| Slot::new()).collect();
        let made = Box::into_raw(made);
        let installed = self.places[place - 1].compare_exchange(
            ptr::null_mut(),
            made.cast::<Slot<T>>(),
            // Release: the slots are made. Acquire: so are those of who was faster.
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let slots = match installed {
            Ok(_) => made.cast::<Slot<T>>(),
            Err(others) => {
                // SAFETY: from `Box::into_raw` above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                others
            }
        };
        // SAFETY: invariant 5, of ours or of who was faster.
        unsafe { std::slice::from_raw_parts(slots, count) }
    }

    /// Puts an item of `len` bytes at the end, or gives it back with the reason.
    ///
    /// `before_shown` is told the position while the item is not yet visible; it must not panic.
    ///
    /// `Ok(true)`: this push found the consumer asleep, and must [`wake`](Self::wake) it.
    #[inline]
    pub(super) fn try_push(
        &self,
        item: T,
        len: u32,
        before_shown: impl FnOnce(u32),
    ) -> Result<bool, (T, Refused)> {
        let mut spins = 0;
        // Acquire, here and below: the head that the last producer saw is seen, too. So the
        // distance from a head read later is never more than the bounds.
        let mut tail = Word(self.tail.load(Ordering::Acquire));
        loop {
            if tail.is_closed() {
                return Err((item, Refused::Closed));
            }
            // Acquire: invariant 3.
            let head = Word(self.head.load(Ordering::Acquire));
            let queued = tail.frames_since(head);
            if queued > self.bounds.frames {
                // The head has passed this tail, which is old.
                tail = Word(self.tail.load(Ordering::Acquire));
                continue;
            }
            if queued == self.bounds.frames {
                return Err((item, Refused::Frames));
            }
            // An old head only makes both sums larger than they are.
            if u64::from(tail.bytes_since(head)) + u64::from(len) > u64::from(self.bounds.bytes) {
                return Err((item, Refused::Bytes));
            }
            let Some((place, slot)) = self.free_slot(tail, queued) else {
                if spins == SPINS {
                    return Err((item, Refused::Busy));
                }
                spins += 1;
                spin_loop();
                tail = Word(self.tail.load(Ordering::Acquire));
                continue;
            };
            let next = tail.advanced(1, len, place);
            // Release: the head that this decision saw, and the place, are seen by who reads it.
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

    /// The first place from the tail's on that has the slot free for its position.
    #[inline]
    fn free_slot(&self, tail: Word, queued: u32) -> Option<(usize, &Slot<T>)> {
        let mut place = tail.place();
        loop {
            let count = self.slots_of(place);
            if queued < count {
                let slots = self.slots_or_grow(place);
                let slot = &slots[(tail.position() & (count - 1)) as usize];
                if slot.is_free() {
                    return Some((place, slot));
                }
            }
            if place == GROWN || self.slots_of(place + 1) == count {
                return None;
            }
            place += 1;
        }
    }

    /// The slot that holds the item of `position`; `hint` is the place to look into first.
    #[inline]
    fn holder(&self, position: u32, hint: usize) -> Option<&Slot<T>> {
        match self.holder_in(hint, position) {
            Some(slot) => Some(slot),
            None => self.holder_elsewhere(position, hint),
        }
    }

    #[inline]
    fn holder_in(&self, place: usize, position: u32) -> Option<&Slot<T>> {
        let slots = self.slots(place)?;
        let slot = &slots[position as usize & (slots.len() - 1)];
        slot.holds(position).then_some(slot)
    }

    #[cold]
    fn holder_elsewhere(&self, position: u32, not_in: usize) -> Option<&Slot<T>> {
        let mut others = (0..=GROWN).filter(|&place| place != not_in);
        others.find_map(|place| self.holder_in(place, position))
    }

    /// Moves the oldest items, up to `frames` and of up to `bytes` together but at least one, to
    /// the end of `into`.
    #[inline(always)]
    pub(super) fn take(&self, frames: u32, bytes: u32, into: &mut Vec<T>) -> Taken {
        let claimed = self.claim(frames, bytes);
        if let Taken::Some { first, count, .. } = claimed {
            into.reserve(count as usize);
            for ahead in 0..count {
                into.push(self.empty(after(first, ahead)));
            }
        }
        claimed
    }

    /// Takes the oldest item out, whoever calls.
    #[inline(never)]
    pub(super) fn take_one(&self) -> Result<T, Taken> {
        match self.claim(1, 0) {
            Taken::Some { first, .. } => Ok(self.empty(first)),
            nothing => Err(nothing),
        }
    }

    /// Claims items for the caller, who must [`empty`](Self::empty) all of them.
    #[inline(always)]
    fn claim(&self, max_frames: u32, max_bytes: u32) -> Taken {
        loop {
            let head = Word(self.head.load(Ordering::Acquire));
            // Acquire: the places that producers used are seen.
            let tail = Word(self.tail.load(Ordering::Acquire));
            let (first, waiting) = (head.position(), tail.frames_since(head));
            if waiting == 0 {
                return Taken::Empty;
            }
            let (mut count, mut bytes) = (0, 0);
            let most = max_frames.min(waiting);
            while count < most {
                let Some(slot) = self.holder(after(first, count), tail.place()) else { break };
                let sum = slot.len().saturating_add(bytes);
                if count > 0 && sum > max_bytes {
                    break;
                }
                (count, bytes) = (count + 1, sum);
            }
            // With the same head as before, the slots held what was looked for, and their lengths
            // were those (invariant 2).
            if count == 0 {
                if self.head.load(Ordering::Acquire) == head.0 {
                    return Taken::Busy;
                }
                continue;
            }
            let next = head.advanced(count, bytes, 0);
            // Release: the items were seen full; invariant 3 hands that on to producers.
            if !self.shared_head {
                self.head.store(next.0, Ordering::Release);
                return Taken::Some { first, count, bytes };
            }
            let claimed =
                self.head.compare_exchange(head.0, next.0, Ordering::AcqRel, Ordering::Acquire);
            if claimed.is_ok() {
                return Taken::Some { first, count, bytes };
            }
        }
    }

    /// Takes out an item that the caller has claimed.
    #[inline(always)]
    fn empty(&self, position: u32) -> T {
        let hint = Word(self.tail.load(Ordering::Relaxed)).place();
        let slot = self.holder(position, hint).expect("it was seen there, and is ours since");
        // SAFETY: the caller claimed this position after it was seen full, and calls this once.
        unsafe { slot.empty() }
    }

    /// The position of the oldest item, and what `read` says of it.
    pub(super) fn oldest<R>(&self, read: impl FnOnce(u32) -> R) -> Option<R> {
        let head = Word(self.head.load(Ordering::Acquire));
        let tail = Word(self.tail.load(Ordering::Acquire));
        self.holder(head.position(), tail.place())?;
        let found = read(head.position());
        (self.head.load(Ordering::Acquire) == head.0).then_some(found)
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        self.inline.iter_mut().for_each(Slot::clear);
        for place in 1..=GROWN {
            let slots = self.places[place - 1].load(Ordering::Acquire);
            if slots.is_null() {
                continue;
            }
            let all = ptr::slice_from_raw_parts_mut(slots, self.slots_of(place) as usize);
            // SAFETY: from `Box::into_raw` in `grow` with this length (invariant 5), and nobody
            // else uses the ring any more.
            let mut all = unsafe { Box::from_raw(all) };
            all.iter_mut().for_each(Slot::clear);
        }
    }
}
