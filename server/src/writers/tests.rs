//! The writers over real sockets.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pondwire::frame::Form;
use pondwire::outbox::CloseReason;
use pondwire::{Frame, OutboxOptions, Payload, Room};
use pondwire_test_support::{Random, inflate};
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::sends::Sends;
use super::{
    CALL, CLAIM, CLAIMS, Connection, Due, MOST_SENT, MOST_SMALL, OpenSeat, RoundSend, WriterHandle,
    WriterPool, hold_wakes,
};
use crate::socket::write_unsent;
use crate::stream::{Stream, serve_piped};

/// More connections than one call of a writer serves, in each shard.
const CONNECTIONS: usize = 3 * CLAIMS + 48;

const PUBLISHERS: usize = 2;

/// One writer for each of them.
const WORKERS: usize = 3;

/// The source of the frames that are pushed to single connections.
const PUSHED: usize = PUBLISHERS;

/// A client that waits this long has missed a wake-up.
const LOST: Duration = Duration::from_secs(20);

/// Enough for what a client misses in a test.
const ROOMY: OutboxOptions =
    OutboxOptions::new().with_max_frames(1 << 17).with_max_bytes(500 << 20);

/// The most frames of one publisher of the stress test, or of those that are pushed to one client: all of them fit
/// into the outbox of a client that reads nothing.
const MOST_FRAMES: u64 = (ROOMY.max_frames / (PUBLISHERS + 1)) as u64;

/// Counts of events that the stress test must have caused.
#[derive(Default)]
struct Seen {
    behind: AtomicU64,
    gone: AtomicU64,
}

impl Seen {
    /// Returns `true` if each of them happened.
    fn is_complete(&self) -> bool {
        [&self.behind, &self.gone].iter().all(|count| count.load(Ordering::Relaxed) > 0)
    }
}

fn frame(source: usize, number: u64) -> Frame {
    // Some frames are larger than a socket's buffers.
    let padding = match number % 50 {
        0 => 20_000,
        number => number * 7,
    };
    let padding = "x".repeat(padding as usize);
    Frame::broadcast(&padding, &format!("{source}:{number}"), "r", Payload::EMPTY)
}

/// Serves a connection until `ends`, then sends it the rest. `false` if its client has left.
async fn serve(writer: WriterHandle, ends: impl Future<Output = ()>, seen: &Seen) -> bool {
    let end = async {
        tokio::select! {
            () = ends => true,
            reason = writer.failed() => {
                assert_eq!(reason, CloseReason::ReaderDropped);
                false
            }
        }
    };
    let looks = async {
        loop {
            if writer.is_behind() {
                seen.behind.fetch_add(1, Ordering::Relaxed);
                if writer.caught_up().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let has_ended = tokio::select! {
        has_ended = end => has_ended,
        () = looks => unreachable!("it does not end"),
    };
    let (mut stream, mut unsent) = writer.end().await.expect("the writers are there");
    has_ended && write_unsent(&mut stream, &mut unsent).await.is_ok()
}

/// Publishes numbered frames until `end`, as fast as the shards read them, and at most [`MOST_FRAMES`]; returns how
/// many.
fn publish(source: usize, room: &Room, end: Instant, seen: &Seen, mut random: Random) -> u64 {
    let mut number = 0;
    // A slow machine has more time to cause all events.
    while Instant::now() < end || !seen.is_complete() && Instant::now() < end + LOST {
        for _ in 0..random.below(12).min((MOST_FRAMES - number) as usize) {
            room.publish(&frame(source, number));
            number += 1;
        }
        while room.unread().0 > 64 {
            thread::sleep(Duration::from_micros(100));
        }
        if random.below(3) == 0 {
            thread::sleep(Duration::from_micros(random.below(5000) as u64));
        }
    }
    assert_eq!(room.refused(), 0);
    number
}

/// Reads in bursts. Returns the number of frames from each source; `None` if the client has left.
fn read(
    mut stream: TcpStream,
    leaves_after: Option<usize>,
    mut random: Random,
) -> Option<Vec<u64>> {
    stream.set_read_timeout(Some(LOST)).unwrap();
    let mut next = vec![0; PUBLISHERS + 1];
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

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

fn activate(pool: &WriterPool, writers: usize) {
    pool.shards[0].lists.active.store(writers, Ordering::Relaxed);
}

/// Time that the writer of this number had work, in nanoseconds.
fn busy(pool: &WriterPool, writer: usize) -> u64 {
    pool.shards[0].lists.lists[writer].busy.load(Ordering::Relaxed)
}

/// A pipe to the stream, and what ends it when it is dropped.
async fn through_pipe(stream: tokio::net::TcpStream) -> (Stream, Option<oneshot::Sender<()>>) {
    let ((give, given), (end, ended)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(serve_piped(stream, |stream| async {
        drop(give.send(stream));
        drop(ended.await);
    }));
    (given.await.unwrap(), Some(end))
}

/// Under load, for `PONDWIRE_STRESS_SECONDS` (default 1): sockets that are full most of the time, compressed
/// connections, clients that leave, frames to single members, while the number of active writers changes.
/// Each client must get whole frames, all of them, in order.
fn stress(io_uring: bool) {
    let runtime = runtime(WORKERS);
    let seen = Arc::new(Seen::default());
    let mut random = Random::from_env("writers");
    runtime.block_on(async {
        let pool = Arc::new(WriterPool::start(io_uring, ROOMY));
        let room = Room::new();
        let ending = Arc::new(tokio::sync::Notify::new());
        let (mut clients, mut servers, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..CONNECTIONS {
            let (stream, client) = pair(n % 2 == 0).await;
            let leaves_after = (n % 8 > 5).then(|| random.below(1 << 20));
            let seed = Random::seeded(random.next());
            clients.push(thread::spawn(move || read(client, leaves_after, seed)));
            let opened = pool.open(if n % 5 == 0 { Form::Deflated } else { Form::WebSocket });
            let member = room.seat(&n.to_string(), &opened.seat, None).unwrap();
            // Every third is no socket for the writers.
            let (stream, piped) =
                if n % 3 == 0 { through_pipe(stream).await } else { (Stream::Tcp(stream), None) };
            let (reader, stream) = stream.into_split();
            let writer = opened.register(stream, Arc::default());
            let (seen, ending) = (Arc::clone(&seen), Arc::clone(&ending));
            members.push(member);
            servers.push(tokio::spawn(async move {
                let mut reader = reader;
                let has_ended = serve(writer, ending.notified(), &seen).await;
                // As a connection does at its end: what is in the pipe is given up soon after it.
                let _ = copy(&mut reader, &mut sink()).await;
                drop(piped);
                seen.gone.fetch_add(u64::from(!has_ended), Ordering::Relaxed);
                has_ended
            }));
        }
        // So that each waits for the end when it comes.
        sleep(Duration::from_millis(50)).await;
        let end = Instant::now() + seconds();
        let moving = tokio::spawn({
            let (pool, mut random) = (Arc::clone(&pool), Random::seeded(random.next()));
            async move {
                loop {
                    activate(&pool, 1 + random.below(WORKERS));
                    sleep(Duration::from_micros(random.below(2000) as u64)).await;
                }
            }
        });
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|source| {
                let (room, seen) = (room.clone(), Arc::clone(&seen));
                let seed = Random::seeded(random.next());
                tokio::task::spawn_blocking(move || publish(source, &room, end, &seen, seed))
            })
            .collect();
        let mut pushed = vec![0; CONNECTIONS];
        let all_write = || (0..WORKERS).all(|writer| busy(&pool, writer) > 0);
        // On a busy machine a writer may not have run until then.
        let last = end + Duration::from_secs(60);
        while Instant::now() < if all_write() { end } else { last } {
            for (member, pushed) in members.iter().zip(&mut pushed) {
                if random.below(3) == 0 && !member.push(frame(PUSHED, *pushed)).is_closed() {
                    *pushed += 1;
                }
                // Like the publishers: a log that is full drops its oldest.
                while room.unread().0 > 1000 {
                    sleep(Duration::from_micros(100)).await;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
        let mut published = Vec::new();
        for publisher in publishers {
            published.push(publisher.await.unwrap());
        }
        if io_uring {
            match completions() {
                Some(count) => assert!(count > 0, "nothing went through io_uring"),
                None => println!("io_uring is not available: sent one by one"),
            }
        }
        assert!(all_write(), "a writer never had work");
        drop(members);
        ending.notify_waiters();
        for (n, (server, client)) in servers.into_iter().zip(clients).enumerate() {
            let has_ended = server.await.unwrap();
            let came = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
            if let Some(came) = came {
                assert!(has_ended, "its client has not left");
                assert_eq!(came, [published[0], published[1], pushed[n]], "connection {n}");
            }
        }
        moving.abort();
        // The shards copy their counters once they are idle.
        sleep(Duration::from_millis(50)).await;
        for stats in pool.stats() {
            assert_eq!((stats.behind, stats.queued_frames, stats.dropped.lost), (0, 0, 0));
        }
    });
    let (behind, gone) = (seen.behind.load(Ordering::Relaxed), seen.gone.load(Ordering::Relaxed));
    println!("behind {behind}, gone {gone}");
    assert!(seen.is_complete(), "behind {behind}, gone {gone}");
}

#[test]
fn every_client_gets_whole_frames_in_order_through_io_uring_if_available() {
    stress(true);
}

#[test]
fn every_client_gets_whole_frames_in_order_one_by_one() {
    stress(false);
}

/// A member of a room with a client.
struct Member {
    writer: WriterHandle,
    membership: pondwire::room::SeatMembership,
    client: TcpStream,
    _reader: crate::stream::ReadHalf,
}

impl Member {
    async fn join(pool: &WriterPool, room: &Room, small: bool) -> Self {
        let (stream, client) = pair(small).await;
        client.set_read_timeout(Some(LOST)).unwrap();
        let opened: OpenSeat = pool.open(Form::WebSocket);
        let membership = room.seat("user", &opened.seat, None).unwrap();
        let (_reader, stream) = Stream::Tcp(stream).into_split();
        let writer = opened.register(stream, Arc::default());
        Self { writer, membership, client, _reader }
    }

    /// Reads exactly these bytes.
    fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.client.read_exact(&mut got).expect("frames are missing");
        assert!(got == bytes);
    }

    /// [`expect`](Self::expect) without occupying a worker.
    async fn expecting(mut self, frame: Frame) -> Self {
        let read = move || {
            self.expect(frame.wire());
            self
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

/// Runs a test with a pool of writers and a room.
fn with_pool(runtime: &Runtime, test: impl AsyncFnOnce(&WriterPool, &Room)) {
    runtime.block_on(async {
        let pool = WriterPool::start(true, ROOMY);
        test(&pool, &Room::new()).await;
    });
}

/// A runtime whose only worker is the test's thread.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What a member's rooms sent before it left is sent before the end, also while the socket is full.
#[test]
fn nothing_is_lost_at_the_end_while_a_socket_is_full() {
    for io_uring in [true, false] {
        let runtime = runtime(1);
        runtime.block_on(async {
            let pool = WriterPool::start(io_uring, ROOMY);
            let room = Room::new();
            let mut members = Vec::new();
            for _ in 0..3 {
                members.push(Member::join(&pool, &room, true).await);
            }
            let mut all = Vec::new();
            for number in 0..1500 {
                let frame = frame(0, number);
                room.publish(&frame);
                all.extend_from_slice(frame.wire());
                if number % 10 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            for member in members {
                let Member { writer, membership, mut client, .. } = member;
                let last = frame(1, 0);
                membership.leave_with(last.clone());
                let (mut stream, mut unsent) = writer.end().await.unwrap();
                let expected = [&all[..], last.wire()].concat();
                // For those that have not left.
                room.publish(&frame(1, 1));
                all.extend_from_slice(frame(1, 1).wire());
                let reads = tokio::task::spawn_blocking(move || {
                    let mut got = Vec::new();
                    client.read_to_end(&mut got).unwrap();
                    got
                });
                assert!(unsent.peek().is_some(), "the socket was full");
                write_unsent(&mut stream, &mut unsent).await.unwrap();
                stream.shutdown().await.unwrap();
                assert!(reads.await.unwrap() == expected);
            }
        });
    }
}

/// Its own task learns it, and the others do not notice.
#[test]
fn a_client_that_does_not_read_is_behind_then_too_slow() {
    let runtime = runtime(2);
    runtime.block_on(async {
        let options = OutboxOptions::new().with_max_frames(200).with_max_bytes(1 << 20);
        let pool = WriterPool::start(true, options);
        let room = Room::new();
        let slow = Member::join(&pool, &room, true).await;
        let mut other = Member::join(&pool, &room, false).await;
        let mut number = 0;
        let mut caught_up = 0;
        // It catches up when it reads.
        for _ in 0..2 {
            let mut sent = 0;
            while !slow.writer.is_behind() {
                let frame = frame(0, number);
                room.publish(&frame);
                (number, sent) = (number + 1, sent + frame.wire().len());
                sleep(Duration::from_millis(1)).await;
                other = other.expecting(frame).await;
            }
            let mut client = slow.client.try_clone().unwrap();
            let all = tokio::task::spawn_blocking(move || {
                let mut got = vec![0; sent];
                client.read_exact(&mut got).unwrap();
            });
            slow.writer.caught_up().await.unwrap();
            all.await.unwrap();
            caught_up += 1;
        }
        assert_eq!(caught_up, 2);
        while slow.writer.link.failure().is_none() {
            let frame = frame(0, number);
            room.publish(&frame);
            number += 1;
            sleep(Duration::from_micros(100)).await;
            other = other.expecting(frame).await;
        }
        assert!(slow.writer.failed().await.is_too_slow());
        assert!(slow.writer.caught_up().await.is_err());
        assert!(slow.membership.push(frame(1, 0)).is_closed());
        // At most the rest of a frame is still to be sent.
        let (_stream, mut unsent) = slow.writer.end().await.unwrap();
        let rest = unsent.peek().map_or(0, <[u8]>::len);
        unsent.advance(rest);
        assert!(unsent.peek().is_none());
    });
}

/// It ends once all that is left waits for clients that do not read.
#[test]
fn there_is_a_backlog_while_a_round_is_not_sent_in_time() {
    let runtime = one_thread();
    with_pool(&runtime, async |pool, room| {
        let mut members = Vec::new();
        for _ in 0..60 {
            members.push(Member::join(pool, room, false).await);
        }
        assert!(!pool.backlog().exists());
        room.publish(&Frame::broadcast(&"x".repeat(8 << 20), "e", "r", Payload::EMPTY));
        let given_up = Instant::now() + LOST;
        for exists in [true, false] {
            while pool.backlog().exists() != exists {
                assert!(Instant::now() < given_up, "a backlog exists: {}", !exists);
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(members.iter().all(|member| member.writer.link.failure().is_none()));
    });
}

#[test]
fn a_turn_ends_after_so_many_connections_or_bytes() {
    let runtime = one_thread();
    runtime.block_on(async {
        let pool = WriterPool::new(ROOMY);
        let mut pairs = Vec::new();
        for _ in 0..4 {
            let (stream, client) = pair(false).await;
            stream.writable().await.unwrap();
            pairs.push((stream, client));
        }
        // From here on the writers do not run: this test occupies the only thread.
        let (mut handles, mut clients) = (Vec::new(), Vec::new());
        for (stream, client) in pairs {
            let (reader, stream) = Stream::Tcp(stream).into_split();
            handles.push(pool.open(Form::WebSocket).register(stream, Arc::default()));
            clients.push((client, reader));
        }
        let requests = pool.shards.iter().flat_map(|shard| shard.requests.lock().take().unwrap());
        let open: Vec<Option<Connection>> = requests
            .map(|request| match request {
                super::Request::Open(connection) => Some(connection),
                _ => panic!("nothing else was requested"),
            })
            .collect();
        // As if there were many: each has its turn again and again.
        let many = (0..open.len() as u32).cycle().take(CLAIMS + 3);
        let seats: Vec<u32> = many.chain([open.len() as u32]).collect();
        let turns = |bytes: &[u8]| {
            let send = RoundSend { seats: &seats, bytes };
            let mut due = Due { left: [send].into_iter().collect(), send: 0, seat: 0 };
            let (mut places, mut short) = (Vec::new(), Vec::new());
            while due.send_some(&open, &mut Sends::new(false), &mut short) {
                places.push(due.seat);
            }
            // One has no socket yet.
            let late = short.iter().position(|it| *it == (open.len(), 0));
            short.swap_remove(late.expect("it is sent the bytes once it has a socket"));
            (places, short.len())
        };
        assert_eq!(turns(b"abc"), (vec![CLAIMS, 0], 0));
        let (places, short) = turns(&vec![b'x'; 2 * MOST_SENT]);
        let most = CALL.div_ceil(CLAIM + MOST_SENT);
        assert_eq!(places[..2], [most, 2 * most], "{places:?}");
        assert_eq!(short, CLAIMS + 3, "none is sent all");
        for (client, _) in &mut clients {
            let mut got = vec![0; 3 * (CLAIMS / 4) + 1];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got[..3 * (CLAIMS / 4)], b"abc".repeat(CLAIMS / 4));
        }
    });
}

#[test]
fn shards_move_to_a_second_writer_and_back() {
    with_pool(&runtime(2), async |pool, room| {
        let mut members = Vec::new();
        for _ in 0..20 {
            members.push(Member::join(pool, room, false).await);
        }
        let mut seconds = Vec::new();
        let mut number = 0;
        for active in [1, 2, 1] {
            activate(pool, active);
            for n in 0..20 {
                let frame = frame(0, number);
                number += 1;
                room.publish(&frame);
                if n % 3 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
                members = tokio::task::spawn_blocking(move || {
                    members.iter_mut().for_each(|it| it.expect(frame.wire()));
                    members
                })
                .await
                .unwrap();
            }
            // The turn ends after the clients have read.
            sleep(Duration::from_millis(50)).await;
            seconds.push(busy(pool, 1));
        }
        assert!(seconds[0] == 0 && seconds[1] > 0, "the second writer: {seconds:?}");
        assert_eq!(seconds[1], seconds[2], "the second writer");
    });
}

/// Does what a writer does with the only shard, but for sending; returns how often the shard was listed.
fn look(pool: &WriterPool) -> usize {
    let shard = &pool.shards[0];
    let listed = pool.lists().lists[0].ready.lock().drain(..).len();
    shard.is_listed.store(false, Ordering::Relaxed);
    let mut connections = shard.connections.lock();
    let connections = connections.as_mut().unwrap();
    connections.take_requests(shard);
    let waker = std::task::Waker::from(Arc::clone(shard));
    let _ = connections.shard.poll_round(&mut std::task::Context::from_waker(&waker));
    connections.shard.end_round();
    listed
}

/// [`look`]s, and lets the shard know that the seats have their sockets.
fn look_and_open(pool: &WriterPool) {
    look(pool);
    let mut connections = pool.shards[0].connections.lock();
    let connections = connections.as_mut().unwrap();
    while let Some(seat) = connections.behind.pop_front() {
        connections.write_behind(seat);
    }
}

/// A room's frame is written only after a client's messages that came with it.
#[test]
fn held_wakes_list_a_shard_later() {
    one_thread().block_on(async {
        let (pool, room) = (WriterPool::new(ROOMY), Room::new());
        let mut member = Member::join(&pool, &room, false).await;
        assert_eq!(look(&pool), 1, "for the opening");
        look(&pool);
        let frames = [frame(0, 1), frame(0, 2)];
        let listed = || pool.lists().lists[0].ready.lock().len();
        let held = hold_wakes();
        frames.iter().for_each(|frame| _ = room.publish(frame));
        assert_eq!(listed(), 0);
        drop(held);
        assert_eq!(listed(), 1);
        pool.start_writers(true);
        for frame in frames {
            member = member.expecting(frame).await;
        }
    });
}

/// A round of few sends needs no writer; any other is left to it, and so is what a socket did not take.
#[test]
fn small_rounds_are_sent_while_the_writer_sleeps() {
    one_thread().block_on(async {
        let (pool, room) = (WriterPool::new(ROOMY), Room::new());
        let list = &pool.lists().lists[0];
        let publish = |frame: &Frame| {
            let held = hold_wakes();
            room.publish(frame);
            drop(held);
            list.ready.lock().len()
        };
        let mut members = vec![Member::join(&pool, &room, false).await];
        look_and_open(&pool);
        // No writer has said that it sleeps.
        assert_eq!(publish(&frame(0, 1)), 1);
        assert_eq!(look(&pool), 1);
        list.is_asleep.store(true, Ordering::Relaxed);
        for number in 2..5 {
            assert_eq!(publish(&frame(0, number)), 0);
        }
        // The first was dropped by `look`, which sends nothing.
        let all: Vec<u8> = (2..5).flat_map(|number| frame(0, number).wire().to_vec()).collect();
        members[0].expect(&all);
        // More than it would send at once.
        let large = Frame::broadcast("/c", &"x".repeat(MOST_SMALL.1), "r", Payload::EMPTY);
        assert_eq!(publish(&large), 1);
        assert!(pool.shards[0].connections.lock().as_ref().unwrap().has_round);
        for _ in 0..MOST_SMALL.0 {
            members.push(Member::join(&pool, &room, false).await);
        }
        list.is_asleep.store(false, Ordering::Relaxed);
        pool.start_writers(true);
        members[0].expect(large.wire());
        sleep(Duration::from_millis(20)).await;
        // The writer sleeps, and the room has too many members.
        publish(&frame(0, 5));
        members.iter_mut().for_each(|member| member.expect(frame(0, 5).wire()));
        assert!(!pool.shards[0].was_small.load(Ordering::Relaxed));
    });
}

#[test]
fn a_handle_that_is_dropped_closes_its_socket_and_leaves_nothing() {
    with_pool(&runtime(1), async |pool, room| {
        let Member { writer, membership, mut client, _reader } =
            Member::join(pool, room, true).await;
        // Also while the socket holds a waker.
        while !writer.is_behind() {
            room.publish(&frame(0, 1));
            sleep(Duration::from_millis(1)).await;
        }
        let link = Arc::downgrade(&writer.link);
        drop((writer, membership, _reader));
        let read = tokio::task::spawn_blocking(move || {
            let mut got = Vec::new();
            client.read_to_end(&mut got)
        });
        let _ = read.await.unwrap();
        // The writer drops its own a moment after the socket.
        let began = Instant::now();
        while link.upgrade().is_some() {
            assert!(began.elapsed() < LOST, "the socket and its waker keep each other");
            sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Nobody else is disconnected, and new connections are served.
#[test]
fn a_panic_of_a_writer_ends_only_the_connections_of_its_shard() {
    with_pool(&runtime(2), async |pool, room| {
        let first = Member::join(pool, room, false).await;
        let mut second = Member::join(pool, room, false).await;
        pool.shards[0].panics.store(true, Ordering::Relaxed);
        room.publish(&frame(0, 1));
        assert_eq!(first.writer.failed().await, CloseReason::ReaderDropped);
        assert!(first.writer.end().await.is_none());
        let mut third = Member::join(pool, room, false).await;
        room.publish(&frame(0, 2));
        tokio::task::spawn_blocking(move || {
            second.expect(frame(0, 1).wire());
            second.expect(frame(0, 2).wire());
            third.expect(frame(0, 2).wire());
        })
        .await
        .unwrap();
    });
}

/// A frame that is sent before the socket is registered, and an end without frames.
#[test]
fn frames_wait_for_a_socket_that_is_registered_late() {
    let runtime = runtime(1);
    runtime.block_on(async {
        let pool = WriterPool::start(true, ROOMY);
        let opened = pool.open(Form::WebSocket);
        opened.seat.push(frame(0, 1));
        sleep(Duration::from_millis(20)).await;
        let (stream, mut client) = pair(false).await;
        let (_reader, stream) = Stream::Tcp(stream).into_split();
        let writer = opened.register(stream, Arc::default());
        let mut got = vec![0; frame(0, 1).wire().len()];
        tokio::task::spawn_blocking(move || {
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, frame(0, 1).wire());
        })
        .await
        .unwrap();
        assert!(!writer.is_behind());
        let (_stream, mut unsent) = writer.end().await.unwrap();
        assert!(unsent.peek().is_none());
    });
}

/// Whether a client's socket has more for it than it takes at once; elsewhere than on Linux that is not known.
#[cfg(target_os = "linux")]
fn holds_much(client: &TcpStream) -> bool {
    // `MSG_PEEK | MSG_DONTWAIT`.
    const PEEK_NOW: i32 = 0x42;
    let mut first = [std::mem::MaybeUninit::uninit(); 16 << 10];
    let peeked = socket2::SockRef::from(client).recv_with_flags(&mut first, PEEK_NOW);
    peeked.is_ok_and(|len| len == first.len())
}

#[cfg(not(target_os = "linux"))]
fn holds_much(_: &TcpStream) -> bool {
    false
}

/// A round may be longer than one turn of each, and clients may read all the time.
#[test]
fn clients_that_read_at_once_are_never_too_slow() {
    let runtime = runtime(2);
    runtime.block_on(async {
        let options = OutboxOptions::new().with_max_frames(1024).with_max_bytes(8 << 20);
        let pool = WriterPool::start(true, options);
        let room = Room::new();
        let mut members = Vec::new();
        for _ in 0..16 {
            let member = Member::join(&pool, &room, false).await;
            let mut client = member.client.try_clone().unwrap();
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while client.read(&mut buffer).is_ok_and(|len| len > 0) {}
            });
            members.push(member);
        }
        let (publishing, backlog) = (room.clone(), Arc::clone(pool.backlog()));
        let clients: Vec<_> = members.iter().map(|it| it.client.try_clone().unwrap()).collect();
        let published = tokio::task::spawn_blocking(move || {
            let frame = Frame::broadcast("/c", &"x".repeat(60_000), "r", Payload::EMPTY);
            let (end, mut published) = (Instant::now() + seconds(), 0);
            while Instant::now() < end {
                // As sessions do. A thread that the machine does not run reads nothing: that is no fault of a writer.
                let may_publish = !backlog.exists() && !clients.iter().any(holds_much);
                match publishing.unread() {
                    (_, ..1_000_000) if may_publish => {
                        publishing.publish(&frame);
                        published += 1;
                    }
                    _ => thread::sleep(Duration::from_millis(1)),
                }
            }
            published
        })
        .await
        .unwrap();
        println!("{published} published");
        assert!(published > 100);
        let failed: Vec<_> = members.iter().filter_map(|it| it.writer.link.failure()).collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

/// The handle is dropped between the parts of a writer's look.
#[test]
fn an_end_is_not_taken_for_the_next_connection_with_its_number() {
    let runtime = one_thread();
    runtime.block_on(async {
        let pool = WriterPool::new(ROOMY);
        let shard = Arc::clone(&pool.shards[0]);
        let (stream, _client) = pair(false).await;
        let (_reader, stream) = Stream::Tcp(stream).into_split();
        let opened = pool.open(Form::Sse);
        let number = opened.seat.number();
        let handle = opened.register(stream, Arc::default());
        let mut it = shard.connections.lock().take().unwrap();
        let round = |it: &mut super::Connections| {
            let _ =
                it.shard.poll_round(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            it.shard.end_round();
        };
        it.take_requests(&shard);
        round(&mut it);
        it.end_some();
        it.take_requests(&shard);
        drop(handle);
        round(&mut it);
        it.end_some();
        it.take_requests(&shard);
        round(&mut it);
        let next: Vec<_> = (0..4).map(|_| pool.open(Form::WebSocket).seat).collect();
        it.end_some();
        for _ in 0..3 {
            it.take_requests(&shard);
            round(&mut it);
            it.end_some();
        }
        let seats: Vec<_> = next.iter().map(|it| (it.number(), it.closed())).collect();
        assert!(seats.iter().all(|(_, closed)| closed.is_none()), "{number}: {seats:?}");
    });
}

#[test]
fn a_broken_shard_keeps_no_socket() {
    let runtime = runtime(1);
    runtime.block_on(async {
        let pool = WriterPool::start(true, ROOMY);
        pool.shards[0].panics.store(true, Ordering::Relaxed);
        let (stream, _client) = pair(false).await;
        let (_reader, stream) = Stream::Tcp(stream).into_split();
        let first = pool.open(Form::WebSocket).register(stream, Arc::default());
        assert_eq!(first.failed().await, CloseReason::ReaderDropped);
        // It is the only one.
        let (stream, mut client) = pair(false).await;
        client.set_read_timeout(Some(LOST)).unwrap();
        let (reader, stream) = Stream::Tcp(stream).into_split();
        let writer = pool.open(Form::WebSocket).register(stream, Arc::default());
        assert_eq!(writer.failed().await, CloseReason::ReaderDropped);
        drop((writer, reader));
        let read = tokio::task::spawn_blocking(move || client.read(&mut [0; 10])).await.unwrap();
        assert!(matches!(read, Ok(0)), "{read:?}");
    });
}

#[test]
fn nested_holds_lose_no_wake() {
    one_thread().block_on(async {
        let (pool, room) = (WriterPool::new(ROOMY), Room::new());
        let _member = Member::join(&pool, &room, false).await;
        look(&pool);
        look(&pool);
        let outer = hold_wakes();
        room.publish(&frame(0, 1));
        drop(hold_wakes());
        assert!(pool.lists().lists[0].ready.lock().is_empty());
        drop(outer);
        assert_eq!(look(&pool), 1);
    });
}
