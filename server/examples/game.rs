//! A room of a game in which each team sees only what it may: its own units, and of the others those on its side of
//! the board. `cargo run --example game -- 127.0.0.1:8080`
//!
//! A client joins `/game/:id` with `{"team":"red"}`, `{"team":"blue"}`, or no team to watch. `move` with
//! `{"unit":3,"x":10,"y":4}` is sent to all; `team` with anything only to the sender's team.
//!
//! A team is a class of recipients. A move is handed to `on_outgoing` once for each team that has members, and what
//! that returns is serialized once for all of them.

use pondwire::error::PondError;
use pondwire_server::{Event, Join, Options, Outgoing, PondServer, Sent, stop_signal};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

const WATCHER: u32 = 0;
const RED: u32 = 1;
const BLUE: u32 = 2;

/// The blue half of the board begins here, and the red half ends.
const BORDER: i64 = 50;

#[derive(Deserialize)]
struct Move {
    unit: u32,
    x: i64,
    y: i64,
}

fn join(join: &Join<'_>) -> Result<(), PondError> {
    let team = join.payload().get("team").and_then(|team| Some(team.as_str()?.into_owned()));
    let team = match team.as_deref() {
        None => WATCHER,
        Some("red") => RED,
        Some("blue") => BLUE,
        Some(_) => return Err(PondError::bad_request("", "team: Expected red or blue")),
    };
    join.set_class(team)?;
    join.accept_with(json!({ "team": team }))
}

fn team_of(event: &Event<'_>) -> Result<u32, PondError> {
    let team = event.assigns().view().get("team").and_then(|team| team.as_u64());
    match team.and_then(|team| u32::try_from(team).ok()) {
        Some(team) if team != WATCHER => Ok(team),
        _ => Err(PondError::forbidden("", "You only watch")),
    }
}

/// The server adds the team, which a client cannot forge.
fn step(event: &Event<'_>) -> Result<(), PondError> {
    let team = team_of(event)?;
    let Move { unit, x, y } = event.decode()?;
    if !(0..100).contains(&x) || !(0..100).contains(&y) {
        return Err(PondError::bad_request("", "Off the board"));
    }
    event.broadcast("move", json!({ "team": team, "unit": unit, "x": x, "y": y }))
}

fn outgoing(outgoing: &Outgoing<'_>) -> Sent {
    let payload = outgoing.payload();
    let of = |key| payload.get(key).and_then(|value| value.as_i64()).unwrap_or(-1);
    let (team, x) = (of("team"), of("x"));
    let is_own = team == i64::from(outgoing.class());
    let sees = match outgoing.class() {
        RED => x < BORDER,
        BLUE => x >= BORDER,
        // Watchers see all moves, and hear no team.
        _ => outgoing.event() == "move",
    };
    match outgoing.event() {
        "move" if is_own || sees => outgoing.pass(),
        // A unit that goes out of sight is only known to be gone.
        "move" => outgoing.replace(json!({ "team": team, "unit": of("unit"), "hidden": true })),
        _ if is_own => outgoing.pass(),
        _ => outgoing.suppress(),
    }
}

pub(crate) fn pond() -> PondServer {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/game/:id", join)
        .on("move", step)
        .on("team", |event| {
            let said = json!({ "team": team_of(event)?, "from": event.user_id(), "said": event.payload() });
            event.broadcast("team", said)
        })
        .on_outgoing(outgoing);
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
