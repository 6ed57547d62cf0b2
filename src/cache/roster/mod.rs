//! The presence list of a channel, already serialized.

mod segments;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use segments::Segments;

use crate::frame::Frame;
use crate::payload::Payload;
use crate::protocol::PresenceEvent;

/// The presence of a channel's users, stored as the JSON that was passed in, in the order of joining.
///
/// A presence frame carries the whole list. Making one copies the list in pieces of a kilobyte or two
/// and encodes nothing. The frame is byte for byte that of [`Frame::presence`] for the same list. A
/// change without its frame costs the same in a large roster as in a small one: a hash lookup, and
/// moving a kilobyte or two.
///
/// The number of users is not limited: refuse excess users before they join. A roster takes the users'
/// ids, up to twice the bytes of their JSON, and some 100 bytes for each.
///
/// Every change sends the list of all `n` users; where changes are frequent,
/// [`CoalescedRoster`](super::CoalescedRoster) sends fewer frames.
///
/// ```
/// use pondwire::cache::PresenceRoster;
/// use pondwire::Payload;
///
/// let mut roster = PresenceRoster::new("/chat/42");
/// let away = Payload::from_json(r#"{"name":"ann","away":true}"#)?;
/// let joined = roster.join("u1", away).expect("a new user").frame("r-1");
/// assert!(roster.join("u1", away).is_none(), "already in the list");
/// assert_eq!(joined.payload_str(), r#"{"presence":[{"name":"ann","away":true}],"changed":{"name":"ann","away":true}}"#);
///
/// let left = roster.leave("u1").expect("a known user").frame("r-2");
/// assert_eq!(left.payload_str(), r#"{"presence":[],"changed":{"name":"ann","away":true}}"#);
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
pub struct PresenceRoster {
    channel_name: Box<str>,
    /// Each user's number in `entries`.
    users: HashMap<Box<str>, u64, ahash::RandomState>,
    entries: Segments,
    next: u64,
    /// The last change, `None` before the first, and the presence that changed.
    event: Option<PresenceEvent>,
    changed: String,
    /// The frame of the last change, once it was made.
    frame: Option<Frame>,
}

impl PresenceRoster {
    /// An empty roster for the channel of this name.
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

    /// Adds a user at the end. Returns `None`, and changes nothing, when the user is there already.
    ///
    /// Copies the presence; raw newlines in it become spaces. At most two allocations, except when tables
    /// grow.
    pub fn join(&mut self, user_id: &str, presence: Payload<'_>) -> Option<RosterChange<'_>> {
        let Entry::Vacant(place) = self.users.entry(user_id.into()) else { return None };
        place.insert(self.next);
        self.change(PresenceEvent::Join, presence);
        self.entries.push(self.next, &self.changed);
        self.next += 1;
        Some(RosterChange { roster: self })
    }

    /// Replaces a user's presence in place. Returns `None` when there is no such user.
    pub fn update(&mut self, user_id: &str, presence: Payload<'_>) -> Option<RosterChange<'_>> {
        let number = *self.users.get(user_id)?;
        self.change(PresenceEvent::Update, presence);
        self.entries.replace(number, &self.changed);
        Some(RosterChange { roster: self })
    }

    /// Removes a user; the frame's `changed` is its last presence. Returns `None` when there is no such
    /// user.
    pub fn leave(&mut self, user_id: &str) -> Option<RosterChange<'_>> {
        let number = self.users.remove(user_id)?;
        self.begin(PresenceEvent::Leave);
        self.changed.push_str(self.entries.get(number));
        self.entries.remove(number);
        Some(RosterChange { roster: self })
    }

    /// The frame of the last change, with the present list. `None` before the first change.
    ///
    /// For clients that ask without joining. The frame is kept until the roster changes, so all calls but
    /// the first cost a reference; it has the request id of the call that made it.
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

    /// The presence of every user as JSON, in the order of joining.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.entries.iter()
    }

    /// The number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The length of the list in a frame, in bytes: all presences and the commas between them.
    #[must_use]
    pub fn list_len(&self) -> usize {
        self.entries.list_len()
    }

    /// The channel's name.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        &self.channel_name
    }

    /// A user's number. It changes when the user leaves and joins again; later joins have higher numbers.
    pub(super) fn number(&self, user_id: &str) -> Option<u64> {
        self.users.get(user_id).copied()
    }

    /// Makes an earlier change the last one.
    pub(super) fn set_last(&mut self, event: PresenceEvent, changed: &str) {
        self.begin(event);
        self.changed.push_str(changed);
    }

    /// Begins a change: the last frame is outdated.
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

/// A change that a [`PresenceRoster`] has just made; its frame is made only on request.
#[derive(Debug)]
pub struct RosterChange<'a> {
    roster: &'a mut PresenceRoster,
}

impl RosterChange<'_> {
    /// The presence that changed, as JSON: the new one, or the last one of a departed user.
    #[must_use]
    pub fn changed(&self) -> &str {
        &self.roster.changed
    }

    /// The frame for all present users: one allocation, and a copy of the list.
    #[must_use]
    pub fn frame(self, request_id: &str) -> Frame {
        self.roster.frame(request_id).expect("a change was made")
    }
}
