//! What became of a frame that was sent to many.

use crate::outbox::Push;

/// What became of a frame, in numbers of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// It waits there to be sent, perhaps in the place of older frames.
    pub queued: usize,
    /// It was dropped there: the outbox is full, and its policy drops what is new.
    pub dropped: usize,
    /// The outbox there is closed, perhaps by this very frame.
    pub closed: usize,
}

impl Delivery {
    #[inline]
    pub(super) const fn count(&mut self, push: Push) {
        match push {
            Push::DroppedNewest => self.dropped += 1,
            Push::Closed => self.closed += 1,
            _ => self.queued += 1,
        }
    }
}
