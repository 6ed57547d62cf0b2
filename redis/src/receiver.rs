//! The consumer's end of a bus.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::event::{BusEvent, BusMessage};
use crate::inbox::Received;
use crate::shared::Shared;

/// The consumer's end of a bus: everything that the bus receives, in order. Dropping it drops the waiting
/// messages and all later ones; publishing continues.
pub struct RedisReceiver {
    shared: Arc<Shared>,
    /// Messages taken out of the inbox, to be handed out one by one.
    taken: VecDeque<BusMessage>,
}

impl RedisReceiver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, taken: VecDeque::new() }
    }

    /// The next event; `None` once the bus is shut down or dropped and everything has been taken.
    ///
    /// Cancel-safe: no event is lost. Takes a lock once for up to 64 messages, and allocates nothing.
    pub async fn next(&mut self) -> Option<BusEvent> {
        loop {
            match self.take() {
                Received::Event(event) => return Some(event),
                Received::End => return None,
                Received::Messages => {}
                Received::Nothing => self.shared.inbox.ready().await,
            }
        }
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<BusEvent> {
        loop {
            match self.take() {
                Received::Event(event) => return Some(event),
                Received::Messages => {}
                Received::Nothing | Received::End => return None,
            }
        }
    }

    fn take(&mut self) -> Received {
        if let Some(message) = self.taken.pop_front() {
            return Received::Event(BusEvent::Message(message));
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
