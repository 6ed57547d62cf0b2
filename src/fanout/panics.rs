//! A panic in one piece of user code must not skip the others: run all, keep the first panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The first panic of several pieces of user code.
#[derive(Default)]
pub(super) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs `code` and reports whether it returned.
    ///
    /// Asserting unwind safety is right because [`resume`](Self::resume) lets the caller see the
    /// panic: it is hidden only while the others run.
    #[inline]
    pub(super) fn run(&mut self, code: impl FnOnce()) -> bool {
        // A panic in a model is the model's failure, not an observer's.
        if cfg!(pondwire_loom) {
            code();
            return true;
        }
        let Err(panic) = catch_unwind(AssertUnwindSafe(code)) else { return true };
        self.keep(panic);
        false
    }

    #[cold]
    fn keep(&mut self, panic: Box<dyn Any + Send>) {
        if self.0.is_none() {
            self.0 = Some(panic);
            return;
        }
        // A payload's own drop may panic; that payload is forgotten, or this would not end.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
    }

    /// Resumes the first panic, if there was one and this thread is not panicking already.
    #[inline]
    pub(super) fn resume(self) {
        if let Some(panic) = self.0
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
