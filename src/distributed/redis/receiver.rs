//! The end from which messages and news are taken.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::event::{BusEvent, BusMessage};
use super::inbox::Taken;
use super::shared::Shared;

/// Where everything that a bus receives comes out, in order. Dropping it drops what waits and what
/// still comes; publishing goes on.
pub struct RedisReceiver {
    shared: Arc<Shared>,
    /// Taken out of the inbox, to be handed on one by one.
    taken: VecDeque<BusMessage>,
}

impl RedisReceiver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, taken: VecDeque::new() }
    }

    /// The next event; `None` once the bus is shut down or dropped and everything was taken.
    ///
    /// May be cancelled at any time without a loss. Takes a lock once for up to 64 messages, and
    /// allocates nothing.
    pub async fn next(&mut self) -> Option<BusEvent> {
        loop {
            match self.take() {
                Taken::Event(event) => return Some(event),
                Taken::End => return None,
                Taken::Messages => {}
                Taken::Nothing => self.shared.inbox.ready().await,
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<BusEvent> {
        loop {
            match self.take() {
                Taken::Event(event) => return Some(event),
                Taken::Messages => {}
                Taken::Nothing | Taken::End => return None,
            }
        }
    }

    fn take(&mut self) -> Taken {
        if let Some(message) = self.taken.pop_front() {
            return Taken::Event(BusEvent::Message(message));
        }
        self.shared.inbox.take(&mut self.taken, &self.shared.counters)
    }
}

impl Drop for RedisReceiver {
    fn drop(&mut self) {
        self.shared.inbox.abandon(&self.shared.counters);
    }
}

impl fmt::Debug for RedisReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReceiver")
            .field("stats", &self.shared.counters.stats())
            .finish_non_exhaustive()
    }
}
