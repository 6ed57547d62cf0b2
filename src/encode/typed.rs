//! Typed payloads: serialized into scratch memory first, because their length is unknown before.

use serde::Serialize;
use serde::ser::Error as _;

use super::scratch::Scratch;

/// Calls `use_json` with the JSON of `payload`, which must be an object: UTF-8, in which only a
/// `RawValue` can have raw newlines, as whitespace.
pub(crate) fn with_json<T: Serialize + ?Sized, R>(
    payload: &T,
    use_json: impl FnOnce(&[u8]) -> R,
) -> Result<R, serde_json::Error> {
    let mut scratch = Scratch::for_typed();
    serialize_into(&mut scratch.bytes, payload).map(use_json)
}

fn serialize_into<'a, T: Serialize + ?Sized>(
    scratch: &'a mut Vec<u8>,
    payload: &T,
) -> Result<&'a [u8], serde_json::Error> {
    serde_json::to_writer(&mut *scratch, payload)?;
    if scratch.first() != Some(&b'{') {
        return Err(serde_json::Error::custom("a payload must be a JSON object"));
    }
    Ok(scratch)
}
