//! Where the messages of a channel go.

/// Both names in a heartbeat's envelope, and the end of its topic.
pub const HEARTBEAT: &str = "__heartbeat__";

/// The topics of a cluster: all of its nodes use the same prefix and namespace.
///
/// A topic is a name to be subscribed to as it is: a channel's may hold `*`, `?` and `[`, which
/// stand for themselves. (The Python, Go and Rust servers subscribe with patterns, and so receive
/// what goes to other channels that match; [`Envelope::accept`](super::Envelope::accept) tells.)
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
    /// Topics with a prefix, `pondsocket` by default, and a namespace, `default` by default. The
    /// JavaScript and Python servers let both be chosen, the Rust and Go ones only the namespace.
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

    /// The topic on which nodes say that they are alive.
    #[must_use]
    pub fn heartbeat(&self) -> String {
        [&self.start, HEARTBEAT].concat()
    }
}

impl Default for Topics {
    /// `pondsocket` and `default`.
    fn default() -> Self {
        Self::new("pondsocket", "default")
    }
}

/// An endpoint's path as topics and envelopes have it: without leading slashes.
#[must_use]
pub fn endpoint_name(path: &str) -> &str {
    path.trim_start_matches('/')
}
