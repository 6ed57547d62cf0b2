//! What a cache has done so far, counted without a line that threads fight for.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a [`FrameCache`](super::FrameCache) has done since it was made, and what it holds.
///
/// The counts are exact once no call is under way; a call under way may count as a hit already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Calls that got a frame which they did not have to make, those included that waited for
    /// another thread to make it.
    pub hits: u64,
    /// Calls that got none or had to make one, those included that failed to.
    pub misses: u64,
    /// Frames that made room for others.
    pub evicted: u64,
    /// Frames that were made but not kept: larger than an entry may be, or invalidated before
    /// they were finished.
    pub refused: u64,
    /// Frames held now, those included that were invalidated and not asked for since.
    pub entries: usize,
    /// Bytes that they take, as [`FrameCache::new`](super::FrameCache::new) counts them.
    pub bytes: usize,
}

impl CacheStats {
    /// The share of calls that hit, from 0 to 1; 0 before the first call.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            calls => self.hits as f64 / calls as f64,
        }
    }
}

/// Two lines, as the prefetcher fetches them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Stripe {
    calls: AtomicU64,
    misses: AtomicU64,
}

/// The counts behind [`CacheStats`]: a stripe for each of [`OWN`] threads, one for all others.
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

    /// Counts a call, which is a hit unless it turns out to be a [`miss`](Self::miss) too: at its
    /// start, where counting overlaps with hashing. Behind the locked instructions of a hit it
    /// would have to wait for them.
    #[inline]
    pub(super) fn call(&self) {
        let place = place();
        add_one(place, &self.stripes[place].calls);
    }

    pub(super) fn miss(&self) {
        let place = place();
        add_one(place, &self.stripes[place].misses);
    }

    /// Everything that is counted here.
    pub(super) fn read(&self) -> CacheStats {
        let sum = |count: fn(&Stripe) -> &AtomicU64| -> u64 {
            self.stripes.iter().map(|stripe| count(stripe).load(Ordering::Relaxed)).sum()
        };
        // Before the calls, so that none of these is missing there.
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

/// Who owns a stripe adds to it without a locked instruction, which would be a seventh of a hit.
#[inline]
fn add_one(place: usize, count: &AtomicU64) {
    if place < OWN {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    } else {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many threads at a time have a stripe to themselves.
const OWN: usize = 64;

/// The place of a thread that has none yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    /// This thread's stripe in every cache.
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

/// Places below [`OWN`] that ended threads gave back, and the lowest that nobody has had. The lock
/// orders what the last owner of a place counted before what the next one does.
static FREE: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

/// A place that this thread has until it ends.
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
        // What other destructors of this thread count, they count with all others.
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
    fn nothing_is_lost_whatever_the_number_of_threads() {
        let counters = Counters::new();
        let threads = OWN + 20;
        for round in 1..=3 {
            // All at once, so that some share; then again in places that were given back.
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
