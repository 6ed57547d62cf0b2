//! "A connection".

include!(concat!(env!("OUT_DIR"), "/a_connection.rs"));

#[path = "chat_room.rs"]
pub(crate) mod chat_room;
