//! The data types of servers and handlers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Headers, PathMatch, PubSubEventKind, Recipients};

/// Any JSON object.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// The presence of each user of a channel, by user id; see [`UserData::presence`].
///
/// Sorted by id, so that it does not depend on the order of joining. Clients receive the same data as a
/// list without ids: [`PresencePayload`].
///
/// ```
/// use pondwire::protocol::UserPresences;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Seen { status: String }
///
/// let json = r#"{"bob":{"status":"away"},"ann":{"status":"here"}}"#;
/// let presences: UserPresences<Seen> = serde_json::from_str(json)?;
/// assert_eq!(presences.keys().collect::<Vec<_>>(), ["ann", "bob"]);
/// assert_eq!(presences["bob"].status, "away");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub type UserPresences<P = Object> = BTreeMap<String, P>;

/// The server's private data about each user of a channel, by user id; see [`UserData::assigns`].
///
/// ```
/// use pondwire::protocol::{Object, UserAssigns, UserData};
///
/// let users: [UserData; 2] = [UserData::new("bob"), UserData::new("ann")];
/// let assigns: UserAssigns = users.into_iter().map(|user| (user.id, user.assigns)).collect();
/// assert_eq!(assigns["ann"], Object::new());
/// assert_eq!(serde_json::to_string(&assigns)?, r#"{"ann":{},"bob":{}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub type UserAssigns<A = Object> = BTreeMap<String, A>;

/// A user of a channel, as its server and other nodes know it.
///
/// `assigns` is the server's private data about the user, `presence` the data that every user may see.
/// Both are `{}` when absent.
///
/// ```
/// use pondwire::protocol::UserData;
///
/// let user: UserData = serde_json::from_str(r#"{"id":"ann","assigns":{"role":"host"}}"#)?;
/// assert_eq!(user.assigns["role"], "host");
/// assert!(user.presence.is_empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserData<A = Object, P = Object> {
    /// The user's id.
    pub id: String,
    /// The server's private data about the user.
    #[serde(default)]
    pub assigns: A,
    /// The data that every user may see.
    #[serde(default)]
    pub presence: P,
}

impl<A: Default, P: Default> UserData<A, P> {
    /// A user without data.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), assigns: A::default(), presence: P::default() }
    }
}

/// The payload of a presence message: all presences, and the one that changed.
///
/// ```
/// use pondwire::protocol::PresencePayload;
///
/// let payload = PresencePayload { presence: vec!["ann", "bob"], changed: "bob" };
/// assert_eq!(serde_json::to_string(&payload)?, r#"{"presence":["ann","bob"],"changed":"bob"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresencePayload<P = Object> {
    /// The presence of every user, after the change.
    pub presence: Vec<P>,
    /// The new value of the presence that appeared or changed, or the last value of the one that
    /// disappeared.
    pub changed: P,
}

/// A request to open a connection, before it is accepted or declined. It borrows from the HTTP request.
///
/// ```
/// use pondwire::protocol::{Headers, IncomingConnection, Pattern};
///
/// let pattern = Pattern::new("/api/:version/socket").unwrap();
/// let headers: [(&[u8], &[u8]); 1] = [(b"Cookie", b"session=abc; theme=dark")];
/// let connection = IncomingConnection {
///     id: "c-1",
///     address: "192.0.2.7:4711",
///     headers: Headers::new(&headers),
///     route: pattern.matches("/api/v2/socket?token=xyz").unwrap(),
/// };
/// assert_eq!(connection.cookie("theme"), Some("dark"));
/// assert_eq!(connection.route.param("version"), Some("v2"));
/// assert_eq!(connection.route.query("token").as_deref(), Some("xyz"));
/// ```
#[derive(Clone, Debug)]
pub struct IncomingConnection<'a> {
    /// The id that the connection will have.
    pub id: &'a str,
    /// The client's address, in the server's notation.
    pub address: &'a str,
    /// The request's headers.
    pub headers: Headers<'a>,
    /// The parameters and query that the endpoint's pattern found in the request's path.
    pub route: PathMatch<'a>,
}

impl<'a> IncomingConnection<'a> {
    /// Every cookie's name and value in order, as sent: nothing is unquoted or decoded. `Cookie` headers
    /// that are not UTF-8 are skipped.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let lines = self.headers.get_all("cookie");
        let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
        lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim_ascii(), value.trim_ascii()))
        })
    }

    /// The value of the first cookie of the name. Parses the headers at each call; allocates nothing.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().find_map(|(n, value)| (n == name).then_some(value))
    }
}

/// A legacy message between servers, which the distributed messages replaced; nothing emits it any more.
/// Declared by Python and JavaScript.
///
/// ```
/// use pondwire::protocol::{Object, PubSubBody, PubSubEvent, PubSubEventKind, UserPresences};
///
/// let presence = UserPresences::from([("ann".to_owned(), Object::new())]);
/// let event = PubSubEvent {
///     endpoint: "/api/socket".to_owned(),
///     channel: "/chat/42".to_owned(),
///     pub_sub_id: "node-a".to_owned(),
///     body: PubSubBody::Presence { presence },
/// };
/// assert_eq!(event.kind(), PubSubEventKind::Presence);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PubSubEvent {
    /// The endpoint that the channel belongs to.
    pub endpoint: String,
    /// The channel.
    pub channel: String,
    /// The id of the sending node.
    pub pub_sub_id: String,
    /// The content.
    pub body: PubSubBody,
}

/// The content of a [`PubSubEvent`].
#[derive(Clone, Debug, PartialEq)]
pub enum PubSubBody {
    /// A request for the channel's presence.
    GetPresence,
    /// The channel's presence on the sending node.
    Presence {
        /// The presence of every user there, by user id.
        presence: UserPresences,
    },
    /// A message for the channel's users.
    Message {
        /// The message.
        message: Object,
        /// Its recipients.
        recipient: Recipients<'static>,
    },
}

impl PubSubEvent {
    /// The tag of the variant.
    #[must_use]
    pub const fn kind(&self) -> PubSubEventKind {
        match self.body {
            PubSubBody::GetPresence => PubSubEventKind::GetPresence,
            PubSubBody::Presence { .. } => PubSubEventKind::Presence,
            PubSubBody::Message { .. } => PubSubEventKind::Message,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Pattern, PubSubEventKind, Recipients};
    use super::{
        Headers, IncomingConnection, Object, PresencePayload, PubSubBody, PubSubEvent, UserAssigns,
        UserPresences,
    };

    /// Maps by user id, of any objects or of a type, as in Python and JavaScript.
    #[test]
    fn presences_and_assigns_are_maps_by_user_id() {
        let json = r#"{"ann":{"status":"here"},"bob":{}}"#;
        let presences: UserPresences = serde_json::from_str(json).unwrap();
        let assigns: UserAssigns = serde_json::from_str(json).unwrap();
        assert_eq!(presences["ann"]["status"], "here");
        assert_eq!(serde_json::to_string(&presences).unwrap(), json);
        assert_eq!(serde_json::to_string(&assigns).unwrap(), json);
        for other in [r#"["ann"]"#, r#"{"ann":1}"#, r#"{"ann":[]}"#, "null"] {
            assert!(serde_json::from_str::<UserPresences>(other).is_err(), "{other}");
        }
        // The clients' payload is made from it.
        let presence: Vec<Object> = presences.values().cloned().collect();
        let payload = PresencePayload { presence, changed: presences["ann"].clone() };
        let expected =
            json!({ "presence": [{ "status": "here" }, {}], "changed": { "status": "here" } });
        assert_eq!(serde_json::to_value(&payload).unwrap(), expected);
    }

    #[test]
    fn an_events_kind_is_that_of_its_body() {
        let presence = UserPresences::from([("ann".to_owned(), Object::new())]);
        let recipient = Recipients::AllUsers;
        let bodies = [
            (PubSubBody::GetPresence, PubSubEventKind::GetPresence),
            (PubSubBody::Presence { presence }, PubSubEventKind::Presence),
            (PubSubBody::Message { message: Object::new(), recipient }, PubSubEventKind::Message),
        ];
        for (body, kind) in bodies {
            let (endpoint, channel, pub_sub_id) = Default::default();
            assert_eq!(PubSubEvent { endpoint, channel, pub_sub_id, body }.kind(), kind);
        }
    }

    #[test]
    fn cookies_of_all_headers_are_found() {
        let pattern = Pattern::new("*").unwrap();
        let pairs: [(&[u8], &[u8]); 4] = [
            (b"cookie", b"a=1;b = 2 ; c==3;flag;=4;"),
            (b"COOKIE", b"\xFF=5"),
            (b"x-cookie", b"d=6"),
            (b"Cookie", b"a=7; e=\"8\""),
        ];
        let connection = IncomingConnection {
            id: "c",
            address: "",
            headers: Headers::new(&pairs),
            route: pattern.matches("/").unwrap(),
        };
        let cookies = [("a", "1"), ("b", "2"), ("c", "=3"), ("", "4"), ("a", "7"), ("e", "\"8\"")];
        assert_eq!(connection.cookies().collect::<Vec<_>>(), cookies);
        assert_eq!((connection.cookie("a"), connection.cookie("d")), (Some("1"), None));
    }
}
