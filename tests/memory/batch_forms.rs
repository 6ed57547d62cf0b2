//! A batch in the form of its connection: all recipients share the memory of each form.

use std::io::IoSlice;

use bytes::Buf;
use pondwire::frame::Control;
use pondwire::{Frame, Outbox, OutboxOptions, Payload};
use pondwire_test_support::counting;

fn frame(text_len: usize) -> Frame {
    let payload = format!(r#"{{"text":"{}"}}"#, "ab ".repeat(text_len / 3));
    Frame::broadcast("/chat/42", "say", "b-1", Payload::from_json(&payload).unwrap())
}

fn written(mut batch: impl Buf, step: usize) -> Vec<u8> {
    let mut written = Vec::new();
    while batch.has_remaining() {
        let mut slices = [IoSlice::new(&[]); 3];
        let count = batch.chunks_vectored(&mut slices);
        let shown: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(shown.starts_with(batch.chunk()) && !batch.chunk().is_empty());
        let go = step.min(shown.len());
        written.extend_from_slice(&shown[..go]);
        batch.advance(go);
    }
    written
}

#[test]
fn server_sent_events_leave_control_frames_out() {
    let frames = [frame(3), frame(300), frame(3000)];
    let expected: Vec<u8> = frames.iter().flat_map(|frame| frame.sse().to_vec()).collect();
    for step in [1, 7, 150, 100_000] {
        let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
        outbox.control(Control::ping(b"1").unwrap());
        for frame in &frames {
            outbox.push(frame.clone());
        }
        outbox.control(Control::pong(b"2").unwrap());
        let batch = reader.try_batch().unwrap();
        assert_eq!(batch.frames(), 5);
        let batch = batch.into_sse();
        assert_eq!((batch.frames(), batch.remaining()), (3, expected.len()));
        assert_eq!(written(batch, step), expected);
        // Only control frames: there is nothing to write, and the stream does not end.
        outbox.control(Control::ping(b"3").unwrap());
        assert!(!reader.try_batch().unwrap().into_sse().has_remaining());
        outbox.push(frames[0].clone());
        assert_eq!(written(reader.try_batch().unwrap().into_sse(), step), frames[0].sse());
    }
}

#[test]
fn frames_are_compressed_where_that_is_shorter_and_plain_otherwise() {
    let (small, large) = (frame(3), frame(300));
    let ping = Control::ping(b"1").unwrap();
    let expected = [ping.wire(), small.wire(), large.deflated().unwrap()].concat();
    assert!(expected.len() < large.wire().len());
    for step in [1, 7, 150, 100_000] {
        let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
        outbox.push(small.clone());
        outbox.push(large.clone());
        outbox.control(Control::ping(b"1").unwrap());
        let batch = reader.try_batch().unwrap().into_deflated();
        assert_eq!((batch.frames(), batch.remaining()), (3, expected.len()));
        assert_eq!(written(batch, step), expected);
    }
}

#[test]
fn a_hundred_recipients_cost_one_allocation_for_each_form() {
    assert!(frame(300).deflated().is_some(), "the thread has its compressor");
    let frame = frame(300);
    let mut ends: Vec<_> = (0..100).map(|_| Outbox::new(OutboxOptions::default())).collect();
    for (outbox, reader) in &mut ends {
        outbox.push(frame.clone());
        assert_eq!(reader.try_batch().unwrap().frames(), 1, "the reader has its memory");
    }
    for form in 0..2 {
        let before = counting::count();
        let mut addresses = [std::ptr::null(); 100];
        for ((outbox, reader), address) in ends.iter_mut().zip(&mut addresses) {
            outbox.push(frame.clone());
            let batch = reader.try_batch().unwrap();
            let batch = if form == 0 { batch.into_sse() } else { batch.into_deflated() };
            *address = batch.chunk().as_ptr();
        }
        assert_eq!(counting::count() - before, 1);
        assert!(addresses.iter().all(|address| *address == addresses[0]));
    }
}

#[test]
#[should_panic(expected = "has been written")]
fn a_batch_written_in_part_has_no_other_form() {
    let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
    outbox.push(frame(3));
    let mut batch = reader.try_batch().unwrap();
    batch.advance(1);
    drop(batch.into_sse());
}
