//! What may be written to a socket as it is, whatever it means.

use super::shared::{Lent, Shared};
use super::{Control, Frame};

/// A message or a control frame as wire bytes; one word, as they are.
pub(crate) struct Prepared {
    pub(super) shared: Shared,
}

impl Prepared {
    #[inline]
    pub(crate) fn wire(&self) -> &[u8] {
        self.shared.wire()
    }

    #[inline]
    pub(super) fn from_lent(lent: &mut Lent<'_>) -> Self {
        Self { shared: lent.one() }
    }
}

impl From<Frame> for Prepared {
    #[inline]
    fn from(frame: Frame) -> Self {
        Self { shared: frame.shared }
    }
}

impl From<Control> for Prepared {
    fn from(control: Control) -> Self {
        Self { shared: control.shared }
    }
}
