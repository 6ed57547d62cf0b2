//! Decoding into owned types with the engine that wins at the payload's size.

use std::cell::Cell;

use serde::de::DeserializeOwned;
use simd_json::{Buffers, Deserializer, INPUT_PADDING, Tape, fill_tape_padded};

use crate::scan::RECURSION_LIMIT;

/// From this many bytes on `simd-json` is faster, its copy of the input included: by a few percent
/// into structs, hardly into trees (the repository's `profiles/records`). Below, it is slower by as much.
const SIMD_JSON_FROM: usize = 1024;

/// A thread keeps the scratch memory of payloads up to this many bytes: some 20 times as much, for
/// a payload of nothing but small numbers.
const SCRATCH_KEPT: usize = 64 << 10;

/// What `simd-json` works in: it unescapes strings within its input, so it needs a copy, and may
/// read behind it, so the copy is padded.
struct Scratch {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Scratch {
    fn new() -> Self {
        Self {
            input: Vec::new(),
            buffers: Buffers::with_max_depth(0, RECURSION_LIMIT),
            tape: Tape(Vec::new()),
        }
    }

    fn decode<T: DeserializeOwned>(&mut self, json: &str) -> Option<T> {
        self.input.clear();
        self.input.extend_from_slice(json.as_bytes());
        self.input.resize(json.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new()));
        let filled = fill_tape_padded(&mut self.input, json.len(), &mut self.buffers, &mut tape);
        if filled.is_err() {
            return None;
        }
        let mut deserializer = Deserializer::from_tape(tape);
        let decoded = T::deserialize(&mut deserializer).ok();
        self.tape = deserializer.into_tape().reset();
        decoded
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// Decodes a validated object. `serde_json` has the last word: what `simd-json` cannot decode is
/// tried again with it, so that the verdict and the error are its own at every size.
pub(super) fn owned<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    if json.len() >= SIMD_JSON_FROM
        && let Some(decoded) = by_simd_json(json)
    {
        return Ok(decoded);
    }
    serde_json::from_str(json)
}

fn by_simd_json<T: DeserializeOwned>(json: &str) -> Option<T> {
    // None while `T`'s own `Deserialize` decodes another payload, and gone when a destructor does
    // as its thread ends: then there is just nothing to reuse.
    let kept = SCRATCH.try_with(Cell::take).ok().flatten();
    let mut scratch = kept.unwrap_or_else(Scratch::new);
    let decoded = scratch.decode(json);
    if json.len() <= SCRATCH_KEPT {
        // Not kept where the thread has ended its thread-locals.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    }
    decoded
}
