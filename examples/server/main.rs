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
//! `{"viewers":1000,"slow":true}` brings members that the server plays itself; `to-others` goes to all
//! members but the sender, `to-some` to those whose ids are in `{"ids":[…]}`, 1,024 at most; every other
//! event goes to all members, the sender included. `assign` sets what the server keeps about the sender, as a join
//! with `{"assigns":{…}}` does, and `users` is answered by everybody's assigns and presence. A page to
//! try it is at `/`, counters for Prometheus are at `/metrics`.
//!
//! With the feature `redis` and `-- --redis redis://127.0.0.1:6379` it is a node of a cluster: the
//! channels of all of them are one, whatever implementation they are of.
//!
//! | file | what it holds |
//! |---|---|
//! | `http` | requests and answers |
//! | `options` | what the command line sets, and what holds without it |
//! | `admission`, `access`, `allowance` | how many connections; who may have one; what one may send |
//! | `connection` | what a client asks for by HTTP |
//! | `websocket` | one WebSocket, and how it ends |
//! | `websocket_echo` | messages that come back, for conformance suites |
//! | `writers` | what writes to all WebSockets |
//! | `writers/sends`, `writers/ring` | sends on many sockets; by io_uring, the only unsafe code |
//! | `event_stream` | one event stream, and the messages that come beside it |
//! | `pulse` | whether a client is there still |
//! | `budget` | how much one connection may do before the others run |
//! | `user` | what a client's messages mean, however they came |
//! | `page.html`, `simulation` | the page at `/`; the crowd that it asks for |
//! | `metrics`, `log` | counters of all connections; lines for the operator |
//! | `channel`, `channels` | the members of a channel and their presence; the channels there are |
//! | `node`, `node/link` | this server as a node of a cluster; a channel's tie to the other nodes |
//! | `alone` | in their place without the feature `redis` |

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use std::{panic, thread};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use admission::Admission;
pub(crate) use options::Options;

pub(crate) mod access;
pub(crate) mod admission;
pub(crate) mod allowance;
mod budget;
mod channel;
mod channels;
mod connection;
mod event_stream;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod metrics;
#[cfg(feature = "redis")]
pub(crate) mod node;
#[cfg(not(feature = "redis"))]
#[path = "alone.rs"]
pub(crate) mod node;
pub(crate) mod options;
mod pulse;
mod simulation;

mod user;
pub(crate) mod websocket;
mod websocket_echo;
pub(crate) mod writers;

use node::Node;

/// What all connections share.
pub(crate) struct Server {
    channels: channels::Channels,
    event_streams: event_stream::EventStreams,
    metrics: metrics::Metrics,
    writers: writers::Writers,
    /// What makes it a part of a cluster.
    node: Option<Arc<Node>>,
    /// How many viewers are simulated, in all channels.
    simulated: AtomicUsize,
    admission: Admission,
    pub(crate) options: Options,
}

impl Server {
    /// A server on the runtime that this is called in.
    pub(crate) fn new(options: Options, node: Option<Arc<Node>>) -> Arc<Self> {
        Arc::new(Self {
            channels: channels::Channels::new(node.clone()),
            event_streams: event_stream::EventStreams::default(),
            metrics: metrics::Metrics::default(),
            writers: writers::Writers::start(options.io_uring),
            node,
            simulated: AtomicUsize::new(0),
            admission: Admission::new(&options),
            options,
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        log::line(info);
        if thread::current().name() == Some("main") {
            log::flush();
        }
    }));
    let (options, node) = match configured() {
        Ok(configured) => configured,
        Err(code) => return code,
    };
    let addr = options.addr.clone();
    match run(options, node).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(format_args!("{addr}: {error}"));
            log::flush();
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
///
/// # Errors
/// It asks for help, or for what cannot be: that has been told, and the process is to end.
pub(crate) fn configured() -> Result<(Options, Option<Arc<Node>>), ExitCode> {
    if std::env::args().any(|argument| argument == "--help") {
        // Whoever reads it may have seen enough.
        let _ = io::stdout().write_all(options::help().as_bytes());
        return Err(ExitCode::SUCCESS);
    }
    let refuse = |error: String| {
        let _ = writeln!(io::stderr(), "{error}\n`--help` shows the options");
        ExitCode::from(2)
    };
    let options = Options::parse(std::env::args().skip(1)).map_err(refuse)?;
    let node = options.node.as_ref().map(Node::start).transpose();
    let node = node.map_err(refuse)?;
    Ok((options, node))
}

async fn run(options: Options, node: Option<Arc<Node>>) -> io::Result<()> {
    let listener = TcpListener::bind(&options.addr).await?;
    // Before the line that tells a parent process that it may send one.
    let stop = stop_signal()?;
    let addr = listener.local_addr()?;
    // On a thread of its own: a server serves, even if nobody takes this line.
    thread::spawn(move || {
        let mut stdout = io::stdout();
        let _ = writeln!(stdout, "listening on http://{addr}").and_then(|()| stdout.flush());
    });
    serve(listener, options, node, stop).await;
    log::flush();
    Ok(())
}

/// Ends with the first SIGINT or SIGTERM from now on.
#[cfg(unix)]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    })
}

#[cfg(windows)]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { drop(interrupt.recv().await) })
}

/// Whether `accept` failed for the connection that it was to return, and the next may be there: macOS
/// says so of a client that has gone, Linux of what went wrong on the way to it.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// Serves whoever connects until `stop`, then closes all connections.
pub(crate) async fn serve(
    listener: TcpListener,
    options: Options,
    node: Option<Arc<Node>>,
    stop: impl Future<Output = ()>,
) {
    let server = Server::new(options, node.clone());
    // A little more than each connection takes for it.
    let grace = server.options.times.closing + Duration::from_secs(1);
    let hearing = node.as_ref().map(|node| {
        let (node, server) = (Arc::clone(node), Arc::clone(&server));
        tokio::spawn(async move { node.run(&server).await })
    });
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
                Err(error) if is_of_one_client(&error) => {}
                // Out of file descriptors, most likely: serve on whom we have.
                Err(error) => {
                    log::line(format_args!("accept: {error}"));
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
        log::line("some connections did not close in time");
        connections.shutdown().await;
    }
    if let Some(node) = node {
        node.end().await;
    }
    if let Some(hearing) = hearing {
        // It ends with the bus.
        drop(hearing.await);
    }
}
