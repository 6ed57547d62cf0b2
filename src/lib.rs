//! The PondSocket wire protocol as a zero-copy codec, for servers with many connections.
//!
//! PondSocket puts channels, presence and broadcasts on a WebSocket (or on server-sent events). This
//! crate turns received frames into borrowed views without allocating, and encodes a broadcast once for
//! all of its recipients. It does no I/O and needs no runtime.
//!
//! ```
//! use pondwire::{ClientAction, ClientMessage, Frame, uuid};
//!
//! #[derive(serde::Deserialize)]
//! struct Join {
//!     name: String,
//! }
//!
//! # fn publish(_: Frame) {}
//! fn answer(bytes: &[u8]) -> Frame {
//!     let message = match ClientMessage::parse(bytes) {
//!         Ok(message) => message, // borrows `bytes`; all of it is validated
//!         Err(error) => return Frame::invalid_message(&error),
//!     };
//!     let (channel, request) = (message.channel_name(), message.request_id());
//!     match message.action() {
//!         // Typed, on demand.
//!         ClientAction::JoinChannel => match message.payload().decode::<Join>() {
//!             Ok(join) if !join.name.is_empty() => Frame::acknowledge(channel, request),
//!             _ => Frame::unauthorized(channel, request, 400, "A name is needed"),
//!         },
//!         ClientAction::LeaveChannel => Frame::exit_acknowledge(channel, request),
//!         ClientAction::Broadcast => {
//!             let payload = message.payload(); // not decoded, and never will be
//!             publish(Frame::broadcast(channel, message.event(), &uuid(), payload));
//!             Frame::reply(channel, message.event(), request, payload)
//!         }
//!     }
//! }
//! # let join = r#"{"action":"JOIN_CHANNEL","channelName":"/c","requestId":"r","event":"e","payload":{"name":"ann"}}"#;
//! # assert_eq!(answer(join.as_bytes()), Frame::acknowledge("/c", "r"));
//! # let unnamed = join.replace(r#""ann""#, r#""""#);
//! # assert_eq!(answer(unnamed.as_bytes()), Frame::unauthorized("/c", "r", 400, "A name is needed"));
//! # let said = join.replace("JOIN_CHANNEL", "BROADCAST");
//! # assert!(answer(said.as_bytes()).as_str().starts_with(r#"{"action":"SYSTEM","event":"e""#));
//! ```
//!
//! # Three ways in
//!
//! | you want | use | begin with |
//! |---|---|---|
//! | to read and write messages, in a client, a test or a proxy | this crate with `--no-default-features -F uuid`: the codec; without `uuid` if it makes no ids of its own | the example above; [`ClientMessage`], [`ServerMessage`], [`Frame`] |
//! | a server of your own, on any runtime | this crate with `-F handshake`: rooms, outboxes, the WebSocket handshake and reader | the [patterns](docs::patterns) below |
//! | a whole server | the crate [`pondwire-server`](https://docs.rs/pondwire-server): by itself, or within axum | its first example |
//!
//! The patterns; their code runs as tests:
//!
//! - a connection: its queue and [the half that writes](docs::patterns#a-connection), [the half that
//!   reads](docs::patterns#the-reading-half), and what happens to [connections that do not keep
//!   up](docs::patterns#connections-that-do-not-keep-up);
//! - alternatives to a queue for each connection: [a reader for each](docs::patterns#a-reader-for-each-connection), or
//!   [one writer for many](docs::patterns#one-writer-for-many-connections), for which a broadcast to any number of
//!   connections is one append to a log;
//! - [on a WebSocket library](docs::patterns#on-a-websocket-library) such as axum's;
//! - [a chat room](docs::patterns#a-chat-room), with authorization and an answer to every message;
//! - [presence](docs::patterns#presence), and [frames that differ by
//!   recipient](docs::patterns#frames-that-differ-by-recipient);
//! - [observers that are not connections](docs::patterns#observers-that-are-not-connections): metrics, logs, bridges.
//!
//! # Data flow
//!
//! ```text
//! socket bytes ─► scan ─► view ─► payload     inbound: borrow, validate, stay lazy
//! message      ─► encode ─► frame ─► sockets  outbound: serialize once
//!                             └► cache         and keep what is needed again
//! ```
//!
//! - **Inbound**: [`ClientMessage`], [`ServerMessage`], [`PresenceMessage`] and [`ChannelEvent`] view a
//!   frame; [`view::OwnedMessage`] keeps one. Their [`Payload`] is navigated lazily or decoded. A frame
//!   that is not a message gives a [`ValidationError`] with kind, path and byte offset. The types of
//!   [`message`] own their fields, so that messages can be built and changed.
//! - **Outbound**: a [`Frame`] is one shared message, ready to send. [`cache`] keeps serialized
//!   frames and presence lists that are needed again.
//! - **Fan-out**: a [`Room`] sends a frame to the [`Outbox`]es of all or some members of a channel without a lock, or
//!   keeps it for members that [read](room::RoomReader) it themselves. [`fanout`] calls observers of any other kind.
//!   See [`docs::patterns`].
//! - **Several nodes**: [`distributed`] has the messages that nodes exchange over a bus.
//! - **WebSocket**: [`websocket`] reads a client's frames and answers its handshake, without I/O.
//! - **Vocabulary**: [`protocol`] has every name on the wire, ids, headers, channel patterns and typed
//!   schemas.
//!
//! # Names at the root
//!
//! The root has the names that a first chat server or client needs; everything else is one module deep,
//! and each of these types is also in its module.
//!
//! | names | use |
//! |---|---|
//! | [`ClientMessage`], [`ClientAction`] | a server reads what a client sent |
//! | [`ServerMessage`], [`ServerAction`], [`PresenceMessage`], [`PresenceEvent`], [`ChannelEvent`] | a client, or a test, reads what a server sent |
//! | [`Payload`], [`Value`] | the payload of each of them, and a part of it |
//! | [`ValidationError`], [`Limits`] | why a frame was refused, and how large one may be |
//! | [`Frame`], [`uuid()`] | what is sent, and its id |
//! | [`Room`], [`Membership`], [`Closed`] | a channel, what keeps a member in it, and why a join failed |
//! | [`Outbox`], [`OutboxReader`], [`Batch`], [`OutboxOptions`], [`Policy`] | a connection's queue: its two ends, what its writer sends, its bounds |
//! | [`PresenceRoster`] | a channel's presence list |
//!
//! # Features
//!
//! - `cache` (on by default): `cache::FrameCache` and its views for single threads.
//! - `uuid` (on by default): [`uuid()`](protocol::uuid) and `Frame::invalid_message`.
//! - `http`: [`protocol::Headers`] over `http::HeaderMap`, and the handshake over requests and
//!   responses of `http`.
//! - `handshake`: `websocket::handshake`, the opening handshake; needs SHA-1 and Base64.
//! - `deflate`: permessage-deflate: `Frame::deflated`, and a bounded inflater in the module `deflate`.
//! - `stream`: [`OutboxReader`] is a `futures_core::Stream` of frames.
//!
//! The crate `pondwire-redis` is a bus between nodes over Redis pub/sub, on tokio; `pondwire-server` is a
//! whole server.
//!
//! # Guarantees
//!
//! Any bytes give a view or an error, in time linear in their number, without recursion and within the
//! memory that they already take. Parsing allocates only for an event, channel name or request id that
//! is written with escapes. With the default [`Limits`], refusing a frame allocates nothing. Encoding
//! one allocates once. Unsafe code is confined to `frame` (a reference-counted allocation), `fanout`
//! (the log that publishers walk), `ring` and `outbox` (a lock-free queue), `log` (a queue with many
//! readers) and `scan::arch` (vector instructions).

// Some links lead to what is behind a feature.
#![cfg_attr(
    not(all(feature = "cache", feature = "uuid", feature = "handshake")),
    allow(rustdoc::broken_intra_doc_links)
)]
// Labels what is behind a feature, on docs.rs only: it needs a nightly compiler.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod encode;
mod log;
mod ring;
mod sync;

pub mod cache;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod distributed;
pub mod docs;
pub mod error;
pub mod fanout;
pub mod frame;
pub mod limits;
pub mod message;
pub mod outbox;
pub mod payload;
pub mod protocol;
pub mod room;
pub mod scan;
pub mod view;
pub mod websocket;

// The names that a first chat server or client needs, as the table above says; nothing else.
pub use cache::PresenceRoster;
pub use error::ValidationError;
pub use fanout::Closed;
pub use frame::Frame;
pub use limits::Limits;
pub use outbox::{Batch, Outbox, OutboxOptions, OutboxReader, Policy};
pub use payload::{Payload, Value};
#[cfg(feature = "uuid")]
pub use protocol::uuid;
pub use protocol::{ClientAction, PresenceEvent, ServerAction};
pub use room::{Membership, Room};
pub use view::{ChannelEvent, ClientMessage, PresenceMessage, ServerMessage};

/// The version of this crate, for servers that report it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The code in the READMEs runs as a test too.
#[cfg(all(doctest, feature = "uuid"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../crates-io.md")]
struct Readme;
