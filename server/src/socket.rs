//! Closes streams in such a way that the client loses nothing that it was sent.

use std::io;
use std::time::Duration;

use pondwire::room::Unsent;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::budget::{self, Budget};

/// A client that was asked to close counts as done after this much silence.
const QUIET: Duration = Duration::from_millis(300);

/// The most bytes that are read from a client whose connection is closing: more than the rest of any
/// message that it may be sending.
const DRAINED: usize = 16 << 20;

/// Frames are small and are flushed once no more are queued, so Nagle's algorithm would only delay them. The
/// connection works without this option, so a failure is ignored.
pub(crate) fn set_nodelay(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}

/// Waits until a client has sent its first byte, which stays unread, or has ended its direction.
///
/// [`TcpStream::readable`] may return although nothing has arrived, and does for a new socket.
///
/// # Errors
/// The socket has failed.
pub(crate) async fn has_begun(stream: &TcpStream) -> io::Result<()> {
    stream.peek(&mut [0]).await.map(drop)
}

/// Lets the kernel end a connection whose client has acknowledged nothing, or had no space for more, for this long.
/// Otherwise a client that has vanished would be noticed after a quarter of an hour.
#[cfg(target_os = "linux")]
pub(crate) fn set_user_timeout(stream: &TcpStream, time: Duration) {
    // Not possible for a socket that is no TCP, whose other end has it then.
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(time));
}

/// Not available.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn set_user_timeout(_: &TcpStream, _: Duration) {}

/// Sets TCP's congestion control of a socket; if it listens, of the connections that it accepts from now on.
///
/// # Errors
/// The kernel's error.
#[cfg(target_os = "linux")]
pub(crate) fn set_congestion_control(
    socket: &impl std::os::fd::AsFd,
    name: &str,
) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_congestion(name.as_bytes())
}

/// Not available: always fails with `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set_congestion_control<S>(_: &S, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Fails if [`set_congestion_control`] would.
pub(crate) fn check_congestion_control(name: &str) -> io::Result<()> {
    let socket = TcpSocket::new_v4().or_else(|_| TcpSocket::new_v6())?;
    set_congestion_control(&socket, name)
}

/// Writes all that a writer has not sent.
pub(crate) async fn write_unsent(
    stream: &mut (impl AsyncWrite + Unpin),
    unsent: &mut Unsent,
) -> io::Result<()> {
    while let Some(bytes) = unsent.peek() {
        let written = stream.write(bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        unsent.advance(written);
    }
    Ok(())
}

/// Ends the stream and reads until the client ends it, too. Closing a socket with unread bytes resets the
/// connection, and the client may lose the last bytes that it was sent.
pub(crate) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    drain(&mut stream, Duration::MAX).await;
    Ok(())
}

/// [`linger`] for a client that may still be sending: some clients treat an end of the stream before they
/// have read the answer as an error.
pub(crate) async fn discard(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    drain(&mut stream, QUIET).await;
    linger(stream).await
}

/// Reads and discards bytes until none has arrived for `quiet`, or [`DRAINED`] bytes have.
async fn drain(stream: &mut (impl AsyncRead + Unpin), quiet: Duration) {
    let mut bytes = vec![0; 16 << 10];
    let (mut left, mut budget) = (DRAINED, Budget::new(budget::CONNECTION));
    while left > 0
        && let Ok(read @ 1..) = timeout(quiet, stream.read(&mut bytes)).await.unwrap_or(Ok(0))
    {
        left = left.saturating_sub(read);
        budget.charge(read);
        budget.yield_if_spent().await;
    }
}
