//! A stream that fails before an incomplete reply fills its reader's memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of bytes read since the parser last finished a value.
#[derive(Clone, Default)]
pub(crate) struct Unfinished(Arc<AtomicUsize>);

impl Unfinished {
    /// Resets the count: the parser has finished a value.
    pub(crate) fn clear(&self) {
        // Relaxed, as everywhere here: the same task reads and clears.
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Fails once more than `limit` bytes have been read without a finished value, because the parser buffers
/// all of them.
pub(crate) struct LimitedStream<S> {
    stream: S,
    unfinished: Unfinished,
    limit: usize,
}

impl<S> LimitedStream<S> {
    pub(crate) const fn new(stream: S, unfinished: Unfinished, limit: usize) -> Self {
        Self { stream, unfinished, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        let unfinished = self.unfinished.0.fetch_add(read, Ordering::Relaxed) + read;
        if unfinished > self.limit {
            return Poll::Ready(Err(io::Error::other("a reply is too large")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
