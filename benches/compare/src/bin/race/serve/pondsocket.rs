//! The existing PondSocket server in Rust, by its documented interface and with its defaults.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use pondsocket::channel::EventHandler;
use pondsocket::{
    ConnectionContext, ConnectionHandler, EventContext, JoinContext, JoinHandler, PondSocket,
    Result,
};
use pondsocket_axum::{RequestParts, handle_socket};

use crate::message::{EVENT, PATH};

/// Admits every client, and relays each message to all of them.
struct Chat;

#[async_trait]
impl ConnectionHandler for Chat {
    async fn call(&self, connection: &mut ConnectionContext) -> Result<()> {
        connection.accept(Default::default()).map(drop)
    }
}

#[async_trait]
impl JoinHandler for Chat {
    async fn call(&self, join: &mut JoinContext) -> Result<()> {
        join.accept(Default::default()).await.map(drop)
    }
}

#[async_trait]
impl EventHandler for Chat {
    async fn call(&self, said: &mut EventContext) -> Result<()> {
        said.broadcast(EVENT, said.event.payload.clone()).await
    }
}

pub(super) async fn run() -> io::Result<()> {
    let pond = PondSocket::with_defaults();
    let endpoint = pond.create_endpoint(PATH, Chat).await;
    let chat = endpoint.create_channel("/chat/:id", Chat).await;
    chat.on_message(EVENT, Chat).await;

    let app = Router::new().route(PATH, any(upgrade)).with_state(pond);
    let listener = super::listener().await?.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await
}

async fn upgrade(upgrade: WebSocketUpgrade, State(pond): State<Arc<PondSocket>>) -> Response {
    let request = RequestParts {
        path: PATH.to_owned(),
        headers: HashMap::new(),
        cookies: HashMap::new(),
        query: HashMap::new(),
        address: String::new(),
    };
    upgrade.on_upgrade(|socket| handle_socket(pond, socket, request))
}
