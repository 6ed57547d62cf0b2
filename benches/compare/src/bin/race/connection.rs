//! One client: its handshake, its join, and the frames that it gets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::frame::{self, BINARY, CLOSE, PING, PONG, TEXT};
use crate::message::{self, PATH};

/// The protocol that a server expects of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// A client that is connected gets every message.
    Plain,
    /// A client is greeted by `CONNECT`, then joins and is acknowledged.
    PondSocket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Greeting,
    Joining,
    Joined,
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    protocol: Protocol,
    stage: Stage,
    /// The start of a frame whose rest has not arrived yet.
    unread: Vec<u8>,
}

impl Connection {
    /// Connects and asks for the upgrade.
    pub(crate) fn open(addr: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, protocol, stage: Stage::Upgrading, unread: Vec::new() })
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.stage == Stage::Joined
    }

    /// Reads once and calls `receive` with each message that comes after the join.
    ///
    /// # Errors
    /// The server ended the connection or sent an invalid frame, or `receive` returned the error.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        mut receive: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let len = match self.stream.read(buffer) {
            Ok(0) => return Err(io::Error::other("the server ended a connection")),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.unread.is_empty() {
            let used = self.take(&buffer[..len], &mut receive)?;
            self.unread.extend_from_slice(&buffer[used..len]);
        } else {
            let mut unread = std::mem::take(&mut self.unread);
            unread.extend_from_slice(&buffer[..len]);
            let used = self.take(&unread, &mut receive)?;
            unread.drain(..used);
            self.unread = unread;
        }
        Ok(())
    }

    /// Handles the frames in the bytes; returns the number of bytes consumed.
    fn take(
        &mut self,
        bytes: &[u8],
        receive: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let answer = String::from_utf8_lossy(&bytes[..end]);
                return Err(io::Error::other(format!("no upgrade: {answer}")));
            }
            used = end + 4;
            self.stage = match self.protocol {
                Protocol::Plain => Stage::Joined,
                Protocol::PondSocket => Stage::Greeting,
            };
        }
        while let Some((first, payload)) = frame::server_frame(&bytes[used..]) {
            let end = used + payload.end;
            let payload = &bytes[used + payload.start..end];
            match (first, self.stage) {
                (TEXT | BINARY, Stage::Joined) => receive(payload)?,
                (TEXT | BINARY, _) => self.advance(payload)?,
                (PING, _) => self.stream.write_all(&frame::masked(PONG, payload))?,
                (PONG, _) => {}
                (CLOSE, _) => return Err(io::Error::other("the server closed a connection")),
                _ => return Err(io::Error::other(format!("a frame that starts with {first:#x}"))),
            }
            used = end;
        }
        Ok(used)
    }

    fn advance(&mut self, message: &[u8]) -> io::Result<()> {
        let (sign, next) = match self.stage {
            Stage::Greeting => (&b"\"CONNECT\""[..], Stage::Joining),
            _ => (&b"\"ACKNOWLEDGE\""[..], Stage::Joined),
        };
        if !message.windows(sign.len()).any(|bytes| bytes == sign) {
            let message = String::from_utf8_lossy(message);
            return Err(io::Error::other(format!("while {:?}: {message}", self.stage)));
        }
        if self.stage == Stage::Greeting {
            self.stream.write_all(&message::join())?;
        }
        self.stage = next;
        Ok(())
    }
}
