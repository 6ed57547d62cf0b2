//! The envelope's rules: what makes a JSON document a message, and the views of one.
//!
//! A view borrows the frame it was parsed from. Parsing validates all of the frame, the payload
//! included, and allocates nothing unless one of `event`, `channelName` and `requestId` is
//! written with escapes.

mod channel_event;
mod envelope;
mod key;
mod message;
mod owned;
mod parse;
mod presence;
mod serialize;

pub use channel_event::ChannelEvent;
pub use message::{ClientMessage, ServerMessage};
pub use owned::OwnedMessage;
pub use presence::PresenceMessage;
