use sonic_rs::{JsonValueTrait, LazyValue};

use super::envelope::Envelope;
use super::{Peer, accepted};
use crate::workloads::Line;

/// Parses into a borrowing struct whose payload is a checked `LazyValue`. Does not look into a
/// presence payload.
#[derive(Default)]
pub struct SonicRs;

impl Peer for SonicRs {
    const NAME: &'static str = "sonic-rs";

    fn parse(&mut self, line: &Line) -> bool {
        let parsed = sonic_rs::from_slice::<Envelope<'_, LazyValue<'_>>>(&line.frame);
        accepted(&parsed) && parsed.is_ok_and(|message| message.payload.is_object())
    }
}
