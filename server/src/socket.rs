//! Ends of TCP streams at which the client loses nothing that it was sent.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::budget::{self, Budget};

/// How long a client that was asked to close must be silent to be taken to be done.
const QUIET: Duration = Duration::from_millis(300);

/// The most bytes that are read of a client whose connection is over: more than a message that it may
/// have been in the midst of sending.
const DRAINED: usize = 16 << 20;

/// Ends the stream and reads until the client does, too: closing a socket with bytes unread
/// resets the connection, and the client may lose what it was sent last.
pub(crate) async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    drain(&mut stream, Duration::MAX).await;
    Ok(())
}

/// [`linger`] with a client that may be in the midst of sending: an end of the stream before it
/// has read the answer is an error to some.
pub(crate) async fn discard(mut stream: TcpStream) -> io::Result<()> {
    drain(&mut stream, QUIET).await;
    linger(stream).await
}

/// Reads and drops bytes until none came for `quiet`, or [`DRAINED`] of them did.
async fn drain(stream: &mut TcpStream, quiet: Duration) {
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
