//! The same message with another payload.

#![allow(unsafe_code)]

use serde::Serialize;

use super::Frame;
use super::shared::{Builder, Shared};
use crate::encode::{Output, put_payload, with_json};
use crate::payload::Payload;

/// What is written between the request id and the payload.
const REQUEST_ID_TO_PAYLOAD: &str = r#"","payload":"#;

/// The end of the document, after the payload.
const END: &[u8] = b"}";

impl Frame {
    /// The payload as JSON text, from `{` to `}`. [`Payload::from_json`] makes it navigable.
    #[must_use]
    #[inline]
    pub fn payload_str(&self) -> &str {
        let document = self.as_str();
        &document[self.payload_at()..document.len() - END.len()]
    }

    /// The same message with another payload, for recipients that must see a different one: action,
    /// event, channel and request id are copied in their encoded form. One allocation of the exact
    /// size.
    ///
    /// ```
    /// use pondwire::{Frame, Payload};
    ///
    /// let full = Payload::from_json(r#"{"text":"hi","ip":"10.0.0.7"}"#)?;
    /// let frame = Frame::broadcast("/chat/42", "say", "r-1", full);
    /// let public = frame.with_payload(Payload::from_json(r#"{"text":"hi"}"#)?);
    /// assert_eq!(public.payload_str(), r#"{"text":"hi"}"#);
    /// assert_eq!(public, Frame::broadcast("/chat/42", "say", "r-1", Payload::from_json(r#"{"text":"hi"}"#)?));
    /// # Ok::<(), pondwire::ValidationError>(())
    /// ```
    #[must_use]
    pub fn with_payload(&self, payload: Payload<'_>) -> Self {
        let payload_len = payload.as_str().len();
        // SAFETY: a payload is UTF-8.
        unsafe { self.rebuild(payload_len, |output| put_payload(output, payload)) }
    }

    /// [`with_payload`](Self::with_payload) of a payload that is serialized now.
    ///
    /// # Errors
    /// `payload` does not serialize, or not as a JSON object.
    pub fn with_serialized<T: Serialize + ?Sized>(
        &self,
        payload: &T,
    ) -> Result<Self, serde_json::Error> {
        with_json(payload, |json| {
            // SAFETY: serialized JSON is UTF-8.
            unsafe { self.rebuild(json.len(), |output| output.put_with_spaces(json)) }
        })
    }

    /// The request id as it is written between its quotes: escaped.
    pub(crate) fn written_request_id(&self) -> &str {
        let before = &self.as_str()[..self.payload_at() - REQUEST_ID_TO_PAYLOAD.len()];
        // It is the last string before the payload, and a quote inside it has a backslash before it.
        let mut quotes = before.match_indices('"').rev();
        let opening = quotes.find(|&(at, _)| !before[..at].ends_with('\\'));
        opening.map_or("", |(at, _)| &before[at + 1..])
    }

    /// The start of the payload in the document.
    fn payload_at(&self) -> usize {
        self.json().len() - END.len() - self.shared.payload_len()
    }

    /// # Safety
    /// `payload` writes UTF-8.
    unsafe fn rebuild(&self, payload_len: usize, payload: impl FnOnce(&mut Builder)) -> Self {
        let envelope = &self.as_str()[..self.payload_at()];
        let document_len = envelope.len() + payload_len + END.len();
        // SAFETY: the envelope and the end are UTF-8, and `payload` writes UTF-8.
        let mut builder = unsafe { Shared::builder(document_len, payload_len) };
        builder.put(envelope.as_bytes());
        payload(&mut builder);
        builder.put(END);
        Self { shared: builder.finish() }
    }
}
