//! What the command line sets, and what holds without it.

use std::fmt::Write;
use std::time::Duration;

use pondwire::{Limits, OutboxOptions, Policy, uuid};

use super::access::{self, Authorize};
use super::allowance::Rate;

/// What a server is started with. Tests have less time, and less of everything.
pub(crate) struct Options {
    /// Where to listen.
    pub(crate) addr: String,
    /// How many connections of all kinds there may be at once; one more is answered 503.
    pub(crate) connections: usize,
    /// How many of them may come from one IPv4 address, or from one IPv6 network of 64 bits.
    pub(crate) connections_per_address: usize,
    /// How many messages, pings, pongs and fragments without bytes a client may send.
    pub(crate) message_rate: Option<Rate>,
    /// How many bytes of messages, inflated, a client may send. The answer to `users`, and 1 KiB for
    /// each viewer that `simulate` brings, count as if it had sent them.
    pub(crate) byte_rate: Option<Rate>,
    /// How many channels a connection may be in.
    pub(crate) channels: usize,
    /// How large and how deep a message may be. A larger one ends the connection.
    pub(crate) limits: Limits,
    /// How long a channel's name may be, in bytes: it is kept for as long as the channel.
    pub(crate) name_bytes: usize,
    /// How large the list of all who are present in a channel may be, in bytes: a frame of it must
    /// fit into everybody's outbox, with others. A node counts its own users only.
    pub(crate) presence_bytes: usize,
    /// What may wait for a connection, and what happens when it would be more.
    pub(crate) waiting: OutboxOptions,
    pub(crate) times: Times,
    /// The pages that may connect, by scheme, host and port; all when there are none. Who is no
    /// browser says no origin, and may always.
    pub(crate) origins: Vec<String>,
    /// Who may connect; everybody where there is none.
    pub(crate) authorize: Option<Authorize>,
    /// Whether a WebSocket at `/echo` gets back what it sends.
    pub(crate) echo: bool,
    /// Whether WebSockets are written to through io_uring, where there is one.
    pub(crate) io_uring: bool,
    /// What kind of node to be, in a cluster.
    pub(crate) node: Option<NodeOptions>,
}

/// What kind of node to be.
pub(crate) struct NodeOptions {
    pub(crate) redis: String,
    /// Another one on every node.
    pub(crate) node_id: String,
    /// Nodes of another one are another cluster.
    pub(crate) namespace: String,
    /// The others are told so often that this node is alive. One that is not heard for three times as
    /// long is dead, so all need the same.
    pub(crate) heartbeat: Duration,
    /// As many messages may wait for Redis. Of more the oldest are dropped.
    pub(crate) queue: usize,
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

/// How long things take.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// The head of a request, counted from the answer to the one before it, and its body.
    pub(crate) request: Duration,
    /// Nothing is sent for so long on an event stream, then a comment: a proxy between might take it
    /// for dead.
    pub(crate) keep_alive: Duration,
    /// A WebSocket is pinged so often.
    pub(crate) ping: Duration,
    /// So long after a ping the client must have sent something. Not longer than `ping`.
    pub(crate) pong: Duration,
    /// A client without a message for so long, or up to twice that, is let go.
    pub(crate) idle: Option<Duration>,
    /// The end: to write what is left and to read until the client has closed.
    pub(crate) closing: Duration,
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
            connections: 20_000,
            connections_per_address: usize::MAX,
            message_rate: None,
            byte_rate: None,
            channels: 128,
            limits: Limits::default(),
            name_bytes: 256,
            presence_bytes: 1 << 20,
            // Whoever publishes never waits for a slow reader, and a reader never gets a stream with
            // a hole in it.
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

impl Options {
    /// # Errors
    /// What is wrong with the arguments.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = arguments.next() {
            if name == "--echo" {
                options.echo = true;
                continue;
            }
            if name == "--no-io-uring" {
                options.io_uring = false;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name}: unknown, or no value"))?;
            options.set(&name, value).map_err(|why| format!("{name}: {why}"))?;
        }
        if options.times.pong > options.times.ping {
            return Err("--pong-time: longer than --ping-time".to_owned());
        }
        if options.node.as_ref().is_some_and(|node| node.redis.is_empty()) {
            return Err(
                "--node-id, --namespace, --heartbeat and --queue go with --redis".to_owned()
            );
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), &'static str> {
        let times = &mut self.times;
        match name {
            "--addr" => self.addr = value,
            "--connections" => self.connections = some_or_all(&value)?,
            "--connections-per-address" => self.connections_per_address = some_or_all(&value)?,
            "--message-rate" => self.message_rate = Rate::parse(&value)?,
            "--byte-rate" => self.byte_rate = Rate::parse(&value)?,
            "--channels" => self.channels = count(&value)?,
            "--message-bytes" => self.limits.max_bytes = count(&value)?,
            "--name-bytes" => self.name_bytes = count(&value)?,
            "--presence-bytes" => self.presence_bytes = count(&value)?,
            "--slow" => self.waiting.policy = policy(&value)?,
            "--waiting-frames" => self.waiting.max_frames = count(&value)?,
            "--waiting-bytes" => self.waiting.max_bytes = count(&value)?,
            "--request-time" => times.request = seconds(&value)?,
            "--keep-alive-time" => times.keep_alive = seconds(&value)?,
            "--ping-time" => times.ping = seconds(&value)?,
            "--pong-time" => times.pong = seconds(&value)?,
            "--idle-time" => times.idle = Some(seconds(&value)?).filter(|time| !time.is_zero()),
            "--closing-time" => times.closing = seconds(&value)?,
            "--origin" => self.origins.push(value),
            "--token" => self.authorize = Some(access::by_token(value)?),
            _ => return self.node.get_or_insert_default().set(name, value),
        }
        Ok(())
    }
}

impl NodeOptions {
    fn set(&mut self, name: &str, value: String) -> Result<(), &'static str> {
        match name {
            "--redis" => self.redis = value,
            "--node-id" => self.node_id = value,
            "--namespace" => self.namespace = value,
            "--heartbeat" => {
                let in_range = |time: &Duration| (0.01..=86_400.0).contains(&time.as_secs_f64());
                let heartbeat = seconds(&value).ok().filter(in_range);
                self.heartbeat = heartbeat.ok_or("expected seconds, from 0.01 to 86400")?;
            }
            "--queue" => self.queue = count(&value)?,
            _ => return Err("no such option"),
        }
        Ok(())
    }
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    let Options {
        addr,
        connections,
        channels,
        limits,
        name_bytes,
        presence_bytes,
        waiting,
        times,
        ..
    } = Options::default();
    let seconds = |time: Duration| time.as_secs().to_string();
    let mut text = "usage: server [OPTION VALUE]...\n\n".to_owned();
    for (option, default, what) in [
        ("--addr", addr, "where to listen; port 0: any free one"),
        ("--connections", connections.to_string(), "at once, of all kinds; 0: no limit"),
        (
            "--connections-per-address",
            "0".to_owned(),
            "the same from one address; behind a proxy all come from one",
        ),
        (
            "--message-rate",
            "0".to_owned(),
            "messages per second, N or N:BURST, of each client; 0: no limit",
        ),
        ("--byte-rate", "0".to_owned(), "bytes per second, likewise"),
        ("--channels", channels.to_string(), "that a client may be in"),
        ("--message-bytes", limits.max_bytes.to_string(), "the largest message"),
        ("--name-bytes", name_bytes.to_string(), "the longest name of a channel"),
        ("--presence-bytes", presence_bytes.to_string(), "the list of all who are present"),
        (
            "--slow",
            "disconnect".to_owned(),
            "or drop-oldest, drop-newest, conflate: who reads too slowly",
        ),
        ("--waiting-frames", waiting.max_frames.to_string(), "for one client before that"),
        ("--waiting-bytes", waiting.max_bytes.to_string(), "likewise"),
        ("--request-time", seconds(times.request), "seconds for a request to come"),
        ("--keep-alive-time", seconds(times.keep_alive), "seconds of silence on an event stream"),
        ("--ping-time", seconds(times.ping), "seconds from one ping to the next"),
        ("--pong-time", seconds(times.pong), "seconds until something must have come"),
        ("--idle-time", "0".to_owned(), "seconds without a message; 0: no limit"),
        ("--closing-time", seconds(times.closing), "seconds to send what waits, at the end"),
        ("--origin", "all".to_owned(), "https://of.a.page that may connect; may be repeated"),
        ("--token", "none".to_owned(), "that clients must show: ?token=, a cookie, or Bearer"),
        ("--redis", "none".to_owned(), "redis://host:port of a cluster to be a node of"),
        ("--node-id", "random".to_owned(), "how this node's id begins"),
        ("--namespace", "default".to_owned(), "nodes of another one are another cluster"),
        ("--heartbeat", "30".to_owned(), "seconds; three times that without one is death"),
        ("--queue", "65536".to_owned(), "messages that may wait for Redis"),
    ] {
        let _ = writeln!(text, "  {option:<26}{default:<16}{what}");
    }
    text.push_str(
        "  --echo                    no value        /echo sends back, for conformance tests\n  \
           --no-io-uring             no value        one system call for each write\n",
    );
    text
}

fn count(value: &str) -> Result<usize, &'static str> {
    value.parse().ok().filter(|&count| count > 0).ok_or("expected a number from 1")
}

/// A number of which 0 means that there is no limit.
fn some_or_all(value: &str) -> Result<usize, &'static str> {
    match value.parse() {
        Ok(0) => Ok(usize::MAX),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a number"),
    }
}

fn seconds(value: &str) -> Result<Duration, &'static str> {
    let time = value.parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
    time.ok_or("expected seconds")
}

fn policy(value: &str) -> Result<Policy, &'static str> {
    match value {
        "disconnect" => Ok(Policy::Disconnect { max_age: None }),
        "drop-oldest" => Ok(Policy::DropOldest),
        "drop-newest" => Ok(Policy::DropNewest),
        "conflate" => Ok(Policy::Conflate),
        _ => Err("expected disconnect, drop-oldest, drop-newest or conflate"),
    }
}
