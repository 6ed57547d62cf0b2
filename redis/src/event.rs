//! The events of a receiver.

use std::sync::Arc;

use bytes::Bytes;

/// A payload and the topic it was published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusMessage {
    /// The full topic name; it is shared with the other messages of the topic.
    pub topic: Arc<str>,
    /// The payload as it was published.
    pub payload: Bytes,
}

impl BusMessage {
    /// The number of bytes that it counts for in a queue.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// An event on the subscribing side, or a loss on the publishing side. All events except messages overtake
/// the waiting messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// A message arrived. For a moment after a topic is unsubscribed, messages of it may still arrive.
    Message(BusMessage),
    /// Redis confirmed a [`subscribe`](crate::RedisBus::subscribe): messages of the topic arrive from now
    /// on, among them the answers to requests that are published there. There is one event for each call
    /// that subscribed.
    Subscribed(Arc<str>),
    /// The connection broke: this bus misses messages published from now on.
    Lost,
    /// The connection is back, and all topics are subscribed again. State that may have changed meanwhile
    /// should be requested again.
    Recovered,
    /// The number of messages dropped since the last such event because the receiver's queue was full. A
    /// slow receiver gets about one such event for each 64 messages that it takes.
    Lagged(u64),
    /// The number of this bus's own messages that were lost since the last such event, or may have been:
    /// the queue was full, Redis did not answer, or it refused them. The event comes once there is a
    /// connection to publish over; state should then be published again. Messages that were too large are
    /// not counted here, because repeating them would not help.
    Unpublished(u64),
}
