//! One client's flood must not starve a client of another channel: its messages are still answered.
//!
//! Each test floods a server of two workers from some connections for as long as a probe needs for its
//! round trips. No test asserts a latency: the flood ends by itself after [`FLOOD`], and the probe must
//! finish before, which it cannot if a connection can monopolize the workers.
//!
//! The figures of `profiles/records/fairness-*.md`:
//! `PONDWIRE_FAIRNESS_ROUNDS=2000 cargo test --release -p pondwire-server --test fairness -- --nocapture`

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};
use parking_lot::Mutex;

#[path = "server/fixture.rs"]
mod fixture;
use fixture::Server;
use pondwire_server::{Options, Times};
use pondwire_test_support::client::{Client, ROOM, message};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{self, Opcode, WebSocket, frame, get};

/// The probe's channel; floods are in [`ROOM`].
const QUIET: &str = "/chat/quiet";

/// How long a flood lasts if the probe does not finish.
const FLOOD: Duration = Duration::from_secs(60);

/// Connections of one flood.
const CONNECTIONS: usize = 2;

/// The server's workers: as many as a flood's connections, which could occupy them all.
const WORKERS: usize = 2;

/// How long a server that ends waits for its clients. Those that only read answer no close, so that each of their
/// servers waits for all of it.
const CLOSING: Duration = Duration::from_millis(500);

/// Only one flood runs at a time, or the figures would mix.
static ALONE: Mutex<()> = Mutex::new(());

/// The number of the probe's round trips: `PONDWIRE_FAIRNESS_ROUNDS`, or a default.
fn rounds() -> usize {
    std::env::var("PONDWIRE_FAIRNESS_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(100)
}

/// A running flood from some connections.
struct Flood {
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
}

struct Control {
    stopped: AtomicBool,
    /// Bytes that the server was sent.
    sent: AtomicU64,
    /// Connections that the server ended, each of which was replaced by another.
    ended: AtomicU64,
    until: Instant,
}

impl Control {
    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && Instant::now() < self.until
    }
}

/// The data that one connection of a flood sends.
struct Source {
    stream: TcpStream,
    /// Sent once.
    first: Vec<u8>,
    /// Sent over and over.
    again: Vec<u8>,
    /// The pause between two repetitions.
    pause: Duration,
}

impl Source {
    fn new(stream: TcpStream, again: Vec<u8>) -> Self {
        Self { stream, first: Vec::new(), again, pause: Duration::ZERO }
    }
}

impl Flood {
    /// Floods from `connections` connections, and replaces each that the server ends.
    fn start(connections: usize, open: impl Fn() -> Source + Send + Sync + 'static) -> Self {
        let control = Arc::new(Control {
            stopped: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            until: Instant::now() + FLOOD,
        });
        let open = Arc::new(open);
        let mut threads = Vec::new();
        for _ in 0..connections {
            let (control, open) = (Arc::clone(&control), Arc::clone(&open));
            threads.push(thread::spawn(move || {
                while control.goes_on() {
                    if pour(open(), &control).is_err() {
                        control.ended.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Self { control, threads }
    }

    fn is_over(&self) -> bool {
        !self.control.goes_on()
    }

    /// Waits until the server has read more than what its sockets hold.
    fn await_force(&self) {
        let connections = self.threads.len() as u64;
        while self.control.sent.load(Ordering::Relaxed) < connections * 1000 && !self.is_over() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.control.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends until the flood is over; reads and discards everything that the server sends.
fn pour(source: Source, control: &Control) -> std::io::Result<()> {
    let Source { mut stream, first, again, pause } = source;
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    let mut reader = stream.try_clone()?;
    reader.set_read_timeout(None)?;
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 256 << 10];
        while matches!(reader.read(&mut bytes), Ok(1..)) {}
    });
    let mut pieces = std::iter::once(first).chain(std::iter::repeat(again));
    let result = 'flood: loop {
        let Some(piece) = pieces.next() else { break Ok(()) };
        let mut rest = &piece[..];
        while !rest.is_empty() {
            if !control.goes_on() {
                break 'flood Ok(());
            }
            match stream.write(rest) {
                Ok(0) => break 'flood Err(std::io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    control.sent.fetch_add(sent as u64, Ordering::Relaxed);
                    rest = &rest[sent..];
                }
                // The server does not read faster than it chooses to.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => break 'flood Err(error),
            }
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    };
    let _ = stream.shutdown(Shutdown::Both);
    let _ = reader.join();
    result
}

/// The probe's measurements.
struct Seen {
    took: Vec<Duration>,
    metrics: Duration,
}

/// Measures round trips of a message to the probe's own channel, one after another, and an occasional
/// request for the metrics.
fn probe(server: SocketAddr, flood: Option<&Flood>) -> Seen {
    let is_over = || flood.is_some_and(Flood::is_over);
    let mut probe = Client::joined(server, QUIET);
    let mut seen = Seen { took: Vec::new(), metrics: Duration::ZERO };
    for round in 0..rounds() {
        let began = Instant::now();
        probe.send("BROADCAST", QUIET, "say", r#"{"text":"still here"}"#);
        let answer = probe.next_text();
        seen.took.push(began.elapsed());
        assert!(answer.contains("still here"));
        if round % 50 == 0 {
            let began = Instant::now();
            assert!(get(server, "/metrics").contains("pondwire_connections "));
            seen.metrics = seen.metrics.max(began.elapsed());
        }
        assert!(!is_over(), "the flood went on until it ended; the probe had {round} answers");
        thread::sleep(Duration::from_millis(1));
    }
    seen
}

/// Probes a server that `start` floods, and prints a row of the record.
fn check(name: &str, connections: usize, start: impl FnOnce(SocketAddr) -> Option<Flood>) {
    let _alone = ALONE.lock();
    // The floods are to arrive.
    let (connections_per_address, message_rate, byte_rate) = (usize::MAX, None, None);
    let times = Times { closing: CLOSING, ..Times::default() };
    let options =
        Options { connections_per_address, message_rate, byte_rate, times, ..Options::default() };
    let server = Server::start_on(WORKERS, options);
    let flood = start(server.addr);
    if let Some(flood) = &flood {
        flood.await_force();
    }
    let (began, sent) =
        (Instant::now(), |flood: &Flood| flood.control.sent.load(Ordering::Relaxed));
    let before = flood.as_ref().map_or(0, sent);
    let mut seen = probe(server.addr, flood.as_ref());
    seen.took.sort();
    let rate = (flood.as_ref().map_or(0, sent) - before) as f64 / began.elapsed().as_secs_f64();
    let at = |share: f64| seen.took[((seen.took.len() - 1) as f64 * share) as usize];
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let mut row = String::new();
    let _ = write!(
        row,
        "| {name} | {connections} | {:.3} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
        rate / 1e6,
        flood.as_ref().map_or(0, |flood| flood.control.ended.load(Ordering::Relaxed)),
        seen.took.len(),
        millis(at(0.5)),
        millis(at(0.99)),
        millis(at(1.0)),
        millis(seen.metrics),
    );
    println!("{row}");
    if let Some(flood) = &flood {
        assert!(sent(flood) > before, "the server reads the flood");
    }
}

/// A member of [`ROOM`] that is about to flood.
fn member(server: SocketAddr) -> TcpStream {
    Client::joined(server, ROOM).socket.into_stream()
}

/// Repeats these bytes until there are at least `least` of them.
fn repeated(bytes: &[u8], least: usize) -> Vec<u8> {
    bytes.repeat(least.div_ceil(bytes.len()))
}

fn text(message: &str) -> Vec<u8> {
    frame(Opcode::Text, true, message.as_bytes())
}

fn event(event: &str, payload: &str) -> Vec<u8> {
    text(&message("BROADCAST", ROOM, event, "f-1", payload))
}

/// A message to `ids` users that do not exist.
fn to_some(ids: usize, id: &str) -> String {
    let list = format!("\"{id}\",").repeat(ids);
    let payload = format!(r#"{{"ids":[{}]}}"#, list.trim_end_matches(','));
    message("BROADCAST", ROOM, "to-some", "f-1", &payload)
}

#[test]
fn quiet() {
    check("none", 0, |_| None);
}

#[test]
fn deflated_lists_of_recipients() {
    check("deflated `to-some` of 349,000 ids, 150 KB/s", 1, |server| {
        let message = to_some(349_000, "");
        let mut stream = Compress::new(Compression::best(), false);
        let mut payload = Vec::with_capacity(1 << 16);
        stream.compress_vec(message.as_bytes(), &mut payload, FlushCompress::Sync).unwrap();
        payload.truncate(payload.len() - 4);
        assert!(payload.len() < 1200, "{}", payload.len());
        let mut again = frame(Opcode::Text, true, &payload);
        again[0] |= 0x40;
        Some(Flood::start(1, move || {
            let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
            let (socket, _) = WebSocket::open_with(server, "/api/socket", offer).unwrap();
            let mut client = Client::greeted(socket);
            client.join(ROOM);
            let pause = Duration::from_micros(7500);
            Source { pause, ..Source::new(client.socket.into_stream(), again.clone()) }
        }))
    });
}

#[test]
fn lists_of_recipients() {
    check("`to-some` of 100,000 ids", CONNECTIONS, |server| {
        let again = text(&to_some(100_000, "abcdef"));
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn empty_fragments() {
    check("empty fragments", CONNECTIONS, |server| {
        let again = repeated(&frame(Opcode::Continuation, false, b""), 64 << 10);
        Some(Flood::start(CONNECTIONS, move || Source {
            first: frame(Opcode::Text, false, b"{"),
            ..Source::new(member(server), again.clone())
        }))
    });
}

#[test]
fn pings() {
    check("pings", CONNECTIONS, |server| {
        let again = repeated(&frame(Opcode::Ping, true, b"0123456789"), 64 << 10);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn pongs() {
    check("pongs", CONNECTIONS, |server| {
        let again = repeated(&frame(Opcode::Pong, true, b""), 64 << 10);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn joins_and_leaves() {
    check("join and leave", CONNECTIONS, |server| {
        let join = text(&message("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "f-1", "{}"));
        let leave = text(&message("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "f-1", "{}"));
        let again = repeated(&[join, leave].concat(), 64 << 10);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

/// Adds `members` members to [`ROOM`], each with a presence and assigns of `bytes` bytes; they read what
/// they are sent.
fn crowd(server: SocketAddr, members: usize, bytes: usize) {
    let big = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    for _ in 0..members {
        let mut client = Client::joined(server, ROOM);
        client.event("assign", &big);
        client.event("track", &big);
        let mut stream = client.socket.into_stream();
        stream.set_read_timeout(None).unwrap();
        thread::spawn(move || {
            let mut bytes = vec![0; 256 << 10];
            while matches!(stream.read(&mut bytes), Ok(1..)) {}
        });
    }
}

#[test]
fn presence_updates() {
    check("presence updates, 50 present", CONNECTIONS, |server| {
        crowd(server, 50, 200);
        let update = event("track", &format!(r#"{{"text":"{}"}}"#, "y".repeat(200)));
        let again = repeated(&update, 64 << 10);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn lists_of_users() {
    check("`users` of 50 with 4 KB each", CONNECTIONS, |server| {
        crowd(server, 50, 2000);
        let again = repeated(&event("users", "{}"), 4 << 10);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn crowds_of_viewers() {
    check("`simulate` of 1,000 viewers", CONNECTIONS, |server| {
        let again = repeated(&event("simulate", r#"{"viewers":1000}"#), 4 << 10);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn requests_of_an_event_stream() {
    check("POSTs of an event stream, 100,000 ids each", CONNECTIONS, |server| {
        let body = to_some(100_000, "abcdef");
        Some(Flood::start(CONNECTIONS, move || {
            // Its stream is read for as long as the flood lasts.
            let mut events = EventStream::joined(server, ROOM);
            let request = format!(
                "POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\
                 x-connection-id: {}\r\n\r\n{body}",
                body.len(),
                events.id
            );
            thread::spawn(move || while events.next_text_if_any().is_some() {});
            Source::new(websocket::connect(server), request.into_bytes())
        }))
    });
}

#[test]
fn large_messages() {
    check("1 MiB messages to 10 members", CONNECTIONS, |server| {
        crowd(server, 10, 10);
        let payload = format!(r#"{{"text":"{}"}}"#, "z".repeat((1 << 20) - 300));
        let again = event("say", &payload);
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn large_messages_to_members_that_deflate() {
    check("1 MiB messages to 10 members, compressed", CONNECTIONS, |server| {
        for _ in 0..10 {
            let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
            let (socket, _) = WebSocket::open_with(server, "/api/socket", offer).unwrap();
            let mut client = Client::greeted(socket);
            client.join(ROOM);
            let mut stream = client.socket.into_stream();
            stream.set_read_timeout(None).unwrap();
            thread::spawn(move || {
                let mut bytes = vec![0; 256 << 10];
                while matches!(stream.read(&mut bytes), Ok(1..)) {}
            });
        }
        let mut words = String::new();
        let mut seed = 1_u64;
        while words.len() < (1 << 20) - 300 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = write!(words, "{} ", seed >> 40);
        }
        let again = event("say", &format!(r#"{{"text":"{words}"}}"#));
        Some(Flood::start(CONNECTIONS, move || Source::new(member(server), again.clone())))
    });
}

#[test]
fn heads_that_never_end() {
    check("half-open heads, a new connection each", 8, |server| {
        Some(Flood::start(8, move || {
            // Forty connections with half a head each, then one that sends a bit more.
            let mut open: Vec<TcpStream> = (0..40).map(|_| websocket::connect(server)).collect();
            for stream in &mut open {
                let _ = stream.write_all(b"GET /api/socket HTTP/1.1\r\nhost: te");
            }
            let stream = websocket::connect(server);
            Source::new(stream, repeated(b"x-header: 0123456789\r\n", 1 << 10))
        }))
    });
}

/// Set for the process that [`a_blocked_log_does_not_stop_the_server`] starts: the file to write the port
/// to.
#[cfg(unix)]
const PORT_FILE: &str = "PONDWIRE_TEST_PORT_FILE";

/// The server of the test below, in a separate process; does nothing when run as a test.
#[cfg(unix)]
#[test]
fn server_process() {
    let Some(port_file) = std::env::var_os(PORT_FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = pondwire_server::stop_signal().unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let unfinished = format!("{}.unfinished", port_file.display());
        std::fs::write(&unfinished, port).unwrap();
        std::fs::rename(unfinished, port_file).unwrap();
        let times = Times { closing: CLOSING, ..Times::default() };
        let options = Options { page: Some("a page"), times, ..Options::default() };
        let server = fixture::demo::demo().start(options).unwrap();
        server.serve(listener, stop).await;
    });
}

/// A server that runs out of descriptors, with a log pipe that is full or has no reader, keeps serving
/// existing clients, then new ones, and ends on SIGTERM. `PONDWIRE_TEST_RUNNER` names the emulator for
/// targets that this machine cannot run.
#[cfg(unix)]
#[test]
fn a_blocked_log_does_not_stop_the_server() {
    use std::process::{Command, Stdio};

    for is_full in [false, true] {
        let (log_reader, log) = std::io::pipe().unwrap();
        let _reader = is_full.then(|| {
            let (written, all) = std::sync::mpsc::channel();
            let mut writer = log.try_clone().unwrap();
            // This thread ends when the reader is dropped.
            thread::spawn(move || {
                while writer.write_all(&[b'.'; 512]).is_ok() {
                    let _ = written.send(());
                }
            });
            while all.recv_timeout(Duration::from_millis(500)).is_ok() {}
            log_reader
        });
        let port_file =
            std::env::temp_dir().join(format!("pondwire-port-{}-{is_full}", std::process::id()));
        let _ = std::fs::remove_file(&port_file);
        let mut server = Command::new("sh")
            .args(["-c", r#"ulimit -n 60 && exec $PONDWIRE_TEST_RUNNER "$0" --exact server_process --nocapture"#])
            .arg(std::env::args_os().next().unwrap())
            .env(PORT_FILE, &port_file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        let port = loop {
            if let Ok(port) = std::fs::read_to_string(&port_file) {
                break port.parse().unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(20), "the server starts");
            thread::sleep(Duration::from_millis(10));
        };
        let _ = std::fs::remove_file(&port_file);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut before = Client::joined(addr, ROOM);
        let idle: Vec<TcpStream> = (0..80).map(|_| websocket::connect(addr)).collect();
        // Long enough for some log lines about missing descriptors.
        thread::sleep(Duration::from_millis(500));
        before.expect_alive();
        drop(idle);
        Client::joined(addr, ROOM).expect_alive();
        let sent = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = server.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > Duration::from_secs(20) {
                let _ = server.kill();
                panic!("the server does not end (full log: {is_full})");
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status} (full log: {is_full})");
        before.expect_closed(1001);
    }
}
