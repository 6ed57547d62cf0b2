//! Typed payloads: serialized into scratch memory first, because their length is unknown before.

use std::cell::Cell;

use serde::Serialize;
use serde::ser::Error as _;

/// The most scratch memory that a thread keeps, in bytes.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `use_json` with the JSON of `payload`, which must be an object: UTF-8, in which only a
/// `RawValue` can have raw newlines, as whitespace.
pub(crate) fn with_json<T: Serialize + ?Sized, R>(
    payload: &T,
    use_json: impl FnOnce(&[u8]) -> R,
) -> Result<R, serde_json::Error> {
    // Empty while a nested `Serialize` builds a frame of its own, and when a destructor builds one
    // as its thread ends: then there is nothing to reuse.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = serialize_into(&mut scratch, payload).map(use_json);
    if scratch.capacity() <= SCRATCH_KEPT {
        // Not kept if the thread's locals are destroyed already.
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
    result
}

fn serialize_into<'a, T: Serialize + ?Sized>(
    scratch: &'a mut Vec<u8>,
    payload: &T,
) -> Result<&'a [u8], serde_json::Error> {
    scratch.clear();
    serde_json::to_writer(&mut *scratch, payload)?;
    if scratch.first() != Some(&b'{') {
        return Err(serde_json::Error::custom("a payload must be a JSON object"));
    }
    Ok(scratch)
}
