//! Who sleeps and who wakes, and the end.
//!
//! The consumer goes to sleep by setting a bit in the tail itself, with a compare-and-swap that
//! succeeds only on the tail of an empty ring. A producer claims its position by a
//! compare-and-swap on the same word, which clears the bit: so either the consumer's comes second
//! and fails, or the producer's does and sees the bit. No fence is needed, of all producers only
//! the one that cleared the bit wakes, and the others pay nothing. The waker was registered
//! before the bit was set (Release), so who saw the bit (Acquire) finds it.
//!
//! What waits beside the ring (control frames, conflated ones) is announced by [`Ring::wake`], a
//! read-modify-write on the tail after the announced thing was made visible. The consumer looks
//! for such things once more after it set the bit. If the wake came first, the
//! compare-and-swap read from it or from a later step (a release sequence) and the look finds
//! the thing; if it came second, it sees the bit. A plain load in `wake` could miss it.

use std::task::Waker;

use super::word::{CLOSED, SLEEPING, Word};
use super::{Ring, Taken};
use crate::sync::atomic::Ordering;
use crate::sync::{register, spin_loop, yield_now};

/// What came of going to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// The next push, wake or close wakes the waker. Look at what waits beside the ring now.
    Asleep,
    /// Something is in the ring, or it is closed.
    No,
}

impl<T> Ring<T> {
    /// Goes to sleep if the ring is empty and open. Only for the consumer.
    pub(crate) fn sleep(&self, waker: &Waker) -> Sleep {
        register(&self.waker, waker);
        let mut tail = Word(self.tail.load(Ordering::Acquire));
        loop {
            let head = Word(self.head.load(Ordering::Acquire));
            if tail.is_closed() || tail.position() != head.position() {
                return Sleep::No;
            }
            // Always a step, even when the bit is set already: only a step is sure to see the
            // last one. Release: the waker is there. Acquire: what wakers announced.
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

    /// Whether something waits beside the ring.
    #[inline]
    pub(crate) fn has_beside(&self) -> bool {
        self.beside.load(Ordering::Acquire)
    }

    /// Says whether something waits beside the ring; under the lock of what waits there.
    pub(crate) fn set_beside(&self, waits: bool) {
        self.beside.store(waits, Ordering::Release);
    }

    /// Wakes the consumer because of something beside the ring, if it sleeps.
    pub(crate) fn wake(&self) {
        // Release: what is announced. Acquire: the waker.
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

    /// Lets nothing in any more. Every push that succeeded before is in the ring, none succeeds
    /// after. `true` for the first call.
    pub(crate) fn close(&self) -> bool {
        let before = Word(self.tail.fetch_or(CLOSED, Ordering::AcqRel));
        if before.is_sleeping() {
            self.waker.wake();
        }
        !before.is_closed()
    }

    /// Drops what is in a closed ring. Only for who may pop. When `all`, waits for the producers
    /// that have claimed a position and are about to fill it; there cannot be more of them.
    pub(crate) fn clear(&self, all: bool) -> u64 {
        let (mut dropped, mut looks) = (0, 0);
        loop {
            match self.take_one() {
                Ok(item) => {
                    drop(item);
                    dropped += 1;
                }
                Err(Taken::Busy) if all => {
                    looks += 1;
                    if looks % 64 == 0 { yield_now() } else { spin_loop() }
                }
                Err(_) => return dropped,
            }
        }
    }
}
