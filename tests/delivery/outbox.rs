//! The outbox: each policy, its limits to the frame and the byte, control frames, and batches.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Buf;
use pondwire::frame::Control;
use pondwire::outbox::{CloseReason, OutboxFrame, Push};
use pondwire::{Frame, Outbox, OutboxOptions, OutboxReader, Payload, Policy};

const DISCONNECT: Policy = Policy::Disconnect { max_age: None };
const POLICIES: [Policy; 4] =
    [Policy::DropOldest, Policy::DropNewest, Policy::Conflate, DISCONNECT];

/// A frame that holds its number, of the same length for numbers up to 9999.
fn frame(number: usize) -> Frame {
    Frame::broadcast("/c", &format!("{number:04}"), "r", Payload::EMPTY)
}

fn number(wire: &[u8]) -> usize {
    let text = std::str::from_utf8(&wire[2..]).unwrap();
    text.split("\"event\":\"").nth(1).unwrap()[..4].parse().unwrap()
}

fn outbox(policy: Policy, max_frames: usize) -> (Outbox, OutboxReader) {
    Outbox::new(OutboxOptions::new().with_policy(policy).with_max_frames(max_frames))
}

/// The numbers of the next batch; empty without one.
fn numbers(reader: &mut OutboxReader) -> Vec<usize> {
    reader.try_batch().map_or_else(Vec::new, |batch| batch.iter().map(number).collect())
}

/// Counts its wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn frames_arrive_in_order_and_in_batches_of_64() {
    for policy in POLICIES {
        let (outbox, mut reader) = outbox(policy, 1000);
        assert!(reader.try_batch().is_none());
        for i in 0..150 {
            assert_eq!(outbox.push(frame(i)), Push::Queued);
        }
        assert_eq!(numbers(&mut reader), (0..64).collect::<Vec<_>>(), "{policy:?}");
        assert_eq!(numbers(&mut reader), (64..128).collect::<Vec<_>>());
        assert_eq!(numbers(&mut reader), (128..150).collect::<Vec<_>>());
        assert!(reader.try_batch().is_none());
        let stats = reader.stats();
        assert_eq!((stats.queued_frames, stats.queued_bytes, stats.delivered), (0, 0, 150));
        assert_eq!(stats.delivered_bytes, 150 * frame(0).wire().len() as u64);
    }
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_dropped() {
    let (outbox, mut reader) = outbox(Policy::DropOldest, 5);
    for i in 0..5 {
        assert_eq!(outbox.push(frame(i)), Push::Queued);
    }
    for i in 5..12 {
        assert_eq!(outbox.push(frame(i)), Push::DroppedOldest(1));
    }
    let batch = reader.try_batch().unwrap();
    assert_eq!(batch.lagged(), 7);
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [7, 8, 9, 10, 11]);
    drop(batch);
    outbox.push(frame(12));
    assert_eq!(reader.try_batch().unwrap().lagged(), 0);
    assert_eq!(outbox.stats().dropped_oldest, 7);
    assert_eq!(outbox.stats().lost(), 7);
}

#[test]
fn drop_newest_keeps_the_oldest() {
    let (outbox, mut reader) = outbox(Policy::DropNewest, 3);
    let pushes: Vec<_> = (0..5).map(|i| outbox.push(frame(i))).collect();
    assert_eq!(pushes[2..], [Push::Queued, Push::DroppedNewest, Push::DroppedNewest]);
    let batch = reader.try_batch().unwrap();
    assert_eq!(batch.lagged(), 2);
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn conflate_replaces_in_place() {
    let (outbox, mut reader) = outbox(Policy::Conflate, 4);
    assert_eq!(outbox.push_keyed(1, frame(1)), Push::Queued);
    assert_eq!(outbox.push_keyed(2, frame(2)), Push::Queued);
    assert_eq!(outbox.push(frame(3)), Push::Queued);
    assert_eq!(outbox.push_keyed(1, frame(11)), Push::Replaced);
    assert_eq!(outbox.push_keyed(1, frame(21)), Push::Replaced);
    assert_eq!(outbox.push(frame(4)), Push::Queued);
    assert_eq!(outbox.push_keyed(2, frame(12)), Push::Replaced, "a full queue has place for it");
    assert_eq!(outbox.push_keyed(5, frame(5)), Push::DroppedOldest(1));
    let batch = reader.try_batch().unwrap();
    assert_eq!(batch.lagged(), 1);
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [12, 3, 4, 5]);
    drop(batch);
    assert_eq!(outbox.push_keyed(1, frame(31)), Push::Queued, "the old one was taken");
    assert_eq!(numbers(&mut reader), [31]);
    assert_eq!(outbox.stats().conflated, 3);
}

#[test]
fn disconnect_frees_the_queue_and_gives_the_reason() {
    let (outbox, mut reader) = outbox(DISCONNECT, 3);
    assert_eq!(outbox.push(frame(0)), Push::Queued);
    outbox.push(frame(1));
    outbox.push(frame(2));
    assert_eq!(outbox.closed(), None);
    assert!(outbox.push(frame(3)).is_closed());
    assert_eq!(outbox.closed(), Some(CloseReason::TooManyFrames));
    assert!(outbox.push(frame(4)).is_closed());
    assert!(outbox.reply(frame(4)).is_closed());
    assert!(reader.try_batch().is_none());
    assert_eq!(outbox.stats().queued_frames, 0);
    assert_eq!(outbox.stats().discarded, 3);
    assert!(reader.closed().unwrap().is_too_slow());
}

#[test]
fn bytes_are_limited_to_the_byte() {
    let length = frame(0).wire().len();
    let bounded = |policy, max_bytes| {
        Outbox::new(OutboxOptions::new().with_policy(policy).with_max_bytes(max_bytes))
    };
    for policy in POLICIES {
        let (outbox, mut reader) = bounded(policy, 3 * length);
        for i in 0..3 {
            assert_eq!(outbox.push(frame(i)), Push::Queued, "{policy:?}");
        }
        assert_eq!(outbox.stats().queued_bytes, 3 * length);
        let fourth = outbox.push(frame(3));
        match policy {
            Policy::DropNewest => assert_eq!(fourth, Push::DroppedNewest),
            Policy::Disconnect { .. } => {
                assert_eq!(fourth, Push::Closed);
                assert_eq!(reader.closed(), Some(CloseReason::TooManyBytes));
                continue;
            }
            _ => assert_eq!(fourth, Push::DroppedOldest(1)),
        }
        assert_eq!(numbers(&mut reader).len(), 3);

        let (outbox, mut reader) = bounded(policy, 3 * length - 1);
        outbox.push(frame(0));
        outbox.push(frame(1));
        outbox.push(frame(2));
        assert_eq!(numbers(&mut reader).len(), 2);
        assert_eq!(outbox.stats().lost(), 1);
    }
}

#[test]
fn a_frame_above_the_byte_limit_drops_no_other_frame() {
    let length = frame(0).wire().len();
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Conflate] {
        let max_bytes = 2 * length;
        let options = OutboxOptions::new().with_policy(policy).with_max_bytes(max_bytes);
        let (outbox, mut reader) = Outbox::new(options);
        outbox.push(frame(0));
        let large = Frame::broadcast("/c", &"x".repeat(3 * length), "r", Payload::EMPTY);
        assert_eq!(outbox.push(large), Push::DroppedNewest);
        outbox.push(frame(1));
        assert_eq!(numbers(&mut reader), [0, 1]);
    }
}

#[test]
fn an_old_frame_disconnects() {
    let max_age = Some(Duration::from_millis(30));
    let (outbox, mut reader) = outbox(Policy::Disconnect { max_age }, 10);
    outbox.push(frame(0));
    outbox.push(frame(1));
    assert_eq!(numbers(&mut reader), [0, 1]);
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(outbox.push(frame(2)), Push::Queued, "a taken frame does not age");
    std::thread::sleep(Duration::from_millis(40));
    assert!(outbox.push(frame(3)).is_closed());
    assert_eq!(outbox.closed(), Some(CloseReason::TooOld));
}

#[test]
fn control_frames_go_first_and_their_queue_is_bounded() {
    let (outbox, mut reader) = outbox(Policy::DropOldest, 2);
    for i in 0..5 {
        outbox.push(frame(i));
    }
    for i in 0..1000_u16 {
        assert_eq!(outbox.control(Control::pong(&i.to_be_bytes()).unwrap()), Push::Queued);
    }
    outbox.reply(frame(100));
    outbox.reply(frame(101));
    let batch = reader.try_batch().unwrap();
    assert_eq!(batch.lagged(), 3);
    let wires: Vec<_> = batch.iter().collect();
    assert_eq!((number(wires[0]), number(wires[1])), (100, 101));
    assert_eq!(wires[2], [0x8A, 2, 0x03, 0xE7], "the newest pong");
    assert_eq!((number(wires[3]), number(wires[4])), (3, 4));
    drop(batch);
    assert_eq!(reader.stats().control_delivered, 3);

    for i in 0..64 {
        assert_eq!(outbox.reply(frame(i)), Push::Queued);
    }
    assert!(outbox.reply(frame(64)).is_closed());
    assert_eq!(reader.closed(), Some(CloseReason::ControlOverflow));
    assert!(reader.try_batch().is_none());
}

#[test]
fn a_close_frame_is_the_last_frame() {
    for policy in POLICIES {
        let (outbox, mut reader) = outbox(policy, 100);
        outbox.push(frame(0));
        outbox.reply(frame(1));
        outbox.control(Control::close(1001, "bye").unwrap());
        outbox.control(Control::close(1002, "again").unwrap());
        assert!(outbox.push(frame(2)).is_closed());
        assert!(outbox.reply(frame(2)).is_closed());
        let batch = reader.try_batch().unwrap();
        let wires: Vec<_> = batch.iter().collect();
        assert_eq!(number(wires[0]), 1);
        assert_eq!(wires[1..], [b"\x88\x05\x03\xE9bye"]);
        drop(batch);
        assert!(reader.try_batch().is_none());
        assert_eq!(reader.closed(), Some(CloseReason::CloseFrame));
        assert_eq!(outbox.stats().discarded, 1, "{policy:?}");
    }
}

#[test]
fn frames_queued_before_the_end_are_delivered() {
    for policy in POLICIES {
        let (outbox, mut reader) = outbox(policy, 100);
        let other = outbox.clone();
        outbox.push(frame(0));
        drop(outbox);
        assert_eq!(reader.closed(), None);
        other.reply(frame(1));
        drop(other);
        assert_eq!(reader.closed(), Some(CloseReason::Finished));
        assert_eq!(numbers(&mut reader), [1, 0]);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(reader.poll_batch(&mut cx), Poll::Ready(None)), "{policy:?}");
        assert!(!CloseReason::Finished.is_too_slow());
    }
}

#[test]
fn only_a_push_to_a_sleeping_reader_wakes_it() {
    for policy in POLICIES {
        let (outbox, mut reader) = outbox(policy, 100);
        let wakes = Arc::new(Wakes::default());
        let waker = Arc::clone(&wakes).into();
        let mut cx = Context::from_waker(&waker);
        outbox.push(frame(0));
        assert!(matches!(reader.poll_batch(&mut cx), Poll::Ready(Some(_))));
        for round in 1..4 {
            assert!(reader.poll_batch(&mut cx).is_pending());
            for i in 0..10 {
                outbox.push(frame(i));
            }
            assert_eq!(wakes.0.load(Ordering::SeqCst), round, "{policy:?}");
            assert_eq!(numbers(&mut reader).len(), 10);
        }
        assert!(reader.poll_batch(&mut cx).is_pending());
        outbox.control(Control::pong(b"").unwrap());
        assert_eq!(wakes.0.load(Ordering::SeqCst), 4);
        assert!(reader.try_batch().is_some());
        assert!(pin!(reader.next_batch()).poll(&mut cx).is_pending());
        outbox.close();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 5);
        assert!(matches!(pin!(reader.next_batch()).poll(&mut cx), Poll::Ready(None)));
    }
}

#[test]
fn a_batch_is_a_buf_over_all_its_frames() {
    let (outbox, mut reader) = outbox(Policy::DropNewest, 100);
    let frames: Vec<_> = (0..10).map(|i| frame(i * 7)).collect();
    let expected: Vec<u8> = frames.iter().flat_map(|frame| frame.wire().to_vec()).collect();
    for step in 1..expected.len() {
        for frame in &frames {
            outbox.push(frame.clone());
        }
        let mut batch = reader.try_batch().unwrap();
        assert_eq!((batch.frames(), batch.remaining()), (10, expected.len()));
        let mut written = Vec::new();
        while batch.has_remaining() {
            let mut slices = [std::io::IoSlice::new(&[]); 4];
            let count = batch.chunks_vectored(&mut slices);
            let shown: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(shown, expected[written.len()..][..shown.len()]);
            assert!(shown.starts_with(batch.chunk()) && count > 0);
            let go = step.min(shown.len());
            written.extend_from_slice(&shown[..go]);
            batch.advance(go);
        }
        assert_eq!(batch.chunk(), b"");
        assert_eq!(written, expected);
    }
}

#[test]
#[should_panic(expected = "cannot go")]
fn a_batch_does_not_go_beyond_its_end() {
    let (outbox, mut reader) = outbox(Policy::DropNewest, 100);
    outbox.push(frame(0));
    let mut batch = reader.try_batch().unwrap();
    batch.advance(frame(0).wire().len() + 1);
}

#[test]
fn a_batch_may_be_dropped_half_written_or_leaked() {
    let (outbox, mut reader) = outbox(Policy::DropNewest, 100);
    outbox.push(frame(0));
    outbox.push(frame(1));
    reader.try_batch().unwrap().advance(3);
    outbox.push(frame(2));
    assert_eq!(numbers(&mut reader), [2]);
    outbox.push(frame(3));
    std::mem::forget(reader.try_batch().unwrap());
    outbox.push(frame(4));
    assert_eq!(numbers(&mut reader), [4]);
}

#[test]
fn a_large_frame_goes_alone() {
    let (outbox, mut reader) = outbox(Policy::DropNewest, 100);
    let large = Frame::broadcast("/c", &"x".repeat(300 << 10), "r", Payload::EMPTY);
    outbox.push(frame(0));
    outbox.push(large.clone());
    outbox.push(frame(1));
    assert_eq!(numbers(&mut reader), [0]);
    assert_eq!(reader.try_batch().unwrap().remaining(), large.wire().len());
    assert_eq!(numbers(&mut reader), [1]);
}

#[test]
fn a_dropped_reader_frees_the_queued_frames() {
    for policy in POLICIES {
        let (outbox, reader) = outbox(policy, 100);
        for i in 0..50 {
            outbox.push(frame(i));
        }
        drop(reader);
        assert_eq!(outbox.stats().queued_frames, 0);
        assert_eq!(outbox.stats().discarded, 50);
        assert!(outbox.push(frame(0)).is_closed(), "{policy:?}");
        assert_eq!(outbox.closed(), Some(CloseReason::ReaderDropped));
    }
}

#[test]
fn references_are_taken_as_needed() {
    let frame = frame(7);
    let (full, _reader_full) = outbox(Policy::DropNewest, 1);
    let (open, mut reader) = outbox(Policy::DropNewest, 10);
    let (closed, _) = outbox(Policy::DropNewest, 10);
    full.push(frame.clone());
    let mut references = frame.references(2);
    assert_eq!(full.push_from(&mut references), Push::DroppedNewest);
    assert_eq!(closed.push_from(&mut references), Push::Closed);
    assert_eq!(references.len(), 2, "the others are left");
    for left in [1, 0, 0] {
        assert_eq!(open.push_from(&mut references), Push::Queued);
        assert_eq!(references.len(), left);
    }
    assert_eq!(open.push_keyed_from(3, &mut references), Push::Queued);
    drop(references);
    drop(frame);
    assert_eq!(numbers(&mut reader), [7; 4]);
}

#[test]
fn a_waiter_for_an_abort_is_woken_by_any_end_that_drops_frames() {
    for drop_reader in [false, true] {
        let (outbox, mut reader) = outbox(DISCONNECT, 1);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        let mut aborted = pin!(reader.aborted());
        assert!(aborted.as_mut().poll(&mut cx).is_pending());
        outbox.push(frame(1));
        let batch = reader.try_batch().unwrap();
        assert!(aborted.as_mut().poll(&mut cx).is_pending());
        drop(batch);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        let reason = if drop_reader {
            drop(reader);
            CloseReason::ReaderDropped
        } else {
            outbox.push(frame(2));
            outbox.push(frame(3));
            CloseReason::TooManyFrames
        };
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(aborted.as_mut().poll(&mut cx), Poll::Ready(reason));
    }
}

#[test]
fn a_batch_gives_its_frames_as_text_as_bytes_and_as_frames() {
    let (outbox, mut reader) = outbox(DISCONNECT, 10);
    let fill = || {
        outbox.push(frame(1));
        outbox.reply(frame(2));
        outbox.control(Control::pong(b"3").unwrap());
    };
    fill();
    let batch = reader.try_batch().unwrap();
    let texts: Vec<&str> = batch.texts().collect();
    assert_eq!(texts, [frame(2).as_str(), frame(1).as_str()]);
    let bytes: Vec<_> = batch.bytes().collect();
    assert_eq!(bytes, batch.iter().collect::<Vec<_>>());
    assert!(
        bytes.iter().zip(batch.iter()).all(|(shared, there)| shared.as_ptr() == there.as_ptr())
    );
    drop(batch);
    assert_eq!(bytes[1], b"\x8A\x013"[..], "the bytes outlive their batch");

    fill();
    let events = reader.try_batch().unwrap().into_sse();
    let bytes: Vec<_> = events.bytes().collect();
    assert_eq!(bytes, [frame(2).sse_bytes(), frame(1).sse_bytes()]);
    drop(events);

    fill();
    let frames: Vec<_> = reader.try_batch().unwrap().into_frames().collect();
    let [OutboxFrame::Message(first), OutboxFrame::Control(pong), OutboxFrame::Message(second)] =
        &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!((first, pong.payload(), second), (&frame(2), &b"3"[..], &frame(1)));

    // Frames that were not taken are dropped.
    outbox.push(frame(4));
    outbox.push(frame(5));
    assert!(reader.try_batch().unwrap().into_frames().next().is_some());
    assert!(reader.try_batch().is_none());
}

#[cfg(feature = "stream")]
mod stream {
    use std::pin::Pin;

    use futures_core::Stream;

    use super::*;

    fn next(reader: &mut OutboxReader) -> Poll<Option<OutboxFrame>> {
        Pin::new(reader).poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn shown(next: Poll<Option<OutboxFrame>>) -> String {
        match next {
            Poll::Ready(Some(OutboxFrame::Message(message))) => number(message.wire()).to_string(),
            Poll::Ready(Some(OutboxFrame::Control(control))) => format!("{:?}", control.opcode()),
            Poll::Ready(None) => "end".to_owned(),
            Poll::Pending => "pending".to_owned(),
        }
    }

    #[test]
    fn frames_come_one_by_one_in_turns_with_batches() {
        for policy in POLICIES {
            let (outbox, mut reader) = outbox(policy, 1000);
            assert_eq!(shown(next(&mut reader)), "pending");
            for i in 0..150 {
                outbox.push(frame(i));
            }
            assert_eq!(shown(next(&mut reader)), "0");
            assert_eq!(shown(next(&mut reader)), "1");
            assert_eq!(numbers(&mut reader), (2..66).collect::<Vec<_>>(), "{policy:?}");
            (66..150).for_each(|i| assert_eq!(shown(next(&mut reader)), i.to_string()));
            assert_eq!(shown(next(&mut reader)), "pending");
            assert_eq!(reader.stats().delivered, 150);
            outbox.push(frame(150));
            outbox.close();
            assert_eq!(shown(next(&mut reader)), "150");
            assert_eq!(shown(next(&mut reader)), "end");
            assert_eq!(shown(next(&mut reader)), "end");
        }
    }

    #[test]
    fn control_frames_go_first_and_a_close_frame_is_the_last() {
        for policy in POLICIES {
            let (outbox, mut reader) = outbox(policy, 10);
            outbox.push(frame(9));
            outbox.control(Control::ping(b"").unwrap());
            outbox.control(Control::pong(b"").unwrap());
            outbox.reply(frame(1));
            outbox.reply(frame(2));
            let five: Vec<_> = (0..5).map(|_| shown(next(&mut reader))).collect();
            assert_eq!(five, ["1", "2", "Ping", "Pong", "9"], "{policy:?}");

            outbox.push(frame(9));
            outbox.reply(frame(3));
            outbox.control(Control::pong(b"").unwrap());
            outbox.control(Control::close(1000, "").unwrap());
            let four: Vec<_> = (0..4).map(|_| shown(next(&mut reader))).collect();
            assert_eq!(four, ["3", "Pong", "Close", "end"], "{policy:?}");
            assert_eq!(reader.closed(), Some(CloseReason::CloseFrame));
        }
    }

    #[test]
    fn a_push_wakes_the_task_that_polls() {
        let (outbox, mut reader) = outbox(DISCONNECT, 10);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut reader).poll_next(&mut cx).is_pending());
        outbox.push(frame(1));
        outbox.push(frame(2));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        // Too slow: the stream ends at once.
        for i in 3..20 {
            outbox.push(frame(i));
        }
        assert_eq!(shown(next(&mut reader)), "end");
    }

    #[test]
    fn a_batch_has_64_frames_control_frames_included() {
        let (outbox, mut reader) = outbox(DISCONNECT, 200);
        for i in 0..64 {
            outbox.reply(frame(i));
        }
        outbox.control(Control::close(1000, "").unwrap());
        assert_eq!(reader.try_batch().unwrap().frames(), 64);
        assert_eq!(shown(next(&mut reader)), "Close");
        assert_eq!(shown(next(&mut reader)), "end");
    }
}
