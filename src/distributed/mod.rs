//! What nodes tell each other, so that a channel spans them: version 1 of the distributed protocol.
//!
//! Nodes publish to topics of a bus, mostly Redis, and subscribe to those of the channels in which
//! they have users. Everything here is bytes in and bytes out, and does no I/O:
//!
//! - [`Topics`] names where the messages of a channel go.
//! - [`Envelope`] views what was received; [`accept`](Envelope::accept) gives its [`Message`], of
//!   which there are 13, if the node is to act upon it. An event for the users of this node becomes
//!   a [`Frame`](crate::Frame) by [`UserMessage::frame`], its payload copied and never decoded.
//! - [`Origin::encode`] writes a message, ready to be published.
//! - [`Cluster`] keeps what others tell: who is in which channel on which node, and who is present.
//!   It answers their questions, finds nodes dead, and says what the server is to do.
//!
//! The crate `pondwire-redis` is the bus itself.
//!
//! ```
//! use pondwire::distributed::{Envelope, Message, Origin, Recipients, UserMessage};
//! use pondwire::{ClientMessage, Room};
//!
//! # let room = Room::new();
//! // Node a relays what a client sent: to its own users by a frame, to all others by an envelope.
//! let bytes = br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"r-1","event":"say","payload":{"text":"hi"}}"#;
//! let client = ClientMessage::parse(bytes)?;
//! let message = Message::UserMessage(UserMessage {
//!     from_user_id: "u1".into(),
//!     event: client.event().into(),
//!     payload: client.payload(),
//!     request_id: "b-1".into(),
//!     recipients: Recipients::AllExceptSender,
//! });
//! let origin = Origin { node_id: "a", endpoint_name: "api/socket", channel_name: "/chat/42" };
//! let published = origin.encode("m-1", 1_795_410_477_886, &message);
//!
//! // Node b delivers it to its own.
//! let envelope = Envelope::parse(&published)?;
//! if let Ok(Message::UserMessage(message)) = envelope.accept("b", "/chat/42") {
//!     let frame = message.frame(envelope.channel_name());
//!     assert!(frame.as_str().ends_with(r#""requestId":"b-1","payload":{"text":"hi"}}"#));
//!     room.send(&frame, &message.recipients.to_receivers(), &message.from_user_id);
//! }
//! # Ok::<(), pondwire::ValidationError>(())
//! ```

mod cluster;
mod encode;
mod envelope;
mod fields;
mod key;
mod message;
mod recipients;
mod topic;
mod users;

pub use cluster::{
    Channel, Cluster, ClusterLimits, ClusterOptions, ClusterStats, Effect, GetId, RemoteUser,
};
pub use envelope::{Envelope, Ignored, Origin};
pub use message::{AssignsChange, CHANNEL_SENDER, Message, UserMessage};
pub use recipients::{Recipients, UserIds};
pub use topic::{HEARTBEAT, Topics, endpoint_name};
pub use users::{UserState, Users};
