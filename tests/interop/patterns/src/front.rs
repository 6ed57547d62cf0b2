//! The parts that the page leaves to its reader: TCP, the handshake, reading, and the dispatch of
//! events.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use pondwire::frame::Control;
use pondwire::{ClientAction, ClientMessage, Room, uuid};
use tokio::io::{join, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::announce;
use crate::connection::chat_room::presence::Presence;
use crate::connection::chat_room::{Rooms, User, receive};
use crate::connection::{open, write};

/// The channel whose members may have a presence.
const CHAT: &str = "/chat/interop";

struct App {
    rooms: Rooms,
    presence: Mutex<Presence>,
}

pub(crate) async fn listen(address: &str) -> io::Result<()> {
    let rooms = [CHAT, "/chat/fence"].map(|name| (name.to_owned(), Room::new()));
    let app = Arc::new(App { rooms: rooms.into(), presence: Mutex::new(Presence::new(CHAT)) });
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, Arc::clone(&app)));
    }
}

async fn serve(stream: TcpStream, app: Arc<App>) {
    let Ok(socket) = accept_async(stream).await else { return };
    // The page's `write` owns the socket's other half. A client sends nothing before the handshake is
    // answered, so no data that was read is lost.
    let (reading, writing) = socket.into_inner().into_split();
    let reading = join(reading, sink());
    let mut incoming = WebSocketStream::from_raw_socket(reading, Role::Server, None).await;

    let id = uuid().to_string();
    let (outbox, frames) = open(&id);
    let mut user = User { id, outbox, joined: HashMap::new() };
    let mut writer = tokio::spawn(write(writing, frames));
    loop {
        let message = tokio::select! {
            message = incoming.next() => message,
            _ = &mut writer => break,
        };
        match message {
            Some(Ok(Message::Text(text))) => handle(&mut user, &app, text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => handle(&mut user, &app, &bytes),
            Some(Ok(Message::Ping(payload))) => {
                Control::pong(&payload).map(|pong| user.outbox.control(pong));
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                Control::close(1000, "").map(|close| user.outbox.control(close));
                break;
            }
        }
    }
    app.presence.lock().unwrap().untrack(&user.id);
}

/// Handles events for presence and announcements; the page's code handles all others.
fn handle(user: &mut User, app: &App, received: &[u8]) {
    let Ok(message) = ClientMessage::parse(received) else {
        return receive(user, &app.rooms, received);
    };
    let is_member = user.joined.contains_key(message.channel_name());
    match (message.action(), message.event()) {
        (ClientAction::LeaveChannel, _) if message.channel_name() == CHAT => {
            app.presence.lock().unwrap().untrack(&user.id);
            receive(user, &app.rooms, received);
        }
        (ClientAction::Broadcast, "track") if is_member => {
            let presence = message.payload();
            app.presence.lock().unwrap().track(&user.id, &user.outbox, presence);
        }
        (ClientAction::Broadcast, "untrack") if is_member => {
            app.presence.lock().unwrap().untrack(&user.id);
        }
        (ClientAction::Broadcast, "announce") if is_member => {
            let moderator = message.payload().get("moderator").and_then(|id| id.as_str());
            let is_moderator = |id: &str| moderator.as_deref() == Some(id);
            let room = &app.rooms[message.channel_name()];
            announce(room, message.channel_name(), is_moderator, message.payload());
        }
        _ => receive(user, &app.rooms, received),
    }
}
