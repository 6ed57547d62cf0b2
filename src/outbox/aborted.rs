//! News of the end for a writer that is in the midst of a batch.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::reason::CloseReason;
use super::state::State;
use crate::sync::Arc;

/// Ready once the outbox is closed because its bounds were exceeded, or the reader is gone; from
/// [`OutboxReader::aborted`](super::OutboxReader::aborted).
///
/// Of several that are polled, only the last is woken.
#[must_use = "futures do nothing unless polled"]
pub struct Aborted {
    state: Arc<State>,
}

impl Aborted {
    pub(super) const fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

impl Future for Aborted {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        // First: who closes the outbox takes the waker after that.
        self.state.lane.set_abort_waker(cx.waker());
        match self.state.closed() {
            Some(reason) if reason.drops_frames() => Poll::Ready(reason),
            _ => Poll::Pending,
        }
    }
}

impl fmt::Debug for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aborted").field("closed", &self.state.closed()).finish_non_exhaustive()
    }
}
