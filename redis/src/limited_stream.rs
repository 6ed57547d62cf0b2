//! A stream that ends rather than fill the memory of its reader.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that were read since something whole was last made of them.
#[derive(Clone, Default)]
pub(crate) struct Unfinished(Arc<AtomicUsize>);

impl Unfinished {
    /// Something whole was made of what was read.
    pub(crate) fn clear(&self) {
        // Relaxed, as everywhere here: the reader does both, on one task.
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Fails once more than `limit` bytes make nothing whole: the parser above keeps them all.
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
