//! Two nodes of a cluster around one Redis, here in one process; in earnest each is a machine of its own.
//! `cargo run --features redis --example two_nodes -- redis://127.0.0.1:6379`
//!
//! Whoever joins `/room/:id` on either node is in the same room: events, presence, the list of users and evictions
//! reach all, whichever implementation of PondSocket the other nodes run.

use std::future::Future;

use pondwire_server::{Json, NodeOptions, Options, PondServer, Server, stop_signal};
use serde_json::json;
use tokio::net::TcpListener;

fn pond(node: &'static str) -> PondServer {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/room/:id", move |join| {
            join.accept()?;
            join.track(json!({ "id": join.user_id(), "node": node }))
        })
        .on("users", |event| event.reply(Json(event.users())))
        .on("evict/:user", |event| event.evict(event.param("user").unwrap_or_default(), ""))
        .on("*", |event| event.broadcast(event.name(), event.payload()));
    pond
}

/// Starts a node on the current runtime. It serves its own users also while Redis cannot be reached.
pub(crate) fn start(node: &'static str, redis: &str) -> Result<Server, String> {
    let options = NodeOptions {
        redis: vec![redis.to_owned()],
        node_id: node.to_owned(),
        namespace: "example".to_owned(),
        ..NodeOptions::default()
    };
    pond(node).start(Options { node: Some(options), ..Options::default() })
}

/// Serves both nodes until `stop` completes.
pub(crate) async fn serve(nodes: [(Server, TcpListener); 2], stop: impl Future<Output = ()>) {
    let stopping = tokio::sync::watch::Sender::new(false);
    let mut serving = tokio::task::JoinSet::new();
    for (server, listener) in nodes {
        let mut stopped = stopping.subscribe();
        let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        serving.spawn(server.serve(listener, stopped));
    }
    stop.await;
    stopping.send_replace(true);
    serving.join_all().await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let one = TcpListener::bind("127.0.0.1:8080").await?;
    let two = TcpListener::bind("127.0.0.1:8081").await?;
    println!("listening on http://{} and {}", one.local_addr()?, two.local_addr()?);
    let nodes = [(start("one", &redis)?, one), (start("two", &redis)?, two)];
    serve(nodes, stop_signal()?).await;
    Ok(())
}
