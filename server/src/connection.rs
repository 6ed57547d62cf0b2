//! The HTTP part of the server: requests, until a connection becomes a WebSocket or an event stream.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use pondwire::protocol::Headers;
use pondwire::websocket::handshake::{self, Accepted};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::authorize::AccessPolicy;
use crate::budget::{self, Budget};
use crate::channel::OpenChannel;
use crate::connection_limit::Permit;
use crate::cors;
use crate::endpoints::{Admitted, Endpoints};
use crate::event_stream::{CONNECTION_ID, EventStreams, Posted, Prepared};
use crate::handlers::Gauge;
use crate::memory::{self, Elsewhere, Memory, Partial, Used};
use crate::metrics::{Gauges, Metrics, Page};
use crate::node::Node;
use crate::options::Options;
use crate::phase::{Phase, stopped, stopping};
use crate::proxies::TrustedProxies;
use crate::proxy_protocol::read_header;
use crate::response::{self, ResponseBody};
use crate::session::Sessions;
use crate::socket::{discard, has_begun, linger, set_nodelay, set_user_timeout};
use crate::stream::Stream;
use crate::trace;
use crate::watched::Watched;
use crate::websocket::WebSockets;
use crate::writers::WriterPool;

/// The path of the echo WebSocket, if [`Options::echo`] is set.
const ECHO: &str = "/echo";

/// The path of the counters.
const METRICS: &str = "/metrics";

/// The paths of probes: whether the process lives, and whether it takes new clients.
const HEALTH: &str = "/healthz";
const READINESS: &str = "/readyz";

/// The methods of pages.
const READS: &str = "GET, HEAD";

/// The methods of an endpoint. A `HEAD` is answered as a `GET` that opens nothing.
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// The largest request head in bytes: the least that hyper can be told.
const MAX_HEAD: usize = 8 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 128;

/// The time between two checks of the memory in use.
const MEMORY_CHECKED: Duration = Duration::from_millis(100);

/// The time from the end of one count of the channels' logs to the next.
const LOGS_COUNTED: Duration = Duration::from_secs(1);

/// The first bytes of a request for the health or the counters.
const PROBES: [&[u8]; 2] = [b"GET /healthz", b"GET /metrics"];

/// The longest that a connection over the limits may take to show that it asks for a probe.
const SHOWN: Duration = Duration::from_millis(300);

/// The longest body in bytes that is received for an event stream that does not exist.
const SHORT_BODY: u64 = 16 * 1024;

/// The least bytes of a chunk of a body besides its data (RFC 9112, section 7.1).
const CHUNK: usize = 5;

/// The answer to a connection over the limits, whatever it requests.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 24\r\nconnection: close\r\n\r\n\
    503 Service Unavailable\n";

/// A connection that is being served, to its end.
pub(crate) type Serving<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The answer to a request.
pub(crate) enum Answer {
    Response(Response<ResponseBody>),
    /// It is to become a WebSocket.
    WebSocket(Accepted, Kind),
    /// It is to become an event stream.
    EventStream(Admitted),
}

/// The kind of a WebSocket.
#[cfg_attr(feature = "tracing", allow(clippy::large_enum_variant, reason = "short-lived"))]
pub(crate) enum Kind {
    Client(Admitted),
    /// Messages are sent back.
    Echo,
}

impl Answer {
    /// The client's address, if a proxy has told it.
    pub(crate) const fn forwarded_for(&self) -> Option<IpAddr> {
        match self {
            Self::WebSocket(_, Kind::Client(admitted)) | Self::EventStream(admitted) => {
                admitted.forwarded_for
            }
            _ => None,
        }
    }
}

impl From<StatusCode> for Answer {
    /// A refusal.
    fn from(status: StatusCode) -> Self {
        Self::Response(response::refusal(status))
    }
}

/// Answers requests, and hands each connection over to the part of the server that it is for.
pub(crate) struct Endpoint {
    web_sockets: WebSockets,
    event_streams: EventStreams,
    writers: Arc<WriterPool>,
    access: AccessPolicy,
    proxies: TrustedProxies,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    endpoints: Endpoints,
    phase: watch::Sender<Phase>,
    gauges: Vec<Gauge>,
    node: Option<Arc<Node>>,
    page: Option<&'static str>,
    has_echo: bool,
    message_bytes: usize,
    request_time: Duration,
    ping_time: Duration,
    closing_time: Duration,
}

impl Endpoint {
    /// Must be called in the runtime that serves it.
    ///
    /// # Errors
    /// An option is invalid; the text says which.
    pub(crate) fn new(
        mut options: Options,
        endpoints: Endpoints,
        gauges: Vec<Gauge>,
        node: Option<Arc<Node>>,
    ) -> Result<Self, String> {
        let access = AccessPolicy::new(&options.origins, options.authorize.take())?;
        if options.proxy_protocol && options.trusted_proxies.is_empty() {
            return Err("PROXY protocol: no trusted proxies, who would send its header".to_owned());
        }
        let metrics = Arc::new(Metrics::default());
        let (limits, times) = (options.limits, options.times);
        let writers = Arc::new(WriterPool::start(options.io_uring, options.waiting));
        let backlog = Arc::clone(writers.backlog());
        let sessions = Arc::new(Sessions::new(Arc::clone(&metrics), &options, backlog));
        let memory = Arc::clone(endpoints.memory());
        let web_sockets = WebSockets::new(
            Arc::clone(&sessions),
            Arc::clone(&writers),
            limits,
            times,
            Arc::clone(&memory),
        );
        Ok(Self {
            web_sockets,
            event_streams: EventStreams::new(sessions, Arc::clone(&writers), times),
            writers,
            access,
            proxies: TrustedProxies::new(options.trusted_proxies, options.proxy_protocol),
            metrics,
            memory,
            endpoints,
            phase: watch::Sender::new(Phase::Serving),
            gauges,
            node,
            page: options.page,
            has_echo: options.echo,
            message_bytes: limits.max_bytes,
            request_time: times.request,
            ping_time: times.ping,
            closing_time: times.closing,
        })
    }

    /// How long a request may take to arrive.
    pub(crate) const fn request_time(&self) -> Duration {
        self.request_time
    }

    /// How long a client may take to read something of what it is sent.
    #[cfg(feature = "tls")]
    pub(crate) const fn ping_time(&self) -> Duration {
        self.ping_time
    }

    /// The phase of the server. Each connection holds a receiver until it has closed.
    pub(crate) const fn phase(&self) -> &watch::Sender<Phase> {
        &self.phase
    }

    /// Whether connections from this address are a proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.trusts(address)
    }

    /// Whether new clients may be sent here.
    pub(crate) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
            && self.node.as_ref().is_none_or(|node| node.has_connected())
    }

    /// All counters in Prometheus' text format.
    pub(crate) fn metrics(self: &Arc<Self>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(EndpointMetrics(Arc::clone(self))));
        let mut text = String::with_capacity(8192);
        // A string takes everything.
        let _ = prometheus_text::encode(&mut text, &registry);
        text
    }

    /// Encodes all counters.
    ///
    /// # Errors
    /// What they are written to has failed.
    fn measure(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = Gauges {
            event_streams: self.event_streams.len(),
            channels: self.endpoints.open_channels(),
            presence_too_long: self.endpoints.lists_too_long(),
            memory: self.used(),
            refused_for_memory: self.memory.refused(),
            shed: self.writers.shed_total(),
        };
        let mut page = Page::new(encoder);
        self.metrics.measure(&mut page, &gauges, self.writers.stats());
        let (complete, holes) = self.endpoints.resumed();
        page.counters(
            "resumes_total",
            "joins of clients that asked for what they missed",
            "outcome",
            [("complete", complete), ("hole", holes)],
        );
        let kept = self.endpoints.history_bytes() as u64;
        page.gauge("history_bytes", "bytes that channels keep for clients that come back", kept);
        for Gauge { name, help, value } in &self.gauges {
            page.gauge(name, help, value());
        }
        if let Some(node) = &self.node {
            node.measure(&mut page);
        }
        page.finish()
    }

    /// The memory that clients make the server keep. Visits no channel.
    fn used(&self) -> Used {
        self.memory.used(Elsewhere {
            queues: self.writers.queued_bytes(),
            channels: self.endpoints.open_channels(),
            reported: self.node.as_ref().map_or(0, |node| node.reported_bytes()),
        })
    }

    /// Keeps the memory within its bound, for as long as it is polled.
    pub(crate) async fn bound_memory(&self) {
        loop {
            sleep(MEMORY_CHECKED).await;
            if let Some(most) = self.memory.check(self.used(), memory::resident) {
                self.writers.shed(most);
            }
        }
    }

    /// Counts what is in the logs of the channels, for as long as it is polled. All channels are visited for it, and the
    /// writers empty the logs all the time, so it is done seldom, and for all who ask.
    pub(crate) async fn count_logs(&self) {
        loop {
            sleep(LOGS_COUNTED).await;
            self.memory.set_logs(self.endpoints.unread_bytes().await);
        }
    }

    /// Whether there is memory for a new connection; counts it if not.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.admits()
    }

    /// The channel of this name behind the first endpoint that has one.
    pub(crate) fn channel(&self, name: &str) -> Option<Arc<OpenChannel>> {
        self.endpoints.channel(name)
    }

    /// The open channels of all endpoints.
    pub(crate) fn channels(&self) -> Vec<Arc<OpenChannel>> {
        self.endpoints.channels()
    }

    /// Answers a request to any path of the server, from this address. If the client is `gone`, a message that waits for
    /// its turn is not carried out.
    async fn answer<B: Body>(
        self: &Arc<Self>,
        mut head: Parts,
        body: B,
        peer: Option<SocketAddr>,
        gone: impl Future<Output = ()>,
        budget: &mut Budget,
    ) -> Answer {
        if self.endpoints.has(head.uri.path()) {
            return self.answer_endpoint(head, body, peer, gone, budget).await;
        }
        if !has_valid_host(&head) {
            return StatusCode::BAD_REQUEST.into();
        }
        let methods = match head.uri.path() {
            ECHO if self.has_echo => "GET",
            "/" if self.page.is_some() => READS,
            METRICS | HEALTH | READINESS => READS,
            _ => return StatusCode::NOT_FOUND.into(),
        };
        if !methods.split(", ").any(|method| head.method == method) {
            return Answer::Response(response::not_allowed(methods));
        }
        match head.uri.path() {
            ECHO => match self.accept(&head, &body) {
                Ok(accepted) => Answer::WebSocket(accepted, Kind::Echo),
                Err(status) => status.into(),
            },
            METRICS => match self.access.check(&mut head) {
                Ok(()) => {
                    Answer::Response(response::text(prometheus_text::CONTENT_TYPE, self.metrics()))
                }
                Err(status) => status.into(),
            },
            READINESS if !self.is_ready() => StatusCode::SERVICE_UNAVAILABLE.into(),
            HEALTH | READINESS => Answer::Response(response::plain("200 OK\n")),
            _ => Answer::Response(response::page(self.page.unwrap_or_default())),
        }
    }

    /// Answers a request to an endpoint. Its work is charged to `budget`.
    pub(crate) async fn answer_endpoint<B: Body>(
        &self,
        head: Parts,
        body: B,
        peer: Option<SocketAddr>,
        gone: impl Future<Output = ()>,
        budget: &mut Budget,
    ) -> Answer {
        if !has_valid_host(&head) {
            return StatusCode::BAD_REQUEST.into();
        }
        if !self.endpoints.has(head.uri.path()) {
            return StatusCode::NOT_FOUND.into();
        }
        let grant = self.access.grant(&head);
        let mut answer = self.answer_client(head, body, peer, gone, budget).await;
        match &mut answer {
            Answer::Response(response) => grant.add_to(response.headers_mut()),
            Answer::EventStream(admitted) => grant.add_to(&mut admitted.headers),
            Answer::WebSocket(..) => {}
        }
        answer
    }

    /// Answers a client of an endpoint.
    async fn answer_client<B: Body>(
        &self,
        mut head: Parts,
        body: B,
        peer: Option<SocketAddr>,
        gone: impl Future<Output = ()>,
        budget: &mut Budget,
    ) -> Answer {
        if let Err(status) = self.access.check_origin(&mut head) {
            return status.into();
        }
        if head.method == Method::OPTIONS {
            // Before the client is authorized: a preflight has no credentials.
            return Answer::Response(if cors::is_preflight(&head) {
                cors::preflight(&head, METHODS)
            } else {
                response::options(METHODS)
            });
        }
        if let Err(status) = self.access.authorize(&head) {
            return status.into();
        }
        let headers = Headers::from(&head.headers);
        match head.method {
            Method::GET if handshake::is_upgrade(headers) => match self.accept(&head, &body) {
                Ok(accepted) => match self.connect(&head, peer, "WebSocket").await {
                    Ok(admitted) => Answer::WebSocket(accepted, Kind::Client(admitted)),
                    Err(status) => status.into(),
                },
                Err(status) => status.into(),
            },
            Method::GET if headers.has_token("accept", "text/event-stream") => {
                match self.connect(&head, peer, "event stream").await {
                    Ok(admitted) => Answer::EventStream(admitted),
                    Err(status) => status.into(),
                }
            }
            Method::GET | Method::HEAD => StatusCode::BAD_REQUEST.into(),
            Method::POST | Method::DELETE => {
                Answer::Response(self.carry_out(&head, body, gone, budget).await)
            }
            _ => Answer::Response(response::not_allowed(METHODS)),
        }
    }

    /// Asks the endpoint's handler about a connection over this transport.
    async fn connect(
        &self,
        head: &Parts,
        peer: Option<SocketAddr>,
        transport: &str,
    ) -> Result<Admitted, StatusCode> {
        let forwarded_for = peer.and_then(|peer| self.proxies.client(peer.ip(), &head.headers));
        let address = match (forwarded_for, peer) {
            (Some(address), _) => address.to_string(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => String::new(),
        };
        if matches!(*self.phase.borrow(), Phase::Draining { .. } | Phase::Stopping) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let headers = Headers::from(&head.headers);
        let asked = self.endpoints.connect(target, headers, &address, transport);
        let answered = timeout(self.request_time, asked).await;
        // A handler that takes too long is the server's fault.
        let answered = answered.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        answered.map(|admitted| Admitted { forwarded_for, ..admitted }).map_err(|code| {
            trace::event!(DEBUG, %address, transport, status = code, "declined");
            StatusCode::from_u16(code).unwrap_or(StatusCode::FORBIDDEN)
        })
    }

    /// Carries out a request of an event stream's client.
    async fn carry_out<B: Body>(
        &self,
        head: &Parts,
        body: B,
        gone: impl Future<Output = ()>,
        budget: &mut Budget,
    ) -> Response<ResponseBody> {
        let id = head.headers.get(CONNECTION_ID).and_then(|id| id.to_str().ok());
        let id = id.unwrap_or_default();
        if body.size_hint().lower() > self.message_bytes as u64 {
            return response::refusal(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Before a long body is received, or everybody could have the server keep bodies. hyper then ends the
        // connection, so the client must be told; after a short one more requests may follow.
        let is_short = body.size_hint().upper().is_some_and(|len| len <= SHORT_BODY);
        let place = match head.method {
            Method::POST => self.event_streams.place(id).map(Some),
            _ if self.event_streams.has(id) => Ok(None),
            _ => Err(StatusCode::NOT_FOUND),
        };
        if !is_short && let Err(status) = place {
            let mut response = response::empty(status);
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            return response;
        }
        let posted = match timeout(self.request_time, self.receive(body, budget)).await {
            Ok(Ok(posted)) => posted,
            Ok(Err(status)) => return response::refusal(status),
            Err(_) => return response::refusal(StatusCode::REQUEST_TIMEOUT),
        };
        response::empty(match place {
            Ok(Some(place)) => self.event_streams.receive(id, place, posted, gone, budget).await,
            Ok(None) if self.event_streams.close(id) => StatusCode::NO_CONTENT,
            Ok(None) => StatusCode::NOT_FOUND,
            Err(status) => status,
        })
    }

    /// Receives a body of at most the size of a message. Memory grows with the bytes that arrive, not with
    /// the announced length.
    async fn receive<B: Body>(&self, body: B, budget: &mut Budget) -> Result<Posted, StatusCode> {
        let mut body = pin!(body);
        let (mut message, mut wire) = (BytesMut::new(), 0);
        let mut counted = Partial::new(Arc::clone(&self.memory));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            budget.charge(budget::FRAME);
            budget.yield_if_spent().await;
            let Ok(data) = frame.into_data() else { continue };
            if data.remaining() > self.message_bytes - message.len() {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            wire += CHUNK + data.remaining();
            message.put(data);
            let is_counted = counted.set(message.capacity());
            is_counted.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        }
        Ok(Posted { message, wire, counted })
    }

    /// Accepts the handshake of a WebSocket, with compression if the client offers it.
    ///
    /// # Errors
    /// The request is not a valid handshake, or has a body, which could be taken for frames.
    fn accept(&self, head: &Parts, body: &impl Body) -> Result<Accepted, StatusCode> {
        let headers = Headers::from(&head.headers);
        if head.method != Method::GET || !handshake::is_upgrade(headers) {
            return Err(StatusCode::UPGRADE_REQUIRED);
        }
        if head.version != Version::HTTP_11 || !body.is_end_stream() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let accepted = handshake::accept(headers);
        accepted.and_then(|accepted| accepted.with_deflate(headers)).map_err(|error| {
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST)
        })
    }

    /// Prepares an event stream.
    pub(crate) fn prepare_event_stream(&self, admitted: Admitted) -> Prepared {
        self.event_streams.prepare(admitted)
    }

    /// Serves an event stream to its end; `head` is sent before all else.
    pub(crate) fn serve_event_stream<'a>(
        &'a self,
        prepared: Prepared,
        stream: Stream,
        head: Vec<u8>,
        stopped: impl Future<Output = ()> + Send + 'a,
    ) -> Serving<'a> {
        Box::pin(self.event_streams.run(prepared, stream, head, Box::pin(stopped)))
    }

    /// Serves a WebSocket to its end, whose handshake was answered; `received` holds the bytes that arrived
    /// after it.
    pub(crate) fn serve_web_socket<'a>(
        &'a self,
        stream: Stream,
        received: &[u8],
        WebSocket { deflates, kind }: WebSocket,
        stopped: impl Future<Output = ()> + Send + 'a,
    ) -> Serving<'a> {
        // Copied, because the buffer of an HTTP connection is large, even when it is empty.
        let (received, stopped) = (BytesMut::from(received), Box::pin(stopped));
        match kind {
            Kind::Echo => Box::pin(self.web_sockets.run_echo(stream, received, deflates, stopped)),
            Kind::Client(admitted) => {
                Box::pin(self.web_sockets.run(stream, received, deflates, admitted, stopped))
            }
        }
    }

    /// Serves a connection of the server's own listener to its end.
    pub(crate) async fn serve(self: Arc<Self>, accepted: Box<(TcpStream, Waiting)>) {
        // Boxed, as what follows: a connection that lives long keeps only the memory of what it does now, and
        // one that has sent nothing yet has none for HTTP.
        if let Some((serving, permit)) = Box::pin(self.wait_for_request(accepted)).await {
            serving.await;
            drop(permit);
        }
    }

    /// Learns who the client is from its proxy, if that says so before all else, and counts the connection for its
    /// address.
    ///
    /// # Errors
    /// The connection must end, after this answer to whatever it will request.
    pub(crate) async fn identify(
        &self,
        stream: &mut TcpStream,
        waiting: &mut Waiting,
    ) -> Result<(), Option<&'static [u8]>> {
        if !self.proxies.sends_header(waiting.peer.ip()) {
            return Ok(());
        }
        match waiting.until(Box::pin(read_header(stream))).await {
            Some(Ok(Some(client))) => {
                waiting.peer = client;
                let is_counted = self.trusts(client.ip()) || waiting.permit.count_for(client.ip());
                if is_counted { Ok(()) } else { Err(Some(BUSY)) }
            }
            Some(Ok(None)) => Ok(()),
            Some(Err(_)) | None => Err(None),
        }
    }

    /// Waits for the first byte, and then [becomes what is served](Self::become_served).
    async fn wait_for_request(
        self: &Arc<Self>,
        accepted: Box<(TcpStream, Waiting)>,
    ) -> Option<(Serving<'_>, Permit)> {
        let (mut stream, mut waiting) = *accepted;
        set_nodelay(&stream);
        if let Err(answer) = self.identify(&mut stream, &mut waiting).await {
            if let Some(answer) = answer {
                waiting.until(self.answer_unread(stream, answer)).await;
            }
            return None;
        }
        if !matches!(waiting.until(has_begun(&stream)).await, Some(Ok(()))) {
            return None;
        }
        Box::pin(self.become_served(stream, waiting)).await
    }

    /// Answers the requests of a connection; returns what it is then served by, if it is still there.
    async fn become_served(
        self: &Arc<Self>,
        stream: TcpStream,
        waiting: Waiting,
    ) -> Option<(Serving<'_>, Permit)> {
        let Answered { stream, received, next, permit, phase } =
            self.answer_requests(stream, waiting).await?;
        let serving: Serving<'_> = if next.is_end() {
            Box::pin(self.finish(stream, received, next))
        } else {
            self.serve_next(Stream::Tcp(stream), &received, next, phase)
        };
        Some((serving, permit))
    }

    /// Serves what a connection has become, to its end; `received` holds the bytes that arrived after its
    /// last request.
    pub(crate) fn serve_next(
        &self,
        stream: Stream,
        received: &[u8],
        next: Next,
        phase: watch::Receiver<Phase>,
    ) -> Serving<'_> {
        let stopped = stopped(phase);
        match next {
            Next::WebSocket(socket) => self.serve_web_socket(stream, received, socket, stopped),
            Next::EventStream(admitted) => {
                if let Stream::Tcp(stream) = &stream {
                    set_user_timeout(stream, self.ping_time);
                }
                let mut prepared = self.event_streams.prepare(admitted);
                let head = head_of(&prepared.take_headers());
                self.serve_event_stream(prepared, stream, head, stopped)
            }
            Next::Answered | Next::End => Box::pin(async {}),
        }
    }

    /// Ends a connection that has become nothing else, in such a way that the client can read the last
    /// response.
    pub(crate) async fn finish<S>(&self, stream: S, received: Bytes, next: Next)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ended = async {
            match next {
                Next::Answered => linger(stream).await,
                _ if received.starts_with(HTTP2) => refuse_http2(stream).await,
                _ => discard(stream).await,
            }
        };
        let _ = timeout(self.closing_time, ended).await;
    }

    /// Answers a connection over the limits with 503, unless it is for what tells an operator that it is full.
    pub(crate) async fn reject(self: Arc<Self>, mut stream: TcpStream, peer: IpAddr) {
        let is_probe = async {
            self.skip_proxy_header(&mut stream, peer).await && begins_as_probe(&stream).await
        };
        if timeout(SHOWN, is_probe).await.unwrap_or(false) {
            Box::pin(self.answer_probe(stream)).await;
        } else {
            self.answer_unread(stream, BUSY).await;
        }
    }

    /// Reads what a proxy sends before all else. `false`: it has not sent it.
    pub(crate) async fn skip_proxy_header(&self, stream: &mut TcpStream, peer: IpAddr) -> bool {
        !self.proxies.sends_header(peer) || read_header(stream).await.is_ok()
    }

    /// Answers the first request of a connection over the limits with 503, unless it is for the health or the
    /// counters, and ends it.
    pub(crate) async fn answer_probe<S>(self: &Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let service = service_fn(|request: http::Request<Incoming>| async move {
            let (head, body) = request.into_parts();
            let mut budget = Budget::new(budget::CONNECTION);
            let response = match head.uri.path() {
                HEALTH | METRICS => {
                    match self.answer(head, body, None, pending(), &mut budget).await {
                        Answer::Response(response) => response,
                        _ => response::refusal(StatusCode::SERVICE_UNAVAILABLE),
                    }
                }
                _ => response::refusal(StatusCode::SERVICE_UNAVAILABLE),
            };
            Ok::<_, Infallible>(response)
        });
        let connection = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(SHOWN)
            .serve_connection(TokioIo::new(stream), service);
        let answered = async {
            if let Ok(parts) = connection.without_shutdown().await {
                let _ = linger(parts.io.into_inner()).await;
            }
        };
        let _ = timeout(self.closing_time, answered).await;
    }

    /// Answers a connection before it has been read from, and ends it.
    pub(crate) async fn answer_unread(&self, mut stream: TcpStream, response: &[u8]) {
        let answered = async {
            stream.write_all(response).await?;
            discard(stream).await
        };
        let _ = timeout(self.closing_time, answered).await;
    }

    /// Answers the requests of a connection, until it ends or becomes something else; `None` if it has not
    /// sent a request in time, or must make room for others.
    pub(crate) async fn answer_requests<S: AsyncRead + AsyncWrite + Send + Unpin>(
        self: &Arc<Self>,
        stream: S,
        Waiting { peer, permit, due, phase }: Waiting,
    ) -> Option<Answered<S>> {
        let mut shed = pin!(permit.shed());
        let stream = Watched::new(stream);
        let requests = Arc::new(Requests {
            endpoint: Arc::clone(self),
            peer,
            stream: stream.clone(),
            state: Mutex::new(RequestsState {
                budget: Budget::new(budget::CONNECTION),
                due: Some(due),
                next: Next::End,
                permit: Some(permit),
            }),
        });
        let service = service_fn(|request| {
            let requests = Arc::clone(&requests);
            Box::pin(async move { requests.respond(request).await })
        });
        let mut connection = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut stopping = pin!(stopping(phase.clone()));
        // When the connection must have ended, once the server stops.
        let mut last = None;
        let due = |last| [requests.due(), last].into_iter().flatten().min();
        loop {
            let wake = due(last).unwrap_or_else(|| Instant::now() + self.request_time);
            tokio::select! {
                // An error was answered if it can be, or is on purpose: see `TakenOver`.
                _ = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break,
                () = sleep_until(wake) => {
                    if due(last).is_some_and(|due| due <= Instant::now()) {
                        return None;
                    }
                }
                () = &mut shed => return None,
                () = &mut stopping, if last.is_none() => {
                    last = Some(Instant::now() + self.closing_time);
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
        let (stream, received) = requests.stream.take_stream(connection.into_parts().read_buf)?;
        let mut state = requests.state.lock();
        let next = mem::replace(&mut state.next, Next::End);
        let mut permit = state.permit.take()?;
        // From here on nothing waits for its being asked to make room.
        if !permit.set_busy() {
            return None;
        }
        Some(Answered { stream, received, next, permit, phase })
    }
}

/// All counters, encoded anew for each scrape.
pub(crate) struct EndpointMetrics(pub(crate) Arc<Endpoint>);

impl fmt::Debug for EndpointMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointMetrics").finish_non_exhaustive()
    }
}

impl Collector for EndpointMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.measure(encoder)
    }
}

/// A connection of the server's own listener that waits for its first request.
pub(crate) struct Waiting {
    peer: SocketAddr,
    permit: Permit,
    /// When the request must have arrived.
    due: Instant,
    phase: watch::Receiver<Phase>,
}

impl Waiting {
    /// A connection from this address, which has just been accepted.
    pub(crate) fn new(endpoint: &Endpoint, peer: SocketAddr, mut permit: Permit) -> Self {
        permit.set_idle();
        let due = Instant::now() + endpoint.request_time;
        Self { peer, permit, due, phase: endpoint.phase.subscribe() }
    }

    /// Waits for what must be done before a client's first request, or instead of it: `None` if that was not done in
    /// time, the connection must make room for others, or the server stops.
    pub(crate) async fn until<T>(&mut self, done: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = timeout_at(self.due, done) => done.ok(),
            () = self.permit.shed() => None,
            () = stopping(self.phase.clone()) => None,
        }
    }
}

/// A connection whose requests were answered.
pub(crate) struct Answered<S> {
    pub(crate) stream: S,
    /// The bytes that arrived after the last request.
    pub(crate) received: Bytes,
    pub(crate) next: Next,
    pub(crate) permit: Permit,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// What a connection becomes once its requests are answered.
pub(crate) enum Next {
    End,
    /// It was answered as it wanted, and has nothing more to send.
    Answered,
    WebSocket(WebSocket),
    EventStream(Admitted),
}

impl Next {
    /// Whether it becomes nothing but an end.
    pub(crate) const fn is_end(&self) -> bool {
        matches!(self, Self::End | Self::Answered)
    }

    #[cfg(feature = "tls")]
    pub(crate) const fn is_event_stream(&self) -> bool {
        matches!(self, Self::EventStream(_))
    }
}

/// A WebSocket whose handshake was answered.
pub(crate) struct WebSocket {
    /// Whether permessage-deflate was negotiated.
    deflates: bool,
    kind: Kind,
}

impl WebSocket {
    /// The socket, and the response that opens it.
    pub(crate) fn open(accepted: &Accepted, kind: Kind) -> (Self, Response<ResponseBody>) {
        let mut response = accepted.to_http();
        if let Kind::Client(admitted) = &kind {
            for (name, value) in &admitted.headers {
                response.headers_mut().append(name, value.clone());
            }
        }
        (Self { deflates: accepted.deflate().is_some(), kind }, response)
    }
}

/// The requests of one connection, which arrive one after another.
struct Requests<S> {
    endpoint: Arc<Endpoint>,
    peer: SocketAddr,
    stream: Watched<S>,
    state: Mutex<RequestsState>,
}

struct RequestsState {
    budget: Budget,
    /// When the next request must have arrived, and the response to the previous one been sent; `None`
    /// during a request.
    due: Option<Instant>,
    next: Next,
    /// Present until the last request was answered.
    permit: Option<Permit>,
}

/// The error by which hyper gives a connection back without a response: an event stream's is written by its
/// own writer, to the socket. Earlier responses were written, unless the client does not read them.
#[derive(Debug)]
struct TakenOver;

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection becomes an event stream")
    }
}

impl std::error::Error for TakenOver {}

impl<S: AsyncRead + AsyncWrite + Unpin> Requests<S> {
    fn due(&self) -> Option<Instant> {
        self.state.lock().due
    }

    async fn respond<B: Body>(
        &self,
        request: http::Request<B>,
    ) -> Result<Response<ResponseBody>, TakenOver> {
        let mut budget = {
            let mut state = self.state.lock();
            state.due = None;
            if let Some(permit) = &mut state.permit {
                permit.set_busy();
            }
            mem::replace(&mut state.budget, Budget::new(budget::CONNECTION))
        };
        let (head, body) = request.into_parts();
        budget.charge(budget::MESSAGE + size_of(&head.headers));
        budget.yield_if_spent().await;
        let is_message = matches!(head.method, Method::POST | Method::DELETE)
            || head.method == Method::OPTIONS && body.is_end_stream();
        let is_chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
        let (peer, gone) = (Some(self.peer), self.stream.ended());
        let mut answer = self.endpoint.answer(head, body, peer, gone, &mut budget).await;
        let mut state = self.state.lock();
        if let Some(client) = answer.forwarded_for()
            && !state.permit.as_mut().is_some_and(|permit| permit.count_for(client))
        {
            answer = StatusCode::SERVICE_UNAVAILABLE.into();
        }
        state.budget = budget;
        state.due = Some(Instant::now() + self.endpoint.request_time);
        match answer {
            Answer::Response(mut response) => {
                // Only a client of an event stream sends many requests (and its browser preflights), and their
                // answers have no body. A chunked one may have had a length, too, that hyper has removed: then
                // the connection must end (RFC 9112, section 6.1).
                if !response.body().is_end_stream() || !is_message || is_chunked {
                    // Beside that of a 426, which asks for an upgrade.
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().append(header::CONNECTION, close);
                    if response.status().is_success() {
                        state.next = Next::Answered;
                    }
                } else {
                    state.permit.iter_mut().for_each(Permit::set_idle);
                }
                Ok(response)
            }
            Answer::WebSocket(accepted, kind) => {
                let (socket, response) = WebSocket::open(&accepted, kind);
                state.next = Next::WebSocket(socket);
                Ok(response)
            }
            Answer::EventStream(admitted) => {
                state.next = Next::EventStream(admitted);
                Err(TakenOver)
            }
        }
    }
}

/// Whether a connection's first bytes, which stay unread, are those of a request for the health or the counters.
async fn begins_as_probe(stream: &TcpStream) -> bool {
    let mut first = [0; 12];
    while let Ok(len @ 1..) = stream.peek(&mut first).await {
        let could_be = |probe: &&[u8]| {
            let common = len.min(probe.len());
            first[..common] == probe[..common]
        };
        match PROBES.into_iter().find(could_be) {
            Some(probe) if len >= probe.len() => return true,
            // Only a part has arrived; peeking does not wait for more.
            Some(_) => sleep(Duration::from_millis(5)).await,
            None => return false,
        }
    }
    false
}

/// Whether the request names one host, as HTTP/1.1 demands (RFC 9112, section 3.2): a proxy may have read
/// another one.
fn has_valid_host(head: &Parts) -> bool {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    hosts == 1 || hosts == 0 && head.version != Version::HTTP_11
}

/// The bytes of the headers, approximately as they arrived.
fn size_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// The head of the response that opens an event stream; it ends with the connection.
fn head_of(headers: &HeaderMap) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n".to_vec();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The first bytes of a client that speaks HTTP/2 without having been offered it.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// Empty settings, and a GOAWAY that demands HTTP/1.1 (RFC 9113, sections 6.8 and 7).
const HTTP_1_1_REQUIRED: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0D";

async fn refuse_http2(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    stream.write_all(HTTP_1_1_REQUIRED).await?;
    linger(stream).await
}
