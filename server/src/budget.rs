//! Fairness between connections: each task works for a bounded amount, then lets the others run.
//!
//! The runtime's workers run a task until it waits, and the task of a client that keeps sending
//! never has to. So everything that a client makes the server do is charged to the [`Budget`] of its
//! connection, and a budget that is spent ends in a yield. What one message costs beyond that is
//! owed, and paid for by more yields: among busy clients, one with expensive messages gets as much of
//! a worker as one with cheap ones.

use tokio::task::yield_now;

/// A frame, of whatever kind. The unit of work is a byte that is received, unmasked and scanned:
/// about a nanosecond.
pub(crate) const FRAME: usize = 128;

/// A message that is parsed, dispatched and answered, or an HTTP request.
pub(crate) const MESSAGE: usize = 1 << 10;

/// A byte that comes out of the inflater, beside being scanned.
pub(crate) const INFLATED: usize = 2;

/// A frame that is pushed into the outbox of one member.
pub(crate) const PUSH: usize = 64;

/// The work of a connection between two yields: some 30 to 50 µs.
pub(crate) const CONNECTION: usize = 32 << 10;

/// The most budgets of work that are owed; beyond them work is forgotten. A yield costs a microsecond when
/// no other task waits.
const MOST_OWED: usize = 64;

/// The work that a task has done since the others could last run.
pub(crate) struct Budget {
    limit: usize,
    spent: usize,
}

impl Budget {
    /// For a task that yields after so much work.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, spent: 0 }
    }

    pub(crate) fn charge(&mut self, work: usize) {
        self.spent = self.spent.saturating_add(work).min(MOST_OWED * self.limit);
    }

    /// Lets other tasks run if the budget is spent, once for each time that it is. Cancel-safe: what
    /// is owed stays owed.
    pub(crate) async fn yield_if_spent(&mut self) {
        while self.spent >= self.limit {
            yield_now().await;
            self.spent -= self.limit;
        }
    }
}
