//! Every interleaving of two or three threads, by loom.
//!
//! `RUSTFLAGS="--cfg pondwire_loom" cargo test --release --lib log::models`; the segments of the ring have 1,
//! 2 and 4 slots here. `tests/loom/weakened.sh` in the repository shows that each model fails with the bug
//! that it watches for.

use loom::thread;

use super::{Cursor, EVERYBODY, Log, Notify, Refused, To};
use crate::frame::Frame;
use crate::payload::Payload;
use crate::ring::Bounds;
use crate::ring::word::distance;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, model_within};

fn model(run: impl Fn() + Sync + Send + 'static) {
    // Every bug of the script shows with two.
    model_within(2, run);
}

/// Counts the notifications of one shard; commands are numbers.
struct Bell(usize, AtomicUsize);

impl Notify for Bell {
    type Command = u32;

    fn is_closed(&self) -> bool {
        false
    }

    fn notify(&self, _: &Log<Self>, _: &Arc<Cursor<Self>>) {
        self.1.fetch_add(1, Ordering::AcqRel);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.1.load(Ordering::Acquire)
    }
}

impl Cursor<Bell> {
    /// Whether its shard was notified more than `rung` times, or is about to be.
    fn is_told_since(&self, rung: usize) -> bool {
        self.notify.rung() > rung || self.is_listed.load(Ordering::Acquire)
    }

    /// The commands that are there.
    fn commands(&self) -> Vec<(u32, u32)> {
        let mut commands = Vec::new();
        self.take_commands(&mut commands);
        commands
    }
}

type BellLog = Log<Bell>;

fn log(frames: usize) -> BellLog {
    Log::new(Bounds::new(frames, 1 << 20))
}

fn cursor(log: &BellLog, shard: usize) -> Arc<Cursor<Bell>> {
    let cursor = log.cursor_of(|bell| bell.0 == shard, || Bell(shard, AtomicUsize::new(0)));
    Arc::clone(cursor)
}

/// A cursor that is attached and has read its own attaching.
fn attached(log: &BellLog, shard: usize) -> Arc<Cursor<Bell>> {
    let cursor = cursor(log, shard);
    command(log, &cursor, 0);
    let read = log.read(&cursor, |_, _| ());
    cursor.commands();
    log.release(&mut Vec::new());
    cursor.unlist();
    cursor.notify.1.store(0, Ordering::Release);
    assert!(log.sleep(read.end));
    cursor
}

fn command(log: &BellLog, cursor: &Arc<Cursor<Bell>>, command: u32) {
    log.command(cursor, || command).unwrap();
    log.announce(cursor);
}

fn publish(log: &BellLog, event: &str) -> Result<(), Refused> {
    log.publish(&Frame::broadcast("", event, "", Payload::EMPTY), To::audience(EVERYBODY))
}

/// The events that the cursor has not read yet, and the end.
fn read(log: &BellLog, cursor: &Cursor<Bell>, into: &mut Vec<char>) -> u32 {
    let read = log.read(cursor, |_, entry| {
        let text = entry.frame.text().unwrap();
        into.extend(text.split("event\":\"").nth(1).unwrap().chars().next());
    });
    log.release(&mut Vec::new());
    read.end
}

#[test]
fn a_shard_that_sleeps_is_notified() {
    model(|| {
        let log = log(4);
        let cursor = attached(&log, 0);
        let publisher = {
            let log = log.clone();
            thread::spawn(move || publish(&log, "a").unwrap())
        };
        let mut seen = Vec::new();
        cursor.unlist();
        let rung = cursor.notify.rung();
        let end = read(&log, &cursor, &mut seen);
        let sleeps = log.sleep(end);
        publisher.join().unwrap();
        // It read the frame, or knows that there is more, or was told after it unlisted.
        assert!(!seen.is_empty() || !sleeps || cursor.is_told_since(rung));
    });
}

#[test]
fn both_shards_are_notified() {
    model(|| {
        let log = log(4);
        let cursors = [attached(&log, 0), attached(&log, 1)];
        let shards = cursors.clone().map(|cursor| {
            let log = log.clone();
            thread::spawn(move || {
                let mut seen = Vec::new();
                cursor.unlist();
                let end = read(&log, &cursor, &mut seen);
                (seen, log.sleep(end))
            })
        });
        publish(&log, "a").unwrap();
        for (shard, cursor) in shards.into_iter().zip(&cursors) {
            let (seen, sleeps) = shard.join().unwrap();
            let was_told = cursor.notify.rung() > 0;
            assert!(!seen.is_empty() || !sleeps || was_told);
        }
    });
}

#[test]
fn two_publishers_are_read_in_their_order() {
    model(|| {
        let log = log(4);
        let cursor = attached(&log, 0);
        let publisher = {
            let log = log.clone();
            thread::spawn(move || {
                publish(&log, "a").unwrap();
                publish(&log, "b").unwrap();
            })
        };
        publish(&log, "c").unwrap();
        let mut seen = Vec::new();
        read(&log, &cursor, &mut seen);
        publisher.join().unwrap();
        read(&log, &cursor, &mut seen);
        let place = |event| seen.iter().position(|seen| *seen == event).unwrap();
        assert!(seen.len() == 3 && place('a') < place('b') && place('c') < 3);
    });
}

#[test]
fn a_full_log_drops_what_a_shard_has_not_read() {
    model(|| {
        let log = log(1);
        let cursor = attached(&log, 0);
        let publisher = {
            let log = log.clone();
            thread::spawn(move || ["a", "b"].map(|event| publish(&log, event)))
        };
        let mut seen = Vec::new();
        // Not released by the shard, but dropped by the publisher.
        let mut lost = log.read(&cursor, |_, entry| seen.push(entry.frame.clone())).lost;
        let published = publisher.join().unwrap();
        lost += log.read(&cursor, |_, entry| seen.push(entry.frame.clone())).lost;
        let refused = published.iter().filter(|published| published.is_err()).count();
        assert_eq!(seen.len() + lost as usize + refused, 2);
    });
}

#[test]
fn a_shard_that_attaches_reads_what_follows() {
    model(|| {
        let log = log(2);
        let first = attached(&log, 0);
        let (second, other) = (cursor(&log, 1), Arc::clone(&first));
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let mut seen = Vec::new();
                read(&log, &other, &mut seen);
            })
        };
        let joiner = {
            let (log, second) = (log.clone(), Arc::clone(&second));
            thread::spawn(move || {
                command(&log, &second, 7);
                assert!(second.is_told_since(0), "although it never slept");
                let mut seen = Vec::new();
                read(&log, &second, &mut seen);
                assert_eq!(second.commands().len(), 1);
                seen
            })
        };
        publish(&log, "a").unwrap();
        reader.join().unwrap();
        let mut seen = joiner.join().unwrap();
        publish(&log, "b").unwrap();
        read(&log, &second, &mut seen);
        assert!(seen == ['b'] || seen == ['a', 'b'], "{seen:?}");
    });
}

#[test]
fn a_command_is_there_when_its_position_was_read() {
    model(|| {
        let log = log(4);
        let cursor = attached(&log, 0);
        let joiner = {
            let (log, cursor) = (log.clone(), Arc::clone(&cursor));
            thread::spawn(move || command(&log, &cursor, 1))
        };
        publish(&log, "a").unwrap();
        let read = log.read(&cursor, |_, _| ());
        let taken = cursor.commands();
        joiner.join().unwrap();
        // One that was not there yet takes place at the end of what was read, or later.
        let later = cursor.commands();
        assert_eq!(taken.len() + later.len(), 1);
        assert!(later.iter().all(|(at, _)| distance(read.end, *at) < 2), "{later:?}");
    });
}

#[test]
fn a_room_is_not_detached_while_someone_joins() {
    model(|| {
        let log = log(4);
        let cursor = attached(&log, 0);
        let joiner = {
            let (log, cursor) = (log.clone(), Arc::clone(&cursor));
            thread::spawn(move || command(&log, &cursor, 1))
        };
        let was_detached = log.detach(&cursor, &mut Vec::new());
        joiner.join().unwrap();
        assert!(cursor.is_attached() && cursor.has_commands());
        assert!(cursor.is_told_since(0));
        // The member receives what follows.
        publish(&log, "a").unwrap();
        let mut seen = Vec::new();
        read(&log, &cursor, &mut seen);
        assert_eq!(seen, ['a'], "detached: {was_detached}");
    });
}

#[test]
fn the_end_is_noticed() {
    model(|| {
        let log = log(4);
        let cursor = attached(&log, 0);
        let closer = {
            let log = log.clone();
            thread::spawn(move || log.close())
        };
        cursor.unlist();
        let mut seen = Vec::new();
        let published = publish(&log, "a");
        let end = read(&log, &cursor, &mut seen);
        cursor.unlist();
        let rung = cursor.notify.rung();
        let sleeps = log.sleep(end);
        closer.join().unwrap();
        assert!(!sleeps || cursor.notify.rung() > rung);
        assert_eq!(seen.len(), usize::from(published.is_ok()));
        assert_eq!(publish(&log, "b"), Err(Refused::Closed));
    });
}

/// Of two shards that read to the end at once, neither may see that the other has.
#[test]
fn what_both_shards_have_read_is_released() {
    model(|| {
        let log = log(4);
        let cursors = [attached(&log, 0), attached(&log, 1)];
        publish(&log, "a").unwrap();
        let reads = |log: &BellLog, cursor: &Arc<Cursor<Bell>>| {
            let mut seen = Vec::new();
            cursor.unlist();
            let end = read(log, cursor, &mut seen);
            if log.sleep(end) {
                log.release(&mut Vec::new());
            }
            seen
        };
        let other = {
            let (log, cursor) = (log.clone(), Arc::clone(&cursors[0]));
            thread::spawn(move || reads(&log, &cursor))
        };
        assert_eq!(reads(&log, &cursors[1]), ['a']);
        assert_eq!(other.join().unwrap(), ['a']);
        assert_eq!(log.unread().0, 0, "everybody has read it");
    });
}
