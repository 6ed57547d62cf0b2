//! Streams of any type, as the kind of stream that writers write to.
//!
//! Writers hand many descriptors to the kernel at once, so they need a socket. A TLS stream or a stream of
//! HTTP/2 is none: a pair of sockets stands between it and the writers, and bytes are copied.
//!
//! A bridged connection costs two descriptors more than a plain one, two buffers of 8 KiB, and for each
//! write of the server one more write and one more read.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest that the last bytes may take once the connection has been served.
const FLUSHED: Duration = Duration::from_millis(500);

/// Two sockets that are connected with each other.
#[cfg(unix)]
pub(crate) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    // Not TCP, but used only through calls that all stream sockets know.
    let convert = |stream: UnixStream| {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(OwnedFd::from(stream).into())
    };
    let (one, other) = UnixStream::pair()?;
    Ok((convert(one)?, convert(other)?))
}

/// Two sockets that are connected with each other.
#[cfg(not(unix))]
pub(crate) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Std};

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = Std::connect(listener.local_addr()?)?;
    let own = one.local_addr()?;
    // Another process may have connected first.
    let other = loop {
        let (accepted, peer) = listener.accept()?;
        if peer == own {
            break accepted;
        }
    };
    let convert = |stream: Std| {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        TcpStream::from_std(stream)
    };
    Ok((convert(one)?, convert(other)?))
}

/// Lets `serve` serve the stream through a socket, to its end.
///
/// # Errors
/// There is no descriptor left.
pub(crate) async fn bridge<F: Future<Output = ()>>(
    stream: impl AsyncRead + AsyncWrite,
    serve: impl FnOnce(TcpStream) -> F,
) -> io::Result<()> {
    let (inner, outer) = pair()?;
    let copying = async move {
        let (mut from_client, mut to_client) = split(stream);
        let (mut from_server, mut to_server) = outer.into_split();
        let received = async {
            copy(&mut from_client, &mut to_server).await?;
            to_server.shutdown().await
        };
        let sent = async {
            copy(&mut from_server, &mut to_client).await?;
            to_client.shutdown().await
        };
        // An error of either ends both, and so closes the socket that the server has the other end of.
        let _ = tokio::try_join!(received, sent);
    };
    let mut copying = pin!(copying);
    let mut serving = pin!(serve(inner));
    tokio::select! {
        () = &mut serving => drop(timeout(FLUSHED, copying).await),
        () = &mut copying => serving.await,
    }
    Ok(())
}
