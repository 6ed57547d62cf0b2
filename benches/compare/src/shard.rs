//! One thread publishes to every member of a room, and gives each member's socket its bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::task::{Context, Waker};

use bytes::Bytes;
use parking_lot::RwLock;
use pondwire::frame::Form;
use pondwire::room::{RoomReader, Seat, SeatMembership, Shard};
use pondwire::{Frame, Membership, Outbox, OutboxOptions, OutboxReader, Payload, Room};
use tokio::sync::{broadcast, mpsc};

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID};
use crate::payloads;
use crate::report::Section;

/// The number of frames that may wait for a connection.
pub const QUEUE: usize = 256;

/// The frames of a round of several.
const SEVERAL: usize = 8;

const SIZES: [(&str, usize); 4] =
    [("256", 256), ("4k", 4 << 10), ("64k", 64 << 10), ("1M", 1 << 20)];

pub fn section(plan: &Plan) -> Section {
    let mut rows = Vec::new();
    // First: it allocates, and the others leave a heap in pieces behind.
    let join = plan.wants("join + leave").then(|| join(plan, 64 << 10));
    for (size, members) in SIZES {
        for frames in [1, SEVERAL] {
            let name = match frames {
                1 => format!("shard {size}"),
                _ => format!("shard {size} x{frames}"),
            };
            if plan.wants(&name) {
                rows.push(deliver(plan, name, members, frames));
            }
        }
        let name = format!("publish {size}");
        if plan.wants(&name) {
            rows.push(publish(plan, name, members));
        }
    }
    rows.extend(join);
    Section {
        title: "Rooms as logs, ns per delivery, per publish or per join",
        size: "bytes",
        note: "`shard`: a finished frame, or eight, to every member of a room and out of it again; a \
               socket is a function that is given a pointer and a length. shard: members sit in one \
               shard. readers: each member has a reader of the room, and gives its socket each frame. \
               Outboxes: the same room with an outbox for each. broadcast: tokio's, of `Bytes` \
               and of `Frame`, whose receivers give one frame at a time. mpsc: a \
               `parking_lot::RwLock<HashMap>` of tokio's bounded senders of `Bytes`. `publish`: the publisher alone, \
               256 times; the time in which one member takes these out does not count. \
               `join + leave`: of one member among 64k.",
        rows,
    }
}

fn frame() -> Frame {
    let payload = payloads::json(149);
    let payload = Payload::from_json(&payload).expect("JSON");
    Frame::broadcast(CHANNEL, "message", REQUEST_ID, payload)
}

/// What a writer does with one socket.
#[inline(never)]
fn send(socket: u32, bytes: &[u8]) -> usize {
    black_box((socket, bytes.as_ptr()));
    bytes.len()
}

/// A room whose members sit in a shard.
struct Seated {
    room: Room,
    shard: Shard,
    _members: Vec<(SeatMembership, Seat)>,
}

impl Seated {
    fn new(members: usize) -> Self {
        let (room, shard) = (Room::new(), Shard::new(OutboxOptions::new()));
        let handle = shard.handle();
        let mut this = Self { room, shard, _members: Vec::with_capacity(members) };
        for id in 0..members {
            let seat = handle.open(Form::WebSocket);
            let member = this.room.seat(&id.to_string(), &seat, None).expect("open");
            this._members.push((member, seat));
            if id % 1000 == 0 {
                this.drain();
            }
        }
        this.drain();
        this
    }

    /// The number of sends.
    fn drain(&mut self) -> usize {
        let mut sends = 0;
        while self.shard.poll_round(&mut Context::from_waker(Waker::noop())).is_ready() {
            let mut short = 0;
            for run in self.shard.sends() {
                for &seat in run.seats {
                    short += usize::from(send(seat, run.bytes) != run.bytes.len());
                }
                sends += run.seats.len();
            }
            assert_eq!(black_box(short), 0);
            self.shard.end_round();
        }
        sends
    }
}

/// A room whose members have a reader each.
fn with_readers(members: usize) -> (Room, Vec<RoomReader>) {
    let room = Room::new();
    let readers = (0..members).map(|id| room.reader(&id.to_string()).expect("open")).collect();
    (room, readers)
}

/// The number of frames that the members' sockets are given.
fn read(readers: &mut [RoomReader]) -> usize {
    let (mut frames, mut short) = (0, 0);
    for (socket, reader) in readers.iter_mut().enumerate() {
        while let Some(batch) = reader.try_batch() {
            for frame in batch.iter() {
                short += usize::from(send(socket as u32, frame) != frame.len());
                frames += 1;
            }
        }
    }
    assert_eq!(black_box(short), 0);
    frames
}

/// A room whose members have an outbox each.
fn with_outboxes(members: usize) -> (Room, Vec<Membership>, Vec<OutboxReader>) {
    let room = Room::new();
    let options = OutboxOptions::new().with_max_frames(QUEUE);
    let join = |id: usize| {
        let (outbox, reader) = Outbox::new(options);
        (room.join(&id.to_string(), outbox).expect("open"), reader)
    };
    let (memberships, readers) = (0..members).map(join).unzip();
    (room, memberships, readers)
}

/// The usual first design of a room: a map of senders behind a lock.
pub type Senders = RwLock<HashMap<usize, mpsc::Sender<Bytes>>>;

pub const MPSC: &str = "RwLock<HashMap> + mpsc";

pub fn with_mpsc(members: usize) -> (Senders, Vec<mpsc::Receiver<Bytes>>) {
    let join = |id: usize| {
        let (sender, receiver) = mpsc::channel(QUEUE);
        ((id, sender), receiver)
    };
    let (senders, receivers): (HashMap<_, _>, Vec<_>) = (0..members).map(join).unzip();
    (RwLock::new(senders), receivers)
}

fn deliver(plan: &Plan, name: String, members: usize, frames: usize) -> Row {
    let frame = frame();
    let bytes = frame.wire_bytes();
    let expected = members * frames;

    let mut seated = Seated::new(members);
    let by_shard = || {
        for _ in 0..frames {
            seated.room.publish(&frame);
        }
        Some(seated.drain() * frames)
    };

    let (room, mut readers) = with_readers(members);
    let by_readers = || {
        for _ in 0..frames {
            room.publish(&frame);
        }
        Some(read(&mut readers))
    };

    let (room, _memberships, mut outboxes) = with_outboxes(members);
    let by_outboxes = || {
        for _ in 0..frames {
            room.publish(&frame);
        }
        let batches = outboxes.iter_mut().filter_map(OutboxReader::try_batch);
        Some(batches.map(|batch| black_box(batch.frames())).sum())
    };

    let (publisher, _) = broadcast::channel::<Bytes>(QUEUE);
    let mut subscribers: Vec<_> = (0..members).map(|_| publisher.subscribe()).collect();
    let by_bytes = || {
        for _ in 0..frames {
            publisher.send(bytes.clone()).expect("there are subscribers");
        }
        Some(receive(&mut subscribers))
    };

    let (publisher, _) = broadcast::channel::<Frame>(QUEUE);
    let mut subscribers: Vec<_> = (0..members).map(|_| publisher.subscribe()).collect();
    let by_frame = || {
        for _ in 0..frames {
            publisher.send(frame.clone()).expect("there are subscribers");
        }
        Some(receive(&mut subscribers))
    };

    let (senders, mut receivers) = with_mpsc(members);
    let by_mpsc = || {
        for _ in 0..frames {
            for sender in senders.read().values() {
                sender.try_send(bytes.clone()).expect("there is place");
            }
        }
        let received = |receiver: &mut mpsc::Receiver<Bytes>| {
            std::iter::from_fn(|| receiver.try_recv().ok()).map(black_box).count()
        };
        Some(receivers.iter_mut().map(received).sum())
    };

    let contenders = vec![
        Contender::checked("shard", &expected, by_shard),
        Contender::checked("readers", &expected, by_readers),
        Contender::checked("outboxes", &expected, by_outboxes),
        Contender::checked("tokio broadcast, Bytes", &expected, by_bytes),
        Contender::checked("tokio broadcast, Frame", &expected, by_frame),
        Contender::checked(MPSC, &expected, by_mpsc),
    ];
    plan.race(name, expected, frame.wire().len() * expected, contenders)
}

fn receive<T: Clone>(subscribers: &mut [broadcast::Receiver<T>]) -> usize {
    let mut received = 0;
    for subscriber in subscribers {
        while let Ok(frame) = subscriber.try_recv() {
            black_box(&frame);
            received += 1;
        }
    }
    received
}

fn repeat<T>(publish: impl Fn() -> T) {
    for _ in 0..QUEUE {
        black_box(publish());
    }
}

/// The publisher alone: the time in which a member takes out what waits does not count.
fn publish(plan: &Plan, name: String, members: usize) -> Row {
    let frame = frame();
    let (publisher, subscriber) = broadcast::channel::<Frame>(QUEUE);
    let _others: Vec<_> = (1..members).map(|_| publisher.subscribe()).collect();
    let contenders = vec![
        Contender::partly(
            "shard",
            Seated::new(1),
            |seated| repeat(|| seated.room.publish(&frame)),
            |seated| assert_eq!(seated.drain(), 1),
        ),
        Contender::partly(
            "readers",
            with_readers(members),
            |(room, _)| repeat(|| room.publish(&frame)),
            |(_, readers)| assert_eq!(read(&mut readers[..1]), QUEUE),
        ),
        Contender::partly(
            "tokio broadcast, Frame",
            subscriber,
            |_| repeat(|| publisher.send(frame.clone())),
            |subscriber| while subscriber.try_recv().is_ok() {},
        ),
    ];
    plan.race(name, QUEUE, frame.wire().len() * QUEUE, contenders)
}

fn join(plan: &Plan, members: usize) -> Row {
    let (room, _readers) = with_readers(members);
    let by_reader = || {
        drop(room.reader("newcomer").expect("open"));
        Some(())
    };
    let (seated, outboxes) = (RefCell::new(Seated::new(members)), with_outboxes(members));
    let seat = seated.borrow().shard.handle().open(Form::WebSocket);
    let mut count = 0;
    let by_shard = || {
        let mut seated = seated.borrow_mut();
        drop(seated.room.seat("newcomer", &seat, None).expect("open"));
        count += 1;
        if count % SEVERAL == 0 {
            seated.drain();
        }
        Some(())
    };
    let (outbox, _reader) = Outbox::new(OutboxOptions::new());
    let by_outbox = || {
        drop(outboxes.0.join("newcomer", outbox.clone()).expect("open"));
        Some(())
    };
    let contenders = vec![
        Contender::checked("shard", &(), by_shard),
        Contender::checked("readers", &(), by_reader),
        Contender::checked("outboxes", &(), by_outbox),
    ];
    plan.race("join + leave".to_owned(), 1, 1, contenders)
}
