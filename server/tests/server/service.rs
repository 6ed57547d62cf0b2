//! The server as a service of hyper's servers: on plain TCP, and on a stream of another type. Under axum it is tested
//! in `examples/axum`.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use crate::fixture::demo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pondwire_server::{Options, PondService, Server};
use pondwire_test_support::client::{Client, ROOM, message, message_of};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A server of hyper.
#[derive(Clone, Copy, Debug)]
enum Http {
    /// For HTTP/1.
    Http1,
    /// For HTTP/1 and HTTP/2, as `axum::serve` uses it.
    Auto,
}

const HANDSHAKE: &[u8] = b"GET /api/socket HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn serve(
    http: Http,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: PondService,
) {
    let (stream, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
    // An error of one connection.
    match http {
        Http::Http1 => {
            let connection = http1::Builder::new().serve_connection(stream, service);
            drop(connection.with_upgrades().await);
        }
        Http::Auto => {
            let builder = auto::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection_with_upgrades(stream, service).await);
        }
    }
}

/// Serves each connection as a TCP stream, or as a stream of another type.
fn start(runtime: &Runtime, http: Http, is_plain: bool, options: Options) -> (SocketAddr, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let _entered = runtime.enter();
    let server = demo::demo().start(options).unwrap();
    // As if all came from a proxy.
    let service = server.clone().into_service();
    let service = service.with_address(|_| Some(([10, 0, 0, 1], 5678).into()));
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let stream: TcpStream = listener.accept().await.unwrap().0;
            if is_plain {
                tokio::spawn(serve(http, stream, service.clone()));
            } else {
                tokio::spawn(serve(http, BufStream::new(stream), service.clone()));
            }
        }
    });
    (addr, server)
}

#[test]
fn sockets_are_served_by_any_server_on_streams_of_any_type() {
    for (http, is_plain, io_uring) in [
        (Http::Http1, true, true),
        (Http::Http1, true, false),
        (Http::Http1, false, true),
        (Http::Auto, true, true),
        (Http::Auto, true, false),
        (Http::Auto, false, true),
        (Http::Auto, false, false),
    ] {
        let runtime = Runtime::new().unwrap();
        let options = Options { io_uring, ..Options::default() };
        let (addr, server) = start(&runtime, http, is_plain, options);
        let (mut one, mut two) = (Client::joined(addr, ROOM), Client::joined(addr, ROOM));
        let mut events = EventStream::open_by(addr, "HTTP/1.0");
        events.join(ROOM);
        one.event("say", r#"{"text":"hi"}"#);
        let text = one.next_text();
        assert_eq!((two.next_text(), events.next_text()), (text.clone(), Some(text)));
        one.socket.text(&message_of(1 << 20));
        assert_eq!(one.next()["event"], "echo");
        // With the handshake, before it was answered.
        let mut early = websocket::connect(addr);
        let join = message("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "r-1", "{}");
        let mut sent = HANDSHAKE.to_vec();
        sent.extend(websocket::frame(Opcode::Text, true, join.as_bytes()));
        early.write_all(&sent).unwrap();
        let head = websocket::read_head(&mut early);
        assert!(head.starts_with("HTTP/1.1 101 "), "{http:?} {head}");
        let mut early = Client::greeted(WebSocket::upgraded(early));
        assert_eq!(early.next()["event"], "ACKNOWLEDGE");
        drop((two, early));
        let ended = std::thread::spawn(move || {
            assert_eq!(one.socket.receive(), Received::Close(1001));
            drop(one);
            assert_eq!(events.next_text(), None);
        });
        runtime.block_on(server.shutdown());
        ended.join().unwrap();
    }
}

#[test]
fn clients_behind_a_proxy_are_counted_by_their_own_addresses() {
    let runtime = Runtime::new().unwrap();
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let options = Options { trusted_proxies, connections_per_address: 1, ..Options::default() };
    let (addr, server) = start(&runtime, Http::Http1, true, options);
    let open = |forwarded: &str| {
        let headers = format!("x-forwarded-for: {forwarded}\r\n");
        WebSocket::open_with(addr, "/api/socket", &headers).map(|(socket, _)| socket)
    };
    let one = open("203.0.113.1").unwrap();
    let refused = open("203.0.113.1").err().expect("a refusal");
    assert!(refused.starts_with("http/1.1 503 "), "{refused}");
    let other = open("203.0.113.2").unwrap();
    drop((one, other));
    runtime.block_on(server.shutdown());
}
