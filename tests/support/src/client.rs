//! A client of `pondwire-server` over a WebSocket, which checks each message that it receives.

#![allow(clippy::needless_pass_by_value, reason = "`json!` at the call is the easiest to read")]

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::inflate;
use crate::websocket::{Opcode, Received, WebSocket};

/// The channel that most tests use.
pub const ROOM: &str = "/chat/42";

/// A connected client. Each frame that it receives is checked to have the five keys in order.
pub struct Client {
    pub socket: WebSocket,
    pub id: String,
    /// The secret id of its connection.
    pub connection_id: String,
    requests: u32,
}

impl Client {
    pub fn connect(server: SocketAddr) -> Self {
        Self::greeted(WebSocket::open(server, "/api/socket").expect("an upgrade"))
    }

    /// A client on an open socket.
    pub fn greeted(socket: WebSocket) -> Self {
        let (id, connection_id) = (String::new(), String::new());
        let mut client = Self { socket, id, connection_id, requests: 0 };
        let greeting = client.next();
        assert_eq!(greeting["action"], "CONNECT");
        assert_eq!(greeting["event"], "CONNECTION");
        assert_eq!(greeting["channelName"], "GATEWAY");
        assert_ne!(greeting["payload"]["id"], greeting["payload"]["connectionId"]);
        client.id = greeting["payload"]["id"].as_str().unwrap().to_owned();
        client.connection_id = greeting["payload"]["connectionId"].as_str().unwrap().to_owned();
        client
    }

    /// A client that has joined the channel.
    pub fn joined(server: SocketAddr, channel: &str) -> Self {
        let mut client = Self::connect(server);
        client.join(channel);
        client
    }

    pub fn join(&mut self, channel: &str) {
        let request = self.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", "{}");
        self.expect(json!({
            "action": "SYSTEM", "event": "ACKNOWLEDGE", "channelName": channel,
            "requestId": request, "payload": {},
        }));
    }

    /// Sends a message and returns its request id; `payload` is spliced as it is.
    pub fn send(&mut self, action: &str, channel: &str, event: &str, payload: &str) -> String {
        self.requests += 1;
        let request = format!("{}-{}", &self.id[..8], self.requests);
        self.socket.text(&message(action, channel, event, &request, payload));
        request
    }

    /// Sends an event to [`ROOM`].
    pub fn event(&mut self, event: &str, payload: &str) -> String {
        self.send("BROADCAST", ROOM, event, payload)
    }

    /// The next message. Pings before it are answered.
    pub fn next_text(&mut self) -> String {
        loop {
            match self.socket.receive() {
                Received::Text(text) => return text,
                Received::Compressed(payload) => {
                    let message = inflate::message(&payload, 1 << 22);
                    return String::from_utf8(message.expect("a compressed message")).unwrap();
                }
                Received::Ping(payload) => self.socket.send(Opcode::Pong, true, &payload),
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    pub fn next(&mut self) -> Value {
        checked(&self.next_text())
    }

    pub fn expect(&mut self, expected: Value) {
        assert_eq!(self.next(), expected);
    }

    /// Expects a refusal on the gateway and returns it.
    pub fn expect_invalid(&mut self, status: u16) -> Value {
        let message = self.next();
        assert_eq!(message["action"], "ERROR");
        assert_eq!(message["event"], "INVALID_MESSAGE");
        assert_eq!(message["channelName"], "GATEWAY");
        assert_eq!(message["payload"]["status"], status, "{message}");
        message
    }

    /// Expects a presence frame: (event, list, changed).
    pub fn expect_presence(&mut self, event: &str, presence: Value, changed: Value) {
        let message = self.next();
        assert_eq!(message["action"], "PRESENCE", "{message}");
        assert_eq!(message["event"], event);
        assert_eq!(message["channelName"], ROOM);
        assert_eq!(message["payload"], json!({ "presence": presence, "changed": changed }));
    }

    /// Checks that no unread frame was sent to this client: the next frame must answer a new request that
    /// has nothing to do with any room.
    pub fn expect_nothing(&mut self) {
        let request = self.send("LEAVE_CHANNEL", "/chat/elsewhere", "LEAVE_CHANNEL", "{}");
        let message = self.next();
        assert_eq!(message["requestId"], request, "{message}");
        assert_eq!(message["event"], "EXIT_ACKNOWLEDGE");
    }

    /// Checks that the connection still works.
    pub fn expect_alive(&mut self) {
        let request = self.event("echo", r#"{"alive":true}"#);
        self.expect(json!({
            "action": "SYSTEM", "event": "echo", "channelName": ROOM, "requestId": request,
            "payload": { "alive": true },
        }));
    }

    pub fn expect_closed(&mut self, code: u16) {
        assert_eq!(self.socket.receive(), Received::Close(code));
        assert_eq!(self.socket.receive(), Received::End);
    }
}

/// Parses a server's message, and checks that it has the five keys in order.
pub fn checked(text: &str) -> Value {
    assert!(!text.contains(['\n', '\r']), "{text}");
    let mut from = 0;
    for key in ["action", "event", "channelName", "requestId", "payload"] {
        let at = text[from..].find(&format!("\"{key}\":"));
        from += at.unwrap_or_else(|| panic!("{key} in its place in {text}"));
    }
    let message: Value = serde_json::from_str(text).unwrap();
    assert_eq!(message.as_object().unwrap().len(), 5, "{text}");
    message
}

/// A client's message; nothing is escaped.
pub fn message(action: &str, channel: &str, event: &str, request: &str, payload: &str) -> String {
    format!(
        r#"{{"action":"{action}","channelName":"{channel}","requestId":"{request}","event":"{event}","payload":{payload}}}"#
    )
}

/// An `echo` of exactly `len` bytes.
pub fn message_of(len: usize) -> String {
    let empty = message("BROADCAST", ROOM, "echo", "r-1", r#"{"text":""}"#).len();
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(len - empty));
    message("BROADCAST", ROOM, "echo", "r-1", &payload)
}
