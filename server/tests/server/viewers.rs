//! The example `dashboard` with as many viewers as it is for: a measurement, and a check that none misses the newest
//! state. The server is a process of its own, or both together would need more files than one may have.
//!
//! `cargo test --release -p pondwire-server --test server viewers::ten -- --ignored --nocapture`

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use parking_lot::Mutex;
use pondwire_test_support::client::message;
use pondwire_test_support::websocket::{Opcode, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::examples::dashboard;
use crate::fixture::{Server, listening};

const VIEWERS: usize = 10_000;

/// The viewers of one address, as many as the example allows.
const OF_ONE: usize = 100;

/// How long they watch.
const WATCHED: Duration = Duration::from_secs(20);

/// Set for the process of the server.
const IS_SERVER: &str = "PONDWIRE_TEST_DASHBOARD";

/// Serves until its standard input ends, and publishes ten states a second.
#[test]
fn serve() {
    if env::var_os(IS_SERVER).is_none() {
        return;
    }
    let server = Server::start_app(dashboard::pond(), dashboard::options());
    let channel = server.server.channel("/dashboard/main").unwrap();
    let publisher = tokio::runtime::Runtime::new().unwrap();
    publisher.spawn(dashboard::publish(channel, Duration::from_millis(100)));
    server.serve_parent();
}

/// What all viewers have seen.
#[derive(Default)]
struct Seen {
    /// The newest tick of each, and one.
    last: Vec<u64>,
    states: u64,
    /// By tick, when it was first and last seen, and by how many.
    ticks: Vec<Option<(Instant, Instant, usize)>>,
}

impl Seen {
    fn add(&mut self, viewer: usize, tick: u64) {
        let last = &mut self.last[viewer];
        if *last == tick + 1 {
            // As `Join::catch_up` says of a broadcast at the moment of the join.
            return;
        }
        assert!(*last <= tick, "viewer {viewer} saw {tick} after {}", *last - 1);
        *last = tick + 1;
        self.states += 1;
        let index = usize::try_from(tick).unwrap();
        if self.ticks.len() <= index {
            self.ticks.resize(index + 1, None);
        }
        let now = Instant::now();
        let (_, until, count) = self.ticks[index].get_or_insert((now, now, 0));
        *until = now;
        *count += 1;
    }
}

/// Opens a WebSocket from one of many addresses of this machine, and joins.
async fn join(server: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let [_, _, high, low] = u32::try_from(number / OF_ONE).unwrap().to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 1, high, low + 1], 0)))?;
    let mut stream = socket.connect(server).await?;
    let head = "GET /api/socket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(stream.read_u8().await?);
    }
    assert!(response.starts_with(b"HTTP/1.1 101 "), "{}", response.escape_ascii());
    let join = message("JOIN_CHANNEL", "/dashboard/main", "JOIN_CHANNEL", "join", "{}");
    stream.write_all(&frame(Opcode::Text, true, join.as_bytes())).await?;
    Ok(stream)
}

/// Sees all states, for ever.
async fn watch(mut stream: TcpStream, viewer: usize, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        let mut from = 0;
        while let [first, len, rest @ ..] = &bytes[from..] {
            let (len, rest, head) = match (*len, rest) {
                (126, [high, low, rest @ ..]) => {
                    (usize::from(*high) << 8 | usize::from(*low), rest, 4)
                }
                (126, _) => break,
                (len, rest) => (usize::from(len), rest, 2),
            };
            let Some(payload) = rest.get(..len) else { break };
            match first {
                0x81 => {
                    let text = std::str::from_utf8(payload).unwrap();
                    if let Some((_, state)) = text.split_once("\"tick\":") {
                        let tick = state.split(',').next().unwrap().parse().unwrap();
                        seen.lock().add(viewer, tick);
                    }
                }
                0x89 => stream.write_all(&frame(Opcode::Pong, true, payload)).await?,
                _ => panic!("viewer {viewer} got {}", bytes[from..].escape_ascii()),
            }
            from += head + len;
        }
        bytes.drain(..from);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The CPU time of a process until now, in seconds, and its resident memory in MiB.
fn cost(process: u32) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    // Linux counts 100 ticks a second on all of these machines.
    ((ticks(11) + ticks(12)) / 100.0, kib / 1024.0)
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_viewers_see_the_newest_state() {
    rlimit::increase_nofile_limit(VIEWERS as u64 + 100).unwrap();
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "viewers::serve", "--nocapture"])
        .env(IS_SERVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (addr, _lines) = listening(process.stdout.take().unwrap());
    let empty = cost(process.id());
    let seen = Arc::new(Mutex::new(Seen { last: vec![0; VIEWERS], ..Seen::default() }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (began, at_once) = (Instant::now(), Arc::new(Semaphore::new(200)));
        let mut viewers = tokio::task::JoinSet::new();
        for viewer in 0..VIEWERS {
            let permit = Arc::clone(&at_once).acquire_owned().await.unwrap();
            let seen = Arc::clone(&seen);
            viewers.spawn(async move {
                let stream = join(addr, viewer).await?;
                drop(permit);
                watch(stream, viewer, &seen).await
            });
        }
        // None may end while it is waited for.
        let mut until = async |is_done: &dyn Fn(&Seen) -> bool| {
            let waiting = async {
                while !is_done(&seen.lock()) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::select! {
                waited = tokio::time::timeout(Duration::from_secs(120), waiting) => waited.unwrap(),
                ended = viewers.join_next() => panic!("a viewer has ended: {ended:?}"),
            }
        };
        until(&|seen| seen.last.iter().all(|last| *last > 0)).await;
        let joined = began.elapsed();
        let (before, states) = (cost(process.id()), seen.lock().states);
        let first = seen.lock().ticks.len();
        let watched = Instant::now();
        until(&|_| watched.elapsed() >= WATCHED).await;
        let (after, seconds) = (cost(process.id()), watched.elapsed().as_secs_f64());
        let states = seen.lock().states - states;
        let newest = seen.lock().ticks.len() as u64;
        until(&|seen| seen.last.iter().all(|last| *last >= newest)).await;
        let seen = seen.lock();
        let ticks = &seen.ticks[first..usize::try_from(newest).unwrap()];
        let whole = ticks.iter().flatten().filter(|tick| tick.2 == VIEWERS).count();
        let mut spread: Vec<_> = ticks
            .iter()
            .flatten()
            .map(|(first, last, _)| (*last - *first).as_secs_f64() * 1e3)
            .collect();
        spread.sort_by(f64::total_cmp);
        println!(
            "| {VIEWERS} | {:.1} | {} | {whole} | {:.0} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} |",
            joined.as_secs_f64(),
            ticks.len(),
            states as f64 / seconds,
            spread[spread.len() / 2],
            spread.last().unwrap(),
            (after.0 - before.0) / seconds,
            empty.1,
            after.1,
        );
    });
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
}
