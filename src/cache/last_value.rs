//! The last frame of a channel, for who comes late.

use std::fmt;

use arc_swap::ArcSwapAny;

use crate::frame::Frame;

/// The last frame of one channel: any number of threads read it while others replace it.
///
/// A reader takes no lock and never waits: it loads one pointer and notes in a place of its own
/// thread that it uses it, so that readers on many cores share no line that they write. A writer
/// takes no lock either; it waits for no reader, but pays the reference of those that are reading
/// just then. One word; an empty one allocates nothing.
///
/// ```
/// use pondwire::cache::LastValue;
/// use pondwire::{Frame, Payload};
///
/// let topic = LastValue::new();
/// assert_eq!(topic.get(), None);
/// topic.set(Frame::broadcast("/chat/42", "topic", "r-1", Payload::EMPTY));
/// let sent = topic.with(|frame| frame.map_or(0, |frame| frame.wire().len()));
/// assert_eq!(sent, topic.get().unwrap().wire().len());
/// ```
pub struct LastValue {
    frame: ArcSwapAny<Option<Frame>>,
}

impl LastValue {
    /// No frame yet.
    #[must_use]
    pub fn new() -> Self {
        Self { frame: ArcSwapAny::new(None) }
    }

    /// Makes `frame` the last one. Of two threads that do so at once, either may be the last.
    pub fn set(&self, frame: Frame) {
        self.frame.store(Some(frame));
    }

    /// Makes `frame` the last one and returns the one before it. `None` forgets it.
    pub fn replace(&self, frame: Option<Frame>) -> Option<Frame> {
        self.frame.swap(frame)
    }

    /// The last frame, to keep: a load and a reference.
    #[must_use]
    pub fn get(&self) -> Option<Frame> {
        self.frame.load_full()
    }

    /// Calls `read` with the last frame: a load and no reference, so that readers do not even
    /// share its count. `read` should not be long: a ninth such call within others on one thread
    /// takes a reference.
    pub fn with<R>(&self, read: impl FnOnce(Option<&Frame>) -> R) -> R {
        read(self.frame.load().as_ref())
    }
}

impl Default for LastValue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LastValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|frame| f.debug_tuple("LastValue").field(&frame).finish())
    }
}
