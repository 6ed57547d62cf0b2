//! The handle for publishing and for subscribing to topics.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::RedisError;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::{Connector, is_refusal};
use crate::event::BusMessage;
use crate::options::RedisOptions;
use crate::outgoing::Publish;
use crate::receiver::RedisReceiver;
use crate::shared::Shared;
use crate::stats::RedisStats;
use crate::{publisher, subscriber};

/// A handle of a bus between nodes; cheap to clone. Dropping the last one ends the bus at once and drops
/// the queued messages; see [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct RedisBus {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    subscriber: JoinHandle<()>,
    /// Taken by the first call that shuts down.
    publisher: Mutex<Option<JoinHandle<()>>>,
}

impl RedisBus {
    /// Opens a bus; returns it with the receiver of its events. Returns immediately: two tasks on the
    /// current runtime connect, and reconnect.
    ///
    /// `url` is `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS, or
    /// `redis+unix:///path`.
    ///
    /// # Errors
    /// [`InvalidUrl`]. A server that does not answer is not an error: see [`last_error`](Self::last_error).
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without I/O and timers.
    pub fn open(url: &str, options: RedisOptions) -> Result<(Self, RedisReceiver), InvalidUrl> {
        let connector = Connector::new(url).map_err(|error| InvalidUrl::new(url, &error))?;
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

    /// Connects once to see whether the server accepts the URL's credentials, and disconnects. [`open`](Self::open)
    /// does not: it keeps trying, as it must once a cluster runs.
    ///
    /// Takes at most twice [`RedisOptions::timeout`].
    ///
    /// # Errors
    /// [`CheckError`]: the URL is invalid, the server refuses the credentials or is not what the bus needs, or it
    /// cannot be reached at the moment.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without I/O and timers.
    pub async fn check(url: &str, options: RedisOptions) -> Result<(), CheckError> {
        let connector = Connector::new(url);
        let connector = connector.map_err(|error| CheckError {
            text: InvalidUrl::new(url, &error).to_string(),
            is_final: true,
        })?;
        let connected = connector.connect(&options, |_| {}).await;
        connected.map(drop).map_err(|error| CheckError {
            text: format!("Redis: {error}"),
            is_final: is_refusal(&error),
        })
    }

    /// Queues a payload for all subscribers of the topic, this bus included.
    ///
    /// Never waits for Redis. Holds a lock only while it moves a few words, and allocates nothing for a
    /// topic in an `Arc` and a payload in `Bytes`, except to grow the queue; any other topic is copied.
    /// Many messages go to Redis in one write.
    pub fn publish(&self, topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Publish {
        let message = BusMessage { topic: topic.into(), payload: payload.into() };
        self.shared().outgoing.offer(message, &self.shared().counters)
    }

    /// Subscribes to a topic, over this connection and every later one;
    /// [`BusEvent::Subscribed`](crate::BusEvent::Subscribed) follows once Redis has confirmed it. `false`
    /// if the topic was already subscribed. Never waits.
    pub fn subscribe(&self, topic: impl Into<Arc<str>>) -> bool {
        self.shared().inbox.subscribe(&topic.into())
    }

    /// Unsubscribes from a topic; `false` if it was not subscribed. Never waits.
    pub fn unsubscribe(&self, topic: &str) -> bool {
        self.shared().inbox.unsubscribe(topic)
    }

    /// The counters of the bus, read without a lock.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.shared().counters.stats()
    }

    /// The last error: a failed attempt to connect, a broken connection, or a refused topic. It is kept
    /// after the connection is back. The text is for people, not for programs.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.shared().last_error.lock().clone()
    }

    /// Ends the bus gracefully: accepts no more messages, publishes the queued ones, then closes both
    /// connections. Messages still queued after `deadline` are dropped and counted as
    /// [`discarded`](RedisStats::discarded). The returned counters are final.
    ///
    /// If this is called again, or cancelled, the bus ends at once.
    pub async fn shutdown(&self, deadline: Duration) -> RedisStats {
        let shared = self.shared();
        shared.outgoing.close();
        let publisher = self.handle.publisher.lock().take().map(AbortOnDrop);
        if let Some(mut publisher) = publisher
            && timeout(deadline, &mut publisher.0).await.is_err()
        {
            publisher.0.abort();
            // The counters are final once the publisher has ended.
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

/// Ends the receiver's events, however the task ends.
struct EndOfInbox(Arc<Shared>);

impl Drop for EndOfInbox {
    fn drop(&mut self) {
        self.0.inbox.end();
    }
}

/// The reason why [`RedisBus::check`] has not connected. The text is for people, not for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckError {
    text: String,
    is_final: bool,
}

impl CheckError {
    /// Whether no later attempt with the same URL can succeed until somebody changes the server's configuration.
    /// Otherwise the server cannot be reached at the moment, and [`RedisBus::open`] would keep trying.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.is_final
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for CheckError {}

/// The URL is not that of a Redis server, or asks for TLS while the `redis` crate was built without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl(String);

impl InvalidUrl {
    fn new(url: &str, error: &RedisError) -> Self {
        // Such a URL may be valid, and TLS missing.
        let is_tls = url.starts_with("rediss:");
        let expected = if is_tls { "" } else { "; expected redis://host:port" };
        Self(format!("{error}{expected}"))
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid Redis URL: {}", self.0)
    }
}

impl Error for InvalidUrl {}
