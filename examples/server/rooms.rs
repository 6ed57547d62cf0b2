//! The channels there are. One exists while it has members.
//!
//! Lock order: the table, then a room. Nothing locks the table while it holds a room.

use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;

use super::outbox::Outbox;
use super::room::{Room, UserId};

/// All channels by name.
#[derive(Default)]
pub(crate) struct Rooms {
    table: Mutex<HashMap<String, Arc<Room>>>,
}

impl Rooms {
    /// Makes the user a member of the channel, which is opened when it is not there; see
    /// [`Room::join`]. The table stays locked meanwhile, or the room might be closed under it.
    pub(crate) fn join(
        &self,
        channel: &str,
        user: &UserId,
        outbox: &Outbox,
        request_id: &str,
    ) -> Arc<Room> {
        let mut table = self.table.lock();
        let room = match table.get(channel) {
            Some(room) => Arc::clone(room),
            None => {
                let room = Arc::new(Room::new(channel));
                table.insert(channel.to_owned(), Arc::clone(&room));
                room
            }
        };
        room.join(user, outbox, request_id);
        room
    }

    /// Forgets the room when nobody is left in it; another of the same name stays.
    pub(crate) fn close_if_empty(&self, room: &Arc<Room>) {
        let mut table = self.table.lock();
        let is_this = table.get(room.name()).is_some_and(|found| Arc::ptr_eq(found, room));
        if is_this && room.is_empty() {
            table.remove(room.name());
        }
    }
}
