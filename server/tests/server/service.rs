//! The server as a service of hyper: on plain TCP, and on a stream of another type.

use std::net::{SocketAddr, TcpListener};

use crate::fixture::demo;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pondwire_server::{Options, PondService, Server};
use pondwire_test_support::client::{Client, ROOM, message_of};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{Received, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: PondService) {
    let service = TowerToHyperService::new(service);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // An error of one connection.
    let _ = connection.with_upgrades().await;
}

/// Serves each connection as a TCP stream, or as a stream of another type.
fn start(runtime: &Runtime, is_plain: bool, options: Options) -> (SocketAddr, Server) {
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
                tokio::spawn(serve(stream, service.clone()));
            } else {
                tokio::spawn(serve(BufStream::new(stream), service.clone()));
            }
        }
    });
    (addr, server)
}

#[test]
fn sockets_are_served_on_streams_of_any_type() {
    for is_plain in [true, false] {
        let runtime = Runtime::new().unwrap();
        let (addr, server) = start(&runtime, is_plain, Options::default());
        let (mut one, mut two) = (Client::joined(addr, ROOM), Client::joined(addr, ROOM));
        let mut events = EventStream::open_by(addr, "HTTP/1.0");
        events.join(ROOM);
        one.event("say", r#"{"text":"hi"}"#);
        let text = one.next_text();
        assert_eq!((two.next_text(), events.next_text()), (text.clone(), Some(text)));
        one.socket.text(&message_of(1 << 20));
        assert_eq!(one.next()["event"], "echo");
        drop(two);
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
    let (addr, server) = start(&runtime, true, options);
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
