//! One connection: what is received goes to its user, what waits in its outbox is sent, and it
//! ends with the close code that says why.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pondwire::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Error, Message};

use super::Server;
use super::http::{self, Socket, Stream};
use super::outbox::{Queue, outbox};
use super::user::User;

/// How long the HTTP request may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the end may take: to write what is left and to read until the client has closed.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a client that was told to close must have sent nothing to be taken to be done.
const QUIET: Duration = Duration::from_millis(300);

/// How many frames are taken out of the queue at a time.
const BATCH: usize = 128;

/// Why a connection ends.
enum End {
    /// The client closed it or broke the WebSocket protocol; the library has its answer ready.
    Closed,
    /// A message was larger than the limit.
    TooLarge,
    /// The client does not read as fast as frames come for it.
    TooSlow,
    /// The server ends.
    Stopping,
}

/// Serves a connection from its HTTP request to its end.
pub(crate) async fn run(
    stream: TcpStream,
    server: Arc<Server>,
    mut stopping: watch::Receiver<bool>,
) {
    // Frames are small and are flushed when there are no more: nothing to wait for. Not a reason
    // to refuse service if it fails.
    let _ = stream.set_nodelay(true);
    let about = format!(
        "pondwire's example server: PondSocket on /api/socket, slow consumers disconnected: {}\n",
        server.slow_consumers.load(Ordering::Relaxed),
    );
    let Ok(Ok(Some(mut socket))) = timeout(HANDSHAKE, http::accept(stream, &about)).await else {
        return;
    };
    let (outbox, mut queue, overflow) = outbox();
    let mut user = User::connect(Arc::clone(&server), outbox);
    let end = tokio::select! {
        end = relay(&mut socket, &mut user, &mut queue) => end,
        () = overflow.happened() => End::TooSlow,
        _ = stopping.wait_for(|stopping| *stopping) => End::Stopping,
    };
    drop(user);
    if matches!(end, End::TooSlow) {
        server.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }
    // The connection is over either way, and there is nobody left to tell.
    let _ = timeout(CLOSING, close(socket, queue, end)).await;
}

/// Receives and sends until one of them ends.
///
/// All that is sent is flushed before the next message is received. So a client that does not
/// read its answers is not read from either, and the library never holds half a frame when
/// this returns.
async fn relay(socket: &mut Socket, user: &mut User, queue: &mut Queue) -> End {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let done = tokio::select! {
            () = queue.recv_many(&mut batch, BATCH) => send(socket, &mut batch).await,
            received = socket.next() => match received {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    user.receive(&Bytes::from(message.into_payload()));
                    Ok(())
                }
                // The library has its pong ready.
                Some(Ok(message)) if !message.is_close() => socket.flush().await,
                Some(Err(Error::PayloadTooLong { .. })) => {
                    user.refuse_oversize();
                    return End::TooLarge;
                }
                _ => return End::Closed,
            },
        };
        if done.is_err() {
            return End::Closed;
        }
    }
}

/// Sends the frames, with as few writes as the library can.
async fn send(socket: &mut Socket, batch: &mut Vec<Frame>) -> Result<(), Error> {
    for frame in batch.drain(..) {
        // Shares the frame's memory with all the other members' connections.
        socket.feed(Message::text(frame.json_bytes())).await?;
    }
    socket.flush().await
}

async fn close(mut socket: Socket, mut queue: Queue, end: End) -> Result<(), Error> {
    let code = match end {
        End::Closed => None,
        End::TooSlow => Some(CloseCode::SERVICE_OVERLOAD),
        End::Stopping => Some(CloseCode::GOING_AWAY),
        End::TooLarge => return Ok(close_too_large(socket.into_inner(), &mut queue).await?),
    };
    if code.is_some() {
        socket.send(Message::close(code, "")).await?;
    }
    while let Some(Ok(_)) = socket.next().await {}
    Ok(linger(socket.into_inner()).await?)
}

/// Sends the answers that are left and closes with code 1009.
///
/// The library would close by itself, but let nobody say anything before: a client would learn
/// the code and not the reason. So it is left out, nothing of it being half sent; a frame of ours
/// has its WebSocket form anyway.
async fn close_too_large(mut stream: Stream, queue: &mut Queue) -> io::Result<()> {
    const CLOSE_1009: [u8; 4] = [0x88, 2, 0x03, 0xF1];
    let mut last = Vec::new();
    while let Some(frame) = queue.try_recv() {
        last.extend_from_slice(frame.wire());
    }
    last.extend_from_slice(&CLOSE_1009);
    stream.write_all(&last).await?;
    // The client may be in the midst of its message: an end of the stream before it has read the
    // close frame is an error to some.
    let mut discarded = vec![0; 64 << 10];
    while let Ok(1..) = timeout(QUIET, stream.read(&mut discarded)).await.unwrap_or(Ok(0)) {}
    linger(stream).await
}

/// Ends the stream and reads until the client does, too: closing a socket with bytes unread
/// resets the connection, and the client may lose what it was sent last.
async fn linger(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    copy(&mut stream, &mut sink()).await?;
    Ok(())
}
