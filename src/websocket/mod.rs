//! The server's side of a WebSocket (RFC 6455) without I/O: bytes in, events out.
//!
//! A TCP stream, an HTTP parser for the first request and this module are all that it takes to speak
//! PondSocket. An application that stays on its WebSocket library does not need the module; see "On a
//! WebSocket library" in [`docs::patterns`](crate::docs::patterns).
//!
//! - [`handshake`] (feature `handshake`) answers the request that opens a WebSocket.
//! - [`MessageReader`] turns the bytes that the socket receives into messages and control frames.
//! - [`PermessageDeflate`] chooses among a client's offers of compression; the feature `deflate`
//!   compresses and inflates.
//! - [`Opcode`], [`Head`] and [`close_code`] are the tables of the protocol. Frames that are ready to be
//!   sent are [`Frame::wire`](crate::Frame::wire) and [`Control`](crate::frame::Control); an
//!   [`OutboxReader`](crate::OutboxReader) gives them in batches.
//!
//! # A session
//!
//! On any blocking stream, such as a `std::net::TcpStream`, with the crates `bytes` and `httparse`, which parses the
//! request's head. [`docs::patterns`](crate::docs::patterns#the-reading-half) has the same messages on tokio.
//!
#![cfg_attr(feature = "handshake", doc = "```")]
#![cfg_attr(not(feature = "handshake"), doc = "```ignore")]
//! use std::io::{self, Read, Write};
//!
//! use bytes::{Buf, BytesMut};
//! use pondwire::protocol::Headers;
//! use pondwire::websocket::{Event, MaxPayload, MessageReader, close_code, handshake};
//! use pondwire::frame::Control;
//! use pondwire::{ClientMessage, Frame, Limits};
//!
//! fn serve(stream: &mut (impl Read + Write)) -> io::Result<()> {
//!     // The handshake.
//!     let mut received = BytesMut::new();
//!     let (head, accepted) = loop {
//!         if received.len() > 8192 || receive(stream, &mut received)? == 0 {
//!             return Ok(()); // the request is too long, or the client is gone
//!         }
//!         // After each read: frames may follow the request at once.
//!         let mut slots = [httparse::EMPTY_HEADER; 64];
//!         let mut request = httparse::Request::new(&mut slots);
//!         let head = match request.parse(&received) {
//!             Ok(httparse::Status::Complete(head)) => head,
//!             Ok(httparse::Status::Partial) => continue,
//!             Err(_) => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
//!         };
//!         if (request.method, request.version) != (Some("GET"), Some(1)) {
//!             return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
//!         }
//!         // Here a server also checks the path, `Origin` and the client's identity.
//!         let pairs: Vec<_> = request.headers.iter().map(|h| (h.name.as_bytes(), h.value)).collect();
//!         match handshake::accept(Headers::new(&pairs)) {
//!             Ok(accepted) => break (head, accepted),
//!             Err(error) => return stream.write_all(error.response().as_bytes()),
//!         }
//!     };
//!     received.advance(head);
//!     stream.write_all(accepted.response().as_bytes())?;
//!     stream.write_all(Frame::connect("c-1", "ann", "connection-1").wire())?;
//!
//!     // The messages.
//!     let limits = Limits::default();
//!     let max_payload = MaxPayload { plain: limits.max_bytes, compressed: None };
//!     let mut reader = MessageReader::new(received, max_payload);
//!     let code = loop {
//!         match reader.next_event() {
//!             Ok(Some(Event::Message(_))) => {
//!                 let answer = match ClientMessage::parse_with(reader.payload(), limits) {
//!                     Ok(message) => Frame::acknowledge(message.channel_name(), message.request_id()),
//!                     Err(error) => Frame::invalid_message_as("e-1", &error),
//!                 };
//!                 stream.write_all(answer.wire())?;
//!             }
//!             Ok(Some(Event::Ping)) => {
//!                 let pong = Control::pong(reader.payload()).expect("as short as the ping");
//!                 stream.write_all(pong.wire())?;
//!             }
//!             Ok(Some(Event::Pong | Event::Fragment)) => {}
//!             Ok(Some(Event::Close(code))) => break code.unwrap_or(close_code::NORMAL),
//!             Ok(None) => {
//!                 if receive(stream, reader.buffer())? == 0 {
//!                     return Ok(()); // without a close frame
//!                 }
//!             }
//!             Err(error) => break error.close_code(),
//!         }
//!     };
//!     let close = Control::close(code, "").expect("the client's code, or one of the table");
//!     stream.write_all(close.wire())
//! }
//!
//! fn receive(stream: &mut impl Read, received: &mut BytesMut) -> io::Result<usize> {
//!     let mut chunk = [0; 4096];
//!     let count = stream.read(&mut chunk)?;
//!     received.extend_from_slice(&chunk[..count]);
//!     Ok(count)
//! }
//! # struct Client { sends: std::vec::IntoIter<Vec<u8>>, got: Vec<u8> }
//! # impl Read for Client {
//! #     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
//! #         let Some(piece) = self.sends.next() else { return Ok(0) };
//! #         buffer[..piece.len()].copy_from_slice(&piece);
//! #         Ok(piece.len())
//! #     }
//! # }
//! # impl Write for Client {
//! #     fn write(&mut self, bytes: &[u8]) -> io::Result<usize> { self.got.write(bytes) }
//! #     fn flush(&mut self) -> io::Result<()> { Ok(()) }
//! # }
//! # // Masked with zeros, which changes nothing.
//! # fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
//! #     [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat()
//! # }
//! # let request = "GET /api/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
//! #     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//! #     Sec-WebSocket-Version: 13\r\n\r\n";
//! # let join = r#"{"action":"JOIN_CHANNEL","channelName":"/c","requestId":"j","event":"e","payload":{}}"#;
//! # let (first, rest) = join.as_bytes().split_at(20);
//! # let sends = [
//! #     request[..50].into(), [request[50..].as_bytes(), &frame(0x01, first)].concat(), frame(0x89, b"?"), frame(0x80, rest),
//! #     frame(0x81, b"{}"), frame(0x88, &[0x03, 0xE9]),
//! # ];
//! # let mut client = Client { sends: Vec::from(sends).into_iter(), got: Vec::new() };
//! # serve(&mut client)?;
//! # let got = String::from_utf8_lossy(&client.got);
//! # let at = |text: &str| got.find(text).unwrap_or_else(|| panic!("{text} in {got}"));
//! # assert!(got.starts_with("HTTP/1.1 101 ") && at("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") < at("CONNECTION"));
//! # assert!(client.got.windows(3).any(|frame| frame == b"\x8A\x01?"));
//! # assert!(at("CONNECTION") < at("ACKNOWLEDGE") && at("ACKNOWLEDGE") < at("INVALID_MESSAGE"));
//! # assert!(client.got.ends_with(b"\x88\x02\x03\xE9"));
//! # let mut stranger = Client { sends: vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()].into_iter(), got: Vec::new() };
//! # serve(&mut stranger)?;
//! # assert!(stranger.got.starts_with(b"HTTP/1.1 400 "));
//! # let mut gone = Client { sends: vec![b"GET /".to_vec()].into_iter(), got: Vec::new() };
//! # serve(&mut gone)?;
//! # assert!(gone.got.is_empty());
//! # Ok::<(), io::Error>(())
//! ```
//!
//! A server for untrusted clients also bounds the time that each step may take.

pub mod close_code;
mod extensions;
#[cfg(feature = "handshake")]
pub mod handshake;
mod head;
mod opcode;
mod permessage_deflate;
mod reader;

pub use extensions::ExtensionsError;
pub use head::Head;
pub(crate) use head::MAX_CONTROL;
pub use opcode::Opcode;
pub use permessage_deflate::PermessageDeflate;
pub use reader::{Event, MaxPayload, MessageKind, MessageReader, ReadError};
