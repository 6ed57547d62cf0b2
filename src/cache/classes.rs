//! One message with variants for some classes of recipients.

use smallvec::SmallVec;

use crate::frame::Frame;

/// The form of a message for one class of recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassFrame {
    /// The message itself, shared with all other recipients.
    Shared,
    /// Another frame, usually [`Frame::with_payload`] of the message.
    Replaced(Frame),
    /// Nothing.
    Suppressed,
}

/// One broadcast to recipients of several classes: each class's frame is decided, and its payload
/// spliced, at most once.
///
/// It replaces the outgoing handler of other implementations, which encodes a frame for every
/// recipient: here all recipients of the original message share one frame, and all of a class another
/// one. It is meant for a few classes (roles, languages, the sender): a class is found by linear
/// search, and the first four need no allocation. For a frame for a single user, call
/// [`Frame::with_payload`]; frames that outlive the broadcast belong in a `FrameCache` under
/// `FrameKey::class`.
///
/// ```
/// use pondwire::cache::{ClassFrames, ClassFrame};
/// use pondwire::{Frame, Payload};
///
/// const GUEST: u32 = 1;
/// const MUTED: u32 = 2;
/// let full = Payload::from_json(r#"{"text":"hi","ip":"10.0.0.7"}"#)?;
/// let public = Payload::from_json(r#"{"text":"hi"}"#)?;
/// let mut frames = ClassFrames::new(Frame::broadcast("/chat/42", "say", "r-1", full));
/// for class in [0, GUEST, MUTED, GUEST] {
///     let frame = frames.for_class(class, |shared| match class {
///         GUEST => ClassFrame::Replaced(shared.with_payload(public)),
///         MUTED => ClassFrame::Suppressed,
///         _ => ClassFrame::Shared,
///     });
///     assert_eq!(frame.is_none(), class == MUTED);
/// }
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassFrames {
    shared: Frame,
    classes: SmallVec<[(u32, ClassFrame); 4]>,
}

impl ClassFrames {
    /// A broadcast with no class decided yet.
    #[must_use]
    pub fn new(shared: Frame) -> Self {
        Self { shared, classes: SmallVec::new() }
    }

    /// The message itself.
    #[must_use]
    pub const fn shared(&self) -> &Frame {
        &self.shared
    }

    /// The frame for recipients of `class`; `None` when they get nothing. `decide` is called the first
    /// time a class is requested.
    pub fn for_class(
        &mut self,
        class: u32,
        decide: impl FnOnce(&Frame) -> ClassFrame,
    ) -> Option<&Frame> {
        let known = self.classes.iter().position(|(known, _)| *known == class);
        let index = known.unwrap_or_else(|| {
            self.classes.push((class, decide(&self.shared)));
            self.classes.len() - 1
        });
        match &self.classes[index].1 {
            ClassFrame::Shared => Some(&self.shared),
            ClassFrame::Replaced(frame) => Some(frame),
            ClassFrame::Suppressed => None,
        }
    }
}
