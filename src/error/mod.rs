//! What can go wrong: a frame that is not a message, and an error that a server tells its users.

mod validation;

pub(crate) use validation::{Detail, Field};
pub use validation::{ErrorKind, ValidationError};
