//! A stream whose end can be waited for while nobody reads it.
//!
//! hyper either reads nothing during a request, or takes a client that has closed only its own direction for one that is
//! gone, before it has answered it. A request that waits for others must notice the end, any other need not.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are read ahead to find the end.
const AHEAD: usize = 8 << 10;

/// A stream; clones are the same one.
pub(crate) struct Watched<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    /// `None` once it was taken.
    stream: Option<S>,
    /// What arrived before the end was found.
    ahead: BytesMut,
}

impl<S> Clone for Watched<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(State { stream: Some(stream), ahead: BytesMut::new() })))
    }

    /// Takes the stream out, with the bytes that were received behind `received`.
    pub(crate) fn take_stream(&self, received: Bytes) -> Option<(S, Bytes)> {
        let State { stream, ahead } = &mut *self.0.lock();
        let ahead = mem::take(ahead);
        let received =
            if ahead.is_empty() { received } else { [received, ahead.freeze()].concat().into() };
        Some((stream.take()?, received))
    }

    /// Waits until the client has sent its last byte, or the stream has failed. What it sends before is kept for the
    /// next reader; if it is much, the end is not found.
    ///
    /// Only for the task that reads the stream: a stream wakes one task.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| self.poll_ended(cx)).await;
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let State { stream, ahead } = &mut *self.0.lock();
        let Some(stream) = stream else { return Poll::Ready(()) };
        while ahead.len() < AHEAD {
            let mut bytes = [0; 512];
            let mut read = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => ahead.extend_from_slice(read.filled()),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Lets `poll` use the stream.
    fn with<T>(
        &self,
        poll: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0.lock().stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        {
            let ahead = &mut self.0.lock().ahead;
            if !ahead.is_empty() {
                let len = ahead.len().min(buffer.remaining());
                buffer.put_slice(&ahead[..len]);
                ahead.advance(len);
                return Poll::Ready(Ok(()));
            }
        }
        self.with(|stream| stream.poll_read(cx, buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::{AHEAD, Watched};

    fn has_ended(watched: &Watched<impl super::AsyncRead + super::AsyncWrite + Unpin>) -> bool {
        pin!(watched.ended()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_end_is_found_and_nothing_is_lost() {
        let (mut client, stream) = duplex(4 * AHEAD);
        let mut watched = Watched::new(stream);
        assert!(!has_ended(&watched));
        client.write_all(b"abcdef").await.unwrap();
        assert!(!has_ended(&watched));
        let mut first = [0; 2];
        watched.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"ab");
        client.write_all(b"gh").await.unwrap();
        drop(client);
        assert!(has_ended(&watched));
        let (mut stream, received) = watched.take_stream(Bytes::from_static(b"_")).unwrap();
        assert_eq!(received, "_cdefgh");
        assert_eq!(stream.read(&mut first).await.unwrap(), 0);
        assert!(watched.take_stream(Bytes::new()).is_none());
        assert!(watched.read(&mut first).await.is_err());
    }

    #[tokio::test]
    async fn it_is_not_looked_for_behind_many_bytes() {
        let (mut client, stream) = duplex(4 * AHEAD);
        let mut watched = Watched::new(stream);
        client.write_all(&[b'x'; 3 * AHEAD]).await.unwrap();
        drop(client);
        assert!(!has_ended(&watched));
        let mut all = Vec::new();
        watched.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [b'x'; 3 * AHEAD]);
        assert!(has_ended(&watched));
    }
}
