//! The frames that a room keeps for members that join again.
//!
//! A publish appends to the log and keeps the frame under one lock, and under the same lock a member that
//! joins again takes what it missed and gets its position in the log. So every frame is either among those
//! that were kept before, or comes after that position, and never both.

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

use super::RoomOptions;
use crate::encode::{escaped_len, put_escaped};
use crate::frame::{Frame, WireFrame};
use crate::log::To;
use crate::sync::Mutex;

/// What was published last, within bounds.
pub(super) struct History(Mutex<Kept>);

pub(super) struct Kept {
    /// In the order of the log.
    entries: VecDeque<Entry>,
    bytes: usize,
    max_frames: usize,
    max_bytes: usize,
    max_age: Duration,
    is_closed: bool,
}

struct Entry {
    frame: Frame,
    /// The hash of its id as it is written.
    id: u64,
    recipients: Recipients,
    /// `None` if its age does not matter.
    since: Option<Instant>,
}

/// The members that a kept frame was for, or would have been.
pub(super) enum Recipients {
    /// As [`To::Members`].
    Members { audience: u32, except: u64 },
    /// Users by name.
    Users(Box<[u64]>),
}

impl Recipients {
    /// `None`: a frame for one connection, which no other may see.
    pub(super) const fn of(to: &To) -> Option<Self> {
        match *to {
            To::Members { audience, except, .. } => Some(Self::Members { audience, except }),
            To::Member { .. } | To::Several { .. } => None,
        }
    }

    fn include(&self, user: u64, audience: u32) -> bool {
        match self {
            Self::Members { audience: of, except } => of & audience != 0 && *except != user,
            Self::Users(users) => users.contains(&user),
        }
    }
}

impl History {
    /// `None` if the options ask for none.
    pub(super) fn new(options: &RoomOptions) -> Option<Self> {
        let &RoomOptions { history_frames, history_bytes, history_age, .. } = options;
        (history_frames > 0).then(|| {
            Self(Mutex::new(Kept {
                entries: VecDeque::new(),
                bytes: 0,
                max_frames: history_frames,
                max_bytes: history_bytes,
                max_age: history_age,
                is_closed: false,
            }))
        })
    }

    pub(super) fn lock(&self) -> impl DerefMut<Target = Kept> {
        self.0.lock()
    }

    /// Keeps nothing from now on.
    pub(super) fn close(&self) {
        let mut kept = self.lock();
        kept.is_closed = true;
        let entries = std::mem::take(&mut kept.entries);
        drop(kept);
        drop(entries);
    }
}

impl Kept {
    /// The time, if ages matter.
    fn now(&self) -> Option<Instant> {
        (self.max_age < Duration::MAX).then(Instant::now)
    }

    /// Keeps a frame that was published just now; `hash` is of its id as it is written.
    pub(super) fn keep(
        &mut self,
        frame: &Frame,
        recipients: Recipients,
        hash: impl Fn(&str) -> u64,
    ) {
        if !self.is_closed {
            self.keep_at(self.now(), frame, recipients, hash);
        }
    }

    fn keep_at(
        &mut self,
        now: Option<Instant>,
        frame: &Frame,
        recipients: Recipients,
        hash: impl Fn(&str) -> u64,
    ) {
        let id = hash(frame.written_request_id());
        self.bytes += frame.wire().len();
        self.entries.push_back(Entry { frame: frame.clone(), id, recipients, since: now });
        self.trim(now);
    }

    /// Drops the oldest frames until the rest is within the bounds.
    fn trim(&mut self, now: Option<Instant>) {
        while let Some(oldest) = self.entries.front() {
            let age =
                oldest.since.zip(now).map(|(since, now)| now.saturating_duration_since(since));
            let is_too_old = age.is_some_and(|age| age > self.max_age);
            if self.entries.len() <= self.max_frames && self.bytes <= self.max_bytes && !is_too_old
            {
                return;
            }
            self.bytes -= oldest.frame.wire().len();
            self.entries.pop_front();
        }
    }

    /// What was kept after the last frame with this id, for a user with this audience; `None` if there is
    /// no such frame.
    pub(super) fn after(
        &mut self,
        request_id: &str,
        user: u64,
        audience: u32,
        hash: impl Fn(&str) -> u64,
    ) -> Option<Box<[WireFrame]>> {
        self.after_at(self.now(), request_id, user, audience, hash)
    }

    fn after_at(
        &mut self,
        now: Option<Instant>,
        request_id: &str,
        user: u64,
        audience: u32,
        hash: impl Fn(&str) -> u64,
    ) -> Option<Box<[WireFrame]>> {
        self.trim(now);
        let mut written = Vec::new();
        put_escaped(&mut written, request_id, escaped_len(request_id));
        let written = std::str::from_utf8(&written).ok()?;
        let id = hash(written);
        let is_it = |entry: &Entry| entry.id == id && entry.frame.written_request_id() == written;
        let last = self.entries.iter().rposition(is_it)?;
        let missed = self.entries.range(last + 1..);
        let missed = missed.filter(|entry| entry.recipients.include(user, audience));
        Some(missed.map(|entry| entry.frame.clone().into()).collect())
    }
}

#[cfg(all(test, not(pondwire_loom)))]
mod tests {
    use super::*;
    use crate::log::EVERYBODY;
    use crate::payload::Payload;

    const ANN: u64 = 1;
    const BOB: u64 = 2;

    /// All ids have one hash: only the text tells them apart.
    fn hash(_: &str) -> u64 {
        7
    }

    fn kept(frames: usize, bytes: usize, age: Duration) -> Kept {
        let options = RoomOptions::new().with_history(frames, bytes, age);
        History::new(&options).unwrap().0.into_inner()
    }

    fn frame(id: &str) -> Frame {
        Frame::broadcast("/c", "e", id, Payload::EMPTY)
    }

    fn keep(kept: &mut Kept, id: &str, recipients: Recipients) {
        kept.keep(&frame(id), recipients, hash);
    }

    fn for_all() -> Recipients {
        Recipients::of(&To::audience(EVERYBODY)).unwrap()
    }

    /// The ids of what a user missed.
    fn missed(kept: &mut Kept, last: &str, user: u64, audience: u32) -> Option<Vec<String>> {
        let missed = kept.after(last, user, audience, hash)?;
        let id = |frame: &WireFrame| {
            let frame = frame.clone().into_message().ok().unwrap();
            frame.written_request_id().to_owned()
        };
        Some(missed.iter().map(id).collect())
    }

    #[test]
    fn nothing_is_kept_unless_asked_for() {
        assert!(History::new(&RoomOptions::new()).is_none());
        let none = RoomOptions::new().with_history(0, usize::MAX, Duration::MAX);
        assert!(History::new(&none).is_none());
    }

    #[test]
    fn the_number_of_frames_is_bounded() {
        let mut kept = kept(3, usize::MAX, Duration::MAX);
        for id in ["1", "2", "3", "4"] {
            keep(&mut kept, id, for_all());
        }
        assert_eq!(missed(&mut kept, "1", ANN, EVERYBODY), None);
        assert_eq!(missed(&mut kept, "2", ANN, EVERYBODY).unwrap(), ["3", "4"]);
        assert!(missed(&mut kept, "4", ANN, EVERYBODY).unwrap().is_empty());
        assert_eq!(kept.bytes, 3 * frame("1").wire().len());
    }

    #[test]
    fn their_bytes_are_bounded() {
        let len = frame("1").wire().len();
        let mut kept = kept(100, 2 * len, Duration::MAX);
        for id in ["1", "2", "3"] {
            keep(&mut kept, id, for_all());
        }
        assert_eq!((kept.entries.len(), kept.bytes), (2, 2 * len));
        // One that is larger than the bound is not kept, nor anything before it: that would be a hole.
        let payload = format!("{{\"pad\":\"{}\"}}", "x".repeat(3 * len));
        let large = Frame::broadcast("/c", "e", "4", Payload::from_json(&payload).unwrap());
        kept.keep(&large, for_all(), hash);
        assert_eq!((kept.entries.len(), kept.bytes), (0, 0));
        assert_eq!(missed(&mut kept, "3", ANN, EVERYBODY), None);
    }

    #[test]
    fn their_age_is_bounded_at_appends_and_at_reads() {
        let age = Duration::from_secs(10);
        let mut kept = kept(100, usize::MAX, age);
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        kept.keep_at(at(0), &frame("1"), for_all(), hash);
        kept.keep_at(at(6), &frame("2"), for_all(), hash);
        // Exactly as old as it may be.
        assert_eq!(kept.after_at(at(10), "1", ANN, EVERYBODY, hash).unwrap().len(), 1);
        assert!(kept.after_at(at(11), "1", ANN, EVERYBODY, hash).is_none());
        assert_eq!((kept.entries.len(), kept.bytes), (1, frame("2").wire().len()));
        kept.keep_at(at(17), &frame("3"), for_all(), hash);
        assert_eq!(kept.entries.len(), 1);
        // A clock that was read earlier by another thread.
        assert_eq!(kept.after_at(at(3), "3", ANN, EVERYBODY, hash).unwrap().len(), 0);
    }

    #[test]
    fn a_user_gets_what_was_for_it() {
        let mut kept = kept(100, usize::MAX, Duration::MAX);
        let to = |audience, except| Recipients::Members { audience, except };
        keep(&mut kept, "0", for_all());
        keep(&mut kept, "not ann", to(EVERYBODY, ANN));
        keep(&mut kept, "1", to(1, 0));
        keep(&mut kept, "2", to(2, 0));
        keep(&mut kept, "bob", Recipients::Users([BOB].into()));
        keep(&mut kept, "both", Recipients::Users([ANN, BOB].into()));
        assert_eq!(missed(&mut kept, "0", ANN, EVERYBODY).unwrap(), ["1", "2", "both"]);
        assert_eq!(missed(&mut kept, "0", BOB, 2).unwrap(), ["not ann", "2", "bob", "both"]);
        assert_eq!(missed(&mut kept, "0", 3, 0).unwrap(), [""; 0]);
        assert!(Recipients::of(&To::Member { cursor: 0, seat: 0, member: 0 }).is_none());
    }

    #[test]
    fn an_id_is_compared_as_a_text_and_its_last_frame_counts() {
        let mut kept = kept(100, usize::MAX, Duration::MAX);
        for id in ["", "a\"b\\", "\\\"requestId\\\":\\\"", "é\n", "twice", "x", "twice", "y"] {
            keep(&mut kept, id, for_all());
        }
        for (at, id) in ["", "a\"b\\", "\\\"requestId\\\":\\\"", "é\n"].iter().enumerate() {
            assert_eq!(missed(&mut kept, id, ANN, EVERYBODY).unwrap().len(), 7 - at, "{id}");
        }
        assert_eq!(missed(&mut kept, "twice", ANN, EVERYBODY).unwrap(), ["y"]);
        assert_eq!(missed(&mut kept, "unknown", ANN, EVERYBODY), None);
    }

    #[test]
    fn a_room_that_is_closed_keeps_nothing() {
        let history =
            History::new(&RoomOptions::new().with_history(9, 999, Duration::MAX)).unwrap();
        keep(&mut history.lock(), "1", for_all());
        history.close();
        let mut kept = history.lock();
        keep(&mut kept, "2", for_all());
        assert!(kept.entries.is_empty());
    }
}
