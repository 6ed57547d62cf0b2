//! A PondSocket server in one process: `cargo run --release --example server`, or with
//! `-- --addr 127.0.0.1:0` for a free port; the address is printed once it listens.
//!
//! It serves `/api/socket` to WebSockets, compressed if they offer it, and to event streams: `GET`
//! with `Accept: text/event-stream` opens one, `POST` and `DELETE` with its `X-Connection-ID` send a
//! message and close it. Channels are `/chat/:id`; a join with `{"deny":true}` is declined,
//! one with `{"last":true}` is followed by the channel's last broadcast.
//! The event `echo` is answered to its sender; `track`, `update` and `untrack` set the sender's
//! presence; `evict` with `{"id":…,"reason":…}` removes a user; `simulate` with
//! `{"viewers":1000,"slow":true}` brings members that the server plays itself; every other event goes
//! to all members, the sender included. A page to try it is at `/`, counters for
//! Prometheus are at `/metrics`.
//!
//! | file | what it holds |
//! |---|---|
//! | `http`, `handshake` | requests and answers; the one that opens a WebSocket |
//! | `connection` | what a client asks for by HTTP |
//! | `websocket`, `websocket_reader` | one WebSocket, and how it ends; its frames read |
//! | `event_stream` | one event stream, and the messages that come beside it |
//! | `user` | what a client's messages mean, however they came |
//! | `page.html`, `simulation` | the page at `/`; the crowd that it asks for |
//! | `metrics` | counters of all connections |
//! | `channel`, `channels` | the members of a channel and their presence; the channels there are |

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod channel;
mod channels;
mod connection;
mod event_stream;
mod handshake;
mod http;
mod metrics;
mod simulation;
mod user;
mod websocket;
mod websocket_reader;

/// What all connections share.
pub(crate) struct Server {
    channels: channels::Channels,
    event_streams: event_stream::EventStreams,
    metrics: metrics::Metrics,
    /// How many viewers are simulated, in all channels.
    simulated: AtomicUsize,
    times: Times,
}

/// How long things take. Tests have less time.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// The head of a request, counted from the answer to the one before it, and its body.
    pub(crate) request: Duration,
    /// Nothing is sent for so long on an event stream, then a comment: a proxy between might take it
    /// for dead.
    pub(crate) keep_alive: Duration,
    /// The end: to write what is left and to read until the client has closed.
    pub(crate) closing: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(20),
            keep_alive: Duration::from_secs(30),
            closing: Duration::from_secs(5),
        }
    }
}

/// How long connections may take to close when the server ends.
const GRACE: Duration = Duration::from_secs(6);

#[tokio::main]
async fn main() -> ExitCode {
    let Some(addr) = address(std::env::args().skip(1)) else {
        eprintln!("usage: server [--addr 127.0.0.1:8080]");
        return ExitCode::from(2);
    };
    match run(&addr).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{addr}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn address(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    let addr = match arguments.next().as_deref() {
        None => return Some("127.0.0.1:8080".to_owned()),
        Some("--addr") => arguments.next()?,
        Some(_) => return None,
    };
    arguments.next().is_none().then_some(addr)
}

async fn run(addr: &str) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    // Before the line that tells a parent process that it may send one.
    let stop = stop_signal()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener, Times::default(), stop).await;
    Ok(())
}

/// Ends with the first SIGINT or SIGTERM from now on.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    })
}

#[cfg(windows)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { drop(interrupt.recv().await) })
}

/// Serves whoever connects until `stop`, then closes all connections.
pub(crate) async fn serve(listener: TcpListener, times: Times, stop: impl Future<Output = ()>) {
    let server = Arc::new(Server {
        channels: channels::Channels::default(),
        event_streams: event_stream::EventStreams::default(),
        metrics: metrics::Metrics::default(),
        simulated: AtomicUsize::new(0),
        times,
    });
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let server = Arc::clone(&server);
                    connections.spawn(connection::run(stream, server, stopping.subscribe()));
                }
                // Out of file descriptors, most likely: serve on whom we have.
                Err(error) => {
                    eprintln!("accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let closed = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, closed).await.is_err() {
        eprintln!("some connections did not close in time");
    }
}
