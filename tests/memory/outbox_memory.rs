//! The memory of outboxes, counted: none per delivery, little while idle, and never more than their
//! bounds when nobody reads.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use pondwire::frame::Control;
use pondwire::{Frame, Outbox, OutboxOptions, OutboxReader, Payload, Policy};
use pondwire_test_support::counting;

const POLICIES: [Policy; 4] = [
    Policy::DropOldest,
    Policy::DropNewest,
    Policy::Conflate,
    Policy::Disconnect { max_age: None },
];

fn frame(length: usize) -> Frame {
    Frame::broadcast("/c", &"e".repeat(length), "r", Payload::EMPTY)
}

#[test]
fn a_delivery_allocates_nothing() {
    let frame = frame(100);
    for policy in POLICIES {
        let options = OutboxOptions::new().with_policy(policy);
        let (outbox, mut reader) = Outbox::new(options);
        let mut round = |frames: u64| {
            let mut references = frame.references(frames as usize);
            for key in 0..frames {
                match key % 2 {
                    0 => outbox.push_from(&mut references),
                    _ => outbox.push_keyed_from(key % 16, &mut references),
                };
            }
            while let Some(mut batch) = reader.try_batch() {
                batch.advance(batch.remaining());
            }
        };
        // The memory for this many frames is allocated once.
        (0..20).for_each(|_| round(200));
        let before = counting::count();
        (0..300).for_each(|frames| round(frames % 200));
        assert_eq!(counting::count(), before, "{policy:?}");
    }
}

#[test]
fn the_first_frames_need_no_ring() {
    let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
    let frames: Vec<_> = (0..5).map(|_| frame(10)).collect();
    let before = counting::count();
    frames[..4].iter().for_each(|frame| assert!(!outbox.push(frame.clone()).is_closed()));
    assert_eq!(counting::count(), before);
    outbox.push(frames[4].clone());
    assert_eq!(counting::count(), before + 1);
    assert_eq!(reader.try_batch().unwrap().frames(), 5);
}

/// The bytes of each of the thousand values that `make` returns.
fn bytes_each<T>(make: impl FnOnce(usize) -> T) -> usize {
    const COUNT: usize = 1000;
    let before = counting::live();
    let made = make(COUNT);
    let bytes = (counting::live() - before) as usize;
    drop(made);
    bytes / COUNT
}

#[test]
fn an_idle_subscriber_costs_a_quarter_of_a_tokio_channel() {
    let ours = bytes_each(|count| -> (Vec<Outbox>, Vec<OutboxReader>) {
        (0..count).map(|_| Outbox::new(OutboxOptions::default())).unzip()
    });
    let tokio = bytes_each(|count| -> (HashMap<usize, _>, Vec<_>) {
        let channel = |id| {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(256);
            ((id, sender), receiver)
        };
        (0..count).map(channel).unzip()
    });
    println!("bytes per idle subscriber: {ours}, as a tokio channel {tokio}");
    assert!(ours * 4 <= tokio, "{ours} against {tokio}");
}

#[test]
fn a_client_that_never_reads_stays_within_the_bound_and_others_lose_nothing() {
    const ROUNDS: usize = 20_000;
    let bounds = OutboxOptions::new().with_max_frames(500).with_max_bytes(100_000);
    for policy in POLICIES {
        let before = counting::live();
        let options = bounds.with_policy(policy);
        let (slow, slow_reader) = Outbox::new(options);
        let (quick, mut quick_reader) = Outbox::new(options);
        let (mut most, mut got) = (0, 0);
        for round in 0..ROUNDS {
            let frame = frame(round % 600);
            let mut references = frame.references(2);
            for outbox in [&slow, &quick] {
                outbox.push_keyed_from(round as u64, &mut references);
                // A peer that sends many pings.
                outbox.control(Control::pong(&round.to_be_bytes()).unwrap());
            }
            drop(references);
            drop(frame);
            got += quick_reader.try_batch().unwrap().frames() - 1;
            most = most.max(counting::live() - before);
        }
        assert_eq!(got, ROUNDS, "{policy:?}: each frame and its pong");
        assert_eq!(quick_reader.stats().lost(), 0);
        let stats = slow_reader.stats();
        assert!(stats.queued_frames <= 500 && stats.queued_bytes <= 100_000);
        match policy {
            Policy::DropNewest => assert!(stats.dropped_newest > 19_000),
            Policy::Disconnect { .. } => assert!(slow_reader.closed().unwrap().is_too_slow()),
            _ => assert!(stats.dropped_oldest > 19_000),
        }
        // The bytes of frames and their headers, of slots or entries and their index, and the rest.
        let bound = 100_000 + 500 * (80 + 100) + 8 * 1024;
        assert!(most <= bound, "{policy:?}: {most} bytes, more than {bound}");
        drop((slow, slow_reader, quick, quick_reader));
        assert_eq!(counting::live(), before, "{policy:?}: all is given back");
    }
}
