//! The topics of a cluster.

/// The endpoint and channel name in a heartbeat's envelope, and the end of its topic.
pub const HEARTBEAT: &str = "__heartbeat__";

/// The names of a cluster's topics. All nodes of a cluster must use the same prefix and namespace.
///
/// Subscribe to a topic by its exact name: a channel's name may contain `*`, `?` and `[`, which stand
/// for themselves. (The Python, Go and Rust servers subscribe with patterns, so they also receive
/// messages of other channels that match; [`Envelope::accept`](super::Envelope::accept) filters
/// these.)
///
/// ```
/// use pondwire::distributed::Topics;
///
/// let topics = Topics::default();
/// assert_eq!(topics.channel("/api/socket", "/chat/42"), "pondsocket:v1:default:api/socket:/chat/42");
/// assert_eq!(topics.heartbeat(), "pondsocket:v1:default:__heartbeat__");
///
/// let topics = Topics::new("p", "staging");
/// assert_eq!(topics.channel("api/socket", "/chat/42"), "p:v1:staging:api/socket:/chat/42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topics {
    /// `<prefix>:v1:<namespace>:`
    start: Box<str>,
}

impl Topics {
    /// Topics with a prefix (by default `pondsocket`) and a namespace (by default `default`). The
    /// JavaScript and Python servers let users choose both, the Rust and Go ones only the namespace.
    #[must_use]
    pub fn new(prefix: &str, namespace: &str) -> Self {
        Self { start: format!("{prefix}:v1:{namespace}:").into() }
    }

    /// The topic of a channel: the endpoint's path without leading slashes, the channel's name
    /// verbatim.
    #[must_use]
    pub fn channel(&self, endpoint: &str, channel_name: &str) -> String {
        [&self.start, endpoint_name(endpoint), ":", channel_name].concat()
    }

    /// The topic for heartbeats.
    #[must_use]
    pub fn heartbeat(&self) -> String {
        [&self.start, HEARTBEAT].concat()
    }
}

impl Default for Topics {
    /// Prefix `pondsocket`, namespace `default`.
    fn default() -> Self {
        Self::new("pondsocket", "default")
    }
}

/// The form of an endpoint's path in topics and envelopes: without leading slashes.
#[must_use]
pub fn endpoint_name(path: &str) -> &str {
    path.trim_start_matches('/')
}
