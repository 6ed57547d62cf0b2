//! One connection, from its first request to its end: what it asks for by HTTP, until it becomes a
//! WebSocket or an event stream.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::budget::{self, Budget};
use super::http::{Http, Request, Status};
use super::metrics::Metrics;
use super::websocket::WebSocket;
use super::websocket_echo::Echo;
use super::{Server, access, event_stream};

pub(crate) const ENDPOINT: &str = "/api/socket";

/// Where messages come back, if that is asked for.
const ECHO: &str = "/echo";

const PAGE: &str = include_str!("page.html");

/// How long a client that was told to close must have sent nothing to be taken to be done.
const QUIET: Duration = Duration::from_millis(300);

/// The most bytes that are read of a client that is done with: more than a message that it may have
/// been in the midst of sending.
const DRAINED: usize = 16 << 20;

pub(crate) const NOT_FOUND: Status = "404 Not Found";

/// What is done with a connection when a request has been looked at.
enum Next {
    /// The request is answered, and another may follow.
    Request,
    /// It is answered so, and the connection ends.
    Refuse(Status),
    /// It is answered, and the connection ends.
    End,
    WebSocket {
        deflates: bool,
        /// Whether it is for echoes.
        echoes: bool,
    },
    EventStream,
}

/// Serves a connection to its end.
pub(crate) async fn run(
    stream: TcpStream,
    server: Arc<Server>,
    mut stopping: watch::Receiver<bool>,
) {
    // Frames are small and are flushed when there are no more: nothing to wait for. Not a reason
    // to refuse service if it fails.
    let _ = stream.set_nodelay(true);
    let closing = server.options.times.closing;
    let mut http = Http::new(stream);
    let next = loop {
        tokio::select! {
            next = request(&mut http, &server) => match next {
                Some(Next::Request) => {}
                Some(next) => break next,
                None => return,
            },
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    };
    let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
    match next {
        Next::WebSocket { deflates, echoes } => {
            let echo = echoes.then(Echo::default);
            WebSocket::new(http, deflates, echo, server).run(stopped).await;
        }
        Next::EventStream => event_stream::run(http.stream, server, stopped).await,
        Next::Refuse(status) => {
            let headers = match &status[..3] {
                "401" => "www-authenticate: Bearer\r\n",
                "405" => "allow: GET, POST, DELETE\r\n",
                "426" => "sec-websocket-version: 13\r\n",
                _ => "",
            };
            let answered = async {
                http.respond(status, headers, &format!("{status}\n")).await;
                discard(http.stream).await
            };
            let _ = timeout(closing, answered).await;
        }
        Next::Request | Next::End => drop(timeout(closing, linger(http.stream)).await),
    }
}

/// Tells a client that there is no place for it, whatever it asks for.
pub(crate) async fn turn_away(stream: TcpStream, server: Arc<Server>) {
    let mut http = Http::new(stream);
    let told = async {
        let status = "503 Service Unavailable";
        http.respond(status, "retry-after: 5\r\n", &format!("{status}\n")).await;
        discard(http.stream).await
    };
    let _ = timeout(server.options.times.closing, told).await;
}

/// Answers the next request; `None` when there is none, or not in time.
async fn request(http: &mut Http, server: &Server) -> Option<Next> {
    let head = match in_time(server, http.head()).await? {
        Ok(head) => head?,
        Err(status) => return Some(Next::Refuse(status)),
    };
    let Some(request) = Request::parse(&head) else { return Some(Next::Refuse("400 Bad Request")) };
    let echoes = server.options.echo && request.path == ECHO;
    // It differs in what becomes of messages, and has no event streams.
    let path = if echoes { ENDPOINT } else { request.path };
    if path == ENDPOINT
        && let Err(status) = access::check(&request, &server.options)
    {
        return Some(Next::Refuse(status));
    }
    Some(match (path, request.method) {
        (ENDPOINT, "GET") if request.is_upgrade() => match request.upgrade() {
            Ok(accepted) => {
                let response = accepted.response();
                let answer = http.stream.write_all(response.as_bytes());
                in_time(server, answer).await?.ok()?;
                Next::WebSocket { deflates: accepted.deflate().is_some(), echoes }
            }
            Err(status) => Next::Refuse(status),
        },
        _ if echoes => Next::Refuse("426 Upgrade Required"),
        (ENDPOINT, "GET") if request.has_token("accept", "text/event-stream") => Next::EventStream,
        (ENDPOINT, "GET") => Next::Refuse("400 Bad Request"),
        (ENDPOINT, "POST" | "DELETE") => {
            let body = http.body(&request, server.options.limits.max_bytes);
            let body = match in_time(server, body).await? {
                Ok(body) => body?,
                Err(status) => return Some(Next::Refuse(status)),
            };
            let id = request.headers().get_str("x-connection-id").unwrap_or_default();
            let status = match request.method {
                "POST" => server.event_streams.receive(id, &body, &mut http.budget),
                _ if server.event_streams.close(id) => "204 No Content",
                _ => NOT_FOUND,
            };
            let stays = in_time(server, http.done(status)).await? && request.keeps_alive();
            if stays { Next::Request } else { Next::End }
        }
        (ENDPOINT, _) => Next::Refuse("405 Method Not Allowed"),
        ("/", "GET") => {
            in_time(server, http.page(PAGE)).await?;
            Next::End
        }
        ("/metrics", "GET") => {
            in_time(server, http.respond("200 OK", "", &Metrics::text(server))).await?;
            Next::End
        }
        _ => Next::Refuse(NOT_FOUND),
    })
}

async fn in_time<T>(server: &Server, work: impl Future<Output = T>) -> Option<T> {
    timeout(server.options.times.request, work).await.ok()
}

/// Ends the stream and reads until the client does, too: closing a socket with bytes unread
/// resets the connection, and the client may lose what it was sent last.
pub(crate) async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    drain(&mut stream, Duration::MAX).await;
    Ok(())
}

/// [`linger`] with a client that may be in the midst of sending: an end of the stream before it
/// has read the answer is an error to some.
pub(crate) async fn discard(mut stream: TcpStream) -> io::Result<()> {
    drain(&mut stream, QUIET).await;
    linger(stream).await
}

/// Reads what is of no use any more, until nothing came for so long, or [`DRAINED`] bytes did.
async fn drain(stream: &mut TcpStream, quiet: Duration) {
    let mut bytes = vec![0; 16 << 10];
    let (mut left, mut budget) = (DRAINED, Budget::new(budget::CONNECTION));
    while left > 0
        && let Ok(read @ 1..) = timeout(quiet, stream.read(&mut bytes)).await.unwrap_or(Ok(0))
    {
        left = left.saturating_sub(read);
        budget.charge(read);
        budget.yield_if_spent().await;
    }
}
