//! "Frames that differ by recipient".

include!(concat!(env!("OUT_DIR"), "/frames_that_differ_by_recipient.rs"));

#[path = "front.rs"]
pub(crate) mod front;
