//! WebSockets over real sockets: the behavior that clients rely on, and hostile clients.

use std::io::Write;
use std::thread;

use serde_json::json;

use crate::fixture::Server;
use pondwire_server::Options;
use pondwire_test_support::client::{Client, ROOM, message, message_of};
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};

#[test]
fn plain_http_requests() {
    let server = Server::start();
    assert!(websocket::get(server.addr, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(websocket::get(server.addr, "/other").starts_with("HTTP/1.1 404 "));
    assert!(websocket::get(server.addr, "/api/socket").starts_with("HTTP/1.1 400 "));
    let refused = WebSocket::open(server.addr, "/api/other").err().expect("no upgrade");
    assert!(refused.starts_with("http/1.1 404 "), "{refused}");
    assert!(WebSocket::open(server.addr, "/api/socket?token=abc").is_ok());
}

/// What browsers never send, and other clients and proxies do.
#[test]
fn handshakes_are_judged_as_http_demands() {
    let server = Server::start();
    let (host, length) = ("host: test\r\n", "content-length: 2\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    let twice = host.repeat(2);
    let many = format!("{host}{}", "x: y\r\n".repeat(100));
    let (with_length, with_chunks) = (format!("{host}{length}"), format!("{host}{chunked}"));
    for (target, headers, key, status) in [
        // The last character of RFC 6455's own example has spare bits set.
        ("/api/socket", host, "AQIDBAUGBwgJCgsMDQ4PEC==", 101),
        ("/api/socket", host, "AAAAAAAAAAAAAAAAAAAAA/==", 101),
        ("/api/socket", host, "AQIDBAUGBwgJCgsMDQ4P", 400),
        ("ws://test/api/socket", host, "dGhlIHNhbXBsZSBub25jZQ==", 101),
        ("http://test/api/socket?a=b", host, "dGhlIHNhbXBsZSBub25jZQ==", 101),
        ("/api/socket", "", "dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("/api/socket", &twice, "dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("/api/socket", &many, "dGhlIHNhbXBsZSBub25jZQ==", 101),
        // A body could be taken for frames.
        ("/api/socket", &with_length, "dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("/api/socket", &with_chunks, "dGhlIHNhbXBsZSBub25jZQ==", 400),
    ] {
        let mut stream = websocket::connect(server.addr);
        let request = format!(
            "GET {target} HTTP/1.1\r\n{headers}connection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let head = websocket::read_head(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
    }
}

#[test]
fn joins_are_acknowledged_or_declined() {
    let server = Server::start();
    let mut client = Client::connect(server.addr);
    client.join(ROOM);
    for (channel, payload, code) in [
        ("/chat/private", r#"{"deny":true}"#, 403),
        ("/chat/private", r#"{"deny":"because"}"#, 403),
        ("/nowhere", "{}", 404),
        ("/chat/", "{}", 404),
        ("/chat/a/b", "{}", 404),
        ("chat/a", "{}", 404),
    ] {
        let request = client.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", payload);
        let answer = client.next();
        assert_eq!(answer["action"], "SYSTEM");
        assert_eq!(answer["event"], "UNAUTHORIZED");
        assert_eq!(answer["channelName"], channel);
        assert_eq!(answer["requestId"], request);
        assert_eq!(answer["payload"]["code"], code, "{channel} {payload}");
    }
    for payload in [r#"{"deny":false}"#, r#"{"deny":null}"#] {
        client.send("JOIN_CHANNEL", "/chat/open", "JOIN_CHANNEL", payload);
        assert_eq!(client.next()["event"], "ACKNOWLEDGE");
    }
}

#[test]
fn the_acknowledgement_is_the_first_frame_of_a_channel() {
    let server = Server::start();
    let mut busy = Client::joined(server.addr, ROOM);
    for i in 0..200 {
        let mut joining = Client::connect(server.addr);
        joining.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "{}");
        busy.event("say", &format!(r#"{{"i":{i}}}"#));
        assert_eq!(joining.next()["event"], "ACKNOWLEDGE");
        busy.next();
    }
}

#[test]
fn a_broadcast_is_one_frame_for_all() {
    let server = Server::start();
    let mut sender = Client::joined(server.addr, ROOM);
    let mut other = Client::joined(server.addr, ROOM);
    let mut elsewhere = Client::joined(server.addr, "/chat/43");

    let request = sender.event("say", "{\"b\" :\n1e400,\r\n\"a\":\"h\\u00e9\"}");
    let text = sender.next_text();
    assert_eq!(other.next_text(), text, "the sender's request id is as fresh as everyone's");
    assert!(text.ends_with("\"payload\":{\"b\" : 1e400,  \"a\":\"h\\u00e9\"}}"), "{text}");
    assert!(text.starts_with(r#"{"action":"BROADCAST","event":"say","channelName":"/chat/42""#));
    assert!(!text.contains(&request), "{text}");
    elsewhere.expect_nothing();

    other.event("say", "{}");
    assert_ne!(sender.next()["requestId"], "");
    other.next();
    other.expect_alive();
    sender.expect_nothing();
}

#[test]
fn malformed_messages_are_answered_and_the_connection_continues() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    client.socket.text(r#"{"action":"ping"}"#);
    assert_eq!(client.expect_invalid(400)["payload"]["error"], "event: Missing required field");
    for malformed in ["", "not json", "[]", "{\"event\":", "{}{}", "\u{feff}{}"] {
        client.socket.text(malformed);
        client.expect_invalid(400);
    }
    client.socket.text(&"[".repeat(100_000));
    client.expect_invalid(400);
    client.socket.text(&message("BROADCAST", "", "say", "r-2", "{}"));
    assert_eq!(client.expect_invalid(400)["requestId"], "r-2");
    client.socket.text(&message("BROADCAST", ROOM, "", "r-3", "{}"));
    assert_eq!(client.expect_invalid(400)["requestId"], "r-3");
    client.socket.text(&message("BROADCAST", ROOM, "say", "", "{}"));
    assert_ne!(client.expect_invalid(400)["requestId"], "");
    client.expect_alive();
}

#[test]
fn binary_is_text_when_it_is_utf8() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    let echo = message("BROADCAST", ROOM, "echo", "r-1", r#"{"text":"é"}"#);
    client.socket.send(Opcode::Binary, true, echo.as_bytes());
    assert_eq!(client.next()["payload"]["text"], "é");
    client.socket.send(Opcode::Binary, true, b"{\"event\":\"\xFF\"}");
    client.expect_invalid(400);
    client.expect_alive();
}

#[test]
fn fragments_and_pings() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    let echo = message("BROADCAST", ROOM, "echo", "r-1", r#"{"text":"é"}"#);
    let (first, second) = echo.as_bytes().split_at(echo.len() - 4);
    client.socket.send(Opcode::Text, false, first);
    client.socket.send(Opcode::Ping, true, b"still there?");
    client.socket.send(Opcode::Continuation, true, second);
    assert_eq!(client.socket.receive(), Received::Pong(b"still there?".to_vec()));
    assert_eq!(client.next()["payload"]["text"], "é");
}

#[test]
fn protocol_violations_close_with_their_code() {
    let server = Server::start();
    let mut other = Client::joined(server.addr, ROOM);
    for (bytes, code) in [
        (&b"\x81\x02{}"[..], 1002),          // not masked
        (b"\xC1\x82\0\0\0\0{}", 1002),       // RSV1 without a negotiated extension
        (b"\x83\x80\0\0\0\0", 1002),         // an unknown opcode
        (b"\x80\x80\0\0\0\0", 1002),         // nothing to continue
        (b"\x09\x80\0\0\0\0", 1002),         // a fragmented ping
        (b"\x89\xFE\0\x7E\0\0\0\0", 1002),   // a long ping
        (b"\x81\xFE\0\x01\0\0\0\0x", 1002),  // a length not in the shortest form
        (b"\x88\x82\0\0\0\0\x03\xED", 1002), // 1005 is never sent
        (b"\x88\x81\0\0\0\0\x03", 1002),     // half a code
        (b"\x88\x83\0\0\0\0\x03\xE8\xFF", 1007),
    ] {
        let mut client = Client::joined(server.addr, ROOM);
        // Earlier requests are answered.
        let request = client.event("echo", "{}");
        client.socket.raw(bytes);
        assert_eq!(client.next()["requestId"], request, "{}", bytes.escape_ascii());
        client.expect_closed(code);
    }
    other.expect_alive();
}

#[test]
fn text_that_is_not_utf8_closes_the_connection() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    client.socket.send(Opcode::Text, true, b"{\"event\":\"\xFF\"}");
    client.expect_closed(1007);
}

#[test]
fn a_client_may_close() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    let request = client.event("echo", "{}");
    client.socket.send(Opcode::Close, true, &[0x0F, 0xA0, b'!']);
    assert_eq!(client.next()["requestId"], request, "earlier requests are answered");
    client.expect_closed(4000);

    let mut client = Client::joined(server.addr, ROOM);
    client.socket.send(Opcode::Close, true, &[]);
    client.expect_closed(1000);
}

#[test]
fn oversized_messages_are_refused_and_close() {
    const LIMIT: usize = 1 << 20;
    let server = Server::start();

    // The largest allowed message, and one byte more. Earlier requests are answered.
    let mut client = Client::joined(server.addr, ROOM);
    client.socket.text(&message_of(LIMIT));
    assert_eq!(client.next()["event"], "echo");
    let request = client.event("echo", "{}");
    client.socket.text(&message_of(LIMIT + 1));
    assert_eq!(client.next()["requestId"], request);
    client.expect_invalid(413);
    client.expect_closed(1009);

    // Much more, all sent before anything is read.
    let mut client = Client::joined(server.addr, ROOM);
    client.socket.text(&message_of(24 * LIMIT));
    client.expect_invalid(413);
    client.expect_closed(1009);

    // A length larger than memory, only announced.
    let mut client = Client::joined(server.addr, ROOM);
    client.socket.announce(1 << 50);
    client.expect_invalid(413);
    client.expect_closed(1009);

    // In fragments of an allowed size.
    let mut client = Client::joined(server.addr, ROOM);
    let message = message_of(LIMIT + LIMIT / 2).into_bytes();
    let (first, second) = message.split_at(LIMIT - 7);
    client.socket.send(Opcode::Text, false, first);
    client.socket.send(Opcode::Continuation, true, second);
    client.expect_invalid(413);
    client.expect_closed(1009);
}

#[test]
fn presence_goes_to_tracked_members() {
    let server = Server::start();
    let mut first = Client::joined(server.addr, ROOM);
    let mut second = Client::joined(server.addr, ROOM);
    let mut silent = Client::joined(server.addr, ROOM);

    first.event("update", r#"{"n":0}"#);
    first.expect_invalid(400);
    first.event("untrack", "{}");
    first.expect_invalid(400);

    first.event("track", r#"{"n":1}"#);
    first.expect_presence("JOIN", json!([{ "n": 1 }]), json!({ "n": 1 }));
    second.expect_nothing();

    second.event("track", r#"{"n":2}"#);
    for client in [&mut first, &mut second] {
        client.expect_presence("JOIN", json!([{ "n": 1 }, { "n": 2 }]), json!({ "n": 2 }));
    }
    first.event("update", r#"{"n":3}"#);
    for client in [&mut first, &mut second] {
        client.expect_presence("UPDATE", json!([{ "n": 3 }, { "n": 2 }]), json!({ "n": 3 }));
    }
    second.event("track", r#"{"n":4}"#);
    for client in [&mut first, &mut second] {
        client.expect_presence("UPDATE", json!([{ "n": 3 }, { "n": 4 }]), json!({ "n": 4 }));
    }
    first.event("untrack", "{}");
    second.expect_presence("LEAVE", json!([{ "n": 4 }]), json!({ "n": 3 }));
    first.expect_nothing();
    silent.expect_nothing();
}

#[test]
fn members_that_leave_or_disconnect_lose_their_presence() {
    let server = Server::start();
    let mut stays = Client::joined(server.addr, ROOM);
    let mut leaves = Client::joined(server.addr, ROOM);
    let mut vanishes = Client::joined(server.addr, ROOM);
    stays.event("track", r#"{"n":1}"#);
    stays.next();
    for (client, n) in [(&mut leaves, 2), (&mut vanishes, 3)] {
        client.event("track", &format!(r#"{{"n":{n}}}"#));
        assert_eq!(client.next()["event"], "JOIN");
        assert_eq!(stays.next()["event"], "JOIN");
    }
    assert_eq!(leaves.next()["payload"]["changed"]["n"], 3);

    let request = leaves.send("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "{}");
    leaves.expect(json!({
        "action": "SYSTEM", "event": "EXIT_ACKNOWLEDGE", "channelName": ROOM,
        "requestId": request, "payload": {},
    }));
    stays.expect_presence("LEAVE", json!([{ "n": 1 }, { "n": 3 }]), json!({ "n": 2 }));

    drop(vanishes);
    stays.expect_presence("LEAVE", json!([{ "n": 1 }]), json!({ "n": 3 }));
    leaves.expect_nothing();

    // It has left, so it may not broadcast there, but it may join again.
    let request = leaves.event("say", "{}");
    let answer = leaves.next();
    assert_eq!((&answer["event"], &answer["requestId"]), (&json!("NOT_FOUND"), &json!(request)));
    leaves.join(ROOM);
    leaves.expect_alive();
}

#[test]
fn evicted_users_are_notified_and_removed() {
    let server = Server::start();
    let mut evicts = Client::joined(server.addr, ROOM);
    let mut evicted = Client::joined(server.addr, ROOM);
    for client in [&mut evicts, &mut evicted] {
        client.event("track", "{}");
        client.next();
    }
    evicts.next();

    evicts.event("evict", &json!({ "id": evicted.id, "reason": "spam" }).to_string());
    let notice = evicted.next();
    assert_eq!(notice["action"], "SYSTEM");
    assert_eq!(notice["event"], "EVICTED");
    assert_eq!(notice["channelName"], ROOM);
    assert_eq!(notice["payload"], json!({ "reason": "spam" }));
    evicts.expect_presence("LEAVE", json!([{}]), json!({}));

    evicts.event("say", "{}");
    assert_eq!(evicts.next()["event"], "say");
    evicted.expect_nothing();
    evicted.event("say", "{}");
    assert_eq!(evicted.next()["event"], "NOT_FOUND");

    // No such user; then the sender itself, which was the last member.
    for payload in [json!({ "id": evicted.id }), json!({ "id": "?" }), json!({ "id": 7 })] {
        let request = evicts.event("evict", &payload.to_string());
        let answer = evicts.next();
        assert_eq!(
            (&answer["event"], &answer["requestId"]),
            (&json!("NOT_FOUND"), &json!(request))
        );
    }
    evicts.event("evict", "{}");
    assert_eq!(evicts.next()["payload"], json!({ "reason": "" }));
    evicts.event("echo", "{}");
    assert_eq!(evicts.next()["event"], "NOT_FOUND");

    for client in [&mut evicts, &mut evicted] {
        client.join(ROOM);
        client.expect_alive();
    }
    evicts.event("say", "{}");
    assert_eq!(evicted.next()["event"], "say");
}

#[test]
fn late_joiners_get_the_last_broadcast_on_request() {
    let server = Server::start();
    let mut early = Client::joined(server.addr, ROOM);
    let join = |payload| {
        let mut late = Client::connect(server.addr);
        late.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", payload);
        assert_eq!(late.next()["event"], "ACKNOWLEDGE");
        late
    };
    // No broadcast yet: an answer to one client is not a broadcast.
    early.event("echo", "{}");
    early.next();
    join(r#"{"last":true}"#).expect_nothing();

    early.event("say", r#"{"n":1}"#);
    early.event("say", r#"{"n":2}"#);
    early.next();
    let last = early.next_text();
    for payload in ["{}", r#"{"last":false}"#, r#"{"last":null}"#] {
        join(payload).expect_nothing();
    }
    let mut late = join(r#"{"last":true}"#);
    assert_eq!(late.next_text(), last, "as it was sent");
    late.expect_nothing();
    early.expect_nothing();

    // A client that joins during broadcasts ends with the newest, in whatever order the others arrived.
    let speaking = thread::spawn(move || {
        for i in 0..1000 {
            early.event("say", &format!(r#"{{"n":{i}}}"#));
            early.next();
        }
        early
    });
    let mut joined: Vec<_> = (0..100).map(|_| join(r#"{"last":true}"#)).collect();
    let mut early = speaking.join().unwrap();
    for client in &mut joined {
        let request = client.send("LEAVE_CHANNEL", "/chat/elsewhere", "LEAVE_CHANNEL", "{}");
        let mut newest = json!(null);
        loop {
            let message = client.next();
            if message["requestId"] == request {
                break;
            }
            newest = message["payload"]["n"].clone();
        }
        assert_eq!(newest, 999);
    }
    drop(joined);

    // No broadcast is missed between the last stored one and the first received one.
    for i in 0..300 {
        let mut late = Client::connect(server.addr);
        late.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", r#"{"last":true}"#);
        early.event("say", &format!(r#"{{"n":{i}}}"#));
        assert_eq!(late.next()["event"], "ACKNOWLEDGE");
        while late.next()["payload"]["n"] != i {}
        early.next();
    }

    // A channel that all members have left starts empty.
    early.send("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "{}");
    early.next();
    drop(late);
    for attempt in 0.. {
        let mut late = join(r#"{"last":true}"#);
        let request = late.send("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "{}");
        if late.next()["requestId"] == request {
            break;
        }
        assert!(attempt < 1000, "a member has not left yet");
    }
}

#[test]
fn a_double_join_delivers_once() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    client.join(ROOM);
    client.event("say", "{}");
    assert_eq!(client.next()["event"], "say");
    client.expect_nothing();
}

#[test]
fn a_channel_that_is_not_joined_is_not_found() {
    let server = Server::start();
    let _member = Client::joined(server.addr, ROOM);
    let mut stranger = Client::connect(server.addr);
    for event in ["say", "echo", "track", "evict"] {
        let request = stranger.event(event, "{}");
        let answer = stranger.next();
        assert_eq!(answer["action"], "SYSTEM");
        assert_eq!(answer["event"], "NOT_FOUND");
        assert_eq!(answer["channelName"], ROOM);
        assert_eq!(answer["requestId"], request);
        assert_eq!(answer["payload"]["code"], 404);
    }
    // A leave is acknowledged whether or not the client was a member.
    stranger.expect_nothing();
}

#[test]
fn a_burst_arrives_whole_and_in_order() {
    let server = Server::start();
    let mut sender = Client::joined(server.addr, ROOM);
    let mut other = Client::joined(server.addr, ROOM);
    for i in 0..1000 {
        sender.event("say", &format!(r#"{{"i":{i}}}"#));
    }
    for client in [&mut sender, &mut other] {
        for i in 0..1000 {
            assert_eq!(client.next()["payload"]["i"], i);
        }
        client.expect_nothing();
    }
}

#[test]
fn a_slow_consumer_is_disconnected_without_delaying_others() {
    // Its sender is faster than a client may be by default.
    let (message_rate, byte_rate) = (None, None);
    let server = Server::start_as(Options { message_rate, byte_rate, ..Options::default() });
    let mut sender = Client::joined(server.addr, ROOM);
    let _slow = Client::joined(server.addr, ROOM);
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(16 * 1024));
    for _ in 0..200 {
        for _ in 0..50 {
            sender.event("say", &payload);
        }
        for _ in 0..50 {
            sender.next_text();
        }
        if websocket::get(server.addr, "/metrics").contains("pondwire_slow_consumers_total 1\n") {
            return;
        }
    }
    panic!("10,000 frames of 16 KiB were queued for a client that reads none");
}

#[test]
fn the_end_of_the_server_closes_connections() {
    let mut server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    server.stop();
    assert_eq!(client.socket.receive(), Received::Close(1001));
    client.socket.send(Opcode::Close, true, &[0x03, 0xE9]);
    assert_eq!(client.socket.receive(), Received::End);
    drop(client);
    server.join();
}
