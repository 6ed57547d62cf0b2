//! The data that servers and handlers pass around.

use serde::{Deserialize, Serialize};

use super::{ChannelReceivers, Headers, PathMatch, PubSubEventKind};

/// A JSON object of any content.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// A user of a channel, as a server and other nodes know it.
///
/// `assigns` is what the server keeps about the user, `presence` what everyone may see; both are
/// `{}` when they are absent.
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
    /// What the server keeps about the user.
    #[serde(default)]
    pub assigns: A,
    /// What everyone may see.
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

/// The payload of a presence message: everyone who is present, and whose presence changed.
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
    /// The presence that appeared or changed, with its new value; that which disappeared.
    pub changed: P,
}

/// A request to open a connection, before it is accepted or declined. It borrows from the request.
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
    /// Where it comes from, as the server names it.
    pub address: &'a str,
    /// The request's headers.
    pub headers: Headers<'a>,
    /// Parameters and query, as the endpoint's pattern found them in the request's path.
    pub route: PathMatch<'a>,
}

impl<'a> IncomingConnection<'a> {
    /// Every cookie's name and value, in order and as sent; nothing is unquoted or decoded.
    /// `Cookie` headers that are not UTF-8 are passed over.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let lines = self.headers.get_all("cookie");
        let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
        lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim_ascii(), value.trim_ascii()))
        })
    }

    /// The value of the first cookie of that name. Reads the header each time, and allocates
    /// nothing.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().find_map(|(n, value)| (n == name).then_some(value))
    }
}

/// What the first servers told each other; replaced by the distributed messages, and emitted by
/// nothing any more. Types of Python and JavaScript.
#[derive(Clone, Debug, PartialEq)]
pub struct PubSubEvent {
    /// The endpoint that the channel belongs to.
    pub endpoint: String,
    /// The channel.
    pub channel: String,
    /// The id of the sending node.
    pub pub_sub_id: String,
    /// What is told.
    pub body: PubSubBody,
}

/// The variants of a [`PubSubEvent`].
#[derive(Clone, Debug, PartialEq)]
pub enum PubSubBody {
    /// A question for the channel's presence.
    GetPresence,
    /// The channel's presence on the sending node.
    Presence {
        /// The list and what changed in it.
        presence: PresencePayload,
    },
    /// A message for the channel's users.
    Message {
        /// The message.
        message: Object,
        /// To whom it goes.
        recipient: ChannelReceivers<'static>,
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
    use super::super::Pattern;
    use super::{Headers, IncomingConnection};

    #[test]
    fn cookies_are_found_in_every_header() {
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
