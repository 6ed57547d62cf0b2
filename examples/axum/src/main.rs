//! PondSocket in an axum application: the application's routes live beside the socket, and the socket is
//! served by the connection code of `pondwire-server`.
//!
//! `cargo run --release -p pondwire-axum-example -- --addr 127.0.0.1:8080`, with the options of
//! the server's example.
//!
//! axum's own WebSockets copy each text message once per connection and frame it again. Here the route is a
//! service of `pondwire-server`, which takes the `TcpStream` that axum accepted out of hyper once the
//! connection is upgraded: each frame is made once, and many are written at a time. Event streams are response
//! bodies, for which hyper stays involved.
//!
//! Costs compared with the plain server: until the upgrade, those of a request in axum (routing, buffers, a
//! task); at the upgrade, one more task, which lives as long as the connection; after it, nothing per
//! message. `profiles/records/axum-2026-11-29.md` has the figures.
//!
//! `--connections` counts sockets and event streams, not requests, and hyper sets the limits on a request's
//! head and its time; all other socket options of `--help` apply.

/// The application of the server's example.
#[path = "../../../server/examples/server/demo/mod.rs"]
mod demo;

/// The command line of the server's example.
#[path = "../../../server/examples/server/arguments.rs"]
mod arguments;

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::serve::ListenerExt;
use pondwire_server::{Server, stop_signal};
use tokio::net::TcpListener;

use crate::arguments::Parsed;

#[tokio::main]
async fn main() -> ExitCode {
    let Parsed { options, tls, public } = match arguments::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    if tls.is_some() {
        eprintln!("--tls-cert: `axum::serve` serves no TLS");
        return ExitCode::from(2);
    }
    let addr = options.addr.clone();
    let pond = if public { demo::public() } else { demo::demo() };
    let pond = match pond.start(options) {
        Ok(pond) => pond,
        Err(error) => {
            eprintln!("{error}\n`--help` shows the options");
            return ExitCode::from(2);
        }
    };
    match run(&addr, pond).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(addr: &str, pond: Server) -> std::io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    // Installed before the line is printed: a parent process may send a signal once it has read it.
    let stop = stop_signal()?;
    println!("listening on http://{}", listener.local_addr()?);
    let socket = pond
        .clone()
        .into_service()
        .with_address(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0));
    let metrics = pond.clone();
    let router = Router::new()
        .route("/", get(|| async { "An application of axum, with PondSocket at /api/socket.\n" }))
        .route("/metrics", get(async move || metrics.metrics()))
        .route_service("/api/socket", socket)
        .into_make_service_with_connect_info::<SocketAddr>();
    // Frames are flushed once no more are queued, so Nagle's algorithm would only delay them.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let ending = pond.clone();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            stop.await;
            // Here, because event streams are responses, and axum waits for the end of each.
            ending.shutdown().await;
        })
        .await
}
