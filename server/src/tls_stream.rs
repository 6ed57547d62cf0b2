//! A stream over TLS whose client must send data in its records.
//!
//! The time that a record takes depends little on how much it carries, and `Options::byte_rate` counts what it carries.
//! A client could send each byte in a record of its own, or have the keys updated thirty times for each.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server;

use crate::rate_limit::{Decision, Rate, RateLimiter};

/// The bytes of records that may arrive beside twice the data in them. A record is 22 bytes longer than its data, so none
/// with at least as much data counts.
const BESIDE_DATA: Rate = Rate { per_second: 128 << 10, burst: 512 << 10 };

/// That many of these bytes are charged at once.
const PIECE: u64 = 4 << 10;

/// A socket that counts what it receives.
pub(crate) struct Counted {
    stream: TcpStream,
    received: u64,
}

/// The server's end. A read fails if the client has sent too many bytes besides data.
pub(crate) struct TlsStream {
    stream: server::TlsStream<Counted>,
    /// The bytes of data that were read.
    data: u64,
    /// The bytes besides that were charged.
    charged: u64,
    limiter: RateLimiter,
}

impl Counted {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, received: 0 }
    }
}

impl TlsStream {
    pub(crate) fn new(stream: server::TlsStream<Counted>) -> Self {
        let limiter = RateLimiter::new(None, Some(BESIDE_DATA), Instant::now());
        Self { stream, data: 0, charged: 0, limiter }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream.get_ref().0.stream
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, data, charged, limiter } = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *stream).poll_read(cx, buffer);
        *data += (buffer.filled().len() - before) as u64;
        let beside = stream.get_ref().0.received.saturating_sub(2 * *data);
        let due = beside.saturating_sub(*charged);
        if due >= PIECE {
            *charged = beside;
            if limiter.try_acquire(due as usize, Instant::now) != Decision::Granted {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        polled
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, received } = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(stream).poll_read(cx, buffer);
        *received += (buffer.filled().len() - before) as u64;
        polled
    }
}

/// Writes are those of the field `stream`.
macro_rules! write_to_stream {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                self.stream.is_write_vectored()
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().stream).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
            }
        }
    };
}
write_to_stream!(Counted);
write_to_stream!(TlsStream);
