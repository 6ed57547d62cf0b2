//! A cache's statistics, counted without a contended cache line.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of a [`FrameCache`](super::FrameCache)'s calls since it was made, and the size of its content.
///
/// The counts are exact while no call is under way; a call under way may already count as a hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Calls that got a frame without making it, including those that waited for another thread to make
    /// it.
    pub hits: u64,
    /// Calls that found no frame, or had to make one, whether or not that succeeded.
    pub misses: u64,
    /// Frames evicted to make room.
    pub evicted: u64,
    /// Frames that were made but not kept: too large for an entry, or invalidated before they were
    /// finished.
    pub refused: u64,
    /// Frames held now, including invalidated ones that were not requested since.
    pub entries: usize,
    /// The bytes of these frames, as [`FrameCache::new`](super::FrameCache::new) counts them.
    pub bytes: usize,
}

impl CacheStats {
    /// The fraction of calls that hit, from 0 to 1; 0 before the first call.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            calls => self.hits as f64 / calls as f64,
        }
    }
}

/// Two cache lines, since the prefetcher fetches lines in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Stripe {
    calls: AtomicU64,
    misses: AtomicU64,
}

/// The counters behind [`CacheStats`]: a stripe for each of [`OWN`] threads, and one for all others.
pub(super) struct Counters {
    stripes: Box<[Stripe]>,
    pub(super) evicted: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            stripes: std::iter::repeat_with(Stripe::default).take(OWN + 1).collect(),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts a call, which is a hit unless [`miss`](Self::miss) is called too. Called at the start,
    /// where it overlaps with hashing: after the locked instructions of a hit it would wait for them.
    #[inline]
    pub(super) fn call(&self) {
        let place = place();
        add_one(place, &self.stripes[place].calls);
    }

    pub(super) fn miss(&self) {
        let place = place();
        add_one(place, &self.stripes[place].misses);
    }

    /// The sums of all stripes.
    pub(super) fn read(&self) -> CacheStats {
        let sum = |count: fn(&Stripe) -> &AtomicU64| -> u64 {
            self.stripes.iter().map(|stripe| count(stripe).load(Ordering::Relaxed)).sum()
        };
        // Read before the calls, so that every miss is among the calls.
        let misses = sum(|stripe| &stripe.misses);
        let calls = sum(|stripe| &stripe.calls);
        CacheStats {
            hits: calls.saturating_sub(misses),
            misses,
            evicted: self.evicted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            ..CacheStats::default()
        }
    }
}

/// The owner of a stripe adds to it without a locked instruction, which would cost a seventh of a hit.
#[inline]
fn add_one(place: usize, count: &AtomicU64) {
    if place < OWN {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    } else {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The number of threads at a time that own a stripe.
const OWN: usize = 64;

/// The place of a thread that has not taken one yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    /// The index of this thread's stripe in every cache.
    static PLACE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static LEASE: Lease = Lease::take();
}

#[inline]
fn place() -> usize {
    match PLACE.get() {
        UNKNOWN => LEASE.try_with(|lease| lease.0).unwrap_or(OWN),
        place => place,
    }
}

/// Places below [`OWN`] that ended threads returned, and the lowest one never used. The lock orders the
/// counting of a place's last owner before that of the next.
static FREE: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

/// A place that this thread owns until it ends.
struct Lease(usize);

impl Lease {
    #[cold]
    fn take() -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let (given_back, next) = &mut *free;
        let place = given_back.pop().unwrap_or_else(|| {
            let place = *next;
            *next = (place + 1).min(OWN);
            place
        });
        PLACE.set(place);
        Self(place)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Later destructors of this thread count in the shared stripe.
        PLACE.set(OWN);
        if self.0 < OWN {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_call_is_counted_with_any_number_of_threads() {
        let counters = Counters::new();
        let threads = OWN + 20;
        for round in 1..=3 {
            // All at once, so that some share a stripe; then again in places that were returned.
            let together = Barrier::new(threads);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        counters.call();
                        counters.miss();
                        together.wait();
                        (0..1000).for_each(|_| counters.call());
                    });
                }
            });
            let stats = counters.read();
            assert_eq!(stats.hits, round * 1000 * threads as u64);
            assert_eq!(stats.misses, round * threads as u64);
        }
    }
}
