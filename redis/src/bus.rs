//! The handle by which topics are published and subscribed to.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::Connector;
use crate::event::BusMessage;
use crate::options::RedisOptions;
use crate::outgoing::Publish;
use crate::receiver::RedisReceiver;
use crate::shared::Shared;
use crate::stats::RedisStats;
use crate::{publisher, subscriber};

/// A bus between nodes; one of many handles. When the last is dropped the bus ends at once, and
/// what was not published yet is dropped; see [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct RedisBus {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    subscriber: JoinHandle<()>,
    /// Taken by who shuts down.
    publisher: Mutex<Option<JoinHandle<()>>>,
}

impl RedisBus {
    /// A bus, and the end at which all it receives comes out. Returns at once: the connections are
    /// made, and made again, by two tasks on the runtime that this is called in.
    ///
    /// `url` is `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS, or
    /// `redis+unix:///path`.
    ///
    /// # Errors
    /// [`InvalidUrl`]. That nobody answers there is no error: see [`last_error`](Self::last_error).
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without I/O and time.
    pub fn open(url: &str, options: RedisOptions) -> Result<(Self, RedisReceiver), InvalidUrl> {
        let connector = Connector::new(url).map_err(|error| InvalidUrl(error.to_string()))?;
        let shared = Arc::new(Shared::new(connector, options));
        let publisher = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { publisher::run(&shared).await }
        });
        let subscriber = tokio::spawn({
            let end = EndOfInbox(Arc::clone(&shared));
            async move { subscriber::run(Arc::clone(&end.0)).await }
        });
        let handle = Handle {
            shared: Arc::clone(&shared),
            subscriber,
            publisher: Mutex::new(Some(publisher)),
        };
        Ok((Self { handle: Arc::new(handle) }, RedisReceiver::new(shared)))
    }

    /// Queues a payload for everybody who is subscribed to the topic, on this bus too.
    ///
    /// Never waits. Takes a lock for as long as it takes to move a few words, and allocates nothing
    /// for a topic and a payload that are shared already, but for the queue as it grows. Many
    /// messages go to Redis in one write.
    pub fn publish(&self, topic: impl Into<ByteString>, payload: impl Into<Bytes>) -> Publish {
        let message = BusMessage { topic: topic.into(), payload: payload.into() };
        self.shared().outgoing.offer(message, &self.shared().counters)
    }

    /// Wants the messages of a topic, from now on and over every new connection;
    /// [`BusEvent::Subscribed`](crate::BusEvent::Subscribed) tells when they arrive. `false` when it
    /// was wanted already. Never waits.
    pub fn subscribe(&self, topic: impl Into<ByteString>) -> bool {
        self.shared().inbox.subscribe(&topic.into())
    }

    /// Wants them no longer; `false` when they were not wanted. Never waits.
    pub fn unsubscribe(&self, topic: &str) -> bool {
        self.shared().inbox.unsubscribe(topic)
    }

    /// The bus in numbers, without a lock.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.shared().counters.stats()
    }

    /// Why an attempt to connect last failed, a connection broke, or a topic was refused; it stays
    /// when all is well again. A text for people.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.shared().last_error.lock().clone()
    }

    /// Ends the bus in order: takes nothing more, publishes what waits, then closes both
    /// connections. After `deadline` what still waits is dropped and counted as
    /// [`discarded`](RedisStats::discarded). The numbers are final then.
    ///
    /// When it is called again, or cancelled, the bus ends at once.
    pub async fn shutdown(&self, deadline: Duration) -> RedisStats {
        let shared = self.shared();
        shared.outgoing.close();
        let publisher = self.handle.publisher.lock().take().map(AbortOnDrop);
        if let Some(mut publisher) = publisher
            && timeout(deadline, &mut publisher.0).await.is_err()
        {
            publisher.0.abort();
            // Its numbers are final once it is gone.
            let _ = (&mut publisher.0).await;
        }
        shared.outgoing.discard(&shared.counters);
        self.handle.subscriber.abort();
        shared.counters.stats()
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.outgoing.discard(&self.shared.counters);
        self.subscriber.abort();
        drop(self.publisher.get_mut().take().map(AbortOnDrop));
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the receiver that nothing comes any more, however the task ends.
struct EndOfInbox(Arc<Shared>);

impl Drop for EndOfInbox {
    fn drop(&mut self) {
        self.0.inbox.end();
    }
}

/// The URL is none of a Redis server, or asks for TLS where the `redis` crate was built without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl(String);

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid Redis URL: {}", self.0)
    }
}

impl Error for InvalidUrl {}
