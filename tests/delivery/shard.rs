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
use pondwire::{Frame, Outbox, OutboxOptions, Payload, Policy, Room};
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
                if let Some(membership) = client.memberships[room].take() {
                    if random.below(2) == 0 {
                        let last = next(room);
                        client.expect(room, &last);
                        membership.leave_with(last);
                    }
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
        assert_eq!(shard.handle().open(Form::WebSocket).number() < 30, true);
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
