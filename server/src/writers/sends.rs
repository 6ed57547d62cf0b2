//! Sends to many connections: to sockets with one system call where io_uring is available, otherwise with one for each.

use std::{io, mem};

use super::io_uring::Ring;
use super::socket::Socket;
use crate::log;

/// A socket, and the bytes to send to it.
pub(super) type Send<'a> = (&'a Socket, &'a [u8]);

/// The number of bytes that the socket took.
pub(super) type Sent = io::Result<usize>;

pub(super) struct Sends {
    /// Whether io_uring is allowed and was not tried yet: most servers need only the first writer's.
    is_untried: bool,
    ring: Option<Ring>,
    sent: Vec<Option<Sent>>,
}

impl Sends {
    /// Sends through io_uring if that is `allowed` and available.
    pub(super) fn new(allowed: bool) -> Self {
        Self { is_untried: allowed, ring: None, sent: Vec::new() }
    }

    /// Sends to each socket as much as it takes without waiting, and returns the numbers of bytes.
    pub(super) fn send<'a>(
        &'a mut self,
        sends: &[Send<'_>],
    ) -> impl Iterator<Item = Sent> + use<'a> {
        self.sent.clear();
        self.sent.resize_with(sends.len(), || None);
        // A single send gains nothing from io_uring.
        let is_many =
            sends.iter().filter(|(socket, _)| socket.descriptor().is_some()).nth(1).is_some();
        if is_many && mem::take(&mut self.is_untried) {
            self.ring = Ring::new();
        }
        if let Some(ring) = self.ring.as_mut().filter(|_| is_many)
            && let Err(error) = ring.send(sends, &mut self.sent)
        {
            log::line(format_args!("io_uring: {error}; from now on each write is a system call"));
            self.ring = None;
        }
        for (sent, (socket, bytes)) in self.sent.iter_mut().zip(sends) {
            sent.get_or_insert_with(|| socket.stream().try_write(bytes));
        }
        self.sent.drain(..).flatten()
    }
}
