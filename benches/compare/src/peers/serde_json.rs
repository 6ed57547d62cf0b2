use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::{Peer, accepted};
use crate::workloads::Line;

/// Parses into a borrowing struct whose payload is a `&RawValue`. Does not look into a presence
/// payload.
#[derive(Default)]
pub struct SerdeJson;

impl Peer for SerdeJson {
    const NAME: &'static str = "serde_json";

    fn parse(&mut self, line: &Line) -> bool {
        let parsed = serde_json::from_slice::<Envelope<'_, &RawValue>>(&line.frame);
        accepted(&parsed) && parsed.is_ok_and(|message| message.payload.get().starts_with('{'))
    }
}
