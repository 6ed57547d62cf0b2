//! The chat of `server/examples/chat.rs` as a route of an axum application, beside its other routes:
//! `cargo run -p pondwire-axum-example --example chat -- 127.0.0.1:8080`

#[allow(dead_code, reason = "its `main` function, without axum")]
#[path = "../../../server/examples/chat.rs"]
mod chat;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::serve::ListenerExt;
use pondwire_server::{Options, Server, stop_signal};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = chat::pond().start(Options::default())?;
    serve(listener, server, stop_signal()?).await?;
    Ok(())
}

async fn serve(
    listener: TcpListener,
    server: Server,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (rooms, ending) = (server.clone(), server.clone());
    // The limits per address need it.
    let socket = server
        .into_service()
        .with_address(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0));
    let app = Router::new()
        .route_service("/api/socket", socket)
        // Another route uses the channels, too.
        .route("/lobby", get(async move || present(&rooms).to_string()))
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let stop = async move {
        stop.await;
        // Event streams are responses, whose end axum waits for.
        ending.shutdown().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await
}

/// Who is in the lobby.
fn present(server: &Server) -> Value {
    let lobby = server.channel("/chat/lobby");
    json!(lobby.map(|lobby| lobby.users()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use pondwire_test_support::client::Client;
    use pondwire_test_support::websocket;
    use tokio::sync::oneshot;
    use tokio::task::spawn_blocking;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_chat_is_a_route() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = chat::pond().start(Options::default()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, server, async { drop(stopped.await) }));
        let client = spawn_blocking(move || {
            let mut ann = Client::connect(addr);
            ann.send("JOIN_CHANNEL", "/chat/lobby", "JOIN_CHANNEL", r#"{"name":"ann"}"#);
            for event in ["ACKNOWLEDGE", "welcome", "JOIN"] {
                assert_eq!(ann.next()["event"], event);
            }
            ann.send("BROADCAST", "/chat/lobby", "say", r#"{"text":"hi"}"#);
            let said = std::iter::repeat_with(|| ann.next()).find(|it| it["event"] == "said");
            assert_eq!(said.unwrap()["payload"]["text"], "hi");
            let mut lobby = websocket::connect(addr);
            lobby
                .write_all(b"GET /lobby HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut page = String::new();
            lobby.read_to_string(&mut page).unwrap();
            let name = format!(r#""{}":{{"name":"ann"}}"#, ann.id);
            assert!(page.contains(&name), "{page}");
            ann
        });
        let mut ann = client.await.unwrap();
        drop(stop);
        spawn_blocking(move || ann.expect_closed(1001)).await.unwrap();
        serving.await.unwrap().unwrap();
    }
}
