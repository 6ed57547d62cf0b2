//! The options of the command line.

use crate::contenders::NAMES;
use crate::crowd::MOST_IN_FLIGHT;
use crate::message::LEAST;

pub(crate) const USAGE: &str =
    "usage: race [--all] [--clients N,…] [--bytes B,…] [--in-flight K,…] \
    [--servers NAME,…] [--other FILE] [--passes N] [--seconds S] [--stuck N] [--idle N] \
    [--markdown-out FILE]
servers: floor, floor-io_uring, pondwire, pondwire-no-io_uring, pondsocket-axum, axum, axum-batched, \
    tokio-websockets, fastwebsockets, ws, uws";

pub(crate) struct Options {
    pub(crate) servers: Vec<&'static str>,
    /// A second build of the example server that takes part.
    pub(crate) other: Option<String>,
    pub(crate) clients: Vec<usize>,
    /// The sizes of a message's payload in bytes.
    pub(crate) bytes: Vec<usize>,
    pub(crate) in_flight: Vec<usize>,
    /// The number of times that every server takes its turn; a figure is the median of the turns.
    pub(crate) passes: usize,
    /// The time for which a turn is measured, in seconds.
    pub(crate) seconds: f64,
    /// The number of further clients that read nothing.
    pub(crate) stuck: usize,
    /// The number of connections that join and are silent, instead of the race.
    pub(crate) idle: Option<usize>,
    pub(crate) markdown_out: Option<String>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            servers: NAMES.to_vec(),
            other: None,
            clients: vec![1000],
            bytes: vec![64, 4096],
            in_flight: vec![1, 8],
            passes: 3,
            seconds: 2.0,
            stuck: 0,
            idle: None,
            markdown_out: None,
        };
        while let Some(flag) = arguments.next() {
            if flag == "--all" {
                options.clients = vec![100, 1000, 5000];
                continue;
            }
            let value = arguments.next()?;
            match flag.as_str() {
                "--clients" => options.clients = numbers(&value, 1)?,
                "--bytes" => options.bytes = numbers(&value, LEAST)?,
                "--in-flight" => {
                    options.in_flight = numbers(&value, 1)?;
                    if options.in_flight.iter().any(|&n| n > MOST_IN_FLIGHT) {
                        return None;
                    }
                }
                "--servers" => options.servers = servers(&value)?,
                "--other" => options.other = Some(value),
                "--passes" => options.passes = value.parse().ok().filter(|&n| n > 0)?,
                "--seconds" => {
                    options.seconds = value.parse().ok().filter(|s| (0.0..=600.0).contains(s))?;
                }
                "--stuck" => options.stuck = value.parse().ok()?,
                "--idle" => options.idle = Some(value.parse().ok().filter(|&n| n > 0)?),
                "--markdown-out" => options.markdown_out = Some(value),
                _ => return None,
            }
        }
        Some(options)
    }

    /// The most connections that one server has.
    pub(crate) fn most_clients(&self) -> usize {
        self.stuck + self.idle.or_else(|| self.clients.iter().copied().max()).unwrap_or_default()
    }
}

fn numbers(list: &str, least: usize) -> Option<Vec<usize>> {
    list.split(',').map(|number| number.parse().ok().filter(|&n| n >= least)).collect()
}

fn servers(list: &str) -> Option<Vec<&'static str>> {
    list.split(',').map(|name| NAMES.into_iter().find(|known| *known == name)).collect()
}
