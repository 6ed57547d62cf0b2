//! The key of a cached frame, borrowed and stored, and its default hasher.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use quick_cache::Equivalent;

/// The key of a cached frame: its channel, its event, a version, and the class of recipients that it is
/// made for.
///
/// It borrows its texts, so a lookup allocates nothing. Everything that the frame's bytes depend on must
/// be part of the key: the cache never looks into a frame.
///
/// ```
/// use pondwire::cache::FrameKey;
///
/// let all = FrameKey::new("/chat/42", "topic").version(7);
/// let moderators = all.class(1);
/// assert_ne!(all, moderators);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKey<'a> {
    channel: &'a str,
    event: &'a str,
    version: u64,
    class: u32,
}

impl<'a> FrameKey<'a> {
    /// A key for `event` of `channel`, with version 0 and class 0.
    ///
    /// `event` may be any text that distinguishes the frames of a channel.
    #[must_use]
    pub const fn new(channel: &'a str, event: &'a str) -> Self {
        Self { channel, event, version: 0, class: 0 }
    }

    /// The same key with another version: a counter of changes, or any other number. With a new version
    /// for every change nothing has to be invalidated.
    #[must_use]
    pub const fn version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The same key for another class of recipients: a role, a language, one user.
    #[must_use]
    pub const fn class(self, class: u32) -> Self {
        Self { class, ..self }
    }

    /// The channel, which [`FrameCache::invalidate_channel`](super::FrameCache::invalidate_channel)
    /// compares.
    #[must_use]
    pub const fn channel(&self) -> &'a str {
        self.channel
    }

    /// The length of its texts in bytes.
    pub(super) const fn text_len(&self) -> usize {
        self.channel.len() + self.event.len()
    }

    /// Whether a [`StoredKey`] can hold it: its texts together must be shorter than 4 GiB.
    pub(super) fn is_storable(&self) -> bool {
        u32::try_from(self.text_len()).is_ok()
    }
}

impl Hash for FrameKey<'_> {
    /// Omits the terminator that `str` adds: the boundary between the texts matters for equality, not
    /// for the distribution of hashes.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.channel.as_bytes());
        state.write(self.event.as_bytes());
        state.write_u64(self.version);
        state.write_u32(self.class);
    }
}

/// The default hasher of a [`FrameCache`](super::FrameCache): fast, and keyed at random so that clients
/// who choose names cannot provoke collisions.
#[derive(Clone)]
pub struct KeyHashBuilder(ahash::RandomState);

impl KeyHashBuilder {
    /// A hasher with keys of its own.
    #[must_use]
    pub fn new() -> Self {
        Self(ahash::RandomState::new())
    }
}

impl Default for KeyHashBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyHashBuilder {
    /// Without its keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHashBuilder").finish_non_exhaustive()
    }
}

impl BuildHasher for KeyHashBuilder {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0.build_hasher())
    }
}

/// A hash in progress; see [`KeyHashBuilder`].
#[derive(Clone)]
pub struct KeyHasher(ahash::AHasher);

impl Hasher for KeyHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0.write_u32(number);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
    }
}

impl fmt::Debug for KeyHasher {
    /// Without its state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

/// A key as the cache stores it: both texts in one allocation. It is small, so that an entry with its
/// frame and its links in the eviction order fits one cache line.
#[derive(Clone, Debug)]
pub(super) struct StoredKey {
    texts: Box<str>,
    version: u64,
    channel_len: u32,
    class: u32,
}

impl StoredKey {
    /// `None` if the texts are too long; see [`FrameKey::is_storable`].
    pub(super) fn new(key: FrameKey<'_>) -> Option<Self> {
        let FrameKey { channel, event, version, class } = key;
        if !key.is_storable() {
            return None;
        }
        let texts = [channel, event].concat().into_boxed_str();
        Some(Self { texts, version, channel_len: channel.len() as u32, class })
    }

    #[inline]
    pub(super) fn view(&self) -> FrameKey<'_> {
        let (channel, event) = self.texts.split_at(self.channel_len as usize);
        FrameKey { channel, event, version: self.version, class: self.class }
    }

    /// The length of its texts in bytes.
    pub(super) fn text_len(&self) -> usize {
        self.texts.len()
    }
}

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for StoredKey {}

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view().hash(state);
    }
}

impl Equivalent<StoredKey> for FrameKey<'_> {
    #[inline]
    fn equivalent(&self, stored: &StoredKey) -> bool {
        *self == stored.view()
    }
}

/// Either form of a key. quick_cache requires of an inserted value's key that it can be both borrowed
/// from a [`StoredKey`] and turned into one; only this trait's object can.
pub(super) trait AnyKey {
    fn view(&self) -> FrameKey<'_>;
}

impl AnyKey for FrameKey<'_> {
    fn view(&self) -> FrameKey<'_> {
        *self
    }
}

impl AnyKey for StoredKey {
    fn view(&self) -> FrameKey<'_> {
        self.view()
    }
}

impl Hash for dyn AnyKey + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view().hash(state);
    }
}

impl PartialEq for dyn AnyKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for dyn AnyKey + '_ {}

impl<'a> Borrow<dyn AnyKey + 'a> for StoredKey {
    fn borrow(&self) -> &(dyn AnyKey + 'a) {
        self
    }
}

impl ToOwned for dyn AnyKey + '_ {
    type Owned = StoredKey;

    fn to_owned(&self) -> StoredKey {
        StoredKey::new(self.view()).expect("the cache refuses longer keys")
    }
}
