//! What a receiver is told.

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
    /// The bytes it counts with in a queue.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// What happened on the subscribing side, and what the publishing side lost. All but messages overtake
/// the messages that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// A message came. Some of a topic may still come for a moment after it was unsubscribed.
    Message(BusMessage),
    /// Redis confirmed a [`subscribe`](crate::RedisBus::subscribe): from now on messages of the
    /// topic arrive, and the answers to what is asked there. Once for each call that subscribed.
    Subscribed(ByteString),
    /// The connection broke: what is published to the topics from now on passes us by.
    Lost,
    /// There is a connection again, and all topics are subscribed to. State that may have changed
    /// meanwhile should be asked for again.
    Recovered,
    /// So many messages were dropped since the last time, as the receiver's queue was full. A slow
    /// receiver is told about once for each 64 messages that it takes.
    Lagged(u64),
    /// So many messages of ours were lost since the last time, or may have been, for which there was
    /// no place in the queue, no answer, or no leave: told once there is a connection to publish by.
    /// State should be told to the others again. What was too large is not among them: to repeat it
    /// would mend nothing.
    Unpublished(u64),
}
