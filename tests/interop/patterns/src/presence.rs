//! "Presence".

include!(concat!(env!("OUT_DIR"), "/presence.rs"));

#[path = "by_recipient.rs"]
pub(crate) mod by_recipient;
