//! HTTP/1.1 as far as a PondSocket server needs it: request heads, bodies of announced length, and
//! responses.

use bytes::{Bytes, BytesMut};
use httparse::Status::Complete;
use pondwire::protocol::Headers;
use pondwire::websocket::handshake::{self, Accepted, HandshakeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::budget::{self, Budget};

/// The largest request head in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// Code and reason of a response's status line, such as `403 Forbidden`.
pub type Status = &'static str;

pub(crate) const NOT_FOUND: Status = "404 Not Found";
pub(crate) const UPGRADE_REQUIRED: Status = "426 Upgrade Required";

/// The header lines that an endpoint's handler adds to a response.
pub(crate) fn header_lines<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// The status line for a code that an endpoint's handler chose.
pub(crate) const fn status_of(code: u16) -> Status {
    match code {
        400 => "400 Bad Request",
        401 => "401 Unauthorized",
        404 => NOT_FOUND,
        409 => "409 Conflict",
        429 => "429 Too Many Requests",
        500 => "500 Internal Server Error",
        503 => "503 Service Unavailable",
        _ => "403 Forbidden",
    }
}

/// A connection on which requests arrive, one after another.
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    /// Bytes that were received but not yet parsed.
    pub(crate) received: BytesMut,
    pub(crate) budget: Budget,
}

impl Http {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, received: BytesMut::new(), budget: Budget::new(budget::CONNECTION) }
    }

    /// Receives the head of the next request; `None` at the end of the connection.
    ///
    /// # Errors
    /// The head is malformed, or too large.
    pub(crate) async fn head(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            // Each pass parses the head from its beginning.
            self.budget.charge(budget::FRAME + self.received.len().min(MAX_HEAD));
            self.budget.yield_if_spent().await;
            let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
            match httparse::Request::new(&mut slots).parse(&self.received) {
                Ok(Complete(len)) if len <= MAX_HEAD => {
                    return Ok(Some(self.received.split_to(len).freeze()));
                }
                Ok(_) if self.received.len() < MAX_HEAD => {}
                Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                    return Err("431 Request Header Fields Too Large");
                }
                Err(_) => return Err("400 Bad Request"),
            }
            if !self.receive().await {
                return Ok(None);
            }
        }
    }

    /// Receives the body of this request, of at most `limit` bytes. Memory grows with the bytes that
    /// arrive, not with the announced length. `None` if the connection breaks off.
    ///
    /// # Errors
    /// The body is too large, or its length is not announced.
    pub(crate) async fn body(
        &mut self,
        request: &Request<'_>,
        limit: usize,
    ) -> Result<Option<Bytes>, Status> {
        let len = request.body_len()?;
        if len > limit as u64 {
            return Err("413 Content Too Large");
        }
        let len = len as usize;
        if self.received.len() < len && request.headers().has_token("expect", "100-continue") {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            if self.stream.write_all(go_on).await.is_err() {
                return Ok(None);
            }
        }
        while self.received.len() < len {
            if !self.receive().await {
                return Ok(None);
            }
        }
        Ok(Some(self.received.split_to(len).freeze()))
    }

    /// Receives more bytes; `false` at the end of the connection.
    async fn receive(&mut self) -> bool {
        self.received.reserve(1024);
        matches!(self.stream.read_buf(&mut self.received).await, Ok(1..))
    }

    /// Answers the request and leaves the connection open; `false` if it has broken off.
    pub(crate) async fn done(&mut self, status: Status) -> bool {
        // A 204 response must not have a content-length.
        let length = if status.starts_with("204") { "" } else { "content-length: 0\r\n" };
        let response = format!("HTTP/1.1 {status}\r\n{length}\r\n");
        self.stream.write_all(response.as_bytes()).await.is_ok()
    }

    /// Answers the request with a page that may load nothing from other origins.
    pub(crate) async fn page(&mut self, html: &str) {
        let headers = "content-security-policy: default-src 'self' 'unsafe-inline' data:; \
                       frame-ancestors 'none'\r\n\
                       cache-control: no-cache\r\n";
        self.end("200 OK", headers, "text/html", html).await;
    }

    /// Answers the connection's last request. Each line of `headers` ends with CRLF.
    pub(crate) async fn respond(&mut self, status: Status, headers: &str, text: &str) {
        self.end(status, headers, "text/plain", text).await;
    }

    /// Asks for an upgrade to a WebSocket, of the version that the server speaks, as the connection's last
    /// answer.
    pub(crate) async fn require_upgrade(&mut self) {
        // The connection is closed next, whether or not this succeeds.
        let _ = self.stream.write_all(HandshakeError::Version.response().as_bytes()).await;
    }

    async fn end(&mut self, status: Status, headers: &str, kind: &str, text: &str) {
        let length = text.len();
        let response = format!(
            "HTTP/1.1 {status}\r\n{headers}content-type: {kind}; charset=utf-8\r\n\
             x-content-type-options: nosniff\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{text}"
        );
        // The connection is closed next, whether or not this succeeds.
        let _ = self.stream.write_all(response.as_bytes()).await;
    }
}

/// The head of an HTTP request, borrowed.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub(crate) method: &'a str,
    /// The path with its query.
    pub(crate) target: &'a str,
    /// Without the query.
    pub(crate) path: &'a str,
    /// The part of the target after the question mark; may be empty.
    query: &'a str,
    /// Whether the version is HTTP/1.1, not 1.0.
    pub(crate) is_current: bool,
    headers: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Request<'a> {
    /// A view of a head that [`Http::head`] returned; `None` for any other bytes.
    pub(crate) fn parse(head: &'a [u8]) -> Option<Self> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut slots);
        parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
        let headers = parsed.headers.iter().map(|header| (header.name.as_bytes(), header.value));
        Some(Self::new(parsed.method?, parsed.path?, parsed.version? == 1, headers.collect()))
    }

    /// A view of a head that another HTTP library has parsed: `target` is the path with its query,
    /// `is_current` says that the version is HTTP/1.1, and `headers` are names and values in their order.
    ///
    /// ```
    /// use pondwire_server::Request;
    ///
    /// let headers = vec![(&b"cookie"[..], &b"token=abc"[..])];
    /// let request = Request::new("GET", "/api/socket?room=42", true, headers);
    /// assert_eq!(request.query("room"), Some("42"));
    /// assert_eq!(request.cookie("token"), Some("abc"));
    /// ```
    pub fn new(
        method: &'a str,
        target: &'a str,
        is_current: bool,
        headers: Vec<(&'a [u8], &'a [u8])>,
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { method, target, path, query, is_current, headers }
    }

    /// The headers; names match in any case.
    pub fn headers(&self) -> Headers<'_> {
        Headers::new(&self.headers)
    }

    /// The value of this query parameter, as sent (still percent-encoded); the first of several.
    pub fn query(&self, name: &str) -> Option<&'a str> {
        value_of(self.query.split('&'), name)
    }

    /// The value of this cookie, as sent; the first of several.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers().get_all("cookie");
        lines.find_map(|line| value_of(std::str::from_utf8(line).ok()?.split(';'), name))
    }

    /// Returns `true` if the request asks for a WebSocket, even if its handshake is invalid.
    pub(crate) fn is_upgrade(&self) -> bool {
        handshake::is_upgrade(self.headers())
    }

    /// Accepts the handshake of a WebSocket, with compression if the client offers it.
    ///
    /// # Errors
    /// The request is not a valid handshake.
    pub(crate) fn upgrade(&self) -> Result<Accepted, Status> {
        if !self.is_current {
            return Err("400 Bad Request");
        }
        let headers = self.headers();
        let accepted = handshake::accept(headers);
        accepted.and_then(|accepted| accepted.with_deflate(headers)).map_err(|error| {
            match error.status() {
                426 => UPGRADE_REQUIRED,
                _ => "400 Bad Request",
            }
        })
    }

    /// Returns `true` if another request may follow on the connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.is_current && !self.headers().has_token("connection", "close")
    }

    /// The body's length in bytes. A request with an ambiguous length is refused: a proxy may have read it
    /// differently.
    fn body_len(&self) -> Result<u64, Status> {
        if self.headers().contains("transfer-encoding") {
            return Err("411 Length Required");
        }
        let mut lengths = self.headers().get_all("content-length");
        let Some(length) = lengths.next() else {
            return if self.method == "POST" { Err("411 Length Required") } else { Ok(0) };
        };
        let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        if !digits || lengths.next().is_some() {
            return Err("400 Bad Request");
        }
        // A number that does not fit is replaced by the largest, which every limit refuses.
        Ok(std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
    }
}

/// The value of the first `name=value` pair with this name.
fn value_of<'a>(pairs: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(found, value)| (found == name).then_some(value))
}
