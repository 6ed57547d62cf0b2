//! permessage-deflate (RFC 7692): one compressed form of a frame for all its recipients, and a bounded
//! inflater of received messages. [`PermessageDeflate`](crate::websocket::PermessageDeflate) negotiates
//! it.
//!
//! Both sides work without context takeover: every message is compressed on its own. So one
//! compressed frame serves every recipient, and a connection needs no memory for it: each thread
//! has one compressor of some 300 KB and one inflater of some 40 KB.
//!
//! [`Batch::into_deflated`](crate::outbox::Batch::into_deflated) turns a connection's queued frames
//! into this form. The transport does the rest: it sends compressed frames, and accepts frames with
//! RSV1 set, only where the extension was agreed on (otherwise RFC 6455 closes with 1002); it
//! unmasks; it joins fragments, of which only the first has RSV1; and it leaves control frames as
//! they are.
//!
//! ```
//! use pondwire::deflate::Inflater;
//! use pondwire::websocket::PermessageDeflate;
//! use pondwire::{ClientMessage, Frame, Limits, Payload};
//!
//! // When a connection opens: the client's offer, and the server's answer.
//! let offered: &[u8] = b"permessage-deflate; client_max_window_bits";
//! let agreed = PermessageDeflate::negotiate([offered])?.expect("an offer to accept");
//! assert_eq!(
//!     agreed.response(),
//!     "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
//! );
//!
//! // To send: the compressed form, or the plain one where compressing does not pay.
//! let payload = format!(r#"{{"text":"{}"}}"#, "all work and no play ".repeat(40));
//! let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::from_json(&payload)?);
//! let bytes = frame.deflated().unwrap_or_else(|| frame.wire());
//! assert!(bytes.len() < 200 && bytes[0] == 0xC1);
//!
//! // To receive a message whose RSV1 bit is set: one inflater per thread is enough.
//! let mut inflater = Inflater::new();
//! let limits = Limits::default();
//! # let received = &frame.deflated_bytes().unwrap().slice(4..)[..];
//! match inflater.inflate(received, limits.max_bytes) {
//!     Ok(json) => assert!(ClientMessage::parse_with(json, limits).is_ok()),
//!     Err(error) => println!("close with {}: {error}", error.close_code()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compress;
mod inflate;

#[cfg(test)]
pub(crate) use compress::COMPRESSIONS;
pub(crate) use compress::deflated_text;

pub use compress::DeflateOptions;
pub use inflate::{InflateError, Inflater};

/// The end of a flushed stream, which is not sent (RFC 7692, section 7.2.1).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
