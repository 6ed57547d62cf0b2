//! Linux's io_uring, for sends that complete before the call returns.

#![allow(unsafe_code)]

use std::io;

use io_uring::opcode::Send as SendCode;
use io_uring::types::Fd;
use io_uring::{IoUring, Probe};

use super::socket::Socket;

/// The most sends in one system call.
const MOST: u32 = 512;

/// A send neither waits for space nor raises a signal when the peer has disconnected.
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// `None` after an error.
pub(super) struct Ring(Option<IoUring>);

impl Ring {
    /// `None` if the kernel has no io_uring, or does not let this process use it.
    pub(super) fn new() -> Option<Self> {
        let ring = IoUring::new(MOST).ok()?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).ok()?;
        probe.is_supported(SendCode::CODE).then_some(Self(Some(ring)))
    }

    /// Sends to each socket as much as it takes without waiting, and stores the number of bytes in `sent`. For pipes it
    /// stays `None`.
    ///
    /// # Errors
    /// The kernel's error. The sends that the kernel did not accept are left `None`, and the ring cannot be
    /// used again.
    pub(super) fn send(
        &mut self,
        sends: &[(&Socket, &[u8])],
        sent: &mut [Option<io::Result<usize>>],
    ) -> io::Result<()> {
        let mut ring = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        for (sends, sent) in sends.chunks(MOST as usize).zip(sent.chunks_mut(MOST as usize)) {
            // An error, like a panic, drops the ring here, while the bytes are still borrowed.
            send(&mut ring, sends, sent)?;
        }
        self.0 = Some(ring);
        Ok(())
    }
}

/// [`Ring::send`] for as many sends as the ring has space for.
fn send(
    ring: &mut IoUring,
    sends: &[(&Socket, &[u8])],
    sent: &mut [Option<io::Result<usize>>],
) -> io::Result<()> {
    let mut left = 0;
    for (place, (socket, bytes)) in sends.iter().enumerate() {
        let Some(descriptor) = socket.descriptor() else { continue };
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = SendCode::new(Fd(descriptor), bytes.as_ptr(), len).flags(FLAGS).build();
        let entry = entry.user_data(place as u64);
        // SAFETY: the kernel reads these bytes, on this socket, until the operation has completed. They are
        // borrowed for as long as this function runs, which returns when all have completed, or with an
        // error. After an error the ring is dropped before the borrow ends: a send that the kernel has not
        // taken from the ring never begins, and one that it has taken is complete, because a send with
        // `MSG_DONTWAIT` is done or refused as it is taken.
        let pushed = unsafe { ring.submission().push(&entry) };
        pushed.map_err(io::Error::other)?;
        left += 1;
    }
    while left > 0 {
        // On an error this call has submitted nothing, but sends submitted before may be complete.
        let submitted = ring.submit_and_wait(left);
        for completion in ring.completion() {
            let result = completion.result();
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            sent[completion.user_data() as usize] = Some(result);
            left -= 1;
        }
        match submitted {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
