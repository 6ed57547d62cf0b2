//! Shards: what each connection receives, against a list of what it must.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use pondwire::frame::{Control, Form};
use pondwire::outbox::{CloseReason, Push};
use pondwire::room::{RoomOptions, Seat, SeatMembership, Shard};
use pondwire::{Frame, OutboxOptions, Payload, Policy, Room};
use pondwire_test_support::Random;

fn frame(room: usize, number: u64) -> Frame {
    let payload = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(number as usize % 40));
    let payload = Payload::from_json(&payload).unwrap();
    Frame::broadcast(&format!("/room/{room}"), "say", "r", payload)
}

/// A connection of the model: what it must have received, by room (the last: frames of no room).
struct Client {
    seat: Seat,
    memberships: Vec<Option<SeatMembership>>,
    expected: Vec<Vec<Frame>>,
    received: Vec<u8>,
    user: usize,
    audiences: Vec<u32>,
    form: Form,
}

impl Client {
    fn expect(&mut self, room: usize, frame: &Frame) {
        self.expected[room].push(frame.clone());
    }

    /// Compares everything that arrived.
    fn check(&self) {
        let (mut rest, mut expected) = (&self.received[..], self.expected.clone());
        for frames in &mut expected {
            frames.reverse();
        }
        while !rest.is_empty() {
            let next = expected.iter_mut().find_map(|frames| {
                let bytes = match self.form {
                    Form::Sse => frames.last()?.sse(),
                    _ => frames.last()?.wire(),
                };
                let after = rest.strip_prefix(bytes)?;
                frames.pop();
                Some(after)
            });
            let text = String::from_utf8_lossy(&rest[..rest.len().min(150)]);
            rest = next.unwrap_or_else(|| panic!("seat {}: {text}", self.seat.number()));
        }
        let missing: Vec<_> = expected.iter().flatten().collect();
        assert!(missing.is_empty(), "seat {}: {missing:?}", self.seat.number());
    }
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Runs rounds until there is nothing to do. `space` says how many of so many bytes a socket takes now.
fn run_rounds(
    shard: &mut Shard,
    space: &mut impl FnMut(usize) -> usize,
    received: &mut impl FnMut(usize, &[u8]),
) -> usize {
    let mut rounds = 0;
    while shard.poll_round(&mut noop()).is_ready() {
        rounds += 1;
        let mut short = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for send in shard.sends() {
            assert!(!send.bytes.is_empty());
            for &seat in send.seats {
                assert!(seen.insert(seat), "seat {seat} is sent one run of bytes in a round");
                let sent = space(send.bytes.len());
                received(seat as usize, &send.bytes[..sent]);
                if sent < send.bytes.len() {
                    short.push((seat as usize, sent));
                }
            }
        }
        for (seat, sent) in short {
            shard.fell_short(seat, sent);
        }
        for seat in shard.held_back().collect::<Vec<_>>() {
            assert!(seen.insert(seat as u32), "seat {seat} is sent one run of bytes in a round");
            shard.write_behind(seat, |bytes| {
                let sent = space(bytes.len());
                received(seat, &bytes[..sent]);
                sent
            });
        }
        shard.end_round();
    }
    rounds
}

#[test]
fn every_connection_receives_exactly_what_it_must() {
    let cases = pondwire_test_support::cases(300) as u64;
    for seed in 0..cases {
        one_history(seed);
    }
}

fn one_history(seed: u64) {
    const ROOMS: usize = 3;
    let mut random = Random::seeded(seed);
    // No frame is dropped: the model does not know about bounds.
    let options = OutboxOptions::new().with_max_frames(100_000).with_max_bytes(100 << 20);
    let mut shards = [Shard::new(options), Shard::new(options)];
    let rooms: Vec<Room> = (0..ROOMS).map(|_| Room::new()).collect();
    let mut clients: Vec<(usize, Client)> = Vec::new();
    let mut number = 0;
    for _ in 0..250 {
        let mut next = |room| {
            number += 1;
            frame(room, number)
        };
        let room = random.below(ROOMS);
        let action = random.below(14);
        let some = (!clients.is_empty()).then(|| random.below(clients.len()));
        match (action, some) {
            (0, _) => {
                let shard = random.below(2);
                let form = if random.below(4) == 0 { Form::Sse } else { Form::WebSocket };
                let seat = shards[shard].handle().open(form);
                clients.push((
                    shard,
                    Client {
                        seat,
                        memberships: (0..ROOMS).map(|_| None).collect(),
                        expected: vec![Vec::new(); ROOMS + 1],
                        received: Vec::new(),
                        user: random.below(6),
                        audiences: vec![u32::MAX; ROOMS],
                        form,
                    },
                ));
            }
            (1 | 2, Some(at)) => {
                let client = &mut clients[at].1;
                if client.memberships[room].is_none() {
                    let first = (random.below(2) == 0).then(|| next(room));
                    if let Some(first) = &first {
                        client.expect(room, first);
                    }
                    let user = client.user.to_string();
                    let joined = rooms[room].seat(&user, &client.seat, first).unwrap();
                    client.memberships[room] = Some(joined);
                    client.audiences[room] = u32::MAX;
                }
            }
            (3, Some(at)) => {
                let client = &mut clients[at].1;
                let left = client.memberships[room].take();
                if let Some(membership) = left.filter(|_| random.below(2) == 0) {
                    let last = next(room);
                    client.expect(room, &last);
                    membership.leave_with(last);
                }
            }
            (4 | 5, _) => {
                let frame = next(room);
                rooms[room].publish(&frame);
                for (_, client) in &mut clients {
                    if client.memberships[room].is_some() && client.audiences[room] != 0 {
                        client.expect(room, &frame);
                    }
                }
            }
            (6, _) => {
                let (frame, user) = (next(room), random.below(6));
                rooms[room].publish_except(&frame, &user.to_string());
                for (_, client) in &mut clients {
                    let is_there = client.memberships[room].is_some();
                    if is_there && client.user != user && client.audiences[room] != 0 {
                        client.expect(room, &frame);
                    }
                }
            }
            (7, _) => {
                let (frame, user) = (next(room), random.below(6));
                rooms[room].publish_to(&frame, [&*user.to_string()]);
                for (_, client) in &mut clients {
                    if client.memberships[room].is_some() && client.user == user {
                        client.expect(room, &frame);
                    }
                }
            }
            (8, _) => {
                let (frame, audience) = (next(room), 1 << random.below(3));
                rooms[room].publish_to_audience(audience, &frame);
                for (_, client) in &mut clients {
                    let is_there = client.memberships[room].is_some();
                    if is_there && client.audiences[room] & audience != 0 {
                        client.expect(room, &frame);
                    }
                }
            }
            (9, Some(at)) => {
                let client = &mut clients[at].1;
                if let Some(membership) = &client.memberships[room] {
                    client.audiences[room] = random.below(8) as u32;
                    membership.set_audience(client.audiences[room]).unwrap();
                }
            }
            (10, Some(at)) => {
                let frame = next(room);
                let client = &mut clients[at].1;
                if let Some(membership) = &client.memberships[room] {
                    assert_eq!(membership.push(frame.clone()), Push::Queued);
                    client.expect(room, &frame);
                }
            }
            (11, Some(at)) => {
                let frame = next(ROOMS);
                let client = &mut clients[at].1;
                assert_eq!(client.seat.push(frame.clone()), Push::Queued);
                client.expect(ROOMS, &frame);
            }
            (12, Some(at)) if random.below(4) == 0 => {
                // All that it must have received comes first.
                let (shard, mut client) = clients.swap_remove(at);
                drain(&mut shards[shard], shard, &mut clients, Some(&mut client));
                client.check();
            }
            (12 | 13, _) => {
                let shard = random.below(2);
                let mut seats = seats(shard, &mut clients);
                let mut space =
                    |len: usize| if random.below(3) == 0 { random.below(len + 1) } else { len };
                run_rounds(&mut shards[shard], &mut space, &mut |seat, bytes| {
                    seats.get_mut(&seat).unwrap().extend_from_slice(bytes);
                });
                for (seat, received) in seats {
                    if random.below(2) == 0 {
                        let most = random.below(200);
                        shards[shard].write_behind(seat, |bytes| {
                            let sent = bytes.len().min(most);
                            received.extend_from_slice(&bytes[..sent]);
                            sent
                        });
                    }
                }
            }
            _ => {}
        }
    }
    for (at, shard) in shards.iter_mut().enumerate() {
        drain(shard, at, &mut clients, None);
        assert_eq!((shard.lost(), shard.failed().count()), (0, 0));
    }
    for (_, client) in &clients {
        client.check();
    }
    // Everything is free again: seats are used again, and rooms detached.
    drop(clients);
    for shard in &mut shards {
        run_rounds(shard, &mut |len| len, &mut |_, _| ());
        assert!(shard.handle().open(Form::WebSocket).number() < 30);
    }
}

/// The received bytes of a shard's clients, by seat.
fn seats(shard: usize, clients: &mut [(usize, Client)]) -> HashMap<usize, &mut Vec<u8>> {
    let of_shard = clients.iter_mut().filter(|(of, _)| *of == shard);
    of_shard.map(|(_, client)| (client.seat.number(), &mut client.received)).collect()
}

/// Sends everything.
fn drain(
    shard: &mut Shard,
    at: usize,
    clients: &mut [(usize, Client)],
    extra: Option<&mut Client>,
) {
    let mut seats = seats(at, clients);
    if let Some(client) = extra {
        seats.insert(client.seat.number(), &mut client.received);
    }
    for (&seat, received) in &mut seats {
        shard.write_behind(seat, |bytes| {
            received.extend_from_slice(bytes);
            bytes.len()
        });
    }
    run_rounds(shard, &mut |len| len, &mut |seat, bytes| {
        seats.get_mut(&seat).unwrap().extend_from_slice(bytes);
    });
    for (&seat, received) in &mut seats {
        shard.write_behind(seat, |bytes| {
            received.extend_from_slice(bytes);
            bytes.len()
        });
        assert!(!shard.is_behind(seat));
    }
}

/// A shard, a room, and so many members that are seated and have read their joins.
fn seated(
    options: OutboxOptions,
    room_options: RoomOptions,
    members: usize,
) -> (Shard, Room, Vec<(SeatMembership, Seat)>) {
    let (mut shard, room) = (Shard::new(options), Room::with_options(room_options));
    let handle = shard.handle();
    let join = |id: usize| {
        let seat = handle.open(Form::WebSocket);
        (room.seat(&id.to_string(), &seat, None).unwrap(), seat)
    };
    let members = (0..members).map(join).collect();
    run_rounds(&mut shard, &mut |len| len, &mut |_, _| ());
    (shard, room, members)
}

#[test]
fn a_round_is_one_run_of_bytes_for_all_who_keep_up() {
    let (mut shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 1000);
    let frames = [frame(0, 1), frame(0, 2)];
    frames.iter().for_each(|frame| {
        room.publish(frame);
    });
    assert!(shard.poll_round(&mut noop()).is_ready());
    let sends: Vec<_> = shard.sends().collect();
    assert_eq!((sends.len(), sends[0].seats.len()), (1, 1000));
    assert_eq!(sends[0].bytes, [frames[0].wire(), frames[1].wire()].concat());
    // The excepted user's connection is sent the rest by itself.
    room.publish_except(&frames[0], "7");
    room.publish(&frames[1]);
    assert!(shard.poll_round(&mut noop()).is_ready());
    let sends: Vec<_> =
        shard.sends().map(|send| (send.seats.to_vec(), send.bytes.to_vec())).collect();
    assert_eq!((sends.len(), sends[0].0.len()), (2, 999));
    let apart = vec![members[7].1.number() as u32];
    assert_eq!(sends[1], (apart, frames[1].wire().to_vec()));
    assert!(shard.poll_round(&mut noop()).is_pending());
}

/// What one connection gets of ten frames if its socket took one byte and a half of the first, then nothing
/// until the end, with at most three frames in its outbox.
fn lagging(policy: Policy) -> (Vec<u64>, Option<CloseReason>) {
    let options = OutboxOptions::new().with_policy(policy).with_max_frames(3);
    let (mut shard, room, members) = seated(options, RoomOptions::new(), 2);
    let slow = members[0].1.number();
    let (mut got, mut others) = (Vec::new(), Vec::new());
    let mut space = None;
    for number in 1..=10 {
        room.publish_keyed(number % 2, &frame(0, number));
        while shard.poll_round(&mut noop()).is_ready() {
            let mut short = None;
            for send in shard.sends() {
                for &seat in send.seats {
                    if seat as usize == slow {
                        let taken = space.replace(0).unwrap_or(9);
                        got.extend_from_slice(&send.bytes[..taken]);
                        short = Some(taken);
                    } else {
                        others.extend_from_slice(send.bytes);
                    }
                }
            }
            if let Some(taken) = short {
                shard.fell_short(slow, taken);
            }
            shard.end_round();
        }
    }
    assert_eq!(numbers(&others), (1..=10).collect::<Vec<_>>(), "the others do not notice");
    let failed: Vec<_> = shard.failed().collect();
    shard.write_behind(slow, |bytes| {
        got.extend_from_slice(bytes);
        bytes.len()
    });
    let reason = members[0].1.closed();
    assert_eq!(failed, reason.map(|reason| (slow, reason)).into_iter().collect::<Vec<_>>());
    (numbers(&got), reason)
}

/// The numbers of whole frames, of which the last may be cut.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let each = text.split("\"n\":").skip(1).map(|rest| rest.split(',').next().unwrap());
    each.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn a_connection_that_falls_behind_gets_what_its_policy_says() {
    // The first frame was begun, so it is completed in any case.
    assert_eq!(lagging(Policy::DropOldest), (vec![1, 8, 9, 10], None));
    assert_eq!(lagging(Policy::DropNewest), (vec![1, 2, 3, 4], None));
    assert_eq!(lagging(Policy::Conflate), (vec![1, 10, 9], None));
    let disconnect = Policy::Disconnect { max_age: None };
    assert_eq!(lagging(disconnect), (vec![], Some(CloseReason::TooManyFrames)));
}

#[test]
fn a_shard_that_lags_loses_the_oldest_frames() {
    let bounds = RoomOptions::new().with_max_frames(4);
    let drops = OutboxOptions::new().with_policy(Policy::DropOldest);
    let (mut shard, room, members) = seated(drops, bounds, 3);
    (1..=10).for_each(|number| {
        room.publish(&frame(0, number));
    });
    // A join and a leave are not lost with the frames around them.
    let seat = shard.handle().open(Form::WebSocket);
    let _late = room.seat("late", &seat, Some(frame(0, 11))).unwrap();
    let mut received = HashMap::<usize, Vec<u8>>::new();
    let mut record =
        |seat, bytes: &[u8]| received.entry(seat).or_default().extend_from_slice(bytes);
    run_rounds(&mut shard, &mut |len| len, &mut record);
    assert_eq!(numbers(&received[&members[0].1.number()]), [7, 8, 9, 10]);
    assert_eq!(numbers(&received[&seat.number()]), [11]);
    assert_eq!((shard.lost(), room.refused()), (3 * 6, 0));
    // With the policy to disconnect, no client gets a stream with a gap.
    let (mut shard, room, members) = seated(OutboxOptions::new(), bounds, 3);
    (1..=5).for_each(|number| {
        room.publish(&frame(0, number));
    });
    let seat = shard.handle().open(Form::WebSocket);
    let late = room.seat("late", &seat, Some(frame(0, 11))).unwrap();
    let mut record = |got, bytes: &[u8]| {
        assert_eq!(got, seat.number());
        assert_eq!(numbers(bytes), [11]);
    };
    run_rounds(&mut shard, &mut |len| len, &mut record);
    assert_eq!(shard.failed().count(), 3);
    assert_eq!(members[0].1.closed(), Some(CloseReason::TooManyFrames));
    assert_eq!((late.has_left(), seat.closed()), (false, None));
}

#[test]
fn the_bounds_of_a_log_hold() {
    let bounds = RoomOptions::new().with_max_frames(8).with_max_bytes(1000);
    let drops = OutboxOptions::new().with_policy(Policy::DropOldest);
    let (mut shard, room, _members) = seated(drops, bounds, 1);
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(2000));
    let large = Payload::from_json(&large).unwrap();
    let large = Frame::broadcast("/room/0", "say", "r", large);
    room.publish(&large);
    assert_eq!(room.refused(), 1, "it never fits");
    (0..100).for_each(|number| {
        room.publish(&frame(0, number));
    });
    let mut bytes = 0;
    run_rounds(&mut shard, &mut |len| len, &mut |_, sent| bytes += sent.len());
    assert!(bytes <= 1000 && bytes > 700, "{bytes}");
}

#[test]
fn the_end_of_rooms_shards_and_seats() {
    let (mut shard, room, mut members) = seated(OutboxOptions::new(), RoomOptions::new(), 3);
    assert_eq!((room.len(), room.contains("1")), (3, true));
    // What was published before the close is sent.
    let last = frame(0, 1);
    room.publish(&last);
    room.close();
    let mut sent = 0;
    run_rounds(&mut shard, &mut |len| len, &mut |_, bytes| {
        sent += usize::from(bytes == last.wire());
    });
    assert_eq!((sent, room.len()), (3, 0));
    assert!(room.seat("x", &members[0].1, None).is_err());
    assert_eq!(members[0].0.push(frame(0, 2)), Push::Closed);
    assert!(members[0].0.set_audience(1).is_err());
    // Connections outlive rooms.
    let own = frame(9, 1);
    assert_eq!(members[1].1.push(own.clone()), Push::Queued);
    let mut sent = Vec::new();
    run_rounds(&mut shard, &mut |len| len, &mut |seat, _| sent.push(seat));
    assert_eq!(sent, [members[1].1.number()]);
    // A connection that fails is sent nothing more, and its number is used again after its handles.
    let number = members[1].1.number();
    shard.fail(number);
    assert_eq!(shard.failed().collect::<Vec<_>>(), [(number, CloseReason::ReaderDropped)]);
    assert_eq!(members[1].1.push(own), Push::Closed);
    drop(members.remove(1));
    run_rounds(&mut shard, &mut |len| len, &mut |_, _| panic!("nothing is sent"));
    let again = shard.handle().open(Form::WebSocket);
    assert_eq!((again.number(), again.closed()), (number, None));
    // A shard that is dropped detaches from its rooms, which lose nothing by it.
    let room = Room::new();
    let membership = room.seat("a", &again, None).unwrap();
    drop(shard);
    assert!(room.seat("b", &again, None).is_err());
    (0..10_000).for_each(|number| {
        room.publish(&frame(0, number % 3));
    });
    assert_eq!((room.refused(), room.len()), (0, 1));
    drop(membership);
    assert_eq!(room.len(), 0);
}

#[test]
fn a_client_that_is_sent_too_much_by_itself_fails_alone() {
    let options = OutboxOptions::new().with_max_frames(10);
    let (mut shard, room, members) = seated(options, RoomOptions::new(), 2);
    let push = |_| members[0].1.push(frame(9, 1));
    assert_eq!((0..20).map(push).filter(|push| *push == Push::Queued).count(), 10);
    room.publish(&frame(0, 1));
    let mut sent = Vec::new();
    run_rounds(&mut shard, &mut |len| len, &mut |seat, _| sent.push(seat));
    assert_eq!(sent, [members[1].1.number()]);
    assert_eq!(members[0].1.closed(), Some(CloseReason::TooManyFrames));
}

#[test]
fn event_streams_get_a_comment_for_a_ping_and_no_other_control_frames() {
    let mut shard = Shard::new(OutboxOptions::new());
    let seats = [Form::Sse, Form::WebSocket].map(|form| shard.handle().open(form));
    let (message, ping) = (frame(9, 1), || Control::ping(b"").unwrap());
    for seat in &seats {
        seat.control(ping());
        seat.control(Control::pong(b"").unwrap());
        seat.push(message.clone());
    }
    let pong = Control::pong(b"").unwrap();
    let mut received = vec![Vec::new(); 2];
    let mut record = |seat: usize, bytes: &[u8]| received[seat].extend_from_slice(bytes);
    run_rounds(&mut shard, &mut |len| len, &mut record);
    assert_eq!(received[0], [b": keepalive\n\n", message.sse()].concat());
    assert_eq!(received[1], [ping().wire(), pong.wire(), message.wire()].concat());
}

/// Wakes a thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Publishers, and members that come and go, on threads of their own, while two shards send: each member
/// receives each publisher's frames in order, without a gap, from its join to its leave.
#[test]
fn threads_publish_join_and_leave_while_shards_send() {
    const PUBLISHERS: usize = 3;
    let seconds = std::env::var("PONDWIRE_STRESS_SECONDS").map_or(1, |it| it.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let options = RoomOptions::new().with_max_frames(100_000).with_max_bytes(400 << 20);
    let (room, is_over) = (Room::with_options(options), AtomicBool::new(false));
    let (delivered, joins) = (AtomicU64::new(0), AtomicU64::new(0));
    // The threads that publish and join: the shards end after them.
    let running = AtomicU64::new(PUBLISHERS as u64 + 2);
    // What was appended to the log, and how much of it each shard has surely read: nobody goes on while a shard
    // is behind by half of the log's bound, or frames would be lost on a slow machine.
    let appended = AtomicU64::new(0);
    let read = [AtomicU64::new(0), AtomicU64::new(0)];
    let append = |count| {
        let total = appended.fetch_add(count, Ordering::AcqRel) + count;
        while read.iter().any(|read| total > read.load(Ordering::Acquire) + 50_000) {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let shards: Vec<Shard> =
        (0..2).map(|_| Shard::new(OutboxOptions::new().with_max_frames(100_000))).collect();
    let handles: Vec<_> = shards.iter().map(Shard::handle).collect();
    thread::scope(|scope| {
        for (mut shard, read) in shards.into_iter().zip(&read) {
            let (running, delivered, appended) = (&running, &delivered, &appended);
            scope.spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                // The last number that a seat saw of each publisher; `None` before its first. A seat that is
                // used again begins with a frame that says so.
                let mut seen: Vec<[Option<u64>; PUBLISHERS]> = Vec::new();
                loop {
                    let ended = running.load(Ordering::Acquire) == 0;
                    let before = appended.load(Ordering::Acquire);
                    let polled = shard.poll_round(&mut Context::from_waker(&waker));
                    read.store(before, Ordering::Release);
                    if polled == Poll::Pending {
                        if ended {
                            break;
                        }
                        thread::park_timeout(Duration::from_millis(50));
                        continue;
                    }
                    for send in shard.sends() {
                        let sent = marks(send.bytes);
                        for &seat in send.seats {
                            let seat = seat as usize;
                            seen.resize(seen.len().max(seat + 1), [None; PUBLISHERS]);
                            for &(publisher, number) in &sent {
                                let Some(publisher) = publisher else {
                                    seen[seat] = [None; PUBLISHERS];
                                    continue;
                                };
                                let last = seen[seat][publisher].replace(number);
                                assert!(last.is_none_or(|last| last + 1 == number), "a gap");
                                delivered.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    shard.end_round();
                }
                assert_eq!(shard.lost(), 0);
            });
        }
        for publisher in 0..PUBLISHERS {
            let (room, is_over, running, append) = (&room, &is_over, &running, &append);
            scope.spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    number += 1;
                    let mark = format!("{publisher}:{number};");
                    room.publish(&Frame::broadcast("/room/0", &mark, "r", Payload::EMPTY));
                    append(1);
                    if number % 64 == 0 {
                        thread::yield_now();
                    }
                }
                running.fetch_sub(1, Ordering::AcqRel);
            });
        }
        for (at, handle) in handles.iter().enumerate() {
            let (room, is_over, joins, running) = (&room, &is_over, &joins, &running);
            let append = &append;
            scope.spawn(move || {
                let mut random = Random::seeded(at as u64);
                let mut members = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    if members.len() > 20 || random.below(3) == 0 && !members.is_empty() {
                        let gone: (SeatMembership, Seat) =
                            members.swap_remove(random.below(members.len()));
                        drop(gone);
                    } else {
                        let seat = handle.open(Form::WebSocket);
                        let first = Frame::broadcast("/room/0", "x:0;", "r", Payload::EMPTY);
                        let user = random.below(100).to_string();
                        members.push((room.seat(&user, &seat, Some(first)).unwrap(), seat));
                        joins.fetch_add(1, Ordering::Relaxed);
                    }
                    append(1);
                    if random.below(8) == 0 {
                        thread::yield_now();
                    }
                }
                drop(members);
                running.fetch_sub(1, Ordering::AcqRel);
            });
        }
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Release);
    });
    let (delivered, joins) = (delivered.into_inner(), joins.into_inner());
    println!("{delivered} deliveries, {joins} joins, {} refused", room.refused());
    assert!(delivered > 100 && joins > 10);
}

/// The publisher and number of each frame; no publisher in the frame that a join begins with.
fn marks(bytes: &[u8]) -> Vec<(Option<usize>, u64)> {
    let text = String::from_utf8_lossy(bytes);
    let marks = text.split("\"event\":\"").skip(1).map(|rest| rest.split(';').next().unwrap());
    let split = marks.map(|mark| mark.split_once(':').unwrap());
    split.map(|(publisher, number)| (publisher.parse().ok(), number.parse().unwrap())).collect()
}

/// What is sent in all rounds, by seat and bytes.
fn sent(shard: &mut Shard) -> Vec<(usize, Vec<u8>)> {
    let mut all = Vec::new();
    let rounds =
        run_rounds(shard, &mut |len| len, &mut |seat, bytes| all.push((seat, bytes.to_vec())));
    assert!(rounds < 1000);
    all
}

fn open(shard: &Shard) -> Seat {
    shard.handle().open(Form::WebSocket)
}

#[test]
fn the_longest_queues_are_shed_first() {
    let (mut shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 4);
    let seats: Vec<usize> = members.iter().map(|(_, seat)| seat.number()).collect();
    let len = frame(0, 1).wire().len();
    // The first three take nothing; the second gets two frames more than the first, the third one more.
    for _ in 0..3 {
        room.publish(&frame(0, 1));
        while shard.poll_round(&mut noop()).is_ready() {
            seats[..3].iter().for_each(|&seat| shard.fell_short(seat, 0));
            shard.end_round();
        }
    }
    for (seat, more) in [(1, 2), (2, 1)] {
        for _ in 0..more {
            assert!(matches!(members[seat].1.push(frame(0, 1)), Push::Queued));
        }
    }
    while shard.poll_round(&mut noop()).is_ready() {
        shard.end_round();
    }
    assert_eq!((shard.stats().behind, shard.stats().queued_bytes), (3, (3 + 5 + 4) * len));

    // What a socket took in part counts no longer, and a batch that was taken out of an outbox still does.
    shard.write_behind(seats[0], |_| 1);
    shard.write_behind(seats[0], |_| 0);
    assert_eq!(shard.stats().queued_bytes, 12 * len - 1);
    assert_eq!(shard.shed(12 * len), 0);
    assert_eq!(shard.shed(12 * len - 2), 1);
    assert_eq!(shard.failed().collect::<Vec<_>>(), [(seats[1], CloseReason::TooManyBytes)]);
    assert_eq!(shard.stats().queued_bytes, 7 * len - 1);
    assert_eq!(shard.shed(0), 2);
    assert_eq!((shard.stats().behind, shard.stats().queued_bytes), (0, 0));
    assert!(members[3].1.closed().is_none(), "it had nothing queued");
}

#[test]
fn a_room_that_closes_forgets_failed_seats() {
    let (mut shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 1);
    shard.fail(0);
    room.close();
    sent(&mut shard);
    drop(members);
    sent(&mut shard);
    let (room, seat) = (Room::new(), open(&shard));
    let _member = room.seat("a", &seat, None).unwrap();
    sent(&mut shard);
    room.publish(&frame(0, 1));
    assert_eq!(sent(&mut shard).len(), 1);
}

#[test]
fn a_join_is_found_however_late_the_shard_is() {
    for is_closed in [false, true] {
        let drops = OutboxOptions::new().with_policy(Policy::DropOldest);
        let (mut shard, room) = (Shard::new(drops), Room::new());
        let seat = open(&shard);
        let _member = room.seat("a", &seat, None).unwrap();
        for number in 0..140_000 {
            room.publish(&frame(0, number % 5));
        }
        if is_closed {
            room.close();
        }
        assert_eq!(sent(&mut shard).len(), 1);
        room.publish(&frame(0, 7));
        assert_eq!(sent(&mut shard).len(), usize::from(!is_closed));
    }
}

#[test]
fn positions_of_commands_are_no_lost_frames() {
    let (mut shard, room, _members) = seated(OutboxOptions::new(), RoomOptions::new(), 3);
    let seat = open(&shard);
    for _ in 0..5000 {
        drop(room.seat("x", &seat, None).unwrap());
    }
    sent(&mut shard);
    assert_eq!((shard.failed().count(), shard.lost()), (0, 0));
}

#[test]
fn a_frame_to_users_by_name_takes_one_place() {
    let (mut shard, room, _members) =
        seated(OutboxOptions::new(), RoomOptions::new().with_max_frames(1000), 500);
    for _ in 0..900 {
        let ids: Vec<String> = (0..500).map(|id| id.to_string()).collect();
        room.publish_to(&frame(0, 1), ids.iter().map(|id| &**id));
    }
    // Most of them are held back, and sent frame by frame.
    let mut received = HashMap::<usize, usize>::new();
    for (seat, bytes) in sent(&mut shard) {
        *received.entry(seat).or_default() += bytes.len();
    }
    assert_eq!(received.len(), 500);
    assert!(received.values().all(|len| *len == 900 * frame(0, 1).wire().len()));
    assert_eq!((shard.lost(), room.refused()), (0, 0));
}

#[test]
fn a_gap_right_after_a_join_is_no_secret() {
    let bounds = RoomOptions::new().with_max_frames(4);
    let (mut shard, room, _members) = seated(OutboxOptions::new(), bounds, 0);
    let seat = open(&shard);
    let _member = room.seat("a", &seat, Some(frame(0, 0))).unwrap();
    for number in 1..=10 {
        room.publish(&frame(0, number));
    }
    assert_eq!(sent(&mut shard).len(), 0);
    assert_eq!((seat.closed(), shard.lost()), (Some(CloseReason::TooManyFrames), 1));
}

#[test]
fn a_connection_that_catches_up_within_a_round_gets_each_frame_once() {
    let (mut shard, room, _members) = seated(OutboxOptions::new(), RoomOptions::new(), 2);
    room.publish(&frame(0, 1));
    assert!(shard.poll_round(&mut noop()).is_ready());
    shard.fell_short(0, 0);
    shard.end_round();
    room.publish(&frame(0, 2));
    assert!(shard.poll_round(&mut noop()).is_ready());
    let mut got = Vec::new();
    shard.write_behind(0, |bytes| {
        got.extend_from_slice(bytes);
        bytes.len()
    });
    for send in shard.sends().filter(|send| send.seats.contains(&0)) {
        got.extend_from_slice(send.bytes);
    }
    assert_eq!(numbers(&got), [1, 2]);
}

#[test]
fn audiences_that_nobody_has_are_forgotten() {
    let (mut shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 1);
    let last = pondwire_test_support::cases(66_000) as u32;
    for audience in 1..=last {
        members[0].0.set_audience(audience).unwrap();
        sent(&mut shard);
    }
    room.publish_to_audience(last, &frame(0, 1));
    room.publish_to_audience(!last, &frame(0, 2));
    let all = sent(&mut shard);
    assert_eq!((all.len(), numbers(&all[0].1)), (1, vec![1]));
}

#[test]
fn a_seat_may_fail_before_its_first_round() {
    let mut shard = Shard::new(OutboxOptions::new());
    let first = open(&shard);
    shard.fail(first.number());
    sent(&mut shard);
    assert_eq!(first.closed(), Some(CloseReason::ReaderDropped));
    // Nor is it forgotten if the number is used again.
    drop(first);
    sent(&mut shard);
    let again = open(&shard);
    assert_eq!(again.number(), 0);
    shard.fail(0);
    sent(&mut shard);
    assert!(again.closed().is_some());
    assert_eq!(shard.failed().count(), 1);
}

#[test]
fn a_seat_that_fails_in_a_round_is_sent_nothing() {
    let (mut shard, _room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 1);
    assert_eq!(members[0].0.push(frame(0, 1)), Push::Queued);
    assert!(shard.poll_round(&mut noop()).is_ready());
    shard.fail(0);
    assert_eq!(shard.sends().count(), 0);
}

#[test]
fn the_last_frame_is_sent_although_its_seat_ends() {
    let (mut shard, _room, mut members) = seated(OutboxOptions::new(), RoomOptions::new(), 1);
    let (membership, seat) = members.pop().unwrap();
    membership.leave_with(frame(0, 1));
    seat.push(frame(9, 2));
    drop(seat);
    let all = sent(&mut shard);
    assert_eq!((all.len(), numbers(&all[0].1)), (1, vec![2, 1]));
    assert_eq!(open(&shard).number(), 0);
}

#[test]
fn nothing_is_queued_for_a_shard_that_is_gone() {
    let (shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 1);
    let late = open(&shard);
    drop(shard);
    let (membership, seat) = &members[0];
    assert_eq!(
        (membership.push(frame(0, 1)), seat.push(frame(0, 1))),
        (Push::Closed, Push::Closed)
    );
    assert!(membership.set_audience(1).is_err());
    assert_eq!((seat.closed(), late.closed()), (Some(CloseReason::ReaderDropped), late.closed()));
    assert!(late.closed().is_some() && room.seat("b", &late, None).is_err());
}

/// A waker that drops the shard, as an executor may drop a task when it wakes it at its end.
struct Owner(std::sync::Mutex<Option<Shard>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        let shard = self.0.lock().unwrap().take();
        drop(shard);
    }
}

#[test]
fn a_waker_may_drop_the_shard() {
    let owner = Arc::new(Owner(std::sync::Mutex::new(None)));
    let (mut shard, room) = (Shard::new(OutboxOptions::new()), Room::new());
    let seats = [open(&shard), open(&shard)];
    let _first = room.seat("a", &seats[0], None).unwrap();
    let waker = Waker::from(Arc::clone(&owner));
    while shard.poll_round(&mut Context::from_waker(&waker)).is_ready() {}
    *owner.0.lock().unwrap() = Some(shard);
    let (done, joined) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let joined = room.seat("b", &seats[1], None);
        done.send(joined.is_ok()).unwrap();
    });
    joined.recv_timeout(Duration::from_secs(20)).expect("no deadlock");
}

/// A frame of this length, or a few bytes more.
fn of_len(len: usize) -> Frame {
    Frame::broadcast("/c", &"x".repeat(len), "r", Payload::EMPTY)
}

/// Runs of bytes in memory, each once, of a round's sends.
fn distinct(shard: &Shard) -> usize {
    let mut places: Vec<_> =
        shard.sends().map(|send| (send.bytes.as_ptr() as usize, send.bytes.len())).collect();
    places.sort_unstable();
    places.dedup();
    places.iter().map(|(_, len)| len).sum()
}

/// Two rooms with the same members.
fn in_two_rooms(members: usize) -> (Shard, [Room; 2], Vec<[SeatMembership; 2]>) {
    let mut shard = Shard::new(OutboxOptions::new());
    let rooms = [Room::new(), Room::new()];
    let join = |seat| rooms.each_ref().map(|room| room.seat("user", &seat, None).unwrap());
    let members = (0..members).map(|_| join(open(&shard))).collect();
    sent(&mut shard);
    (shard, rooms, members)
}

#[test]
fn members_of_two_rooms_share_the_bytes_of_the_one_that_has_something_new() {
    let (mut shard, rooms, _members) = in_two_rooms(100);
    let large = of_len(1_000_000);
    rooms[0].publish(&large);
    assert!(shard.poll_round(&mut noop()).is_ready());
    assert_eq!(shard.sends().map(|send| send.seats.len()).sum::<usize>(), 100);
    assert_eq!((distinct(&shard), shard.held_back().count()), (large.wire().len(), 0));
    // One of them takes a part.
    shard.fell_short(3, 10);
    shard.end_round();
    let mut rest = Vec::new();
    shard.write_behind(3, |bytes| {
        rest.extend_from_slice(bytes);
        bytes.len()
    });
    assert!(rest == large.wire()[10..]);
}

#[test]
fn bytes_of_many_connections_of_their_own_are_not_joined_without_bound() {
    let (mut shard, rooms, _members) = in_two_rooms(100);
    // Both have something new, so that each connection is sent a run of its own.
    let frames = [of_len(60_000), of_len(60_001)];
    rooms.iter().zip(&frames).for_each(|(room, frame)| _ = room.publish(frame));
    assert!(shard.poll_round(&mut noop()).is_ready());
    assert!(distinct(&shard) <= 5 << 20, "{}", distinct(&shard));
    let held: Vec<usize> = shard.held_back().collect();
    let joined = shard.sends().count();
    assert!(joined > 0 && joined + held.len() == 100, "{joined} and {}", held.len());
    shard.end_round();
    assert_eq!(shard.stats().behind, held.len());
    let all = frames[0].wire().len() + frames[1].wire().len();
    for seat in held {
        let mut len = 0;
        assert!(shard.write_behind(seat, |bytes| {
            len += bytes.len();
            bytes.len()
        }));
        assert_eq!(len, all);
    }
    assert!(!shard.has_behind());
}

/// The shard lets the room go although the connection had failed when it left.
#[test]
fn the_room_of_a_failed_connection_is_let_go() {
    let mut shard = Shard::new(OutboxOptions::new());
    let (seat, room) = (open(&shard), Room::new());
    let member = room.seat("user", &seat, None).unwrap();
    sent(&mut shard);
    shard.fail(seat.number());
    drop(member);
    sent(&mut shard);
    drop(seat);
    sent(&mut shard);
    // A room that no shard reads keeps nothing.
    room.publish(&of_len(10));
    assert_eq!(room.unread(), (0, 0));
}

#[test]
fn a_control_frame_without_bytes_ends_the_rest() {
    let mut shard = Shard::new(OutboxOptions::new());
    let seat = shard.handle().open(Form::Sse);
    seat.push(of_len(10));
    assert!(shard.poll_round(&mut noop()).is_ready());
    shard.fell_short(seat.number(), 0);
    shard.end_round();
    seat.control(Control::pong(b"").unwrap());
    sent(&mut shard);
    let mut calls = 0;
    assert!(shard.write_behind(seat.number(), |bytes| {
        calls += 1;
        bytes.len()
    }));
    assert_eq!(calls, 1);
}

#[test]
fn frames_of_a_connection_that_fails_are_counted_as_discarded() {
    let mut shard = Shard::new(OutboxOptions::new().with_max_frames(10));
    let (seat, room) = (open(&shard), Room::new());
    let _member = room.seat("user", &seat, None).unwrap();
    sent(&mut shard);
    room.publish(&of_len(10));
    assert!(shard.poll_round(&mut noop()).is_ready());
    shard.fell_short(seat.number(), 0);
    shard.end_round();
    assert_eq!(shard.stats().queued_frames, 1);
    for _ in 0..11 {
        room.publish(&of_len(10));
        sent(&mut shard);
    }
    assert_eq!(shard.failed().count(), 1);
    let stats = shard.stats();
    assert_eq!((stats.sent_frames, stats.dropped.discarded), (11, 11));
    assert_eq!((stats.behind, stats.queued_frames), (0, 0));
}

#[test]
fn a_leave_is_answered_before_a_later_join_of_another_room() {
    let mut shard = Shard::new(OutboxOptions::new());
    let seat = open(&shard);
    let (other, old, new) = (Room::new(), Room::new(), Room::new());
    let in_other = other.seat("user", &seat, None).unwrap();
    sent(&mut shard);
    let in_old = old.seat("user", &seat, None).unwrap();
    sent(&mut shard);
    // The lower number is used again.
    drop(in_other);
    sent(&mut shard);
    let (left, joined) = (of_len(1), of_len(2));
    in_old.leave_with(left.clone());
    let _in_new = new.seat("user", &seat, Some(joined.clone())).unwrap();
    assert_eq!(sent(&mut shard)[0].1, [left.wire(), joined.wire()].concat());
}

#[test]
fn what_a_connection_has_not_taken_at_its_end_is_returned() {
    let (mut shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 3);
    let frames = [of_len(10), of_len(20), of_len(30)];
    room.publish(&frames[0]);
    assert!(shard.poll_round(&mut noop()).is_ready());
    shard.fell_short(0, 5);
    shard.fell_short(1, 5);
    shard.end_round();
    room.publish(&frames[1]);
    sent(&mut shard);
    shard.fail(1);
    let all = [&frames[0].wire()[5..], frames[1].wire()].concat();
    // Of one that has failed only the rest of a frame: a close frame may follow it.
    for (number, expected) in [(0, &all[..]), (1, &frames[0].wire()[5..]), (2, &[])] {
        let (mut unsent, mut rest) = (shard.end(number), Vec::new());
        while let Some(bytes) = unsent.peek() {
            // Bytes may be taken in any pieces.
            let some = bytes.len().div_ceil(2);
            rest.extend_from_slice(&bytes[..some]);
            unsent.advance(some);
        }
        assert!(rest == expected, "{number}");
        assert!(members[number].1.closed().is_some());
    }
    room.publish(&frames[2]);
    assert!(sent(&mut shard).is_empty());
    assert!(shard.end(100).peek().is_none());
}

#[test]
fn what_is_unread_is_counted() {
    let (mut shard, room, members) = seated(OutboxOptions::new(), RoomOptions::new(), 2);
    let frame = of_len(10);
    room.publish(&frame);
    room.publish(&frame);
    assert_eq!(room.unread(), (2, 2 * frame.wire().len()));
    let (member, seat) = &members[0];
    seat.push(frame.clone());
    member.set_audience(1).unwrap();
    assert_eq!(seat.unread(), (2, frame.wire().len()));
    sent(&mut shard);
    assert_eq!((room.unread(), seat.unread()), ((0, 0), (0, 0)));
    assert!(!member.has_left());
    assert!(member.leave(None) && !member.leave(None) && member.has_left());
    assert_eq!(seat.unread(), (1, 0));
    sent(&mut shard);
    assert_eq!(seat.unread(), (0, 0));
}
