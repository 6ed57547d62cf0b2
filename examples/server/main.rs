//! A PondSocket server in one process: `cargo run --release --example server`, or with
//! `-- --addr 127.0.0.1:0` for a free port; the address is printed once it listens. `-- --help` shows
//! the options: who may connect, how many, how much each may send, and what happens when a client is
//! slow or silent. Rates and the limit per address are off until they are asked for; a public chat
//! behind no proxy wants `--connections-per-address 50 --message-rate 20 --byte-rate 65536
//! --idle-time 3600 --origin https://its.page`.
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
//! | `options` | what the command line sets, and what holds without it |
//! | `admission`, `access`, `allowance` | how many connections; who may have one; what one may send |
//! | `connection` | what a client asks for by HTTP |
//! | `websocket`, `websocket_reader` | one WebSocket, and how it ends; its frames read |
//! | `websocket_echo` | messages that come back, for conformance suites |
//! | `event_stream` | one event stream, and the messages that come beside it |
//! | `pulse` | whether a client is there still |
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

use admission::Admission;
pub(crate) use options::Options;

pub(crate) mod access;
mod admission;
pub(crate) mod allowance;
mod channel;
mod channels;
mod connection;
mod event_stream;
mod handshake;
mod http;
mod metrics;
pub(crate) mod options;
mod pulse;
mod simulation;
mod user;
mod websocket;
mod websocket_echo;
mod websocket_reader;

/// What all connections share.
pub(crate) struct Server {
    channels: channels::Channels,
    event_streams: event_stream::EventStreams,
    metrics: metrics::Metrics,
    /// How many viewers are simulated, in all channels.
    simulated: AtomicUsize,
    admission: Admission,
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        print!("{}", options::help());
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n`--help` shows the options");
            return ExitCode::from(2);
        }
    };
    let addr = options.addr.clone();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{addr}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.addr).await?;
    // Before the line that tells a parent process that it may send one.
    let stop = stop_signal()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener, options, stop).await;
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
pub(crate) async fn serve(listener: TcpListener, options: Options, stop: impl Future<Output = ()>) {
    let server = Arc::new(Server {
        channels: channels::Channels::default(),
        event_streams: event_stream::EventStreams::default(),
        metrics: metrics::Metrics::default(),
        simulated: AtomicUsize::new(0),
        admission: Admission::new(&options),
        options,
    });
    // A little more than each connection takes for it.
    let grace = server.options.times.closing + Duration::from_secs(1);
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (server, stopping) = (Arc::clone(&server), stopping.subscribe());
                    if let Some(place) = Admission::admit(&server, peer.ip()) {
                        connections.spawn(async {
                            connection::run(stream, server, stopping).await;
                            drop(place);
                        });
                    } else if let Some(told) = server.admission.refuse() {
                        connections.spawn(async {
                            connection::turn_away(stream, server).await;
                            drop(told);
                        });
                    }
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
    if timeout(grace, closed).await.is_err() {
        eprintln!("some connections did not close in time");
    }
}
