//! Fairness between connections: each task does a bounded amount of work, then lets the others run.
//!
//! The runtime's workers run a task until it waits, and the task of a client that keeps sending never has
//! to. So all work that a client causes is charged to the [`Budget`] of its connection, and the task yields
//! when the budget is spent. If one message costs more than the budget, the rest is a debt that further
//! yields pay off. Among busy clients, one with expensive messages therefore gets as much of a worker as
//! one with cheap ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::yield_now;

/// The work of any frame. The unit of work is one byte received, unmasked and scanned: about a nanosecond.
pub(crate) const FRAME: usize = 128;

/// The work of a message that is parsed, dispatched and answered, or of an HTTP request.
pub(crate) const MESSAGE: usize = 1 << 10;

/// The work of inflating one byte, not counting its scan.
pub(crate) const INFLATED: usize = 2;

/// The work of compressing one byte.
pub(crate) const DEFLATED: usize = 8;

/// The work of sending a frame to one member.
pub(crate) const PUSH: usize = 2;

/// The work of a connection between two yields: about 30 to 50 µs.
pub(crate) const CONNECTION: usize = 32 << 10;

/// The largest debt, in budgets; work beyond it is forgotten. A yield costs a microsecond when no other
/// task waits.
const MOST_OWED: usize = 64;

/// The time after which a channel counts as the only one in use.
const ALONE: Duration = Duration::from_secs(60);

/// Tells whether more than one channel is in use: then the writers' rounds are kept short, so that none waits long for
/// the frames of another. A clone is one more handle of the same.
#[derive(Clone, Debug)]
pub(crate) struct InUse(Arc<LastUse>);

#[derive(Debug)]
struct LastUse {
    /// The address of the channel that was used last.
    channel: AtomicUsize,
    /// When this was another channel last: milliseconds after `start`, and one more; 0: never.
    changed: AtomicU64,
    start: Instant,
}

impl InUse {
    pub(crate) fn new() -> Self {
        let (channel, changed) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(LastUse { channel, changed, start: Instant::now() }))
    }

    /// Is told of each use of a channel. One load if it was used last, too.
    pub(crate) fn note<T>(&self, channel: &T) {
        let LastUse { channel: last, changed, start } = &*self.0;
        let address = std::ptr::from_ref(channel).addr();
        // Relaxed: nothing else depends on them, and a use that is missed is followed by others.
        if last.load(Ordering::Relaxed) != address && last.swap(address, Ordering::Relaxed) != 0 {
            changed.store(start.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        }
    }

    /// Whether another channel was used within the last minute than before.
    pub(crate) fn is_shared(&self) -> bool {
        let LastUse { changed, start, .. } = &*self.0;
        let changed = changed.load(Ordering::Relaxed);
        changed > 0 && start.elapsed().saturating_sub(Duration::from_millis(changed - 1)) < ALONE
    }
}

/// The work that a task has done since it last yielded.
pub(crate) struct Budget {
    limit: usize,
    spent: usize,
}

impl Budget {
    /// A budget for a task that yields after `limit` units of work.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, spent: 0 }
    }

    pub(crate) fn charge(&mut self, work: usize) {
        self.spent = self.spent.saturating_add(work).min(MOST_OWED * self.limit);
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.spent >= self.limit
    }

    /// Lets other tasks run if the budget is spent: one yield for each whole budget. Cancel-safe: the rest
    /// of the debt stays.
    pub(crate) async fn yield_if_spent(&mut self) {
        while self.is_spent() {
            yield_now().await;
            self.spent -= self.limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_shared_once_two_are_used() {
        let in_use = InUse::new();
        let (one, other) = (1_u32, 2_u32);
        in_use.note(&one);
        in_use.note(&one);
        assert!(!in_use.is_shared());
        in_use.note(&other);
        assert!(in_use.is_shared());
        let long_ago = Instant::now().checked_sub(2 * ALONE).expect("the machine runs for minutes");
        let last =
            LastUse { channel: AtomicUsize::new(1), changed: AtomicU64::new(1), start: long_ago };
        let in_use = InUse(Arc::new(last));
        assert!(!in_use.is_shared());
        in_use.note(&one);
        assert!(in_use.is_shared());
    }
}
