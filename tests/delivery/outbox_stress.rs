//! Eight threads on one outbox, for `PONDWIRE_STRESS_SECONDS` (2): each producer's order is kept,
//! every lost frame is counted, and the consumer never misses a wake-up.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Buf;
use pondwire::frame::Control;
use pondwire::outbox::{CloseReason, Push};
use pondwire::{Frame, Outbox, OutboxOptions, Payload, Policy};

const PRODUCERS: usize = 7;

/// How long a wake-up may take before it counts as lost.
const LOST: Duration = Duration::from_secs(20);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let start = Instant::now();
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        thread::park_timeout(LOST);
        assert!(start.elapsed() < LOST, "no push woke the consumer");
    }
}

fn seconds() -> Duration {
    let seconds = std::env::var("PONDWIRE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(2.0) / 5.0)
}

fn frame(producer: usize, number: u64) -> Frame {
    let padding = "x".repeat((number % 40) as usize);
    Frame::broadcast(&padding, &format!("{producer}:{number}"), "r", Payload::EMPTY)
}

/// Producer and number of a wire frame.
fn parse(wire: &[u8]) -> (usize, u64) {
    let text = std::str::from_utf8(wire.splitn(2, |&byte| byte == b'{').nth(1).unwrap()).unwrap();
    let event = text.split("\"event\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (producer, number) = event.split_once(':').unwrap();
    (producer.parse().unwrap(), number.parse().unwrap())
}

/// The results of all pushes, summed up.
#[derive(Default, Debug)]
struct Pushed {
    offered: u64,
    closed: u64,
}

fn produce(outbox: &Outbox, producer: usize, keyed: bool, end: Instant) -> Pushed {
    let mut pushed = Pushed::default();
    for number in 0.. {
        // Bursts and pauses, so that the consumer falls asleep, too.
        if number % 64 == 0 {
            if Instant::now() > end {
                break;
            }
            if (number / 64 + producer as u64).is_multiple_of(3) {
                thread::sleep(Duration::from_micros(50));
            }
        }
        let frame = frame(producer, number);
        let push = match number % 3 {
            0 => outbox.push(frame),
            1 if keyed => outbox.push_keyed(producer as u64 % 3, frame),
            _ => outbox.push_from(&mut frame.references(2)),
        };
        pushed.offered += 1;
        if push.is_closed() {
            pushed.closed += 1;
            break;
        }
    }
    pushed
}

fn run(policy: Policy, max_frames: usize, max_bytes: usize) {
    let options = OutboxOptions::new()
        .with_policy(policy)
        .with_max_frames(max_frames)
        .with_max_bytes(max_bytes);
    let (outbox, mut reader) = Outbox::new(options);
    let end = Instant::now() + seconds();
    let keyed = policy == Policy::Conflate;
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let outbox = outbox.clone();
            thread::spawn(move || produce(&outbox, producer, keyed, end))
        })
        .collect();
    let watch = outbox.clone();
    drop(outbox);
    let pinger = thread::spawn(move || {
        while Instant::now() < end && watch.closed().is_none() {
            let stats = watch.stats();
            assert!(stats.queued_frames <= max_frames && stats.queued_bytes <= max_bytes);
            watch.control(Control::pong(b"beat").unwrap());
            thread::sleep(Duration::from_micros(200));
        }
    });

    let mut next = [0; PRODUCERS];
    let (mut delivered, mut lagged, mut batches) = (0_u64, 0, 0_u64);
    while let Some(mut batch) = block_on(reader.next_batch()) {
        batches += 1;
        lagged += batch.lagged();
        for wire in batch.iter().filter(|wire| wire[0] == 0x81) {
            let (producer, number) = parse(wire);
            // A frame replaced in place may come before older ones of its producer.
            assert!(keyed || number >= next[producer], "{producer}: {number} after others");
            next[producer] = number + 1;
            delivered += 1;
        }
        let written = batch.remaining() / 2;
        batch.advance(written);
        if batches.is_multiple_of(16) {
            drop(batch);
            thread::sleep(Duration::from_micros(100));
        }
    }
    let mut all = Pushed::default();
    for producer in producers {
        let pushed = producer.join().unwrap();
        all.offered += pushed.offered;
        all.closed += pushed.closed;
    }
    pinger.join().unwrap();
    let stats = reader.stats();
    println!("{policy:?}: {all:?}, {batches} batches, {stats:?}");
    assert_eq!(stats.delivered, delivered);
    assert_eq!(stats.queued_frames + stats.queued_bytes, 0);
    assert_eq!(all.offered, delivered + stats.conflated + stats.lost() + all.closed);
    assert!(lagged <= stats.dropped_oldest + stats.dropped_newest);
    assert!(keyed || all.closed > 0 || next.iter().all(|&next| next > 0));
    match policy {
        Policy::DropOldest => assert!(stats.dropped_oldest > 0),
        Policy::DropNewest => assert_eq!(stats.dropped_oldest + stats.conflated, 0),
        Policy::Conflate => assert!(stats.conflated > 0),
        Policy::Disconnect { .. } => {
            let is_too_slow = reader.closed().unwrap().is_too_slow();
            assert_eq!(all.closed > 0, is_too_slow);
        }
        other => panic!("no check for {other:?}"),
    }
}

#[test]
fn drop_oldest() {
    run(Policy::DropOldest, 100, 1 << 20);
    run(Policy::DropOldest, 3, 300);
}

#[test]
fn drop_newest() {
    run(Policy::DropNewest, 1000, 20_000);
}

#[test]
fn conflate() {
    run(Policy::Conflate, 50, 1 << 20);
}

#[test]
fn disconnect() {
    let max_age = Some(Duration::from_secs(100));
    let end = Instant::now() + seconds();
    while Instant::now() < end {
        run(Policy::Disconnect { max_age }, 200, 1 << 20);
        run(Policy::Disconnect { max_age: None }, 1 << 17, 4096);
    }
}

/// Outboxes are created and dropped while all threads push into them.
#[test]
fn dropped_readers_free_the_queued_frames() {
    let end = Instant::now() + seconds();
    let shared = frame(0, 0);
    let mut rounds = 0;
    while Instant::now() < end {
        rounds += 1;
        let policy = [Policy::DropOldest, Policy::DropNewest][rounds % 2];
        let (outbox, mut reader) =
            Outbox::new(OutboxOptions::new().with_policy(policy).with_max_frames(20));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|_| {
                let (outbox, shared) = (outbox.clone(), shared.clone());
                thread::spawn(move || {
                    let mut references = shared.references(50);
                    let mut queued = 0;
                    while queued < 1000 && !outbox.push_from(&mut references).is_closed() {
                        queued += 1;
                    }
                })
            })
            .collect();
        for _ in 0..rounds % 10 {
            drop(reader.try_batch());
        }
        drop(reader);
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        let stats = outbox.stats();
        assert_eq!((stats.queued_frames, stats.queued_bytes), (0, 0));
        assert_eq!(outbox.closed(), Some(CloseReason::ReaderDropped));
        assert_eq!(outbox.push(shared.clone()), Push::Closed);
    }
    assert!(rounds > 3);
}
