//! For whom a message of another node is, without an allocation.

use std::borrow::Cow;
use std::fmt;

use crate::protocol::{ChannelReceiver, ChannelReceivers};
use crate::scan::skip::Items;
use crate::scan::text;

/// The recipients of a [`UserMessage`](super::UserMessage): the wire's `recipientDescriptor`.
///
/// An empty list means nobody, as in JavaScript; the Python, Rust and Go servers take it for all.
/// Like all of a message it borrows; [`to_receivers`](Self::to_receivers) gives what
/// [`Room::send`](crate::Room::send) takes, a [`ChannelReceivers`] becomes one by `into`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients<'a> {
    /// Every user of the channel.
    AllUsers,
    /// Every user of the channel but the one that sent.
    AllExceptSender,
    /// These users of the channel; nobody if there are none.
    Users(UserIds<'a>),
}

/// Users by id: a list received, or one to be sent.
#[derive(Clone, Copy)]
pub struct UserIds<'a>(Ids<'a>);

#[derive(Clone, Copy)]
enum Ids<'a> {
    /// A validated array of strings without lone surrogates.
    Json(&'a str),
    List(&'a [Cow<'a, str>]),
}

impl<'a> UserIds<'a> {
    /// `json` must be a validated array of strings that Rust can hold.
    pub(super) const fn from_json(json: &'a str) -> Self {
        Self(Ids::Json(json))
    }

    /// The ids in order, each borrowed unless it is written with escapes.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        let (json, list) = match self.0 {
            Ids::Json(json) => (json, &[][..]),
            Ids::List(list) => ("", list),
        };
        let received = Items::new(json.as_bytes()).map(move |(_, start, end)| {
            let inside = &json[start + 1..end - 1];
            text::unescape_lossy(inside, inside.as_bytes().contains(&b'\\'))
        });
        received.chain(list.iter().map(|id| Cow::Borrowed(&**id)))
    }

    /// Whether `user_id` is in the list. Compares with each.
    #[must_use]
    pub fn contains(&self, user_id: &str) -> bool {
        self.iter().any(|id| id == user_id)
    }
}

impl<'a> From<&'a [Cow<'a, str>]> for UserIds<'a> {
    fn from(ids: &'a [Cow<'a, str>]) -> Self {
        Self(Ids::List(ids))
    }
}

impl PartialEq for UserIds<'_> {
    /// The same ids in the same order.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserIds<'_> {}

impl fmt::Debug for UserIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Recipients<'a> {
    /// Whether `user` shall receive what `sender` sent. Compares with each id of a list.
    #[must_use]
    pub fn includes(&self, user: &str, sender: &str) -> bool {
        match self {
            Self::AllUsers => true,
            Self::AllExceptSender => user != sender,
            Self::Users(ids) => ids.contains(user),
        }
    }

    /// The same recipients for a [`Room`](crate::Room). Allocates for a list only.
    #[must_use]
    pub fn to_receivers(&self) -> ChannelReceivers<'a> {
        match self {
            Self::AllUsers => ChannelReceivers::AllUsers,
            Self::AllExceptSender => ChannelReceivers::AllExceptSender,
            Self::Users(ids) => ChannelReceivers::users(ids.iter()),
        }
    }
}

impl From<ChannelReceiver> for Recipients<'_> {
    fn from(receiver: ChannelReceiver) -> Self {
        match receiver {
            ChannelReceiver::AllUsers => Self::AllUsers,
            ChannelReceiver::AllExceptSender => Self::AllExceptSender,
        }
    }
}

impl<'a> From<&'a ChannelReceivers<'a>> for Recipients<'a> {
    fn from(receivers: &'a ChannelReceivers<'a>) -> Self {
        match receivers {
            ChannelReceivers::AllUsers => Self::AllUsers,
            ChannelReceivers::AllExceptSender => Self::AllExceptSender,
            ChannelReceivers::Users(ids) => Self::Users(ids[..].into()),
        }
    }
}
