//! `examples/own_server.rs` over real sockets.

#[allow(dead_code, reason = "its `main`")]
#[path = "../../examples/own_server.rs"]
mod example;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};
use serde_json::json;

/// Runs until the process ends.
fn start() -> SocketAddr {
    start_with(Arc::new(example::Rooms::new()))
}

fn start_with(rooms: Arc<example::Rooms>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            example::listen(listener, rooms).await;
        });
    });
    addr
}

#[test]
fn clients_see_each_other_and_leave() {
    let rooms = Arc::new(example::Rooms::new());
    let server = start_with(Arc::clone(&rooms));
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
    bob.send("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "{}");
    assert_eq!(bob.next()["event"], "EXIT_ACKNOWLEDGE");
    ann.event("say", "{}");
    assert_eq!(ann.next()["event"], "say");
    bob.expect_nothing();
    bob.join("/chat/7");
    bob.socket.send(Opcode::Close, true, &1000_u16.to_be_bytes());
    assert_eq!(bob.socket.receive(), Received::Close(1000));
    assert_eq!(bob.socket.receive(), Received::End);
    // What the protocol forbids.
    ann.socket.send(Opcode::Close, true, &1005_u16.to_be_bytes());
    assert_eq!(ann.socket.receive(), Received::Close(1002));
    assert_eq!(ann.socket.receive(), Received::End);
    let mut patience = 0..3000;
    while !rooms.open.lock().unwrap().is_empty() {
        patience.next().expect("the rooms of clients that are gone are dropped");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_burst_harms_neither_its_sender_nor_others() {
    let server = start();
    let mut ann = Client::joined(server, ROOM);
    let mut bob = Client::joined(server, ROOM);
    // More than an outbox holds; they come in one read or a few.
    let reading = std::thread::spawn(move || {
        (0..600).for_each(|_| assert_eq!(bob.next()["event"], "say"));
    });
    (0..600).for_each(|_| drop(ann.event("say", "{}")));
    (0..600).for_each(|_| assert_eq!(ann.next()["event"], "say"));
    reading.join().unwrap();
}

#[test]
fn channels_and_their_names_are_bounded() {
    let server = start();
    let mut ann = Client::connect(server);
    let long = format!("/chat/{}", "x".repeat(300));
    ann.send("JOIN_CHANNEL", &long, "JOIN_CHANNEL", "{}");
    assert_eq!(ann.next()["payload"]["code"], 404);
    (0..128).for_each(|n| ann.join(&format!("/chat/{n}")));
    ann.send("JOIN_CHANNEL", "/chat/128", "JOIN_CHANNEL", "{}");
    assert_eq!(ann.next()["payload"]["code"], 429);
}

#[test]
fn requests_that_open_no_socket_are_refused() {
    let server = start();
    assert!(WebSocket::open(server, "/api/socket?token=abc").is_ok());
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
