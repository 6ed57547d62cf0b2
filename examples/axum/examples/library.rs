//! PondSocket's frames through axum's own WebSockets and event streams, for applications that keep them:
//! `cargo run --example library`.
//!
//! A chat with a single channel, whose members connect in either way. axum writes the heads and answers
//! pings; the frames come from outboxes as streams, and their text is shared by all connections. The
//! package's own example in `src/main.rs` is faster: it sends many frames with one system call, and does
//! not check any of them again.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, future};
use pondwire::outbox::OutboxFrame;
use pondwire::websocket::Opcode;
use pondwire::{
    ClientAction, ClientMessage, Frame, Limits, Outbox, OutboxOptions, OutboxReader, Room, uuid,
};
use tokio::net::TcpListener;

/// The chat's channel. An application with more of them matches the name against a `pondwire::protocol::Pattern`, and
/// has a room for each: messages go to all members of a room, whatever channel they name.
const CHANNEL: &str = "/chat/42";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener).await
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let router = Router::new()
        .route("/socket", get(socket))
        .route("/events", get(events))
        .with_state(Arc::new(Room::new()));
    axum::serve(listener, router).await
}

/// Serves an axum WebSocket.
async fn socket(State(room): State<Arc<Room>>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.max_message_size(Limits::default().max_bytes);
    upgrade.on_upgrade(|socket| run(socket, room))
}

async fn run(socket: WebSocket, room: Arc<Room>) {
    let (outbox, frames) = connect();
    let (sink, mut stream) = socket.split();
    // `forward` sends all queued frames before it flushes.
    let sending = frames.map(|frame| Ok(message_of(frame))).forward(sink);
    let receiving = async {
        let mut membership = None;
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(text) = message else { continue };
            let message = match ClientMessage::parse(text.as_bytes()) {
                Ok(message) => message,
                Err(error) => {
                    outbox.push(Frame::invalid_message(&error));
                    continue;
                }
            };
            let (channel, request) = (message.channel_name(), message.request_id());
            if channel != CHANNEL {
                outbox.push(Frame::unauthorized(channel, request, 404, "No such channel"));
                continue;
            }
            match message.action() {
                ClientAction::JoinChannel => {
                    outbox.push(Frame::acknowledge(channel, request));
                    membership = room.join("somebody", outbox.clone()).ok();
                }
                ClientAction::LeaveChannel => {
                    membership = None;
                    outbox.push(Frame::exit_acknowledge(channel, request));
                }
                ClientAction::Broadcast if membership.is_some() => {
                    let frame =
                        Frame::broadcast(channel, message.event(), &uuid(), message.payload());
                    room.publish(&frame);
                }
                ClientAction::Broadcast => {
                    outbox.push(Frame::not_found(channel, request, "Channel not joined"));
                }
            }
        }
    };
    // When either side ends, both do.
    future::select(std::pin::pin!(sending), std::pin::pin!(receiving)).await;
}

/// The frame as an axum message. The text shares the frame's memory; its UTF-8 is checked once.
fn message_of(frame: OutboxFrame) -> Message {
    match frame {
        OutboxFrame::Message(frame) => {
            Message::Text(Utf8Bytes::try_from(frame.json_bytes()).expect("JSON is UTF-8"))
        }
        OutboxFrame::Control(control) => match control.opcode() {
            Opcode::Ping => Message::Ping(Bytes::copy_from_slice(control.payload())),
            Opcode::Pong => Message::Pong(Bytes::copy_from_slice(control.payload())),
            _ => Message::Close(
                control.as_close().map(|(code, reason)| CloseFrame { code, reason: reason.into() }),
            ),
        },
    }
}

/// Serves an event stream: a body whose chunks share the frames' memory.
async fn events(State(room): State<Arc<Room>>) -> impl IntoResponse {
    let (outbox, frames) = connect();
    // The membership ends with the body, which is dropped when the client disconnects.
    let membership = room.join("somebody", outbox);
    let events = frames.filter_map(move |frame| {
        let _member = &membership;
        future::ready(match frame {
            OutboxFrame::Message(frame) => Some(Ok::<Bytes, Infallible>(frame.sse_bytes())),
            // An event stream has no control frames.
            OutboxFrame::Control(_) => None,
        })
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events))
}

fn connect() -> (Outbox, OutboxReader) {
    let (outbox, frames) = Outbox::new(OutboxOptions::default());
    outbox.push(Frame::connect(&uuid(), "somebody", &uuid()));
    (outbox, frames)
}

#[cfg(test)]
mod tests {
    use pondwire::Payload;
    use pondwire::frame::Control;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Reads until this text has arrived.
    async fn read_to(stream: &mut TcpStream, end: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{end} comes");
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    async fn send(stream: &mut TcpStream, action: &str, channel: &str) {
        let message = format!(
            r#"{{"action":"{action}","channelName":"{channel}","requestId":"r","event":"e","payload":{{"n":1}}}}"#
        );
        // A mask of zeros changes nothing.
        let head = [0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
        assert!(message.len() < 126);
        stream.write_all(&[&head[..], message.as_bytes()].concat()).await.unwrap();
    }

    #[tokio::test]
    async fn a_broadcast_reaches_sockets_and_event_streams() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(listener));

        let mut events = TcpStream::connect(addr).await.unwrap();
        events.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let head = read_to(&mut events, "\n\n").await;
        assert!(
            head.contains("text/event-stream") && head.contains("data: {\"action\":\"CONNECT\"")
        );

        let mut socket = TcpStream::connect(addr).await.unwrap();
        let request = "GET /socket HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        read_to(&mut socket, "CONNECTION").await;
        send(&mut socket, "BROADCAST", CHANNEL).await;
        read_to(&mut socket, "NOT_FOUND").await;
        send(&mut socket, "JOIN_CHANNEL", "/chat/2").await;
        read_to(&mut socket, "\"code\":404").await;
        send(&mut socket, "JOIN_CHANNEL", CHANNEL).await;
        read_to(&mut socket, "ACKNOWLEDGE").await;
        send(&mut socket, "BROADCAST", CHANNEL).await;
        read_to(&mut socket, r#""payload":{"n":1}}"#).await;
        read_to(&mut events, "\"payload\":{\"n\":1}}\n\n").await;
    }

    #[test]
    fn texts_share_memory_and_a_close_frame_keeps_its_code() {
        let frame = Frame::broadcast("/c", "e", "r", Payload::EMPTY);
        let Message::Text(text) = message_of(OutboxFrame::Message(frame.clone())) else {
            panic!("a text")
        };
        assert_eq!(text.as_str().as_ptr(), frame.as_str().as_ptr());
        let close = Control::close(4000, "bye").unwrap();
        let Message::Close(Some(close)) = message_of(OutboxFrame::Control(close)) else {
            panic!("a close frame")
        };
        assert_eq!((close.code, close.reason.as_str()), (4000, "bye"));
        let ping = Control::ping(b"1").unwrap();
        assert!(
            matches!(message_of(OutboxFrame::Control(ping)), Message::Ping(bytes) if bytes == "1")
        );
    }
}
