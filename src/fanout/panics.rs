//! One panic must not rob the others: run all, remember the first.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The first panic of several pieces of user code.
#[derive(Default)]
pub(super) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs `code`; says whether it returned.
    ///
    /// Asserting unwind safety is right because [`resume`](Self::resume) lets the caller see the
    /// panic: nothing is hidden but for the time the others run.
    #[inline]
    pub(super) fn run(&mut self, code: impl FnOnce()) -> bool {
        // A panic in a model is its failure, not an observer's.
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
        // A payload's own drop may panic; that one is let go of, or this would not end.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
    }

    /// Goes on with the first panic, if there was one and none is under way on this thread.
    #[inline]
    pub(super) fn resume(self) {
        if let Some(panic) = self.0
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
