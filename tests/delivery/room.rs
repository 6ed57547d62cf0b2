//! Rooms: the recipients of each frame, whatever happens concurrently.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use pondwire::fanout::{Closed, InsideObserver};
use pondwire::protocol::Recipients;
use pondwire::room::Delivery;
use pondwire::{Frame, Membership, Outbox, OutboxOptions, OutboxReader, Payload, Policy, Room};
use pondwire_test_support::Random;

fn frame(event: &str) -> Frame {
    Frame::broadcast("/chat/42", event, "r", Payload::EMPTY)
}

fn event(wire: &[u8]) -> String {
    let text = std::str::from_utf8(wire.splitn(2, |byte| *byte == b'{').last().unwrap()).unwrap();
    text.split("\"event\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// The events that arrived since the last call.
fn events(reader: &mut OutboxReader) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(batch) = reader.try_batch() {
        all.extend(batch.iter().map(event));
    }
    all
}

fn with(policy: Policy, max_frames: usize) -> (Outbox, OutboxReader) {
    Outbox::new(OutboxOptions::new().with_policy(policy).with_max_frames(max_frames))
}

/// A connection that loses nothing.
fn connect(room: &Room, user: &str) -> (Membership, OutboxReader) {
    let (outbox, reader) = with(Policy::DropNewest, 100_000);
    (room.join(user, outbox).unwrap(), reader)
}

fn delivery(queued: usize) -> Delivery {
    let mut delivery = Delivery::default();
    delivery.queued = queued;
    delivery
}

#[test]
fn recipients_are_those_of_the_protocol() {
    let room = Room::new();
    let mut readers = Vec::new();
    let mut members = Vec::new();
    // Ann has two connections.
    for user in ["ann", "bob", "eve", "ann"] {
        let (member, reader) = connect(&room, user);
        assert_eq!(member.user_id(), user);
        members.push(member);
        readers.push(reader);
    }
    let send = |name: &str, recipients: Recipients<'_>, sender: &str| {
        room.send(&frame(name), &recipients, sender)
    };
    assert_eq!(send("all", Recipients::AllUsers, "ann"), delivery(4));
    assert_eq!(send("not-ann", Recipients::AllExceptSender, "ann"), delivery(2));
    assert_eq!(send("not-zoe", Recipients::AllExceptSender, "zoe"), delivery(4));
    assert_eq!(send("ann-bob", Recipients::users(["ann", "bob"]), "eve"), delivery(3));
    assert_eq!(send("twice", Recipients::users(["eve", "zoe", "eve"]), "ann"), delivery(1));
    assert_eq!(send("nobody", Recipients::users([""; 0]), "ann"), delivery(0));
    let got: Vec<_> = readers.iter_mut().map(events).collect();
    assert_eq!(got[0], ["all", "not-zoe", "ann-bob"]);
    assert_eq!(got[1], ["all", "not-ann", "not-zoe", "ann-bob"]);
    assert_eq!(got[2], ["all", "not-ann", "not-zoe", "twice"]);
    assert_eq!(got[3], got[0]);
}

#[test]
fn members_leave_by_one_connection_at_a_time() {
    let room = Room::new();
    let (first, mut to_first) = connect(&room, "ann");
    let (second, mut to_second) = connect(&room, "ann");
    assert!(room.contains("ann") && !room.contains("bob") && room.len() == 2);
    drop(first);
    assert!(room.contains("ann") && room.len() == 1);
    assert_eq!(room.publish(&frame("a")), delivery(1));
    assert_eq!(room.publish_to(&frame("b"), ["ann"]), delivery(1));
    second.leave_and_wait().unwrap();
    assert!(!room.contains("ann") && room.is_empty());
    assert_eq!(room.publish(&frame("c")), delivery(0));
    assert_eq!(room.publish_to(&frame("c"), ["ann"]), delivery(0));
    assert_eq!(events(&mut to_first), [""; 0]);
    assert_eq!(events(&mut to_second), ["a", "b"]);
    // No membership holds the outbox any more.
    assert!(to_second.closed().is_some());
}

#[test]
fn a_closed_room_delivers_nothing_and_accepts_no_member() {
    let room = Room::new();
    let (member, mut reader) = connect(&room, "ann");
    let handle = room.clone();
    room.close();
    room.close();
    assert_eq!(handle.publish(&frame("a")), delivery(0));
    assert_eq!(handle.publish_to(&frame("a"), ["ann"]), delivery(0));
    assert!(handle.is_empty() && !handle.contains("ann"));
    let (outbox, _reader) = Outbox::new(OutboxOptions::default());
    assert_eq!(handle.join("bob", outbox).unwrap_err(), Closed);
    assert_eq!(events(&mut reader), [""; 0]);
    drop(member);
}

#[test]
fn frames_that_an_outbox_refuses_are_counted() {
    let room = Room::new();
    let (newest, mut to_newest) = with(Policy::DropNewest, 1);
    let (oldest, mut to_oldest) = with(Policy::DropOldest, 1);
    let (ending, mut to_ending) = with(Policy::Disconnect { max_age: None }, 1);
    let (gone, to_gone) = with(Policy::DropNewest, 1);
    drop(to_gone);
    let _members = [("a", newest), ("b", oldest), ("c", ending), ("d", gone)]
        .map(|(user, outbox)| room.join(user, outbox).unwrap());
    let mut expected = delivery(3);
    expected.closed = 1;
    assert_eq!(room.publish(&frame("1")), expected);
    let mut expected = delivery(1);
    (expected.dropped, expected.closed) = (1, 2);
    assert_eq!(room.publish(&frame("2")), expected);
    assert_eq!(events(&mut to_newest), ["1"]);
    assert_eq!(events(&mut to_oldest), ["2"]);
    assert_eq!(events(&mut to_ending), [""; 0]);
    assert_eq!(to_ending.stats().discarded, 1);
}

#[test]
fn keyed_frames_replace_each_other_under_conflate() {
    let room = Room::new();
    let (conflating, mut to_conflating) = with(Policy::Conflate, 10);
    let (plain, mut to_plain) = with(Policy::DropNewest, 10);
    let _members = [room.join("a", conflating).unwrap(), room.join("b", plain).unwrap()];
    for (key, name) in [(1, "x1"), (2, "y1"), (1, "x2")] {
        assert_eq!(room.publish_keyed(key, &frame(name)), delivery(2));
    }
    assert_eq!(events(&mut to_conflating), ["x2", "y1"]);
    assert_eq!(events(&mut to_plain), ["x1", "y1", "x2"]);
}

#[test]
fn a_visit_may_call_everything_except_wait_for_itself() {
    let room = Room::new();
    let (member, mut reader) = connect(&room, "ann");
    let mut member = Some(member);
    let mut late = None;
    room.for_each(|ann| {
        assert_eq!(ann.user_id(), "ann");
        // Joins while it is visited: not visited.
        late = Some(connect(&room, "bob"));
        room.publish(&frame("inner"));
        assert_eq!(member.take().unwrap().leave_and_wait(), Err(InsideObserver));
        room.publish(&frame("after"));
    });
    assert_eq!(events(&mut reader), ["inner"]);
    assert_eq!(events(&mut late.unwrap().1), ["inner", "after"]);
}

/// Compares a room with a list of members and a loop over it.
#[test]
fn a_room_equals_a_list_of_members() {
    let mut random = Random::from_env("a_room_is_a_list_of_members");
    const USERS: [&str; 5] = ["ann", "bob", "eve", "", "ünï"];
    for round in 0..50 {
        let room = Room::new();
        let mut members: Vec<(usize, &str, Membership)> = Vec::new();
        let mut readers: BTreeMap<usize, (OutboxReader, Vec<String>)> = BTreeMap::new();
        for step in 0..200 {
            let user = USERS[random.below(USERS.len())];
            let name = format!("{round}-{step}");
            let sent = frame(&name);
            let others: Vec<_> = (0..random.below(4)).map(|_| USERS[random.below(5)]).collect();
            type Wanted<'a> = Box<dyn Fn(&str) -> bool + 'a>;
            let (done, wanted): (Delivery, Wanted<'_>) = match random.below(8) {
                0 | 1 => {
                    let (member, reader) = connect(&room, user);
                    members.push((step, user, member));
                    readers.insert(step, (reader, Vec::new()));
                    continue;
                }
                2 if !members.is_empty() => {
                    drop(members.remove(random.below(members.len())));
                    continue;
                }
                3 | 4 => (room.publish(&sent), Box::new(|_| true)),
                5 => (room.publish_except(&sent, user), Box::new(move |id| id != user)),
                _ => {
                    let done = room.publish_to(&sent, others.iter().copied());
                    (done, Box::new(|id| others.contains(&id)))
                }
            };
            let mut count = 0;
            for (number, user, _) in &members {
                if wanted(user) {
                    readers.get_mut(number).unwrap().1.push(name.clone());
                    count += 1;
                }
            }
            assert_eq!(done, delivery(count), "{name}");
            assert_eq!(room.len(), members.len());
            assert_eq!(room.contains(user), members.iter().any(|(_, id, _)| *id == user));
        }
        for (reader, expected) in readers.values_mut() {
            assert_eq!(events(reader), *expected);
        }
    }
}

/// While others join and leave, a member that stays receives all frames of each publisher in order, and a
/// member that joins receives every frame published after, until it leaves.
#[test]
fn publishers_do_not_wait_for_joins_and_leaves() {
    const PUBLISHERS: usize = 2;
    const FRAMES: usize = 2000;
    let room = Room::new();
    let stopped = AtomicBool::new(false);
    let began = [const { AtomicUsize::new(0) }; PUBLISHERS];
    let done = [const { AtomicUsize::new(0) }; PUBLISHERS];
    let (_member, mut steady) = connect(&room, "steady");
    let number = |event: &str| {
        let (publisher, number) = event.split_once('-').unwrap();
        (publisher.parse::<usize>().unwrap(), number.parse::<usize>().unwrap())
    };
    let load = |counts: &[AtomicUsize; PUBLISHERS]| {
        std::array::from_fn::<_, PUBLISHERS, _>(|at| counts[at].load(Ordering::SeqCst))
    };
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (room, began, done) = (&room, &began[publisher], &done[publisher]);
                scope.spawn(move || {
                    for at in 0..FRAMES {
                        began.store(at + 1, Ordering::SeqCst);
                        let delivery = room.publish(&frame(&format!("{publisher}-{at}")));
                        assert_eq!((delivery.dropped, delivery.closed), (0, 0));
                        let _ = room.publish_to(&frame("named"), ["guest", "nobody"]);
                        done.store(at + 1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    let (member, mut reader) = connect(&room, "guest");
                    let first = load(&began);
                    thread::yield_now();
                    let last = load(&done);
                    member.leave_and_wait().unwrap();
                    let over = load(&began);
                    let got = events(&mut reader);
                    for publisher in 0..PUBLISHERS {
                        let numbers: Vec<_> = got
                            .iter()
                            .filter(|event| *event != "named")
                            .map(|event| number(event))
                            .filter(|(from, _)| *from == publisher)
                            .map(|(_, number)| number)
                            .collect();
                        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
                        // Every publish that began after the join and ended before the leave.
                        for at in first[publisher]..last[publisher] {
                            assert!(numbers.contains(&at), "{at} of {publisher}: {numbers:?}");
                        }
                        assert!(numbers.iter().all(|at| *at < over[publisher]));
                    }
                }
            });
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
        stopped.store(true, Ordering::Relaxed);
    });
    let mut next = [0; PUBLISHERS];
    for event in events(&mut steady) {
        let (publisher, at) = number(&event);
        assert_eq!(at, next[publisher]);
        next[publisher] += 1;
    }
    assert_eq!(next, [FRAMES; PUBLISHERS]);
}
