//! The server as one value, and the loop that accepts connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use pondwire::websocket::handshake::Accepted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::channel::{ChannelOptions, MakeLink};
use crate::connection::Endpoint;
use crate::connection_limit::{ConnectionLimit, Permit};
use crate::endpoints::{Admitted, Endpoints};
use crate::handle::Channel;
use crate::handlers::PondServer;
use crate::http::{Request, Status};
use crate::log;
use crate::node::Node;
use crate::options::Options;
use crate::socket::{check_congestion_control, set_congestion_control};

/// A running server, cheap to clone. It either listens itself ([`serve`](Self::serve)) or is part of another HTTP server
/// ([`admit`](Self::admit), [`accept`](Self::accept) and [`serve_web_socket`](Self::serve_web_socket), as
/// in `examples/axum` in the repository).
#[derive(Clone)]
pub struct Server {
    endpoint: Arc<Endpoint>,
    connections: Arc<ConnectionLimit>,
    node: Option<Arc<RunningNode>>,
    /// How long connections may take to close at shutdown.
    closing: Duration,
    congestion_control: Option<String>,
}

struct RunningNode {
    node: Arc<Node>,
    /// Receives from the other nodes; aborted if the server is dropped without a shutdown.
    receiving: Mutex<JoinSet<()>>,
}

impl PondServer {
    /// Starts the application on the current tokio runtime. A node connects to Redis in the background and serves
    /// its own users meanwhile.
    ///
    /// # Errors
    /// A path or a name is no [`Pattern`](pondwire::protocol::Pattern), or an event has two handlers.
    /// [`Options::node`] has an invalid URL, or is set without the feature `redis`. The system refuses the
    /// [`Options::congestion_control`]. The text says which, and why.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self, mut options: Options) -> Result<Server, String> {
        let congestion_control = options.congestion_control.take();
        if let Some(name) = &congestion_control {
            check_congestion_control(name)
                .map_err(|error| format!("congestion control {name}: {error}"))?;
        }
        let node = options.node.as_ref().map(Node::start).transpose()?;
        let link = |endpoint: &str| {
            let (node, endpoint) = (Arc::clone(node.as_ref()?), endpoint.to_owned());
            Some(Box::new(move |channel: &str| node.link(&endpoint, channel)) as MakeLink)
        };
        let Options { presence_bytes, presence_interval, .. } = options;
        let channels = ChannelOptions { presence_bytes, presence_interval };
        let endpoints = Endpoints::new(self.endpoints, channels, link)?;
        let running = node.clone().map(|node| {
            let receiver = Arc::clone(&node);
            let mut receiving = JoinSet::new();
            receiving.spawn(async move { receiver.run().await });
            Arc::new(RunningNode { node, receiving: Mutex::new(receiving) })
        });
        let connections =
            ConnectionLimit::new(options.connections, options.connections_per_address);
        Ok(Server {
            connections: Arc::new(connections),
            closing: options.times.closing,
            congestion_control,
            endpoint: Arc::new(Endpoint::new(options, endpoints, self.gauges, node)),
            node: running,
        })
    }
}

impl Server {
    /// A channel, to use it outside of its handlers; `None` if no endpoint's pattern matches the name. Of several
    /// endpoints, the first that was added counts.
    pub fn channel(&self, name: &str) -> Option<Channel> {
        self.endpoint.channel(name).map(Channel::new)
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

    /// Checks whether the request may connect, accepts its WebSocket opening handshake, and asks the endpoint's
    /// handler. The response must have the headers of the handshake and [those of the handler](Admitted::headers).
    ///
    /// # Errors
    /// The status to answer with: 401 or 403 if the request is not allowed, 404 if it is to no endpoint, 426 if it
    /// does not ask for an upgrade to WebSocket version 13, 400 if its handshake is malformed, or that of the
    /// handler. A 426 must name what it asks for, as that of `HandshakeError::Version` does.
    pub async fn accept(
        &self,
        request: &Request<'_>,
        peer: SocketAddr,
    ) -> Result<(Accepted, Admitted), Status> {
        self.endpoint.accept(request, &peer.to_string()).await
    }

    /// Serves a WebSocket to its end. Its handshake was [accepted](Self::accept) and answered; `received`
    /// holds the bytes that arrived after it, and `deflates` is `true` if [`Accepted::deflate`] is `Some`.
    /// The connection is closed when `stopped` completes.
    pub async fn serve_web_socket(
        &self,
        stream: TcpStream,
        received: BytesMut,
        deflates: bool,
        admitted: Admitted,
        stopped: impl Future<Output = ()>,
    ) {
        self.endpoint.serve_web_socket(stream, received, deflates, admitted, stopped).await;
    }

    /// All counters in Prometheus' text format, version 0.0.4. Visits every connection once.
    pub fn metrics(&self) -> String {
        self.endpoint.metrics()
    }

    /// Publishes the messages that wait for the other nodes, for at most 2 seconds, and leaves the cluster.
    /// [`serve`](Self::serve) calls it; a server embedded in another must call it once its connections have
    /// ended.
    pub async fn shutdown(&self) {
        if let Some(running) = &self.node {
            let RunningNode { node, receiving } = &**running;
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
