//! Single turns of a writer: which connections share their bytes, where a turn ends, and by which writer a
//! connection is written to.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{iter, mem};

use pondwire::frame::Control;
use pondwire::{Frame, Outbox, OutboxOptions, Payload};
use tokio::net::tcp::OwnedReadHalf;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::{LOST, frame, pair};
use crate::writers::coalesced::{Coalesced, SHARED};
use crate::writers::sends::Sends;
use crate::writers::{CLAIMS, COPIED, HandBack, SendHalf, WriterHandle, WriterPool, write_some};

/// A message of `len` bytes, a few dozen at least, in its plain form; `text` makes it differ from others.
fn message(text: &str, len: usize) -> Frame {
    let frame = |padding: usize| {
        let payload = format!("{{\"x\":\"{}\"}}", incompressible(padding));
        Frame::broadcast("/c", text, "r", Payload::from_json(&payload).unwrap())
    };
    let mut padding = len.saturating_sub(frame(0).wire().len());
    while frame(padding).wire().len() > len && padding > 0 {
        padding -= 1;
    }
    frame(padding)
}

/// Letters that deflate to about three quarters of their number.
fn incompressible(len: usize) -> String {
    let mut random = pondwire_test_support::Random::seeded(7);
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..len).map(|_| char::from(LETTERS[random.below(64)])).collect()
}

struct Connection {
    outbox: Outbox,
    handle: WriterHandle,
    client: TcpStream,
    deflates: bool,
    _reader: OwnedReadHalf,
}

impl Connection {
    /// Reads exactly these frames.
    fn expect(&mut self, frames: &[&Frame]) {
        for (number, frame) in frames.iter().enumerate() {
            let expected = frame.deflated().filter(|_| self.deflates).unwrap_or(frame.wire());
            let mut bytes = vec![0; expected.len()];
            self.client.read_exact(&mut bytes).expect("frames are missing");
            assert!(bytes == expected, "frame {number}");
        }
    }

    fn expect_nothing(&self) {
        self.client.set_nonblocking(true).unwrap();
        assert!((&self.client).read(&mut [0]).is_err(), "bytes that were not pushed");
        self.client.set_nonblocking(false).unwrap();
    }
}

/// A writer whose turns the test takes.
struct Bench {
    pool: WriterPool,
    coalesced: Coalesced,
    sends: Sends,
}

impl Bench {
    fn push(connections: &[Connection], frames: &[&Frame]) {
        for connection in connections {
            frames.iter().for_each(|&frame| _ = connection.outbox.push(frame.clone()));
        }
    }

    /// Serves all connections that are listed; the bytes that were copied after each turn.
    fn turns(&mut self) -> Vec<usize> {
        let ready = mem::take(&mut *self.pool.lists.lists[0].ready.lock());
        let (mut left, mut copied) = (ready.iter(), Vec::new());
        while left.len() > 0 {
            write_some(&mut left, &mut self.coalesced, &mut self.sends);
            copied.push(self.coalesced.len());
        }
        copied
    }
}

/// Runs a test with and without io_uring, on connections of which those `deflates` is true for deflate. The
/// writers themselves do not run: the test occupies the only thread.
fn with_bench(
    count: usize,
    small: bool,
    deflates: impl Fn(usize) -> bool,
    test: impl Fn(&mut Bench, Vec<Connection>),
) {
    for io_uring in [true, false] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pairs = Vec::new();
            for _ in 0..count {
                let (stream, client) = pair(small).await;
                // An attempt to write that fails makes tokio wait for the socket, as it should.
                stream.writable().await.unwrap();
                client.set_read_timeout(Some(LOST)).unwrap();
                pairs.push((stream, client));
            }
            let pool = WriterPool::start(io_uring);
            let (coalesced, sends) = (Coalesced::default(), Sends::new(io_uring));
            let mut bench = Bench { pool, coalesced, sends };
            let connections = pairs.into_iter().enumerate().map(|(number, (stream, client))| {
                let (_reader, stream) = stream.into_split();
                let (outbox, queue) = Outbox::new(OutboxOptions::default());
                let deflates = deflates(number);
                let handle = bench.pool.register(SendHalf { stream, queue, deflates });
                Connection { outbox, handle, client, deflates, _reader }
            });
            let connections = connections.collect();
            // They are listed once when they are registered.
            bench.turns();
            test(&mut bench, connections);
        });
    }
}

fn plain(_: usize) -> bool {
    false
}

#[test]
fn the_bytes_of_equal_batches_are_built_once() {
    with_bench(40, false, plain, |bench, mut connections| {
        let frames = [&message("first", 100), &message("second", 3000)];
        Bench::push(&connections, &frames);
        assert_eq!(bench.turns(), [frames[0].wire().len() + frames[1].wire().len()]);
        connections.iter_mut().for_each(|it| it.expect(&frames));
        // Each has something else, and only the last pair has the same.
        let own: Vec<Frame> = (0..39).map(|n| message(&format!("own {n}"), 200)).collect();
        for (connection, own) in connections.iter().zip(own.iter().chain(own.last())) {
            connection.outbox.push(own.clone());
        }
        let before = frames[0].wire().len() + frames[1].wire().len();
        let all: usize = own.iter().map(|own| own.wire().len()).sum();
        assert_eq!(bench.turns(), [before + all], "the last batch of the turn before, and these");
        for (connection, own) in connections.iter_mut().zip(own.iter().chain(own.last())) {
            connection.expect(&[own]);
            connection.expect_nothing();
        }
    });
}

/// The last batch of a turn is that of the first connection of the next.
#[test]
fn bytes_are_shared_by_several_turns() {
    with_bench(2 * CLAIMS + 3, false, plain, |bench, mut connections| {
        let frame = message("all", 1000);
        Bench::push(&connections, &[&frame]);
        assert_eq!(bench.turns(), [frame.wire().len(); 3], "turns of at most {CLAIMS}");
        connections.iter_mut().for_each(|it| it.expect(&[&frame]));
    });
}

/// The allocator gives the memory of a frame that was dropped to the next one of its size.
#[test]
fn a_new_frame_is_never_taken_for_a_dropped_one() {
    with_bench(2, false, plain, |bench, mut connections| {
        for round in 0..100 {
            for (number, connection) in connections.iter_mut().enumerate() {
                let text = format!("{round:03} {number}");
                let frame = message(&text, 150);
                connection.outbox.push(frame.clone());
                drop(frame);
                bench.turns();
                connection.expect(&[&message(&text, 150)]);
            }
        }
    });
}

#[test]
fn equal_frames_that_are_not_the_same_and_longer_batches_are_not_shared() {
    with_bench(3, false, plain, |bench, mut connections| {
        let (frame, equal, more) = (message("a", 200), message("a", 200), message("b", 100));
        connections[0].outbox.push(frame.clone());
        connections[1].outbox.push(equal.clone());
        Bench::push(&connections[2..], &[&equal, &more]);
        assert_eq!(bench.turns(), [3 * frame.wire().len() + more.wire().len()]);
        connections[0].expect(&[&frame]);
        connections[1].expect(&[&frame]);
        connections[2].expect(&[&frame, &more]);
    });
}

#[test]
fn control_frames_are_not_mistaken_for_each_other() {
    with_bench(3, false, plain, |bench, mut connections| {
        let ping = |number: usize| Control::ping(&[number as u8]).unwrap();
        let frame = message("all", 200);
        for (number, connection) in connections.iter().enumerate() {
            _ = connection.outbox.control(ping(number));
            _ = connection.outbox.push(frame.clone());
        }
        assert_eq!(bench.turns(), [3 * (ping(0).wire().len() + frame.wire().len())]);
        for (number, connection) in connections.iter_mut().enumerate() {
            let mut bytes = vec![0; ping(0).wire().len()];
            connection.client.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, ping(number).wire());
            connection.expect(&[&frame]);
        }
    });
}

#[test]
fn plain_and_deflated_connections_share_bytes_each_with_their_like() {
    with_bench(
        30,
        false,
        |number| number % 3 == 0,
        |bench, mut connections| {
            let frame = message("both", 4000);
            let deflated = frame.deflated().expect("it is shorter").len();
            assert!(deflated < frame.wire().len());
            for _ in 0..2 {
                Bench::push(&connections, &[&frame]);
                assert_eq!(bench.turns(), [frame.wire().len() + deflated]);
                connections.iter_mut().for_each(|it| it.expect(&[&frame]));
            }
        },
    );
}

/// Those after the first, to which it was written without a copy.
#[test]
fn a_large_batch_is_copied_for_several_connections_but_not_for_one() {
    with_bench(
        5,
        false,
        |number| number == 4,
        |bench, mut connections| {
            let frames: Vec<Frame> =
                (0..5).map(|n| message(&format!("{n}"), COPIED - 100)).collect();
            let frames: Vec<&Frame> = frames.iter().collect();
            let total: usize = frames.iter().map(|frame| frame.wire().len()).sum();
            Bench::push(&connections[..4], &frames);
            assert_eq!(bench.turns(), [0, total], "the first ends its turn");
            Bench::push(&connections[..1], &frames);
            assert_eq!(bench.turns(), [total], "the bytes are there");
            connections[0].expect(&frames);
            connections[..4].iter_mut().for_each(|it| it.expect(&frames));
            // The same, deflated: its only connection is sent them without a copy.
            Bench::push(&connections[4..], &frames);
            assert_eq!(bench.turns(), [total]);
            connections[4].expect(&frames);
            // Different ones.
            for connection in &connections[..4] {
                Bench::push(std::slice::from_ref(connection), &[&message("own", COPIED + 1000)]);
            }
            assert_eq!(bench.turns(), [total, 0, 0, 0]);
            connections[..4].iter_mut().for_each(|it| it.expect(&[&message("own", COPIED + 1000)]));
        },
    );
}

#[test]
fn a_frame_beyond_the_bound_is_never_copied() {
    with_bench(3, false, plain, |bench, connections| {
        let frame = message("large", SHARED + 1000);
        Bench::push(&connections, &[&frame]);
        let mut reading = Vec::new();
        for mut connection in connections {
            let frame = frame.clone();
            let Connection { ref mut client, .. } = connection;
            let mut client = client.try_clone().unwrap();
            let len = frame.wire().len();
            reading.push((
                connection,
                std::thread::spawn(move || {
                    let mut bytes = vec![0; len];
                    client.read_exact(&mut bytes).map(|()| bytes)
                }),
            ));
        }
        assert_eq!(bench.turns(), [0, 0, 0]);
        for (connection, client) in reading {
            // What the socket had no space for.
            if let Some((half, Some(HandBack::Full(rest)))) = connection.handle.take() {
                let stream = half.stream.reunite(connection._reader).unwrap().into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                std::io::Write::write_all(&mut &stream, &rest).unwrap();
            }
            assert!(client.join().unwrap().unwrap() == frame.wire());
        }
    });
}

#[test]
fn the_rest_of_shared_bytes_is_handed_back_when_sockets_are_full() {
    with_bench(6, true, plain, |bench, connections| {
        let frames: Vec<Frame> = (0..30).map(|n| message(&format!("{n}"), COPIED - 100)).collect();
        let frames: Vec<&Frame> = frames.iter().collect();
        let all: Vec<u8> = frames.iter().flat_map(|frame| frame.wire()).copied().collect();
        assert!(all.len() <= SHARED);
        Bench::push(&connections, &frames);
        assert_eq!(bench.turns().last(), Some(&all.len()));
        for mut connection in connections {
            let Some((mut half, Some(HandBack::Full(rest)))) = connection.handle.take() else {
                panic!("the socket's buffers are much smaller")
            };
            assert!(!rest.is_empty() && all.ends_with(&rest));
            assert!(half.queue.try_batch().is_none(), "all of them were taken");
            let mut bytes = vec![0; all.len() - rest.len()];
            connection.client.read_exact(&mut bytes).unwrap();
            assert!(all.starts_with(&bytes));
            connection.expect_nothing();
        }
    });
}

/// Frames that are queued in the middle of a turn follow bytes that others share.
#[test]
fn a_second_batch_follows_shared_bytes() {
    with_bench(4, false, plain, |bench, mut connections| {
        let small = [&message("a", 200), &message("b", 300)];
        // More frames than a batch has, so that the connections with more have a second one.
        let first: Vec<&Frame> = iter::repeat_n(small[0], 64).collect();
        for (extra, first) in [(100, &first[..32]), (100, &first), (COPIED, &first)] {
            let more = message("more", extra);
            let first_len = 200 * first.len();
            assert_eq!(small[0].wire().len(), 200);
            Bench::push(&connections, first);
            Bench::push(&connections[2..], &[&more]);
            bench.turns();
            for (number, connection) in connections.iter_mut().enumerate() {
                connection.expect(first);
                if number >= 2 {
                    connection.expect(&[&more]);
                }
                connection.expect_nothing();
            }
            assert!(bench.coalesced.len() <= 2 * first_len + 2 * more.wire().len());
        }
    });
}

/// A connection that its task, or another writer, has in hand is listed again instead of waited for.
#[test]
fn a_connection_in_other_hands_stays_listed() {
    with_bench(2, false, plain, |bench, mut connections| {
        let frame = message("a", 200);
        Bench::push(&connections, &[&frame]);
        let registration = Arc::clone(&connections[0].handle.0);
        let held = registration.slot.lock();
        bench.turns();
        connections[1].expect(&[&frame]);
        connections[0].expect_nothing();
        bench.turns();
        connections[0].expect_nothing();
        drop(held);
        bench.turns();
        connections[0].expect(&[&frame]);
        assert!(bench.turns().is_empty(), "nothing is listed");
    });
}

/// The frames that all connections get, with one writer, then two, then one again.
#[test]
fn connections_move_to_a_second_writer_and_back() {
    const COUNT: usize = 20;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = WriterPool::start(true);
        let mut connections = Vec::new();
        for _ in 0..COUNT {
            let (stream, client) = pair(false).await;
            client.set_read_timeout(Some(LOST)).unwrap();
            let (_reader, stream) = stream.into_split();
            let (outbox, queue) = Outbox::new(OutboxOptions::default());
            let handle = pool.register(SendHalf { stream, queue, deflates: false });
            connections.push(Connection { outbox, handle, client, deflates: false, _reader });
        }
        let mut number = 0;
        let mut seconds = Vec::new();
        for active in [1, 2, 1] {
            pool.lists.active.store(active, Ordering::Relaxed);
            let frames: Vec<Frame> = (0..20).map(|n| frame(0, number + n)).collect();
            number += 20;
            for (n, frame) in frames.iter().enumerate() {
                Bench::push(&connections, &[frame]);
                if n % 3 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            connections = tokio::task::spawn_blocking(move || {
                let frames: Vec<&Frame> = frames.iter().collect();
                connections.iter_mut().for_each(|it| it.expect(&frames));
                connections
            })
            .await
            .unwrap();
            // The turn ends after the clients have read.
            sleep(Duration::from_millis(50)).await;
            let busy = pool.lists.lists[1].busy.load(Ordering::Relaxed);
            seconds.push(busy);
        }
        assert!(seconds[0] == 0 && seconds[1] > 0, "the second writer: {seconds:?}");
        assert_eq!(seconds[1], seconds[2], "the second writer");
    });
}
