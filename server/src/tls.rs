//! Connections of the server's own listener over TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::connection::{Answered, Endpoint, Waiting};
use crate::socket::{set_nodelay, set_user_timeout};
use crate::stream::serve_piped;
use crate::tls_stream::{Counted, TlsStream};

/// The first byte of a TLS connection: the record type of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// The longest that the handshake of a connection over the limits may take.
const REJECTED_HANDSHAKE: Duration = Duration::from_secs(1);

/// The answer to a client that takes the port for one of HTTP.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 44\r\nconnection: close\r\n\r\n400 Bad Request: this port takes HTTPS only\n";

/// Accepts handshakes with this configuration. HTTP/1.1 is the only protocol that clients can choose.
pub(crate) fn acceptor(config: Arc<ServerConfig>) -> TlsAcceptor {
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

impl Endpoint {
    /// Serves a connection over TLS to its end. The handshake and the first request share one timeout.
    pub(crate) async fn serve_tls(
        self: Arc<Self>,
        mut stream: TcpStream,
        acceptor: TlsAcceptor,
        mut waiting: Waiting,
    ) {
        set_nodelay(&stream);
        if self.identify(&mut stream, &mut waiting).await.is_err() {
            return;
        }
        let mut first = [0];
        match waiting.until(stream.peek(&mut first)).await {
            Some(Ok(1..)) if first == [HANDSHAKE] => {}
            Some(Ok(1..)) if first[0].is_ascii_uppercase() => {
                waiting.until(self.answer_unread(stream, PLAIN_HTTP)).await;
                return;
            }
            _ => return,
        }
        Box::pin(self.serve_handshake(stream, acceptor, waiting)).await;
    }

    /// Answers a connection over the limits, as [`reject`](Self::reject) does: what it is for only shows after the
    /// handshake.
    pub(crate) async fn reject_tls(
        self: Arc<Self>,
        mut stream: TcpStream,
        acceptor: TlsAcceptor,
        peer: IpAddr,
    ) {
        set_nodelay(&stream);
        let handshake = async {
            if !self.skip_proxy_header(&mut stream, peer).await {
                return None;
            }
            acceptor.accept(stream).await.ok()
        };
        if let Ok(Some(stream)) = timeout(REJECTED_HANDSHAKE, Box::pin(handshake)).await {
            Box::pin(self.answer_probe(stream)).await;
        }
    }

    async fn serve_handshake(
        self: &Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        mut waiting: Waiting,
    ) {
        // Why one client failed is its own matter, and anyone could fill the log with it.
        let accepted = waiting.until(acceptor.accept(Counted::new(stream))).await;
        let Some(Ok(stream)) = accepted else { return };
        let stream = TlsStream::new(stream);
        let Some(answered) = Box::pin(self.answer_requests(stream, waiting)).await else { return };
        let Answered { stream, received, next, permit, phase } = answered;
        if next.is_end() {
            self.finish(stream, received, next).await;
        } else {
            if next.is_event_stream() {
                set_user_timeout(stream.socket(), self.ping_time());
            }
            serve_piped(stream, |stream| self.serve_next(stream, &received, next, phase)).await;
        }
        drop(permit);
    }
}
