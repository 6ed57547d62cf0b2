//! A node's users in a channel, as state messages carry them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::error::{Detail, Field, UserPart, ValidationError};
use crate::payload::Payload;
use crate::scan::skip::Items;
use crate::scan::text;

/// A user of a channel: its id and the two JSON objects kept for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// The user's id.
    pub id: Cow<'a, str>,
    /// The server's private data about the user.
    pub assigns: Payload<'a>,
    /// The data that every user may see; `{}` for a user without presence.
    pub presence: Payload<'a>,
}

/// The users of a [`StateResponse`](super::Message::StateResponse): a received list, or one to send.
#[derive(Clone, Copy)]
pub struct Users<'a>(List<'a>);

#[derive(Clone, Copy)]
enum List<'a> {
    /// A checked JSON array of users. It is not an object, but is stored as a payload because its
    /// items are cut out of it as payloads.
    Json(Payload<'a>),
    Users(&'a [User<'a>]),
}

impl<'a> Users<'a> {
    /// `json` must be an array whose items [`check_user`] has accepted.
    pub(super) const fn from_json(json: Payload<'a>) -> Self {
        Self(List::Json(json))
    }

    /// The users in order. A received list is skipped through item by item; an id is borrowed unless
    /// it is written with escapes.
    pub fn iter(&self) -> impl Iterator<Item = User<'a>> + use<'a> {
        let (json, users) = match self.0 {
            List::Json(json) => (json, &[][..]),
            List::Users(users) => (Payload::EMPTY, users),
        };
        // For a list to send, `json` is `{}`, which has no items.
        let received = Items::new(json.as_str().as_bytes());
        let received = received.map(move |(_, start, end)| received_user(json, start..end));
        received.chain(users.iter().map(|user| User {
            id: Cow::Borrowed(&*user.id),
            assigns: user.assigns,
            presence: user.presence,
        }))
    }
}

/// The user in `item` of the list.
fn received_user(list: Payload<'_>, item: Range<usize>) -> User<'_> {
    let json = &list.as_str()[item.clone()];
    let members = UserMembers::find(json);
    let id = members.id.map_or("", |place| &json[place.start + 1..place.end - 1]);
    let part = |place: Option<Range<usize>>| {
        let place = place.filter(|place| json.as_bytes()[place.start] == b'{');
        let part = |place: Range<_>| list.part(item.start + place.start..item.start + place.end);
        place.map_or(Payload::EMPTY, part)
    };
    User {
        id: text::unescape_lossy(id, id.as_bytes().contains(&b'\\')),
        assigns: part(members.assigns),
        presence: part(members.presence),
    }
}

/// The positions of a user's members in its JSON object; the last duplicate counts.
#[derive(Default)]
struct UserMembers {
    id: Option<Range<usize>>,
    assigns: Option<Range<usize>>,
    presence: Option<Range<usize>>,
}

impl UserMembers {
    fn find(item: &str) -> Self {
        let mut members = Self::default();
        for (key, start, end) in Items::new(item.as_bytes()) {
            let Some(key) = key else { continue };
            let name = text::unescape_lossy(&item[key.start..key.end], key.escaped);
            match &*name {
                "id" => members.id = Some(start..end),
                "assigns" => members.assigns = Some(start..end),
                "presence" => members.presence = Some(start..end),
                _ => {}
            }
        }
        members
    }
}

/// Checks one item of a state: it must be an object with a string `id`, and its `assigns` and
/// `presence` must be objects, `null` or missing. `at` is the item's offset in the frame.
pub(super) fn check_user(item: &str, index: usize, at: usize) -> Result<(), ValidationError> {
    let error = |part, detail, start| {
        Err(ValidationError::at(Field::User(index, part), detail, at + start))
    };
    if !item.starts_with('{') {
        return error(UserPart::Whole, Detail::ExpectedObject, 0);
    }
    let members = UserMembers::find(item);
    let Some(id) = members.id else { return error(UserPart::Id, Detail::Missing, 0) };
    if item.as_bytes()[id.start] != b'"' {
        return error(UserPart::Id, Detail::ExpectedString, id.start);
    }
    if !is_unicode(&item[id.start + 1..id.end - 1]) {
        return error(UserPart::Id, Detail::ExpectedUnicode, id.start);
    }
    for (part, place) in
        [(UserPart::Assigns, members.assigns), (UserPart::Presence, members.presence)]
    {
        if let Some(place) = place
            && !matches!(item.as_bytes()[place.start], b'{' | b'n')
        {
            return error(part, Detail::ExpectedObject, place.start);
        }
    }
    Ok(())
}

/// Whether the inside of a JSON string has no lone surrogate, so that a Rust string can hold it.
pub(super) fn is_unicode(inside: &str) -> bool {
    !inside.as_bytes().contains(&b'\\') || !text::has_lone_surrogate(inside)
}

impl<'a> From<&'a [User<'a>]> for Users<'a> {
    fn from(users: &'a [User<'a>]) -> Self {
        Self(List::Users(users))
    }
}

impl PartialEq for Users<'_> {
    /// The same users in the same order; assigns and presence are compared as text.
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
