//! The opening handshake of a WebSocket (RFC 6455, section 4.2), with permessage-deflate if the
//! client offers it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pondwire::deflate::PermessageDeflate;

use crate::http::{Request, Status};

/// What a server appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A valid opening handshake, with what the response says to it.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The value of `Sec-WebSocket-Extensions`: permessage-deflate, if it was agreed on.
    pub extensions: Option<&'static str>,
}

impl Accepted {
    /// Whether messages may be compressed.
    pub fn deflates(&self) -> bool {
        self.extensions.is_some()
    }

    /// The response: all of it.
    pub(crate) fn response(&self) -> String {
        let Self { accept, extensions } = self;
        let extensions = extensions.map_or_else(String::new, |extensions| {
            format!("sec-websocket-extensions: {extensions}\r\n")
        });
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n{extensions}\r\n"
        )
    }
}

/// Whether the request asks for an upgrade to WebSocket, well or badly.
pub(crate) fn is_upgrade(request: &Request<'_>) -> bool {
    request.has_token("upgrade", "websocket")
}

/// Accepts the request if [`is_upgrade`]. No subprotocol is selected: no client asks for one.
///
/// # Errors
/// It is no valid handshake.
pub(crate) fn accept(request: &Request<'_>) -> Result<Accepted, Status> {
    let headers = request.headers();
    let is_handshake = request.is_current && request.has_token("connection", "upgrade");
    let mut keys = headers.get_all("sec-websocket-key");
    let (Some(key), None, true) = (keys.next(), keys.next(), is_handshake) else {
        return Err("400 Bad Request");
    };
    if headers.get("sec-websocket-version") != Some(b"13") {
        return Err("426 Upgrade Required");
    }
    if STANDARD.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        return Err("400 Bad Request");
    }
    let offers = headers.get_all("sec-websocket-extensions");
    let agreed = PermessageDeflate::negotiate(offers).map_err(|_| "400 Bad Request")?;

    let digest = sha1_smol::Sha1::from([key, GUID.as_bytes()].concat()).digest().bytes();
    let extensions = agreed.map(|agreed| agreed.response());
    Ok(Accepted { accept: STANDARD.encode(digest), extensions })
}
