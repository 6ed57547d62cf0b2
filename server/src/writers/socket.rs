//! A connection's socket, or the pipe that stands for one, as the writers use it.

#[cfg(unix)]
use std::os::fd::{AsRawFd, RawFd};

use crate::stream::WriteHalf;

pub(super) struct Socket {
    stream: WriteHalf,
    /// Tokio keeps it two pointers away, which cost every send a cache miss. `None` for a pipe.
    #[cfg(unix)]
    descriptor: Option<RawFd>,
}

impl Socket {
    pub(super) fn new(stream: WriteHalf) -> Self {
        Self {
            #[cfg(unix)]
            descriptor: stream.socket().map(AsRawFd::as_raw_fd),
            stream,
        }
    }

    pub(super) const fn stream(&self) -> &WriteHalf {
        &self.stream
    }

    pub(super) fn into_stream(self) -> WriteHalf {
        self.stream
    }

    /// The descriptor, if the kernel can send to it.
    #[cfg(unix)]
    pub(super) const fn descriptor(&self) -> Option<RawFd> {
        self.descriptor
    }

    /// No target without descriptors has a [`Ring`](super::io_uring::Ring).
    #[cfg(not(unix))]
    pub(super) const fn descriptor(&self) -> Option<std::convert::Infallible> {
        None
    }
}
