//! The recipients of an event: all users, all but the sender, or a list of users.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::scan::skip::Items;
use crate::scan::text;

const ALL_USERS: &str = "ALL_USERS";
const ALL_EXCEPT_SENDER: &str = "ALL_EXCEPT_SENDER";

/// The recipients of an event: `"ALL_USERS"`, `"ALL_EXCEPT_SENDER"` or a list of user ids. The
/// `recipientDescriptor` of the distributed protocol.
///
/// An empty list addresses no user, as in JavaScript. (Python, Rust and Go servers read it as all
/// users, so a message for no user reaches every user.) An unknown word is refused. [`Room::send`]
/// takes one.
///
/// A value borrows its ids from the input where it can. A received list stays JSON text: it is
/// validated, and read id by id when it is iterated.
///
/// [`Room::send`]: crate::Room::send
///
/// ```
/// use pondwire::protocol::Recipients;
///
/// let recipients: Recipients = serde_json::from_str(r#"["ann","bob"]"#)?;
/// assert!(recipients.includes("ann", "bob") && !recipients.includes("eve", "bob"));
///
/// let recipients: Recipients = serde_json::from_str(r#""ALL_EXCEPT_SENDER""#)?;
/// assert!(recipients.includes("ann", "bob") && !recipients.includes("bob", "bob"));
///
/// let nobody: Recipients = serde_json::from_str("[]")?;
/// assert!(!nobody.includes("ann", "bob"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Recipients<'a> {
    /// Every user of the channel.
    AllUsers,
    /// Every user of the channel except the sender.
    AllExceptSender,
    /// The listed users of the channel; no user if the list is empty.
    Users(UserIds<'a>),
}

impl<'a> Recipients<'a> {
    /// Every kind that is a word on the wire.
    pub(crate) const WORDS: &'static [&'static str] = &[ALL_USERS, ALL_EXCEPT_SENDER];

    /// A list of users, by id. Allocates the list.
    pub fn users<U: Into<Cow<'a, str>>>(ids: impl IntoIterator<Item = U>) -> Self {
        Self::Users(UserIds(List::Owned(ids.into_iter().map(Into::into).collect())))
    }

    /// The recipients that a word of the wire stands for.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            ALL_USERS => Some(Self::AllUsers),
            ALL_EXCEPT_SENDER => Some(Self::AllExceptSender),
            _ => None,
        }
    }

    /// Whether `user` must receive an event that `sender` sent. Compares with each id of a list.
    #[must_use]
    pub fn includes(&self, user: &str, sender: &str) -> bool {
        match self {
            Self::AllUsers => true,
            Self::AllExceptSender => user != sender,
            Self::Users(ids) => ids.contains(user),
        }
    }

    /// The same recipients, borrowed from these. Allocates nothing.
    #[must_use]
    pub fn as_ref(&self) -> Recipients<'_> {
        match self {
            Self::AllUsers => Recipients::AllUsers,
            Self::AllExceptSender => Recipients::AllExceptSender,
            Self::Users(ids) => Recipients::Users(ids.as_ref()),
        }
    }

    /// The same recipients with ids of their own. Copies borrowed ids.
    #[must_use]
    pub fn into_owned(self) -> Recipients<'static> {
        match self {
            Self::AllUsers => Recipients::AllUsers,
            Self::AllExceptSender => Recipients::AllExceptSender,
            Self::Users(UserIds(List::Owned(ids))) => {
                Recipients::users(ids.into_iter().map(Cow::into_owned))
            }
            Self::Users(ids) => Recipients::users(ids.iter().map(Cow::into_owned)),
        }
    }
}

/// User ids in order: a received list, a borrowed one or an owned one.
#[derive(Clone)]
pub struct UserIds<'a>(List<'a>);

#[derive(Clone)]
enum List<'a> {
    /// A validated JSON array of strings without lone surrogates.
    Json(&'a str),
    Borrowed(&'a [Cow<'a, str>]),
    Owned(Vec<Cow<'a, str>>),
}

impl<'a> UserIds<'a> {
    /// `json` must be a validated array of strings without lone surrogates.
    pub(crate) const fn from_json(json: &'a str) -> Self {
        Self(List::Json(json))
    }

    /// The ids in order. Each is borrowed, except one that a received list writes with escapes.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (json, list) = match &self.0 {
            List::Json(json) => (*json, &[][..]),
            List::Borrowed(list) => ("", *list),
            List::Owned(list) => ("", &list[..]),
        };
        let received = Items::new(json.as_bytes()).map(move |(_, start, end)| {
            let inside = &json[start + 1..end - 1];
            text::unescape_lossy(inside, inside.as_bytes().contains(&b'\\'))
        });
        received.chain(list.iter().map(|id| Cow::Borrowed(&**id)))
    }

    /// Whether `user_id` is in the list. Compares with each id.
    #[must_use]
    pub fn contains(&self, user_id: &str) -> bool {
        self.iter().any(|id| id == user_id)
    }

    /// The number of ids. Walks a received list.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            List::Json(json) => Items::new(json.as_bytes()).count(),
            List::Borrowed(list) => list.len(),
            List::Owned(list) => list.len(),
        }
    }

    /// Whether the list is empty and so addresses no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn as_ref(&self) -> UserIds<'_> {
        UserIds(match &self.0 {
            List::Json(json) => List::Json(json),
            List::Borrowed(list) => List::Borrowed(list),
            List::Owned(list) => List::Borrowed(list),
        })
    }
}

impl Default for UserIds<'_> {
    /// An empty list.
    fn default() -> Self {
        Self(List::Borrowed(&[]))
    }
}

impl<'a> From<&'a [Cow<'a, str>]> for UserIds<'a> {
    fn from(ids: &'a [Cow<'a, str>]) -> Self {
        Self(List::Borrowed(ids))
    }
}

impl PartialEq for UserIds<'_> {
    /// The same ids in the same order.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserIds<'_> {}

impl Hash for UserIds<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for id in self.iter() {
            id.hash(state);
        }
        state.write_usize(self.len());
    }
}

impl fmt::Debug for UserIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Recipients<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllUsers => serializer.serialize_str(ALL_USERS),
            Self::AllExceptSender => serializer.serialize_str(ALL_EXCEPT_SENDER),
            Self::Users(ids) => {
                let mut list = serializer.serialize_seq(Some(ids.len()))?;
                ids.iter().try_for_each(|id| list.serialize_element(&*id))?;
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Recipients<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RecipientsVisitor)
    }
}

struct RecipientsVisitor;

impl<'de> Visitor<'de> for RecipientsVisitor {
    type Value = Recipients<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ALL_USERS, ALL_EXCEPT_SENDER or a list of user ids")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        Recipients::from_word(word).ok_or_else(|| E::unknown_variant(word, Recipients::WORDS))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut ids = Vec::new();
        while let Some(Id(id)) = list.next_element()? {
            ids.push(id);
        }
        Ok(Recipients::Users(UserIds(List::Owned(ids))))
    }
}

/// A string that borrows where it can; serde's own `Cow` never does.
struct Id<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Id<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(IdVisitor).map(Self)
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user id")
    }

    fn visit_borrowed_str<E: de::Error>(self, id: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(id))
    }

    fn visit_str<E: de::Error>(self, id: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::hash::{BuildHasher, RandomState};

    use super::{List, Recipients, UserIds};

    #[test]
    fn all_three_forms_round_trip() {
        let cases = [
            (Recipients::AllUsers, r#""ALL_USERS""#),
            (Recipients::AllExceptSender, r#""ALL_EXCEPT_SENDER""#),
            (Recipients::users(["a", "b"]), r#"["a","b"]"#),
            (Recipients::Users(UserIds::default()), "[]"),
        ];
        for (recipients, json) in cases {
            assert_eq!(serde_json::to_string(&recipients).unwrap(), json);
            assert_eq!(serde_json::from_str::<Recipients<'_>>(json).unwrap(), recipients);
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_value(&recipients).unwrap(), value);
            assert_eq!(recipients.as_ref(), recipients);
            assert_eq!(recipients.clone().into_owned(), recipients);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for json in [r#""all_users""#, r#""""#, r#""CHANNEL""#, "null", "1", "{}", "[1]", "[null]"]
        {
            assert!(serde_json::from_str::<Recipients<'_>>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn ids_are_borrowed_unless_escaped() {
        let recipients = serde_json::from_str(r#"["plain","\u0061"]"#).unwrap();
        let Recipients::Users(UserIds(List::Owned(ids))) = recipients else { panic!("a list") };
        assert!(matches!(ids[..], [Cow::Borrowed("plain"), Cow::Owned(ref a)] if a == "a"));
    }

    #[test]
    fn a_list_is_the_same_however_it_is_stored() {
        let ids = [Cow::Borrowed("ann"), Cow::Borrowed("b\"b")];
        let lists = [
            UserIds::from_json(r#"[ "ann" , "\u0062\"b"]"#),
            UserIds::from(&ids[..]),
            UserIds(List::Owned(ids.to_vec())),
        ];
        let hasher = RandomState::new();
        for list in &lists {
            assert_eq!(list, &lists[0]);
            assert_eq!(hasher.hash_one(list), hasher.hash_one(&lists[0]));
            assert_eq!((list.len(), list.is_empty()), (2, false));
            assert!(list.contains("b\"b") && !list.contains("eve"));
            let recipients = Recipients::Users(list.clone());
            assert_eq!(recipients.as_ref(), recipients);
            assert_eq!(recipients.clone().into_owned(), recipients);
        }
    }
}
