//! Who is in a channel, serialized already.

mod segments;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use segments::Segments;

use crate::frame::Frame;
use crate::payload::Payload;
use crate::protocol::PresenceEvent;

/// The presence of a channel's users, each held as the JSON it was given as, in the order in which
/// they joined.
///
/// A presence frame carries everyone who is there: its making copies the list in pieces of a
/// kilobyte or two and encodes nothing again. The frame is byte for byte what [`Frame::presence`] makes of
/// the same list. A change without its frame costs no more in a large roster than in a small one:
/// a hash lookup, and moving a kilobyte or two.
///
/// Nothing limits how many users it holds: refuse those that are too many before they join. It
/// takes their ids, up to twice the bytes of their JSON, and some 100 bytes for each.
///
/// Every change to `n` users sends a list of `n`; with many changes,
/// [`CoalescedRoster`](super::CoalescedRoster) sends fewer.
///
/// ```
/// use pondwire::cache::PresenceRoster;
/// use pondwire::Payload;
///
/// let mut roster = PresenceRoster::new("/chat/42");
/// let away = Payload::from_json(r#"{"name":"ann","away":true}"#)?;
/// let joined = roster.join("u1", away).expect("was not there").frame("r-1");
/// assert!(roster.join("u1", away).is_none(), "is there already");
/// assert_eq!(joined.payload_str(), r#"{"presence":[{"name":"ann","away":true}],"changed":{"name":"ann","away":true}}"#);
///
/// let left = roster.leave("u1").expect("was there").frame("r-2");
/// assert_eq!(left.payload_str(), r#"{"presence":[],"changed":{"name":"ann","away":true}}"#);
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
pub struct PresenceRoster {
    channel_name: Box<str>,
    /// Every user's number in `entries`.
    users: HashMap<Box<str>, u64, ahash::RandomState>,
    entries: Segments,
    next: u64,
    /// What happened last, none before anything did, and the value that `changed` says then.
    event: Option<PresenceEvent>,
    changed: String,
    /// The frame of what happened last, once it was asked for.
    frame: Option<Frame>,
}

impl PresenceRoster {
    /// Nobody in the channel of this name.
    #[must_use]
    pub fn new(channel_name: &str) -> Self {
        Self {
            channel_name: channel_name.into(),
            users: HashMap::default(),
            entries: Segments::default(),
            next: 0,
            event: None,
            changed: String::new(),
            frame: None,
        }
    }

    /// Adds a user at the end. `None`, and no change, when the user is there already.
    ///
    /// Copies the presence; raw newlines in it become spaces. Two allocations at most, but when
    /// tables grow.
    pub fn join(&mut self, user_id: &str, presence: Payload<'_>) -> Option<Change<'_>> {
        let Entry::Vacant(place) = self.users.entry(user_id.into()) else { return None };
        place.insert(self.next);
        self.change(PresenceEvent::Join, presence);
        self.entries.push(self.next, &self.changed);
        self.next += 1;
        Some(Change { roster: self })
    }

    /// Gives a user another presence, at the same place. `None` when there is no such user.
    pub fn update(&mut self, user_id: &str, presence: Payload<'_>) -> Option<Change<'_>> {
        let number = *self.users.get(user_id)?;
        self.change(PresenceEvent::Update, presence);
        self.entries.replace(number, &self.changed);
        Some(Change { roster: self })
    }

    /// Removes a user; `changed` is the presence it had. `None` when there is no such user.
    pub fn leave(&mut self, user_id: &str) -> Option<Change<'_>> {
        let number = self.users.remove(user_id)?;
        self.begin(PresenceEvent::Leave);
        self.changed.push_str(self.entries.get(number));
        self.entries.remove(number);
        Some(Change { roster: self })
    }

    /// The frame of the last change: everyone who is there now. `None` before the first change.
    ///
    /// For who comes to look without joining. It is kept until the roster changes, so that all but
    /// the first call cost a reference; the kept one has the request id of the call that made it.
    pub fn frame(&mut self, request_id: &str) -> Option<Frame> {
        let event = self.event?;
        if self.frame.is_none() {
            self.frame = Some(Frame::presence_of_list(
                &self.channel_name,
                event,
                request_id,
                self.entries.pieces(),
                self.entries.list_len(),
                &self.changed,
            ));
        }
        self.frame.clone()
    }

    /// A user's presence as JSON.
    #[must_use]
    pub fn get(&self, user_id: &str) -> Option<&str> {
        self.users.get(user_id).map(|&number| self.entries.get(number))
    }

    /// Everyone's presence as JSON, in the order of joining.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.entries.iter()
    }

    /// How many users are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The bytes of the list in a frame: everyone's presence and the commas between.
    #[must_use]
    pub fn list_len(&self) -> usize {
        self.entries.list_len()
    }

    /// The channel's name.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        &self.channel_name
    }

    /// A user's number: it changes when the user leaves and joins again, later ones are higher.
    pub(super) fn number(&self, user_id: &str) -> Option<u64> {
        self.users.get(user_id).copied()
    }

    /// Makes `changed`, which happened before, what happened last.
    pub(super) fn set_last(&mut self, event: PresenceEvent, changed: &str) {
        self.begin(event);
        self.changed.push_str(changed);
    }

    /// From here on this is the last change, of which nothing is told yet.
    fn begin(&mut self, event: PresenceEvent) {
        self.event = Some(event);
        self.frame = None;
        self.changed.clear();
    }

    fn change(&mut self, event: PresenceEvent, presence: Payload<'_>) {
        self.set_last(event, presence.as_str());
        if presence.has_newlines() {
            self.changed = self.changed.replace(['\n', '\r'], " ");
        }
    }
}

impl fmt::Debug for PresenceRoster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceRoster")
            .field("channel_name", &self.channel_name)
            .field("users", &self.users.len())
            .field("list_len", &self.list_len())
            .finish()
    }
}

/// What just happened to a [`PresenceRoster`], which has changed already; its frame is only made
/// when it is asked for.
#[derive(Debug)]
pub struct Change<'a> {
    roster: &'a mut PresenceRoster,
}

impl Change<'_> {
    /// The presence that changed, as JSON: the new one, or the last one of a user who left.
    #[must_use]
    pub fn changed(&self) -> &str {
        &self.roster.changed
    }

    /// The frame for everyone who is there now: one allocation, and a copy of the list.
    #[must_use]
    pub fn frame(self, request_id: &str) -> Frame {
        self.roster.frame(request_id).expect("something has changed")
    }
}
