//! A minimal WebSocket client: it sends and receives text.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) const HANDSHAKE: &str = "GET /api/socket HTTP/1.1\r\nhost: soak\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub(crate) struct Socket {
    stream: BufReader<TcpStream>,
}

/// A received frame.
pub(crate) enum Frame {
    Text(Vec<u8>),
    Close,
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(4096, TcpStream::connect(address).await?);
        stream.get_ref().set_nodelay(true)?;
        stream.write_all(HANDSHAKE.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        match head.starts_with(b"HTTP/1.1 101") {
            true => Ok(Self { stream }),
            false => Err(io::Error::other(String::from_utf8_lossy(&head).into_owned())),
        }
    }

    /// Sends a frame whole; `head` is its first byte.
    pub(crate) async fn send(&mut self, head: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![head];
        match payload.len() {
            len @ ..126 => frame.push(0x80 | len as u8),
            len @ ..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        // A mask of zeros is valid, too.
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await
    }

    pub(crate) async fn text(&mut self, text: &str) -> io::Result<()> {
        self.send(0x81, text.as_bytes()).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next text or close frame; pings are answered on the way. Not cancel-safe.
    pub(crate) async fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let opcode = self.stream.read_u8().await? & 0x0F;
            let len = match self.stream.read_u8().await? {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                len => u64::from(len),
            };
            let mut payload = vec![0; len as usize];
            self.stream.read_exact(&mut payload).await?;
            match opcode {
                0x1 => return Ok(Frame::Text(payload)),
                0x8 => return Ok(Frame::Close),
                0x9 => self.send(0x8A, &payload).await?,
                _ => {}
            }
        }
    }

    /// Waits until something can be read, unless it is buffered already.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self.stream.buffer() {
            [] => self.stream.get_ref().readable().await,
            _ => Ok(()),
        }
    }

    /// Closes with a close frame and waits for the answer.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.send(0x88, &[0x03, 0xE8]).await?;
        while let Frame::Text(_) = self.receive().await? {}
        Ok(())
    }
}

/// A client's message.
pub(crate) fn message(action: &str, room: u64, event: &str, payload: &str) -> String {
    format!(
        r#"{{"action":"{action}","event":"{event}","channelName":"/chat/{room}","requestId":"r","payload":{payload}}}"#
    )
}
