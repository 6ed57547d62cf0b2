//! One thread's part of a shared cache, whose hits write no shared memory.

use std::convert::Infallible;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Deref;

use quick_cache::Equivalent;

use super::frame_cache::{FrameCache, Stamps};
use super::key::{FrameKey, StoredKey};
use crate::frame::Frame;

/// One thread's view of a [`FrameCache`]: a few recently requested frames.
///
/// A hit in the shared cache writes to a lock and to the frame's reference count. Where several threads
/// hit the same frames, these cache lines move between cores, and two threads together are slower than
/// one alone. A hit here only reads, takes no reference and returns a borrowed [`Frame`] (clone it to
/// keep it), so threads do not slow each other down. Create one for each worker thread where hits are
/// frequent; `C` is a reference to the cache or an `Arc` of it.
///
/// - Invalidation works as in the shared cache: no call that begins after it has returned gets an older
///   frame.
/// - A frame that the shared cache evicts may stay here until another one replaces it: each view holds
///   up to as many frames as it has places, which the shared bound does not count.
/// - The shared cache does not see hits here, so they do not keep its entries from being evicted.
///
/// ```
/// use std::sync::Arc;
/// use pondwire::cache::{FrameCache, FrameKey, LocalFrames};
/// use pondwire::{Frame, Payload};
///
/// let shared = Arc::new(FrameCache::new(64 << 20));
/// let mut local = LocalFrames::new(shared.clone(), 256);
/// let key = FrameKey::new("/chat/42", "topic");
/// let make = || Frame::broadcast("/chat/42", "topic", "r-1", Payload::EMPTY);
/// let first = local.get_or_insert_with(key, make).clone();
/// assert_eq!(local.get_or_insert_with(key, || unreachable!("it is here")), &first);
/// shared.invalidate(key);
/// let again = local.get_or_insert_with(key, make);
/// assert_ne!(again.wire().as_ptr(), first.wire().as_ptr());
/// ```
pub struct LocalFrames<C> {
    cache: C,
    /// A power of two of sets; the low bits of a key's hash select one.
    sets: Box<[Set]>,
}

/// The number of frames in a set: enough that few keys displace each other when there are as many
/// places as keys.
const WAYS: usize = 4;

#[derive(Default)]
struct Set {
    cached: [Option<Cached>; WAYS],
    /// The next one to replace.
    next: usize,
}

/// One cache line.
struct Cached {
    hash: u64,
    /// `None` if the key was too long to store.
    key: Option<StoredKey>,
    frame: Frame,
    stamps: Stamps,
}

impl<C, S> LocalFrames<C>
where
    C: Deref<Target = FrameCache<S>>,
    S: BuildHasher + Clone,
{
    /// A view of `cache` with room for `places` frames, rounded up to four times a power of two; 66
    /// bytes each.
    #[must_use]
    pub fn new(cache: C, places: usize) -> Self {
        let sets = places.div_ceil(WAYS).next_power_of_two();
        Self { cache, sets: std::iter::repeat_with(Set::default).take(sets).collect() }
    }

    /// As [`FrameCache::get_or_insert_with`]; a hit here counts as one there.
    ///
    /// A hit allocates nothing; storing a frame here costs a copy of its key.
    #[inline]
    pub fn get_or_insert_with(
        &mut self,
        key: FrameKey<'_>,
        make: impl FnOnce() -> Frame,
    ) -> &Frame {
        let made = self.try_get_or_insert_with(key, || Ok::<_, Infallible>(make()));
        made.unwrap_or_else(|never| match never {})
    }

    /// As [`FrameCache::try_get_or_insert_with`].
    ///
    /// # Errors
    /// The errors of `make`.
    #[inline]
    pub fn try_get_or_insert_with<E>(
        &mut self,
        key: FrameKey<'_>,
        make: impl FnOnce() -> Result<Frame, E>,
    ) -> Result<&Frame, E> {
        let hash = self.cache.hash(key);
        let set = &mut self.sets[hash as usize & (self.sets.len() - 1)];
        let way = match set.find(hash, key) {
            Some((way, stamps)) if self.cache.are_current(stamps) => {
                self.cache.count_call();
                way
            }
            found => {
                let stamps = self.cache.stamps(key);
                let frame = self.cache.try_get_or_insert_with(key, make)?;
                let way = found.map_or_else(|| set.make_room(), |(way, _)| way);
                set.cached[way] = Some(Cached { hash, key: StoredKey::new(key), frame, stamps });
                way
            }
        };
        Ok(&set.cached[way].as_ref().expect("it was found or stored just now").frame)
    }
}

impl Set {
    /// The position of a key's frame, and the generations under which it was taken.
    #[inline]
    fn find(&self, hash: u64, key: FrameKey<'_>) -> Option<(usize, Stamps)> {
        self.cached.iter().enumerate().find_map(|(way, cached)| {
            let cached = cached.as_ref().filter(|cached| cached.hash == hash)?;
            let is_it = cached.key.as_ref().is_some_and(|stored| key.equivalent(stored));
            is_it.then_some((way, cached.stamps))
        })
    }

    /// The position for another frame.
    fn make_room(&mut self) -> usize {
        self.next = (self.next + 1) % WAYS;
        self.cached.iter().position(Option::is_none).unwrap_or(self.next)
    }
}

impl<C> fmt::Debug for LocalFrames<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cached = self.sets.iter().flat_map(|set| &set.cached).flatten().count();
        f.debug_struct("LocalFrames")
            .field("places", &(self.sets.len() * WAYS))
            .field("cached", &cached)
            .finish()
    }
}
