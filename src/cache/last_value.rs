//! The last frame of a channel, for late joiners.

use std::fmt;

use arc_swap::ArcSwapAny;

use crate::frame::Frame;

/// The last frame of one channel. Any number of threads can read it while others replace it.
///
/// A reader takes no lock and never waits: it loads one pointer and records its use in a slot of its
/// own thread, so readers on different cores write no shared cache line. A writer takes no lock and
/// waits for no reader, but takes a reference for each reader active at that moment. Its size is one
/// word; an empty one allocates nothing.
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

    /// Sets the last frame. If two threads do so at once, either may win.
    pub fn set(&self, frame: Frame) {
        self.frame.store(Some(frame));
    }

    /// Sets the last frame, or clears it with `None`, and returns the previous one.
    pub fn replace(&self, frame: Option<Frame>) -> Option<Frame> {
        self.frame.swap(frame)
    }

    /// The last frame: a load and a reference.
    #[must_use]
    pub fn get(&self) -> Option<Frame> {
        self.frame.load_full()
    }

    /// Calls `read` with the last frame: a load and no reference, so readers do not contend for its
    /// count. `read` should be short. A ninth nested call on one thread takes a reference.
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
