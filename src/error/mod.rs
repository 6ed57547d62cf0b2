//! Errors: of a frame that is not a message, and those that a server sends to its users.

mod multi;
mod pond;
pub mod status;
mod validation;

pub use multi::{MultiError, add_error, combine};
pub use pond::{InvalidCode, PondError};
pub(crate) use validation::{Detail, Field, UserPart};
pub use validation::{ErrorKind, ValidationError};

/// Any error, owned, that can be sent between threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
