//! One server's turn: the server starts, all clients join, and each message goes to all of them.

use std::io;
use std::time::{Duration, Instant};

use crate::contenders::Contender;
use crate::crowd::Crowd;
use crate::message::Message;
use crate::process::{self, Server};

/// The least number of bursts before anything is measured, and the least time for them.
const WARM_UP_BURSTS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(300);

/// The least number of measured bursts; with fewer a percentile would mean nothing.
const LEAST_BURSTS: usize = 20;

#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) clients: usize,
    pub(crate) bytes: usize,
    pub(crate) in_flight: usize,
    /// Further clients, which join and then read nothing.
    pub(crate) stuck: usize,
}

/// The results of a turn. Times of a delivery are in µs, those of a fan-out in ms.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) deliveries_per_second: f64,
    pub(crate) server_cpu: f64,
    /// The CPU time of the clients, which must not be the bottleneck of the race.
    pub(crate) crowd_cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// The peak memory of a connection in KiB.
    pub(crate) memory: f64,
    /// Deliveries in a million that arrived before a message that was sent earlier.
    pub(crate) out_of_order: f64,
}

pub(crate) fn race(contender: &Contender, case: Case, seconds: f64) -> io::Result<Outcome> {
    let server = Server::start(contender.command())?;
    let mut crowd = Crowd::gather(server.addr, contender.protocol, case.clients)?;
    let _stuck = Crowd::gather(server.addr, contender.protocol, case.stuck)?;
    let mut said = 0;
    let mut burst = |crowd: &mut Crowd| {
        let numbers = said..said + case.in_flight as u64;
        said = numbers.end;
        let messages: Vec<Message> = numbers.map(|n| Message::new(n, case.bytes)).collect();
        crowd.burst(&messages)
    };

    let start = Instant::now();
    for bursts in 0.. {
        if bursts >= WARM_UP_BURSTS && start.elapsed() >= WARM_UP {
            break;
        }
        burst(&mut crowd)?;
    }

    let seconds = Duration::from_secs_f64(seconds);
    crowd.out_of_order = 0;
    let mut took: Vec<Duration> = Vec::new();
    let (server_before, crowd_before) = (server.cpu()?, process::cpu("self")?);
    let start = Instant::now();
    while start.elapsed() < seconds || took.len() < LEAST_BURSTS * case.in_flight {
        took.extend(burst(&mut crowd)?);
    }
    let elapsed = start.elapsed();
    let server_cpu = server.cpu()? - server_before;
    let crowd_cpu = process::cpu("self")? - crowd_before;

    took.sort_unstable();
    let deliveries = (took.len() * crowd.len()) as f64;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries;
    let percentile = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    Ok(Outcome {
        deliveries_per_second: deliveries / elapsed.as_secs_f64(),
        server_cpu: each(server_cpu),
        crowd_cpu: each(crowd_cpu),
        p50: percentile(50),
        p99: percentile(99),
        memory: memory(&server, crowd.len())?,
        out_of_order: crowd.out_of_order as f64 * 1e6 / deliveries,
    })
}

/// The results for connections that join and are silent.
pub(crate) struct Idle {
    /// The time until all had joined, in seconds.
    pub(crate) seconds: f64,
    /// The CPU time of the server until then, in µs for each connection.
    pub(crate) server_cpu: f64,
    /// The peak memory of a connection in KiB.
    pub(crate) memory: f64,
}

/// Joins `clients` connections, then checks that all are still connected: one message must reach
/// all.
pub(crate) fn idle(contender: &Contender, clients: usize) -> io::Result<Idle> {
    let server = Server::start(contender.command())?;
    let (before, start) = (server.cpu()?, Instant::now());
    let mut crowd = Crowd::gather(server.addr, contender.protocol, clients)?;
    let seconds = start.elapsed().as_secs_f64();
    let server_cpu = (server.cpu()? - before).as_secs_f64() * 1e6 / clients as f64;
    let memory = memory(&server, clients)?;
    crowd.burst(&[Message::new(0, 64)])?;
    Ok(Idle { seconds, server_cpu, memory })
}

fn memory(server: &Server, clients: usize) -> io::Result<f64> {
    Ok(server.peak()? as f64 / 1024.0 / clients as f64)
}
