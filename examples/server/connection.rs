//! One connection: what is received goes to its user, what waits in its outbox is sent, and it
//! ends with the close code that says why.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondwire::outbox::Batch;
use pondwire::{Control, Outbox, OutboxOptions, OutboxReader, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Error, Message};

use super::Server;
use super::http::{self, Socket, Stream};
use super::user::User;

/// How long the HTTP request may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the end may take: to write what is left and to read until the client has closed.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a client that was told to close must have sent nothing to be taken to be done.
const QUIET: Duration = Duration::from_millis(300);

/// What may wait for a connection. More disconnects it: whoever publishes never waits for a slow
/// reader, and a reader never gets a stream with a hole in it.
const WAITING: OutboxOptions = OutboxOptions {
    policy: Policy::Disconnect { max_age: None },
    max_frames: 1024,
    max_bytes: 8 << 20,
    max_control_frames: 256,
    max_control_bytes: 2 << 20,
};

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
    /// A frame is half written and will never be written whole.
    Stuck,
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
    let (outbox, mut queue) = Outbox::new(WAITING);
    let mut user = User::connect(Arc::clone(&server), outbox);
    let aborted = queue.aborted();
    let mut ending = pin!(async {
        tokio::select! {
            _ = aborted => {
                server.slow_consumers.fetch_add(1, Ordering::Relaxed);
                End::TooSlow
            }
            _ = stopping.wait_for(|stopping| *stopping) => End::Stopping,
        }
    });
    let end = relay(&mut socket, &mut user, &mut queue, &mut ending).await;
    drop(user);
    // The connection is over either way, and there is nobody left to tell.
    let _ = timeout(CLOSING, close(socket, queue, end)).await;
}

/// Receives and sends until one of them ends, or `ending` says so.
///
/// What is being sent is written before the next message is received. So a client that does not
/// read its answers is not read from either, and the library never holds half a frame when
/// frames are written past it.
async fn relay(
    socket: &mut Socket,
    user: &mut User,
    queue: &mut OutboxReader,
    ending: &mut (impl Future<Output = End> + Unpin),
) -> End {
    loop {
        tokio::select! {
            batch = queue.next_batch() => {
                // Without a batch it was aborted, as `ending` knows.
                let Some(batch) = batch else { return ending.await };
                if let Some(end) = send(socket, batch, ending).await {
                    return end;
                }
            }
            received = socket.next() => match received {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    user.receive(message.as_payload());
                }
                // The library has its pong ready.
                Some(Ok(message)) if !message.is_close() => tokio::select! {
                    flushed = socket.flush() => if flushed.is_err() { return End::Closed },
                    end = &mut *ending => return end,
                },
                Some(Err(Error::PayloadTooLong { .. })) => {
                    user.refuse_oversize();
                    return End::TooLarge;
                }
                _ => return End::Closed,
            },
            end = &mut *ending => return end,
        }
    }
}

/// Writes whole WebSocket frames, many at a time, from the memory that all members' connections
/// share.
///
/// When it is told to end meanwhile it writes the rest of the batch first, or else a close frame
/// would come within another.
async fn send(
    socket: &mut Socket,
    mut batch: Batch<'_>,
    ending: &mut (impl Future<Output = End> + Unpin),
) -> Option<End> {
    let stream = socket.get_mut();
    tokio::select! {
        written = stream.write_all_buf(&mut batch) => written.is_err().then_some(End::Closed),
        end = ending => match timeout(CLOSING, stream.write_all_buf(&mut batch)).await {
            Ok(Ok(())) => Some(end),
            _ => Some(End::Stuck),
        }
    }
}

async fn close(mut socket: Socket, mut queue: OutboxReader, end: End) -> Result<(), Error> {
    let code = match end {
        End::Closed => None,
        End::Stuck => return Ok(()),
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
async fn close_too_large(mut stream: Stream, queue: &mut OutboxReader) -> io::Result<()> {
    while let Some(mut batch) = queue.try_batch() {
        stream.write_all_buf(&mut batch).await?;
    }
    let close = Control::close(1009, "").expect("a code that may be sent");
    stream.write_all(close.wire()).await?;
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
