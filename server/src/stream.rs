//! The streams that connections are served over: sockets, and pipes to streams of any other type.
//!
//! Writers hand the descriptors of many sockets to the kernel at once. A TLS stream is no socket: between it and the
//! writers there is a pipe in memory, and the connection's task copies its bytes.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, split};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::pipe::{Pipe, PipeReader, PipeWriter, pair};

/// The longest that the last bytes may take once the connection has been served.
const FLUSHED: Duration = Duration::from_millis(500);

/// The most bytes that are copied from a client at once.
const PIECE: usize = 8 << 10;

/// What a connection is served over.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Pipe(Pipe),
}

/// The half that receives.
pub(crate) enum ReadHalf {
    Tcp(OwnedReadHalf),
    Pipe(PipeReader),
}

/// The half that sends. Dropping it ends the stream.
pub(crate) enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Pipe(PipeWriter),
}

impl Stream {
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadHalf::Tcp(reader), WriteHalf::Tcp(writer))
            }
            Self::Pipe(Pipe { reader, writer }) => {
                (ReadHalf::Pipe(reader), WriteHalf::Pipe(writer))
            }
        }
    }
}

impl ReadHalf {
    /// Waits until a read would not wait.
    ///
    /// # Errors
    /// The socket has failed.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Pipe(pipe) => {
                pipe.readable().await;
                Ok(())
            }
        }
    }

    /// Appends what has arrived; returns its length, 0 at the end of the stream.
    ///
    /// # Errors
    /// Nothing has arrived, or the socket has failed.
    pub(crate) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Pipe(pipe) => pipe.try_read_buf(buffer),
        }
    }
}

impl WriteHalf {
    /// Writes as much as there is space for.
    ///
    /// # Errors
    /// There is none, or the stream has failed.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Pipe(pipe) => pipe.try_write(bytes),
        }
    }

    /// Waits until there is space, or the stream has failed.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.as_ref().poll_write_ready(cx).map(drop),
            Self::Pipe(pipe) => pipe.poll_space(cx).map(drop),
        }
    }

    /// The socket, if it is one.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream.as_ref()),
            Self::Pipe(_) => None,
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}

/// Lets `serve` serve a stream of any type, through a pipe, to its end. A connection that waits has no buffer for it.
pub(crate) async fn serve_piped<F: Future<Output = ()>>(
    stream: impl AsyncRead + AsyncWrite,
    serve: impl FnOnce(Stream) -> F,
) {
    let (inner, Pipe { reader, writer }) = pair();
    let copying = async move {
        let (mut from_client, mut to_client) = split(stream);
        let received = poll_fn(move |cx| poll_receive(Pin::new(&mut from_client), &writer, cx));
        let sent = async {
            loop {
                let bytes = poll_fn(|cx| reader.poll_take(cx)).await;
                if bytes.is_empty() {
                    return to_client.shutdown().await;
                }
                to_client.write_all(&bytes).await?;
                to_client.flush().await?;
            }
        };
        // An error of either ends both, and so closes the pipe that the server has the other end of.
        let _ = tokio::try_join!(received, sent);
    };
    let mut copying = pin!(copying);
    let mut serving = pin!(serve(Stream::Pipe(inner)));
    tokio::select! {
        () = &mut serving => drop(timeout(FLUSHED, copying).await),
        () = &mut copying => serving.await,
    }
}

/// Copies what arrives from a client, as far as there is space for it, for as long as the server reads it.
fn poll_receive(
    mut from_client: Pin<&mut impl AsyncRead>,
    writer: &PipeWriter,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let space = ready!(writer.poll_space(cx));
        if space == 0 {
            // The server may have more to send.
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [MaybeUninit::uninit(); PIECE];
        let mut read = ReadBuf::uninit(&mut bytes[..space.min(PIECE)]);
        ready!(from_client.as_mut().poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            writer.end();
            return Poll::Ready(Ok(()));
        }
        if writer.try_write(read.filled()).is_err() {
            return Poll::Ready(Ok(()));
        }
    }
}
