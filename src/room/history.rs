//! The frames that a room keeps for members that join again.
//!
//! A publish appends to the log and keeps the frame under one lock, and under the same lock a member that
//! joins again takes what it missed and gets its position in the log. So every frame is either among those
//! that were kept before, or comes after that position, and never both.

use std::collections::{BTreeMap, VecDeque};
use std::ops::DerefMut;
use std::sync::{Arc as StdArc, Weak};
use std::time::{Duration, Instant};

use super::{RoomOptions, user_key};
use crate::encode::append_escaped;
use crate::frame::{Frame, WireFrame};
use crate::log::To;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What was published last, within bounds.
pub(super) struct History {
    kept: StdArc<Mutex<Kept>>,
    /// The same as that of `kept`, without its lock.
    budget: Option<HistoryBudget>,
}

pub(super) struct Kept {
    /// In the order of the log.
    entries: VecDeque<Entry>,
    bytes: usize,
    max_frames: usize,
    max_bytes: usize,
    max_age: Duration,
    budget: Option<HistoryBudget>,
    /// The number of frames that were kept and dropped again.
    dropped: u64,
    /// Begins the names of positions here, and of none in another room.
    name: u64,
    is_closed: bool,
    /// Itself, for the budget.
    this: Weak<Mutex<Self>>,
}

/// A bound on the bytes that the histories of many rooms keep together; a clone is another handle of the same
/// budget.
///
/// When it would be exceeded, the room that keeps most, within a factor of two, drops its oldest frames: so a room that
/// keeps little keeps it, however much the others publish.
///
/// ```
/// use std::time::Duration;
/// use pondwire::room::{HistoryBudget, RoomOptions};
/// use pondwire::{Frame, Payload, Room};
///
/// let budget = HistoryBudget::new(1 << 20);
/// let options = RoomOptions::new().with_history(100, usize::MAX, Duration::MAX);
/// let rooms = [1, 2].map(|_| Room::with_history_budget(options, &budget));
/// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
/// for room in &rooms {
///     room.publish(&frame);
/// }
/// assert_eq!(budget.bytes(), 2 * frame.wire().len());
/// drop(rooms);
/// assert_eq!(budget.bytes(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct HistoryBudget(StdArc<Budget>);

#[derive(Debug)]
struct Budget {
    /// Relaxed: a sum, on which nothing else depends.
    bytes: AtomicUsize,
    max_bytes: usize,
    holders: Mutex<Holders>,
}

/// The rooms that keep frames, by [size class](class_of) and name.
type Holders = BTreeMap<(u32, u64), Weak<Mutex<Kept>>>;

/// The size class of so many bytes: 0 for none, and another for each power of two.
const fn class_of(bytes: usize) -> u32 {
    usize::BITS - bytes.leading_zeros()
}

impl HistoryBudget {
    /// A budget of `max_bytes` bytes, the heads of frames included, and 8 for each user that a frame is for by name.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let (bytes, holders) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        Self(StdArc::new(Budget { bytes, max_bytes, holders }))
    }

    /// The bytes that are kept now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn is_exceeded(&self) -> bool {
        self.bytes() > self.0.max_bytes
    }

    /// A room of the highest size class, the one with the highest name.
    fn largest(&self) -> Option<StdArc<Mutex<Kept>>> {
        let holders = self.0.holders.lock();
        holders.last_key_value().and_then(|(_, kept)| kept.upgrade())
    }
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
    /// Users by name, if they have one of the bits.
    Users { named: Box<[u64]>, audience: u32 },
}

impl Recipients {
    /// `None`: a frame for one connection, which no other may see.
    pub(super) const fn of(to: &To) -> Option<Self> {
        match *to {
            To::Members { audience, except, .. } => Some(Self::Members { audience, except }),
            To::Member { .. } | To::Several { .. } => None,
        }
    }

    /// The bytes for the users that are named.
    fn bytes(&self) -> usize {
        match self {
            Self::Members { .. } => 0,
            Self::Users { named, .. } => bytes_of(named.len()),
        }
    }

    fn include(&self, users: [u64; 2], audience: u32) -> bool {
        match self {
            Self::Members { audience: of, except } => of & audience != 0 && !users.contains(except),
            Self::Users { named, audience: of } => {
                of & audience != 0 && users.iter().any(|user| named.contains(user))
            }
        }
    }
}

/// The bytes that so many names of recipients take.
const fn bytes_of(named: usize) -> usize {
    named.saturating_mul(size_of::<u64>())
}

impl Entry {
    /// The bytes that count, which may be many more than the frame's.
    fn bytes(&self) -> usize {
        self.frame.wire().len() + self.recipients.bytes()
    }
}

/// What a connection that comes back says it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume<'a> {
    /// The id of the last frame that it has seen, or a position that [`Resumed`] named. With `None`
    /// it has seen nothing, and counts as having missed nothing.
    pub after: Option<&'a str>,
    /// The user that the connection had before, if it has another now: frames that excepted or named the former user
    /// are treated as if they excepted or named the present one. The caller must have checked that it was this user.
    pub former_user: Option<&'a str>,
    /// There is a hole if it missed a frame from before the room had kept this number of frames, as
    /// [`Room::kept`](super::Room::kept) counts them. It is for rooms whose earlier frames differed by audience, and
    /// had no form for this one.
    pub not_before: u64,
}

/// What a member that came back is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// The number of frames and bytes that it missed and is sent. `None` is a hole: the room cannot tell what came
    /// after the last frame that it saw.
    pub missed: Option<Missed>,
    /// The member's position when it came back, for its next [`Resume::after`]: the id of the last frame before, or,
    /// if the room keeps no frame now, a name that only this room knows. `None` if the room never keeps frames.
    pub position: Option<Box<str>>,
}

/// How much a member missed of what was for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// The number of frames.
    pub frames: usize,
    /// Their bytes, heads included.
    pub bytes: usize,
}

impl History {
    /// `None` if the options ask for none.
    pub(super) fn new(
        options: &RoomOptions,
        budget: Option<HistoryBudget>,
        name: u64,
    ) -> Option<Self> {
        let &RoomOptions { history_frames, history_bytes, history_age, .. } = options;
        (history_frames > 0).then(|| {
            let kept = StdArc::new_cyclic(|this| {
                Mutex::new(Kept {
                    entries: VecDeque::new(),
                    bytes: 0,
                    max_frames: history_frames,
                    max_bytes: history_bytes,
                    max_age: history_age,
                    budget: budget.clone(),
                    dropped: 0,
                    name,
                    is_closed: false,
                    this: this.clone(),
                })
            });
            Self { kept, budget }
        })
    }

    pub(super) fn lock(&self) -> impl DerefMut<Target = Kept> {
        self.kept.lock()
    }

    /// [`lock`](Self::lock) to keep this frame for so many users by name, or for any. If the budget has no room for it,
    /// and another room keeps more than this one would, that room drops its oldest frames first.
    pub(super) fn lock_for(&self, frame: &Frame, named: usize) -> impl DerefMut<Target = Kept> {
        if let Some(budget) = &self.budget {
            self.make_room(budget, frame.wire().len() + bytes_of(named));
        }
        self.lock()
    }

    /// Holds one lock of a room at a time. Meanwhile other threads may keep frames, too: if the budget is exceeded in
    /// spite of this, the room that keeps a frame [drops its own](Kept::trim).
    fn make_room(&self, budget: &HistoryBudget, len: usize) {
        while budget.bytes().saturating_add(len) > budget.0.max_bytes {
            let own = self.lock().bytes;
            let Some(largest) = budget.largest() else { return };
            let mut largest = largest.lock();
            if largest.bytes <= own.saturating_add(len) {
                return;
            }
            let dropped = largest.drop_oldest();
            // Unlocked first.
            drop(largest);
            drop(dropped);
        }
    }

    /// Keeps nothing from now on.
    pub(super) fn close(&self) {
        let mut kept = self.lock();
        kept.is_closed = true;
        let entries = kept.take();
        drop(kept);
        drop(entries);
    }

    /// Drops all that is kept: a member that comes back later is told of a hole.
    pub(super) fn clear(&self) {
        let entries = self.lock().take();
        drop(entries);
    }

    /// Drops what is too old.
    pub(super) fn trim(&self) {
        let mut kept = self.lock();
        let now = kept.now();
        kept.trim(now);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.take();
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

    /// Empties it. The position after the last frame is another one then, because what is published between the two
    /// may be missing.
    fn take(&mut self) -> VecDeque<Entry> {
        self.dropped += self.entries.len() as u64 + 1;
        self.set_bytes(0);
        std::mem::take(&mut self.entries)
    }

    /// Changes the number of its bytes, and tells the budget.
    fn set_bytes(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let Some(budget) = &self.budget else { return };
        if bytes >= before {
            budget.0.bytes.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            budget.0.bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        let (old, new) = (class_of(before), class_of(bytes));
        if old != new {
            let mut holders = budget.0.holders.lock();
            holders.remove(&(old, self.name));
            if new > 0 {
                holders.insert((new, self.name), Weak::clone(&self.this));
            }
        }
    }

    fn drop_oldest(&mut self) -> Option<Entry> {
        let oldest = self.entries.pop_front()?;
        self.set_bytes(self.bytes - oldest.bytes());
        self.dropped += 1;
        Some(oldest)
    }

    /// The number of frames that were ever kept.
    pub(super) fn count(&self) -> u64 {
        self.dropped + self.entries.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The position after the last frame.
    fn position(&self) -> Box<str> {
        let last = self.entries.back().and_then(|last| unescaped(last.frame.written_request_id()));
        last.unwrap_or_else(|| format!("{:016x}-{}", self.name, self.count()).into())
    }

    fn keep_at(
        &mut self,
        now: Option<Instant>,
        frame: &Frame,
        recipients: Recipients,
        hash: impl Fn(&str) -> u64,
    ) {
        let id = hash(frame.written_request_id());
        let entry = Entry { frame: frame.clone(), id, recipients, since: now };
        self.set_bytes(self.bytes + entry.bytes());
        self.entries.push_back(entry);
        self.trim(now);
    }

    /// Drops the oldest frames until the rest is within the bounds.
    fn trim(&mut self, now: Option<Instant>) {
        while let Some(oldest) = self.entries.front() {
            let age =
                oldest.since.zip(now).map(|(since, now)| now.saturating_duration_since(since));
            let is_too_old = age.is_some_and(|age| age > self.max_age);
            let is_too_much = self.entries.len() > self.max_frames
                || self.bytes > self.max_bytes
                || self.budget.as_ref().is_some_and(HistoryBudget::is_exceeded);
            if !is_too_much && !is_too_old {
                return;
            }
            self.drop_oldest();
        }
    }

    /// What a user with this audience missed; `None` if that is not known.
    pub(super) fn missed(
        &mut self,
        resume: &Resume<'_>,
        user: u64,
        audience: u32,
        hash: impl Fn(&str) -> u64,
    ) -> Option<Vec<Frame>> {
        self.missed_at(self.now(), resume, user, audience, hash)
    }

    fn missed_at(
        &mut self,
        now: Option<Instant>,
        resume: &Resume<'_>,
        user: u64,
        audience: u32,
        hash: impl Fn(&str) -> u64,
    ) -> Option<Vec<Frame>> {
        self.trim(now);
        let Some(after) = resume.after else { return Some(Vec::new()) };
        let from = self.place_after(after, &hash)?;
        if self.dropped + (from as u64) < resume.not_before {
            return None;
        }
        let former = resume.former_user.map_or(user, |former| user_key(hash(former)));
        let missed = self.entries.range(from..);
        let missed = missed.filter(|entry| entry.recipients.include([user, former], audience));
        Some(missed.map(|entry| entry.frame.clone()).collect())
    }

    /// The place of the first frame after the last one with this id, or after a position.
    fn place_after(&self, after: &str, hash: impl Fn(&str) -> u64) -> Option<usize> {
        let mut written = Vec::new();
        append_escaped(&mut written, after);
        let written = std::str::from_utf8(&written).ok()?;
        let id = hash(written);
        let is_it = |entry: &Entry| entry.id == id && entry.frame.written_request_id() == written;
        if let Some(last) = self.entries.iter().rposition(is_it) {
            return Some(last + 1);
        }
        let (name, count) = after.split_once('-')?;
        let is_of_this = u64::from_str_radix(name, 16).is_ok_and(|name| name == self.name);
        let count = count.parse::<u64>().ok().filter(|_| is_of_this)?;
        let from = usize::try_from(count.checked_sub(self.dropped)?).ok()?;
        (from <= self.entries.len()).then_some(from)
    }

    /// What a member that comes back now is told.
    pub(super) fn resumed(&self, missed: Option<&[Frame]>) -> Resumed {
        let missed = missed.map(|frames| Missed {
            frames: frames.len(),
            bytes: frames.iter().map(|frame| frame.wire().len()).sum(),
        });
        Resumed { missed, position: Some(self.position()) }
    }
}

/// The id as a client decodes it.
fn unescaped(written: &str) -> Option<Box<str>> {
    if written.contains('\\') {
        return serde_json::from_str(&format!("\"{written}\"")).ok();
    }
    Some(written.into())
}

/// The frames as a shard takes them.
pub(super) fn to_wire(frames: Vec<Frame>) -> Box<[WireFrame]> {
    frames.into_iter().map(Into::into).collect()
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
        let history = History::new(&options, None, 0xabc).unwrap();
        StdArc::into_inner(history.kept).unwrap().into_inner()
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
        missed_by(kept, &Resume { after: Some(last), ..Resume::default() }, user, audience)
    }

    fn missed_by(
        kept: &mut Kept,
        resume: &Resume<'_>,
        user: u64,
        audience: u32,
    ) -> Option<Vec<String>> {
        let missed = kept.missed(resume, user, audience, hash)?;
        Some(missed.iter().map(|frame| frame.written_request_id().to_owned()).collect())
    }

    #[test]
    fn nothing_is_kept_unless_asked_for() {
        assert!(History::new(&RoomOptions::new(), None, 1).is_none());
        let none = RoomOptions::new().with_history(0, usize::MAX, Duration::MAX);
        assert!(History::new(&none, None, 1).is_none());
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
    fn names_of_recipients_count() {
        let len = frame("1").wire().len();
        let mut kept = kept(100, 2 * len + 8 * 1000, Duration::MAX);
        let to = |count| Recipients::Users { named: (1..=count).collect(), audience: EVERYBODY };
        keep(&mut kept, "1", to(400));
        keep(&mut kept, "2", to(600));
        assert_eq!((kept.entries.len(), kept.bytes), (2, 2 * len + 8 * 1000));
        keep(&mut kept, "3", to(1));
        assert_eq!((kept.entries.len(), kept.bytes), (2, 2 * len + 8 * 601));
        keep(&mut kept, "4", to(2000));
        assert_eq!((kept.entries.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn their_age_is_bounded_at_appends_and_at_reads() {
        let age = Duration::from_secs(10);
        let mut kept = kept(100, usize::MAX, age);
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        kept.keep_at(at(0), &frame("1"), for_all(), hash);
        kept.keep_at(at(6), &frame("2"), for_all(), hash);
        let after = |id| Resume { after: Some(id), ..Resume::default() };
        // Exactly as old as it may be.
        assert_eq!(kept.missed_at(at(10), &after("1"), ANN, EVERYBODY, hash).unwrap().len(), 1);
        assert!(kept.missed_at(at(11), &after("1"), ANN, EVERYBODY, hash).is_none());
        assert_eq!((kept.entries.len(), kept.bytes), (1, frame("2").wire().len()));
        kept.keep_at(at(17), &frame("3"), for_all(), hash);
        assert_eq!(kept.entries.len(), 1);
        // A clock that was read earlier by another thread.
        assert_eq!(kept.missed_at(at(3), &after("3"), ANN, EVERYBODY, hash).unwrap().len(), 0);
    }

    #[test]
    fn a_user_gets_what_was_for_it() {
        let mut kept = kept(100, usize::MAX, Duration::MAX);
        let to = |audience, except| Recipients::Members { audience, except };
        let by_name = |named: &[u64], audience| Recipients::Users { named: named.into(), audience };
        keep(&mut kept, "0", for_all());
        keep(&mut kept, "not ann", to(EVERYBODY, ANN));
        keep(&mut kept, "1", to(1, 0));
        keep(&mut kept, "2", to(2, 0));
        keep(&mut kept, "bob", by_name(&[BOB], EVERYBODY));
        keep(&mut kept, "both", by_name(&[ANN, BOB], EVERYBODY));
        keep(&mut kept, "bob in 1", by_name(&[BOB], 1));
        keep(&mut kept, "bob in 2", by_name(&[BOB], 2));
        assert_eq!(missed(&mut kept, "0", ANN, EVERYBODY).unwrap(), ["1", "2", "both"]);
        let bobs = ["not ann", "2", "bob", "both", "bob in 2"];
        assert_eq!(missed(&mut kept, "0", BOB, 2).unwrap(), bobs);
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
        let options = RoomOptions::new().with_history(9, 999, Duration::MAX);
        let history = History::new(&options, None, 1).unwrap();
        keep(&mut history.lock(), "1", for_all());
        history.close();
        let mut kept = history.lock();
        keep(&mut kept, "2", for_all());
        assert!(kept.entries.is_empty());
    }

    #[test]
    fn a_former_user_is_the_same_one() {
        // Here the hash is the text's length: "ann" is user 3, and "anna" was before.
        let hash = |id: &str| id.len() as u64;
        let mut kept = kept(100, usize::MAX, Duration::MAX);
        let mut keep = |id: &str, recipients| kept.keep_at(None, &frame(id), recipients, hash);
        keep("1", for_all());
        keep("22", Recipients::Members { audience: EVERYBODY, except: 4 });
        keep("333", Recipients::Members { audience: EVERYBODY, except: 3 });
        let by_name = |user| Recipients::Users { named: [user].into(), audience: EVERYBODY };
        keep("4444", by_name(4));
        keep("55555", by_name(5));
        let mut len = |former_user| {
            let resume = Resume { after: Some("1"), former_user, ..Resume::default() };
            kept.missed_at(None, &resume, 3, EVERYBODY, hash).unwrap().len()
        };
        assert_eq!((len(None), len(Some("anna")), len(Some("xx"))), (1, 1, 1));
        let resume = Resume { after: Some("1"), former_user: Some("anna"), not_before: 0 };
        let missed = kept.missed_at(None, &resume, 3, EVERYBODY, hash).unwrap();
        assert_eq!(missed, [frame("4444")]);
    }

    #[test]
    fn a_position_is_known_although_nothing_is_kept() {
        let mut kept = kept(2, usize::MAX, Duration::MAX);
        let start = kept.position();
        assert_eq!(&*start, "0000000000000abc-0");
        keep(&mut kept, "1", for_all());
        keep(&mut kept, "2", for_all());
        assert_eq!(missed(&mut kept, &start, ANN, EVERYBODY).unwrap(), ["1", "2"]);
        assert_eq!(&*kept.position(), "2");
        for other in ["0000000000000abd-0", "0000000000000abc-3", "0000000000000abc-x", "-", ""] {
            assert_eq!(missed(&mut kept, other, ANN, EVERYBODY), None, "{other}");
        }
        keep(&mut kept, "3", for_all());
        assert_eq!(missed(&mut kept, &start, ANN, EVERYBODY), None);
        // After a gap no position of before it is known.
        kept.take();
        assert_eq!(missed(&mut kept, "3", ANN, EVERYBODY), None);
        assert_eq!(missed(&mut kept, "0000000000000abc-3", ANN, EVERYBODY), None);
        let after_gap = kept.position();
        assert_eq!(missed(&mut kept, &after_gap, ANN, EVERYBODY).unwrap(), [""; 0]);
        // An id is told as it is decoded.
        keep(&mut kept, "a\"b", for_all());
        assert_eq!(&*kept.position(), "a\"b");
        assert_eq!(missed(&mut kept, "a\"b", ANN, EVERYBODY).unwrap(), [""; 0]);
    }

    #[test]
    fn there_is_a_hole_before_a_count() {
        let mut kept = kept(2, usize::MAX, Duration::MAX);
        for id in ["1", "2", "3"] {
            keep(&mut kept, id, for_all());
        }
        let mut from = |after, not_before| {
            let resume = Resume { after, not_before, ..Resume::default() };
            missed_by(&mut kept, &resume, ANN, EVERYBODY)
        };
        assert_eq!(from(Some("2"), 2).unwrap(), ["3"]);
        assert_eq!(from(Some("2"), 3), None);
        assert!(from(Some("3"), 3).unwrap().is_empty() && from(None, 9).unwrap().is_empty());
    }

    /// Rooms that share a budget.
    fn sharing(budget: &HistoryBudget, rooms: u64) -> Vec<History> {
        let options = RoomOptions::new().with_history(99, usize::MAX, Duration::MAX);
        (0..rooms).map(|name| History::new(&options, Some(budget.clone()), name).unwrap()).collect()
    }

    fn keep_in(room: &History, id: &str) {
        keep(&mut room.lock_for(&frame(id), 0), id, for_all());
    }

    fn frames(rooms: &[History]) -> Vec<usize> {
        rooms.iter().map(|room| room.lock().entries.len()).collect()
    }

    #[test]
    fn rooms_share_a_budget() {
        let len = frame("1").wire().len();
        let budget = HistoryBudget::new(3 * len);
        let mut rooms = sharing(&budget, 2);
        keep_in(&rooms[0], "1");
        for id in ["2", "3", "4"] {
            keep_in(&rooms[1], id);
        }
        // The one that keeps most pays.
        assert_eq!((frames(&rooms), budget.bytes()), (vec![1, 2], 3 * len));
        assert_eq!(missed(&mut rooms[1].lock(), "2", ANN, EVERYBODY), None);
        keep_in(&rooms[0], "5");
        assert_eq!(missed(&mut rooms[0].lock(), "5", ANN, EVERYBODY).unwrap(), [""; 0]);
        assert_eq!(budget.bytes(), 3 * len);
        let kept = frames(&rooms);
        rooms[0].clear();
        assert_eq!((rooms[0].lock().bytes, budget.bytes()), (0, kept[1] * len));
        rooms.pop();
        assert_eq!(budget.bytes(), 0);
        assert!(budget.0.holders.lock().is_empty());
    }

    #[test]
    fn a_room_that_keeps_little_keeps_it_while_others_fill_the_budget() {
        let len = frame("00").wire().len();
        let budget = HistoryBudget::new(40 * len);
        let rooms = sharing(&budget, 5);
        let (small, large) = rooms.split_first().unwrap();
        for id in 10..50 {
            large.iter().for_each(|room| keep_in(room, &id.to_string()));
        }
        assert_eq!(budget.bytes(), 40 * len);
        for id in 50..54 {
            keep_in(small, &id.to_string());
            for room in large {
                (60..70).for_each(|id| keep_in(room, &id.to_string()));
            }
            assert!(budget.bytes() <= 40 * len);
        }
        assert_eq!(missed(&mut small.lock(), "50", ANN, EVERYBODY).unwrap(), ["51", "52", "53"]);
        // All others keep about the same.
        assert_eq!(frames(large).iter().sum::<usize>(), 36);
        assert!(frames(large).iter().all(|frames| (4..=16).contains(frames)));
        // A room that would be the largest itself drops its own.
        let payload = format!("{{\"pad\":\"{}\"}}", "x".repeat(41 * len));
        let too_large = Frame::broadcast("/c", "e", "54", Payload::from_json(&payload).unwrap());
        small.lock_for(&too_large, 0).keep(&too_large, for_all(), hash);
        assert_eq!((frames(&rooms)[0], frames(large).iter().sum()), (0, 36));
    }
}
