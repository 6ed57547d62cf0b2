//! Connections of the server's own listener over TLS.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::bridge::bridge;
use crate::connection::{Endpoint, address_of};
use crate::log;
use crate::phase::Phase;
use crate::socket::set_nodelay;

/// The first byte of a TLS connection: the record type of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

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
        stream: TcpStream,
        acceptor: TlsAcceptor,
        stopping: watch::Receiver<Phase>,
    ) {
        set_nodelay(&stream);
        let due = Instant::now() + self.request_time();
        let mut first = [0];
        match self.in_time(due, &stopping, stream.peek(&mut first)).await {
            Some(Ok(1..)) if first == [HANDSHAKE] => {}
            Some(Ok(1..)) if first[0].is_ascii_uppercase() => {
                return self.answer_unread(stream, PLAIN_HTTP).await;
            }
            _ => return,
        }
        Box::pin(self.serve_handshake(stream, acceptor, due, stopping)).await;
    }

    async fn serve_handshake(
        self: &Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        due: Instant,
        stopping: watch::Receiver<Phase>,
    ) {
        let address = address_of(&stream);
        // Why one client failed is its own matter, and anyone could fill the log with it.
        let accepted = self.in_time(due, &stopping, acceptor.accept(stream)).await;
        let Some(Ok(stream)) = accepted else { return };
        let answered = Box::pin(self.answer_requests(stream, address, due, stopping.clone()));
        let Some((stream, received, next)) = answered.await else { return };
        if next.is_end() {
            return self.finish(stream, received, next).await;
        }
        let bridged = bridge(stream, |stream| self.serve_next(stream, &received, next, stopping));
        if let Err(error) = bridged.await {
            log::line(format_args!("TLS: {error}"));
        }
    }
}
