//! The publishing side's state: the queued messages.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::event::BusMessage;
use crate::options::RedisOptions;
use crate::queue::{Offered, Queue};
use crate::stats::Counters;

/// The most messages that go to Redis in one write.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 256 << 10;

/// The outcome of [`publish`](crate::RedisBus::publish) for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Publish {
    /// The message is queued.
    Queued,
    /// The message is queued, and this many of the oldest were dropped for it.
    DroppedOldest(u64),
    /// The message did not fit and was dropped.
    DroppedNewest,
    /// The message is larger than [`max_payload`](crate::RedisOptions::max_payload) and was dropped.
    TooLarge,
    /// The bus was shut down; the message was dropped and is not counted.
    Closed,
}

pub(crate) struct Outgoing {
    state: Mutex<State>,
    max_payload: usize,
    /// Notified when there are messages for the publisher, or the queue is closed.
    pub(crate) ready: Notify,
}

struct State {
    messages: Queue,
    closed: bool,
}

/// The result of taking a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    Messages,
    Nothing,
    End,
}

impl Outgoing {
    pub(crate) fn new(options: &RedisOptions) -> Self {
        let state = State { messages: Queue::new(options.publish), closed: false };
        Self { state: Mutex::new(state), max_payload: options.max_payload, ready: Notify::new() }
    }

    pub(crate) fn offer(&self, message: BusMessage, stats: &Counters) -> Publish {
        let too_large = message.payload.len() > self.max_payload;
        let mut state = self.state.lock();
        if state.closed {
            return Publish::Closed;
        }
        if too_large {
            stats.too_large.add(1);
            return Publish::TooLarge;
        }
        let was_empty = state.messages.is_empty();
        let offered = state.messages.offer(message);
        stats.queued.set(state.messages.len(), state.messages.bytes());
        drop(state);
        if was_empty {
            self.ready.notify_one();
        }
        match offered {
            Offered::Queued => Publish::Queued,
            Offered::DroppedOldest(dropped) => {
                let count = dropped.len() as u64;
                stats.dropped_oldest.add(count);
                Publish::DroppedOldest(count)
            }
            Offered::DroppedNewest(_) => {
                stats.dropped_newest.add(1);
                Publish::DroppedNewest
            }
        }
    }

    pub(crate) fn take(&self, into: &mut Vec<BusMessage>, stats: &Counters) -> Batch {
        let mut state = self.state.lock();
        if state.messages.is_empty() {
            return if state.closed { Batch::End } else { Batch::Nothing };
        }
        state.messages.take(BATCH_MESSAGES, BATCH_BYTES, into);
        stats.queued.set(state.messages.len(), state.messages.bytes());
        Batch::Messages
    }

    /// Closes the queue to new messages; queued ones can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_one();
    }

    /// Closes the queue and drops the queued messages.
    pub(crate) fn discard(&self, stats: &Counters) {
        let mut state = self.state.lock();
        state.closed = true;
        let discarded = state.messages.take_all();
        stats.queued.set(0, 0);
        drop(state);
        stats.discarded.add(discarded.len() as u64);
    }
}
