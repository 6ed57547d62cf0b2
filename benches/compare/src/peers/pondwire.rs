use pondwire::{ChannelEvent, ClientMessage};

use super::{Peer, accepted};
use crate::workloads::{Line, Side};

#[derive(Default)]
pub struct Pondwire;

impl Peer for Pondwire {
    const NAME: &'static str = "pondwire";

    fn parse(&mut self, line: &Line) -> bool {
        match line.side {
            Side::Client => accepted(&ClientMessage::parse(&line.frame)),
            Side::Server => accepted(&ChannelEvent::parse(&line.frame)),
        }
    }
}
