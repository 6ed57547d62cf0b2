//! Every interleaving of two or three threads, by loom; as in `src/log/models.rs`. A wake that is lost is a deadlock.

use std::future::poll_fn;

use loom::future::block_on;
use loom::thread;

use super::{Place, Readers, Recipient};
use crate::frame::Frame;
use crate::log::{Cursor, EVERYBODY, Log, Notify, To};
use crate::payload::Payload;
use crate::ring::Bounds;
use crate::sync::{Arc, model_within};

fn model(run: impl Fn() + Sync + Send + 'static) {
    // Every bug of the script shows with two.
    model_within(2, run);
}

struct Group(Readers);

impl Notify for Group {
    type Command = ();

    fn is_closed(&self) -> bool {
        false
    }

    fn notify(&self, log: &Log<Self>, cursor: &Arc<Cursor<Self>>) {
        self.0.notify(log, cursor);
    }
}

type GroupLog = Log<Group>;

fn log(frames: usize) -> GroupLog {
    Log::new(Bounds::new(frames, 1 << 20))
}

fn publish(log: &GroupLog, event: &str) {
    publish_to(log, event, To::audience(EVERYBODY));
}

fn publish_to(log: &GroupLog, event: &str, to: To) {
    log.publish(&Frame::broadcast("", event, "", Payload::EMPTY), to).unwrap();
}

struct Reader {
    log: GroupLog,
    cursor: Arc<Cursor<Group>>,
    place: Option<Place>,
    recipient: Recipient,
}

impl Reader {
    fn join(log: &GroupLog, member: u32) -> Self {
        let bounds = log.bounds();
        let cursor = Arc::clone(log.cursor_of(|_| true, || Group(Readers::new(bounds))));
        let waiting = cursor.notify.0.open();
        let place = Some(cursor.notify.0.join(log, &cursor, EVERYBODY).unwrap());
        let recipient = Recipient {
            audience: EVERYBODY,
            user: u64::from(member),
            cursor: cursor.number,
            member,
            place: waiting,
        };
        Self { log: log.clone(), cursor, place, recipient }
    }

    /// To this reader alone.
    fn named(&self) -> To {
        let Recipient { cursor, place, member, .. } = self.recipient;
        To::Member { cursor, seat: place, member }
    }

    fn leave(&mut self) {
        let place = self.place.as_mut().unwrap();
        self.cursor.notify.0.leave(&self.log, &self.cursor, place);
    }

    fn missed(&mut self) -> u64 {
        self.place.as_mut().unwrap().take_missed()
    }

    fn events(&self, mut frames: u64) -> String {
        let slots = self.place.as_ref().unwrap().frames();
        let mut events = String::new();
        while frames != 0 {
            let frame = slots[frames.trailing_zeros() as usize].get().unwrap();
            let text = frame.text().unwrap();
            events.extend(text.split("event\":\"").nth(1).unwrap().chars().next());
            frames &= frames - 1;
        }
        events
    }

    /// What is there now.
    fn read(&mut self) -> String {
        let Self { log, cursor, place, recipient } = self;
        let place = place.as_mut().unwrap();
        match cursor.notify.0.try_read(log, cursor, place, recipient) {
            Some(frames) => self.events(frames) + &self.read(),
            None => String::new(),
        }
    }

    /// Waits for what comes next; `None` at the end.
    fn next(&mut self) -> Option<String> {
        let Self { log, cursor, place, recipient } = self;
        let place = place.as_mut().unwrap();
        let frames =
            block_on(poll_fn(|cx| cursor.notify.0.poll_read(log, cursor, place, recipient, cx)));
        frames.map(|frames| self.events(frames))
    }

    /// Waits for so many frames.
    fn next_of(&mut self, count: usize) -> String {
        let mut read = String::new();
        while read.len() < count {
            read += &self.next().unwrap();
        }
        read
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let place = self.place.take().unwrap();
        self.cursor.notify.0.remove(&self.log, &self.cursor, place);
        self.cursor.notify.0.close(self.recipient.place);
    }
}

#[test]
fn a_reader_that_sleeps_is_woken() {
    model(|| {
        let log = log(4);
        let mut reader = Reader::join(&log, 1);
        let publisher = {
            let log = log.clone();
            thread::spawn(move || {
                publish(&log, "a");
                publish(&log, "b");
            })
        };
        assert_eq!(reader.next_of(2), "ab");
        publisher.join().unwrap();
    });
}

#[test]
fn two_readers_are_woken() {
    model(|| {
        let log = log(4);
        let (mut first, mut second) = (Reader::join(&log, 1), Reader::join(&log, 2));
        let thread = thread::spawn(move || first.next_of(1));
        publish(&log, "a");
        assert_eq!(second.next_of(1), "a");
        assert_eq!(thread.join().unwrap(), "a");
    });
}

/// One publisher may move its frame while the other one has not shown its own yet.
#[test]
fn two_publishers_wake_a_reader() {
    model(|| {
        let log = log(4);
        let mut reader = Reader::join(&log, 1);
        let waits = thread::spawn(move || reader.next_of(2));
        let publisher = {
            let log = log.clone();
            thread::spawn(move || publish(&log, "a"))
        };
        publish(&log, "b");
        publisher.join().unwrap();
        assert!(["ab", "ba"].contains(&&*waits.join().unwrap()));
    });
}

/// The publisher may find that the other reader has the lock.
#[test]
fn a_publish_meets_a_reader_that_goes_to_sleep() {
    model(|| {
        let log = log(4);
        let (mut first, second) = (Reader::join(&log, 1), Reader::join(&log, 2));
        let to_first = first.named();
        let waits = thread::spawn(move || first.next_of(1));
        let looks = thread::spawn(move || {
            let mut second = second;
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let Reader { log, cursor, place, recipient } = &mut second;
            let place = place.as_mut().unwrap();
            assert!(cursor.notify.0.poll_read(log, cursor, place, recipient, &mut cx).is_pending());
        });
        publish_to(&log, "a", to_first);
        assert_eq!(waits.join().unwrap(), "a");
        looks.join().unwrap();
    });
}

/// So may it while another reader joins or is dropped.
#[test]
fn a_publish_meets_a_reader_that_joins() {
    model(|| {
        let log = log(4);
        let mut first = Reader::join(&log, 1);
        let waits = thread::spawn(move || first.next_of(1));
        let joins = {
            let log = log.clone();
            thread::spawn(move || drop(Reader::join(&log, 2)))
        };
        publish(&log, "a");
        assert_eq!(waits.join().unwrap(), "a");
        joins.join().unwrap();
    });
}

#[test]
fn a_frame_for_another_does_not_keep_a_reader_asleep() {
    model(|| {
        let log = log(4);
        let (mut first, second) = (Reader::join(&log, 1), Reader::join(&log, 2));
        let to_second = second.named();
        let waits = thread::spawn(move || first.next_of(1));
        publish_to(&log, "b", to_second);
        publish(&log, "a");
        assert_eq!(waits.join().unwrap(), "a");
        let mut second = second;
        assert_eq!(second.read(), "ba");
    });
}

#[test]
fn an_entry_is_read_with_its_recipients() {
    model(|| {
        let log = log(4);
        let (mut first, mut second) = (Reader::join(&log, 1), Reader::join(&log, 2));
        publish(&log, "a");
        publish_to(&log, "b", second.named());
        // Moves them, unless the other one does.
        let other = thread::spawn(move || first.next_of(1));
        assert_eq!(second.next_of(2), "ab");
        assert_eq!(other.join().unwrap(), "a");
    });
}

#[test]
fn a_reader_that_lags_is_told_of_all_that_it_missed() {
    model(|| {
        let log = log(1);
        let (mut slow, mut quick) = (Reader::join(&log, 1), Reader::join(&log, 2));
        publish(&log, "a");
        assert_eq!(quick.read(), "a");
        let publisher = {
            let log = log.clone();
            thread::spawn(move || {
                publish(&log, "b");
                assert_eq!(quick.next_of(1), "b");
                publish(&log, "c");
                assert_eq!(quick.next_of(1), "c");
            })
        };
        let mut read = slow.read();
        publisher.join().unwrap();
        read += &slow.read();
        assert_eq!(read.len() as u64 + slow.missed(), 3, "{read}");
        assert!(read.ends_with('c'));
    });
}

#[test]
fn a_reader_that_joins_receives_what_follows() {
    model(|| {
        let log = log(4);
        let mut first = Reader::join(&log, 1);
        let publisher = {
            let log = log.clone();
            thread::spawn(move || {
                publish(&log, "a");
                first.read()
            })
        };
        let mut second = Reader::join(&log, 2);
        publish(&log, "b");
        let read = second.next_of(1);
        assert!(["b", "a", "ab", "ba"].contains(&&*read), "{read}");
        publisher.join().unwrap();
        let read = read + &second.read();
        assert!(["b", "ab", "ba"].contains(&&*read), "{read}");
    });
}

#[test]
fn the_last_reader_goes_while_another_joins() {
    model(|| {
        let log = log(4);
        let first = Reader::join(&log, 1);
        publish(&log, "a");
        let leaves = thread::spawn(move || drop(first));
        let mut second = Reader::join(&log, 2);
        publish(&log, "b");
        assert_eq!(second.next_of(1), "b");
        leaves.join().unwrap();
        publish(&log, "c");
        assert_eq!(second.read(), "c");
        drop(second);
        publish(&log, "d");
        assert_eq!(log.unread().0, 0, "nobody is there");
    });
}

#[test]
fn a_reader_that_leaves_receives_what_came_before() {
    model(|| {
        let log = log(4);
        let mut reader = Reader::join(&log, 1);
        publish(&log, "a");
        let publisher = {
            let log = log.clone();
            thread::spawn(move || publish(&log, "b"))
        };
        reader.leave();
        let mut read = String::new();
        while let Some(more) = reader.next() {
            read += &more;
        }
        assert!(["a", "ab"].contains(&&*read), "{read}");
        publisher.join().unwrap();
        assert_eq!(reader.next(), None);
    });
}

#[test]
fn the_end_wakes_a_reader() {
    model(|| {
        let log = log(4);
        let mut reader = Reader::join(&log, 1);
        let closer = {
            let log = log.clone();
            thread::spawn(move || {
                publish(&log, "a");
                log.close();
            })
        };
        let mut read = String::new();
        while let Some(more) = reader.next() {
            read += &more;
        }
        assert_eq!(read, "a");
        closer.join().unwrap();
    });
}
