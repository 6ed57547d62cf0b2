//! The PondSocket wire protocol as a zero-copy codec, for servers with many connections.
//!
//! PondSocket puts channels, presence and broadcasts on a WebSocket (or on server-sent events).
//! This crate turns received frames into borrowed views without allocating, and a broadcast into
//! bytes once, whoever receives it. It does no I/O and knows no runtime.
//!
//! ```
//! use pondwire::{ClientAction, ClientMessage, Frame, uuid};
//!
//! # fn publish(_: Frame) {}
//! # #[derive(serde::Deserialize)] struct Join { name: String }
//! # fn on_frame(bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let message = ClientMessage::parse(bytes)?; // borrows `bytes`; all of it is validated
//! match message.action() {
//!     ClientAction::Broadcast => {
//!         let payload = message.payload(); // not decoded, and never will be
//!         publish(Frame::broadcast(message.channel_name(), message.event(), &uuid(), payload));
//!     }
//!     ClientAction::JoinChannel => {
//!         let join: Join = message.payload().decode()?; // typed, on demand
//!     }
//!     ClientAction::LeaveChannel => {}
//! }
//! # Ok(()) }
//! ```
//!
//! A whole chat room, with who may broadcast and how everything is answered, is in [`docs::patterns`].
//!
//! # The way data flows
//!
//! ```text
//! socket bytes ─► scan ─► view ─► payload     inbound: borrow, validate, stay lazy
//! message      ─► encode ─► frame ─► sockets  outbound: serialize once
//!                             └► cache         and keep what is needed again
//! ```
//!
//! - **Inbound**: [`ClientMessage`], [`ServerMessage`], [`PresenceMessage`] and [`ChannelEvent`]
//!   view a frame; [`OwnedMessage`] keeps it. Their [`Payload`] is navigated lazily or decoded.
//!   A frame that is no message gives a [`ValidationError`]: kind, path and byte offset. The types
//!   of [`message`] own what they hold, to be built and changed.
//! - **Outbound**: a [`Frame`] is one shared, ready-to-send message. [`cache`] keeps those that are
//!   needed again, and who is in a channel, serialized already.
//! - **Fan-out**: a [`Room`] sends a frame to the [`Outbox`]es of all members of a channel, or of
//!   some, without a lock; a [`Subject`] or [`BehaviorSubject`] tells any other observers. See
//!   [`docs::patterns`].
//! - **More than one node**: [`distributed`] has what nodes tell each other over a bus.
//! - **Vocabulary**: [`protocol`] holds every name on the wire, ids, headers, channel patterns and
//!   typed schemas.
//!
//! # Features
//!
//! - `uuid` (on by default): [`uuid()`](protocol::uuid) and [`Frame::invalid_message`].
//! - `http`: [`protocol::Headers`] over `http::HeaderMap`.
//! - `deflate`: permessage-deflate: `Frame::deflated`, its negotiation and a bounded inflater in the
//!   module `deflate`.
//!
//! The crate `pondwire-redis` is a bus between nodes over Redis pub/sub, on tokio; `pondwire-server` is a
//! whole server.
//!
//! # What is promised
//!
//! Any bytes give a view or an error, in time linear in their number, without recursion and
//! within the memory they already take. Parsing allocates nothing but the text of header strings
//! that are written with escapes, refusing nothing, sending once (with the default [`Limits`]).
//! Unsafe code is confined to `frame` (a reference-counted allocation), `fanout` (the log that
//! publishers walk), `outbox::ring` (a queue without a lock) and `scan::arch` (vector instructions).

#[cfg(feature = "deflate")]
pub mod deflate;
mod encode;
mod error;
mod frame;
mod limits;
mod payload;
mod room;
mod scan;
mod sync;
mod view;

pub mod cache;
pub mod distributed;
pub mod docs;
pub mod fanout;
pub mod message;
pub mod outbox;
pub mod protocol;

pub use cache::{CoalescedRoster, FrameCache, FrameKey, LastValue, PresenceRoster};
pub use error::{
    BoxError, ErrorKind, InvalidCode, MultiError, PondError, ValidationError, add_error, combine,
    status,
};
pub use fanout::{BehaviorSubject, Subject, Subscription};
pub use frame::{Control, Frame, FrameRefs};
pub use limits::{Limits, ParseOptions};
pub use outbox::{CloseReason, Outbox, OutboxOptions, OutboxReader, Policy, Push};
pub use payload::{Elements, Members, OwnedPayload, Payload, Value};
#[cfg(feature = "uuid")]
pub use protocol::uuid;
pub use protocol::{ClientAction, ErrorType, PresenceEvent, ServerAction, SystemEvent};
pub use room::{Delivery, Member, Membership, Room};
pub use scan::{JsonType, Tier, UnknownTier};
pub use view::{ChannelEvent, ClientMessage, OwnedMessage, PresenceMessage, ServerMessage};

/// The version of this crate, for a server that tells what it is made of.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The README's code runs as a test too.
#[cfg(all(doctest, feature = "uuid"))]
#[doc = include_str!("../README.md")]
struct Readme;
