//! The HTTP request that a connection begins with: an upgrade to WebSocket on [`ENDPOINT`], or
//! one that is answered and done.

use std::io::{self, Cursor};

use bytes::{Bytes, BytesMut};
use pondwire::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Chain, Join, join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_websockets::{self as websocket, ServerBuilder, WebSocketStream};

const ENDPOINT: &str = "/api/socket";

/// The largest request head in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// A connection whose first bytes were read before the WebSocket library saw it.
pub(crate) type Stream = Join<Chain<Cursor<Bytes>, OwnedReadHalf>, OwnedWriteHalf>;
pub(crate) type Socket = WebSocketStream<Stream>;

/// Reads the request and upgrades the connection; `None` when the request was for something else
/// and has been answered. No subprotocol is selected: no client asks for one.
///
/// # Errors
/// The connection broke, or the request is no HTTP or no valid upgrade.
pub(crate) async fn accept(
    mut stream: TcpStream,
    about: &str,
) -> Result<Option<Socket>, websocket::Error> {
    let head = read_head(&mut stream).await?;
    match path(&head) {
        ENDPOINT => {
            let (reader, writer) = stream.into_split();
            let stream = join(Cursor::new(head).chain(reader), writer);
            // A message beyond the codec's limit is refused by its length, before it is buffered.
            let max_bytes = Limits::default().max_bytes;
            let limits = websocket::Limits::default().max_payload_len(Some(max_bytes));
            let (_, socket) = ServerBuilder::new().limits(limits).accept(stream).await?;
            Ok(Some(socket))
        }
        "/" => respond(&mut stream, "200 OK", about).await,
        _ => respond(&mut stream, "404 Not Found", "not found\n").await,
    }
}

/// All bytes up to the empty line that ends the head, and what came with them.
async fn read_head(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut head = BytesMut::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "request head too large"));
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head.freeze())
}

/// The request's path without its query; empty when there is none.
fn path(head: &[u8]) -> &str {
    let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    std::str::from_utf8(path).unwrap_or_default()
}

async fn respond(
    stream: &mut TcpStream,
    status: &str,
    text: &str,
) -> Result<Option<Socket>, websocket::Error> {
    let length = text.len();
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{text}"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}
