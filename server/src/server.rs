//! The server as one value, and the loop that accepts connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use pondwire::websocket::handshake::Accepted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::channels::{Channels, MakeLink};
use crate::connection::Endpoint;
use crate::connection_limit::{ConnectionLimit, Permit};
use crate::http::{Request, Status};
use crate::log;
use crate::node::Node;
use crate::options::Options;
use crate::socket::{check_congestion_control, set_congestion_control};

/// A server that either listens itself ([`serve`](Self::serve)) or is part of another HTTP server
/// ([`admit`](Self::admit), [`accept`](Self::accept) and [`serve_web_socket`](Self::serve_web_socket), as
/// in `examples/axum` in the repository).
pub struct Server {
    endpoint: Arc<Endpoint>,
    connections: Arc<ConnectionLimit>,
    node: Option<RunningNode>,
    /// How long connections may take to close at shutdown.
    closing: Duration,
    congestion_control: Option<String>,
}

struct RunningNode {
    node: Arc<Node>,
    /// Receives from the other nodes; aborted if the server is dropped without a shutdown.
    receiving: Mutex<JoinSet<()>>,
}

impl Server {
    /// Creates a server on the current tokio runtime. A node connects to Redis in the background and serves
    /// its own users meanwhile.
    ///
    /// # Errors
    /// [`Options::node`] has an invalid URL, or is set without the feature `redis`. The system refuses the
    /// [`Options::congestion_control`]; the text names it and the reason.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(mut options: Options) -> Result<Self, String> {
        let congestion_control = options.congestion_control.take();
        if let Some(name) = &congestion_control {
            check_congestion_control(name)
                .map_err(|error| format!("congestion control {name}: {error}"))?;
        }
        let node = options.node.as_ref().map(Node::start).transpose()?;
        let make_link = node
            .clone()
            .map(|node| -> MakeLink { Box::new(move |channel: &str| node.link(channel)) });
        let channels = Arc::new(Channels::new(make_link));
        let running = node.clone().map(|node| {
            let (receiver, channels) = (Arc::clone(&node), Arc::clone(&channels));
            let mut receiving = JoinSet::new();
            receiving.spawn(async move { receiver.run(&channels).await });
            RunningNode { node, receiving: Mutex::new(receiving) }
        });
        let connections =
            ConnectionLimit::new(options.connections, options.connections_per_address);
        Ok(Self {
            connections: Arc::new(connections),
            closing: options.times.closing,
            congestion_control,
            endpoint: Arc::new(Endpoint::new(options, channels, node)),
            node: running,
        })
    }

    /// Serves the connections of the listener until `stop` completes, then closes all of them: each has
    /// [`Times::closing`](crate::Times::closing) to send its queued frames. Finally [shuts
    /// down](Self::shutdown).
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        if let Some(name) = &self.congestion_control
            && let Err(error) = set_congestion_control(&listener, name)
        {
            // The same name was possible a moment ago, and it only affects the speed.
            log::line(format_args!("congestion control {name}: {error}"));
        }
        // A little longer than any connection may take to close.
        let grace = self.closing + Duration::from_secs(1);
        let stopping = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let (endpoint, stopping) = (Arc::clone(&self.endpoint), stopping.subscribe());
                        if let Some(permit) = self.admit(peer.ip()) {
                            connections.spawn(async move {
                                endpoint.serve(stream, stopping).await;
                                drop(permit);
                            });
                        } else if let Some(permit) = self.connections.try_reject() {
                            connections.spawn(async move {
                                endpoint.reject(stream).await;
                                drop(permit);
                            });
                        }
                    }
                    Err(error) if is_of_one_client(&error) => {}
                    // Out of file descriptors, most likely: keep serving existing clients.
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
        self.shutdown().await;
    }

    /// A permit for a connection from this address, to be dropped when the connection ends; `None` if a
    /// connection limit is reached.
    pub fn admit(&self, address: IpAddr) -> Option<Permit> {
        self.connections.try_acquire(address)
    }

    /// Checks whether the request may connect, and accepts its WebSocket opening handshake.
    ///
    /// # Errors
    /// The status to answer with: 401 or 403 if the request is not allowed, 426 if it does not ask for an
    /// upgrade to WebSocket version 13, 400 if its handshake is malformed. A 426 must name what it asks for,
    /// as that of `HandshakeError::Version` does.
    pub fn accept(&self, request: &Request<'_>) -> Result<Accepted, Status> {
        self.endpoint.accept(request)
    }

    /// Serves a WebSocket to its end. Its handshake was [accepted](Self::accept) and answered; `received`
    /// holds the bytes that arrived after it, and `deflates` is `true` if [`Accepted::deflate`] is `Some`.
    /// The connection is closed when `stopped` completes.
    pub async fn serve_web_socket(
        &self,
        stream: TcpStream,
        received: BytesMut,
        deflates: bool,
        stopped: impl Future<Output = ()>,
    ) {
        self.endpoint.serve_web_socket(stream, received, deflates, stopped).await;
    }

    /// All counters in Prometheus' text format, version 0.0.4. Visits every connection once.
    pub fn metrics(&self) -> String {
        self.endpoint.metrics()
    }

    /// Publishes the messages that wait for the other nodes, for at most 2 seconds, and leaves the cluster.
    /// [`serve`](Self::serve) calls it; a server embedded in another must call it once its connections have
    /// ended.
    pub async fn shutdown(&self) {
        if let Some(RunningNode { node, receiving }) = &self.node {
            node.shutdown().await;
            let mut receiving = std::mem::take(&mut *receiving.lock());
            // The task ends with the bus.
            while receiving.join_next().await.is_some() {}
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("is_node", &self.node.is_some()).finish_non_exhaustive()
    }
}

/// Returns `true` if `accept` failed for one connection only, so that it can be called again at once. macOS
/// reports a client that has already disconnected this way, Linux a network error on the path to it.
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
