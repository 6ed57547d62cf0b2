//! A shared cache of frames, bounded in bytes.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::{fmt, thread};

use quick_cache::sync::{Cache, EntryAction, EntryResult, GuardResult, PlaceholderGuard};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;

use super::generation::{Generations, Stamp};
use super::key::{AnyKey, FrameKey, KeyHashBuilder, StoredKey};
use super::stats::{CacheStats, Counters};
use crate::frame::Frame;

/// The bytes of an entry in addition to its key's texts and its frame's bytes: the headers of the frame
/// and of the allocator, the slot with the key, and the place in the hash table.
const OVERHEAD: usize = 192;

/// The smallest shard in bytes, large enough for a frame of a megabyte in all of its forms.
const MIN_SHARD: usize = 4 << 20;

/// The share of a shard for entries that were requested more than once: quick_cache's default. Stated
/// here because it is also the largest entry that is kept.
const HOT: f64 = 0.97;

/// A map from [`FrameKey`] to [`Frame`], bounded in bytes, for many threads at once.
///
/// - **One encode**: however many threads request a missing frame, one of them makes it and the others
///   wait for it.
/// - **Bounded**: the content never exceeds the bound, not even while a frame is inserted. Frames that
///   are requested again stay longest; those requested once are evicted first (quick_cache's
///   CLOCK-Pro).
/// - **Invalidation** of a key or a channel also covers a frame that is being made: a call that begins
///   after `invalidate` or `invalidate_channel` has returned never gets a frame whose making began
///   before. A call under way may.
/// - **A hit** costs one hash, one shared lock on one shard, and a reference; it allocates nothing. Hits
///   of several threads contend for the shards' locks and the frames' reference counts, whose cache
///   lines then move between cores: two threads that do nothing else get less done than one. Where that
///   matters, give each thread a [`LocalFrames`](super::LocalFrames).
///
/// The hasher must distribute keys well and, where clients choose names, resist collision attacks. The
/// default does both.
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
pub struct FrameCache<S = KeyHashBuilder> {
    frames: Cache<StoredKey, Entry, Bytes, S, Evictions>,
    /// The channels' generations, with which entries are stamped.
    generations: Generations,
    /// The generations of single keys, for [`LocalFrames`](super::LocalFrames); this cache itself removes
    /// an invalidated key's entry.
    key_generations: Generations,
    hasher: S,
    counters: Counters,
}

#[derive(Clone)]
struct Entry {
    frame: Frame,
    /// The channel's generation before the frame was begun.
    stamp: Stamp,
}

/// The generations under which a frame that is stored outside the cache was taken.
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

/// Defers dropping of evicted entries until the shard's lock is released.
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
    /// A cache of at most `bound` bytes. An entry counts for its key's texts, every form that its frame
    /// can take, and 192 bytes of overhead. The forms are the wire bytes, the server-sent event and, with
    /// feature `deflate`, the compressed frame: together two or three times the document. They count
    /// whether or not they have been made, so the bound holds whatever forms recipients request later.
    /// Not counted are the tables, which take up to a tenth of the bound, and evicted frames that are
    /// still in use.
    ///
    /// The cache is divided into shards, four for each core but none smaller than 4 MiB. An entry larger
    /// than 97 % of a shard is returned but not kept: with a bound of 4 MiB or more, every message of up
    /// to 1.25 MiB is kept.
    ///
    /// Allocates 24 KiB for counters at once and the rest as it fills.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self::with_hasher(bound, KeyHashBuilder::new())
    }
}

impl<S: BuildHasher + Clone> FrameCache<S> {
    /// [`new`](FrameCache::new) with another hasher.
    #[must_use]
    pub fn with_hasher(bound: usize, hasher: S) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = (cores * 4).next_power_of_two();
        let shards = (bound / MIN_SHARD).clamp(1, most);
        // Rounded down to a power of two, with a bound that it divides, since quick_cache rounds up.
        let shards = 1 << shards.ilog2();
        let bound = bound / shards * shards;
        let options = OptionsBuilder::new()
            .shards(shards)
            .hot_allocation(HOT)
            // quick_cache remembers half as many evicted keys, to recognise repeated requests.
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

    /// The frame of `key`, if there is one. Allocates nothing, and does not wait for one being made.
    #[must_use]
    #[inline]
    pub fn get(&self, key: FrameKey<'_>) -> Option<Frame> {
        self.find(key).or_else(|| {
            self.counters.miss();
            None
        })
    }

    /// The frame of `key`; if there is none, `make` makes it.
    ///
    /// Of several threads that request one key, one runs its `make` and the others block until it
    /// returns, so `make` should encode and never wait. No lock is held meanwhile: other keys are not
    /// delayed, and `make` may use the cache for other keys. For `key` itself it would deadlock.
    ///
    /// A panic in `make` propagates to its caller; one of the waiting threads then makes the frame. A
    /// miss costs the key's allocation and four more small ones, in addition to `make`.
    #[inline]
    pub fn get_or_insert_with(&self, key: FrameKey<'_>, make: impl FnOnce() -> Frame) -> Frame {
        let made = self.try_get_or_insert_with(key, || Ok::<_, Infallible>(make()));
        made.unwrap_or_else(|never| match never {})
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) for a `make` that can fail.
    ///
    /// # Errors
    /// The error of `make`, returned to its own caller. Nothing is kept, and one of the waiting threads
    /// tries next.
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

    /// Looks the frame up and counts the call, but not a miss.
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
        // The entry found or waited for is older than an invalidation.
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
        // Taken before the frame is begun: any invalidation from now on makes the stamp outdated.
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
            // The entry would never be returned, and the next caller would replace it.
            self.frames.remove_if(&key, |entry| !self.generations.is_current(entry.stamp));
        }
        Ok(frame)
    }

    /// Whether an entry is larger than quick_cache admits.
    fn is_too_large(&self, key: &FrameKey<'_>, frame: &Frame) -> bool {
        let hot = (self.frames.shard_capacity() as f64 * HOT) as usize;
        weight(key.text_len(), frame) > hot
    }

    /// Removes the frame of `key`, and invalidates one being made; see [above](Self).
    ///
    /// Returns whether there was a frame that a call could have got.
    pub fn invalidate(&self, key: FrameKey<'_>) -> bool {
        let removed = self.frames.remove(&key);
        // After the removal: a thread that sees this generation does not find that frame.
        self.key_generations.advance(self.hash(key));
        removed.is_some_and(|(_, entry)| self.generations.is_current(entry.stamp))
    }

    /// Invalidates all frames of a channel, and those being made; see [above](Self).
    ///
    /// Takes constant time: a counter is advanced, and older frames are no longer returned. They are
    /// replaced at the next request, or evicted; until then they count in [`CacheStats::bytes`]. There
    /// are 1,024 counters: about one frame in 1,024 of other channels is made again needlessly.
    pub fn invalidate_channel(&self, channel: &str) {
        self.generations.advance(self.hasher.hash_one(channel));
    }

    /// Removes everything, invalidates frames being made, and frees the memory. Statistics continue.
    pub fn clear(&self) {
        self.generations.advance_all();
        self.frames.clear();
    }

    #[inline]
    pub(super) fn hash(&self, key: FrameKey<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The present generations of a key and its channel. Take them before the frame.
    pub(super) fn stamps(&self, key: FrameKey<'_>) -> Stamps {
        let channel = self.generations.now(self.hasher.hash_one(key.channel()));
        Stamps { channel, key: self.key_generations.now(self.hash(key)) }
    }

    /// Whether neither the key nor its channel was invalidated since the stamps were taken.
    #[inline]
    pub(super) fn are_current(&self, stamps: Stamps) -> bool {
        self.generations.is_current(stamps.channel) && self.key_generations.is_current(stamps.key)
    }

    #[inline]
    pub(super) fn count_call(&self) {
        self.counters.call();
    }

    /// Statistics of its calls and content. Does not delay hits; an insertion may wait while two numbers
    /// are read.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.frames.len(),
            bytes: self.frames.weight() as usize,
            ..self.counters.read()
        }
    }

    /// The bound in bytes, rounded down to whole shards.
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
