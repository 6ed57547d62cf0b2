//! The chat of `server/examples/chat.rs` on `pondsocket` and `pondsocket-axum`, by their documented interface: what
//! `pondwire_server::docs::coming_from` compares. `cargo run --bin chat_before -- 127.0.0.1:8080`

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::any;
use pondsocket::channel::{EventHandler, LeaveHandler};
use pondsocket::contexts::LeaveContext;
use pondsocket::errors::{bad_request, forbidden};
use pondsocket::{
    ConnectionContext, ConnectionHandler, EventContext, JoinContext, JoinHandler, PondSocket,
    Result,
};
use pondsocket_axum::{RequestParts, handle_socket};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Default)]
struct Room {
    host: String,
    said: VecDeque<Value>,
}

#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connect;

#[async_trait]
impl ConnectionHandler for Connect {
    async fn call(&self, connection: &mut ConnectionContext) -> Result<()> {
        connection.accept(Default::default()).map(drop)
    }
}

struct Join(Rooms);

#[async_trait]
impl JoinHandler for Join {
    async fn call(&self, join: &mut JoinContext) -> Result<()> {
        let id = join.transport.id().to_owned();
        let name = match short(text_at(&join.event.payload, "name")) {
            Ok(name) => name,
            Err(_) => return join.decline(400, "Expected 1 to 500 bytes").await,
        };
        join.accept([("name".to_owned(), json!(name))].into_iter().collect()).await?;
        let welcome = {
            let mut rooms = self.0.lock();
            let room = rooms.entry(join.channel.name.clone()).or_default();
            if room.host.is_empty() {
                room.host.clone_from(&id);
            }
            json!({ "host": room.host, "said": room.said })
        };
        join.reply("welcome", welcome).await?;
        join.track(seen(&id, &name, false)).await
    }
}

struct Say(Rooms);

#[async_trait]
impl EventHandler for Say {
    async fn call(&self, event: &mut EventContext) -> Result<()> {
        let (name, text) = (name_of(event), short(text_at(&event.event.payload, "text"))?);
        let said = json!({ "id": event.user.id, "name": name, "text": text });
        if let Some(room) = self.0.lock().get_mut(&event.channel.name) {
            room.said.push_front(said.clone());
            room.said.truncate(20);
        }
        event.update_presence(seen(&event.user.id, &name, false)).await?;
        event.broadcast("said", said).await
    }
}

struct Typing;

#[async_trait]
impl EventHandler for Typing {
    async fn call(&self, event: &mut EventContext) -> Result<()> {
        event.update_presence(seen(&event.user.id, &name_of(event), true)).await
    }
}

struct Whisper;

#[async_trait]
impl EventHandler for Whisper {
    async fn call(&self, event: &mut EventContext) -> Result<()> {
        let text = short(text_at(&event.event.payload, "text"))?;
        let users = [user_param(event), event.user.id.clone()];
        let whispered = json!({ "from": event.user.id, "text": text });
        event.broadcast_to("whispered", whispered, &users).await
    }
}

struct Rename;

#[async_trait]
impl EventHandler for Rename {
    async fn call(&self, event: &mut EventContext) -> Result<()> {
        let name = short(text_at(&event.event.payload, "name"))?;
        event.update_presence(seen(&event.user.id, &name, false)).await?;
        event.channel.update_assign(&event.user.id, "name", json!(name)).await
    }
}

struct Kick(Rooms);

#[async_trait]
impl EventHandler for Kick {
    async fn call(&self, event: &mut EventContext) -> Result<()> {
        let host = self.0.lock().get(&event.channel.name).map(|room| room.host.clone());
        if host.as_deref() != Some(&*event.user.id) {
            return Err(forbidden(&event.channel.name, "Only the host may do this"));
        }
        event.evict("removed by the host", &[user_param(event)]).await
    }
}

struct Leave(Rooms);

/// Any member is the next host. A room without members is forgotten.
#[async_trait]
impl LeaveHandler for Leave {
    async fn call(&self, leave: &mut LeaveContext) -> Result<()> {
        let users = leave.channel.get_assigns().await;
        let next = {
            let mut rooms = self.0.lock();
            let Some(next) = users.keys().find(|id| **id != leave.user.id) else {
                rooms.remove(&leave.channel.name);
                return Ok(());
            };
            match rooms.get_mut(&leave.channel.name) {
                Some(room) if room.host == leave.user.id => {
                    room.host.clone_from(next);
                    next.clone()
                }
                _ => return Ok(()),
            }
        };
        leave.channel.broadcast("host", json!({ "id": next })).await
    }
}

fn seen(id: &str, name: &str, typing: bool) -> Value {
    json!({ "id": id, "name": name, "typing": typing })
}

fn name_of(event: &EventContext) -> String {
    let name = event.user.assigns.get("name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn user_param(event: &EventContext) -> String {
    event.route.param("user").unwrap_or_default().to_owned()
}

fn text_at(payload: &Value, key: &str) -> String {
    payload[key].as_str().unwrap_or_default().to_owned()
}

fn short(text: String) -> Result<String> {
    let error = || bad_request("", "Expected 1 to 500 bytes");
    Some(text).filter(|text| (1..=500).contains(&text.len())).ok_or_else(error)
}

async fn upgrade(
    upgrade: WebSocketUpgrade,
    State(pond): State<Arc<PondSocket>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let headers = headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let request = RequestParts {
        path: uri.path().to_owned(),
        headers: headers.collect(),
        cookies: HashMap::new(),
        query: HashMap::new(),
        address: String::new(),
    };
    upgrade.on_upgrade(|socket| handle_socket(pond, socket, request))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let rooms = Rooms::default();
    let pond = PondSocket::with_defaults();
    let endpoint = pond.create_endpoint("/api/socket", Connect).await;
    let chat = endpoint.create_channel("/chat/:room", Join(rooms.clone())).await;
    chat.on_message("say", Say(rooms.clone())).await;
    chat.on_message("typing", Typing).await;
    chat.on_message("whisper/:user", Whisper).await;
    chat.on_message("rename", Rename).await;
    chat.on_message("kick/:user", Kick(rooms.clone())).await;
    chat.on_leave(Leave(rooms)).await;
    let app = Router::new().route("/api/socket", any(upgrade)).with_state(pond);
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
