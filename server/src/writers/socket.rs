//! A connection's socket, as the writers use it.

#[cfg(unix)]
use std::os::fd::{AsRawFd, RawFd};

use tokio::net::tcp::OwnedWriteHalf;

pub(super) struct Socket {
    stream: OwnedWriteHalf,
    /// Tokio keeps it two pointers away, which cost every send a cache miss.
    #[cfg(unix)]
    descriptor: RawFd,
}

impl Socket {
    pub(super) fn new(stream: OwnedWriteHalf) -> Self {
        Self {
            #[cfg(unix)]
            descriptor: stream.as_ref().as_raw_fd(),
            stream,
        }
    }

    pub(super) const fn stream(&self) -> &OwnedWriteHalf {
        &self.stream
    }

    pub(super) fn into_stream(self) -> OwnedWriteHalf {
        self.stream
    }
}

#[cfg(unix)]
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor
    }
}
