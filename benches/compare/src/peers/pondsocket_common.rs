use std::str;

use pondsocket_common::{parse_channel_event, parse_client_message};

use super::{Peer, accepted};
use crate::workloads::{Line, Side};

/// Its parser takes text, so the UTF-8 check is added to its time.
#[derive(Default)]
pub struct PondsocketCommon;

impl Peer for PondsocketCommon {
    const NAME: &'static str = "pondsocket-common";

    fn parse(&mut self, line: &Line) -> bool {
        let Ok(text) = str::from_utf8(&line.frame) else { return false };
        match line.side {
            Side::Client => accepted(&parse_client_message(text)),
            Side::Server => accepted(&parse_channel_event(text)),
        }
    }
}
