//! Typed payloads: serialized into scratch memory first, since their length is not known before.

use std::cell::Cell;

use serde::Serialize;
use serde::ser::Error as _;

/// A thread keeps scratch memory up to this many bytes.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `use_json` with the JSON of `payload`, which must be an object. Only a `RawValue` can bring
/// raw newlines in, as whitespace.
pub(super) fn with_json<T: Serialize + ?Sized, R>(
    payload: &T,
    use_json: impl FnOnce(&[u8]) -> R,
) -> Result<R, serde_json::Error> {
    // Empty while a `Serialize` within builds a frame of its own, and gone when a destructor does
    // as its thread ends: then there is just nothing to reuse.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = serialize_into(&mut scratch, payload).map(use_json);
    if scratch.capacity() <= SCRATCH_KEPT {
        // Not kept where the thread has ended its thread-locals.
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
