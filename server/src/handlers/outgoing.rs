//! The context of an outgoing broadcast's handler.

use std::fmt;

use pondwire::cache::ClassFrame;
use pondwire::error::PondError;
use pondwire::payload::OwnedPayload;
use pondwire::{Frame, Payload};

use crate::content::{Content, UNLIMITED, with_member};
use crate::log;

/// A broadcast on its way to the members of one class.
pub struct Outgoing<'a> {
    class: u32,
    event: &'a str,
    frame: &'a Frame,
    /// The member of the payload that is the broadcast's id.
    id_key: Option<&'a str>,
}

/// What the members of a class are sent; see [`Outgoing`].
#[derive(Debug)]
#[must_use = "it is what the handler returns"]
pub struct Sent(pub(crate) ClassFrame);

impl<'a> Outgoing<'a> {
    pub(crate) const fn new(
        class: u32,
        event: &'a str,
        frame: &'a Frame,
        id_key: Option<&'a str>,
    ) -> Self {
        Self { class, event, frame, id_key }
    }

    /// The class of recipients, as `set_class` set it; 0 unless it did.
    #[must_use]
    pub const fn class(&self) -> u32 {
        self.class
    }

    /// The event's name.
    #[must_use]
    pub const fn event(&self) -> &str {
        self.event
    }

    /// The payload. Each call checks it again, which takes about as long as parsing it when it was
    /// received.
    ///
    /// # Panics
    /// Never: a frame's payload is valid.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        let payload = Payload::from_json_with(self.frame.payload_str(), UNLIMITED);
        payload.expect("a frame's payload is valid")
    }

    /// The class is sent the broadcast itself.
    pub const fn pass(&self) -> Sent {
        Sent(ClassFrame::Shared)
    }

    /// The class is sent another payload, in a frame that its members share.
    ///
    /// If it does not serialize, the class is sent nothing, and the reason is logged.
    pub fn replace(&self, content: impl Content) -> Sent {
        let id = self.id_key.and_then(|key| Some((key, self.payload().get(key)?.as_str()?)));
        let replaced = content.with(|payload| {
            let with_id = id.map(|(key, id)| with_member(payload, key, &id));
            let payload = with_id.as_ref().map_or(payload, OwnedPayload::view);
            ClassFrame::Replaced(self.frame.with_payload(payload))
        });
        Sent(replaced.unwrap_or_else(|error: PondError| {
            log::line(format_args!("event {}: {error}", self.event));
            ClassFrame::Suppressed
        }))
    }

    /// The class is sent nothing.
    pub const fn suppress(&self) -> Sent {
        Sent(ClassFrame::Suppressed)
    }
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("class", &self.class)
            .field("event", &self.event)
            .field("payload", &self.frame.payload_str())
            .finish()
    }
}
