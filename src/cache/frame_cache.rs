//! Frames that are needed again, bounded in bytes.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::{fmt, thread};

use quick_cache::sync::{Cache, EntryAction, EntryResult, GuardResult, PlaceholderGuard};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;

use super::generation::{Generations, Stamp};
use super::key::{AnyKey, FrameKey, StoredKey};
use super::stats::{CacheStats, Counters};
use crate::frame::Frame;

/// What an entry takes beside its key's texts and its frame's bytes: the frame's header, the
/// allocator's, the slot with the key, its place in the hash table.
const OVERHEAD: usize = 192;

/// A shard has at least this many bytes, so that a frame of a megabyte can be kept in all of its
/// forms.
const MIN_SHARD: usize = 4 << 20;

/// The share of a shard that entries may take which have been asked for again; quick_cache's
/// default, here because an entry larger than it is not kept.
const HOT: f64 = 0.97;

/// A map from [`FrameKey`] to [`Frame`], bounded in bytes, for many threads at once.
///
/// - **One encode**: however many threads ask for a frame that is not there, one makes it and the
///   others wait for it.
/// - **Bounded**: what it holds never exceeds the bound, not even while a frame is inserted. What
///   is asked for again stays, what is asked for once goes first (quick_cache's CLOCK-Pro).
/// - **Invalidation** of a key or a channel holds against a frame being made at the time: a call
///   that begins after `invalidate` or `invalidate_channel` has returned never gets a frame whose
///   making began before it. A call under way may.
/// - **A hit** costs one hash, one shared lock of one of the shards, and a reference; it allocates
///   nothing. Hits from several threads meet in the shards' locks and in the frames' reference
///   counts, whose cache lines then travel between cores: two threads that do nothing else get
///   less done than one. Where that matters, a thread has [`LocalFrames`](super::LocalFrames).
///
/// The hasher must spread well and, where clients choose names, resist them: the default does.
///
/// ```
/// use pondwire::{Frame, Payload};
/// use pondwire::cache::{FrameCache, FrameKey};
///
/// let cache = FrameCache::new(64 << 20);
/// let key = FrameKey::new("/chat/42", "topic").version(7);
/// let make = || Frame::broadcast("/chat/42", "topic", "r-1", Payload::EMPTY);
/// let first = cache.get_or_insert_with(key, make);
/// let again = cache.get_or_insert_with(key, || unreachable!("it is there"));
/// assert_eq!(first.wire().as_ptr(), again.wire().as_ptr());
///
/// cache.invalidate_channel("/chat/42");
/// assert_eq!(cache.get(key), None);
/// assert_eq!(cache.stats().hits, 1);
/// ```
pub struct FrameCache<S = ahash::RandomState> {
    frames: Cache<StoredKey, Entry, Bytes, S, Evictions>,
    /// Of channels, which entries are stamped with.
    generations: Generations,
    /// Of single keys, for [`LocalFrames`](super::LocalFrames); here they are removed.
    key_generations: Generations,
    hasher: S,
    counters: Counters,
}

#[derive(Clone)]
struct Entry {
    frame: Frame,
    /// Taken before the frame was begun.
    stamp: Stamp,
}

/// When a frame was taken that is kept outside the cache.
#[derive(Clone, Copy)]
pub(super) struct Stamps {
    channel: Stamp,
    key: Stamp,
}

/// Weighs an entry in bytes.
#[derive(Clone)]
struct Bytes;

impl Weighter<StoredKey, Entry> for Bytes {
    fn weight(&self, key: &StoredKey, entry: &Entry) -> u64 {
        weight(key.text_len(), &entry.frame) as u64
    }
}

fn weight(key_len: usize, frame: &Frame) -> usize {
    key_len + frame.most_bytes() + OVERHEAD
}

/// Keeps what is evicted until the shard's lock is given back.
#[derive(Clone)]
struct Evictions;

impl Lifecycle<StoredKey, Entry> for Evictions {
    type RequestState = SmallVec<[(StoredKey, Entry); 2]>;

    fn begin_request(&self) -> Self::RequestState {
        SmallVec::new()
    }

    fn on_evict(&self, evicted: &mut Self::RequestState, key: StoredKey, entry: Entry) {
        evicted.push((key, entry));
    }
}

type Guard<'a, S> = PlaceholderGuard<'a, StoredKey, Entry, Bytes, S, Evictions>;

impl FrameCache {
    /// A cache of at most `bound` bytes: an entry counts with its key's texts, with every form
    /// that its frame may be asked for, and 192 for everything around them. The forms are the wire
    /// bytes, the server-sent event and, with feature `deflate`, the compressed frame: about two or
    /// three times the document, whether they have been made yet or not, so that the bound holds
    /// whatever recipients ask for later. Not counted are its tables, up to a tenth of the
    /// bound more, and what a frame takes that is evicted and still in use.
    ///
    /// It is divided into shards, four to a core unless they came out smaller than 4 MiB. An entry
    /// of more than 97 % of a shard is returned but not kept: with a bound of 4 MiB or more every
    /// message of up to a MiB and a quarter is.
    ///
    /// Allocates 24 KiB for its counters and the rest as it fills.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self::with_hasher(bound, ahash::RandomState::new())
    }
}

impl<S: BuildHasher + Clone> FrameCache<S> {
    /// [`new`](FrameCache::new) with another hasher.
    #[must_use]
    pub fn with_hasher(bound: usize, hasher: S) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = (cores * 4).next_power_of_two();
        let shards = (bound / MIN_SHARD).clamp(1, most);
        // The largest power of two within, and a bound that it divides: quick_cache rounds up.
        let shards = 1 << shards.ilog2();
        let bound = bound / shards * shards;
        let options = OptionsBuilder::new()
            .shards(shards)
            .hot_allocation(HOT)
            // Half as many evicted keys are remembered, to tell what is asked for again.
            .estimated_items_capacity((bound / 1024).max(shards * 32))
            .weight_capacity(bound as u64)
            .build()
            .expect("both capacities are set");
        Self {
            frames: Cache::with_options(options, Bytes, hasher.clone(), Evictions),
            generations: Generations::new(),
            key_generations: Generations::new(),
            hasher,
            counters: Counters::new(),
        }
    }

    /// The frame of `key`, if there is one. No allocation, no waiting for one being made.
    #[must_use]
    #[inline]
    pub fn get(&self, key: FrameKey<'_>) -> Option<Frame> {
        self.find(key).or_else(|| {
            self.counters.miss();
            None
        })
    }

    /// The frame of `key`; when there is none, that which `make` makes.
    ///
    /// Of the threads that ask for one key at a time, one runs its `make`; the others block until
    /// it is done, so let it encode and not wait. No lock is held meanwhile: other keys go on, and
    /// `make` may use the cache, but for `key` itself, which would never return.
    ///
    /// A panic in `make` goes on to its caller; one of those that wait then makes the frame.
    /// A miss costs the key's allocation and four more small ones beside what `make` costs.
    #[inline]
    pub fn get_or_insert_with(&self, key: FrameKey<'_>, make: impl FnOnce() -> Frame) -> Frame {
        let made = self.try_get_or_insert_with(key, || Ok::<_, Infallible>(make()));
        made.unwrap_or_else(|never| match never {})
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) where making a frame can fail.
    ///
    /// # Errors
    /// Those of `make`, for its own caller: nothing is kept, and one of those that wait tries.
    ///
    /// ```
    /// # use pondwire::{Frame, ServerAction, cache::{FrameCache, FrameKey}};
    /// let cache = FrameCache::new(1 << 20);
    /// let scores = [("home", 1), ("away", 0)];
    /// let make = || Frame::serialize(ServerAction::Broadcast, "/game/7", "score", "r-1", &scores);
    /// let made = cache.try_get_or_insert_with(FrameKey::new("/game/7", "score"), make);
    /// assert!(made.is_err(), "a payload must be an object");
    /// assert_eq!(cache.stats().entries, 0);
    /// ```
    #[inline]
    pub fn try_get_or_insert_with<E>(
        &self,
        key: FrameKey<'_>,
        make: impl FnOnce() -> Result<Frame, E>,
    ) -> Result<Frame, E> {
        match self.find(key) {
            Some(frame) => Ok(frame),
            None => self.wait_or_make(key, make),
        }
    }

    /// Counts the call, not that it misses.
    #[inline]
    fn find(&self, key: FrameKey<'_>) -> Option<Frame> {
        self.counters.call();
        let Entry { frame, stamp } = self.frames.get(&key)?;
        self.generations.is_current(stamp).then_some(frame)
    }

    #[cold]
    fn wait_or_make<E>(
        &self,
        key: FrameKey<'_>,
        make: impl FnOnce() -> Result<Frame, E>,
    ) -> Result<Frame, E> {
        if !key.is_storable() {
            self.counters.miss();
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return make();
        }
        let any: &dyn AnyKey = &key;
        match self.frames.get_value_or_guard(any, None) {
            GuardResult::Value(Entry { frame, stamp }) if self.generations.is_current(stamp) => {
                return Ok(frame);
            }
            GuardResult::Guard(guard) => return self.make(key, guard, make),
            GuardResult::Value(_) | GuardResult::Timeout => {}
        }
        // What is there, or what was waited for, is from before an invalidation.
        let keep_current = |_: &StoredKey, entry: &mut Entry| {
            if self.generations.is_current(entry.stamp) {
                EntryAction::Retain(entry.frame.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        match self.frames.entry(any, None, keep_current) {
            EntryResult::Retained(frame) => Ok(frame),
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                self.make(key, guard, make)
            }
            EntryResult::Removed(..) | EntryResult::Timeout => {
                unreachable!("the action does not remove, and there is no time limit")
            }
        }
    }

    fn make<E>(
        &self,
        key: FrameKey<'_>,
        guard: Guard<'_, S>,
        make: impl FnOnce() -> Result<Frame, E>,
    ) -> Result<Frame, E> {
        self.counters.miss();
        // Before the frame is begun: what is invalidated from now on does not count as current.
        let stamp = self.generations.now(self.hasher.hash_one(key.channel()));
        let frame = make()?;
        let Ok(evicted) = guard.insert_with_lifecycle(Entry { frame: frame.clone(), stamp }) else {
            // The key was invalidated.
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(frame);
        };
        let too_large = evicted.iter().any(|(_, entry)| {
            entry.frame.wire().as_ptr() == frame.wire().as_ptr() && self.is_too_large(&key, &frame)
        });
        let evictions = evicted.len() as u64 - u64::from(too_large);
        self.counters.evicted.fetch_add(evictions, Ordering::Relaxed);
        self.counters.refused.fetch_add(u64::from(too_large), Ordering::Relaxed);
        if !self.generations.is_current(stamp) {
            // It would never be returned; the next caller would replace it.
            self.frames.remove_if(&key, |entry| !self.generations.is_current(entry.stamp));
        }
        Ok(frame)
    }

    /// Whether an entry is larger than quick_cache admits.
    fn is_too_large(&self, key: &FrameKey<'_>, frame: &Frame) -> bool {
        let hot = (self.frames.shard_capacity() as f64 * HOT) as usize;
        weight(key.text_len(), frame) > hot
    }

    /// Forgets the frame of `key`, and one being made: see the promise [above](Self).
    ///
    /// Returns whether a frame was there that a call could have got.
    pub fn invalidate(&self, key: FrameKey<'_>) -> bool {
        let removed = self.frames.remove(&key);
        // Behind the removal: who sees this generation does not see that frame.
        self.key_generations.advance(self.hash(key));
        removed.is_some_and(|(_, entry)| self.generations.is_current(entry.stamp))
    }

    /// Forgets all frames of a channel, and those being made: see the promise [above](Self).
    ///
    /// Constant time, whatever the cache holds: a counter is advanced, and older frames are not
    /// returned any more. They are replaced when they are next asked for, or evicted; until then
    /// they count in [`CacheStats::bytes`]. There are 1024 counters: one frame in so many of other
    /// channels is made again without need.
    pub fn invalidate_channel(&self, channel: &str) {
        self.generations.advance(self.hasher.hash_one(channel));
    }

    /// Forgets everything, frames being made included, and gives the memory back. Statistics go
    /// on.
    pub fn clear(&self) {
        self.generations.advance_all();
        self.frames.clear();
    }

    #[inline]
    pub(super) fn hash(&self, key: FrameKey<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The present generations of a key and its channel: to be taken before its frame is.
    pub(super) fn stamps(&self, key: FrameKey<'_>) -> Stamps {
        let channel = self.generations.now(self.hasher.hash_one(key.channel()));
        Stamps { channel, key: self.key_generations.now(self.hash(key)) }
    }

    /// Whether neither the key nor its channel was invalidated since.
    #[inline]
    pub(super) fn are_current(&self, stamps: Stamps) -> bool {
        self.generations.is_current(stamps.channel) && self.key_generations.is_current(stamps.key)
    }

    #[inline]
    pub(super) fn count_call(&self) {
        self.counters.call();
    }

    /// What it has done and holds. Threads that hit go on meanwhile; one that inserts may wait for
    /// the reading of two numbers.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.frames.len(),
            bytes: self.frames.weight() as usize,
            ..self.counters.read()
        }
    }

    /// The most bytes it may hold: what it was made with, rounded down to whole shards.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.frames.capacity() as usize
    }
}

impl<S: BuildHasher + Clone> fmt::Debug for FrameCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, stats) = (self.bound(), self.stats());
        f.debug_struct("FrameCache").field("bound", &bound).field("stats", &stats).finish()
    }
}
