//! What one thread keeps of a shared cache, so that its hits write nothing that others read.

use std::convert::Infallible;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Deref;

use quick_cache::Equivalent;

use super::frame_cache::{FrameCache, Stamps};
use super::key::{FrameKey, StoredKey};
use crate::frame::Frame;

/// One thread's own view of a [`FrameCache`]: a few frames that it asked for last.
///
/// A hit in the shared cache writes to a lock and to the frame's reference count, and where several
/// threads hit the same frames, those lines travel between their cores: two threads together are
/// then slower than one alone. A hit here only reads, takes no reference and gives a borrowed
/// [`Frame`] (clone it to keep it), so threads do not slow each other down. Have one for each
/// worker thread where hits are frequent; `C` is a reference to the cache or an `Arc` of it.
///
/// - What is promised of invalidation holds here too: no call that begins after it has returned
///   gets an older frame.
/// - A frame that the shared cache evicts may stay here until another one takes its place: each of
///   these keeps up to as many frames as it has places, which the shared bound does not count.
/// - Hits here do not tell the shared cache what is hot.
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
    /// A power of two of them, each for the frames of the keys whose hashes end like its place.
    sets: Box<[Set]>,
}

/// How many frames a set keeps: with as many places as keys, few keys push each other out.
const WAYS: usize = 4;

#[derive(Default)]
struct Set {
    kept: [Option<Kept>; WAYS],
    /// Which one goes next.
    next: usize,
}

/// One cache line.
struct Kept {
    hash: u64,
    /// None is too long to be found again.
    key: Option<StoredKey>,
    frame: Frame,
    stamps: Stamps,
}

impl<C, S> LocalFrames<C>
where
    C: Deref<Target = FrameCache<S>>,
    S: BuildHasher + Clone,
{
    /// Keeps up to `places` frames of `cache`, rounded up to four times a power of two; 66 bytes
    /// each.
    #[must_use]
    pub fn new(cache: C, places: usize) -> Self {
        let sets = places.div_ceil(WAYS).next_power_of_two();
        Self { cache, sets: std::iter::repeat_with(Set::default).take(sets).collect() }
    }

    /// As [`FrameCache::get_or_insert_with`]; a hit here counts as one there.
    ///
    /// A hit here allocates nothing; a frame that comes here costs a copy of its key.
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
    /// Those of `make`.
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
                set.kept[way] = Some(Kept { hash, key: StoredKey::new(key), frame, stamps });
                way
            }
        };
        Ok(&set.kept[way].as_ref().expect("it was found or put there").frame)
    }
}

impl Set {
    /// Where a key's frame is, and when it came.
    #[inline]
    fn find(&self, hash: u64, key: FrameKey<'_>) -> Option<(usize, Stamps)> {
        self.kept.iter().enumerate().find_map(|(way, kept)| {
            let kept = kept.as_ref().filter(|kept| kept.hash == hash)?;
            let is_it = kept.key.as_ref().is_some_and(|stored| key.equivalent(stored));
            is_it.then_some((way, kept.stamps))
        })
    }

    /// A place for another frame.
    fn make_room(&mut self) -> usize {
        self.next = (self.next + 1) % WAYS;
        self.kept.iter().position(Option::is_none).unwrap_or(self.next)
    }
}

impl<C> fmt::Debug for LocalFrames<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.sets.iter().flat_map(|set| &set.kept).flatten().count();
        f.debug_struct("LocalFrames")
            .field("places", &(self.sets.len() * WAYS))
            .field("kept", &kept)
            .finish()
    }
}
