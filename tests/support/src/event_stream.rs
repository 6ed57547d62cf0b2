//! A client of `pondwire-server` over event streams: blocking, no library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::client::{checked, message};
use crate::websocket::{connect, read_head};

/// One open stream.
pub struct EventStream {
    server: SocketAddr,
    reader: BufReader<TcpStream>,
    pub head: String,
    /// The connection id.
    pub id: String,
    pub user_id: String,
    requests: u32,
}

impl EventStream {
    /// Opens a stream and reads its greeting.
    pub fn open(server: SocketAddr) -> Self {
        Self::open_by(server, "HTTP/1.1")
    }

    /// The same with this version of HTTP: a response to HTTP/1.0 is not chunked.
    pub fn open_by(server: SocketAddr, version: &str) -> Self {
        let mut stream = connect(server);
        let accept = "accept: text/html, Text/Event-Stream;q=0.9";
        write!(stream, "GET /api/socket?token=abc {version}\r\nhost: test\r\n{accept}\r\n\r\n")
            .unwrap();
        let head = read_head(&mut stream).to_ascii_lowercase();
        let id = head.split("x-connection-id: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        let (reader, user_id) = (BufReader::new(stream), String::new());
        let mut events = Self { server, reader, head, id, user_id, requests: 0 };
        let greeting = events.next();
        assert_eq!(
            (&greeting["action"], &greeting["event"]),
            (&"CONNECT".into(), &"CONNECTION".into())
        );
        assert_eq!(greeting["payload"]["connectionId"], events.id.as_str());
        events.user_id = greeting["payload"]["id"].as_str().unwrap().to_owned();
        events
    }

    /// The connection.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Opens a stream and joins the channel.
    pub fn joined(server: SocketAddr, channel: &str) -> Self {
        let mut events = Self::open(server);
        events.join(channel);
        events
    }

    pub fn join(&mut self, channel: &str) {
        let request = self.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", "{}");
        let answer = self.next();
        assert_eq!(answer["event"], "ACKNOWLEDGE");
        assert_eq!(answer["requestId"], request);
    }

    /// The next line, without its end; `None` at the end of the stream.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let len = self.reader.read_line(&mut line).expect("a line in time");
        (len > 0).then(|| line.strip_suffix('\n').expect("a whole line").to_owned())
    }

    /// Reads another line without looking at it; `None` at the end of the stream.
    pub fn next_text_if_any(&mut self) -> Option<()> {
        let mut line = Vec::new();
        matches!(self.reader.read_until(b'\n', &mut line), Ok(1..)).then_some(())
    }

    /// The next line, or a part of it if the stream breaks off.
    pub fn line_or_less(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.reader.read_until(b'\n', &mut line);
        String::from_utf8(line).unwrap()
    }

    /// The next event, which is one line of data, after any comments; `None` at the end of the
    /// stream.
    pub fn next_text(&mut self) -> Option<String> {
        let mut line = self.line()?;
        while line == ": keepalive" {
            assert_eq!(self.line().as_deref(), Some(""));
            line = self.line()?;
        }
        assert_eq!(self.line().as_deref(), Some(""), "behind {line}");
        Some(line.strip_prefix("data: ").expect("a line of data").to_owned())
    }

    pub fn next(&mut self) -> Value {
        checked(&self.next_text().expect("a message"))
    }

    /// Sends a message in a separate request and returns its request id.
    pub fn send(&mut self, action: &str, channel: &str, event: &str, payload: &str) -> String {
        self.requests += 1;
        let request = format!("{}-{}", &self.id[..8], self.requests);
        let body = message(action, channel, event, &request, payload);
        assert_eq!(self.request("POST", body.as_bytes()), 204);
        request
    }

    /// The status of a request that names this stream.
    pub fn request(&self, method: &str, body: &[u8]) -> u16 {
        let id = format!("X-Connection-ID: {}\r\n", self.id);
        Requests::new(self.server).send(method, &id, body)
    }
}

/// A connection for requests.
pub struct Requests {
    pub stream: TcpStream,
}

impl Requests {
    pub fn new(server: SocketAddr) -> Self {
        Self { stream: connect(server) }
    }

    /// Sends a request and returns the status of its answer, which has no body or ends the
    /// connection.
    pub fn send(&mut self, method: &str, headers: &str, body: &[u8]) -> u16 {
        let length = body.len();
        self.raw(&format!(
            "{method} /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n{headers}\r\n"
        ));
        // A server that refuses the request by its head may close before it has read the body.
        let _ = self.stream.write_all(body);
        self.status()
    }

    pub fn raw(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub fn status(&mut self) -> u16 {
        let head = read_head(&mut self.stream);
        head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap()
    }

    /// Reads the rest of the bytes sent until the connection ends.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }
}
