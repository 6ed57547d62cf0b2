//! The protocol's vocabulary: what the words on the wire are, and nothing of how they are parsed.

mod names;
mod wire_enum;

pub use names::{ClientAction, PresenceEvent, ServerAction};
