//! The protocol's vocabulary: what the words on the wire are, and nothing of how they are parsed.

#[cfg(feature = "uuid")]
mod ids;
mod names;
mod wire_enum;

#[cfg(feature = "uuid")]
pub use ids::{Uuid, uuid};
pub use names::{ClientAction, PresenceEvent, ServerAction};
