//! The options of a server, and their defaults.

use std::fmt;
use std::time::Duration;

use pondwire::{Limits, OutboxOptions, Policy, uuid};

use crate::authorize::Authorize;
use crate::rate_limit::Rate;

/// The path of WebSockets and event streams.
pub(crate) const ENDPOINT: &str = "/api/socket";

/// The options of a server.
///
/// ```
/// use pondwire_server::{Options, Rate};
///
/// let options = Options {
///     connections_per_address: 50,
///     message_rate: Rate::parse("20")?,
///     ..Options::default()
/// };
/// assert_eq!(options.message_rate, Some(Rate { per_second: 20, burst: 40 }));
/// # Ok::<(), &'static str>(())
/// ```
pub struct Options {
    /// Where to listen, as `host:port`: for the program that binds the listener. `127.0.0.1:8080`.
    pub addr: String,
    /// The page that is served at `/`, as HTML; without one, the default, `/` is not found.
    pub page: Option<&'static str>,
    /// The most connections of all kinds at once; one more is answered 503. 20,000.
    pub connections: usize,
    /// The most connections of one IPv4 address, or of one IPv6 network of 64 bits. No limit.
    pub connections_per_address: usize,
    /// The rate at which a client may send messages, pings, pongs and empty fragments. No limit.
    pub message_rate: Option<Rate>,
    /// The rate at which a client may send bytes of messages, inflated. The answer to `users`, and 1 KiB
    /// for each viewer that `simulate` adds, count as if the client had sent them. No limit.
    pub byte_rate: Option<Rate>,
    /// The most channels that a connection may be in. 128.
    pub channels: usize,
    /// The largest and the deepest message. A larger one ends the connection.
    pub limits: Limits,
    /// The longest name of a channel in bytes: the server keeps it for as long as the channel. 256.
    pub name_bytes: usize,
    /// The largest list of all who are present in a channel, in bytes: a frame of it must fit into each
    /// member's outbox, with others. A node counts its own users only. 1 MiB.
    pub presence_bytes: usize,
    /// The bounds of each connection's outbox, and what happens to a client that reads too slowly. By
    /// default it is disconnected when 1,024 frames or 8 MiB wait.
    pub waiting: OutboxOptions,
    /// Timeouts.
    pub times: Times,
    /// The pages that may connect, each as scheme, host and port; empty, the default, allows all. A
    /// client that is not a browser sends no origin, and is always allowed.
    pub origins: Vec<String>,
    /// Who may connect; without it, everybody.
    pub authorize: Option<Authorize>,
    /// Whether `/echo` is a WebSocket that sends messages back, for conformance suites. `false`.
    pub echo: bool,
    /// Whether frames are sent through Linux's io_uring where that can be had. `true`.
    pub io_uring: bool,
    /// The cluster to be a node of. Without it the server is alone.
    pub node: Option<NodeOptions>,
}

/// How a server is a node of a cluster.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The URL of the Redis that the nodes share: `redis://host:port`.
    pub redis: String,
    /// How this node's id begins, which must differ from the other nodes'. Random by default.
    pub node_id: String,
    /// The cluster's name: nodes of another namespace are another cluster.
    pub namespace: String,
    /// How often this node announces that it is alive. The others take it to be dead after three times
    /// as long, so all nodes need the same. 30 s.
    pub heartbeat: Duration,
    /// The most messages that wait for Redis; beyond them the oldest are dropped. 65,536.
    pub queue: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            redis: String::new(),
            node_id: uuid().to_string(),
            namespace: "default".to_owned(),
            heartbeat: Duration::from_secs(30),
            queue: 1 << 16,
        }
    }
}

/// Timeouts.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For a request's head, counted from the answer to the one before it, and for its body. 20 s.
    pub request: Duration,
    /// After so long without a frame an event stream gets a comment: a proxy might take it to be dead.
    /// 30 s.
    pub keep_alive: Duration,
    /// From one ping of a WebSocket to the next. 30 s.
    pub ping: Duration,
    /// From a ping until the client must have sent something; not longer than `ping`. 10 s.
    pub pong: Duration,
    /// After so long without a message, or up to twice that, a client is disconnected. No limit.
    pub idle: Option<Duration>,
    /// At the end: to write what waits and to read until the client has closed. 5 s.
    pub closing: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(20),
            keep_alive: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            idle: None,
            closing: Duration::from_secs(5),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:8080".to_owned(),
            page: None,
            connections: 20_000,
            connections_per_address: usize::MAX,
            message_rate: None,
            byte_rate: None,
            channels: 128,
            limits: Limits::default(),
            name_bytes: 256,
            presence_bytes: 1 << 20,
            // A publisher never waits for a slow reader, and a reader never gets a stream with a hole
            // in it.
            waiting: OutboxOptions::new()
                .with_policy(Policy::Disconnect { max_age: None })
                .with_max_frames(1024)
                .with_max_bytes(8 << 20)
                .with_max_control_frames(256)
                .with_max_control_bytes(2 << 20),
            times: Times::default(),
            origins: Vec::new(),
            authorize: None,
            echo: false,
            io_uring: true,
            node: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A callback has nothing to show, and a page is long.
        f.debug_struct("Options").field("addr", &self.addr).finish_non_exhaustive()
    }
}
