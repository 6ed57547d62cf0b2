//! To whom an event goes: all, all but the sender, or a list of users.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::{ChannelReceiver, UnknownName};

/// The recipients of an event: `"ALL_USERS"`, `"ALL_EXCEPT_SENDER"` or a list of user ids.
///
/// An empty list means nobody, as in JavaScript. (Python, Rust and Go servers take it for all
/// users, so that a message to nobody reaches everybody.) An unknown word is refused. Ids are
/// borrowed from the input when nothing in them is escaped.
///
/// ```
/// use pondwire::protocol::ChannelReceivers;
///
/// let receivers: ChannelReceivers = serde_json::from_str(r#"["ann","bob"]"#)?;
/// assert!(receivers.includes("ann", "bob") && !receivers.includes("eve", "bob"));
///
/// let receivers: ChannelReceivers = serde_json::from_str(r#""ALL_EXCEPT_SENDER""#)?;
/// assert!(receivers.includes("ann", "bob") && !receivers.includes("bob", "bob"));
///
/// let nobody: ChannelReceivers = serde_json::from_str("[]")?;
/// assert!(!nobody.includes("ann", "bob"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChannelReceivers<'a> {
    /// Every user of the channel.
    AllUsers,
    /// Every user of the channel but the one that sent.
    AllExceptSender,
    /// These users of the channel; nobody if there are none.
    Users(Vec<Cow<'a, str>>),
}

impl<'a> ChannelReceivers<'a> {
    /// A list of users, by id.
    pub fn users<U: Into<Cow<'a, str>>>(ids: impl IntoIterator<Item = U>) -> Self {
        Self::Users(ids.into_iter().map(Into::into).collect())
    }

    /// Whether `user` shall receive what `sender` sent. Compares with each id of a list.
    #[must_use]
    pub fn includes(&self, user: &str, sender: &str) -> bool {
        match self {
            Self::AllUsers => true,
            Self::AllExceptSender => user != sender,
            Self::Users(ids) => ids.iter().any(|id| id == user),
        }
    }

    /// The same recipients with ids of their own; copies those that are borrowed.
    #[must_use]
    pub fn into_owned(self) -> ChannelReceivers<'static> {
        match self {
            Self::AllUsers => ChannelReceivers::AllUsers,
            Self::AllExceptSender => ChannelReceivers::AllExceptSender,
            Self::Users(ids) => ChannelReceivers::users(ids.into_iter().map(Cow::into_owned)),
        }
    }
}

impl From<ChannelReceiver> for ChannelReceivers<'_> {
    fn from(receiver: ChannelReceiver) -> Self {
        match receiver {
            ChannelReceiver::AllUsers => Self::AllUsers,
            ChannelReceiver::AllExceptSender => Self::AllExceptSender,
        }
    }
}

impl Serialize for ChannelReceivers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllUsers => ChannelReceiver::AllUsers.serialize(serializer),
            Self::AllExceptSender => ChannelReceiver::AllExceptSender.serialize(serializer),
            Self::Users(ids) => {
                let mut list = serializer.serialize_seq(Some(ids.len()))?;
                ids.iter().try_for_each(|id| list.serialize_element(&**id))?;
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for ChannelReceivers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReceiversVisitor)
    }
}

struct ReceiversVisitor;

impl<'de> Visitor<'de> for ReceiversVisitor {
    type Value = ChannelReceivers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ALL_USERS, ALL_EXCEPT_SENDER or a list of user ids")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let receiver: Result<ChannelReceiver, UnknownName> = name.parse();
        receiver.map(Into::into).map_err(|_| E::unknown_variant(name, ChannelReceiver::NAMES))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut ids = Vec::new();
        while let Some(Id(id)) = list.next_element()? {
            ids.push(id);
        }
        Ok(ChannelReceivers::Users(ids))
    }
}

/// serde's own `Cow` never borrows.
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

    use super::ChannelReceivers;

    #[test]
    fn the_three_forms_survive_the_wire() {
        let cases = [
            (ChannelReceivers::AllUsers, r#""ALL_USERS""#),
            (ChannelReceivers::AllExceptSender, r#""ALL_EXCEPT_SENDER""#),
            (ChannelReceivers::users(["a", "b"]), r#"["a","b"]"#),
            (ChannelReceivers::Users(vec![]), "[]"),
        ];
        for (receivers, json) in cases {
            assert_eq!(serde_json::to_string(&receivers).unwrap(), json);
            assert_eq!(serde_json::from_str::<ChannelReceivers<'_>>(json).unwrap(), receivers);
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_value(&receivers).unwrap(), value);
            assert_eq!(receivers.clone().into_owned(), receivers);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for json in [r#""all_users""#, r#""""#, r#""CHANNEL""#, "null", "1", "{}", "[1]", "[null]"]
        {
            assert!(serde_json::from_str::<ChannelReceivers<'_>>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn ids_are_borrowed_unless_escaped() {
        let receivers = serde_json::from_str(r#"["plain","\u0061"]"#).unwrap();
        let ChannelReceivers::Users(ids) = receivers else { panic!("a list") };
        assert!(matches!(ids[..], [Cow::Borrowed("plain"), Cow::Owned(ref a)] if a == "a"));
    }
}
