//! The responses of the server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pondwire::websocket::handshake::HandshakeError;

use crate::pipe::Pipe;

/// The body of a response: a text, or an event stream.
#[derive(Debug)]
pub struct ResponseBody(Content);

#[derive(Debug)]
enum Content {
    Text(Bytes),
    /// Whatever arrives here.
    Stream(Pipe),
}

impl Default for ResponseBody {
    fn default() -> Self {
        Self(Content::Text(Bytes::new()))
    }
}

impl ResponseBody {
    pub(crate) const fn stream(stream: Pipe) -> Self {
        Self(Content::Stream(stream))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let stream = match &mut self.0 {
            Content::Text(text) => {
                let text = std::mem::take(text);
                return Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))));
            }
            Content::Stream(stream) => stream,
        };
        stream.reader.poll_take(cx).map(|bytes| (!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Text(text) if text.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    response
}

/// A text of this media type.
pub(crate) fn text(kind: &'static str, text: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody(Content::Text(text.into())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn plain(content: impl Into<Bytes>) -> Response<ResponseBody> {
    text("text/plain; charset=utf-8", content)
}

/// A page that may load nothing from other origins.
pub(crate) fn page(html: &'static str) -> Response<ResponseBody> {
    let mut response = text("text/html; charset=utf-8", html);
    let policy = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A refusal: the status as a text, and the headers that belong to it.
pub(crate) fn refusal(status: StatusCode) -> Response<ResponseBody> {
    if status == StatusCode::UPGRADE_REQUIRED {
        return HandshakeError::Version.to_http();
    }
    let mut response = plain(format!("{status}\n"));
    *response.status_mut() = status;
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "5"),
        _ => return response,
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// The answer to a request whose method is none of these.
pub(crate) fn not_allowed(methods: &'static str) -> Response<ResponseBody> {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// The answer to a client that asks which methods there are.
pub(crate) fn options(methods: &'static str) -> Response<ResponseBody> {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
