//! The users of a channel at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use pondwire::Payload;
use pondwire::payload::OwnedPayload;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

/// The most users in a list.
const MOST_LISTED: usize = 1000;

/// A list ends with the user whose assigns and presence bring it to this many bytes.
const MOST_LISTED_BYTES: usize = 1 << 20;

/// One user of a channel.
#[derive(Clone, Debug)]
pub struct User {
    id: Box<str>,
    assigns: Option<Arc<OwnedPayload>>,
    presence: Option<Box<str>>,
}

impl User {
    /// The user's id.
    #[must_use]
    pub const fn id(&self) -> &str {
        &self.id
    }

    /// The server's data about the user; `{}` if there are none.
    #[must_use]
    pub fn assigns(&self) -> Payload<'_> {
        self.assigns.as_ref().map_or(Payload::EMPTY, |assigns| assigns.view())
    }

    /// The user's presence as JSON; `None` if it is not tracked.
    #[must_use]
    pub fn presence(&self) -> Option<&str> {
        self.presence.as_deref()
    }
}

/// The users of a channel on all nodes at one moment, at most 1,000 and about 1 MiB of their assigns and
/// presence. It serializes as `{"assigns":{"ID":{…},…},"presence":{"ID":{…},…}}`, sorted by id, with the
/// presence of tracked users only.
#[derive(Clone, Debug, Default)]
pub struct Users {
    list: Vec<User>,
    bytes: usize,
}

impl Users {
    /// The users, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.list.iter()
    }

    /// The number of users in the list.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// About how many bytes the list is as JSON.
    pub(crate) fn json_len(&self) -> usize {
        self.bytes
    }

    /// Adds a user; `false` if the list is full.
    pub(crate) fn add(
        &mut self,
        id: &str,
        assigns: Option<Arc<OwnedPayload>>,
        presence: Option<&str>,
    ) -> bool {
        if self.list.len() == MOST_LISTED || self.bytes >= MOST_LISTED_BYTES {
            return false;
        }
        let user = User { id: id.into(), assigns, presence: presence.map(Into::into) };
        // Ids, quotes and braces count too.
        let ids = if presence.is_some() { 2 } else { 1 };
        self.bytes += user.assigns().as_str().len() + presence.map_or(0, str::len);
        self.bytes += ids * (id.len() + 4);
        self.list.push(user);
        true
    }
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut users: Vec<&User> = self.list.iter().collect();
        users.sort_unstable_by_key(|user| &user.id);
        let assigns: BTreeMap<&str, Payload<'_>> =
            users.iter().map(|user| (&*user.id, user.assigns())).collect();
        let raw = |json: &str| RawValue::from_string(json.to_owned()).ok();
        let presence: BTreeMap<&str, Box<RawValue>> = users
            .iter()
            .filter_map(|user| Some((&*user.id, user.presence().and_then(raw)?)))
            .collect();
        let mut object = serializer.serialize_struct("Users", 2)?;
        object.serialize_field("assigns", &assigns)?;
        object.serialize_field("presence", &presence)?;
        object.end()
    }
}
