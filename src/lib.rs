//! The PondSocket wire protocol as a zero-copy codec.
//!
//! A received frame becomes a borrowed view in one validating pass without an
//! allocation; a broadcast becomes bytes once, whoever receives it.

mod encode;
mod error;
mod frame;
mod limits;
mod payload;
mod scan;
mod view;

pub mod protocol;

pub use error::{ErrorKind, ValidationError};
pub use frame::Frame;
pub use limits::{Limits, ParseOptions};
pub use payload::{Elements, Members, Payload, Value};
#[cfg(feature = "uuid")]
pub use protocol::uuid;
pub use protocol::{ClientAction, PresenceEvent, ServerAction};
pub use scan::JsonType;
pub use view::{ChannelEvent, ClientMessage, OwnedMessage, PresenceMessage, ServerMessage};
