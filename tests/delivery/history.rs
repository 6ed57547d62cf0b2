//! Members that join again get what they missed, each frame once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use pondwire::frame::Form;
use pondwire::outbox::Push;
use pondwire::room::{Resume, RoomOptions, Seat, SeatMembership, Shard};
use pondwire::{Frame, Outbox, OutboxOptions, Payload, Room};
use pondwire_test_support::Random;

const ALL: u32 = u32::MAX;

fn room(frames: usize) -> Room {
    Room::with_options(RoomOptions::new().with_history(frames, usize::MAX, Duration::MAX))
}

fn frame(id: &str) -> Frame {
    Frame::broadcast("/c", "e", id, Payload::EMPTY)
}

fn ids(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let ids = text.split("\"requestId\":\"").skip(1);
    ids.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// The ids that each seat is sent until there is nothing to do.
fn sent(shard: &mut Shard) -> HashMap<usize, Vec<String>> {
    let mut sent = HashMap::<_, Vec<_>>::new();
    while shard.poll_round(&mut Context::from_waker(Waker::noop())).is_ready() {
        for send in shard.sends() {
            for &seat in send.seats {
                sent.entry(seat as usize).or_default().extend(ids(send.bytes));
            }
        }
        for seat in shard.held_back().collect::<Vec<_>>() {
            let mut all = Vec::new();
            shard.write_behind(seat, |bytes| {
                all.extend_from_slice(bytes);
                bytes.len()
            });
            sent.entry(seat).or_default().extend(ids(&all));
        }
        shard.end_round();
    }
    sent
}

fn open(shard: &Shard) -> Seat {
    shard.handle().open(Form::WebSocket)
}

/// Joins after the frame `last`, with `first` before all else; returns how many frames were missed, if that is known.
fn come_back(
    room: &Room,
    user: &str,
    seat: &Seat,
    audience: u32,
    last: &str,
    first: Option<Frame>,
) -> (SeatMembership, Option<usize>) {
    let resume = Resume { after: Some(last), ..Resume::default() };
    let (membership, resumed) =
        room.seat_after(user, seat, audience, &resume, first, |_| None).unwrap();
    (membership, resumed.missed.map(|missed| missed.frames))
}

#[test]
fn a_member_that_comes_back_gets_what_was_for_it() {
    let (mut shard, room) = (Shard::new(OutboxOptions::new()), room(100));
    let (ann, bob) = (open(&shard), open(&shard));
    let in_bob = room.seat("bob", &bob, None).unwrap();
    let in_ann = room.seat("ann", &ann, None).unwrap();
    room.publish(&frame("1"));
    sent(&mut shard);
    drop(in_ann);
    room.publish(&frame("2"));
    room.publish_except(&frame("not ann"), "ann");
    room.publish_to(&frame("only bob"), ["bob"]);
    room.publish_to(&frame("both"), ["ann", "bob"]);
    room.publish_to(&frame("nobody"), []);
    assert_eq!(in_bob.push(frame("bob's connection")), Push::Queued);
    room.publish_to_audience(2, &frame("others"));
    room.publish_keyed(1, &frame("3"));
    let (in_ann, resumed) = come_back(&room, "ann", &ann, 1, "1", Some(frame("hello")));
    assert_eq!(resumed, Some(3));
    room.publish_to_audience(2, &frame("others, too"));
    room.publish(&frame("4"));
    let all = sent(&mut shard);
    assert_eq!(all[&ann.number()], ["hello", "2", "both", "3", "4"]);
    let bobs = ["2", "not ann", "only bob", "both", "bob's connection", "others", "3"];
    assert_eq!(all[&bob.number()], [&bobs[..], &["others, too", "4"]].concat());
    // Nothing is missed: that is no hole.
    drop(in_ann);
    let (_in_ann, resumed) = come_back(&room, "ann", &ann, ALL, "4", None);
    assert_eq!((resumed, sent(&mut shard).len()), (Some(0), 0));
    // A frame for one connection has no place in the history.
    let (_again, resumed) =
        come_back(&room, "bob", &bob, ALL, "bob's connection", Some(frame("x")));
    assert_eq!((resumed, &sent(&mut shard)[&bob.number()][..]), (None, &["x".into()][..]));
}

#[test]
fn a_member_is_told_of_a_hole_and_gets_nothing_old() {
    let mut shard = Shard::new(OutboxOptions::new());
    let seat = open(&shard);
    for (room, last) in [(Room::new(), "2"), (room(2), "1"), (room(2), "unknown")] {
        (1..=3).for_each(|number| {
            room.publish(&frame(&number.to_string()));
        });
        let (member, resumed) = come_back(&room, "ann", &seat, ALL, last, None);
        room.publish(&frame("4"));
        assert_eq!((resumed, &sent(&mut shard)[&0][..]), (None, &["4".into()][..]));
        drop(member);
        sent(&mut shard);
    }
    // Too old.
    let age = Duration::from_millis(20);
    let room = Room::with_options(RoomOptions::new().with_history(9, usize::MAX, age));
    room.publish(&frame("1"));
    thread::sleep(2 * age);
    let resumed = come_back(&room, "ann", &seat, ALL, "1", None).1;
    assert_eq!(resumed, None);
    room.close();
    let resume = Resume { after: Some("1"), ..Resume::default() };
    assert!(room.seat_after("ann", &seat, ALL, &resume, None, |_| None).is_err());
}

#[test]
fn frames_are_kept_whoever_the_members_are() {
    // Without a member, and with an outbox only; then by a shard that comes later.
    let room = room(100);
    room.publish(&frame("1"));
    room.publish(&frame("2"));
    let (outbox, mut reader) = Outbox::new(OutboxOptions::new());
    let _member = room.join("bob", outbox).unwrap();
    assert_eq!(room.publish(&frame("3")).queued, 1);
    assert_eq!(room.publish_to(&frame("4"), ["ann", "bob"]).queued, 1);
    assert_eq!(reader.try_batch().unwrap().frames(), 2);
    let mut shard = Shard::new(OutboxOptions::new());
    let seat = open(&shard);
    let (_member, resumed) = come_back(&room, "ann", &seat, ALL, "1", None);
    assert_eq!(resumed, Some(3));
    assert_eq!(sent(&mut shard)[&0], ["2", "3", "4"]);
}

#[test]
fn the_last_frame_of_the_return_comes_between_old_and_new() {
    let (mut shard, room) = (Shard::new(OutboxOptions::new()), room(100));
    let seat = open(&shard);
    let join = |user: &str, resume: Resume<'_>| {
        room.seat_after(user, &seat, ALL, &resume, Some(frame("hello")), |resumed| {
            let missed = resumed.missed.map_or(-1, |missed| missed.frames as i64);
            Some(frame(&format!("{missed} before {}", resumed.position.as_deref().unwrap())))
        })
        .unwrap()
    };
    // One that has seen nothing misses nothing, and learns where it stands.
    let (member, resumed) = join("ann", Resume::default());
    let start = resumed.position.unwrap();
    drop(member);
    room.publish(&frame("1"));
    room.publish_passing(ALL, &frame("passing"));
    room.publish_except(&frame("not ann"), "ann");
    let resume = Resume { after: Some(&start), ..Resume::default() };
    assert_eq!(room.missed("ann", ALL, &resume).unwrap(), [frame("1")]);
    let (member, _) = join("ann", resume);
    let waiting = seat.unread();
    assert!(waiting.1 > frame("1").wire().len(), "old frames wait for the shard: {waiting:?}");
    room.publish(&frame("2"));
    room.publish_passing(ALL, &frame("passing"));
    drop(member);
    // Known under another name, it is still not sent what excepted it.
    let resume = Resume { former_user: Some("ann"), ..resume };
    let (member, _) = join("anna", resume);
    drop(member);
    room.clear_history();
    let (_member, _) = join("ann", resume);
    let marks = [
        "hello",
        &format!("0 before {start}"),
        "hello",
        "1",
        "1 before not ann",
        "2",
        "passing",
        "hello",
        "1",
        "2",
        "2 before 2",
        "hello",
    ];
    let got = sent(&mut shard).remove(&seat.number()).unwrap();
    assert_eq!(got[..marks.len()], marks);
    assert!(got[marks.len()].starts_with("-1 before "), "{got:?}");
    assert_eq!((got.len(), seat.unread()), (marks.len() + 1, (0, 0)));
}

/// Publishes when it is woken, which a waker may do.
struct Publisher(Room, AtomicUsize);

impl Wake for Publisher {
    fn wake(self: Arc<Self>) {
        if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            self.0.publish(&frame("by the waker"));
        }
    }
}

#[test]
fn a_shard_is_woken_and_its_waker_may_publish() {
    for room in [room(100), Room::new()] {
        let (mut shard, woken) =
            (Shard::new(OutboxOptions::new()), Arc::new(Publisher(room.clone(), 0.into())));
        let seats = [open(&shard), open(&shard)];
        let _first = room.seat("a", &seats[0], None).unwrap();
        let waker = Waker::from(Arc::clone(&woken));
        let mut idle = |step: &dyn Fn()| {
            while shard.poll_round(&mut Context::from_waker(&waker)).is_ready() {}
            let before = woken.1.load(Ordering::Relaxed);
            step();
            assert!(woken.1.load(Ordering::Relaxed) > before);
        };
        let (done, finished) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                idle(&|| {
                    room.publish(&frame("1"));
                });
                idle(&|| {
                    room.publish_to(&frame("2"), ["a"]);
                });
                idle(&|| {
                    room.publish_except(&frame("3"), "b");
                });
                idle(&|| drop(come_back(&room, "b", &seats[1], ALL, "1", None)));
                idle(&|| drop(room.seat("b", &seats[1], None).unwrap()));
                done.send(()).unwrap();
            });
            finished.recv_timeout(Duration::from_secs(20)).expect("no deadlock");
        });
    }
}

/// Set when a thread panics, so that the others do not wait for it for ever.
struct Failed<'a>(&'a AtomicBool);

impl Failed<'_> {
    fn wait(&self) {
        assert!(!self.0.load(Ordering::Relaxed), "another thread has failed");
        thread::yield_now();
    }
}

impl Drop for Failed<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

const PUBLISHERS: u64 = 3;
const CLIENTS: usize = 6;
/// Begins and ends each session of a client.
const MARK: &str = "-";

/// Whether a frame with this id is for the client.
fn is_for(id: &str, client: usize) -> bool {
    let (_, to) = id.rsplit_once(':').unwrap();
    match to.split_at(1) {
        ("x", except) => except != client.to_string(),
        ("t", to) => to == client.to_string(),
        _ => true,
    }
}

/// Publishers, and clients that leave and come back all the time, in two shards: every client gets exactly what
/// one that never leaves gets, but for what is not for it.
#[test]
fn clients_come_back_while_threads_publish() {
    let seconds = std::env::var("PONDWIRE_STRESS_SECONDS").map_or(1, |it| it.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let options = RoomOptions::new().with_max_frames(100_000).with_max_bytes(400 << 20);
    let room =
        Room::with_options(options.with_history(100_000, usize::MAX, Duration::from_secs(600)));
    let outboxes = OutboxOptions::new().with_max_frames(100_000);
    let shards = [Shard::new(outboxes), Shard::new(outboxes)];
    // One that never leaves, then the clients: each in the seat of its number in one of the shards.
    let seats: Vec<Seat> = (0..=CLIENTS).map(|number| open(&shards[number % 2])).collect();
    let at = |number: usize| (number % 2, seats[number].number());
    // What each seat got, by shard.
    let got =
        [0, 1].map(|_| (0..=CLIENTS).map(|_| Mutex::new(Vec::<String>::new())).collect::<Vec<_>>());
    let _observer = room.seat("observer", &seats[0], None).unwrap();
    let (published, resumed) = (AtomicU64::new(0), AtomicUsize::new(0));
    let read = [AtomicU64::new(0), AtomicU64::new(0)];
    let (running, is_over) = (AtomicU64::new(PUBLISHERS + CLIENTS as u64), AtomicBool::new(false));
    let failed = AtomicBool::new(false);
    let clients = thread::scope(|scope| {
        for (mut shard, (read, got)) in shards.into_iter().zip(read.iter().zip(&got)) {
            let (running, published, failed) = (&running, &published, Failed(&failed));
            scope.spawn(move || {
                loop {
                    let ended = running.load(Ordering::Acquire) == 0;
                    let before = published.load(Ordering::Acquire);
                    let is_ready =
                        shard.poll_round(&mut Context::from_waker(Waker::noop())).is_ready();
                    for send in shard.sends() {
                        let ids = ids(send.bytes);
                        for &seat in send.seats {
                            got[seat as usize].lock().unwrap().extend_from_slice(&ids);
                        }
                    }
                    for seat in shard.held_back().collect::<Vec<_>>() {
                        let mut all = Vec::new();
                        shard.write_behind(seat, |bytes| {
                            all.extend_from_slice(bytes);
                            bytes.len()
                        });
                        got[seat].lock().unwrap().extend_from_slice(&ids(&all));
                    }
                    shard.end_round();
                    read.store(before, Ordering::Release);
                    if !is_ready && ended {
                        break;
                    }
                    failed.wait();
                }
                assert_eq!((shard.lost(), shard.failed().count()), (0, 0));
            });
        }
        for publisher in 0..PUBLISHERS {
            let (room, read, running, published, is_over) =
                (&room, &read, &running, &published, &is_over);
            let failed = Failed(&failed);
            scope.spawn(move || {
                let mut random = Random::seeded(publisher);
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let client = random.below(CLIENTS) + 1;
                    let id = |to: &str| format!("{publisher}.{number}:{to}");
                    match random.below(8) {
                        0 => {
                            let frame = frame(&id(&format!("x{client}")));
                            room.publish_except(&frame, &client.to_string());
                        }
                        1 => {
                            let frame = frame(&id(&format!("t{client}")));
                            room.publish_to(&frame, ["observer", &client.to_string()]);
                        }
                        _ => {
                            room.publish(&frame(&id("all")));
                        }
                    }
                    let total = published.fetch_add(1, Ordering::AcqRel) + 1;
                    while read.iter().any(|read| total > read.load(Ordering::Acquire) + 2000) {
                        failed.wait();
                    }
                }
                running.fetch_sub(1, Ordering::AcqRel);
            });
        }
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|client| {
                let (shard, number) = at(client);
                let (seat, got) = (&seats[client], &got[shard][number]);
                let (room, running, resumed, is_over) = (&room, &running, &resumed, &is_over);
                let failed = Failed(&failed);
                scope.spawn(move || {
                    let mut random = Random::seeded(100 + client as u64);
                    let mut all: Vec<String> = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let user = client.to_string();
                        let membership = match all.last() {
                            None => room.seat(&user, seat, Some(frame(MARK))).unwrap(),
                            Some(last) => {
                                let first = Some(frame(MARK));
                                let (membership, outcome) =
                                    come_back(room, &user, seat, ALL, last, first);
                                assert!(outcome.is_some(), "{last} is not kept");
                                resumed.fetch_add(1, Ordering::Relaxed);
                                membership
                            }
                        };
                        for _ in 0..random.below(20) {
                            thread::yield_now();
                        }
                        membership.leave_with(frame(MARK));
                        let session = loop {
                            let mut got = got.lock().unwrap();
                            if got.iter().filter(|id| *id == MARK).count() == 2 {
                                break std::mem::take(&mut *got);
                            }
                            drop(got);
                            failed.wait();
                        };
                        let [first, frames @ .., last] = &session[..] else { unreachable!() };
                        assert_eq!((&**first, &**last), (MARK, MARK));
                        all.extend_from_slice(frames);
                    }
                    running.fetch_sub(1, Ordering::AcqRel);
                    (client, all)
                })
            })
            .collect();
        // A machine that is busy with other tests needs longer.
        let is_enough =
            || published.load(Ordering::Relaxed) > 100 && resumed.load(Ordering::Relaxed) > 10;
        while Instant::now() < end || !is_enough() && !failed.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Release);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let (shard, number) = at(0);
    let observed = got[shard][number].lock().unwrap();
    assert_eq!(observed.len() as u64, published.into_inner());
    let resumed = resumed.into_inner();
    println!("{} published, {resumed} times resumed", observed.len());
    assert!(observed.len() > 100 && resumed > 10);
    for (client, all) in clients {
        let Some(first) = all.first() else { continue };
        let start = observed.iter().position(|id| id == first).unwrap();
        let expected = observed[start..].iter().filter(|id| is_for(id, client)).take(all.len());
        if !expected.clone().eq(&all) {
            let differs = expected.zip(&all).position(|(expected, got)| expected != got);
            let place = differs.unwrap_or(all.len());
            let got = &all[place.saturating_sub(6)..(place + 6).min(all.len())];
            panic!("client {client}: a frame is missing, or is there twice, in {got:?}");
        }
    }
}

/// One publisher, and one member that comes back as often as it can: a publish and a join meet at every point.
#[test]
fn no_frame_is_lost_or_doubled_between_the_history_and_the_log() {
    let sessions = pondwire_test_support::cases(2_000) as u64;
    let options = RoomOptions::new().with_max_frames(100_000).with_max_bytes(400 << 20);
    let room = Room::with_options(options.with_history(10_000, usize::MAX, Duration::MAX));
    let mut shard = Shard::new(OutboxOptions::new());
    let seat = open(&shard);
    // The number of the last frame that was published, and of the last that the shard has surely read.
    let (published, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let (is_over, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let failed = Failed(&failed);
            for number in 1.. {
                let frame = frame(&number.to_string());
                // To all, or by name: of the frames after a leave the member gets none.
                if number % 2 == 0 {
                    room.publish(&frame);
                } else {
                    room.publish_to(&frame, ["x"]);
                }
                published.store(number, Ordering::Release);
                while number > read.load(Ordering::Acquire) + 5000 {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    failed.wait();
                }
            }
        });
        let failed = Failed(&failed);
        let wait_for = |number| {
            for spins in 0_u32.. {
                if published.load(Ordering::Acquire) >= number {
                    break;
                }
                // The publisher runs at this very moment, if there is a processor for it.
                if spins % 1000 == 999 { failed.wait() } else { std::hint::spin_loop() }
            }
        };
        wait_for(1);
        let mut check = |resumed: &mut Vec<usize>| {
            let before = published.load(Ordering::Acquire);
            let got = sent(&mut shard).remove(&seat.number()).unwrap_or_default();
            read.store(before, Ordering::Release);
            let (mut sessions, lasts) = (
                got.split(|id| id.starts_with("after ")),
                got.iter().filter_map(|id| id.strip_prefix("after ")),
            );
            assert_eq!(sessions.next().map(<[String]>::len), Some(0));
            assert_eq!(lasts.clone().count(), resumed.len());
            for ((last, session), count) in lasts.zip(sessions).zip(resumed.drain(..)) {
                let first = last.parse::<u64>().unwrap() + 1;
                let expected = (first..).map(|number| number.to_string()).take(session.len());
                assert!(expected.eq(session.iter().cloned()), "after {last}: {session:?}");
                assert!(session.len() >= count.max(3), "after {last}: {session:?}");
            }
        };
        // How many old frames each session got that was not checked yet.
        let mut resumed = Vec::new();
        for _ in 0..sessions {
            let last = published.load(Ordering::Acquire);
            // The publisher does not stop before the third frame from here.
            if last > read.load(Ordering::Acquire) + 2000 {
                check(&mut resumed);
            }
            let mark = frame(&format!("after {last}"));
            let joined = come_back(&room, "x", &seat, ALL, &last.to_string(), Some(mark));
            resumed.push(joined.1.unwrap_or_else(|| panic!("{last} is not kept")));
            wait_for(last + 3);
            drop(joined);
        }
        check(&mut resumed);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(shard.lost(), 0);
}
