//! Readers of a room: what each receives, against a list of what it must.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Buf;
use pondwire::outbox::Push;
use pondwire::room::{RoomOptions, RoomReader, Shard};
use pondwire::{Frame, OutboxOptions, Payload, Room};
use pondwire_test_support::Random;

fn frame(number: u64) -> Frame {
    let payload = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(number as usize % 40));
    Frame::broadcast("/room", "say", "r", Payload::from_json(&payload).unwrap())
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Whether the end was reached.
fn is_over(reader: &mut RoomReader) -> bool {
    matches!(reader.poll_batch(&mut noop()), Poll::Ready(None))
}

/// The texts of all that is there.
fn texts(reader: &mut RoomReader) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(batch) = reader.try_batch() {
        texts.extend(batch.texts().map(str::to_owned));
    }
    texts
}

/// A reader of the model.
struct Client {
    reader: RoomReader,
    user: usize,
    audience: u32,
    /// The room's frames since it joined that it has not read, and whether they are for it.
    unread: Vec<(Frame, bool)>,
    /// The number of frames since it left.
    missed: Option<usize>,
}

impl Client {
    fn expect(&mut self, frame: &Frame, is_for_it: bool) {
        match &mut self.missed {
            None => self.unread.push((frame.clone(), is_for_it)),
            Some(missed) => *missed += 1,
        }
    }

    /// Whether it may lag.
    fn is_behind(&self, max_frames: usize) -> bool {
        self.unread.len() + self.missed.unwrap_or(0) > max_frames - max_frames.div_ceil(4)
    }

    /// Reads a batch. It must be what comes next, but for what it says that is missing.
    fn read(&mut self, max_frames: usize, random: &mut Random) {
        let is_behind = self.is_behind(max_frames);
        let Some(mut batch) = self.reader.try_batch() else {
            // Of one that has lagged, all that is kept is for others.
            assert!(is_behind || count_for_it(&self.unread) == 0, "there is something");
            return;
        };
        let texts: Vec<&str> = batch.texts().collect();
        assert_eq!(texts.len(), batch.frames());
        let is_first =
            |(frame, is_for_it): &(Frame, bool)| *is_for_it && frame.as_str() == texts[0];
        let first = self.unread.iter().position(is_first).expect("received once");
        let lagged = batch.lagged() as usize;
        assert!(
            count_for_it(&self.unread[..first]) <= lagged && lagged <= first,
            "{lagged} {first}"
        );
        assert!(lagged == 0 || is_behind, "{lagged}");
        // Without a gap from there on.
        let mut passed = first;
        let mut written = Vec::new();
        for text in &texts {
            passed += self.unread[passed..].iter().take_while(|(_, is_for_it)| !is_for_it).count();
            assert_eq!(self.unread[passed].0.as_str(), *text);
            written.extend_from_slice(self.unread[passed].0.wire());
            passed += 1;
        }
        // As a writer does, in pieces.
        let mut sent = Vec::new();
        while batch.has_remaining() {
            let chunk = batch.chunk();
            let count = 1 + random.below(chunk.len());
            sent.extend_from_slice(&chunk[..count]);
            batch.advance(count);
        }
        assert_eq!(sent, written);
        self.unread.drain(..passed);
    }
}

/// The number of frames that are for the reader.
fn count_for_it(frames: &[(Frame, bool)]) -> usize {
    frames.iter().filter(|(_, is_for_it)| *is_for_it).count()
}

#[test]
fn every_reader_receives_exactly_what_it_must() {
    for seed in 0..pondwire_test_support::cases(400) as u64 {
        one_history(seed);
    }
}

fn one_history(seed: u64) {
    let mut random = Random::seeded(seed);
    // Some lag, and some do not.
    let max_frames = *random.pick(&[1, 2, 7, 40, 300, 5000]);
    let room = Room::with_options(RoomOptions::new().with_max_frames(max_frames));
    // A shard beside them, whose frames are not theirs.
    let mut shard = Shard::new(OutboxOptions::new());
    let seat = shard.handle().open(pondwire::frame::Form::WebSocket);
    let seated = (random.below(2) == 0).then(|| room.seat("seated", &seat, None).unwrap());
    let mut clients: Vec<Client> = Vec::new();
    let mut number = 0;
    let (poll_often, publish_often) = (random.below(4), 1 + random.below(60));
    for _ in 0..300 {
        let mut next = || {
            number += 1;
            frame(number)
        };
        let some = (!clients.is_empty()).then(|| random.below(clients.len()));
        let user = random.below(5);
        let name = user.to_string();
        match (random.below(12), some) {
            (0 | 1, _) => {
                let audience = *random.pick(&[u32::MAX, 0, 1, 2]);
                let reader = match audience {
                    u32::MAX => room.reader(&name).unwrap(),
                    _ => room.reader_audience(audience, &name).unwrap(),
                };
                let (unread, missed) = (Vec::new(), None);
                clients.push(Client { reader, user, audience, unread, missed });
            }
            (2, Some(at)) => drop(clients.swap_remove(at)),
            (3, Some(at)) if random.below(2) == 0 => {
                clients[at].reader.leave();
                clients[at].missed.get_or_insert(0);
            }
            (4 | 5, _) => {
                for _ in 0..1 + random.below(publish_often) {
                    let frame = next();
                    room.publish(&frame);
                    for client in &mut clients {
                        client.expect(&frame, client.audience != 0);
                    }
                }
            }
            (6, _) => {
                let frame = next();
                room.publish_except(&frame, &name);
                for client in &mut clients {
                    client.expect(&frame, client.audience != 0 && client.user != user);
                }
            }
            (7, _) => {
                let (frame, audience) = (next(), 1 << random.below(3));
                room.publish_to_audience(audience, &frame);
                for client in &mut clients {
                    client.expect(&frame, client.audience & audience != 0);
                }
            }
            (8, _) => {
                // To nobody, to some, to several connections of one user.
                let (frame, other) = (next(), random.below(5));
                let users = [&*name, &*other.to_string(), "nobody", "seated"];
                room.publish_to(&frame, users);
                let is_named =
                    |it: &Client| it.missed.is_none() && [user, other].contains(&it.user);
                let is_appended = clients.iter().any(is_named);
                for client in &mut clients {
                    let is_for_it = is_named(client);
                    // The one for the shard comes first, as it has the lower cursor.
                    if seated.is_some() {
                        client.expect(&frame, false);
                    }
                    if is_appended {
                        client.expect(&frame, is_for_it);
                    }
                }
            }
            (9, Some(at)) => {
                let frame = next();
                assert_eq!(clients[at].reader.push(frame.clone()), Push::Queued);
                for (other, client) in clients.iter_mut().enumerate() {
                    client.expect(&frame, other == at);
                }
            }
            (_, Some(at)) => {
                for _ in 0..=poll_often {
                    clients[at].read(max_frames, &mut random);
                }
            }
            _ => {}
        }
        while shard.poll_round(&mut noop()).is_ready() {
            shard.end_round();
        }
        assert!(room.unread().0 <= max_frames);
    }
    room.close();
    for mut client in clients {
        while !is_over_or_read(&mut client, max_frames, &mut random) {}
        let is_behind = client.is_behind(max_frames);
        assert!(is_behind || count_for_it(&client.unread) == 0, "all was read");
    }
    assert!(room.reader("late").is_err());
}

/// Nobody can publish any more: a task that waited on would wait for ever.
#[test]
fn the_last_handle_of_a_room_ends_its_readers() {
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let room = Room::new();
    let other = room.clone();
    let mut reader = room.reader("ann").unwrap();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(reader.poll_batch(&mut cx).is_pending());
    drop(room);
    assert!(reader.poll_batch(&mut cx).is_pending(), "there is another handle");
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    drop(other);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(matches!(reader.poll_batch(&mut cx), Poll::Ready(None)));
    assert_eq!(reader.push(frame(0)), Push::Closed);

    let room = Room::new();
    let mut reader = room.reader("ann").unwrap();
    room.publish(&frame(1));
    drop(room);
    assert_eq!(texts(&mut reader), [frame(1).as_str()], "what was published before is read");
    assert!(is_over(&mut reader));
}

fn is_over_or_read(client: &mut Client, max_frames: usize, random: &mut Random) -> bool {
    let before = client.unread.len();
    client.read(max_frames, random);
    client.unread.len() == before && is_over(&mut client.reader)
}

#[test]
fn a_reader_that_never_polls_holds_up_nobody() {
    let room = Room::with_options(RoomOptions::new().with_max_frames(100));
    let mut stuck = room.reader("stuck").unwrap();
    let mut quick = room.reader("quick").unwrap();
    for number in 0..10_000 {
        room.publish(&frame(number));
        assert_eq!(texts(&mut quick), [frame(number).as_str()]);
    }
    let mut read = || {
        let batch = stuck.try_batch().unwrap();
        let first = batch.texts().next().unwrap().to_owned();
        (batch.frames() as u64, batch.lagged(), first)
    };
    // What is left of its chunk, and then what is kept.
    let (count, lagged, first) = read();
    assert_eq!((lagged, first), (0, frame(0).as_str().to_owned()));
    let (_, lagged, first) = read();
    assert!((9_900..9_980).contains(&(count + lagged)), "{count} {lagged}");
    assert_eq!(first, frame(count + lagged).as_str());
    assert_eq!(texts(&mut stuck).last().unwrap(), frame(9_999).as_str());
}

#[test]
fn bytes_are_bounded_too() {
    let large = |number: u64| {
        let payload = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(9_000));
        Frame::broadcast("/room", "say", "r", Payload::from_json(&payload).unwrap())
    };
    let room = Room::with_options(RoomOptions::new().with_max_bytes(100_000));
    let (mut slow, mut quick) = (room.reader("slow").unwrap(), room.reader("quick").unwrap());
    for number in 0..100 {
        room.publish(&large(number));
        assert_eq!(quick.try_batch().unwrap().frames(), 1);
    }
    let (mut lagged, mut kept) = (0, 0);
    while let Some(batch) = slow.try_batch() {
        lagged += batch.lagged() as usize;
        kept += batch.frames();
    }
    assert_eq!(lagged + kept, 100);
    assert!((8..=14).contains(&kept), "{kept}");
}

#[test]
fn a_leaked_batch_is_read() {
    let room = Room::new();
    let mut reader = room.reader("ann").unwrap();
    room.publish(&frame(1));
    std::mem::forget(reader.try_batch().unwrap());
    room.publish(&frame(2));
    assert_eq!(texts(&mut reader), [frame(2).as_str()]);
}

#[test]
fn a_batch_has_all_forms() {
    let room = Room::new();
    let mut reader = room.reader("ann").unwrap();
    let fill = || {
        room.publish(&frame(1));
        room.publish_to(&frame(2), ["nobody"]);
        room.publish(&frame(3));
    };
    let frames = [frame(1), frame(3)];
    fill();
    let batch = reader.try_batch().unwrap();
    assert_eq!(batch.frames(), 2);
    assert!(batch.bytes().eq(frames.iter().map(Frame::wire_bytes)));
    let batch = batch.into_sse();
    assert!(batch.iter().eq(frames.iter().map(Frame::sse)));
    let mut slices = [std::io::IoSlice::new(&[]); 3];
    assert_eq!(batch.chunks_vectored(&mut slices), 2);
    assert_eq!(batch.remaining(), frames.iter().map(|frame| frame.sse().len()).sum::<usize>());
    drop(batch);
    fill();
    let owned = reader.try_batch().unwrap().into_frames();
    let owned: Vec<Frame> = owned
        .map(|frame| match frame {
            pondwire::outbox::OutboxFrame::Message(frame) => frame,
            pondwire::outbox::OutboxFrame::Control(_) => panic!("none was pushed"),
        })
        .collect();
    assert_eq!(owned, frames);
}

/// Counts its calls, and does something at each.
struct Counted<F>(AtomicUsize, F);

impl<F: Fn() + Send + Sync + 'static> Wake for Counted<F> {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        (self.1)();
    }
}

fn counted<F: Fn() + Send + Sync + 'static>(act: F) -> (Arc<Counted<F>>, Waker) {
    let counted = Arc::new(Counted(AtomicUsize::new(0), act));
    (Arc::clone(&counted), Waker::from(counted))
}

#[test]
fn a_frame_to_a_user_wakes_no_other() {
    let room = Room::new();
    let mut readers: Vec<_> =
        ["ann", "bob", "eve"].iter().map(|user| room.reader(user).unwrap()).collect();
    let wakes: Vec<_> = readers.iter().map(|_| counted(|| ())).collect();
    let mut sleep = |which: &[usize]| {
        for &at in which {
            let mut cx = Context::from_waker(&wakes[at].1);
            while readers[at].poll_batch(&mut cx).is_ready() {}
        }
    };
    let count = || {
        let counts: Vec<_> = wakes.iter().map(|(it, _)| it.0.load(Ordering::SeqCst)).collect();
        counts
    };
    sleep(&[0, 1, 2]);
    for _ in 0..3 {
        room.publish_to(&frame(1), ["bob"]);
    }
    assert_eq!(count(), [0, 1, 0]);
    sleep(&[1]);
    room.publish_to(&frame(1), ["bob", "eve"]);
    assert_eq!(count(), [0, 2, 1]);
    // To the one that is asleep still, although the others have been woken.
    room.publish_to(&frame(1), ["ann"]);
    assert_eq!(count(), [1, 2, 1]);
    sleep(&[0, 1, 2]);
    room.publish(&frame(1));
    room.publish(&frame(1));
    assert_eq!(count(), [2, 3, 2]);
    sleep(&[0, 1]);
    room.close();
    assert_eq!(count(), [3, 4, 2]);
}

#[test]
fn whispers_to_others_do_not_make_a_sleeping_reader_lag() {
    let room = Room::with_options(RoomOptions::new().with_max_frames(200));
    let (mut ann, mut bob) = (room.reader("ann").unwrap(), room.reader("bob").unwrap());
    let is_woken = Arc::new(AtomicBool::new(false));
    let (_, waker) = counted({
        let is_woken = Arc::clone(&is_woken);
        move || is_woken.store(true, Ordering::SeqCst)
    });
    assert!(ann.poll_batch(&mut Context::from_waker(&waker)).is_pending());
    for number in 0..2000 {
        room.publish_to(&frame(number), ["bob"]);
        assert_eq!(bob.try_batch().unwrap().frames(), 1);
        if is_woken.swap(false, Ordering::SeqCst) {
            assert!(ann.poll_batch(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    room.publish(&frame(0));
    assert_eq!(ann.try_batch().unwrap().lagged(), 0);
}

#[test]
fn a_waker_may_use_the_room_or_panic() {
    let room = Room::new();
    let sleeping = |user: &str, waker: &Waker| {
        let mut reader = room.reader(user).unwrap();
        assert!(reader.poll_batch(&mut Context::from_waker(waker)).is_pending());
        reader
    };
    let (entered, enters) = counted({
        let room = room.clone();
        move || {
            room.publish(&frame(2));
            let mut other = room.reader("other").unwrap();
            room.publish_to(&frame(3), ["other"]);
            assert!(other.poll_batch(&mut noop()).is_ready());
        }
    });
    let (panicked, panics) = counted(|| panic!("a waker that panics"));
    let (woken, wakes) = counted(|| ());
    let readers = [&panics, &enters, &panics, &wakes].map(|waker| sleeping("ann", waker));
    let published = catch_unwind(AssertUnwindSafe(|| room.publish(&frame(1))));
    assert!(published.is_err(), "the panic goes on");
    let counts = [&panicked.0, &entered.0, &woken.0].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [2, 1, 1]);
    for mut reader in readers {
        assert_eq!(texts(&mut reader), [frame(1), frame(2)].map(|frame| frame.as_str().to_owned()));
    }
    // A reader that is dropped when it is woken.
    let slot = Arc::new(std::sync::Mutex::new(None));
    let (_, drops) = counted({
        let slot = Arc::clone(&slot);
        move || drop(slot.lock().unwrap().take())
    });
    *slot.lock().unwrap() = Some(sleeping("ann", &drops));
    room.publish(&frame(4));
    assert!(slot.lock().unwrap().is_none() && room.is_empty());
}

#[test]
fn a_room_without_readers_keeps_nothing_for_them() {
    let room = Room::new();
    for _ in 0..3 {
        drop(room.reader("ann").unwrap());
        room.publish(&frame(1));
        assert_eq!(room.unread(), (0, 0));
        let mut first = room.reader("ann").unwrap();
        room.publish(&frame(2));
        let mut second = room.reader("bob").unwrap();
        room.publish(&frame(3));
        assert_eq!(texts(&mut second), [frame(3).as_str()]);
        drop(second);
        assert_eq!(texts(&mut first).len(), 2);
        assert_eq!((room.len(), room.contains("ann")), (1, true));
    }
}

/// Wakes a thread that waits for any of its readers.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Waits for a batch; a wake that is lost fails.
fn next<R>(reader: &mut RoomReader, mut each: impl FnMut(&str) -> R) -> Option<Vec<R>> {
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        match reader.poll_batch(&mut Context::from_waker(&waker)) {
            Poll::Ready(batch) => {
                let batch = batch?;
                assert_eq!(batch.lagged(), 0);
                return Some(batch.texts().map(&mut each).collect());
            }
            Poll::Pending => {
                let begin = Instant::now();
                while !unpark.1.swap(false, Ordering::SeqCst) {
                    thread::park_timeout(Duration::from_secs(60));
                    assert!(begin.elapsed() < Duration::from_secs(600), "a wake was lost");
                }
            }
        }
    }
}

fn number_of(text: &str) -> u64 {
    let digits = text.split("\"n\":").nth(1).unwrap();
    digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Each frame is published only after all readers have got the one before: all of them sleep again and again.
#[test]
fn no_wake_is_lost() {
    const READERS: u64 = 5;
    let rounds = pondwire_test_support::cases(3000) as u64;
    let room = Room::new();
    let got = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..READERS)
        .map(|id| {
            let (mut reader, got) = (room.reader(&id.to_string()).unwrap(), Arc::clone(&got));
            thread::spawn(move || {
                let mut expected = 0;
                while let Some(numbers) = next(&mut reader, number_of) {
                    for number in numbers {
                        assert_eq!(number, expected);
                        expected += 1;
                        got.fetch_add(1, Ordering::SeqCst);
                    }
                }
                expected
            })
        })
        .collect();
    for number in 0..rounds {
        // To all, or to each by name: two threads publish these.
        if number % 3 == 0 {
            let halves = [&[0, 1][..], &[2, 3, 4]];
            thread::scope(|scope| {
                for half in halves {
                    let room = &room;
                    scope.spawn(move || {
                        for id in half {
                            room.publish_to(&frame(number), [&*id.to_string()]);
                        }
                    });
                }
            });
        } else {
            room.publish(&frame(number));
        }
        let mut spins = 0_u64;
        while got.load(Ordering::SeqCst) < (number + 1) * READERS {
            spins += 1;
            if spins.is_multiple_of(64) {
                thread::sleep(Duration::from_micros(50));
            } else {
                thread::yield_now();
            }
            assert!(threads.iter().all(|thread| !thread.is_finished()), "a reader failed");
        }
    }
    room.close();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), rounds);
    }
}

/// Readers come and go, each receives a run of every publisher's frames without a gap.
#[test]
fn many_threads_publish_join_and_leave() {
    const PUBLISHERS: u64 = 3;
    let frames = pondwire_test_support::cases(20_000) as u64;
    let room = Room::with_options(RoomOptions::new().with_max_frames(1 << 17));
    let is_over = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        for id in 0..5 {
            let (room, is_over, received) = (&room, &is_over, &received);
            scope.spawn(move || {
                let mut random = Random::seeded(id);
                while !is_over.load(Ordering::SeqCst) {
                    let Ok(mut reader) = room.reader(&id.to_string()) else { return };
                    let mut last = [None; PUBLISHERS as usize];
                    let most = random.below(2000);
                    let (mut count, mut leaves) = (0, random.below(2) == 0);
                    while let Some(numbers) = next(&mut reader, number_of) {
                        for number in numbers {
                            let (of, number) =
                                ((number % PUBLISHERS) as usize, number / PUBLISHERS);
                            assert!(last[of].is_none_or(|last: u64| last + 1 == number));
                            last[of] = Some(number);
                            count += 1;
                        }
                        if count >= most && !std::mem::replace(&mut leaves, true) {
                            reader.leave();
                        } else if count >= most {
                            break;
                        }
                    }
                    received.fetch_add(count as u64, Ordering::Relaxed);
                }
            });
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|of| {
                let room = &room;
                scope.spawn(move || {
                    for number in 0..frames {
                        room.publish(&frame(number * PUBLISHERS + of));
                        if number % 64 == 0 {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        room.close();
    });
    assert!(received.load(Ordering::Relaxed) > frames);
    assert_eq!(room.refused(), 0);
    assert!(room.is_empty());
}
