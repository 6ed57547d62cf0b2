//! The users that a node has in a channel, as it tells others.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::fields::item_members;
use crate::payload::Payload;
use crate::scan::skip::Items;
use crate::scan::text;

/// A user of a channel: what the server keeps about it and what everyone may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserState<'a> {
    /// The user's id.
    pub id: Cow<'a, str>,
    /// What the server keeps about the user.
    pub assigns: Payload<'a>,
    /// What everyone may see; `{}` for a user without presence.
    pub presence: Payload<'a>,
}

/// The users of a [`StateResponse`](super::Message::StateResponse): a list received, or one to be
/// sent.
#[derive(Clone, Copy)]
pub struct Users<'a>(List<'a>);

#[derive(Clone, Copy)]
enum List<'a> {
    /// A validated array of users; it is no object, but lies in the document as one would.
    Json(Payload<'a>),
    States(&'a [UserState<'a>]),
}

impl<'a> Users<'a> {
    /// `json` must be an array of which [`item_members`] has checked every item.
    pub(super) const fn from_json(json: Payload<'a>) -> Self {
        Self(List::Json(json))
    }

    /// The users in order, each skipped to. An id is borrowed unless it is written with escapes.
    pub fn iter(&self) -> impl Iterator<Item = UserState<'a>> + use<'a> {
        let (json, states) = match self.0 {
            List::Json(json) => (json, &[][..]),
            List::States(states) => (Payload::EMPTY, states),
        };
        // Of `{}`, which stands for no list here, there are no items.
        let received = Items::new(json.as_str().as_bytes());
        let received = received.map(move |(_, start, end)| received_user(json, start..end));
        received.chain(states.iter().map(|user| UserState {
            id: Cow::Borrowed(&*user.id),
            assigns: user.assigns,
            presence: user.presence,
        }))
    }
}

/// The user that `item` of the list is.
fn received_user(list: Payload<'_>, item: Range<usize>) -> UserState<'_> {
    let json = &list.as_str()[item.clone()];
    let found = item_members(json);
    let id = found.id.map_or("", |place| &json[place.start + 1..place.end - 1]);
    let part = |place: Option<Range<usize>>| {
        let place = place.filter(|place| json.as_bytes()[place.start] == b'{');
        let part = |place: Range<_>| list.part(item.start + place.start..item.start + place.end);
        place.map_or(Payload::EMPTY, part)
    };
    UserState {
        id: text::unescape_lossy(id, id.as_bytes().contains(&b'\\')),
        assigns: part(found.assigns),
        presence: part(found.presence),
    }
}

impl<'a> From<&'a [UserState<'a>]> for Users<'a> {
    fn from(users: &'a [UserState<'a>]) -> Self {
        Self(List::States(users))
    }
}

impl PartialEq for Users<'_> {
    /// The same users in the same order, data compared as text.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Users<'_> {}

impl fmt::Debug for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
