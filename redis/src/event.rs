//! The events of a receiver.

use bytes::Bytes;
use bytestring::ByteString;

/// A payload and the topic it was published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusMessage {
    /// The whole topic.
    pub topic: ByteString,
    /// Whatever was published.
    pub payload: Bytes,
}

impl BusMessage {
    /// The bytes that it counts as in a queue.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// An event on the subscribing side, or a loss on the publishing side. All but messages overtake the
/// messages that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// A message arrived. For a moment after its topic was unsubscribed some may still arrive.
    Message(BusMessage),
    /// Redis confirmed a [`subscribe`](crate::RedisBus::subscribe): messages of the topic arrive from now
    /// on, among them the answers to requests that are published there. One event for each call that
    /// subscribed.
    Subscribed(ByteString),
    /// The connection broke: this bus misses the messages that are published from now on.
    Lost,
    /// The connection is back, and all topics are subscribed. State that may have changed meanwhile should
    /// be requested again.
    Recovered,
    /// So many messages were dropped since the last such event, as the receiver's queue was full. A slow
    /// receiver gets about one for each 64 messages that it takes.
    Lagged(u64),
    /// So many of this bus's own messages were lost since the last such event, or may have been: the queue
    /// was full, Redis did not answer, or it refused them. It comes once there is a connection to publish
    /// over, and state should then be published again. Messages that were too large are not counted here,
    /// as repeating them would not help.
    Unpublished(u64),
}
