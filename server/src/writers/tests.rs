//! The writers under load, for `PONDWIRE_STRESS_SECONDS` (default 1) with and without io_uring: sockets
//! that are full most of the time, compressed connections, clients that leave, and connections that are
//! taken from the writers over and over, while the number of active writers changes. Each client must get
//! whole frames, all of them, in order.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pondwire::outbox::Push;
use pondwire::{Frame, Outbox, OutboxOptions, OutboxReader, Payload, Policy};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::{CLAIMS, HandBack, SendHalf, WriterPool};
use pondwire_test_support::{Random, inflate};

mod turns;

/// More connections than one call of a writer serves.
const CONNECTIONS: usize = CLAIMS + 16;

const PUSHERS: usize = 2;

/// One writer for each of them.
const WORKERS: usize = 3;

/// The source of the frames that a connection's own task writes.
const OWN: usize = PUSHERS;

/// A client that waits this long has missed a wake-up.
const LOST: Duration = Duration::from_secs(20);

/// Counts of events that the test must have caused.
#[derive(Default)]
struct Seen {
    full: AtomicU64,
    taken: AtomicU64,
    gone: AtomicU64,
}

impl Seen {
    /// Returns `true` if each of them happened.
    fn is_complete(&self) -> bool {
        [&self.full, &self.taken, &self.gone].iter().all(|count| count.load(Ordering::Relaxed) > 0)
    }
}

fn frame(source: usize, number: u64) -> Frame {
    // Some frames are larger than the copy threshold.
    let padding = match number % 50 {
        0 => 20_000,
        number => number * 7,
    };
    let padding = "x".repeat(padding as usize);
    Frame::broadcast(&padding, &format!("{source}:{number}"), "r", Payload::EMPTY)
}

/// Registers the socket with the writers until the outbox ends; if `shared`, takes it back now and then.
/// Returns the number of frames that it wrote itself; `None` if the client has left.
async fn serve(
    writers: &WriterPool,
    stream: tokio::net::TcpStream,
    queue: OutboxReader,
    deflates: bool,
    shared: bool,
    mut random: Random,
    seen: &Seen,
) -> Option<u64> {
    let (_reader, stream) = stream.into_split();
    let writer = writers.register(SendHalf { stream, queue, deflates });
    let mut own = 0;
    loop {
        let turns = random.below(100);
        let (mut half, why) = tokio::select! {
            (half, why) = writer.handed_back() => (half, Some(why)),
            () = pause(turns), if shared => writer.take().expect("only this task takes it"),
        };
        match why {
            None => {
                seen.taken.fetch_add(1, Ordering::Relaxed);
            }
            Some(HandBack::Full(rest)) => {
                seen.full.fetch_add(1, Ordering::Relaxed);
                half.stream.write_all(&rest).await.ok()?;
            }
            Some(HandBack::Over) => return Some(own),
            Some(HandBack::Gone) => {
                return None;
            }
        }
        if shared && random.below(4) == 0 {
            half.stream.write_all(frame(OWN, own).wire()).await.ok()?;
            own += 1;
        }
        writer.resume(half);
    }
}

/// Yields `turns` times.
async fn pause(turns: usize) {
    for _ in 0..turns {
        yield_now().await;
    }
}

/// Pushes the same frames to all outboxes until `end`, each frame again and again until the outbox accepts
/// it. Returns how many frames each accepted.
fn push(
    source: usize,
    outboxes: &[Outbox],
    end: Instant,
    seen: &Seen,
    mut random: Random,
) -> Vec<u64> {
    let mut next = vec![0; outboxes.len()];
    // A slow machine has more time to cause all events.
    while Instant::now() < end || !seen.is_complete() && Instant::now() < end + LOST {
        for (outbox, next) in outboxes.iter().zip(&mut next) {
            for _ in 0..random.below(12).saturating_sub(6) {
                match outbox.push(frame(source, *next)) {
                    Push::Queued => *next += 1,
                    Push::DroppedNewest | Push::Closed => break,
                    other => panic!("{other:?}"),
                }
            }
        }
        if random.below(3) == 0 {
            thread::sleep(Duration::from_micros(random.below(500) as u64));
        }
    }
    next
}

/// Reads in bursts. Returns the number of frames from each source; `None` if the client has left.
fn read(
    mut stream: TcpStream,
    leaves_after: Option<usize>,
    mut random: Random,
) -> Option<Vec<u64>> {
    stream.set_read_timeout(Some(LOST)).unwrap();
    let mut next = vec![0; PUSHERS + 1];
    let (mut received, mut all) = (Vec::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        if random.below(8) == 0 {
            thread::sleep(Duration::from_micros(random.below(2000) as u64));
        }
        let most = 1 + random.below(buffer.len());
        let len = stream.read(&mut buffer[..most]).expect("a wake-up was lost");
        if len == 0 {
            assert_eq!(received.len(), 0, "the stream ended within a frame");
            return Some(next);
        }
        received.extend_from_slice(&buffer[..len]);
        let mut done = 0;
        while let Some((source, number, len)) = first(&received[done..]) {
            assert_eq!(number, next[source], "from {source}");
            next[source] += 1;
            done += len;
        }
        received.drain(..done);
        all += len;
        if leaves_after.is_some_and(|bytes| all > bytes) {
            return None;
        }
    }
}

/// The source, the number and the length of the first frame.
fn first(bytes: &[u8]) -> Option<(usize, u64, usize)> {
    let (head, len) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        len @ ..126 => (2, usize::from(len)),
        127.. => panic!("no frame of this length was sent"),
    };
    let payload = bytes.get(head..head + len)?;
    let text = match bytes[0] {
        0x81 => payload.to_vec(),
        0xC1 => inflate::message(payload, 1 << 16).expect("a compressed message"),
        other => panic!("{other:#X} begins no message"),
    };
    let text = String::from_utf8(text).unwrap();
    let event = text.split("\"event\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (source, number) = event.split_once(':').unwrap();
    Some((source.parse().unwrap(), number.parse().unwrap(), head + len))
}

/// The number of completions in this process's rings, as Linux reports it; `None` without a ring.
fn completions() -> Option<u64> {
    let files = std::fs::read_dir("/proc/self/fdinfo").ok()?;
    let infos = files.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let tails = infos.filter_map(|info| {
        let tail = info.lines().find_map(|line| line.strip_prefix("CqTail:"))?;
        tail.trim().parse::<u64>().ok()
    });
    tails.reduce(|a, b| a + b)
}

fn seconds() -> Duration {
    let seconds = std::env::var("PONDWIRE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.0))
}

fn socket(small: bool) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    if small {
        socket.set_send_buffer_size(8 << 10).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
    }
    socket
}

/// The two ends of a connection, with buffers that fill up quickly if `small`.
async fn pair(small: bool) -> (tokio::net::TcpStream, TcpStream) {
    let listening = socket(small);
    listening.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = listening.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let (accepted, client) = tokio::join!(listener.accept(), socket(small).connect(addr));
    let client = client.unwrap().into_std().unwrap();
    client.set_nonblocking(false).unwrap();
    (accepted.unwrap().0, client)
}

fn run(io_uring: bool) {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().unwrap();
    let seen = Arc::new(Seen::default());
    let mut random = Random::from_env("writers");
    runtime.block_on(async {
        let writers = Arc::new(WriterPool::start(io_uring));
        let mut outboxes = Vec::new();
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for n in 0..CONNECTIONS {
            // Under load, half of the connections are touched by the writer only, so that their own tasks
            // cannot make up for a lost wake-up.
            let (shared, deflates) = (n % 2 == 0, n % 5 == 0);
            let (stream, client) = pair(shared).await;
            let policy = Policy::DropNewest;
            let options = OutboxOptions::new().with_policy(policy);
            let (outbox, queue) = Outbox::new(options);
            outboxes.push(outbox);
            let leaves_after = (n % 8 > 5).then(|| random.below(1 << 20));
            let seed = Random::seeded(random.next());
            clients.push(thread::spawn(move || read(client, leaves_after, seed)));
            let (writers, seen) = (Arc::clone(&writers), Arc::clone(&seen));
            let seed = Random::seeded(random.next());
            servers.push(tokio::spawn(async move {
                let own = serve(&writers, stream, queue, deflates, shared, seed, &seen).await;
                seen.gone.fetch_add(u64::from(own.is_none()), Ordering::Relaxed);
                own
            }));
        }
        let end = Instant::now() + seconds();
        let outboxes = Arc::new(outboxes);
        let moving = tokio::spawn({
            let (writers, mut random) = (Arc::clone(&writers), Random::seeded(random.next()));
            async move {
                loop {
                    writers.lists.active.store(1 + random.below(WORKERS), Ordering::Relaxed);
                    sleep(Duration::from_micros(random.below(2000) as u64)).await;
                }
            }
        });
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|source| {
                let (outboxes, seed) = (Arc::clone(&outboxes), Random::seeded(random.next()));
                let seen = Arc::clone(&seen);
                tokio::task::spawn_blocking(move || push(source, &outboxes, end, &seen, seed))
            })
            .collect();
        let mut pushed = Vec::new();
        for pusher in pushers {
            pushed.push(pusher.await.unwrap());
        }
        if io_uring {
            match completions() {
                Some(count) => assert!(count > 0, "nothing went through io_uring"),
                None => println!("io_uring is not available: sent one by one"),
            }
        }
        moving.abort();
        let busy = writers.lists.lists.iter().map(|list| list.busy.load(Ordering::Relaxed));
        assert!(
            busy.clone().all(|busy| busy > 0),
            "all writers write: {:?}",
            busy.collect::<Vec<_>>()
        );
        drop(outboxes);
        for (n, (server, client)) in servers.into_iter().zip(clients).enumerate() {
            let own = server.await.unwrap();
            let came = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
            if let Some(came) = came {
                let own = own.expect("its client has not left");
                assert_eq!(came, [pushed[0][n], pushed[1][n], own], "connection {n}");
            }
        }
    });
    let (full, taken) = (seen.full.load(Ordering::Relaxed), seen.taken.load(Ordering::Relaxed));
    let gone = seen.gone.load(Ordering::Relaxed);
    println!("full {full}, taken {taken}, gone {gone}");
    assert!(full > 0 && taken > 0 && gone > 0, "full {full}, taken {taken}, gone {gone}");
}

#[test]
fn every_client_gets_whole_frames_in_order_through_io_uring_if_available() {
    run(true);
}

#[test]
fn every_client_gets_whole_frames_in_order_one_by_one() {
    run(false);
}

/// Frames of an outbox that has ended are not lost while the socket is full, for two sockets at once.
fn over_while_full(io_uring: bool) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // About the copy threshold: on a busy machine the client's side may take some bytes after a pause.
    let last = Frame::broadcast(&"x".repeat(7000), "last", "r", Payload::EMPTY);
    runtime.block_on(async {
        let mut full = Vec::new();
        for _ in 0..2 {
            let (stream, client) = pair(true).await;
            let mut stream = stream.into_std().unwrap();
            // Until the socket takes nothing for a while: its data moves to the client's buffer while that
            // has room.
            let mut since = Instant::now();
            while since.elapsed() < Duration::from_millis(200) {
                match stream.write(&[0; 64]) {
                    Ok(1..) => since = Instant::now(),
                    _ => sleep(Duration::from_millis(1)).await,
                }
            }
            full.push((stream, client));
        }
        // Both are listed before a writer runs: this task occupies the only worker until it waits.
        let writers = tokio::spawn(async move {
            let writers = WriterPool::start(io_uring);
            let mut handles = Vec::new();
            for (stream, client) in full {
                let (_reader, stream) =
                    tokio::net::TcpStream::from_std(stream).unwrap().into_split();
                let (outbox, queue) = Outbox::new(OutboxOptions::default());
                outbox.push(last.clone());
                drop(outbox);
                let handle = writers.register(SendHalf { stream, queue, deflates: false });
                handles.push((handle, _reader, client));
            }
            for (handle, _reader, _client) in handles {
                let (mut half, why) = handle.handed_back().await;
                let HandBack::Full(rest) = why else { panic!("the socket is full") };
                assert!(!rest.is_empty() && last.wire().ends_with(&rest));
                assert!(half.queue.try_batch().is_none() && half.queue.closed().is_some());
            }
        });
        writers.await.unwrap();
    });
}

#[test]
fn queued_frames_survive_the_end_while_a_socket_is_full() {
    over_while_full(true);
    over_while_full(false);
}
