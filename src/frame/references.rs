//! Many references to a frame, counted in one atomic operation.

use std::fmt;

use super::shared::Lent;
use super::{Frame, WireFrame};

/// References to a frame, counted up front in one atomic operation; handing them out needs no
/// further one.
///
/// Counting is the cost of a clone, and it exceeds that of the loop around it when a frame goes to
/// thousands of connections. As an iterator it yields as many as were requested;
/// [`Outbox::push_from`](crate::Outbox::push_from) takes more if necessary. Dropping this returns
/// the remaining references in one more operation.
///
/// ```
/// use pondwire::{Frame, Payload};
///
/// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
/// let mut references = frame.references(1000);
/// let connections: Vec<Frame> = references.by_ref().take(600).collect();
/// assert_eq!(references.len(), 400);
/// assert_eq!(connections[599].wire().as_ptr(), frame.wire().as_ptr());
/// ```
pub struct FrameRefs<'a> {
    lent: Lent<'a>,
}

impl Frame {
    /// `count` references to this frame, taken in one atomic operation.
    ///
    /// # Aborts
    /// Aborts the process, as a clone does, if there would be more than `isize::MAX` references.
    #[must_use]
    pub fn references(&self, count: usize) -> FrameRefs<'_> {
        FrameRefs { lent: Lent::new(&self.shared, count) }
    }
}

impl FrameRefs<'_> {
    /// The next reference, counted now if none is left.
    #[inline]
    pub(crate) fn one(&mut self) -> WireFrame {
        WireFrame::from_lent(&mut self.lent)
    }

    /// Takes back a reference that [`one`](Self::one) returned.
    #[inline]
    pub(crate) fn give_back(&mut self, unused: WireFrame) {
        self.lent.give_back(unused.shared);
    }
}

impl Iterator for FrameRefs<'_> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        self.lent.next().map(|shared| Frame { shared })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.lent.left(), Some(self.lent.left()))
    }
}

impl ExactSizeIterator for FrameRefs<'_> {}

impl fmt::Debug for FrameRefs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameRefs").field("left", &self.lent.left()).finish()
    }
}
