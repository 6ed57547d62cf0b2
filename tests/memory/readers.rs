//! The memory of a room's readers: none per delivery, little while idle, and never more than the room's bounds.

use std::task::{Context, Waker};

use bytes::Buf;
use pondwire::room::{RoomOptions, RoomReader};
use pondwire::{Frame, Payload, Room};
use pondwire_test_support::counting;

fn frame(length: usize) -> Frame {
    Frame::broadcast("/c", &"e".repeat(length), "r", Payload::EMPTY)
}

fn is_asleep(reader: &mut RoomReader) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match reader.poll_batch(&mut cx) {
            std::task::Poll::Ready(Some(mut batch)) => batch.advance(batch.remaining()),
            std::task::Poll::Ready(None) => return false,
            std::task::Poll::Pending => return true,
        }
    }
}

#[test]
fn a_delivery_to_a_reader_allocates_nothing() {
    let (room, frame) = (Room::new(), frame(100));
    let join = |id: usize| room.reader(&id.to_string()).unwrap();
    let mut readers: Vec<_> = (0..20).map(join).collect();
    let mut round = |frames: usize| {
        for _ in 0..frames {
            room.publish(&frame);
        }
        room.publish_except(&frame, "7");
        room.publish_to(&frame, ["3"]);
        assert!(readers.iter_mut().all(is_asleep));
    };
    // Chunks, the list of wakers and the ring are allocated once.
    (0..20).for_each(|_| round(300));
    let before = counting::count();
    (0..300).for_each(|frames| round(frames % 60));
    assert_eq!(counting::count(), before);
    // Of the chunks that a burst fills one is used again.
    round(640);
    let before = counting::count();
    round(640);
    assert!(counting::count() - before <= 12, "{}", counting::count() - before);
}

#[test]
fn an_idle_reader_is_small() {
    const READERS: usize = (1 << 14) - 1;
    let room = Room::new();
    // The window and the group, for all readers together.
    let first = room.reader("first").unwrap();
    room.publish(&frame(10));
    let mut readers = Vec::with_capacity(READERS);
    let before = counting::live();
    for id in 0..READERS {
        readers.push(room.reader(&format!("user-{id}")).unwrap());
    }
    assert!(readers.iter_mut().all(is_asleep));
    room.publish(&frame(10));
    assert!(readers.iter_mut().all(is_asleep));
    let handle = size_of::<RoomReader>();
    let each = (counting::live() - before) as usize / READERS;
    println!("{each} bytes for an idle reader, and {handle} of its own");
    assert!(each + handle <= 160, "{each}");
    crate::assert_documented(&format!("**An idle reader** takes {} bytes", each + handle));
    readers.clear();
    drop((room, first));
    assert!(counting::live() - before < 1024, "{}", counting::live() - before);
}

/// Readers that stop anywhere keep a chunk each at most, and the room what its options allow.
#[test]
fn readers_that_stop_keep_the_bounds() {
    // The process has its random numbers for hash tables.
    drop(Room::new());
    let before = counting::live();
    let options = RoomOptions::new().with_max_frames(400).with_max_bytes(100_000);
    let room = Room::with_options(options);
    let mut quick = room.reader("quick").unwrap();
    let mut stopped = Vec::new();
    let (mut most, mut got) = (0, 0);
    for round in 0..20_000 {
        if round % 2_000 == 1_000 {
            stopped.push(room.reader("stopped").unwrap());
        }
        room.publish(&frame(round % 600));
        got += quick.try_batch().unwrap().frames();
        most = most.max(counting::live() - before);
    }
    assert_eq!(got, 20_000, "it lost nothing");
    // The window, chunks with their slots, and one chunk for each that stopped.
    let chunk = 25_000 + 700 + 64 * (16 + 48) + 64 * 80;
    let bound = 100_000 + 400 * (80 + 64 + 100) + 12 * chunk + 16 * 1024;
    assert!(most <= bound, "{most} bytes, more than {bound}");
    // They lag, and read the rest.
    for reader in &mut stopped {
        let mut lagged = 0;
        while let Some(batch) = reader.try_batch() {
            lagged += batch.lagged();
        }
        assert!(lagged > 0);
    }
    drop((stopped, quick, room));
    assert_eq!(counting::live(), before, "all is given back");
    println!("{most} bytes of {bound}");
}

/// What all have read is let go, but for the last chunk.
#[test]
fn what_all_have_read_is_let_go() {
    let room = Room::new();
    let mut readers = ["ann", "bob"].map(|user| room.reader(user).unwrap());
    let mut burst = |frames: usize| {
        for _ in 0..frames {
            room.publish(&frame(1000));
        }
        assert!(readers.iter_mut().all(is_asleep));
    };
    // The ring grows once.
    burst(3000);
    let before = counting::live();
    burst(3000);
    let kept = counting::live() - before;
    // The last chunk may have more frames than before.
    assert!(kept < 64 * 1300, "{kept}");
}
