//! "A chat room".

include!(concat!(env!("OUT_DIR"), "/a_chat_room.rs"));

#[path = "presence.rs"]
pub(crate) mod presence;
