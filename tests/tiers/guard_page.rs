//! No scanner reads a byte beyond its input: each frame lies next to a page that cannot be read.

#![allow(unsafe_code, reason = "pages are mapped and protected")]

use pondwire::scan::Tier;
use pondwire::{ChannelEvent, ClientMessage, Frame, Payload};
use pondwire_test_support::{Random, cases, mutate, workload_frames};
use std::ptr;

use super::{scanners, select, tier_lock};

/// Longer frames are cut.
const LONGEST: usize = 12 << 10;

/// Readable pages between two that are not.
struct Guarded {
    start: *mut u8,
    readable: usize,
    /// 4 KiB on x86-64; up to 64 KiB on Arm.
    page: usize,
}

impl Guarded {
    fn new(bytes: usize) -> Self {
        // SAFETY: only reads a setting.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let readable = bytes.next_multiple_of(page);
        let (length, none) = (readable + 2 * page, libc::PROT_NONE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at a place of the system's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, none, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let start = start.cast::<u8>().wrapping_add(page);
        // SAFETY: within the mapping.
        let changed =
            unsafe { libc::mprotect(start.cast(), readable, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(changed, 0);
        Self { start, readable, page }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: readable, writable, zeroed and borrowed from `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.readable) }
    }

    /// The frame, with no readable byte after it.
    fn at_the_end(&mut self, frame: &[u8]) -> &[u8] {
        let at = self.readable - frame.len();
        let place = &mut self.bytes()[at..];
        place.copy_from_slice(frame);
        place
    }

    /// The frame, with no readable byte before it.
    fn at_the_start(&mut self, frame: &[u8]) -> &[u8] {
        let place = &mut self.bytes()[..frame.len()];
        place.copy_from_slice(frame);
        place
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody refers to any more.
        unsafe {
            libc::munmap(self.start.wrapping_sub(self.page).cast(), self.readable + 2 * self.page)
        };
    }
}

/// Runs every scanner over the frame; returns whether it is a message.
fn read(frame: &[u8]) -> bool {
    let Ok(message) = ChannelEvent::parse(frame) else {
        return ClientMessage::parse(frame).is_ok();
    };
    let payload = message.payload();
    assert!(payload.get("no such key").is_none());
    payload.members().count();
    true
}

/// One test for all tiers, so that it holds the lock once.
#[test]
fn nothing_beyond_a_frame_is_read() {
    let _lock = tier_lock();
    let mut random = Random::from_env("nothing_beyond_a_frame_is_read");
    let frames = workload_frames(LONGEST);
    let mut guarded = Guarded::new(LONGEST);
    let scanners = scanners();
    println!("scanners: {scanners:?}");
    let mut compare = |frame: &[u8]| {
        let verdicts = scanners.iter().flat_map(|&scanner| {
            select(scanner);
            [read(guarded.at_the_end(frame)), read(guarded.at_the_start(frame))]
        });
        let verdicts: Vec<bool> = verdicts.collect();
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
    };
    for frame in frames.iter().step_by(97) {
        for length in 0..=frame.len().min(300) {
            compare(&frame[..length]);
        }
        compare(frame);
    }
    for _ in 0..cases(5000) {
        let frame = &frames[random.below(frames.len())];
        let mut mutated = mutate(&mut random, frame);
        mutated.truncate(LONGEST);
        compare(&mutated);
    }
}

/// The same for a text that a frame is made of: it is searched for bytes to escape, and copied.
#[test]
fn nothing_beyond_a_text_is_read() {
    const CHARACTERS: [char; 6] = ['"', '\\', '\n', '\u{1}', 'é', '😀'];
    let _lock = tier_lock();
    let chosen = Tier::current();
    let mut random = Random::from_env("nothing_beyond_a_text_is_read");
    let mut guarded = Guarded::new(LONGEST);
    let mut made = |text: &str, at_the_end: bool| {
        let place = match at_the_end {
            true => guarded.at_the_end(text.as_bytes()),
            false => guarded.at_the_start(text.as_bytes()),
        };
        let text = std::str::from_utf8(place).unwrap();
        Frame::broadcast("/c", text, "r", Payload::EMPTY).as_str().to_owned()
    };
    for round in 0..cases(3000) {
        let length = if round % 50 == 0 { random.below(6000) } else { random.below(300) };
        let one_in = *random.pick(&[1, 3, 50, 1000]);
        let character = |_| match random.below(one_in) {
            0 => *random.pick(&CHARACTERS),
            _ => 'x',
        };
        let mut text: String = (0..length).map(character).collect();
        while text.len() > LONGEST {
            text.pop();
        }
        let event = serde_json::to_string(&text).unwrap();
        let expected = format!(
            r#"{{"action":"BROADCAST","event":{event},"channelName":"/c","requestId":"r","payload":{{}}}}"#
        );
        for tier in Tier::ALL.iter().filter(|tier| tier.select()) {
            assert_eq!(made(&text, true), expected, "{tier}");
            assert_eq!(made(&text, false), expected, "{tier}");
        }
    }
    assert!(chosen.select());
}
