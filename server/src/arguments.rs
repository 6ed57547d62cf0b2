//! Options from the arguments of a command line.

use std::fmt::Write;
use std::time::Duration;

use pondwire::Policy;

use crate::authorize::by_token;
use crate::options::{NodeOptions, Options};
use crate::rate_limit::Rate;

impl Options {
    /// Parses command-line arguments, without the program's name; [`help`] lists them.
    ///
    /// ```
    /// use pondwire_server::Options;
    ///
    /// let arguments = ["--addr", "0.0.0.0:80", "--idle-time", "600"].map(str::to_owned);
    /// let options = Options::parse(arguments.into_iter())?;
    /// assert_eq!(options.times.idle.unwrap().as_secs(), 600);
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// An argument is invalid; the text names it and the reason.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
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
            "--congestion" => self.congestion_control = Some(value).filter(|name| name != "system"),
            "--token" => self.authorize = Some(by_token(value)?),
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

/// The text of `--help`: one line per option, with its default.
pub fn help() -> String {
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
        ("--addr", addr, "address to listen on; port 0: any free port"),
        ("--connections", connections.to_string(), "open connections of all kinds; 0: no limit"),
        (
            "--connections-per-address",
            "0".to_owned(),
            "the same per address; behind a proxy all share its address",
        ),
        (
            "--message-rate",
            "0".to_owned(),
            "messages per second and client, N or N:BURST; 0: no limit",
        ),
        ("--byte-rate", "0".to_owned(), "bytes per second, likewise"),
        ("--channels", channels.to_string(), "channels that a client may be in"),
        ("--message-bytes", limits.max_bytes.to_string(), "the largest message in bytes"),
        ("--name-bytes", name_bytes.to_string(), "the longest channel name in bytes"),
        (
            "--presence-bytes",
            presence_bytes.to_string(),
            "the largest presence list of a channel, in bytes",
        ),
        (
            "--slow",
            "disconnect".to_owned(),
            "for slow readers; or drop-oldest, drop-newest, conflate",
        ),
        (
            "--waiting-frames",
            waiting.max_frames.to_string(),
            "frames queued for one client before that",
        ),
        ("--waiting-bytes", waiting.max_bytes.to_string(), "likewise"),
        ("--request-time", seconds(times.request), "seconds for a request to arrive"),
        (
            "--keep-alive-time",
            seconds(times.keep_alive),
            "seconds until an idle event stream gets a comment",
        ),
        ("--ping-time", seconds(times.ping), "seconds between two pings"),
        (
            "--pong-time",
            seconds(times.pong),
            "seconds after a ping for the client to send something",
        ),
        ("--idle-time", "0".to_owned(), "seconds without a message; 0: no limit"),
        ("--closing-time", seconds(times.closing), "seconds to send queued frames when closing"),
        ("--origin", "all".to_owned(), "https://example.com whose pages may connect; repeatable"),
        ("--token", "none".to_owned(), "required of clients: ?token=, a cookie, or Bearer"),
        ("--congestion", "system".to_owned(), "TCP's congestion control (Linux): cubic, bbr, reno"),
        ("--redis", "none".to_owned(), "redis://host:port of the cluster to join as a node"),
        ("--node-id", "random".to_owned(), "prefix of this node's id"),
        ("--namespace", "default".to_owned(), "nodes of one namespace form a cluster"),
        ("--heartbeat", "30".to_owned(), "seconds between heartbeats; a node is dead after three"),
        ("--queue", "65536".to_owned(), "messages that may be queued for Redis"),
    ] {
        let _ = writeln!(text, "  {option:<26}{default:<16}{what}");
    }
    text.push_str(
        "  --echo                    no value        /echo echoes messages, for conformance tests\n  \
           --no-io-uring             no value        one system call for each write\n",
    );
    text
}

fn count(value: &str) -> Result<usize, &'static str> {
    value.parse().ok().filter(|&count| count > 0).ok_or("expected a number from 1")
}

/// Parses a number, where 0 means no limit.
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
