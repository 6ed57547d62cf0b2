//! Sends of the same bytes to many sockets through io_uring.

#![allow(unsafe_code)] // A send is given a pointer.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::opcode::Send;
use io_uring::types::Fd;
use io_uring::{IoUring, squeue};

/// The most sends in one system call.
const MOST: usize = 64;

/// Flags of `send`: do not wait for space, raise no signal when the peer has disconnected.
const DONT_WAIT: i32 = 0x40;
const NO_SIGNAL: i32 = 0x4000;

pub(super) struct Ring(IoUring);

impl Ring {
    pub(super) fn new() -> io::Result<Self> {
        IoUring::new(MOST as u32).map(Self)
    }

    /// Sends `bytes` to each socket, as many as it takes without waiting, and passes the place of the socket and
    /// the number of bytes to `sent`.
    pub(super) fn send(
        &mut self,
        sockets: &[&TcpStream],
        bytes: &[u8],
        mut sent: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        for (chunk, sockets) in sockets.chunks(MOST).enumerate() {
            for (place, socket) in sockets.iter().enumerate() {
                let entry: squeue::Entry = Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), len)
                    .flags(DONT_WAIT | NO_SIGNAL)
                    .build();
                // SAFETY: the bytes are borrowed until all sends have completed, below; on an error this process
                // ends.
                unsafe { self.0.submission().push(&entry.user_data(place as u64)) }
                    .expect("the ring has space for all");
            }
            let mut left = sockets.len();
            while left > 0 {
                self.0.submit_and_wait(left)?;
                for completion in self.0.completion() {
                    let result = completion.result();
                    let written =
                        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                    sent(chunk * MOST + completion.user_data() as usize, written);
                    left -= 1;
                }
            }
        }
        Ok(())
    }
}
