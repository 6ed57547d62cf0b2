//! The chat that axum's users write: tokio's `broadcast` between tasks that own a socket each.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::sync::broadcast::{Receiver, Sender};

/// Messages that a connection may be behind.
const BEHIND: usize = 1024;

pub(super) async fn run() -> io::Result<()> {
    let app = Router::new().fallback(any(upgrade)).with_state(Sender::new(BEHIND));
    let listener = super::listener().await?.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await
}

async fn upgrade(upgrade: WebSocketUpgrade, State(all): State<Sender<Utf8Bytes>>) -> Response {
    // Before the answer, so that a client that has it misses no message.
    let messages = all.subscribe();
    upgrade.on_upgrade(|socket| serve(socket, all, messages))
}

async fn serve(mut socket: WebSocket, all: Sender<Utf8Bytes>, mut messages: Receiver<Utf8Bytes>) {
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => drop(all.send(text)),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            message = messages.recv() => {
                // This connection is too far behind, or no sender is left.
                let Ok(text) = message else { return };
                if socket.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
        }
    }
}
