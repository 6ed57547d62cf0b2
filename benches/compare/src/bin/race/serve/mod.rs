//! The servers that this binary can be: each runs in a process of its own, `race --serve NAME`.

mod axum_chat;
mod batched;
mod floor;
mod pondsocket;
mod ring;

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Serves until it is killed; `None` when it has no server of this name.
pub(crate) fn run(name: &str) -> Option<io::Result<()>> {
    Some(match name {
        "floor" => floor::run(None),
        "floor-io_uring" => floor::run(Some(ring::Ring::new().ok()?)),
        "axum" => block_on(axum_chat::run()),
        "axum-batched" => block_on(batched::axum()),
        "tokio-websockets" => block_on(batched::tokio_websockets()),
        "fastwebsockets" => block_on(batched::fastwebsockets()),
        "pondsocket-axum" => block_on(pondsocket::run()),
        _ => return None,
    })
}

/// Runs a server on the runtime that `#[tokio::main]` would build.
fn block_on(server: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(server)
}

async fn listener() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?)?;
    Ok(listener)
}

/// Prints the address for the harness to connect to.
fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{addr}")?;
    stdout.flush()
}
