//! Memory that a thread keeps, for what is written before its length is known.

use std::cell::Cell;
use std::thread::LocalKey;

/// The most memory, in bytes, that a thread keeps of each kind.
const KEPT: usize = 1 << 20;

thread_local! {
    static TYPED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static ESCAPES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer with the thread's memory, which is given back when it is dropped.
pub(crate) struct Scratch {
    pub(crate) bytes: Vec<u8>,
    kept: &'static LocalKey<Cell<Vec<u8>>>,
}

impl Scratch {
    /// For a typed payload.
    pub(super) fn for_typed() -> Self {
        Self::take(&TYPED)
    }

    /// For what has strings with something to escape.
    pub(crate) fn for_escapes() -> Self {
        Self::take(&ESCAPES)
    }

    fn take(kept: &'static LocalKey<Cell<Vec<u8>>>) -> Self {
        // Empty while a nested `Serialize` builds a frame of its own, and when a destructor builds one
        // as its thread ends: then there is nothing to reuse.
        let mut bytes = kept.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        Self { bytes, kept }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.bytes.capacity() <= KEPT {
            let bytes = std::mem::take(&mut self.bytes);
            // Not kept if the thread's locals are destroyed already.
            let _ = self.kept.try_with(|kept| kept.set(bytes));
        }
    }
}
