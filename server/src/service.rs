//! The server as a part of an application of axum, hyper or tower.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::budget::{self, Budget};
use crate::connection::{Answer, Serving, WebSocket};
use crate::connection_limit::Permit;
use crate::phase::stopped;
use crate::pipe::pair;
use crate::response::{self, ResponseBody};
use crate::server::Server;
use crate::socket::set_nodelay;
use crate::stream::{Stream, serve_piped};

/// The endpoints as a tower service: WebSockets, event streams, and the requests of their clients. Any other path
/// is answered 404, also `/metrics`, `/healthz` and `/readyz`: an application has routes of its own for what
/// [`Server::metrics`] and [`Server::is_ready`] return.
///
/// With axum: `.route_service("/api/socket", server.clone().into_service())`. The path of an endpoint is the one that
/// the service sees: `nest_service` takes its prefix off, so with `.nest_service("/api", …)` the endpoint is `/socket`.
///
/// With hyper alone, where `hyper-util` has the feature `service`:
///
/// ```no_run
/// use hyper::server::conn::http1;
/// use hyper_util::rt::TokioIo;
/// use hyper_util::service::TowerToHyperService;
///
/// # async fn serve(stream: tokio::net::TcpStream, server: pondwire_server::Server) -> hyper::Result<()> {
/// let service = TowerToHyperService::new(server.clone().into_service());
/// // Without `with_upgrades` there are no WebSockets.
/// http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await
/// # }
/// ```
///
/// A WebSocket needs an HTTP server that upgrades connections, as `axum::serve` does. If the connection is a
/// plain TCP stream of tokio, it is taken out of hyper, and costs afterwards what it costs under
/// [`Server::serve`], and one task that ends with it. Any other stream, such as one of TLS, costs one copy
/// more of each byte, and while the other side does not read, up to 128 KiB for the client and 16 KiB for the server.
/// So does every event stream, whose connection stays with hyper: it is a response body.
///
/// When the application stops, it must await [`Server::shutdown`] before it waits for the end of its connections: open
/// event streams are among them, and the server ends these only in `shutdown`. With axum, `shutdown` belongs in the
/// future for `with_graceful_shutdown`: `async move { stop.await; server.shutdown().await }`.
///
/// Nagle's algorithm would delay what an event stream sends: with axum, give `axum::serve` the listener's
/// `tap_io(|stream| drop(stream.set_nodelay(true)))`. For a WebSocket that is taken out of hyper the server turns it off.
///
/// The application sets its own limits on heads of requests. [`Options::connections`](crate::Options::connections)
/// limits WebSockets and event streams.
/// Extended CONNECT of HTTP/2 (RFC 8441) is not supported; browsers then use HTTP/1.1 for WebSockets.
#[derive(Clone)]
pub struct PondService {
    server: Server,
    address: fn(&Extensions) -> Option<SocketAddr>,
}

impl PondService {
    /// Sets how to find a client's address in its request, for the limit per address and for handlers. Without
    /// it, connections are not counted by address, and handlers see an empty address. If the address is one of
    /// [`Options::trusted_proxies`](crate::Options::trusted_proxies), `X-Forwarded-For` counts. With axum:
    /// `|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0)`, if the application is served by
    /// `into_make_service_with_connect_info::<SocketAddr>()`; if not, no address is found, and none is counted.
    #[must_use]
    pub fn with_address(self, address: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        Self { address, ..self }
    }

    async fn respond<B: Body>(self, mut request: Request<B>) -> Response<ResponseBody> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let endpoint = self.server.endpoint();
        let mut budget = Budget::new(budget::CONNECTION);
        let address = (self.address)(&head.extensions);
        // hyper drops this once the client is gone.
        let answer = endpoint.answer_endpoint(head, body, address, pending(), &mut budget).await;
        if let Answer::Response(response) = answer {
            return response;
        }
        let counted = answer.forwarded_for().or_else(|| Some(address?.ip()));
        let Some(permit) = self.server.admit(counted) else {
            return response::refusal(StatusCode::SERVICE_UNAVAILABLE);
        };
        match answer {
            Answer::Response(response) => response,
            Answer::WebSocket(accepted, kind) => {
                let (socket, response) = WebSocket::open(&accepted, kind);
                tokio::spawn(self.server.serve_upgrade(upgrade, socket, permit));
                response
            }
            Answer::EventStream(admitted) => {
                let (inner, outer) = pair();
                let mut prepared = endpoint.prepare_event_stream(admitted);
                let mut response = Response::new(ResponseBody::stream(outer));
                *response.headers_mut() = prepared.take_headers();
                let stopping = endpoint.phase().subscribe();
                tokio::spawn(async move {
                    let stopped = stopped(stopping.clone());
                    let stream = Stream::Pipe(inner);
                    endpoint.serve_event_stream(prepared, stream, Vec::new(), stopped).await;
                    drop((permit, stopping));
                });
                response
            }
        }
    }
}

impl Server {
    /// The server as a tower service, for a route of an application.
    pub fn into_service(self) -> PondService {
        PondService { server: self, address: |_| None }
    }

    /// Serves a WebSocket to its end, once its connection has been upgraded.
    async fn serve_upgrade(self, upgrade: OnUpgrade, socket: WebSocket, permit: Permit) {
        let endpoint = self.endpoint();
        // The client may disconnect before it has the response.
        let Ok(Ok(upgraded)) = timeout(endpoint.request_time(), upgrade).await else { return };
        // Also while it is closing: a shutdown waits for all receivers to be dropped.
        let stopping = endpoint.phase().subscribe();
        let stopped = stopped(stopping.clone());
        let serving: Serving<'_> = match tcp_stream(upgraded) {
            Ok((stream, received)) => {
                set_nodelay(&stream);
                endpoint.serve_web_socket(Stream::Tcp(stream), &received, socket, stopped)
            }
            Err(upgraded) => Box::pin(serve_piped(TokioIo::new(upgraded), |stream| {
                endpoint.serve_web_socket(stream, b"", socket, stopped)
            })),
        };
        serving.await;
        drop((permit, stopping));
    }
}

/// The TCP stream of a connection, and the bytes that arrived after the request.
///
/// # Errors
/// Its stream is of another type.
fn tcp_stream(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    // `axum::serve` and hyper-util's automatic server wrap the stream in a private type, a server of hyper
    // itself does not.
    auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)
        .map(|parts| (parts.io.into_inner(), parts.read_buf))
        .or_else(|upgraded| {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            Ok((parts.io.into_inner(), parts.read_buf))
        })
}

impl<B> tower_service::Service<Request<B>> for PondService
where
    B: Body<Data: Send, Error: Send> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.respond(request).await) })
    }
}

impl fmt::Debug for PondService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PondService").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response, StatusCode};
    use http_body_util::Empty;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto;
    use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::tcp_stream;

    const UPGRADE: &[u8] =
        b"GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nearly";

    /// What a client has sent behind its request for an upgrade, if its TCP stream is found in what the server
    /// makes of `stream`.
    async fn found(
        is_auto: bool,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Option<Bytes> {
        let (sender, mut receiver) = mpsc::channel(1);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (sender, upgrade) = (sender.clone(), hyper::upgrade::on(&mut request));
            tokio::spawn(async move {
                let found = tcp_stream(upgrade.await.unwrap()).ok().map(|(_, received)| received);
                sender.send(found).await.unwrap();
            });
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            async { Ok::<_, Infallible>(response) }
        });
        let stream = TokioIo::new(stream);
        if is_auto {
            let builder = auto::Builder::new(TokioExecutor::new());
            builder.serve_connection_with_upgrades(stream, service).await.unwrap();
        } else {
            let connection = http1::Builder::new().serve_connection(stream, service);
            connection.with_upgrades().await.unwrap();
        }
        receiver.recv().await.unwrap()
    }

    #[tokio::test]
    async fn tcp_streams_are_found_whichever_server_wraps_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = async || {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(UPGRADE).await.unwrap();
            (listener.accept().await.unwrap().0, client)
        };
        for is_auto in [false, true] {
            let (stream, _client) = connection().await;
            assert_eq!(found(is_auto, stream).await.as_deref(), Some(&b"early"[..]), "{is_auto}");
            let (stream, _client) = connection().await;
            assert_eq!(found(is_auto, BufStream::new(stream)).await, None, "{is_auto}");
        }
    }
}
