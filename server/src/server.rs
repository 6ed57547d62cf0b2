//! The server as one value, and the loop that accepts connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pondwire::room::HistoryBudget;
use prometheus_client::collector::Collector;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::budget::InUse;
use crate::channel::{ChannelOptions, MakeLink};
use crate::connection::{Endpoint, EndpointMetrics, Waiting};
use crate::connection_limit::{ConnectionLimit, Permit};
use crate::endpoints::Endpoints;
use crate::handle::Channel;
use crate::handlers::PondServer;
use crate::log;
use crate::memory::Memory;
use crate::node::Node;
use crate::options::{LONGEST, Options, Times};
use crate::phase::Phase;
use crate::socket::{check_congestion_control, set_congestion_control};

/// A running server, cheap to clone. It either listens itself ([`serve`](Self::serve)) or is part of an application
/// of axum, hyper or tower ([`into_service`](Self::into_service), as in `examples/axum` in the repository).
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Arc<Endpoint>,
    connections: Arc<ConnectionLimit>,
    node: Option<RunningNode>,
    times: Times,
    congestion_control: Option<String>,
    /// Keeps the memory within its bound; aborted when the server is dropped.
    _watching: JoinSet<()>,
}

/// What the connections of a listener carry HTTP over.
enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl Transport {
    /// What an answer to a client over the limits costs, compared with one without TLS.
    const fn cost_of_rejection(&self) -> u32 {
        match self {
            Self::Plain => 1,
            // A handshake is most of what a connection costs.
            #[cfg(feature = "tls")]
            Self::Tls(_) => 8,
        }
    }
}

struct RunningNode {
    node: Arc<Node>,
    /// Receive from the other nodes; aborted if the server is dropped without a shutdown.
    receiving: Mutex<JoinSet<()>>,
}

impl PondServer {
    /// Starts the application on the current tokio runtime. A node first asks Redis whether it accepts the
    /// credentials, which blocks this thread for at most a second. If Redis cannot be reached, the node serves its
    /// own users and goes on connecting in the background.
    ///
    /// # Errors
    /// A path or a name is not a [`Pattern`](pondwire::protocol::Pattern), or an event has two handlers. One of
    /// [`Options::origins`] is not an origin, or one of [`Options::times`] makes no sense. [`Options::proxy_protocol`]
    /// is set without trusted proxies. [`Options::node`] has an invalid URL, Redis refuses the credentials, or the
    /// feature `redis` is missing. The system refuses the [`Options::congestion_control`]. The text says which, and
    /// why.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(mut self, mut options: Options) -> Result<Server, String> {
        options.times = options.times.checked()?;
        options.presence_interval = options.presence_interval.min(LONGEST);
        let congestion_control = options.congestion_control.take();
        if let Some(name) = &congestion_control {
            check_congestion_control(name)
                .map_err(|error| format!("congestion control {name}: {error}"))?;
        }
        let node = options
            .node
            .as_ref()
            .map(|node| Node::start(node, options.memory_bytes))
            .transpose()?;
        let link = |endpoint: &str| {
            let (node, endpoint) = (Arc::clone(node.as_ref()?), endpoint.to_owned());
            Some(Box::new(move |channel: &str| node.link(&endpoint, channel)) as MakeLink)
        };
        for endpoint in &mut self.endpoints {
            endpoint.bound_history(&options.waiting);
        }
        let Options { presence_bytes, presence_interval, history_bytes, times, .. } = options;
        let history = HistoryBudget::new(history_bytes);
        let memory = Memory::new(options.memory_bytes, options.last_broadcast_bytes);
        let (memory, in_use) = (Arc::new(memory), InUse::new());
        let channels =
            ChannelOptions { presence_bytes, presence_interval, history, memory, in_use };
        let endpoints = Endpoints::new(self.endpoints, channels, link)?;
        let running = node.clone().map(|node| {
            let mut receiving = JoinSet::new();
            node.receive(&mut receiving);
            RunningNode { node, receiving: Mutex::new(receiving) }
        });
        let connections =
            ConnectionLimit::new(options.connections, options.connections_per_address);
        if connections.most() < options.connections && options.connections != usize::MAX {
            log::line(format_args!(
                "at most {} connections: the process may open no more files",
                connections.most()
            ));
        }
        let endpoint = Arc::new(Endpoint::new(options, endpoints, self.gauges, node)?);
        let watched = Arc::clone(&endpoint);
        let mut watching = JoinSet::new();
        watching.spawn(async move { watched.bound_memory().await });
        let counted = Arc::clone(&endpoint);
        watching.spawn(async move { counted.count_logs().await });
        let shared = Shared {
            connections: Arc::new(connections),
            times,
            congestion_control,
            endpoint,
            node: running,
            _watching: watching,
        };
        Ok(Server { shared: Arc::new(shared) })
    }
}

impl Server {
    /// A channel, to use it outside of its handlers; `None` if no endpoint's pattern matches the name. If several
    /// endpoints have such a pattern, the first one that was added counts.
    pub fn channel(&self, name: &str) -> Option<Channel> {
        self.shared.endpoint.channel(name).map(Channel::new)
    }

    /// The channels that are open on this node, in no order: those that have members here, had some a moment ago, or
    /// keep broadcasts for them. For a timer that sends to each, or a list: it takes a reference to each channel, and
    /// locks a part of an endpoint's table at a time.
    ///
    /// ```no_run
    /// use pondwire_server::{Server, Json};
    ///
    /// async fn tick(server: Server) {
    ///     let mut seconds = tokio::time::interval(std::time::Duration::from_secs(1));
    ///     for second in 0_u64.. {
    ///         seconds.tick().await;
    ///         for channel in server.channels() {
    ///             channel.broadcast("tick", Json(second)).expect("a number serializes");
    ///         }
    ///     }
    /// }
    /// ```
    pub fn channels(&self) -> Vec<Channel> {
        self.shared.endpoint.channels().into_iter().map(Channel::new).collect()
    }

    /// Serves the connections of the listener until `stop` completes, and then ends in order:
    ///
    /// 1. `/readyz` is answered 503, and all else goes on, for [`Times::unready`](crate::Times::unready).
    /// 2. No more clients are accepted: a new WebSocket or event stream is answered 503. The open ones are served, and
    ///    closed one after another, during [`Times::drain`](crate::Times::drain) or until none is left.
    /// 3. The listener is closed, and so are all other connections: each has
    ///    [`Times::closing`](crate::Times::closing) to send its queued frames.
    /// 4. [`shutdown`](Self::shutdown) does the rest.
    ///
    /// The first two take no time by default. For rolling restarts behind a load balancer, let `unready` be the time
    /// that it takes to notice the 503, and `drain` so long that the other servers can take all clients of this one.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        self.serve_over(&Transport::Plain, listener, stop).await;
    }

    /// [`serve`](Self::serve) over TLS, by rustls; needs the feature `tls`.
    ///
    /// The configuration holds the certificates, and may choose one for each handshake, which is also how they are
    /// renewed. Its list of protocols is replaced by `http/1.1`. A program without rustls among its dependencies uses
    /// it as `pondwire_server::rustls`; for two files in the PEM format:
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use pondwire_server::rustls::ServerConfig;
    /// use pondwire_server::rustls::pki_types::pem::PemObject;
    /// use pondwire_server::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    /// use pondwire_server::stop_signal;
    ///
    /// # use pondwire_server::Server;
    /// # use tokio::net::TcpListener;
    /// # async fn run(server: Server, listener: TcpListener) -> Result<(), Box<dyn std::error::Error>> {
    /// let certificates = CertificateDer::pem_file_iter("certificates.pem")?.collect::<Result<_, _>>()?;
    /// let key = PrivateKeyDer::from_pem_file("key.pem")?;
    /// let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    /// server.serve_tls(listener, Arc::new(config), stop_signal()?).await;
    /// # Ok(()) }
    /// ```
    ///
    /// The handshake and the first request must be finished within [`Times::request`](crate::Times::request). A client
    /// that speaks HTTP is answered 400. Connections beyond the limits are answered as without TLS, but only eight at
    /// once, because each costs a handshake; further ones are closed without an answer.
    ///
    /// A connection costs as much as one over any other stream that is not TCP: see
    /// [`into_service`](Self::into_service).
    #[cfg(feature = "tls")]
    pub async fn serve_tls(
        self,
        listener: TcpListener,
        config: Arc<tokio_rustls::rustls::ServerConfig>,
        stop: impl Future<Output = ()>,
    ) {
        let transport = Transport::Tls(crate::tls::acceptor(config));
        self.serve_over(&transport, listener, stop).await;
    }

    async fn serve_over(
        self,
        transport: &Transport,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) {
        let Shared { connections: limit, congestion_control, .. } = &*self.shared;
        if let Some(name) = congestion_control
            && let Err(error) = set_congestion_control(&listener, name)
        {
            // The same name was possible a moment ago, and it only affects the speed.
            log::line(format_args!("congestion control {name}: {error}"));
        }
        let mut connections = JoinSet::new();
        let phase = self.shared.endpoint.phase();
        let mut stopped = pin!(async {
            stop.await;
            self.become_unready().await;
            self.drain().await;
        });
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let endpoint = self.endpoint();
                        let peer_ip = peer.ip();
                        let Some(permit) = self.admit(Some(peer_ip)) else {
                            let Some(permit) = limit.try_reject(transport.cost_of_rejection()) else {
                                continue;
                            };
                            match transport {
                                Transport::Plain => connections.spawn(async move {
                                    endpoint.reject(stream, peer_ip).await;
                                    drop(permit);
                                }),
                                #[cfg(feature = "tls")]
                                Transport::Tls(acceptor) => {
                                    let acceptor = acceptor.clone();
                                    connections.spawn(async move {
                                        endpoint.reject_tls(stream, acceptor, peer_ip).await;
                                        drop(permit);
                                    })
                                }
                            };
                            continue;
                        };
                        let waiting = Waiting::new(&endpoint, peer, permit);
                        match transport {
                            Transport::Plain => {
                                let accepted = Box::new((stream, waiting));
                                // Boxed: tokio rounds a task up to 128 bytes.
                                connections.spawn(Box::pin(endpoint.serve(accepted)));
                            }
                            #[cfg(feature = "tls")]
                            Transport::Tls(acceptor) => {
                                let acceptor = acceptor.clone();
                                connections.spawn(endpoint.serve_tls(stream, acceptor, waiting));
                            }
                        }
                    }
                    Err(error) if is_of_one_client(&error) => {}
                    // Out of file descriptors, most likely, which the application has, too: keep serving existing
                    // clients.
                    Err(_) if limit.shed_idle() => sleep(Duration::from_millis(1)).await,
                    Err(error) => {
                        log::line(format_args!("accept: {error}"));
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = &mut stopped => break,
            }
        }
        drop(listener);
        phase.send_replace(Phase::Stopping);
        let closed = async { while connections.join_next().await.is_some() {} };
        if timeout(self.grace(), closed).await.is_err() {
            log::line("some connections did not close in time");
            connections.shutdown().await;
        }
        self.shutdown().await;
    }

    /// Asks load balancers to send no more clients, and gives them time.
    async fn become_unready(&self) {
        let Shared { endpoint, times, .. } = &*self.shared;
        let phase = endpoint.phase();
        phase.send_if_modified(|phase| {
            let was_ready = *phase == Phase::Serving;
            if was_ready {
                *phase = Phase::Unready;
            }
            was_ready
        });
        let mut phase = phase.subscribe();
        // Until it is over, or the application shuts the server down.
        let is_over = phase.wait_for(|phase| *phase != Phase::Unready);
        let _ = timeout(times.unready, is_over).await;
    }

    /// Lets the connections close one after another, and waits until the last one has been asked to, or none is left.
    /// To be called again, it only waits.
    async fn drain(&self) {
        let Shared { endpoint, times, .. } = &*self.shared;
        let phase = endpoint.phase();
        phase.send_if_modified(|phase| {
            let is_first = matches!(phase, Phase::Serving | Phase::Unready);
            if is_first {
                *phase = Phase::Draining { until: Instant::now() + times.drain };
            }
            is_first
        });
        let phase_now = *phase.borrow();
        if let Phase::Draining { until } = phase_now {
            let _ = timeout_at(until, phase.closed()).await;
        }
    }

    /// A little longer than any connection may take to close.
    fn grace(&self) -> Duration {
        self.shared.times.closing + Duration::from_secs(1)
    }

    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.shared.endpoint)
    }

    /// A permit for a connection from this address, to be dropped when the connection ends; `None` if a
    /// connection limit is reached, or there is no memory.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Option<Permit> {
        // Many clients share a proxy's.
        let address = address.filter(|address| !self.shared.endpoint.trusts(*address));
        let has_memory = self.shared.endpoint.has_memory();
        has_memory.then(|| self.shared.connections.try_acquire(address)).flatten()
    }

    /// All counters in Prometheus' text format, version 0.0.4. The media type to answer them with is
    /// `prometheus_client::encoding::prometheus_text::CONTENT_TYPE`. Visits every connection once.
    pub fn metrics(&self) -> String {
        self.shared.endpoint.metrics()
    }

    /// All counters for a registry of an application that has metrics of its own, under the names that they have in
    /// [`metrics`](Self::metrics). Each scrape visits every connection once. The registry keeps the server.
    ///
    /// Encode it by `prometheus_client::encoding::prometheus_text`: OpenMetrics has no room for a gauge
    /// `pondwire_connections` beside a counter `pondwire_connections_total`.
    ///
    /// ```
    /// use pondwire_server::prometheus_client::encoding::prometheus_text;
    /// use pondwire_server::prometheus_client::registry::Registry;
    /// # use pondwire_server::{Options, PondServer};
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let server = PondServer::new().start(Options::default())?;
    /// let mut registry = Registry::default();
    /// registry.register_collector(Box::new(server.collector()));
    /// let mut page = String::new();
    /// prometheus_text::encode(&mut page, &registry)?;
    /// assert!(page.contains("\npondwire_connections 0\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn collector(&self) -> impl Collector + use<> {
        EndpointMetrics(self.endpoint())
    }

    /// Whether load balancers should send new clients here, as `/readyz` says: from the start on (a node: once it has
    /// been connected to Redis) until [`serve`](Self::serve) is asked to stop, or [`shutdown`](Self::shutdown) is
    /// called.
    pub fn is_ready(&self) -> bool {
        self.shared.endpoint.is_ready()
    }

    /// Closes all connections, WebSockets with 1001: one after another during [`Times::drain`](crate::Times::drain), in
    /// which no more clients are accepted, then the rest within [`Times::closing`](crate::Times::closing) and a second.
    /// Then publishes the messages that wait for the other nodes, for at most 2 seconds, and leaves
    /// the cluster. [`serve`](Self::serve) calls it after [`Times::unready`](crate::Times::unready), which an application
    /// with its own `/readyz` waits for itself. An application that has the server as a
    /// [service](Self::into_service) must await it when it stops, and before it waits for its connections: for axum,
    /// within the future that it gives to `with_graceful_shutdown`, because axum waits for open event streams, which
    /// the server ends only here.
    pub async fn shutdown(&self) {
        self.drain().await;
        let phase = self.shared.endpoint.phase();
        phase.send_replace(Phase::Stopping);
        if timeout(self.grace(), phase.closed()).await.is_err() {
            log::line("some connections did not close in time");
        }
        if let Some(RunningNode { node, receiving }) = &self.shared.node {
            node.shutdown().await;
            let mut receiving = std::mem::take(&mut *receiving.lock());
            // Each task ends with its bus.
            while receiving.join_next().await.is_some() {}
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("is_node", &self.shared.node.is_some())
            .finish_non_exhaustive()
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
