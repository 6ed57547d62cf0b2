//! The options of a server, and their defaults.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use pondwire::{Limits, OutboxOptions, Policy, uuid};

use crate::authorize::Authorize;
use crate::rate_limit::Rate;

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
    /// The address to listen on, as `host:port`, for the program that binds the listener. `127.0.0.1:8080`.
    pub addr: String,
    /// The HTML page served at `/`. Without one, the default, `/` is answered 404. A [service](crate::PondService) has
    /// the paths of its endpoints only.
    pub page: Option<&'static str>,
    /// The most open connections of all kinds. One more is answered 503; but if some connection is waiting for a
    /// request, the one that has waited longest is closed instead. 20,000.
    ///
    /// [`PondServer::start`](crate::PondServer::start) raises the process's limit on open files, as far as the hard
    /// limit allows, to this number plus 128. If the hard limit is lower, there can be fewer connections, and a log
    /// line says so.
    pub connections: usize,
    /// The most open connections per IPv4 address, or per IPv6 /64 network; one more is answered 503. Half of
    /// [`connections`](Self::connections) by default, so that no address can have them all. Put the proxies in front of
    /// this server into [`trusted_proxies`](Self::trusted_proxies); otherwise all of their clients count as one.
    pub connections_per_address: usize,
    /// The networks of the proxies in front of this server, whose `X-Forwarded-For` is believed. None.
    ///
    /// Each proxy appends to the header the address that sent it the request. The client's address is the last one in
    /// the header that is not a trusted proxy's. It counts for
    /// [`connections_per_address`](Self::connections_per_address) once it opens a WebSocket or an event stream, and
    /// handlers see it, without a port. An entry that is not an address counts as no address, and ends the search. In
    /// requests from any other address the header is ignored. `Forwarded` (RFC 7239) is not supported.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether each connection from one of [`trusted_proxies`](Self::trusted_proxies) begins with a header of the PROXY
    /// protocol, version 1 or 2, before TLS and HTTP; for the server's own listener. `false`.
    ///
    /// It is for proxies that pass bytes on without reading them. The connection counts as one from the client that
    /// the header names: for [`connections_per_address`](Self::connections_per_address) at once, and handlers see the
    /// address with its port. If that client is itself a trusted proxy, its `X-Forwarded-For` is believed. A header
    /// that names no client (`LOCAL`, `UNKNOWN`) leaves the connection the proxy's own. If no valid header, of at most
    /// 4 KiB, arrives within [`Times::request`], the connection is closed. Connections from other addresses are read
    /// as if this were off: there the header is a malformed request.
    pub proxy_protocol: bool,
    /// The rate at which a client may send messages, pings, pongs and empty fragments: 1,000 a second and 2,000 at
    /// once, above any person, game or sensor. A connection that relays for many clients needs more.
    pub message_rate: Option<Rate>,
    /// The rate at which a client may send bytes. A message counts as it arrived or after inflation, whichever is more,
    /// and even if it is refused. On a WebSocket each frame counts 6 bytes more, for its head, also a ping or a pong; in
    /// a `POST` the size line of a chunk does, but not the request's head. Lists of users, and what
    /// [`Event::charge`](crate::Event::charge) is given, count as if the client had sent them. 1 MiB a second and 8 MiB
    /// at once.
    pub byte_rate: Option<Rate>,
    /// The most channels that a connection may be in. 128.
    pub channels: usize,
    /// The limits on the size and the nesting depth of a message. A larger one ends the connection.
    pub limits: Limits,
    /// The longest channel name in bytes. The server keeps the name for as long as the channel exists. 256.
    pub name_bytes: usize,
    /// The largest presence list of a channel, in bytes: a frame with it must fit into each member's
    /// outbox, beside others. A node counts the users of all nodes. 1 MiB.
    pub presence_bytes: usize,
    /// The least time between two presence frames of a channel. Changes in between are sent as one frame, the list
    /// as it is then with the last change. A long list waits longer, so that each member is sent at most a megabyte
    /// of presence per second. At zero each change is sent at once. 100 ms.
    pub presence_interval: Duration,
    /// The memory in bytes for what all clients make the server keep: frames that they have not read, the logs of
    /// channels, messages that have arrived in part or wait in a `POST` for their turn, presence (three times its bytes),
    /// the last broadcasts of channels, 3 KiB for each open channel, half a KiB for each member of one, what handlers
    /// assign (in a cluster twice), and what other nodes report of their users (three times its bytes, which are at most a
    /// quarter of this bound, and 256 MiB). The memory in use is compared with this bound ten
    /// times a second. A frame in several queues counts in each; but the bound counts as exceeded only if the whole process
    /// is as large, too (on Linux, where the system says how large it is). While it is exceeded, the connections
    /// with the longest queues end as slow ones, new connections are answered 503, and a partial message that grows
    /// beyond 64 KiB ends its connection. Then, and while all but the queues, logs and messages takes more than three
    /// quarters of it, joins, a presence that grows, assigns that grow and connections with assigns are refused with 503.
    /// 1 GiB.
    pub memory_bytes: usize,
    /// The most bytes that all channels together keep of their last broadcasts, for
    /// [`Join::catch_up`](crate::Join::catch_up). A broadcast that would exceed it is not kept, and the one before is
    /// forgotten: then a new member is sent none. At zero none is kept. 64 MiB.
    pub last_broadcast_bytes: usize,
    /// The most bytes that all channels together keep for members that come back; see
    /// [`ChannelHandlers::history`](crate::ChannelHandlers::history). When they would exceed it, a channel
    /// that keeps most, within a factor of two, drops its oldest broadcasts. 256 MiB.
    pub history_bytes: usize,
    /// The bounds of each connection's outbox, and what happens to a client that reads too slowly. By
    /// default the client is disconnected when 1,024 frames or 8 MiB are queued. These are larger than those of
    /// `OutboxOptions::new`: to change the policy alone, begin with `Options::default().waiting`.
    pub waiting: OutboxOptions,
    /// Timeouts.
    pub times: Times,
    /// The origins whose pages may connect, each as scheme, host and port, `https://its.page`. A client that is not
    /// a browser sends no origin, and is always allowed.
    ///
    /// Empty, the default, allows all pages. Then what browsers add to requests by themselves counts only for pages of
    /// the server's own host, so that no other page can act as a user who is logged in: cookies, and `Authorization` with
    /// the schemes `Basic`, `Digest`, `Negotiate` and `NTLM`. Pages of listed origins may send both. `Bearer` counts from
    /// everywhere. A client's certificate belongs to the connection, and what a proxy has made of any of these to the
    /// proxy: neither can be removed, so list the origins where they say who the user is. The same goes for
    /// event streams and their clients' requests, which browsers ask about (CORS): the answers allow
    /// any origin but no credentials, or the listed origin with them, any request header, and
    /// to read `X-Connection-ID`. If a handler [sets](crate::Connect::set_header) `Access-Control-Allow-Origin`, no
    /// such header is added to the response that opens a stream.
    pub origins: Vec<String>,
    /// Decides which clients may connect; without it, all may.
    pub authorize: Option<Authorize>,
    /// Whether `/echo` serves a WebSocket that echoes messages, for conformance suites. `false`.
    pub echo: bool,
    /// Whether frames are sent through Linux's io_uring if it is available. `true`.
    pub io_uring: bool,
    /// The algorithm by which TCP decides how fast to send, as Linux calls it: `cubic`, for instance. It is
    /// set on the listener that [`Server::serve`](crate::Server::serve) is given, and its connections inherit
    /// it; a server embedded in another does the same with its own listener. By default it is the system's.
    ///
    /// BBR sends at an even pace, for which the kernel sets a timer for each connection. Over loopback
    /// nothing is gained by that, and it may cost CPU time: a broadcast took between nothing and a tenth less
    /// with `cubic`. To distant clients over lossy paths BBR is often the faster one.
    ///
    /// [`PondServer::start`](crate::PondServer::start) fails if the kernel does not know the name or does not let this
    /// process use it (without `CAP_NET_ADMIN` only those in `net.ipv4.tcp_allowed_congestion_control`), and
    /// on other systems than Linux.
    pub congestion_control: Option<String>,
    /// The cluster that the server is a node of. Without it the server stands alone.
    pub node: Option<NodeOptions>,
}

/// The options of a node of a cluster.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The URL of the Redis server that the nodes share: `redis://[user[:password]@]host:port[/db]`, `rediss://` for
    /// TLS (feature `tls`; certificates are checked against the system's, or those in the file that the environment
    /// variable `SSL_CERT_FILE` names), or `redis+unix:///path[?user=…&pass=…]`.
    ///
    /// With several, each channel is on one of them, by a hash of its name: all nodes need the same list in the same
    /// order, and run this implementation.
    pub redis: Vec<String>,
    /// The prefix of this node's id, which must differ from the other nodes'. Random by default.
    pub node_id: String,
    /// The cluster's name: nodes of different namespaces form different clusters.
    pub namespace: String,
    /// The time between two heartbeats of this node. The other nodes consider it dead after three times as
    /// long, so all nodes need the same value. Not zero; more than eight hours count as eight. 30 s.
    pub heartbeat: Duration,
    /// The most messages queued for Redis; beyond them the oldest are dropped. 65,536.
    pub queue: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            redis: Vec::new(),
            node_id: uuid().to_string(),
            namespace: "default".to_owned(),
            heartbeat: Duration::from_secs(30),
            queue: 1 << 16,
        }
    }
}

/// Longer times count as this one, so that adding one to an `Instant` cannot overflow: a year.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Timeouts. None of [`request`](Self::request), [`keep_alive`](Self::keep_alive),
/// [`message_keep_alive`](Self::message_keep_alive) and [`ping`](Self::ping) may be zero, and [`pong`](Self::pong) may
/// not be longer than `ping`. Times above a year count as a year.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The time for a request's head, counted from the response to the previous request, and again the
    /// time for its body. 20 s.
    pub request: Duration,
    /// An event stream without a frame for this long is sent a comment, so that no proxy considers it
    /// dead. 30 s.
    pub keep_alive: Duration,
    /// The time between two keep-alive messages to each client: `SYSTEM` / `KEEP_ALIVE` on the channel `GATEWAY`,
    /// which no client shows to its application. With `None`, the default, no such message is sent, because pings
    /// keep connections alive.
    ///
    /// It is for clients for which only messages count as signs of life. One is the JavaScript client since 0.0.39, if
    /// it is given a `pingInterval`: without a message for twice that time it reconnects, on quiet channels again and
    /// again. Set this to at most its `pingInterval`. All clients are sent the same frame of 100 bytes.
    pub message_keep_alive: Option<Duration>,
    /// The time between two pings on a WebSocket. An event stream ends if its client has read nothing of what it is
    /// sent for this long, at the latest after twice this time; on Linux also if its client has vanished. 30 s.
    pub ping: Duration,
    /// The time after a ping within which the client must send something; at most `ping`. 10 s.
    pub pong: Duration,
    /// A client that sends no message for this long, or up to twice that, is disconnected. No limit.
    pub idle: Option<Duration>,
    /// The time to close a connection: to write its queued frames, and to read until the client has
    /// closed. 5 s.
    pub closing: Duration,
    /// The first phase of a stop by [`Server::serve`](crate::Server::serve): for this long the server goes on as before, except that `/readyz` is answered
    /// 503, so that load balancers send clients elsewhere before this server refuses them. Zero.
    pub unready: Duration,
    /// The second phase of a stop: within this time the WebSockets and event streams are closed, each at a random
    /// moment, so that their clients do not all reconnect at once. No more clients are accepted meanwhile. At zero,
    /// the default, all are closed at once.
    pub drain: Duration,
}

impl Times {
    /// These times, of which none is longer than [`LONGEST`].
    ///
    /// # Errors
    /// The text says which of them makes no sense.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let Self { request, keep_alive, message_keep_alive, ping, pong, .. } = self;
        for (name, time) in [("request", request), ("keep-alive", keep_alive), ("ping", ping)] {
            if time.is_zero() {
                return Err(format!("{name} time: zero"));
            }
        }
        if message_keep_alive.is_some_and(|time| time.is_zero()) {
            return Err("message keep-alive time: zero".to_owned());
        }
        if pong > ping {
            return Err("pong time: longer than the ping time".to_owned());
        }
        let bounded = |time: Duration| time.min(LONGEST);
        Ok(Self {
            request: bounded(request),
            keep_alive: bounded(keep_alive),
            message_keep_alive: message_keep_alive.map(bounded),
            ping: bounded(ping),
            pong: bounded(pong),
            idle: self.idle.map(bounded),
            closing: bounded(self.closing),
            unready: bounded(self.unready),
            drain: bounded(self.drain),
        })
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(20),
            keep_alive: Duration::from_secs(30),
            message_keep_alive: None,
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            idle: None,
            closing: Duration::from_secs(5),
            unready: Duration::ZERO,
            drain: Duration::ZERO,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:8080".to_owned(),
            page: None,
            connections: 20_000,
            connections_per_address: 10_000,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            message_rate: Some(Rate { per_second: 1000, burst: 2000 }),
            byte_rate: Some(Rate { per_second: 1 << 20, burst: 8 << 20 }),
            channels: 128,
            limits: Limits::default(),
            name_bytes: 256,
            presence_bytes: 1 << 20,
            presence_interval: Duration::from_millis(100),
            memory_bytes: 1 << 30,
            last_broadcast_bytes: 64 << 20,
            history_bytes: 256 << 20,
            // With this policy a publisher never waits for a slow reader, and a reader never gets a stream
            // with gaps.
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
            congestion_control: None,
            node: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A callback has no useful output, and a page is long.
        f.debug_struct("Options").field("addr", &self.addr).finish_non_exhaustive()
    }
}
