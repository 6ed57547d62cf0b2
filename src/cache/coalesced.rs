//! Presence with fewer frames than changes, which keeps its cost from growing quadratically.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::roster::PresenceRoster;
use crate::frame::Frame;
use crate::payload::Payload;
use crate::protocol::PresenceEvent;

/// Longer intervals count as this one, so that adding one to an `Instant` cannot overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`PresenceRoster`] that sends at most one frame in an interval: `n` joins to a list of `n` users
/// put `n²` entries on the wire, however cheaply they are encoded.
///
/// It reads no clock: each change is passed with its time. [`due`](Self::due) returns when the next
/// frame must be sent, and [`take`](Self::take) returns the frame from then on. Call `take` after every
/// change and at the time that `due` returned.
///
/// # What a client receives
/// - A change after an interval without a frame is sent at once. Later changes are held back until the
///   interval ends; then **one** frame is sent for all of them. So the latest state is always sent, at
///   most one interval late, and since every frame holds the whole list, a client's list is correct
///   after each.
/// - `event` and `changed` of that frame are those of the last change still visible in the list. The
///   frames of earlier changes are **never sent**: a client that only reports `changed` (as the
///   JavaScript one does) sees those changes in the list alone.
/// - A user who joins and leaves between two frames never appears. If nothing else changed, no frame is
///   sent.
/// - A user who joins while changes are held back gets the list with the next frame, like all others.
///   A user who left by then gets no frame about it.
///
/// [`deltas`](Self::deltas) lists exactly, user by user, the changes that the next frame stands for:
/// for other nodes, or for clients that understand more.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pondwire::cache::{CoalescedRoster, PresenceRoster};
/// use pondwire::Payload;
///
/// let mut roster = CoalescedRoster::new(PresenceRoster::new("/c"), Duration::from_millis(100));
/// let start = Instant::now();
/// roster.join("u1", Payload::EMPTY, start);
/// assert!(roster.take(start, "r-1").is_some(), "the first is sent at once");
/// for user in ["u2", "u3", "u4"] {
///     roster.join(user, Payload::EMPTY, start);
///     assert!(roster.take(start, "r-2").is_none(), "held back");
/// }
/// let due = roster.due().expect("something is held back");
/// assert_eq!(due, start + Duration::from_millis(100));
/// assert_eq!(roster.deltas().len(), 3);
/// let frame = roster.take(due, "r-2").expect("one frame for three joins");
/// assert_eq!(frame.payload_str(), r#"{"presence":[{},{},{},{}],"changed":{}}"#);
/// assert_eq!(roster.due(), None);
/// ```
pub struct CoalescedRoster {
    roster: PresenceRoster,
    interval: Duration,
    /// The last frame, and when it was sent.
    sent: Option<(Instant, Frame)>,
    /// The time of the first change held back.
    since: Option<Instant>,
    /// The changes since the last frame, by user. Every user in it was in the last list or is in the
    /// roster, so it is no larger than these two together.
    held: HashMap<Box<str>, Held, ahash::RandomState>,
    /// Counts changes, to find the last one.
    changes: u64,
}

/// The change held back about one user.
struct Held {
    /// The user's number in the roster when the last frame was sent; `None` if it was not there.
    was: Option<u64>,
    /// The last presence under that number, if the user left since.
    left: Option<Box<str>>,
    /// The number of this user's last change.
    change: u64,
}

/// One user's change from one frame's list to the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceDelta<'a> {
    /// The net change. A user who left and joined again has two deltas, a `LEAVE` and a `JOIN`.
    pub event: PresenceEvent,
    /// The user's id.
    pub user_id: &'a str,
    /// The new presence, or the last one of a user who left, as JSON.
    pub presence: &'a str,
}

impl CoalescedRoster {
    /// Wraps a roster; its present content counts as already sent. `interval` is at most a day; with zero
    /// every change is due at once.
    #[must_use]
    pub fn new(roster: PresenceRoster, interval: Duration) -> Self {
        Self {
            roster,
            interval: interval.min(LONGEST),
            sent: None,
            since: None,
            held: HashMap::default(),
            changes: 0,
        }
    }

    /// As [`PresenceRoster::join`]. Returns whether it changed anything.
    pub fn join(&mut self, user_id: &str, presence: Payload<'_>, now: Instant) -> bool {
        let joined = self.roster.join(user_id, presence).is_some();
        if joined {
            self.note(user_id, None, now);
        }
        joined
    }

    /// As [`PresenceRoster::update`]. Returns whether there is such a user.
    pub fn update(&mut self, user_id: &str, presence: Payload<'_>, now: Instant) -> bool {
        let was = self.roster.number(user_id);
        let updated = self.roster.update(user_id, presence).is_some();
        if updated {
            self.note(user_id, was, now);
        }
        updated
    }

    /// As [`PresenceRoster::leave`]. Returns whether there was such a user.
    pub fn leave(&mut self, user_id: &str, now: Instant) -> bool {
        let was = self.roster.number(user_id);
        let Some(change) = self.roster.leave(user_id) else { return false };
        let last: Box<str> = change.changed().into();
        let held = self.note(user_id, was, now);
        if held.was.is_none() {
            // No frame has shown the user.
            self.held.remove(user_id);
            if self.held.is_empty() {
                self.since = None;
            }
        } else if held.left.is_none() {
            held.left = Some(last);
        }
        true
    }

    fn note(&mut self, user_id: &str, was: Option<u64>, now: Instant) -> &mut Held {
        self.since.get_or_insert(now);
        self.changes += 1;
        let new = || Held { was, left: None, change: 0 };
        let held = self.held.entry(user_id.into()).or_insert_with(new);
        held.change = self.changes;
        held
    }

    /// The time at which the next frame must be sent; `None` while nothing is held back.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(self.sent.as_ref().map_or(since, |(sent, _)| since.max(*sent + self.interval)))
    }

    /// The frame for all users that is due at `now`, if one is.
    #[must_use]
    pub fn take(&mut self, now: Instant, request_id: &str) -> Option<Frame> {
        if self.due()? > now {
            return None;
        }
        let (user_id, held) = self.held.iter().max_by_key(|(_, held)| held.change)?;
        let number = self.roster.number(user_id);
        // Copied, since the roster is borrowed mutably below.
        let (event, changed) = match self.roster.get(user_id) {
            None => (PresenceEvent::Leave, held.left.as_deref()?.to_owned()),
            Some(presence) if number == held.was => (PresenceEvent::Update, presence.to_owned()),
            Some(presence) => (PresenceEvent::Join, presence.to_owned()),
        };
        self.roster.set_last(event, &changed);
        let frame = self.roster.frame(request_id)?;
        self.held.clear();
        self.since = None;
        self.sent = Some((now, frame.clone()));
        Some(frame)
    }

    /// The changes that the next frame will stand for. Applied in this order, they turn the last frame's
    /// list into its own: first users who left, then users whose presence changed in place, then users
    /// who joined at the end, each group in the list's order.
    ///
    /// One allocation and a sort.
    #[must_use]
    pub fn deltas(&self) -> Vec<PresenceDelta<'_>> {
        let mut deltas = Vec::with_capacity(self.held.len());
        for (user_id, held) in &self.held {
            let delta = |event, presence| PresenceDelta { event, user_id, presence };
            let number = self.roster.number(user_id);
            if let (Some(was), Some(presence)) = (held.was, &held.left) {
                deltas.push(((0, was), delta(PresenceEvent::Leave, presence)));
            }
            if let (Some(number), Some(presence)) = (number, self.roster.get(user_id)) {
                deltas.push(match held.was == Some(number) {
                    true => ((1, number), delta(PresenceEvent::Update, presence)),
                    false => ((2, number), delta(PresenceEvent::Join, presence)),
                });
            }
        }
        deltas.sort_unstable_by_key(|(order, _)| *order);
        deltas.into_iter().map(|(_, delta)| delta).collect()
    }

    /// The frame sent last, for a client that asks without joining: changes that it lacks come with the
    /// next frame.
    #[must_use]
    pub fn last_frame(&self) -> Option<&Frame> {
        self.sent.as_ref().map(|(_, frame)| frame)
    }

    /// The present users, changes held back included.
    #[must_use]
    pub const fn roster(&self) -> &PresenceRoster {
        &self.roster
    }
}

impl fmt::Debug for CoalescedRoster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalescedRoster")
            .field("roster", &self.roster)
            .field("interval", &self.interval)
            .field("held", &self.held.len())
            .finish()
    }
}
