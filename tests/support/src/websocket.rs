//! A WebSocket client that can also break the protocol: blocking, one file, no library.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest that any operation may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The opcodes of a client's frames.
#[derive(Clone, Copy)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A frame of a server.
#[derive(Debug, PartialEq)]
pub enum Received {
    Text(String),
    /// A text message's payload, which came with RSV1.
    Compressed(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame with its code, or 1005 if it has none.
    Close(u16),
    /// The stream has ended.
    End,
}

/// Sends a request and returns all of the response, which ends with the connection.
pub fn get(server: SocketAddr, path: &str) -> String {
    let mut stream = connect(server);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Checks a 426, which must name what it asks for (RFC 9110, sections 7.8 and 15.5.22; RFC 6455, section
/// 4.4). Names and values are compared in lower case.
pub fn assert_upgrade_required(response: &str) {
    let head = response.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    let mut lines = head.split("\r\n");
    assert!(lines.next().is_some_and(|status| status.starts_with("http/1.1 426 ")), "{head}");
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    for (name, value) in
        [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
    {
        let mut values = headers.iter().filter(|header| header.0 == name).map(|header| header.1);
        let found = values.any(|values| values.split(", ").any(|found| found == value));
        assert!(found, "{name}: {value} in {head}");
    }
}

pub fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One open connection.
pub struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    /// Upgrades without any extension. On a status other than 101, returns the response's head as the
    /// error.
    pub fn open(server: SocketAddr, path: &str) -> Result<Self, String> {
        let (socket, head) = Self::open_with(server, path, "")?;
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
        Ok(socket)
    }

    /// Upgrades with additional header lines, each with its line end. Returns the response's head, too.
    pub fn open_with(
        server: SocketAddr,
        path: &str,
        headers: &str,
    ) -> Result<(Self, String), String> {
        Self::open_on(connect(server), path, headers)
    }

    /// Upgrades a connection on which bytes may have been sent before, as [`open_with`](Self::open_with) does.
    pub fn open_on(
        mut stream: TcpStream,
        path: &str,
        headers: &str,
    ) -> Result<(Self, String), String> {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: not-ours\r\n{headers}\r\n"
        )
        .unwrap();
        let head = read_head(&mut stream).to_ascii_lowercase();
        if !head.starts_with("http/1.1 101 ") {
            return Err(head);
        }
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(!head.contains("sec-websocket-protocol"), "{head}");
        Ok((Self { stream }, head))
    }

    /// The socket of a connection that has been upgraded.
    pub fn upgraded(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// The bare connection.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub fn text(&mut self, text: &str) {
        self.send(Opcode::Text, true, text.as_bytes());
    }

    /// Sends one masked frame.
    pub fn send(&mut self, opcode: Opcode, last: bool, payload: &[u8]) {
        self.raw(&frame(opcode, last, payload));
    }

    /// Sends one masked frame with RSV1.
    pub fn send_compressed(&mut self, opcode: Opcode, last: bool, payload: &[u8]) {
        let mut frame = frame(opcode, last, payload);
        frame[0] |= 0x40;
        self.raw(&frame);
    }

    /// Sends these bytes, whatever they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Announces a frame of `len` bytes and sends none of them.
    pub fn announce(&mut self, len: u64) {
        self.stream.write_all(&head(Opcode::Text, true, len)).unwrap();
    }

    /// The next frame. Whatever the server sends must be one whole, unmasked frame.
    pub fn receive(&mut self) -> Received {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Received::End,
            read => read.expect("an answer in time"),
        }
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.read())),
            127 => u64::from_be_bytes(self.read()),
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        match head[0] {
            0x81 => Received::Text(String::from_utf8(payload).unwrap()),
            0xC1 => Received::Compressed(payload),
            0x89 => Received::Ping(payload),
            0x8A => Received::Pong(payload),
            0x88 => match payload.first_chunk() {
                Some(code) => Received::Close(u16::from_be_bytes(*code)),
                None => Received::Close(1005),
            },
            other => panic!("a frame that begins with {other:#x}"),
        }
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// A response's head, with the empty line.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A client's masked frame.
pub fn frame(opcode: Opcode, last: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = head(opcode, last, payload.len() as u64);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A client's frame up to its mask.
fn head(opcode: Opcode, last: bool, len: u64) -> Vec<u8> {
    let mut head = vec![opcode as u8 | if last { 0x80 } else { 0 }];
    match len {
        0..126 => head.push(0x80 | len as u8),
        126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&len.to_be_bytes());
        }
    }
    head
}
