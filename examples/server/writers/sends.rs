//! Sends on many sockets: with one system call where there is io_uring, else with one for each.

use std::io;
use std::vec::Drain;

use tokio::net::tcp::OwnedWriteHalf;

#[cfg(not(target_os = "linux"))]
use super::no_ring as ring;
#[cfg(target_os = "linux")]
use super::ring;

/// What one socket is sent.
pub(super) type Send<'a> = (&'a OwnedWriteHalf, &'a [u8]);

/// How much of it the socket took.
pub(super) type Sent = io::Result<usize>;

pub(super) struct Sends {
    ring: Option<ring::Ring>,
    sent: Vec<Sent>,
}

impl Sends {
    /// With io_uring if that is `allowed`, and can be had.
    pub(super) fn new(allowed: bool) -> Self {
        Self { ring: if allowed { ring::Ring::new() } else { None }, sent: Vec::new() }
    }

    /// Sends to each socket as much as it takes at once; how much that was.
    pub(super) fn send(&mut self, sends: &[Send<'_>]) -> Drain<'_, Sent> {
        self.sent.clear();
        // A single one gains nothing.
        if let Some(ring) = self.ring.as_mut().filter(|_| sends.len() > 1) {
            self.sent.extend(sends.iter().map(|_| Err(io::ErrorKind::Other.into())));
            if ring.send(sends, &mut self.sent).is_err() {
                // What it has not sent is lost, and with it these connections.
                self.ring = None;
            }
        } else {
            self.sent.extend(sends.iter().map(|(stream, bytes)| stream.try_write(bytes)));
        }
        self.sent.drain(..)
    }
}
