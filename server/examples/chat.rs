//! A chat with presence: names, private messages, a host who may remove others, and the last 20 messages for those who
//! come later. `cargo run --example chat -- 127.0.0.1:8080`
//!
//! A client joins `/chat/:room` with `{"name":"ann"}`. The first one in a room is its host.
//!
//! | event | payload | what follows |
//! |---|---|---|
//! | `say` | `{"text":…}` | `said` for all |
//! | `typing` | `{}` | the sender's presence has `"typing":true` until it says something |
//! | `whisper/:user` | `{"text":…}` | `whispered` for this user and the sender |
//! | `rename` | `{"name":…}` | the sender's presence has the new name |
//! | `kick/:user` | `{}`, from the host | the user is evicted |

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pondwire::error::PondError;
use pondwire::protocol::PondSchema;
use pondwire_server::{Event, Join, Json, Leave, Options, PondServer, stop_signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Serialize, Deserialize)]
struct Name {
    name: String,
}

/// The members have a name, and are seen with it.
struct Chat;

impl PondSchema for Chat {
    type Presence = Value;
    type Assigns = Name;
    type JoinParams = Name;
}

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

    fn join(&self, join: &Join<'_>) -> Result<(), PondError> {
        let name = short(join.params_of::<Chat>()?.name)?;
        join.accept_with(json!({ "name": name }))?;
        let welcome = {
            let mut rooms = self.lock();
            let room = rooms.entry(join.channel_name().to_owned()).or_default();
            if room.host.is_empty() {
                room.host = join.user_id().to_owned();
            }
            json!({ "host": room.host, "said": room.said })
        };
        join.reply("welcome", welcome)?;
        join.track(seen(join.user_id(), &name, false))
    }

    fn say(&self, event: &Event<'_>) -> Result<(), PondError> {
        let (Name { name }, text) = (event.assigns_of::<Chat>()?, text_of(event)?);
        let said = json!({ "id": event.user_id(), "name": name, "text": text });
        if let Some(room) = self.lock().get_mut(event.channel_name()) {
            room.said.push_front(said.clone());
            room.said.truncate(20);
        }
        event.update(seen(event.user_id(), &name, false))?;
        event.broadcast("said", said)
    }

    fn kick(&self, event: &Event<'_>) -> Result<(), PondError> {
        if self.lock().get(event.channel_name()).is_none_or(|room| room.host != event.user_id()) {
            return Err(PondError::forbidden("", "Only the host may do this"));
        }
        event.evict(event.param("user").unwrap_or_default(), "removed by the host")
    }

    /// Any member is the next host. A room without members is forgotten.
    fn leave(&self, leave: &Leave<'_>) {
        let mut rooms = self.lock();
        let users = leave.channel().users();
        let Some(next) = users.iter().next() else {
            return drop(rooms.remove(leave.channel_name()));
        };
        if let Some(room) = rooms.get_mut(leave.channel_name())
            && room.host == leave.user_id()
        {
            room.host = next.id().to_owned();
            let _ = leave.broadcast("host", json!({ "id": next.id() }));
        }
    }
}

fn seen(id: &str, name: &str, typing: bool) -> Value {
    json!({ "id": id, "name": name, "typing": typing })
}

fn text_of(event: &Event<'_>) -> Result<String, PondError> {
    let text = event.payload().get("text").and_then(|text| Some(text.as_str()?.into_owned()));
    short(text.unwrap_or_default())
}

fn short(text: String) -> Result<String, PondError> {
    let error = || PondError::bad_request("", "Expected 1 to 500 bytes");
    Some(text).filter(|text| (1..=500).contains(&text.len())).ok_or_else(error)
}

pub(crate) fn pond() -> PondServer {
    let rooms = Rooms::default();
    let (joins, says, kicks) = (rooms.clone(), rooms.clone(), rooms.clone());
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:room", move |join| joins.join(join))
        .on("say", move |event| says.say(event))
        .on("typing", |event| {
            let Name { name } = event.assigns_of::<Chat>()?;
            event.update(seen(event.user_id(), &name, true))
        })
        .on("whisper/:user", |event| {
            let whispered = json!({ "from": event.user_id(), "text": text_of(event)? });
            let users = [event.param("user").unwrap_or_default(), event.user_id()];
            event.broadcast_to(users, "whispered", whispered)
        })
        .on("rename", |event| {
            let name = short(event.decode::<Name>()?.name)?;
            event.update(seen(event.user_id(), &name, false))?;
            event.assign(Json(Name { name }))
        })
        .on("kick/:user", move |event| kicks.kick(event))
        .on_leave(move |leave| rooms.leave(leave));
    pond
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    pond().start(Options::default())?.serve(listener, stop_signal()?).await;
    Ok(())
}
