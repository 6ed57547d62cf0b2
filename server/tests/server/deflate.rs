//! The server with permessage-deflate (RFC 7692): negotiation, compressed frames in both directions, and
//! hostile clients.

use flate2::{Compress, Compression, FlushCompress};
use serde_json::Value;

use crate::fixture::Server;
use pondwire_server::{Options, Rate};
use pondwire_test_support::client::{Client, ROOM, message, message_of};
use pondwire_test_support::inflate;
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};

const LIMIT: usize = 1 << 20;

/// A message's compressed payload as RFC 7692 defines it: flushed, without the flush's last four bytes.
fn compressed(message: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut payload = Vec::with_capacity(message.len() + 1000);
    stream.compress_vec(message, &mut payload, FlushCompress::Sync).unwrap();
    assert!(payload.ends_with(&[0, 0, 0xFF, 0xFF]));
    payload.truncate(payload.len() - 4);
    payload
}

fn open(server: &Server, offer: &str) -> Result<(WebSocket, String), String> {
    let header = format!("Sec-WebSocket-Extensions: {offer}\r\n");
    WebSocket::open_with(server.addr, "/api/socket", &header)
}

/// A member that has negotiated compression.
fn joined(server: &Server) -> Client {
    let (socket, _) = open(server, "permessage-deflate; client_max_window_bits").unwrap();
    let mut client = Client::greeted(socket);
    client.join(ROOM);
    client
}

/// Empty blocks, which inflate to nothing.
#[test]
fn compressed_padding_counts() {
    // There is no more, however long the test takes.
    let byte_rate = Some(Rate { per_second: 0, burst: 100_000 });
    let server = Server::start_as(Options { byte_rate, ..Options::default() });
    let mut client = joined(&server);
    let echo = message("BROADCAST", ROOM, "echo", "r-1", "{}");
    let padded = [&b"\0\0\0\xFF\xFF".repeat(18_000)[..], &compressed(echo.as_bytes())].concat();
    client.socket.send_compressed(Opcode::Text, true, &padded);
    assert_eq!(client.next()["event"], "echo");
    // Larger than the rest.
    client.socket.send_compressed(Opcode::Text, true, &padded);
    assert_eq!(client.next()["event"], "echo");
    client.socket.send_compressed(Opcode::Text, true, &compressed(echo.as_bytes()));
    client.expect_invalid(429);
}

fn payload_of(text: &str) -> String {
    format!(r#"{{"text":"{text}"}}"#)
}

#[test]
fn offers_are_accepted_declined_or_refused() {
    const AGREED: &str = "sec-websocket-extensions: permessage-deflate; \
                          server_no_context_takeover; client_no_context_takeover";
    let server = Server::start();
    for (offer, response) in [
        ("permessage-deflate", Some("\r\n")),
        ("permessage-deflate; client_max_window_bits", Some("\r\n")),
        ("foo, permessage-deflate;  client_max_window_bits=\"10\"", Some("\r\n")),
        ("permessage-deflate; server_max_window_bits=15", Some("; server_max_window_bits=15\r\n")),
        ("permessage-deflate; server_max_window_bits=9", None),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", Some("\r\n")),
        ("permessage-deflate; unheard_of", None),
        ("foo", None),
    ] {
        let (_, head) = open(&server, offer).unwrap();
        match response {
            Some(rest) => assert!(head.contains(&format!("{AGREED}{rest}")), "{offer}: {head}"),
            None => assert!(!head.contains("sec-websocket-extensions"), "{offer}: {head}"),
        }
    }
    for malformed in [
        "",
        ",",
        "permessage-deflate;",
        "permessage-deflate; =10",
        "permessage deflate",
        "a; b=\"c",
    ] {
        let refused = open(&server, malformed).err().expect("no upgrade");
        assert!(refused.starts_with("http/1.1 400 "), "{malformed}: {refused}");
    }
}

#[test]
fn handshakes_are_checked() {
    let server = Server::start();
    let valid = "GET /api/socket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (from, to, status) in [
        ("", "", "101"),
        ("13", "8", "426"),
        ("Sec-WebSocket-Version: 13\r\n", "", "426"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("Connection: Upgrade", "Connection: keep-alive", "400"),
        ("Upgrade: websocket", "Upgrade: h2c", "400"),
        ("Upgrade: websocket", "Upgrade: h2c, WebSocket", "101"),
        ("Upgrade: websocket", "Upgrade: h2c\r\nAccept: text/event-stream", "200"),
        (key, "", "400"),
        (key, &key.repeat(2), "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "not base64", "400"),
        ("GET", "POST", "404"),
        ("Host: test\r\n", "", "400"),
        ("Host: test\r\n", "Host: test\r\nHost: test\r\n", "400"),
        ("Host: test\r\n", "Host: test\r\nContent-Length: 2\r\n", "400"),
        ("Host: test\r\n", "Host: test\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("GET /", "GET ws://test/", "101"),
    ] {
        use std::io::Write;
        let mut stream = websocket::connect(server.addr);
        stream.write_all(valid.replacen(from, to, 1).as_bytes()).unwrap();
        let head = websocket::read_head(&mut stream);
        assert_eq!(head[.."HTTP/1.1 101".len()][9..], *status, "{from} → {to}: {head}");
        if status == "426" {
            websocket::assert_upgrade_required(&head);
        }
    }
}

#[test]
fn a_broadcast_is_the_same_message_for_all() {
    let server = Server::start();
    let mut plain = Client::joined(server.addr, ROOM);
    let mut members = [joined(&server), joined(&server)];

    // Long enough to be compressed for members that negotiated it.
    plain.event("say", &payload_of(&"all work and no play ".repeat(40)));
    let text = plain.next_text();
    let mut seen = None;
    for member in &mut members {
        let Received::Compressed(payload) = member.socket.receive() else {
            panic!("not compressed");
        };
        assert!(payload.len() < text.len() / 4);
        assert_eq!(inflate::message(&payload, LIMIT).as_deref(), Some(text.as_bytes()));
        assert_eq!(*seen.get_or_insert_with(|| payload.clone()), payload, "compressed once");
    }

    // Too short to be compressed.
    plain.event("say", &payload_of("hi"));
    let text = plain.next_text();
    for member in &mut members {
        assert_eq!(member.socket.receive(), Received::Text(text.clone()));
    }
}

/// Text of `len` bytes that hardly compresses.
fn noise(len: usize) -> String {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'#' + (state >> 33) as u8 % 57)
    };
    let noise: String = (0..len).map(|_| next()).collect();
    noise.replace('\\', "!")
}

#[test]
fn compressed_messages_are_read() {
    let server = Server::start();
    let mut client = joined(&server);
    for text in ["", "hi", "héllo – 你好", &"x".repeat(500), &noise(5000)] {
        let echo = message("BROADCAST", ROOM, "echo", "r-1", &payload_of(text));
        let payload = compressed(echo.as_bytes());
        client.socket.send_compressed(Opcode::Text, true, &payload);
        assert_eq!(client.next()["payload"]["text"], text);
        client.socket.send_compressed(Opcode::Binary, true, &payload);
        assert_eq!(client.next()["payload"]["text"], text);
        // In fragments, of which only the first is marked as compressed.
        let (first, second) = payload.split_at(payload.len() / 2);
        client.socket.send_compressed(Opcode::Text, false, first);
        client.socket.send(Opcode::Ping, true, b"still there?");
        client.socket.send(Opcode::Continuation, true, second);
        assert_eq!(client.socket.receive(), Received::Pong(b"still there?".to_vec()));
        assert_eq!(client.next()["payload"]["text"], text);
        client.socket.text(&echo);
        assert_eq!(client.next()["payload"]["text"], text);
    }
    // The largest allowed message; then an invalid one, which is answered as usual.
    client.socket.send_compressed(Opcode::Text, true, &compressed(message_of(LIMIT).as_bytes()));
    assert_eq!(client.next()["event"], "echo");
    client.socket.send_compressed(Opcode::Text, true, &compressed(b"nonsense"));
    client.expect_invalid(400);
    client.expect_alive();
}

#[test]
fn invalid_compression_closes_only_its_own_connection() {
    let server = Server::start();
    let mut other = joined(&server);
    // 64 MiB of zeros in 64 KiB, and a message that is just too large.
    let bomb = compressed(&vec![0; 64 << 20]);
    assert!(bomb.len() < 70_000);
    for bomb in [&bomb, &compressed(message_of(LIMIT + 1).as_bytes())] {
        let mut client = joined(&server);
        client.socket.send_compressed(Opcode::Text, true, bomb);
        client.expect_invalid(413);
        client.expect_closed(1009);
        other.expect_alive();
    }
    // Longer than any message within the limit is when compressed.
    let mut client = joined(&server);
    client.socket.send_compressed(Opcode::Text, true, &vec![0; 2 * LIMIT]);
    client.expect_invalid(413);
    client.expect_closed(1009);

    let mut cut = compressed(message_of(1000).as_bytes());
    cut.truncate(cut.len() / 2);
    for malformed in [&b"\xFF\xFF\xFF"[..], b"\x07", &cut, &compressed(b"{\"event\":\"\xFF\"}")] {
        let mut client = joined(&server);
        client.socket.send_compressed(Opcode::Text, true, malformed);
        client.expect_closed(1007);
    }
    // RSV1 without negotiation; and, with it, on a ping.
    let mut client = Client::joined(server.addr, ROOM);
    client.socket.send_compressed(Opcode::Text, true, &compressed(b"{}"));
    client.expect_closed(1002);
    let mut client = joined(&server);
    client.socket.send_compressed(Opcode::Ping, true, b"");
    client.expect_closed(1002);

    other.expect_alive();
    assert_eq!(echo_of(&mut other, &noise(2000))["text"], noise(2000));
}

/// The payload of the answer to an `echo`.
fn echo_of(client: &mut Client, text: &str) -> Value {
    client.event("echo", &payload_of(text));
    client.next()["payload"].take()
}
