//! The HTTP part of a connection: its requests, until it becomes a WebSocket or an event stream.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pondwire::websocket::handshake::Accepted;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::authorize::AccessPolicy;
use crate::channel::OpenChannel;
use crate::endpoints::{Admitted, Endpoints};
use crate::event_stream::EventStreams;
use crate::handlers::Gauge;
use crate::http::{Http, NOT_FOUND, Request, Status, UPGRADE_REQUIRED, header_lines, status_of};
use crate::metrics::{Gauges, Metrics};
use crate::node::Node;
use crate::options::Options;
use crate::session::Sessions;
use crate::socket::{discard, linger};
use crate::websocket::WebSockets;
use crate::writers::WriterPool;

/// Stands for the path of any endpoint.
const ENDPOINT: &str = "an endpoint";

/// The path of the echo WebSocket, if [`Options::echo`] is set.
const ECHO: &str = "/echo";

/// The next step of a connection after a request.
enum Next {
    /// The request is answered, and another may follow.
    Request,
    /// The request is refused with this status, and the connection ends.
    Refuse(Status),
    /// The request is answered, and the connection ends.
    End,
    WebSocket {
        deflates: bool,
        /// `None` if messages are sent back.
        admitted: Option<Admitted>,
    },
    EventStream(Admitted),
}

/// Answers requests, and hands each connection over to the part of the server that it is for.
pub(crate) struct Endpoint {
    web_sockets: WebSockets,
    event_streams: EventStreams,
    writers: Arc<WriterPool>,
    access: AccessPolicy,
    metrics: Arc<Metrics>,
    endpoints: Endpoints,
    gauges: Vec<Gauge>,
    node: Option<Arc<Node>>,
    page: Option<&'static str>,
    has_echo: bool,
    message_bytes: usize,
    request_time: Duration,
    closing_time: Duration,
}

impl Endpoint {
    /// Must be called in the runtime that serves it.
    pub(crate) fn new(
        options: Options,
        endpoints: Endpoints,
        gauges: Vec<Gauge>,
        node: Option<Arc<Node>>,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (limits, times) = (options.limits, options.times);
        let writers = Arc::new(WriterPool::start(options.io_uring, options.waiting));
        let backlog = Arc::clone(writers.backlog());
        let sessions = Arc::new(Sessions::new(Arc::clone(&metrics), &options, backlog));
        let web_sockets =
            WebSockets::new(Arc::clone(&sessions), Arc::clone(&writers), limits, times);
        Self {
            web_sockets,
            event_streams: EventStreams::new(sessions, Arc::clone(&writers), times),
            writers,
            access: AccessPolicy::new(options.origins, options.authorize),
            metrics,
            endpoints,
            gauges,
            node,
            page: options.page,
            has_echo: options.echo,
            message_bytes: limits.max_bytes,
            request_time: times.request,
            closing_time: times.closing,
        }
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(&self, stream: TcpStream, mut stopping: watch::Receiver<bool>) {
        // Frames are small and are flushed once no more are queued, so Nagle's algorithm would only delay
        // them. The connection works without this option, so a failure is ignored.
        let _ = stream.set_nodelay(true);
        let address = stream.peer_addr().map_or_else(|_| String::new(), |peer| peer.to_string());
        let mut http = Http::new(stream);
        let next = loop {
            // Boxed, as what follows: a connection that lives long keeps only the memory of what it does now.
            tokio::select! {
                next = Box::pin(self.request(&mut http, &address)) => match next {
                    Some(Next::Request) => {}
                    Some(next) => break next,
                    None => return,
                },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        };
        let stopped = Box::pin(async move { drop(stopping.wait_for(|stopping| *stopping).await) });
        match next {
            Next::WebSocket { deflates, admitted } => {
                let Http { stream, received, .. } = http;
                let sockets = &self.web_sockets;
                match admitted {
                    None => Box::pin(sockets.run_echo(stream, received, deflates, stopped)).await,
                    Some(admitted) => {
                        Box::pin(sockets.run(stream, received, deflates, admitted, stopped)).await;
                    }
                }
            }
            Next::EventStream(admitted) => {
                Box::pin(self.event_streams.run(http.stream, admitted, stopped)).await;
            }
            Next::Refuse(status) => Box::pin(self.refuse(http, status)).await,
            Next::Request | Next::End => {
                drop(Box::pin(timeout(self.closing_time, linger(http.stream))).await);
            }
        }
    }

    /// Answers a connection over the limits with 503, whatever it requests.
    pub(crate) async fn reject(&self, stream: TcpStream) {
        self.refuse(Http::new(stream), "503 Service Unavailable").await;
    }

    /// Answers with an error status, and ends the connection.
    async fn refuse(&self, mut http: Http, status: Status) {
        let headers = match &status[..3] {
            "401" => "www-authenticate: Bearer\r\n",
            "405" => "allow: GET, POST, DELETE\r\n",
            "503" => "retry-after: 5\r\n",
            _ => "",
        };
        let answered = async {
            if status == UPGRADE_REQUIRED {
                http.require_upgrade().await;
            } else {
                http.respond(status, headers, &format!("{status}\n")).await;
            }
            discard(http.stream).await
        };
        let _ = timeout(self.closing_time, answered).await;
    }

    /// Checks a request that another HTTP library has read, and accepts its handshake.
    pub(crate) async fn accept(
        &self,
        request: &Request<'_>,
        address: &str,
    ) -> Result<(Accepted, Admitted), Status> {
        self.access.check(request)?;
        if !request.is_upgrade() {
            return Err(UPGRADE_REQUIRED);
        }
        let accepted = request.upgrade()?;
        Ok((accepted, self.connect(request, address).await?))
    }

    /// Asks the endpoint's handler about a connection.
    async fn connect(&self, request: &Request<'_>, address: &str) -> Result<Admitted, Status> {
        let admitted = self.endpoints.connect(request.target, request.headers(), address);
        admitted.await.map_err(status_of)
    }

    /// The channel of this name behind the first endpoint that has one.
    pub(crate) fn channel(&self, name: &str) -> Option<Arc<OpenChannel>> {
        self.endpoints.channel(name)
    }

    /// Serves a WebSocket whose handshake was answered elsewhere; `received` holds the bytes that arrived
    /// after it.
    pub(crate) async fn serve_web_socket(
        &self,
        stream: TcpStream,
        received: BytesMut,
        deflates: bool,
        admitted: Admitted,
        stopped: impl Future<Output = ()>,
    ) {
        self.web_sockets.run(stream, received, deflates, admitted, stopped).await;
    }

    /// All counters in Prometheus' text format.
    pub(crate) fn metrics(&self) -> String {
        let gauges = Gauges {
            event_streams: self.event_streams.len(),
            channels: self.endpoints.open_channels(),
            presence_too_long: self.endpoints.lists_too_long(),
        };
        let mut page = self.metrics.page(&gauges, self.writers.stats());
        for Gauge { name, help, value } in &self.gauges {
            page.gauge(name, help, value());
        }
        if let Some(node) = &self.node {
            node.measure(&mut page);
        }
        page.into_text()
    }

    /// Answers the next request; `None` if the connection ends or the request does not arrive in time.
    async fn request(&self, http: &mut Http, address: &str) -> Option<Next> {
        let head = match self.in_time(http.head()).await? {
            Ok(head) => head?,
            Err(status) => return Some(Next::Refuse(status)),
        };
        let Some(request) = Request::parse(&head) else {
            return Some(Next::Refuse("400 Bad Request"));
        };
        let echoes = self.has_echo && request.path == ECHO;
        // The echo endpoint differs only in how it handles messages, and has no event streams.
        let is_endpoint = echoes || self.endpoints.has(request.path);
        let path = if is_endpoint { ENDPOINT } else { request.path };
        if path == ENDPOINT
            && let Err(status) = self.access.check(&request)
        {
            return Some(Next::Refuse(status));
        }
        Some(match (path, request.method) {
            (ENDPOINT, "GET") if request.is_upgrade() => match request.upgrade() {
                Ok(accepted) => {
                    let mut response = accepted.response();
                    let mut admitted = None;
                    if !echoes {
                        match self.in_time(self.connect(&request, address)).await? {
                            Ok(connected) => {
                                let end = response.len() - "\r\n".len();
                                response.insert_str(end, &header_lines(connected.headers()));
                                admitted = Some(connected);
                            }
                            Err(status) => return Some(Next::Refuse(status)),
                        }
                    }
                    let answer = http.stream.write_all(response.as_bytes());
                    self.in_time(answer).await?.ok()?;
                    Next::WebSocket { deflates: accepted.deflate().is_some(), admitted }
                }
                Err(status) => Next::Refuse(status),
            },
            _ if echoes => Next::Refuse(UPGRADE_REQUIRED),
            (ENDPOINT, "GET") if request.headers().has_token("accept", "text/event-stream") => {
                match self.in_time(self.connect(&request, address)).await? {
                    Ok(admitted) => Next::EventStream(admitted),
                    Err(status) => Next::Refuse(status),
                }
            }
            (ENDPOINT, "GET") => Next::Refuse("400 Bad Request"),
            (ENDPOINT, "POST" | "DELETE") => {
                let body = http.body(&request, self.message_bytes);
                let body = match self.in_time(body).await? {
                    Ok(body) => body?,
                    Err(status) => return Some(Next::Refuse(status)),
                };
                let id = request.headers().get_str("x-connection-id").unwrap_or_default();
                let status = match request.method {
                    "POST" => self.event_streams.receive(id, &body, &mut http.budget).await,
                    _ if self.event_streams.close(id) => "204 No Content",
                    _ => NOT_FOUND,
                };
                let stays = self.in_time(http.done(status)).await? && request.keeps_alive();
                if stays { Next::Request } else { Next::End }
            }
            (ENDPOINT, _) => Next::Refuse("405 Method Not Allowed"),
            ("/", "GET") => match self.page {
                Some(page) => {
                    self.in_time(http.page(page)).await?;
                    Next::End
                }
                None => Next::Refuse(NOT_FOUND),
            },
            ("/metrics", "GET") => {
                self.in_time(http.respond("200 OK", "", &self.metrics())).await?;
                Next::End
            }
            _ => Next::Refuse(NOT_FOUND),
        })
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout(self.request_time, work).await.ok()
    }
}
