//! One message, and what some recipients get instead of it.

use smallvec::SmallVec;

use crate::frame::Frame;

/// What a class of recipients gets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// The message as it is, shared with all others.
    Shared,
    /// Another one, most often [`Frame::with_payload`] of it.
    Instead(Frame),
    /// Nothing.
    Blocked,
}

/// One broadcast on its way to recipients of several classes: what a class gets is decided, and
/// its payload spliced, at most once.
///
/// This is the outgoing handler of other implementations without its cost: there every recipient's
/// frame is encoded anew, here those who get the message as it is share one frame, and those of a
/// class another one. It is for a few classes (roles, languages, the sender): a class is looked up
/// among those that were asked for, one by one, the first four without an allocation. For a frame
/// of one user's own call [`Frame::with_payload`]; what is to outlive the broadcast goes into a
/// [`FrameCache`](super::FrameCache) under [`FrameKey::class`](super::FrameKey::class).
///
/// ```
/// use pondwire::cache::{ClassFrames, Outgoing};
/// use pondwire::{Frame, Payload};
///
/// const GUEST: u32 = 1;
/// const MUTED: u32 = 2;
/// let full = Payload::from_json(r#"{"text":"hi","ip":"10.0.0.7"}"#)?;
/// let public = Payload::from_json(r#"{"text":"hi"}"#)?;
/// let mut frames = ClassFrames::new(Frame::broadcast("/chat/42", "say", "r-1", full));
/// for class in [0, GUEST, MUTED, GUEST] {
///     let frame = frames.for_class(class, |shared| match class {
///         GUEST => Outgoing::Instead(shared.with_payload(public)),
///         MUTED => Outgoing::Blocked,
///         _ => Outgoing::Shared,
///     });
///     assert_eq!(frame.is_none(), class == MUTED);
/// }
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassFrames {
    shared: Frame,
    classes: SmallVec<[(u32, Outgoing); 4]>,
}

impl ClassFrames {
    /// Nothing decided yet.
    #[must_use]
    pub fn new(shared: Frame) -> Self {
        Self { shared, classes: SmallVec::new() }
    }

    /// The message as it is.
    #[must_use]
    pub const fn shared(&self) -> &Frame {
        &self.shared
    }

    /// What recipients of `class` get, which `decide` says when it is first asked for; `None` when
    /// they get nothing.
    pub fn for_class(
        &mut self,
        class: u32,
        decide: impl FnOnce(&Frame) -> Outgoing,
    ) -> Option<&Frame> {
        let known = self.classes.iter().position(|(known, _)| *known == class);
        let index = known.unwrap_or_else(|| {
            self.classes.push((class, decide(&self.shared)));
            self.classes.len() - 1
        });
        match &self.classes[index].1 {
            Outgoing::Shared => Some(&self.shared),
            Outgoing::Instead(frame) => Some(frame),
            Outgoing::Blocked => None,
        }
    }
}
