//! The application as a process: its route beside the socket, and the socket as in the plain server.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use pondwire_test_support::client::{Client, ROOM, message_of};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};

struct App {
    process: Child,
    addr: SocketAddr,
}

impl App {
    fn start(options: &[&str]) -> Self {
        Self::start_in(options, &[])
    }

    /// Starts it with variables of its environment.
    fn start_in(options: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_pondwire-axum-example"))
            .env_remove("PONDWIRE_REDIS")
            .env_remove("PONDWIRE_TOKEN")
            .envs(variables.iter().copied())
            .args(["--addr", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { process, addr }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn frames_go_as_in_the_plain_server() {
    let app = App::start(&[]);
    let mut one = Client::joined(app.addr, ROOM);
    let mut two = Client::joined(app.addr, ROOM);
    one.event("say", r#"{"text":"hi"}"#);
    assert_eq!(one.next_text(), two.next_text());
    // Neither messages right after the handshake nor large ones are lost.
    one.socket.text(&message_of(1 << 20));
    assert_eq!(one.next()["event"], "echo");
    one.socket.send(Opcode::Ping, true, b"?");
    assert_eq!(one.socket.receive(), Received::Pong(b"?".to_vec()));
    one.socket.send(Opcode::Close, true, &[0x0F, 0xA0]);
    one.expect_closed(4000);

    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (socket, head) = WebSocket::open_with(app.addr, "/api/socket", offer).unwrap();
    assert!(head.contains("permessage-deflate"), "{head}");
    let mut compressed = Client::greeted(socket);
    compressed.join(ROOM);
    two.event("say", &format!(r#"{{"text":"{}"}}"#, "x".repeat(5000)));
    assert_eq!(compressed.next_text(), two.next_text());
}

/// A socket that is not found under axum's server would cost two more, between it and the writers.
#[test]
#[cfg(target_os = "linux")]
fn a_socket_costs_one_descriptor() {
    let app = App::start(&[]);
    let sockets = || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", app.process.id())).unwrap();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    let before = sockets();
    let clients: Vec<_> = (0..10).map(|_| Client::joined(app.addr, ROOM)).collect();
    assert_eq!(sockets() - before, clients.len());
}

/// Requests another route of the application and returns the status. The connection stays open, so only the
/// head is read.
fn status(app: &App, path: &str) -> u16 {
    let refused = WebSocket::open(app.addr, path).err().expect("no upgrade");
    refused["http/1.1 ".len()..][..3].parse().unwrap()
}

#[test]
fn routes_and_limits_hold_beside_it() {
    let app = App::start(&["--token", "abc", "--origin", "https://pond.example"]);
    assert_eq!(status(&app, "/"), 200);
    assert_eq!(status(&app, "/metrics"), 200);
    assert_eq!(status(&app, "/nowhere"), 404);
    assert_eq!(status(&app, "/api/socket"), 401);
    assert_eq!(status(&app, "/api/socket?token=abd"), 403);
    let evil = WebSocket::open_with(app.addr, "/api/socket?token=abc", "origin: https://evil\r\n");
    assert!(evil.err().unwrap().starts_with("http/1.1 403 "));
    assert!(WebSocket::open(app.addr, "/api/socket?token=abc").is_ok());

    let mut stream = websocket::connect(app.addr);
    let head = "host: test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 8\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET /api/socket?token=abc HTTP/1.1\r\n{head}\r\n").unwrap();
    websocket::assert_upgrade_required(&websocket::read_head(&mut stream));

    let app = App::start(&["--connections", "1"]);
    let one = Client::joined(app.addr, ROOM);
    assert_eq!(status(&app, "/api/socket"), 503);
    assert_eq!(status(&app, "/"), 200, "the limit counts sockets only");
    drop(one);
}

#[test]
fn a_token_may_come_from_the_environment_or_a_file() {
    let file = std::env::temp_dir().join(format!("pondwire-token-{}", std::process::id()));
    std::fs::write(&file, "abc\n").unwrap();
    let by_file = App::start(&["--token-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let by_variable = App::start_in(&[], &[("PONDWIRE_TOKEN", "abc")]);
    for app in [by_file, by_variable] {
        assert_eq!(status(&app, "/api/socket"), 401);
        assert_eq!(status(&app, "/api/socket?token=abd"), 403);
        assert!(WebSocket::open(app.addr, "/api/socket?token=abc").is_ok());
    }
}

#[test]
fn a_redis_may_come_from_the_environment() {
    // Without the feature `redis` the server refuses any, and with it this one.
    let refused = Command::new(env!("CARGO_BIN_EXE_pondwire-axum-example"))
        .args(["--addr", "127.0.0.1:0"])
        .env("PONDWIRE_REDIS", "nonsense")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("redis") || error.contains("Redis"), "{error}");
}

#[test]
fn event_streams_are_response_bodies() {
    let app = App::start(&[]);
    let mut peer = Client::joined(app.addr, ROOM);
    let mut events = EventStream::open_by(app.addr, "HTTP/1.0");
    events.join(ROOM);
    peer.event("say", r#"{"text":"hi"}"#);
    assert_eq!(events.next_text(), Some(peer.next_text()));
    assert_eq!(events.request("DELETE", b""), 204);
    assert_eq!(events.next_text(), None);
    peer.expect_alive();
}

#[test]
#[cfg(unix)]
fn shutdown_closes_sockets() {
    for signal in ["-INT", "-TERM"] {
        let mut app = App::start(&[]);
        let mut client = Client::joined(app.addr, ROOM);
        let process = app.process.id().to_string();
        Command::new("kill").args([signal, &process]).status().unwrap();
        assert_eq!(client.socket.receive(), Received::Close(1001));
        client.socket.send(Opcode::Close, true, &[0x03, 0xE9]);
        assert_eq!(client.socket.receive(), Received::End);
        drop(client);
        assert!(app.process.wait().unwrap().success());
    }
}
