//! The server over event streams: opening and closing, messages in both directions, and hostile clients.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::fixture::Server;
use pondwire_server::{Options, Times};
use pondwire_test_support::client::{Client, ROOM, message, message_of};
use pondwire_test_support::event_stream::{EventStream, Requests};
use pondwire_test_support::websocket;

const LIMIT: usize = 1 << 20;

fn in_millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_stream_from_its_opening_to_its_end() {
    let server = Server::start();
    let mut peer = Client::joined(server.addr, ROOM);
    let mut events = EventStream::open(server.addr);
    assert!(events.head.starts_with("http/1.1 200 ok\r\n"), "{}", events.head);
    for header in [
        "content-type: text/event-stream; charset=utf-8\r\n",
        "cache-control: no-cache, no-transform\r\n",
        "x-accel-buffering: no\r\n",
    ] {
        assert!(events.head.contains(header), "{}", events.head);
    }

    let request = events.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "{}");
    assert_eq!(
        events.next(),
        json!({
            "action": "SYSTEM", "event": "ACKNOWLEDGE", "channelName": ROOM,
            "requestId": request, "payload": {},
        })
    );

    // The same text for both transports.
    peer.event("say", r#"{"text":"h\u00e9 – 你好"}"#);
    let text = peer.next_text();
    assert_eq!(events.next_text(), Some(text));
    events.send("BROADCAST", ROOM, "say", "{\"a\":\r\n\n1}");
    let text = peer.next_text();
    assert!(text.ends_with("\"payload\":{\"a\":   1}}"), "{text}");
    assert_eq!(events.next_text(), Some(text));

    // Presence as with a WebSocket.
    events.send("BROADCAST", ROOM, "track", r#"{"n":1}"#);
    assert_eq!(events.next()["payload"]["changed"], json!({ "n": 1 }));
    peer.event("track", r#"{"n":2}"#);
    assert_eq!(peer.next()["payload"]["presence"], json!([{ "n": 1 }, { "n": 2 }]));
    assert_eq!(events.next()["event"], "JOIN");

    // An invalid message is answered on the stream.
    assert_eq!(events.request("POST", b"{}"), 204);
    let refused = events.next();
    assert_eq!(refused["event"], "INVALID_MESSAGE");
    assert_eq!(refused["payload"]["error"], "event: Missing required field");
    assert_eq!(events.request("POST", b"\xFF"), 204);
    assert_eq!(events.next()["payload"]["status"], 400);

    // A close leaves the channels, sends earlier answers first, and ends the stream.
    let request = events.send("BROADCAST", ROOM, "echo", "{}");
    assert_eq!(events.request("DELETE", b""), 204);
    peer.expect_presence("LEAVE", json!([{ "n": 2 }]), json!({ "n": 1 }));
    assert_eq!(events.next()["requestId"], request);
    assert_eq!(events.next_text(), None);
    for method in ["POST", "DELETE"] {
        assert_eq!(events.request(method, b"{}"), 404);
    }
    peer.expect_alive();
}

#[test]
fn unknown_and_missing_connection_ids_are_not_found() {
    let server = Server::start();
    let events = EventStream::joined(server.addr, ROOM);
    let join = message("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "r-1", "{}");
    let mut requests = Requests::new(server.addr);
    for method in ["POST", "DELETE"] {
        for headers in ["", "X-Connection-ID:\r\n", "X-Connection-ID: \u{e9}\r\n"] {
            assert_eq!(requests.send(method, headers, join.as_bytes()), 404, "{headers}");
        }
        let upper = format!("x-connection-id: {}\r\n", events.id.to_uppercase());
        assert_eq!(requests.send(method, &upper, join.as_bytes()), 404, "ids are exact");
    }
    // Other members know a user's id, so it must not work as a connection id.
    let peer = Client::connect(server.addr);
    for id in [&peer.id, &events.user_id] {
        let id = format!("X-Connection-ID: {id}\r\n");
        assert_eq!(requests.send("POST", &id, join.as_bytes()), 404);
        assert_eq!(requests.send("DELETE", &id, b""), 404);
    }
}

#[test]
fn requests_on_one_connection_are_carried_out_in_order() {
    let server = Server::start();
    let mut events = EventStream::joined(server.addr, ROOM);
    let id = format!("x-connection-id:{}", events.id);
    let mut requests = Requests::new(server.addr);
    // All requests at once, without waiting for an answer.
    let mut all = String::new();
    for i in 0..100 {
        let body = message("BROADCAST", ROOM, "echo", &format!("r-{i}"), "{}");
        let length = body.len();
        all += &format!(
            "POST /api/socket HTTP/1.1\r\nhost: test\r\n{id}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    }
    requests.raw(&all);
    for i in 0..100 {
        assert_eq!(requests.status(), 204);
        assert_eq!(events.next()["requestId"], format!("r-{i}"));
    }
    // Byte by byte, and marked as the connection's last request.
    let body = message("BROADCAST", ROOM, "echo", "r-last", "{}");
    let length = body.len();
    let slowly = format!(
        "POST /api/socket HTTP/1.1\r\nhost: test\r\n{id}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    for byte in slowly.as_bytes() {
        requests.stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(requests.status(), 204);
    assert_eq!(requests.rest(), "");
    assert_eq!(events.next()["requestId"], "r-last");
}

#[test]
fn a_body_may_be_as_large_as_a_message_and_no_larger() {
    let server = Server::start();
    let mut events = EventStream::joined(server.addr, ROOM);
    assert_eq!(events.request("POST", message_of(LIMIT).as_bytes()), 204);
    assert_eq!(events.next()["event"], "echo");
    for len in [LIMIT + 1, 24 * LIMIT] {
        assert_eq!(events.request("POST", message_of(len).as_bytes()), 413);
    }
    // Only announced: too large, larger than memory, and larger than any integer.
    for (length, status) in
        [("1048577", 413), ("1125899906842624", 413), ("99999999999999999999999999", 400)]
    {
        let mut requests = Requests::new(server.addr);
        requests.raw(&format!(
            "POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n"
        ));
        assert_eq!(requests.status(), status, "{length}");
    }
    // A client that expects `100 Continue` before it sends.
    let mut requests = Requests::new(server.addr);
    let body = message("BROADCAST", ROOM, "echo", "r-1", "{}");
    let (id, length) = (&events.id, body.len());
    requests.raw(&format!(
        "POST /api/socket HTTP/1.1\r\nhost: test\r\nx-connection-id: {id}\r\nexpect: 100-continue\r\n\
         content-length: {length}\r\n\r\n"
    ));
    assert_eq!(requests.status(), 100);
    requests.raw(&body);
    assert_eq!(requests.status(), 204);
    assert_eq!(events.next()["requestId"], "r-1");
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let server = Server::start();
    let post = "POST /api/socket HTTP/1.1\r\nhost: test\r\n";
    let mut sent = Vec::new();
    for (request, status) in [
        (format!("{post}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{{}}"), 404),
        (format!("{post}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{{}}"), 404),
        (format!("{post}transfer-encoding: gzip\r\n\r\n{{}}"), 400),
        (format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"), 400),
        (format!("{post}content-length: 2, 2\r\n\r\n{{}}"), 400),
        (format!("{post}content-length: +2\r\n\r\n{{}}"), 400),
        (format!("{post}content-length: -2\r\n\r\n{{}}"), 400),
        (format!("{post}content-length: 0x2\r\n\r\n{{}}"), 400),
        (format!("{post}content-length:\r\n\r\n"), 400),
        (format!("{post}content-length : 2\r\n\r\n{{}}"), 400),
        (format!("{post}host: test\r\ncontent-length: 2\r\n\r\n{{}}"), 400),
        ("POST /api/socket HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET /api/socket HTTP/2.0\r\n\r\n".to_owned(), 400),
        ("PUT /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".to_owned(), 405),
        ("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".to_owned(), 405),
        (format!("{post}{}\r\n", "x: y\r\n".repeat(130)), 431),
        (format!("{post}x: {}\r\n\r\n", "y".repeat(8 << 10)), 431),
        (format!("{post}x: {}", "y".repeat(8 << 10)), 431),
    ] {
        let mut requests = Requests::new(server.addr);
        requests.raw(&request);
        sent.push((requests, request, status));
    }
    // The server keeps each connection for a moment; they are closed at the same time.
    for (mut requests, request, status) in sent {
        assert_eq!(requests.status(), status, "{request}");
        assert!(!requests.rest().contains("HTTP/1.1"), "nothing is read as another request");
    }
}

#[test]
fn bodies_may_be_chunked_and_heads_have_many_headers() {
    let server = Server::start();
    let mut events = EventStream::joined(server.addr, ROOM);
    let body = message("BROADCAST", ROOM, "echo", "r-1", "{}");
    let (first, second) = body.split_at(20);
    let mut requests = Requests::new(server.addr);
    requests.raw(&format!(
        "POST /api/socket HTTP/1.1\r\nhost: test\r\nx-connection-id: {}\r\n{}\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        events.id,
        "x: y\r\n".repeat(100),
        first.len(),
        second.len(),
    ));
    assert_eq!(requests.status(), 204);
    assert_eq!(requests.rest(), "", "the connection ends after it");
    assert_eq!(events.next()["requestId"], "r-1");
    // Larger than a message, which is known only as it arrives.
    let mut requests = Requests::new(server.addr);
    requests.raw(&format!(
        "POST /api/socket HTTP/1.1\r\nhost: test\r\nx-connection-id: {}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n",
        events.id,
        LIMIT + 1,
        "x".repeat(LIMIT + 1),
    ));
    assert_eq!(requests.status(), 413);
}

#[test]
fn a_body_for_an_unknown_stream_is_not_awaited() {
    let server = Server::start();
    let mut requests = Requests::new(server.addr);
    requests.raw("POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n");
    assert_eq!(requests.status(), 404);
    let mut requests = Requests::new(server.addr);
    requests.raw("POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n");
    // Without the body the client could send no further request.
    assert!(requests.rest().contains("\r\nconnection: close\r\n"));
}

#[test]
fn requests_follow_a_short_body_for_an_unknown_stream_however_late_that_comes() {
    let server = Server::start();
    let mut requests = Requests::new(server.addr);
    for _ in 0..3 {
        requests.raw("POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\n{");
        thread::sleep(Duration::from_millis(50));
        requests.raw("  }");
        assert_eq!(requests.status(), 404);
    }
}

#[test]
fn a_client_of_http2_is_told_to_use_http1() {
    let server = Server::start();
    let mut requests = Requests::new(server.addr);
    requests.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let answer = requests.rest();
    // Settings, then a GOAWAY that ends with the code HTTP_1_1_REQUIRED.
    assert!(answer.starts_with("\0\0\0\x04") && answer.ends_with("\0\0\0\x0D"), "{answer:?}");
}

#[test]
fn a_quiet_stream_is_kept_alive() {
    let server = Server::start_with(Times { keep_alive: in_millis(100), ..Times::default() });
    let mut events = EventStream::joined(server.addr, ROOM);
    for _ in 0..3 {
        assert_eq!(events.line().as_deref(), Some(": keepalive"));
        assert_eq!(events.line().as_deref(), Some(""));
    }
    let request = events.send("BROADCAST", ROOM, "echo", "{}");
    assert_eq!(events.next()["requestId"], request);
}

#[test]
fn clients_that_count_messages_are_sent_some() {
    let message_keep_alive = Some(in_millis(50));
    let server = Server::start_with(Times { message_keep_alive, ..Times::default() });
    let mut events = EventStream::open(server.addr);
    let mut client = Client::connect(server.addr);
    for _ in 0..3 {
        for message in [events.next(), client.next()] {
            assert_eq!(
                (&message["action"], &message["event"]),
                (&"SYSTEM".into(), &"KEEP_ALIVE".into())
            );
            assert_eq!(
                (&message["channelName"], &message["payload"]),
                (&"GATEWAY".into(), &json!({}))
            );
        }
    }
}

#[test]
fn slow_requests_time_out() {
    let server = Server::start_with(Times { request: in_millis(1000), ..Times::default() });
    let mut events = EventStream::joined(server.addr, ROOM);
    let id = events.id.clone();
    let mut waiting: Vec<_> = [
        String::new(),
        "POST /api/so".to_owned(),
        format!(
            "POST /api/socket HTTP/1.1\r\nhost: test\r\nx-connection-id: {id}\r\ncontent-length: 9\r\n\r\n{{"
        ),
    ]
    .iter()
    .map(|sent| {
        let mut requests = Requests::new(server.addr);
        requests.raw(sent);
        requests
    })
    .collect();
    for requests in &mut waiting[..2] {
        assert_eq!(requests.rest(), "");
    }
    assert!(waiting[2].rest().starts_with("HTTP/1.1 408 "));
    // Requests without an end, whose answers are not read.
    let mut flood = Requests::new(server.addr);
    flood.stream.set_write_timeout(Some(in_millis(200))).unwrap();
    let unknown =
        "POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".repeat(1000);
    let (mut sent, mut blocked) = (0, 0);
    let broken = loop {
        match flood.stream.write(&unknown.as_bytes()[sent % unknown.len()..]) {
            Ok(len) => (sent, blocked) = (sent + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => blocked += 1,
            Err(error) => break error.kind(),
        }
        assert!(blocked < 100 && sent < 256 << 20, "a client that reads no answers is kept");
    };
    assert!(matches!(broken, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{broken}");
    // The stream itself has no such timeout and is unaffected.
    let request = events.send("BROADCAST", ROOM, "echo", "{}");
    assert_eq!(events.next()["requestId"], request);
}

#[test]
fn a_client_that_goes_away_leaves_its_channels() {
    let server = Server::start();
    let mut stays = Client::joined(server.addr, ROOM);
    let mut vanishes = EventStream::joined(server.addr, ROOM);
    stays.event("track", r#"{"n":1}"#);
    stays.next();
    vanishes.send("BROADCAST", ROOM, "track", r#"{"n":2}"#);
    stays.expect_presence("JOIN", json!([{ "n": 1 }, { "n": 2 }]), json!({ "n": 2 }));
    let id = format!("x-connection-id: {}\r\n", vanishes.id);
    drop(vanishes);
    stays.expect_presence("LEAVE", json!([{ "n": 1 }]), json!({ "n": 2 }));
    assert_eq!(Requests::new(server.addr).send("POST", &id, b"{}"), 404);
}

/// A client whose machine is gone acknowledges nothing: here its kernel drops every packet that arrives.
#[test]
#[cfg(target_os = "linux")]
fn a_client_whose_machine_vanishes_leaves_its_channels() {
    let (ping, pong, keep_alive) = (in_millis(1500), in_millis(1500), in_millis(300));
    let server = Server::start_with(Times { ping, pong, keep_alive, ..Times::default() });
    let mut stays = Client::joined(server.addr, ROOM);
    stays.event("track", r#"{"n":1}"#);
    stays.next();
    let mut vanishes = EventStream::joined(server.addr, ROOM);
    vanishes.send("BROADCAST", ROOM, "track", r#"{"n":2}"#);
    stays.expect_presence("JOIN", json!([{ "n": 1 }, { "n": 2 }]), json!({ "n": 2 }));
    const RETURN: u16 = 6;
    let none = socket2::SockFilter::new(RETURN, 0, 0, 0);
    socket2::SockRef::from(vanishes.stream()).attach_filter(&[none]).unwrap();
    stays.expect_presence("LEAVE", json!([{ "n": 1 }]), json!({ "n": 2 }));
}

/// Messages come in requests of their own, and only these count against the rates.
#[test]
fn a_stream_whose_client_sends_on_its_connection_ends() {
    let server = Server::start();
    let mut events = EventStream::joined(server.addr, ROOM);
    events.stream().write_all(&[b'x'; 16 << 10]).unwrap();
    let request = events.send("BROADCAST", ROOM, "echo", "{}");
    assert_eq!(events.next()["requestId"], request);
    let sent = (0..1 << 14).take_while(|_| events.stream().write_all(&[b'x'; 16 << 10]).is_ok());
    assert!(sent.count() < 1 << 14, "256 MiB were read");
    while events.request("POST", b"{}") != 404 {}
}

#[test]
fn a_slow_stream_is_disconnected_without_delaying_others() {
    // Its sender is faster than a client may be by default.
    let (message_rate, byte_rate) = (None, None);
    let server = Server::start_as(Options { message_rate, byte_rate, ..Options::default() });
    let mut sender = Client::joined(server.addr, ROOM);
    let mut slow = EventStream::joined(server.addr, ROOM);
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(16 * 1024));
    for round in 0.. {
        assert!(round < 200, "10,000 events of 16 KiB were queued for a client that reads none");
        for _ in 0..50 {
            sender.event("say", &payload);
        }
        for _ in 0..50 {
            sender.next_text();
        }
        if websocket::get(server.addr, "/metrics").contains("pondwire_slow_consumers_total 1\n") {
            break;
        }
    }
    assert_eq!(slow.request("POST", b"{}"), 404);
    // All events sent before are whole, except the last.
    let mut line = slow.line_or_less();
    assert!(line.starts_with("data: {"), "{line}");
    while line.ends_with('\n') {
        line = slow.line_or_less();
    }
    sender.expect_alive();
}

#[test]
#[cfg(target_os = "linux")]
fn streams_that_are_never_read_end() {
    let times = Times { ping: in_millis(1500), pong: in_millis(1500), ..Times::default() };
    // Its sender is faster than a client may be by default.
    let server = Server::start_as(Options { times, message_rate: None, ..Options::default() });
    let streams = |count: usize| {
        let page = websocket::get(server.addr, "/metrics");
        page.contains(&format!("\npondwire_event_streams {count}\n"))
    };
    let mut sender = Client::joined(server.addr, ROOM);
    let mut reads = EventStream::joined(server.addr, ROOM);
    // More than the sockets of such a client hold; and less, so that only the kernel notices.
    for kilobytes in [4000, 229] {
        let never: Vec<_> = (0..30).map(|_| EventStream::joined(server.addr, ROOM)).collect();
        assert!(streams(31));
        let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(1000));
        for _ in 0..kilobytes {
            sender.event("say", &payload);
            let text = sender.next_text();
            assert_eq!(reads.next_text(), Some(text));
        }
        // Messages are no sign of reading.
        for _ in 0..200 {
            if streams(1) {
                break;
            }
            assert!([204, 404].contains(&never[0].request("POST", b"{}")));
            sender.expect_alive();
            thread::sleep(in_millis(100));
        }
        assert!(streams(1), "{kilobytes} kB");
    }
    let request = reads.send("BROADCAST", ROOM, "echo", "{}");
    assert_eq!(reads.next()["requestId"], request);
    sender.expect_alive();
}

#[test]
fn a_closed_stream_whose_client_reads_nothing_is_disconnected() {
    let server = Server::start_with(Times { closing: in_millis(500), ..Times::default() });
    let mut sender = Client::joined(server.addr, ROOM);
    let mut slow = EventStream::joined(server.addr, ROOM);
    // Less than may be queued, but more than the sockets of a client that does not read hold.
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 << 10));
    for _ in 0..110 {
        sender.event("say", &payload);
        sender.next_text();
    }
    assert_eq!(slow.request("DELETE", b""), 204);
    thread::sleep(in_millis(1500));
    let whole =
        (0..110).take_while(|_| slow.line_or_less().ends_with('\n') && slow.line_or_less() == "\n");
    assert!((1..110).contains(&whole.count()));
    sender.expect_alive();
}

#[test]
fn a_burst_arrives_whole_and_in_order() {
    let server = Server::start();
    let mut sender = Client::joined(server.addr, ROOM);
    let mut streams: Vec<_> = (0..3).map(|_| EventStream::joined(server.addr, ROOM)).collect();
    for i in 0..500 {
        sender.event("say", &format!(r#"{{"i":{i}}}"#));
    }
    for i in 0..500 {
        let text = sender.next_text();
        assert!(text.contains(&format!("{{\"i\":{i}}}")), "{text}");
        for stream in &mut streams {
            assert_eq!(stream.next_text().as_ref(), Some(&text));
        }
    }
}

#[test]
fn the_end_of_the_server_ends_streams() {
    // The client of the stream does not close its connection.
    let times = Times { closing: in_millis(1000), ..Times::default() };
    let mut server = Server::start_with(times);
    let mut events = EventStream::joined(server.addr, ROOM);
    let mut idle = Requests::new(server.addr);
    assert_eq!(idle.send("POST", "", b"{}"), 404);
    server.stop();
    assert_eq!(events.next_text(), None);
    assert_eq!(idle.rest(), "");
    server.join();
}
