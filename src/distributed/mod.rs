//! The distributed protocol, version 1: the messages by which nodes share channels.
//!
//! Nodes publish to topics of a bus, usually Redis, and subscribe to the topics of the channels in
//! which they have users. This module turns bytes into messages and back; it does no I/O:
//!
//! - [`Topics`] names the topics.
//! - [`Envelope`] views received bytes. [`accept`](Envelope::accept) returns its [`Message`], one of 13
//!   kinds, if the node is to act on it. [`UserMessage::frame`] turns an event for this node's users
//!   into a [`Frame`](crate::Frame); its payload is copied and never decoded.
//! - [`Origin::encode`] encodes a message to publish.
//! - [`Cluster`] keeps the shared state: the users of each channel on each node, and their presence. It
//!   answers other nodes' requests, detects dead nodes, and returns the actions that the server must
//!   take.
//!
//! The crate `pondwire-redis` is the bus itself.
//!
//! ```
//! use pondwire::distributed::{Envelope, Message, Origin, UserMessage};
//! use pondwire::protocol::Recipients;
//! use pondwire::{ClientMessage, Room};
//!
//! # let room = Room::new();
//! // Node a relays a client's message: to its own users as a frame, to other nodes as an envelope.
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
//! // Node b delivers it to its own users.
//! let envelope = Envelope::parse(&published)?;
//! if let Ok(Message::UserMessage(message)) = envelope.accept("b", "/chat/42") {
//!     let frame = message.frame(envelope.channel_name());
//!     assert!(frame.as_str().ends_with(r#""requestId":"b-1","payload":{"text":"hi"}}"#));
//!     room.send(&frame, &message.recipients, &message.from_user_id);
//! }
//! # Ok::<(), pondwire::ValidationError>(())
//! ```

mod cluster;
mod document;
mod encode;
mod envelope;
mod key;
mod message;
mod origin;
mod topic;
mod users;

pub use cluster::{
    Channel, Cluster, ClusterLimits, ClusterOptions, ClusterStats, Effect, GetId, UserReply,
};
pub use envelope::{Envelope, Ignored};
pub use message::{AssignsChange, CHANNEL_SENDER, Message, UserMessage};
pub use origin::Origin;
pub use topic::{HEARTBEAT, Topics, endpoint_name};
pub use users::{User, Users};
