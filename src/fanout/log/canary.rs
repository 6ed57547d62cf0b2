//! Tells the models of a use after free; nothing at all outside of them.

/// A part of everything that publishers reach and writers free.
pub(super) struct Canary {
    /// Reads and the one write must be ordered, or loom says so; a read after the write fails.
    #[cfg(pondwire_loom)]
    freed: loom::cell::Cell<bool>,
}

impl Canary {
    /// What this is part of is being made: publishers must be ordered behind that too.
    pub(super) fn new() -> Self {
        #[cfg(pondwire_loom)]
        let freed = {
            let freed = loom::cell::Cell::new(false);
            freed.set(false);
            freed
        };
        Self {
            #[cfg(pondwire_loom)]
            freed,
        }
    }

    /// A publisher is about to use what this is part of.
    #[inline]
    pub(super) fn check(&self) {
        #[cfg(pondwire_loom)]
        assert!(!self.freed.get(), "used after it was freed");
    }

    /// What this is part of is about to be freed.
    #[inline]
    pub(super) fn free(&self) {
        #[cfg(pondwire_loom)]
        {
            assert!(!self.freed.get(), "freed twice");
            self.freed.set(true);
        }
    }
}
