//! Replaces `io_uring` on targets without it.

use std::convert::Infallible;
use std::io;

use tokio::net::tcp::OwnedWriteHalf;

pub(super) struct Ring(Infallible);

impl Ring {
    pub(super) const fn new() -> Option<Self> {
        None
    }

    pub(super) const fn send(
        &mut self,
        _: &[(&OwnedWriteHalf, &[u8])],
        _: &mut [Option<io::Result<usize>>],
    ) -> io::Result<()> {
        match self.0 {}
    }
}
