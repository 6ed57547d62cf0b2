//! Probes, and the end of a server that is replaced by another one.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use pondwire_server::{Options, Times, by_token};
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::event_stream::{EventStream, Requests};
use pondwire_test_support::websocket::{Received, WebSocket, connect, get};
use tokio::runtime::Runtime;

use crate::fixture::Server;

/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

fn status(server: SocketAddr, path: &str) -> u16 {
    get(server, path)["HTTP/1.1 ".len()..][..3].parse().unwrap()
}

fn until_unready(server: &Server) {
    let start = Instant::now();
    while status(server.addr, "/readyz") != 503 {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!server.server.is_ready());
}

#[test]
fn a_server_that_is_not_ready_goes_on_until_it_is_shut_down() {
    let times = Times { unready: FOR_EVER, ..Times::default() };
    let mut server = Server::start_as(Options {
        times,
        // Probes have no token.
        authorize: Some(by_token("abc".to_owned()).unwrap()),
        ..Options::default()
    });
    let addr = server.addr;
    let connect = || {
        let socket = WebSocket::open(addr, "/api/socket?token=abc").expect("an upgrade");
        let mut client = Client::greeted(socket);
        client.join(ROOM);
        client
    };
    assert_eq!((status(server.addr, "/healthz"), status(server.addr, "/readyz")), (200, 200));
    assert!(server.server.is_ready());
    let mut old = connect();
    server.stop();
    until_unready(&server);
    assert_eq!(status(server.addr, "/healthz"), 200);
    let mut new = connect();
    for client in [&mut old, &mut new] {
        client.expect_alive();
    }
    let ending = server.server.clone();
    let ended = thread::spawn(move || Runtime::new().unwrap().block_on(ending.shutdown()));
    assert_eq!(old.socket.receive(), Received::Close(1001));
    assert_eq!(new.socket.receive(), Received::Close(1001));
    drop((old, new));
    ended.join().unwrap();
    server.join();
}

#[test]
fn a_draining_server_serves_its_clients_and_accepts_no_more() {
    let mut server = Server::start_with(Times { drain: FOR_EVER, ..Times::default() });
    let mut client = Client::joined(server.addr, ROOM);
    let mut events = EventStream::joined(server.addr, ROOM);
    server.stop();
    until_unready(&server);
    assert_eq!(status(server.addr, "/healthz"), 200);
    let refused = WebSocket::open(server.addr, "/api/socket").err().expect("a refusal");
    assert!(refused.starts_with("http/1.1 503 ") && refused.contains("\r\nretry-after: 5\r\n"));
    let mut requests = Requests::new(server.addr);
    requests.raw("GET /api/socket HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(requests.status(), 503);
    drop(requests);
    client.expect_alive();
    // Its messages come on connections of their own.
    let request = events.send("BROADCAST", ROOM, "echo", "{}");
    assert_eq!(events.next()["requestId"], request);
    // Without a client it ends at once.
    drop((client, events));
    server.join();
}

#[test]
fn a_drained_server_has_closed_all_connections() {
    let times = Times { drain: Duration::from_millis(300), ..Times::default() };
    let mut server = Server::start_with(times);
    let clients: Vec<_> = (0..10).map(|_| Client::joined(server.addr, ROOM)).collect();
    let mut events = EventStream::joined(server.addr, ROOM);
    server.stop();
    for mut client in clients {
        assert_eq!(client.socket.receive(), Received::Close(1001));
    }
    assert_eq!(events.next_text(), None);
    drop(events);
    server.join();
}

/// It is not kept for HTTP, whose buffers it would have, and which would close it in order.
#[test]
fn a_connection_that_has_sent_nothing_ends_at_once() {
    let mut server = Server::start_with(Times { closing: FOR_EVER, ..Times::default() });
    let _silent = connect(server.addr);
    assert_eq!(status(server.addr, "/healthz"), 200, "it was accepted before");
    let ended = thread::spawn(move || server.join());
    let start = Instant::now();
    while !ended.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(10));
    }
}
