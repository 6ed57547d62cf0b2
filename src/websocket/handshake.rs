//! The opening handshake (RFC 6455, section 4.2), from the server's side.
//!
//! The request's headers come from any HTTP server or parser. Path, query, origin and credentials
//! are the application's business: check them first. Subprotocols are never selected; no client of
//! PondSocket asks for one.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1_smol::Sha1;

use super::{ExtensionsError, PermessageDeflate};
use crate::protocol::Headers;

/// The text that a server appends to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a key: 16 bytes in Base64.
const KEY_LEN: usize = 24;

/// The length of the answer to a key: a digest of 20 bytes in Base64.
const ACCEPT_LEN: usize = 28;

/// The decoder of keys. The last character of a key has four spare bits, and they are not zero in
/// an example of RFC 6455 (section 4.1).
const KEYS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether a request asks for an upgrade to WebSocket; [`accept`] says whether it does so correctly.
#[must_use]
pub fn is_upgrade(headers: Headers<'_>) -> bool {
    headers.has_token("upgrade", "websocket")
}

/// Accepts a request for a WebSocket by its headers. The caller checks that the request is a `GET`
/// of HTTP/1.1. Offers of extensions are declined unless [`Accepted::with_deflate`] follows.
///
/// Allocates nothing. Costs a SHA-1 digest of 60 bytes and a few passes over the headers.
///
/// ```
/// use pondwire::protocol::Headers;
/// use pondwire::websocket::handshake::{self, HandshakeError};
///
/// let mut headers: Vec<(&[u8], &[u8])> = vec![
///     (b"Upgrade", b"websocket"),
///     (b"Connection", b"keep-alive, Upgrade"),
///     (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
///     (b"Sec-WebSocket-Version", b"13"),
///     (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
/// ];
/// let accepted = handshake::accept(Headers::new(&headers))?;
/// assert_eq!(accepted.accept_key(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// assert_eq!(
///     accepted.response(),
///     "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
///      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
/// );
///
/// // For a server that compresses and inflates:
/// let accepted = accepted.with_deflate(Headers::new(&headers))?;
/// assert!(accepted.deflate().is_some());
///
/// headers[3].1 = b"8";
/// let error = handshake::accept(Headers::new(&headers)).unwrap_err();
/// assert_eq!((error, error.status()), (HandshakeError::Version, 426));
/// # Ok::<(), HandshakeError>(())
/// ```
///
/// # Errors
/// The request is not a valid handshake: answer with [`HandshakeError::response`].
pub fn accept(headers: Headers<'_>) -> Result<Accepted, HandshakeError> {
    if !is_upgrade(headers) || !headers.has_token("connection", "upgrade") {
        return Err(HandshakeError::NotUpgrade);
    }
    let mut keys = headers.get_all("sec-websocket-key");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(HandshakeError::Key);
    };
    if headers.get("sec-websocket-version") != Some(b"13") {
        return Err(HandshakeError::Version);
    }
    // The decoder needs room for 18 bytes before it sees the padding.
    let mut nonce = [0; 18];
    if key.len() != KEY_LEN || KEYS.decode_slice(key, &mut nonce) != Ok(16) {
        return Err(HandshakeError::Key);
    }
    let mut digest = Sha1::new();
    digest.update(key);
    digest.update(GUID);
    let mut accept_key = [0; ACCEPT_LEN];
    let written = STANDARD.encode_slice(digest.digest().bytes(), &mut accept_key);
    debug_assert_eq!(written, Ok(ACCEPT_LEN));
    Ok(Accepted { accept_key, deflate: None })
}

/// [`accept`] for a request of the `http` crate, which axum and hyper use; checks its method and
/// version too. Once the response is sent, the HTTP server hands over the connection.
///
/// ```
/// use pondwire::websocket::handshake;
///
/// let request = http::Request::get("/api/socket")
///     .header("upgrade", "websocket")
///     .header("connection", "upgrade")
///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("sec-websocket-version", "13")
///     .body(())?;
/// let response: http::Response<()> = match handshake::accept_request(&request) {
///     Ok(accepted) => accepted.to_http(),
///     Err(error) => error.to_http(),
/// };
/// assert_eq!(response.status(), 101);
/// assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<(), http::Error>(())
/// ```
///
/// # Errors
/// The request is not a valid handshake: answer with [`HandshakeError::to_http`].
#[cfg(feature = "http")]
pub fn accept_request<B>(request: &http::Request<B>) -> Result<Accepted, HandshakeError> {
    if request.method() != http::Method::GET || request.version() != http::Version::HTTP_11 {
        return Err(HandshakeError::NotUpgrade);
    }
    accept(request.headers().into())
}

/// A handshake that succeeds once its response is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    accept_key: [u8; ACCEPT_LEN],
    deflate: Option<PermessageDeflate>,
}

impl Accepted {
    /// Agrees on permessage-deflate if the client offers it, for a server that compresses and
    /// inflates; see [`PermessageDeflate::negotiate`]. `headers` are those of the request.
    ///
    /// # Errors
    /// `Sec-WebSocket-Extensions` is malformed: [`HandshakeError::Extensions`].
    pub fn with_deflate(self, headers: Headers<'_>) -> Result<Self, HandshakeError> {
        let offers = headers.get_all("sec-websocket-extensions");
        let deflate = PermessageDeflate::negotiate(offers).map_err(HandshakeError::Extensions)?;
        Ok(Self { deflate, ..self })
    }

    /// The value of the response's `Sec-WebSocket-Accept` header.
    #[must_use]
    pub fn accept_key(&self) -> &str {
        std::str::from_utf8(&self.accept_key).expect("Base64 is ASCII")
    }

    /// The compression agreed on, if any.
    #[must_use]
    pub const fn deflate(&self) -> Option<PermessageDeflate> {
        self.deflate
    }

    /// The whole response as bytes of HTTP/1.1. WebSocket frames follow it.
    #[must_use]
    pub fn response(&self) -> String {
        let accept_key = self.accept_key();
        let extensions = self.deflate.map_or_else(String::new, |deflate| {
            format!("sec-websocket-extensions: {}\r\n", deflate.response())
        });
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept_key}\r\n{extensions}\r\n"
        )
    }

    /// The response for a server of the `http` crate, with an empty body.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn to_http<B: Default>(&self) -> http::Response<B> {
        use http::header::{self, HeaderValue};

        let mut response = http::Response::new(B::default());
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept_key = HeaderValue::from_str(self.accept_key()).expect("Base64");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept_key);
        if let Some(deflate) = self.deflate {
            let extensions = HeaderValue::from_static(deflate.response());
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        response
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("accept_key", &self.accept_key())
            .field("deflate", &self.deflate)
            .finish()
    }
}

/// The reason why a request is not a valid handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// `Upgrade` and `Connection` do not ask for a WebSocket, or the request is not a `GET` of
    /// HTTP/1.1.
    NotUpgrade,
    /// `Sec-WebSocket-Key` is missing, repeated, or not 16 bytes in Base64.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// `Sec-WebSocket-Extensions` is malformed.
    Extensions(ExtensionsError),
}

impl HandshakeError {
    /// The status of the response: 426 for the version, else 400.
    #[must_use]
    pub const fn status(&self) -> u16 {
        if matches!(self, Self::Version) { 426 } else { 400 }
    }

    /// The whole response as bytes of HTTP/1.1, which ends the connection. A 426 names the protocol and
    /// the version that the server understands (RFC 9110, sections 7.8 and 15.5.22; RFC 6455, section
    /// 4.4).
    #[must_use]
    pub fn response(&self) -> String {
        let head = match self {
            Self::Version => {
                "426 Upgrade Required\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13"
            }
            _ => "400 Bad Request\r\nconnection: close",
        };
        format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n")
    }

    /// The response for a server of the `http` crate, with an empty body.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn to_http<B: Default>(&self) -> http::Response<B> {
        use http::header::{self, HeaderValue};

        let mut response = http::Response::new(B::default());
        *response.status_mut() = if matches!(self, Self::Version) {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            http::StatusCode::UPGRADE_REQUIRED
        } else {
            http::StatusCode::BAD_REQUEST
        };
        response
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUpgrade => f.write_str("Not a request for a WebSocket"),
            Self::Key => f.write_str("Invalid Sec-WebSocket-Key"),
            Self::Version => f.write_str("Sec-WebSocket-Version is not 13"),
            Self::Extensions(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HandshakeError {}

#[cfg(test)]
mod tests {
    use super::{HandshakeError, accept, is_upgrade};
    use crate::protocol::Headers;

    const VALID: [(&[u8], &[u8]); 4] = [
        (b"Upgrade", b"h2c, WebSocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Sec-WebSocket-Version", b"13"),
    ];

    fn with_key(key: &[u8]) -> Result<String, HandshakeError> {
        let mut headers = VALID;
        headers[2].1 = key;
        accept(Headers::new(&headers)).map(|accepted| accepted.accept_key().to_owned())
    }

    #[test]
    fn keys_may_have_any_bits_to_spare() {
        assert_eq!(with_key(VALID[2].1).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        // The example of RFC 6455, section 4.1; the digest is of the key as it was sent.
        assert_eq!(with_key(b"AQIDBAUGBwgJCgsMDQ4PEC==").unwrap(), "OfS0wDaT5NoxF2gqm7Zj2YtetzM=");
        for last in *b"QRSTUVWXYZabcdef" {
            let mut key = *b"dGhlIHNhbXBsZSBub25jZQ==";
            key[21] = last;
            assert!(with_key(&key).is_ok(), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn keys_that_are_not_sixteen_bytes_of_base64_are_refused() {
        let keys: [&[u8]; 9] = [
            b"",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25j",
            b"dGhlIHNhbXBsZSBub25jZWY=",
            b"dGhlIHNhbXBsZSBub25jZWZn",
            b"dGhlIHNhbXBsZSBub25jZQ=A",
            b"dGhlIHNhbXBsZSBub25jZ===",
            b"dGhlIHNhbXBsZSBub2*jZQ==",
            b"dGhlIHNhbXBsZSBub25jZWZnaA==",
        ];
        for key in keys {
            assert_eq!(with_key(key), Err(HandshakeError::Key), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn each_header_is_needed() {
        let errors = [
            HandshakeError::NotUpgrade,
            HandshakeError::NotUpgrade,
            HandshakeError::Key,
            HandshakeError::Version,
        ];
        for (missing, error) in errors.into_iter().enumerate() {
            let mut headers = VALID.to_vec();
            headers.remove(missing);
            assert_eq!(accept(Headers::new(&headers)), Err(error));
            assert_eq!(is_upgrade(Headers::new(&headers)), missing != 0);
        }
        let repeated = [&VALID[..], &VALID[2..3]].concat();
        assert_eq!(accept(Headers::new(&repeated)), Err(HandshakeError::Key));
    }

    #[test]
    fn a_refusal_says_what_is_understood() {
        assert_eq!(
            HandshakeError::Version.response(),
            "HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(
            HandshakeError::Key.response(),
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn extensions_are_agreed_on_when_asked_for() {
        let offering =
            |offer: &'static [u8]| [&VALID[..], &[(b"Sec-WebSocket-Extensions", offer)]].concat();
        let headers = offering(b"permessage-deflate; server_max_window_bits=15");
        let headers = Headers::new(&headers);
        let accepted = accept(headers).unwrap();
        assert!(!accepted.response().contains("extensions"));
        let accepted = accepted.with_deflate(headers).unwrap();
        assert!(accepted.response().ends_with("; server_max_window_bits=15\r\n\r\n"));

        let headers = offering(b"permessage-deflate;");
        let headers = Headers::new(&headers);
        let refused = accept(headers).unwrap().with_deflate(headers);
        assert!(matches!(refused, Err(HandshakeError::Extensions(error)) if error.offset() == 19));
    }

    #[cfg(feature = "http")]
    #[test]
    fn requests_of_the_http_crate() {
        use super::accept_request;

        let request = |method: &str, version| {
            let mut request = http::Request::builder().method(method).version(version);
            for (name, value) in VALID {
                request = request.header(name, value);
            }
            accept_request(&request.body(()).unwrap())
        };
        let accepted = request("GET", http::Version::HTTP_11).unwrap();
        let response: http::Response<()> = accepted.to_http();
        assert_eq!(response.headers()["sec-websocket-accept"], accepted.accept_key());
        assert_eq!(request("POST", http::Version::HTTP_11), Err(HandshakeError::NotUpgrade));
        assert_eq!(request("GET", http::Version::HTTP_10), Err(HandshakeError::NotUpgrade));
        let refusal: http::Response<()> = HandshakeError::Version.to_http();
        assert_eq!(refusal.status(), 426);
        for (name, value) in
            [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
        {
            assert_eq!(refusal.headers()[name], value);
        }
    }
}
