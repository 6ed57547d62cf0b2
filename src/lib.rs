//! The PondSocket wire protocol as a zero-copy codec.
//!
//! A received frame becomes a borrowed view in one validating pass without an
//! allocation; a broadcast becomes bytes once, whoever receives it.

mod error;
mod scan;

pub mod protocol;

pub use error::ValidationError;
pub use protocol::{ClientAction, PresenceEvent, ServerAction};
