//! The protocol's vocabulary: the names on the wire, ids, headers, channel patterns and typed schemas.
//! Messages are parsed by [`view`](crate::view).
//!
//! Every enum is the union of the names in all implementations (Python 0.0.6, JavaScript, Rust 0.1.4
//! and Go), with a note on which implementation knows which. Names are case-sensitive.
//!
//! ```
//! use pondwire::protocol::{ClientAction, SystemEvent};
//!
//! assert_eq!(ClientAction::from_bytes(b"JOIN_CHANNEL"), Some(ClientAction::JoinChannel));
//! assert_eq!(ClientAction::from_bytes(b"join_channel"), None);
//! assert_eq!(SystemEvent::Acknowledge.as_str(), "ACKNOWLEDGE");
//! ```

mod headers;
#[cfg(feature = "uuid")]
mod ids;
mod names;
mod pattern;
mod recipients;
mod schema;
mod types;
mod wire_enum;

pub use headers::Headers;
#[cfg(feature = "uuid")]
pub use ids::{Uuid, uuid};
pub use names::{
    ChannelState, ClientAction, ConnectionState, DistributedMessageType, ErrorType, InternalAction,
    InternalEvent, LeaveReason, PresenceEvent, PubSubEventKind, ServerAction, SystemEvent,
    SystemSender,
};
pub use pattern::{BuildError, PathMatch, Pattern, PatternError, match_topic};
pub use recipients::{Recipients, UserIds};
pub use schema::{PondEvent, PondSchema, decode_object, encode_object};
pub use types::{
    IncomingConnection, Object, PresencePayload, PubSubBody, PubSubEvent, UserAssigns, UserData,
    UserPresences,
};
pub use wire_enum::UnknownName;
