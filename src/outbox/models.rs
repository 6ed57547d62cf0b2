//! Every interleaving of two or three threads, by loom.
//!
//! `RUSTFLAGS="--cfg pondwire_loom" cargo test --release --lib outbox::models`; the segments of
//! the ring have 1, 2 and 4 slots here. `tests/loom/weakened.sh` in the repository shows that each model fails
//! with the bug that it watches for.

#![allow(unsafe_code)]

use loom::future::block_on;
use loom::thread;

use super::{CloseReason, Outbox, OutboxOptions, OutboxReader, Policy, Push};
use crate::frame::{Control, Frame};
use crate::payload::Payload;
use crate::ring::{Bounds, PopResult, PushError, Ring};
use crate::sync::{Arc, model_within, yield_now};

fn model(run: impl Fn() + Sync + Send + 'static) {
    // Every bug of the script shows with two.
    model_within(2, run);
}

fn ring(frames: usize) -> Arc<Ring<u32>> {
    Arc::new(Ring::new(Bounds::new(frames, 1000), true))
}

fn push(ring: &Ring<u32>, item: u32) -> bool {
    ring.try_push(item, 1, |_| ()).is_ok()
}

fn take(ring: &Ring<u32>, frames: u32, bytes: u32, into: &mut Vec<u32>) -> PopResult {
    // SAFETY: the head is shared (`ring`).
    unsafe { ring.take(frames, bytes, into) }
}

fn take_one(ring: &Ring<u32>) -> Result<u32, PopResult> {
    // SAFETY: as for `take`.
    unsafe { ring.take_one() }
}

fn frame(event: &str) -> Frame {
    Frame::broadcast("", event, "", Payload::EMPTY)
}

fn outbox(policy: Policy, max_frames: usize) -> (Outbox, OutboxReader) {
    Outbox::new(OutboxOptions { policy, max_frames, ..OutboxOptions::default() })
}

/// The events of all frames up to the end, for which the reader sleeps when it has to.
fn read_to_the_end(reader: &mut OutboxReader) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(batch) = block_on(reader.next_batch()) {
        events.extend(batch.iter().map(|wire| {
            let text = String::from_utf8_lossy(wire);
            text.split("event\":\"").nth(1).map_or("control", |rest| &rest[..1]).to_owned()
        }));
    }
    events
}

#[test]
fn two_producers_push_while_a_popper_takes() {
    model(|| {
        let ring = ring(4);
        let producers: Vec<_> = [10, 20]
            .map(|first| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || {
                    assert!(push(&ring, first));
                    assert!(push(&ring, first + 1));
                })
            })
            .into();
        let mut taken = Vec::new();
        take(&ring, 4, 1000, &mut taken);
        for producer in producers {
            producer.join().unwrap();
        }
        while let PopResult::Some { .. } = take(&ring, 4, 1000, &mut taken) {}
        assert_eq!(taken.len(), 4);
        for first in [10, 20] {
            let place = |item| taken.iter().position(|taken| *taken == item).unwrap();
            assert!(place(first) < place(first + 1));
        }
        assert_eq!(ring.queued(), (0, 0));
    });
}

#[test]
fn a_producer_drops_the_oldest_while_the_consumer_takes() {
    model(|| {
        let ring = ring(1);
        assert!(push(&ring, 0));
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut dropped = Vec::new();
                for item in 1..3 {
                    while !push(&ring, item) {
                        dropped.extend(take_one(&ring));
                    }
                }
                dropped
            })
        };
        let mut taken = Vec::new();
        take(&ring, 4, 1000, &mut taken);
        take(&ring, 4, 1000, &mut taken);
        let dropped = producer.join().unwrap();
        take(&ring, 4, 1000, &mut taken);
        assert!(taken.is_sorted() && dropped.is_sorted());
        let mut all = [taken, dropped].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

#[test]
fn two_producers_drop_the_oldest() {
    model(|| {
        let ring = ring(1);
        assert!(push(&ring, 0));
        let producers = [1, 2].map(|item| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut dropped = Vec::new();
                while !push(&ring, item) {
                    match take_one(&ring) {
                        Ok(oldest) => dropped.push(oldest),
                        Err(_) => yield_now(),
                    }
                }
                dropped
            })
        });
        let mut all: Vec<_> =
            producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        assert_eq!(ring.queued(), (1, 1));
        take(&ring, 1, 1, &mut all);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

#[test]
fn two_producers_allocate_the_same_segment() {
    model(|| {
        let ring = ring(4);
        assert!(push(&ring, 0));
        let producers = [1, 2].map(|item| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || assert!(push(&ring, item)))
        });
        for producer in producers {
            producer.join().unwrap();
        }
        let mut taken = Vec::new();
        take(&ring, 4, 1000, &mut taken);
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
    });
}

#[test]
fn the_bounds_hold_with_two_producers() {
    model(|| {
        let ring = ring(2);
        assert!(push(&ring, 0));
        let producers = [1, 2].map(|item| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || push(&ring, item))
        });
        let (frames, bytes) = ring.queued();
        assert!(frames <= 2 && bytes <= 2);
        let pushed = producers.map(|producer| producer.join().unwrap());
        assert!(pushed[0] != pushed[1], "there was room for one");
    });
}

#[test]
fn a_push_wakes_a_sleeping_reader() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::DropNewest, 4);
        let producers = ["a", "b"].map(|event| {
            let outbox = outbox.clone();
            thread::spawn(move || assert_eq!(outbox.push(frame(event)), Push::Queued))
        });
        let mut got = 0;
        while got < 2 {
            got += block_on(reader.next_batch()).unwrap().frames();
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn push_meets_drop_oldest_and_wake() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::DropOldest, 1);
        let producer = thread::spawn(move || {
            outbox.push(frame("a"));
            outbox.push(frame("b"));
            outbox.stats().dropped_oldest + outbox.stats().dropped_newest
        });
        let events = read_to_the_end(&mut reader);
        let lost = producer.join().unwrap();
        assert!(events.is_sorted());
        assert_eq!(events.len() as u64 + lost, 2);
        assert_eq!(events.last().unwrap(), "b", "only the consumer's pop could be in the way");
    });
}

#[test]
fn close_meets_push() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::DropNewest, 4);
        let producer = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.push(frame("a")))
        };
        let closer = thread::spawn(move || outbox.close());
        let events = read_to_the_end(&mut reader);
        let queued = producer.join().unwrap() == Push::Queued;
        closer.join().unwrap();
        assert_eq!(events.len(), usize::from(queued), "delivered if and only if it was queued");
        assert_eq!(reader.closed(), Some(CloseReason::Finished));
    });
}

#[test]
fn a_dropped_reader_leaves_no_frame_behind() {
    model(|| {
        let ring = ring(4);
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || (push(&ring, 1), push(&ring, 2)))
        };
        ring.close();
        // SAFETY: the head is shared (`ring`).
        unsafe { ring.clear(true) };
        assert_eq!(ring.queued(), (0, 0));
        producer.join().unwrap();
        assert_eq!(ring.queued(), (0, 0));
        assert!(matches!(ring.try_push(3, 1, |_| ()), Err((3, PushError::Closed))));
    });
}

#[test]
fn conflate_replaces_while_the_reader_takes() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::Conflate, 4);
        let producer = thread::spawn(move || {
            outbox.push_keyed(1, frame("a"));
            outbox.push_keyed(1, frame("b"));
            outbox.stats().conflated
        });
        let events = read_to_the_end(&mut reader);
        let conflated = producer.join().unwrap();
        assert_eq!(events.len() as u64 + conflated, 2);
        assert_eq!(events.last().unwrap(), "b");
    });
}

/// Without an end, which would wake the reader anyway.
#[test]
fn a_conflated_push_wakes_a_sleeping_reader() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::Conflate, 4);
        let producer = thread::spawn({
            let outbox = outbox.clone();
            move || assert_eq!(outbox.push_keyed(1, frame("a")), Push::Queued)
        });
        assert_eq!(block_on(reader.next_batch()).unwrap().frames(), 1);
        producer.join().unwrap();
        drop(outbox);
    });
}

#[test]
fn an_out_of_band_frame_wakes_a_sleeping_reader() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::DropNewest, 4);
        let producer = thread::spawn({
            let outbox = outbox.clone();
            move || assert_eq!(outbox.reply(frame("a")), Push::Queued)
        });
        assert_eq!(block_on(reader.next_batch()).unwrap().frames(), 1);
        producer.join().unwrap();
        drop(outbox);
    });
}

#[test]
fn a_close_frame_comes_last_and_reaches_the_reader() {
    model(|| {
        let (outbox, mut reader) = outbox(Policy::DropNewest, 4);
        let closer = thread::spawn({
            let outbox = outbox.clone();
            move || outbox.control(Control::close(1000, "").unwrap())
        });
        outbox.push(frame("a"));
        let events = read_to_the_end(&mut reader);
        assert_eq!(closer.join().unwrap(), Push::Queued);
        assert_eq!(events.last().unwrap(), "control");
        assert_eq!(reader.closed(), Some(CloseReason::CloseFrame));
    });
}
