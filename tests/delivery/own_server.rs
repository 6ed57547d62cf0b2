//! `examples/own_server.rs` over real sockets.

#[allow(dead_code, reason = "its `main`")]
#[path = "../../examples/own_server.rs"]
mod example;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};
use serde_json::json;

/// Runs until the process ends.
fn start() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            example::listen(listener).await.unwrap();
        });
    });
    addr
}

#[test]
fn clients_see_each_other_and_leave() {
    let server = start();
    let mut ann = Client::joined(server, ROOM);
    let mut bob = Client::joined(server, ROOM);
    ann.event("say", r#"{"text":"hi"}"#);
    for client in [&mut ann, &mut bob] {
        let message = client.next();
        assert_eq!(
            (&message["event"], &message["payload"]),
            (&json!("say"), &json!({ "text": "hi" }))
        );
    }
    // Joined twice, and each broadcast still comes once.
    bob.join(ROOM);
    ann.event("say", "{}");
    assert_eq!((&ann.next()["event"], &bob.next()["event"]), (&json!("say"), &json!("say")));
    bob.expect_nothing();
    bob.send("JOIN_CHANNEL", "/elsewhere", "JOIN_CHANNEL", "{}");
    assert_eq!(bob.next()["payload"]["code"], 404);
    bob.send("BROADCAST", "/chat/7", "say", "{}");
    assert_eq!(bob.next()["event"], "NOT_FOUND");
    bob.socket.text("nonsense");
    bob.expect_invalid(400);
    bob.socket.send(Opcode::Ping, true, b"?");
    assert!(matches!(bob.socket.receive(), Received::Pong(payload) if payload == b"?"));
    bob.socket.send(Opcode::Close, true, &1000_u16.to_be_bytes());
    assert_eq!(bob.socket.receive(), Received::Close(1000));
    drop(bob);
    ann.event("say", "{}");
    assert_eq!(ann.next()["event"], "say");
    // What the protocol forbids.
    ann.socket.send(Opcode::Close, true, &1005_u16.to_be_bytes());
    assert_eq!(ann.socket.receive(), Received::Close(1002));
}

#[test]
fn requests_that_open_no_socket_are_refused() {
    let server = start();
    assert!(WebSocket::open(server, "/other").err().unwrap().starts_with("http/1.1 404 "));
    for (request, status) in [
        ("POST /api/socket HTTP/1.1\r\n\r\n", 404),
        ("GET /api/socket HTTP/1.1\r\nhost: test\r\n\r\n", 400),
        ("\0\r\n\r\n", 400),
    ] {
        let mut stream = websocket::connect(server);
        stream.write_all(request.as_bytes()).unwrap();
        let head = websocket::read_head(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
    }
    let mut stream = websocket::connect(server);
    stream.write_all(&[b'x'; 10_000]).unwrap();
    match stream.read(&mut [0; 100]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn a_client_that_reads_nothing_is_dropped_and_delays_nobody() {
    let server = start();
    let mut ann = Client::joined(server, ROOM);
    let slow = Client::joined(server, ROOM);
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 << 10));
    // More than its outbox and the kernel's buffers hold.
    for _ in 0..400 {
        ann.event("say", &payload);
        assert_eq!(ann.next()["event"], "say");
    }
    // What arrives ends amid the broadcasts.
    let mut received = Vec::new();
    if let Err(error) = slow.socket.into_stream().read_to_end(&mut received) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(received.len() < 400 * payload.len(), "{}", received.len());
}
