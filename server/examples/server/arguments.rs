//! The command line: options of the library by name, and secrets from the environment or a file.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use pondwire::Policy;
use pondwire_server::{Authorize, IpNet, NodeOptions, Options, Rate, Times, by_token};

/// The options of the library that have a name on the command line.
#[derive(Parser)]
#[command(about = "A PondSocket server.")]
struct Arguments {
    /// Address to listen on; port 0: any free port
    #[arg(long, value_name = "HOST:PORT", default_value_t = defaults().addr)]
    addr: String,
    /// Serve /echo, which echoes messages, for conformance tests
    #[arg(long)]
    echo: bool,
    /// Refuse the events `evict` and `simulate`, which any member of a channel may send otherwise
    #[arg(long)]
    public: bool,
    /// Use one system call for each write
    #[arg(long)]
    no_io_uring: bool,
    /// TCP's congestion control (Linux): cubic, bbr, reno, or the system's
    #[arg(long, value_name = "NAME", default_value = "system")]
    congestion: String,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    timeouts: Timeouts,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    cluster: Cluster,
}

/// A command line.
pub(crate) struct Parsed {
    pub(crate) options: Options,
    /// The files of the certificates and of the key to serve HTTPS with.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Whether the application refuses what not every member should do.
    pub(crate) public: bool,
}

/// Bounds of connections and clients.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Open connections of all kinds; 0: no limit
    #[arg(long, value_name = "N", default_value_t = Most(defaults().connections))]
    connections: Most,
    /// The same per address
    #[arg(long, value_name = "N", default_value_t = Most(defaults().connections_per_address))]
    connections_per_address: Most,
    /// A proxy in front of this server, or a network of them, as 10.0.0.0/8, whose X-Forwarded-For is believed;
    /// repeatable
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// Connections from trusted proxies begin with a header of the PROXY protocol, version 1 or 2
    #[arg(long, requires = "trusted_proxy")]
    proxy_protocol: bool,
    /// Messages per second and client; the burst is twice as many without BURST; 0: no limit
    #[arg(long, value_name = "N[:BURST]", default_value_t = AnyRate(defaults().message_rate))]
    message_rate: AnyRate,
    /// Bytes per second and client, likewise
    #[arg(long, value_name = "N[:BURST]", default_value_t = AnyRate(defaults().byte_rate))]
    byte_rate: AnyRate,
    /// Channels that a client may be in
    #[arg(long, value_name = "N", default_value_t = Count(defaults().channels))]
    channels: Count,
    /// The largest message in bytes
    #[arg(long, value_name = "N", default_value_t = Count(defaults().limits.max_bytes))]
    message_bytes: Count,
    /// The longest channel name in bytes
    #[arg(long, value_name = "N", default_value_t = Count(defaults().name_bytes))]
    name_bytes: Count,
    /// The largest presence list of a channel, in bytes
    #[arg(long, value_name = "N", default_value_t = Count(defaults().presence_bytes))]
    presence_bytes: Count,
    /// Memory in bytes for what all clients have not read or not sent as a whole, and for what channels keep
    #[arg(long, value_name = "N", default_value_t = Count(defaults().memory_bytes))]
    memory_bytes: Count,
    /// The most bytes of that for the last broadcasts of channels
    #[arg(long, value_name = "N", default_value_t = defaults().last_broadcast_bytes)]
    last_broadcast_bytes: usize,
    /// What happens to slow readers
    #[arg(long, value_name = "POLICY", default_value = POLICIES[0],
        value_parser = PossibleValuesParser::new(POLICIES).map(|name| policy(&name)))]
    slow: Policy,
    /// Frames queued for one client before that
    #[arg(long, value_name = "N", default_value_t = Count(defaults().waiting.max_frames))]
    waiting_frames: Count,
    /// Bytes queued for one client before that
    #[arg(long, value_name = "N", default_value_t = Count(defaults().waiting.max_bytes))]
    waiting_bytes: Count,
}

/// Bounds in time.
#[derive(Args)]
#[command(next_help_heading = "Timeouts")]
struct Timeouts {
    /// For a request to arrive
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.request))]
    request_time: Seconds,
    /// Until an idle event stream gets a comment
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.keep_alive))]
    keep_alive_time: Seconds,
    /// Between two messages to clients that count only messages; 0: none
    #[arg(long = "message-time", value_name = "SECONDS", default_value_t = Seconds(Duration::ZERO))]
    message_keep_alive_time: Seconds,
    /// Between two pings
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.ping))]
    ping_time: Seconds,
    /// After a ping, for the client to send something
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.pong))]
    pong_time: Seconds,
    /// Without a message; 0: no limit
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.idle.unwrap_or_default()))]
    idle_time: Seconds,
    /// To send queued frames when closing
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.closing))]
    closing_time: Seconds,
    /// At the end, during which only /readyz says that no more clients are welcome
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.unready))]
    unready_time: Seconds,
    /// After that, during which the connections are closed one after another
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(defaults().times.drain))]
    drain_time: Seconds,
}

/// Who may connect.
#[derive(Args)]
#[command(next_help_heading = "Access")]
struct Access {
    /// An origin whose pages may connect, as https://example.com; repeatable; without one, all may
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// Required of clients and for /metrics: ?token=, a cookie, or Bearer. Other users of this machine see arguments
    #[arg(long, env = "PONDWIRE_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file with the token; whitespace around it is ignored
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
}

/// Encryption without a proxy.
#[derive(Args)]
#[command(next_help_heading = "TLS, if built with the feature `tls`")]
struct Tls {
    /// Serve HTTPS and wss:// with the certificate in this file, followed by those of its issuers, in the PEM format
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The file of its private key
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// The cluster that the server is a node of.
#[derive(Args)]
#[command(next_help_heading = "Cluster")]
struct Cluster {
    /// URL of the Redis of the cluster to join as a node, redis://[USER:PASSWORD@]HOST:PORT; rediss:// for TLS,
    /// redis+unix:///PATH?pass=PASSWORD. Several, which share the channels, after commas
    #[arg(
        long,
        value_name = "URL",
        env = "PONDWIRE_REDIS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    redis: Vec<String>,
    /// Prefix of this node's id [default: random]
    #[arg(long, value_name = "ID", requires = "redis")]
    node_id: Option<String>,
    /// Nodes of one namespace form a cluster [default: default]
    #[arg(long, value_name = "NAME", requires = "redis")]
    namespace: Option<String>,
    /// Between heartbeats, from 0.01 to 86400; a node is dead after three [default: 30]
    #[arg(long, value_name = "SECONDS", requires = "redis", value_parser = heartbeat)]
    heartbeat: Option<Duration>,
    /// Messages that may be queued for Redis [default: 65536]
    #[arg(long, value_name = "N", requires = "redis")]
    queue: Option<Count>,
}

/// Parses a command line, of which the first word is the program's name. The environment variables
/// `PONDWIRE_TOKEN` and `PONDWIRE_REDIS` stand for `--token` and `--redis`.
///
/// # Errors
/// An argument is invalid or `--help` is asked for: [`clap::Error::exit`] prints it.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(line)?;
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    let tls = arguments.tls.tls_cert.take().zip(arguments.tls.tls_key.take());
    let public = arguments.public;
    let options = arguments.into_options();
    let options = options.map_err(|why| command.error(ErrorKind::ValueValidation, why))?;
    Ok(Parsed { options, tls, public })
}

impl Arguments {
    fn into_options(self) -> Result<Options, String> {
        let Self { limits, timeouts, access, .. } = self;
        let times = timeouts.times()?;
        let default = defaults();
        Ok(Options {
            addr: self.addr,
            connections: limits.connections.0,
            connections_per_address: limits.connections_per_address.0,
            trusted_proxies: limits.trusted_proxy,
            proxy_protocol: limits.proxy_protocol,
            message_rate: limits.message_rate.0,
            byte_rate: limits.byte_rate.0,
            channels: limits.channels.0,
            limits: default.limits.with_max_bytes(limits.message_bytes.0),
            name_bytes: limits.name_bytes.0,
            presence_bytes: limits.presence_bytes.0,
            memory_bytes: limits.memory_bytes.0,
            last_broadcast_bytes: limits.last_broadcast_bytes,
            waiting: default
                .waiting
                .with_policy(limits.slow)
                .with_max_frames(limits.waiting_frames.0)
                .with_max_bytes(limits.waiting_bytes.0),
            times,
            authorize: access.authorize()?,
            origins: access.origin,
            echo: self.echo,
            io_uring: !self.no_io_uring,
            congestion_control: Some(self.congestion).filter(|name| name != "system"),
            node: self.cluster.node(),
            ..default
        })
    }
}

impl Timeouts {
    fn times(&self) -> Result<Times, String> {
        if self.pong_time.0 > self.ping_time.0 {
            return Err("--pong-time: longer than --ping-time".to_owned());
        }
        Ok(Times {
            request: self.request_time.0,
            keep_alive: self.keep_alive_time.0,
            message_keep_alive: Some(self.message_keep_alive_time.0).filter(|time| !time.is_zero()),
            ping: self.ping_time.0,
            pong: self.pong_time.0,
            idle: Some(self.idle_time.0).filter(|time| !time.is_zero()),
            closing: self.closing_time.0,
            unready: self.unready_time.0,
            drain: self.drain_time.0,
        })
    }
}

impl Access {
    fn authorize(&self) -> Result<Option<Authorize>, String> {
        let (name, token) = match (&self.token_file, &self.token) {
            (Some(path), _) => {
                let text = fs::read_to_string(path);
                let text = text.map_err(|error| format!("--token-file: {error}"))?;
                ("--token-file", text.trim().to_owned())
            }
            (None, Some(token)) => ("--token", token.clone()),
            (None, None) => return Ok(None),
        };
        by_token(token).map(Some).map_err(|why| format!("{name}: {why}"))
    }
}

impl Cluster {
    fn node(self) -> Option<NodeOptions> {
        let default = NodeOptions::default();
        (!self.redis.is_empty()).then(|| NodeOptions {
            redis: self.redis,
            node_id: self.node_id.unwrap_or(default.node_id),
            namespace: self.namespace.unwrap_or(default.namespace),
            heartbeat: self.heartbeat.unwrap_or(default.heartbeat),
            queue: self.queue.map_or(default.queue, |queue| queue.0),
        })
    }
}

fn defaults() -> Options {
    Options::default()
}

/// A number from 1 on.
#[derive(Clone, Copy)]
struct Count(usize);

/// A number, where 0 means no limit.
#[derive(Clone, Copy)]
struct Most(usize);

/// A rate, where 0 means no limit.
#[derive(Clone, Copy)]
struct AnyRate(Option<Rate>);

/// A time.
#[derive(Clone, Copy)]
struct Seconds(Duration);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let count = text.parse().ok().filter(|&count| count > 0);
        count.map(Self).ok_or("expected a number from 1")
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Most {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let most: usize = text.parse().map_err(|_| "expected a number")?;
        Ok(Self(if most == 0 { usize::MAX } else { most }))
    }
}

impl Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == usize::MAX { f.write_str("0") } else { self.0.fmt(f) }
    }
}

impl FromStr for AnyRate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Rate::parse(text).map(Self)
    }
}

impl Display for AnyRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Rate { per_second, burst }) => write!(f, "{per_second}:{burst}"),
            None => f.write_str("0"),
        }
    }
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = text.parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
        time.map(Self).ok_or("expected seconds")
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

/// A network, or an address as a network of one.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "expected an address, or a network as 10.0.0.0/8".to_owned())
}

fn heartbeat(text: &str) -> Result<Duration, &'static str> {
    let in_range = |time: &Duration| (0.01..=86_400.0).contains(&time.as_secs_f64());
    let time = text.parse().ok().map(|Seconds(time)| time).filter(in_range);
    time.ok_or("expected seconds, from 0.01 to 86400")
}

const POLICIES: [&str; 4] = ["disconnect", "drop-oldest", "drop-newest", "conflate"];

/// The policy of one of [`POLICIES`].
fn policy(name: &str) -> Policy {
    match name {
        "drop-oldest" => Policy::DropOldest,
        "drop-newest" => Policy::DropNewest,
        "conflate" => Policy::Conflate,
        _ => Policy::Disconnect { max_age: None },
    }
}
