//! PondSocket in an axum application: the application's routes live beside the socket, and the socket is
//! served by the connection code of `pondwire-server`.
//!
//! `cargo run --release -p pondwire-axum-example -- --addr 127.0.0.1:8080`, with the options of
//! `pondwire-server`.
//!
//! axum's own WebSockets copy each text message once per connection and frame it again. Here a handler
//! answers 101 with the headers of the handshake; hyper then hands over the connection, which wraps the
//! `TcpStream` that axum accepted. From then on neither axum nor hyper is involved: each frame is made
//! once, and many are written at a time.
//!
//! Costs compared with the plain server: until the upgrade, those of a request in axum (routing, buffers, a
//! task); at the upgrade, one more task, which lives as long as the connection; after it, nothing per
//! message. `profiles/records/axum-2026-11-26.md` has the figures.
//!
//! Event streams are missing here: they would be a response body. `--connections` counts sockets, not
//! requests, and hyper sets the limits on a request's head and its time; all other socket options of
//! `--help` apply. TLS, or any other wrapper, changes the type of the stream: `hand_over` would have to
//! name that type, and the connection code would have to be generic over it.

/// The application of the server's example.
#[path = "../../../server/examples/server/demo/mod.rs"]
mod demo;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use pondwire::websocket::handshake::{Accepted, HandshakeError};
use pondwire_server::{Admitted, Options, Server, Status, Times, help};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// The state that the handlers share. The application's own state goes here, too.
#[derive(Clone)]
struct App {
    ponds: Arc<Server>,
    times: Times,
    stopping: watch::Sender<bool>,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let refuse = |error: String| {
        eprintln!("{error}\n`--help` shows the options");
        ExitCode::from(2)
    };
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => return refuse(error),
    };
    let (addr, times) = (options.addr.clone(), options.times);
    let ponds = match demo::demo().start(options) {
        Ok(ponds) => Arc::new(ponds),
        Err(error) => return refuse(error),
    };
    match run(&addr, App { ponds, times, stopping: watch::Sender::new(false) }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(addr: &str, app: App) -> std::io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // A little longer than any connection may take to close.
    let grace = app.times.closing + Duration::from_secs(1);
    let router = Router::new()
        .route("/", get(|| async { "An application of axum, with PondSocket at /api/socket.\n" }))
        .route("/metrics", get(|State(app): State<App>| async move { app.ponds.metrics() }))
        .route("/api/socket", get(socket))
        .with_state(app.clone())
        .into_make_service_with_connect_info::<SocketAddr>();
    // Frames are flushed once no more are queued, so Nagle's algorithm would only delay them.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            // Without the signal, the server runs until it is killed.
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
    app.ponds.shutdown().await;
    Ok(())
}

/// Answers the opening handshake, and spawns a task that serves the socket once hyper has released it.
async fn socket(
    State(App { ponds, times, stopping }): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let Some(permit) = ponds.admit(peer.ip()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]).into_response();
    };
    let (accepted, admitted) = match accept(&ponds, &request.into_parts().0, peer).await {
        Ok(accepted) => accepted,
        Err(status) => return refusal(status),
    };
    let deflates = accepted.deflate().is_some();
    let mut response = accepted.to_http();
    for (name, value) in admitted.headers() {
        let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        let (Ok(name), Ok(value)) = pair else { continue };
        response.headers_mut().append(name, value);
    }
    let stopping = stopping.subscribe();
    tokio::spawn(async move {
        // The client may disconnect before it has the answer.
        if let Ok(Ok(upgraded)) = timeout(times.request, upgrade).await {
            serve(upgraded, deflates, admitted, &ponds, stopping).await;
        }
        drop(permit);
    });
    response
}

/// Applies the plain server's checks and handshake to an axum request.
async fn accept(
    ponds: &Server,
    request: &Parts,
    peer: SocketAddr,
) -> Result<(Accepted, Admitted), Status> {
    let headers = request.headers.iter();
    let request = pondwire_server::Request::new(
        request.method.as_str(),
        request.uri.path_and_query().map_or("/", |target| target.as_str()),
        request.version == Version::HTTP_11,
        headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect(),
    );
    ponds.accept(&request, peer).await
}

fn refusal(status: Status) -> Response {
    let code = status[..3].parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let code = code.unwrap_or(StatusCode::BAD_REQUEST);
    let text = format!("{status}\n");
    match code {
        StatusCode::UPGRADE_REQUIRED => HandshakeError::Version.to_http(),
        StatusCode::UNAUTHORIZED => {
            (code, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
        }
        _ => (code, text).into_response(),
    }
}

/// Serves the socket to its end, with the code of the plain server.
async fn serve(
    upgraded: Upgraded,
    deflates: bool,
    admitted: Admitted,
    ponds: &Server,
    mut stopping: watch::Receiver<bool>,
) {
    let Some((stream, received)) = hand_over(upgraded) else {
        eprintln!("the stream is not the listener's TcpStream");
        return;
    };
    let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
    ponds.serve_web_socket(stream, received, deflates, admitted, stopped).await;
}

/// Returns the inner TCP connection, and the bytes that arrived after the handshake.
fn hand_over(upgraded: Upgraded) -> Option<(TcpStream, BytesMut)> {
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
    Some((parts.io.into_inner(), BytesMut::from(parts.read_buf)))
}
