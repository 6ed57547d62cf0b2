//! The handles of a subject: the last one to go closes it.

use std::fmt;

use super::log::TypedLog;
use crate::sync::atomic::Ordering;

/// A handle that counts; subscriptions share the log too, but do not keep a subject open.
pub(super) struct Handles<O>(TypedLog<O>);

impl<O: Send + Sync + 'static> Handles<O> {
    pub(super) fn new() -> Self {
        Self(TypedLog::new())
    }
}

impl<O> Handles<O> {
    pub(super) fn log(&self) -> &TypedLog<O> {
        &self.0
    }

    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.0.log();
        f.debug_struct(name)
            .field("len", &log.len())
            .field("closed", &log.is_closed())
            .finish_non_exhaustive()
    }
}

impl<O> Clone for Handles<O> {
    fn clone(&self) -> Self {
        self.0.log().handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<O> Drop for Handles<O> {
    fn drop(&mut self) {
        let log = self.0.log();
        if log.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            log.close();
        }
    }
}
