//! Presence that does not go quadratic: fewer frames than changes.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::roster::PresenceRoster;
use crate::frame::Frame;
use crate::payload::Payload;
use crate::protocol::PresenceEvent;

/// Longer intervals count as this one, so that a time can always be told.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`PresenceRoster`] that sends at most one frame in an interval, since `n` joins to a list of
/// `n` are `n²` entries on the wire, whatever it costs to make them.
///
/// It knows no clock: a change is noted with the time at which it comes; [`due`](Self::due) says
/// when a frame is to go out, and [`take`](Self::take) gives it then. Call `take` after every
/// change and at the time that `due` said.
///
/// # What a client receives
/// - A change after an interval without a frame goes out at once. Those that follow are held back;
///   as the interval ends, **one** frame goes out for all of them. So the last state always goes
///   out, at most one interval late, and as every frame holds the whole list, a client's list is
///   right with each.
/// - `event` and `changed` of that frame are those of the last change that still shows. The frames
///   of the changes before are **withheld for good**: a client that only calls back for `changed`
///   (the JavaScript one does) learns of those from the list alone.
/// - A user who joins and leaves between two frames is never seen. If nothing else changed, there
///   is no frame.
/// - Who joins while frames are held back gets the list with the next one, like all others; over
///   no channel is a frame about a user who left by then sent to that user.
///
/// [`deltas`](Self::deltas) tells what the next frame stands for, user by user and exactly: for
/// other nodes, or for clients that understand more.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pondwire::cache::{CoalescedRoster, PresenceRoster};
/// use pondwire::Payload;
///
/// let mut roster = CoalescedRoster::new(PresenceRoster::new("/c"), Duration::from_millis(100));
/// let start = Instant::now();
/// roster.join("u1", Payload::EMPTY, start);
/// assert!(roster.take(start, "r-1").is_some(), "the first goes out at once");
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
    /// When the last frame went out, and what it was.
    sent: Option<(Instant, Frame)>,
    /// When the first of the changes came that are held back.
    since: Option<Instant>,
    /// What happened to whom since the last frame. Nobody is in it who was not in the last list and
    /// is not in the roster, so that it is no larger than these two.
    held: HashMap<Box<str>, Held, ahash::RandomState>,
    /// Counts changes, to tell the last one.
    changes: u64,
}

/// What is held back about one user.
struct Held {
    /// The user's number in the roster when the last frame went out, if it was there.
    was: Option<u64>,
    /// The last presence under that number, once the user left.
    left: Option<Box<str>>,
    /// Which change was this user's last.
    change: u64,
}

/// One user's change from one frame's list to the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceDelta<'a> {
    /// What happened in sum: a user who left and joined again has two, a `LEAVE` and a `JOIN`.
    pub event: PresenceEvent,
    /// Whose presence it is.
    pub user_id: &'a str,
    /// The new presence, or the last one of a user who left, as JSON.
    pub presence: &'a str,
}

impl CoalescedRoster {
    /// Sends for `roster`, all of which counts as sent, at most one frame in an `interval`: of up
    /// to a day; with zero every change is due at once.
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
            // No frame ever said that the user came.
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

    /// When the next frame is to go out; `None` while nothing is held back.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(self.sent.as_ref().map_or(since, |(sent, _)| since.max(*sent + self.interval)))
    }

    /// The frame that is due by `now`, for everyone who is there; `None` when none is.
    #[must_use]
    pub fn take(&mut self, now: Instant, request_id: &str) -> Option<Frame> {
        if self.due()? > now {
            return None;
        }
        let (user_id, held) = self.held.iter().max_by_key(|(_, held)| held.change)?;
        let number = self.roster.number(user_id);
        // Owned, since the roster holds what it is given in turn.
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

    /// What the next frame will stand for: in this order, they make its list of the last one's.
    /// Who left, then who changed in place, then who joined at the end, each in the list's order.
    ///
    /// One allocation; sorts them.
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

    /// The frame that went out last, for who comes to look without joining: what it does not say
    /// yet comes with the next one.
    #[must_use]
    pub fn last_frame(&self) -> Option<&Frame> {
        self.sent.as_ref().map(|(_, frame)| frame)
    }

    /// Who is there now, what is held back included.
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
