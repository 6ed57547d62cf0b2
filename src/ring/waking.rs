//! Sleeping, waking and closing.
//!
//! The consumer goes to sleep by setting a bit in the tail itself, with a compare-and-swap that
//! succeeds only on the tail of an empty ring. A producer claims its position by a compare-and-swap
//! on the same word, which clears the bit: so either the consumer's comes second and fails, or the
//! producer's does and sees the bit. No fence is needed; only the one producer that cleared the bit
//! wakes the consumer, and the others do no extra work. The waker was registered before the bit was
//! set (Release), so the producer that saw the bit (Acquire) finds it.
//!
//! Out-of-band frames (control frames, conflated ones) are announced by [`Ring::wake`], a
//! read-modify-write on the tail after the frame was made visible. The consumer checks for them
//! once more after it set the bit. If the wake came first, the compare-and-swap read from it or
//! from a later operation (a release sequence), and the check finds the frame; if it came second,
//! it sees the bit. A plain load in `wake` could miss it.

use std::task::Waker;

use super::word::{CLOSED, SLEEPING, Word};
use super::{PopResult, Ring};
use crate::sync::atomic::Ordering;
use crate::sync::{register, spin_loop, yield_now};

/// The outcome of going to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// The next push, wake or close wakes the waker. Check for out-of-band frames now.
    Asleep,
    /// The ring is not empty, or closed.
    Awake,
}

impl<T> Ring<T> {
    /// Goes to sleep if the ring is empty and open. To be called by the consumer only.
    pub(crate) fn sleep(&self, waker: &Waker) -> Sleep {
        register(&self.waker, waker);
        self.sleep_at(|| self.head_position())
    }

    /// Marks that a consumer sleeps, if the ring is open and has no item at `position` or later.
    #[inline]
    pub(crate) fn sleep_at(&self, position: impl Fn() -> u32) -> Sleep {
        let mut tail = Word(self.tail.load(Ordering::Acquire));
        loop {
            if tail.is_closed() || tail.position() != position() {
                return Sleep::Awake;
            }
            // Always an RMW, even if the bit is set already: only an RMW is sure to read the latest
            // value. Release: the waker is registered. Acquire: the frames that wakers announced.
            match self.tail.compare_exchange(
                tail.0,
                tail.asleep().0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Sleep::Asleep,
                Err(now) => tail = Word(now),
            }
        }
    }

    /// Whether an out-of-band frame waits.
    #[inline]
    pub(crate) fn has_out_of_band(&self) -> bool {
        self.out_of_band.load(Ordering::Acquire)
    }

    /// Sets whether an out-of-band frame waits; to be called under the lock of these frames.
    pub(crate) fn set_out_of_band(&self, waits: bool) {
        self.out_of_band.store(waits, Ordering::Release);
    }

    /// Wakes the consumer for an out-of-band frame, if it sleeps.
    pub(crate) fn wake(&self) {
        // Release: the announced frame. Acquire: the waker.
        let before = self.tail.fetch_and(!SLEEPING, Ordering::AcqRel);
        if Word(before).is_sleeping() {
            self.waker.wake();
        }
    }

    /// Wakes the consumer that a push found asleep.
    #[cold]
    pub(crate) fn wake_found(&self) {
        self.waker.wake();
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: the reason was stored before.
        Word(self.tail.load(Ordering::Acquire)).is_closed()
    }

    /// Closes the ring to pushes: a push that succeeded before is in the ring, none succeeds after.
    /// `true` for the first call.
    pub(crate) fn close(&self) -> bool {
        let before = self.mark_closed();
        if before.is_sleeping() {
            self.waker.wake();
        }
        !before.is_closed()
    }

    /// [`close`](Self::close) without waking; returns the tail before.
    pub(crate) fn mark_closed(&self) -> Word {
        Word(self.tail.fetch_or(CLOSED, Ordering::AcqRel))
    }

    /// Drops the items of a closed ring and returns their number. If `all`, waits for the producers
    /// that have claimed a position and are about to fill it; there cannot be more of them.
    ///
    /// # Safety
    /// The caller may pop: see [`take`](Self::take).
    pub(crate) unsafe fn clear(&self, all: bool) -> u64 {
        let (mut dropped, mut looks) = (0, 0);
        loop {
            // SAFETY: passed on.
            match unsafe { self.take_one() } {
                Ok(item) => {
                    drop(item);
                    dropped += 1;
                }
                Err(PopResult::Busy) if all => {
                    looks += 1;
                    if looks % 64 == 0 { yield_now() } else { spin_loop() }
                }
                Err(_) => return dropped,
            }
        }
    }
}
