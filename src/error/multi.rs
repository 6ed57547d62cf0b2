//! Several errors as one.

use std::error::Error;
use std::fmt;

use super::BoxError;

/// Several errors as one. Its text joins theirs with `; `, and is `no errors` if it is empty.
///
/// ```
/// use pondwire::error::{MultiError, PondError, combine};
///
/// let full = PondError::conflict("/chat/1", "full");
/// let error = combine([None, Some(full.into()), Some("and closed".into())]).unwrap();
/// assert_eq!(error.to_string(), "Error in Channel /chat/1: full (code: 409); and closed");
/// assert_eq!(error.downcast::<MultiError>().unwrap().errors().len(), 2);
/// ```
#[derive(Debug, Default)]
pub struct MultiError {
    errors: Vec<BoxError>,
}

impl MultiError {
    /// The errors as one. A `MultiError` among them stays one: nothing is flattened.
    #[must_use]
    pub const fn new(errors: Vec<BoxError>) -> Self {
        Self { errors }
    }

    /// Adds one more at the end.
    pub fn push(&mut self, error: impl Into<BoxError>) {
        self.errors.push(error.into());
    }

    /// The errors, in the order in which they were added.
    #[must_use]
    pub fn errors(&self) -> &[BoxError] {
        &self.errors
    }
}

impl fmt::Display for MultiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.is_empty() {
            return f.write_str("no errors");
        }
        for (i, error) in self.errors.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "; " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for MultiError {}

/// All errors as one: `None` if there are none, the error itself if there is one, else a
/// [`MultiError`] of all of them.
#[must_use]
pub fn combine(errors: impl IntoIterator<Item = Option<BoxError>>) -> Option<BoxError> {
    let mut errors = errors.into_iter().flatten();
    let first = errors.next()?;
    let Some(second) = errors.next() else { return Some(first) };
    Some(MultiError::new([first, second].into_iter().chain(errors).collect()).into())
}

/// Both errors as one. If `base` is a [`MultiError`], `error` is added to it; if `error` is one, it
/// stays one error.
///
/// ```
/// let mut failed = None;
/// for line in ["1", "x", "", "2"] {
///     failed = pondwire::error::add_error(failed, line.parse::<u8>().err().map(Into::into));
/// }
/// let text = "invalid digit found in string; cannot parse integer from empty string";
/// assert_eq!(failed.unwrap().to_string(), text);
/// ```
#[must_use]
pub fn add_error(base: Option<BoxError>, error: Option<BoxError>) -> Option<BoxError> {
    let (mut base, error) = match (base, error) {
        (Some(base), Some(error)) => (base, error),
        (base, error) => return base.or(error),
    };
    match base.downcast_mut::<MultiError>() {
        Some(multi) => {
            multi.push(error);
            Some(base)
        }
        None => Some(MultiError::new(vec![base, error]).into()),
    }
}
