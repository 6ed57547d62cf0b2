//! PondSocket in an axum application: its routes live beside the socket, and the socket's frames go to
//! TCP as they do in `examples/server`, whose connection code this is.
//!
//! `cd examples/axum && cargo run --release -- --addr 127.0.0.1:8080`, with the options of
//! `examples/server`.
//!
//! axum's own WebSockets copy each text message once per connection and frame it again. Here a handler
//! answers 101 with the headers of the handshake; hyper then hands over the connection that it has done
//! with, and inside is the `TcpStream` that axum accepted. From there on neither is involved: a frame
//! that was made once is written from its one place, many at a time.
//!
//! What it costs beside the plain server: until the upgrade, what a request costs in axum (its routing,
//! its buffers, a task); at the upgrade, one more task, which lives as long as the connection; after it,
//! nothing for a message: `profiles/records/axum-2026-11-26.md` has it in figures.
//!
//! What is not here: event streams, which would be a body of a response. `--connections` counts sockets,
//! not requests, and the bounds of a request's head and its time are hyper's; all else that `--help`
//! shows for sockets holds. TLS, or anything else that wraps the stream, makes it another type: then
//! `hand_over` has to name that, and the connection code to be generic over what reads and writes.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use pondwire::websocket::handshake::Accepted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

#[path = "../../server/main.rs"]
#[allow(dead_code, reason = "its `main` and its own HTTP are not used")]
mod server;

use server::access;
use server::admission::{Admission, Place};
use server::http::{self, Http};
use server::metrics::Metrics;
use server::node::Node;
use server::options::Options;
use server::websocket::WebSocket;

/// What the handlers share: the application's own state goes here, too.
#[derive(Clone)]
struct App {
    ponds: Arc<server::Server>,
    stopping: watch::Sender<bool>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let (options, node) = match server::configured() {
        Ok(configured) => configured,
        Err(code) => return code,
    };
    match run(options, node).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options, node: Option<Arc<Node>>) -> std::io::Result<()> {
    let listener = TcpListener::bind(&options.addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // A little more than each connection takes for it.
    let grace = options.times.closing + Duration::from_secs(1);
    let ponds = server::Server::new(options, node.clone());
    let app = App { ponds: Arc::clone(&ponds), stopping: watch::Sender::new(false) };
    if let Some(node) = node.clone() {
        tokio::spawn(async move { node.run(&ponds).await });
    }
    let router = Router::new()
        .route("/", get(|| async { "An application of axum, with PondSocket at /api/socket.\n" }))
        .route("/metrics", get(|State(app): State<App>| async move { Metrics::text(&app.ponds) }))
        .route("/api/socket", get(socket))
        .with_state(app.clone())
        .into_make_service_with_connect_info::<SocketAddr>();
    // Frames are flushed when there are no more: nothing to wait for.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            // Without a way to be told it never ends.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    app.stopping.send_replace(true);
    // Each socket holds a receiver until it has ended.
    if timeout(grace, app.stopping.closed()).await.is_err() {
        eprintln!("some connections did not close in time");
    }
    if let Some(node) = node {
        node.end().await;
    }
    Ok(())
}

/// Answers the opening handshake, and starts what serves the socket once hyper has let go of it.
async fn socket(
    State(App { ponds, stopping }): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let Some(place) = Admission::admit(&ponds, peer.ip()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]).into_response();
    };
    let accepted = match accept(&request, &ponds.options) {
        Ok(accepted) => accepted,
        Err(status) => return refusal(status),
    };
    let deflates = accepted.deflate().is_some();
    tokio::spawn(serve(upgrade, deflates, place, ponds, stopping.subscribe()));
    accepted.to_http()
}

/// What the plain server asks of a request, asked of one of axum's.
fn accept(request: &Request, options: &Options) -> Result<Accepted, http::Status> {
    let headers = request.headers().iter();
    let request = http::Request::new(
        request.method().as_str(),
        request.uri().path_and_query().map_or("/", |target| target.as_str()),
        request.version() == Version::HTTP_11,
        headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect(),
    );
    access::check(&request, options)?;
    if request.is_upgrade() { request.upgrade() } else { Err("426 Upgrade Required") }
}

fn refusal(status: http::Status) -> Response {
    let code = status[..3].parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let code = code.unwrap_or(StatusCode::BAD_REQUEST);
    let wants: Option<(HeaderName, &str)> = match code {
        StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
        StatusCode::UPGRADE_REQUIRED => Some((header::SEC_WEBSOCKET_VERSION, "13")),
        _ => None,
    };
    (code, wants.map(|wants| [wants]), format!("{status}\n")).into_response()
}

/// Serves the socket to its end, with the code of the plain server.
async fn serve(
    upgrade: OnUpgrade,
    deflates: bool,
    place: Place,
    ponds: Arc<server::Server>,
    mut stopping: watch::Receiver<bool>,
) {
    // The client may be gone before it has the answer.
    let Ok(Ok(upgraded)) = timeout(ponds.options.times.request, upgrade).await else { return };
    let Some(http) = hand_over(upgraded) else {
        eprintln!("the stream is not the listener's TcpStream");
        return;
    };
    let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
    WebSocket::new(http, deflates, None, ponds).run(stopped).await;
    drop(place);
}

/// The TCP connection inside, and what came behind the handshake.
fn hand_over(upgraded: Upgraded) -> Option<Http> {
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
    let mut http = Http::new(parts.io.into_inner());
    http.received = BytesMut::from(parts.read_buf);
    Some(http)
}
