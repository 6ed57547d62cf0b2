//! Why a subscription or a wait is refused.

use std::error::Error;
use std::fmt;

/// The subject was closed: it takes no more subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cannot subscribe to a closed subject")
    }
}

impl Error for Closed {}

/// A wait was asked for inside an observer, which it might wait for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsideObserver;

impl fmt::Display for InsideObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cannot wait for publishers inside an observer")
    }
}

impl Error for InsideObserver {}
