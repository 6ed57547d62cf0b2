//! Typed payloads: serialized into scratch memory first, since their length is not known before.

use std::cell::RefCell;

use serde::Serialize;
use serde::ser::Error as _;

/// A thread keeps scratch memory up to this many bytes.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `use_json` with the JSON of `payload`, which must be an object; no raw newline is in it.
pub(super) fn with_json<T: Serialize + ?Sized, R>(
    payload: &T,
    use_json: impl FnOnce(&[u8]) -> R,
) -> Result<R, serde_json::Error> {
    let mut use_json = Some(use_json);
    let in_scratch = SCRATCH.try_with(|scratch| {
        let mut scratch = scratch.try_borrow_mut().ok()?;
        let result = serialize_into(&mut scratch, payload).map(use_json.take()?);
        if scratch.capacity() > SCRATCH_KEPT {
            *scratch = Vec::new();
        }
        Some(result)
    });
    // Taken already when a `Serialize` within builds a frame of its own, and gone when a
    // destructor does as its thread ends.
    match (in_scratch.ok().flatten(), use_json) {
        (Some(result), _) => result,
        (None, Some(use_json)) => serialize_into(&mut Vec::new(), payload).map(use_json),
        (None, None) => Err(serde_json::Error::custom("no scratch memory")),
    }
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
    // Only a `RawValue` can bring one in; within strings they are escaped.
    for byte in scratch.iter_mut() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Ok(scratch)
}
