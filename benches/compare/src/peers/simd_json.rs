use serde::de::DeserializeOwned;
use simd_json::prelude::*;
use simd_json::{Buffers, Deserializer, INPUT_PADDING, Tape, fill_tape_padded};

use super::{Peer, accepted};
use crate::workloads::Line;

/// The memory for a tape. `simd-json` unescapes strings within its input, so it works on a copy,
/// and the time of the copy counts. All memory is reused from one message to the next.
pub struct Scratch {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: Vec::new(), buffers: Buffers::default(), tape: Tape::null() }
    }
}

impl Scratch {
    pub fn decode<T: DeserializeOwned>(&mut self, json: &[u8]) -> simd_json::Result<T> {
        let mut deserializer = Deserializer::from_tape(self.fill(json)?);
        let decoded = T::deserialize(&mut deserializer);
        self.tape = deserializer.into_tape().reset();
        decoded
    }

    /// The caller gives the tape back to `self.tape`.
    fn fill(&mut self, json: &[u8]) -> simd_json::Result<Tape<'_>> {
        self.input.clear();
        self.input.extend_from_slice(json);
        self.input.resize(json.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape::null()).reset();
        fill_tape_padded(&mut self.input, json.len(), &mut self.buffers, &mut tape)?;
        Ok(tape)
    }
}

/// The five fields, found in one walk over the members of the root.
#[derive(Default)]
struct Fields<'a> {
    action: Option<&'a str>,
    event: Option<&'a str>,
    channel_name: Option<&'a str>,
    request_id: Option<&'a str>,
    has_payload: bool,
}

impl<'a> Fields<'a> {
    fn of(tape: &Tape<'a>) -> Option<Self> {
        let mut fields = Self::default();
        for (key, value) in tape.as_value().as_object()?.iter() {
            match key {
                "action" => fields.action = value.into_string(),
                "event" => fields.event = value.into_string(),
                "channelName" => fields.channel_name = value.into_string(),
                "requestId" => fields.request_id = value.into_string(),
                "payload" => fields.has_payload = value.is_object(),
                _ => {}
            }
        }
        Some(fields)
    }

    fn are_complete(&self) -> bool {
        const ACTIONS: [&str; 7] = [
            "JOIN_CHANNEL",
            "LEAVE_CHANNEL",
            "BROADCAST",
            "PRESENCE",
            "SYSTEM",
            "ERROR",
            "CONNECT",
        ];
        self.action.is_some_and(|action| ACTIONS.contains(&action))
            && self.event.is_some()
            && self.channel_name.is_some()
            && self.request_id.is_some()
            && self.has_payload
    }
}

/// Does not look into a presence payload.
#[derive(Default)]
pub struct SimdJson(Scratch);

impl Peer for SimdJson {
    const NAME: &'static str = "simd-json";

    fn parse(&mut self, line: &Line) -> bool {
        let Ok(tape) = self.0.fill(&line.frame) else { return false };
        let fields = Fields::of(&tape).filter(Fields::are_complete).ok_or(());
        let accepted = accepted(&fields);
        self.0.tape = tape.reset();
        accepted
    }
}
