//! A chat through axum's own WebSockets, with a reader of the room for each: `cargo run --example reader`.
//!
//! One task serves a connection: it answers what the client sends, and between that sends what the room publishes. No
//! frame is queued for a connection: all of them read the room's own, and their text is shared.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::SinkExt;
use pondwire::outbox::OutboxFrame;
use pondwire::room::RoomReader;
use pondwire::{ClientAction, ClientMessage, Frame, Limits, Room, uuid};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// The channel of the room. An application with more of them matches the name against a `pondwire::protocol::Pattern`,
/// and has a room for each: messages go to all members of a room, whatever channel they name.
const CHANNEL: &str = "/chat/42";

/// How long a client may take no bytes.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener).await
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let router = Router::new().route("/socket", get(socket)).with_state(Arc::new(Room::new()));
    axum::serve(listener, router).await
}

async fn socket(State(room): State<Arc<Room>>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.max_message_size(Limits::default().max_bytes);
    upgrade.on_upgrade(|mut socket| async move {
        // The connection ends with its first error.
        let _ = run(&mut socket, &room).await;
    })
}

/// Serves a connection until either side ends it.
async fn run(socket: &mut WebSocket, room: &Room) -> Result<(), axum::Error> {
    socket.send(text(&Frame::connect(&uuid(), "somebody", &uuid()))).await?;
    // The membership, too: it ends with the reader.
    let mut reader: Option<RoomReader> = None;
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(message))) => {
                    if let Some(answer) = receive(message.as_bytes(), room, &mut reader) {
                        within(socket.send(text(&answer))).await?;
                    }
                }
                Some(Ok(_)) => {}
                _ => return Ok(()),
            },
            messages = next(&mut reader) => match messages {
                Some(messages) => {
                    for message in messages {
                        within(socket.feed(message)).await?;
                    }
                    within(socket.flush()).await?;
                }
                None => return within(socket.send(try_again_later())).await,
            },
        }
    }
}

/// The next messages of the room; pending while the client is not a member. `None` if the client was too slow, so that
/// it joins again, or at the end of the room.
async fn next(reader: &mut Option<RoomReader>) -> Option<Vec<Message>> {
    let Some(reader) = reader else { return pending().await };
    let batch = reader.next_batch().await?;
    if batch.lagged() > 0 {
        return None;
    }
    let messages = batch.into_frames().filter_map(|frame| match frame {
        OutboxFrame::Message(frame) => Some(text(&frame)),
        // Only outboxes have control frames.
        OutboxFrame::Control(_) => None,
    });
    Some(messages.collect())
}

/// Carries out a message; returns the answer.
fn receive(message: &[u8], room: &Room, reader: &mut Option<RoomReader>) -> Option<Frame> {
    let message = match ClientMessage::parse(message) {
        Ok(message) => message,
        Err(error) => return Some(Frame::invalid_message(&error)),
    };
    let (channel, request) = (message.channel_name(), message.request_id());
    if channel != CHANNEL {
        return Some(Frame::unauthorized(channel, request, 404, "No such channel"));
    }
    match message.action() {
        ClientAction::JoinChannel => {
            // What is published from now on comes after the answer.
            if reader.is_none() {
                *reader = room.reader("somebody").ok();
            }
            Some(Frame::acknowledge(channel, request))
        }
        ClientAction::LeaveChannel => {
            *reader = None;
            Some(Frame::exit_acknowledge(channel, request))
        }
        ClientAction::Broadcast if reader.is_some() => {
            let frame = Frame::broadcast(channel, message.event(), &uuid(), message.payload());
            room.publish(&frame);
            None
        }
        ClientAction::Broadcast => Some(Frame::not_found(channel, request, "Channel not joined")),
    }
}

/// The frame as an axum message, which shares its memory; its UTF-8 is checked once.
fn text(frame: &Frame) -> Message {
    Message::Text(Utf8Bytes::try_from(frame.json_bytes()).expect("JSON is UTF-8"))
}

fn try_again_later() -> Message {
    Message::Close(Some(CloseFrame { code: 1013, reason: Utf8Bytes::from_static("too slow") }))
}

/// The outcome of a send that does not last too long.
async fn within(sending: impl Future<Output = Result<(), axum::Error>>) -> Result<(), axum::Error> {
    timeout(PATIENCE, sending).await.map_err(axum::Error::new)?
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pondwire_test_support::client::{Client, ROOM};
    use pondwire_test_support::websocket::WebSocket;

    use super::*;

    fn joined(addr: SocketAddr) -> Client {
        let mut client = Client::greeted(WebSocket::open(addr, "/socket").unwrap());
        client.join(ROOM);
        client
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_broadcast_reaches_every_reader_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(listener));
        let clients = move || {
            let (mut one, mut two) = (joined(addr), joined(addr));
            for number in 0..200 {
                let from = if number % 2 == 0 { &mut one } else { &mut two };
                from.event("say", &format!("{{\"n\":{number}}}"));
                let text = one.next_text();
                assert!(text.contains(&format!("{{\"n\":{number}}}")), "{text}");
                assert_eq!(two.next_text(), text);
            }
            // No other channel leads into the room.
            one.send("JOIN_CHANNEL", "/chat/2", "JOIN_CHANNEL", "{}");
            assert_eq!(one.next()["payload"]["code"], 404);
            one.send("BROADCAST", "/chat/2", "say", "{}");
            assert_eq!(one.next()["event"], "UNAUTHORIZED");
            // The room goes on without one.
            drop(one);
            two.event("say", r#"{"n":"last"}"#);
            assert!(two.next_text().contains("last"));
        };
        tokio::task::spawn_blocking(clients).await.unwrap();
    }
}
