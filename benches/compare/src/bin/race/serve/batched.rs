//! Servers by users that care about speed: a socket's messages are sent by a task of their own, which buffers all
//! messages that wait and flushes once.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{self, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio_websockets::{Message, ServerBuilder};

use super::floor::ACCEPTED;

/// Messages that a connection may be behind.
const BEHIND: usize = 1024;

/// The bytes that a connection buffers before it writes: all of eight messages of 4 KB.
const BUFFERED: usize = 64 << 10;

/// Passes each message to `$feed`, and calls `$flush` when none is waiting.
macro_rules! forward {
    ($messages:expr, $message:ident => $feed:expr, $flush:expr) => {
        while let Ok($message) = $messages.recv().await {
            if $feed.is_err() {
                return;
            }
            while let Ok($message) = $messages.try_recv() {
                if $feed.is_err() {
                    return;
                }
            }
            if $flush.is_err() {
                return;
            }
        }
    };
}

pub(super) async fn axum() -> io::Result<()> {
    let app = Router::new().fallback(any(upgrade)).with_state(Sender::new(BEHIND));
    let listener = super::listener().await?.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await
}

async fn upgrade(upgrade: WebSocketUpgrade, State(all): State<Sender<Utf8Bytes>>) -> Response {
    // Before the response, so that a client that has it misses no message.
    let messages = all.subscribe();
    let upgrade = upgrade.write_buffer_size(BUFFERED).max_write_buffer_size(usize::MAX);
    upgrade.on_upgrade(|socket| serve_axum(socket, all, messages))
}

async fn serve_axum(socket: WebSocket, all: Sender<Utf8Bytes>, mut messages: Receiver<Utf8Bytes>) {
    let (mut sink, mut stream) = socket.split();
    tokio::spawn(async move {
        forward!(messages, text => sink.feed(ws::Message::Text(text)).await, sink.flush().await);
    });
    while let Some(Ok(message)) = stream.next().await {
        if let ws::Message::Text(text) = message {
            drop(all.send(text));
        }
    }
}

/// Serves each connection by a task, with the channel that all share.
async fn accept<T: Clone, F>(serve: impl Fn(TcpStream, Sender<T>) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = super::listener().await?;
    let all = Sender::new(BEHIND);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, all.clone()));
    }
}

pub(super) async fn tokio_websockets() -> io::Result<()> {
    accept(serve_tokio_websockets).await
}

async fn serve_tokio_websockets(stream: TcpStream, all: Sender<tokio_websockets::Payload>) {
    let mut messages = all.subscribe();
    let config = tokio_websockets::Config::default().flush_threshold(BUFFERED);
    let Ok((_, socket)) = ServerBuilder::new().config(config).accept(stream).await else { return };
    let (mut sink, mut stream) = socket.split();
    tokio::spawn(async move {
        forward!(messages, text => sink.feed(Message::text(text)).await, sink.flush().await);
    });
    while let Some(Ok(message)) = stream.next().await {
        if message.is_text() {
            drop(all.send(message.into_payload()));
        }
    }
}

pub(super) async fn fastwebsockets() -> io::Result<()> {
    accept(serve_fastwebsockets).await
}

async fn serve_fastwebsockets(mut stream: TcpStream, all: Sender<Bytes>) {
    let mut messages = all.subscribe();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    if stream.write_all(ACCEPTED).await.is_err() {
        return;
    }
    let (read, write) = stream.into_split();
    let write = BufWriter::with_capacity(BUFFERED, write);
    let (mut read, mut write) = fastwebsockets::after_handshake_split(read, write, Role::Server);
    tokio::spawn(async move {
        forward!(
            messages,
            text => write.write_frame(Frame::text(Payload::Borrowed(&text))).await,
            write.flush().await
        );
    });
    let mut answer = async |_| Ok::<_, io::Error>(());
    while let Ok(frame) = read.read_frame(&mut answer).await {
        if frame.opcode == OpCode::Text {
            drop(all.send(Bytes::copy_from_slice(&frame.payload)));
        }
    }
}
