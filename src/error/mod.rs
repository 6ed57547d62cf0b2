//! Errors: of a frame that is not a message, and those that a server sends to its users.
//!
//! - [`ValidationError`] is the error of a refused frame: its reason, the field and the byte
//!   offset. A server's own checks can make one too. [`ErrorKind`] is its class.
//! - [`PondError`] is an error with a status code, for the user whose request failed;
//!   [`InvalidCode`] is the error of making one with a code below 100.
//! - [`status`] has the status codes.
//! - [`MultiError`] is several errors as one; [`combine`] and [`add_error`] make it.
//! - [`BoxError`] is any error, owned, that can be sent between threads.

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
