//! A single frame out of an outbox, for consumers that do not write the bytes of a batch.

use crate::frame::{Control, Frame, WireFrame};

/// A frame that was taken out of an outbox, from [`Batch::into_frames`](super::Batch::into_frames)
/// or from the reader as a `Stream`.
///
/// A message of a WebSocket library is made from it: [`Frame::json_bytes`] shares the memory of all
/// recipients, and [`Control::as_close`] has the code that ends the connection. The section "On a
/// WebSocket library" of [`docs::patterns`](crate::docs::patterns) shows how.
///
/// ```
/// use pondwire::outbox::OutboxFrame;
/// use pondwire::frame::Control;
/// use pondwire::{Frame, Outbox, OutboxOptions};
///
/// let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
/// let frame = Frame::acknowledge("/chat/42", "r-1");
/// outbox.reply(frame.clone());
/// outbox.control(Control::close(1000, "bye").unwrap());
/// let mut frames = reader.try_batch().unwrap().into_frames();
/// assert!(matches!(frames.next(), Some(OutboxFrame::Message(first)) if first == frame));
/// let Some(OutboxFrame::Control(close)) = frames.next() else { panic!("a close frame") };
/// assert_eq!(close.as_close(), Some((1000, "bye")));
/// assert!(frames.next().is_none());
/// ```
#[derive(Debug)]
pub enum OutboxFrame {
    /// A message of PondSocket.
    Message(Frame),
    /// A close, ping or pong frame of the WebSocket. Nothing follows a close frame.
    Control(Control),
}

impl From<WireFrame> for OutboxFrame {
    fn from(frame: WireFrame) -> Self {
        match frame.into_message() {
            Ok(message) => Self::Message(message),
            Err(control) => Self::Control(control),
        }
    }
}
