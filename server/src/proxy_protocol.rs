//! The header of the PROXY protocol, in which a proxy says whose connection it passes on.

use std::io;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::socket::has_begun;

/// The longest header in bytes: far more than addresses take, for what a proxy says besides.
const MAX_HEADER: usize = 4096;

/// Addresses only: what a proxy says besides is skipped unread.
const CONFIG: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };

/// Reads the header, and nothing behind it. Returns the address of the client; `None` if the connection is the
/// proxy's own, as a health check is, or the proxy does not know the client.
///
/// # Errors
/// The stream fails, ends, or does not begin with a valid header.
pub(crate) async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    // No memory for a connection that is silent.
    has_begun(stream).await?;
    let mut header = vec![0; MAX_HEADER];
    let mut read = 0;
    while read < MAX_HEADER {
        let seen = stream.peek(&mut header[read..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = match ProxyHeader::parse(&header[..read + seen], CONFIG) {
            Ok((parsed, len)) => {
                Some((parsed.proxied_address().map(|proxied| proxied.source), len))
            }
            Err(Error::BufferTooShort) => None,
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        // All that has arrived belongs to a header that is not complete.
        let end = parsed.map_or(read + seen, |(_, len)| len);
        stream.read_exact(&mut header[read..end]).await?;
        read = end;
        if let Some((client, _)) = parsed {
            return Ok(client);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{MAX_HEADER, read_header};

    /// The fixed part of version 2: the signature, version and command, family, length of the rest.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [203, 0, 113, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn v6() -> Vec<u8> {
        let address = |last| [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        [&address(5)[..], &address(1), &[0x12, 0x34, 0, 80]].concat()
    }

    /// What is found in a header that arrives in `parts`, and the first bytes that are left behind it.
    async fn found(parts: &[&[u8]]) -> Result<String, std::io::ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        proxy.set_nodelay(true).unwrap();
        let mut stream = listener.accept().await.unwrap().0;
        let send = async {
            for part in parts {
                // The server may have closed the stream already.
                let _ = proxy.write_all(part).await;
                tokio::task::yield_now().await;
            }
            let _ = proxy.shutdown().await;
        };
        let (client, ()) = tokio::join!(read_header(&mut stream), send);
        let client = client.map_err(|error| error.kind())?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        Ok(format!(
            "{} {rest}",
            client.map_or_else(|| "none".to_owned(), |client| client.to_string())
        ))
    }

    #[tokio::test]
    async fn the_client_is_found_and_nothing_else_is_read() {
        let with_more = |header: &[u8]| [header, b"GET /"].concat();
        let long = [&V4[..], &[0xE0, 0x0B, 0xB8], &[b'x'; 3000]].concat();
        for (header, client) in [
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 4660 80\r\n".to_vec(), "203.0.113.1:4660"),
            (b"PROXY TCP6 2001:db8::5 2001:db8::1 4660 80\r\n".to_vec(), "[2001:db8::5]:4660"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "none"),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "none"),
            (v2(1, 0x11, &V4), "203.0.113.1:4660"),
            (v2(1, 0x21, &v6()), "[2001:db8::5]:4660"),
            // With a type that nobody knows, and a long one.
            (v2(1, 0x11, &[&V4[..], &[0xE0, 0, 2, 1, 2]].concat()), "203.0.113.1:4660"),
            (v2(1, 0x11, &long), "203.0.113.1:4660"),
            // The proxy's own, whatever addresses it names, and one over a Unix socket.
            (v2(0, 0, &[]), "none"),
            (v2(0, 0x11, &V4), "none"),
            (v2(1, 0, &[]), "none"),
            (v2(1, 0x31, &[0; 216]), "none"),
        ] {
            let expected = Ok(format!("{client} GET /"));
            assert_eq!(found(&[&with_more(&header)]).await, expected, "{client}");
            for middle in [1, 8, 15, header.len() - 1] {
                let (one, two) = header.split_at(middle);
                assert_eq!(found(&[one, &with_more(two)]).await, expected, "{client} {middle}");
            }
            let sent = with_more(&header);
            let single: Vec<_> = sent.chunks(1).collect();
            assert_eq!(found(&single).await, expected, "{client} byte by byte");
        }
    }

    #[tokio::test]
    async fn anything_else_is_an_error() {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};

        let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        let beyond = v2(1, 0x11, &[&V4[..], &[0xE0, 0x10, 0], &[0; MAX_HEADER]].concat());
        for (sent, error) in [
            (&b""[..], UnexpectedEof),
            (b"PROXY TCP4 203.0.113.1 10.", UnexpectedEof),
            (&v2(1, 0x11, &V4)[..20], UnexpectedEof),
            (b"GET / HTTP/1.1\r\nhost: test\r\n\r\n", InvalidData),
            (b"POST / HTTP/1.1\r\nhost: test\r\n\r\n", InvalidData),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0", InvalidData),
            (b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n", InvalidData),
            (b"PROXY TCP4 203.0.113.256 10.0.0.1 1 2\r\n", InvalidData),
            (b"PROXY TCP4 2001:db8::5 2001:db8::1 1 2\r\n", InvalidData),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 1 65536\r\n", InvalidData),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 1 2\rX\n", InvalidData),
            (b"PROXY UDP4 203.0.113.1 10.0.0.1 1 2\r\n", InvalidData),
            (&too_long, InvalidData),
            (&v2(2, 0x11, &V4), InvalidData),
            (&v2(1, 0x41, &V4), InvalidData),
            // Shorter than its addresses, which shows in what follows.
            (&[v2(1, 0x11, &V4[..11]), b"GET /".to_vec()].concat(), InvalidData),
            (&[v2(1, 0x21, &V4), vec![b'x'; 24]].concat(), InvalidData),
            (&beyond, InvalidData),
        ] {
            assert_eq!(found(&[sent]).await, Err(error), "{}", sent.escape_ascii());
        }
    }
}
