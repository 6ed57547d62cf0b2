//! The README's server: `cargo run --example hello`, with its sockets at `ws://127.0.0.1:8080/api/socket`.

use pondwire_server::{Options, PondServer, stop_signal};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:room", |join| {
            join.accept()?;
            join.track(join.payload())
        })
        .on("say", |event| event.broadcast("said", event.payload()));
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    pond.start(Options::default())?.serve(listener, stop_signal()?).await;
    Ok(())
}
