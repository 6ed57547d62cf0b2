//! What a cached frame is found by.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

/// What tells a cached frame from the others: its channel, its event, a version, and the class of
/// recipients that it is made for.
///
/// It borrows its texts, so that a lookup allocates nothing. Whatever the bytes of the frame depend
/// on must be in it: the cache never looks into a frame.
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
    /// A frame about `event` of `channel`, of version 0 and for class 0.
    ///
    /// `event` may be any text that tells the frames of a channel apart.
    #[must_use]
    pub const fn new(channel: &'a str, event: &'a str) -> Self {
        Self { channel, event, version: 0, class: 0 }
    }

    /// The same with another version: a counter of changes, or any number of the caller's. With a
    /// new version for every change nothing has to be invalidated.
    #[must_use]
    pub const fn version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The same for another class of recipients: a role, a language, one user.
    #[must_use]
    pub const fn class(self, class: u32) -> Self {
        Self { class, ..self }
    }

    /// The channel, by which [`FrameCache::invalidate_channel`](super::FrameCache::invalidate_channel)
    /// finds it.
    #[must_use]
    pub const fn channel(&self) -> &'a str {
        self.channel
    }

    /// The bytes of its texts.
    pub(super) const fn text_len(&self) -> usize {
        self.channel.len() + self.event.len()
    }

    /// Whether a [`StoredKey`] can hold it: its texts have at most 4 GiB together.
    pub(super) fn is_storable(&self) -> bool {
        u32::try_from(self.text_len()).is_ok()
    }
}

impl Hash for FrameKey<'_> {
    /// Without the byte that a `str` adds behind itself: where the channel ends makes a difference
    /// to equality, not to the spread of hashes.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.channel.as_bytes());
        state.write(self.event.as_bytes());
        state.write_u64(self.version);
        state.write_u32(self.class);
    }
}

/// A key that the cache keeps: both texts in one allocation. Small, so that an entry with its frame
/// and its place in the order of eviction takes one cache line.
#[derive(Clone, Debug)]
pub(super) struct StoredKey {
    texts: Box<str>,
    version: u64,
    channel_len: u32,
    class: u32,
}

impl StoredKey {
    /// `None` for texts that it cannot tell apart; see [`FrameKey::is_storable`].
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

    /// The bytes of its texts.
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

/// Either form of a key. Only its trait object can be both borrowed from a [`StoredKey`] and made
/// into one, which quick_cache asks of the key of a value to be inserted.
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
        StoredKey::new(self.view()).expect("the cache stores no longer ones")
    }
}
