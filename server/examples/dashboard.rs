//! A live dashboard: one publisher, and up to 10,000 viewers who only want the newest state.
//! `cargo run --example dashboard -- 127.0.0.1:8080`
//!
//! A viewer joins `/dashboard/:name` and gets the state that was sent last, then each new one. A viewer that reads
//! too slowly is not cut off and gets no backlog: of each event, only the newest waits for it. Each state is
//! serialized once, whatever the number of viewers.

use std::time::Duration;

use pondwire::error::PondError;
use pondwire::{OutboxOptions, Policy};
use pondwire_server::{Channel, Json, Options, PondServer, stop_signal};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::interval;

/// What the dashboard shows.
#[derive(Serialize)]
struct State {
    tick: u64,
    load: f64,
    requests: u64,
}

pub(crate) fn pond() -> PondServer {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        // Viewers send nothing: without a handler, their events are answered `NOT_FOUND`.
        .channel("/dashboard/:name", |join| {
            join.accept()?;
            join.catch_up()
        });
    pond
}

/// Of each event, only the newest waits for a slow viewer.
pub(crate) fn options() -> Options {
    let waiting = OutboxOptions::new().with_policy(Policy::Conflate).with_max_frames(64);
    Options { waiting, connections: 10_000, connections_per_address: 100, ..Options::default() }
}

/// Publishes a state every `period`, for as long as the server runs.
pub(crate) async fn publish(dashboard: Channel, period: Duration) -> Result<(), PondError> {
    let mut ticks = interval(period);
    for tick in 0.. {
        ticks.tick().await;
        let load = (tick as f64 / 10.0).sin().abs();
        dashboard.broadcast("state", Json(State { tick, load, requests: 17 * tick }))?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = pond().start(options())?;
    let dashboard = server.channel("/dashboard/main").ok_or("no such channel")?;
    tokio::spawn(publish(dashboard, Duration::from_millis(100)));
    server.serve(listener, stop_signal()?).await;
    Ok(())
}
