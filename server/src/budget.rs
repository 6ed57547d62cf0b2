//! Fairness between connections: each task does a bounded amount of work, then lets the others run.
//!
//! The runtime's workers run a task until it waits, and the task of a client that keeps sending never has
//! to. So all work that a client causes is charged to the [`Budget`] of its connection, and the task yields
//! when the budget is spent. If one message costs more than the budget, the rest is a debt that further
//! yields pay off. Among busy clients, one with expensive messages therefore gets as much of a worker as
//! one with cheap ones.

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
