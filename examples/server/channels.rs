//! The channels there are. One exists while it has members.
//!
//! Lock order: the table, then a channel, then the node. Nothing locks the table while it holds a
//! channel.

use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use pondwire::{Outbox, Payload};

use super::channel::{Channel, Seat, UserId};
use super::node::Node;

/// All channels by name.
pub(crate) struct Channels {
    table: Mutex<HashMap<String, Arc<Channel>>>,
    /// What links them to other nodes.
    node: Option<Arc<Node>>,
}

impl Channels {
    pub(crate) fn new(node: Option<Arc<Node>>) -> Self {
        Self { table: Mutex::default(), node }
    }

    /// Makes the user a member of the channel, which is opened when it is not there; see
    /// [`Channel::join`]. The table is not locked meanwhile: one busy channel keeps nobody from
    /// another.
    pub(crate) fn join(
        &self,
        channel: &str,
        user: &UserId,
        outbox: &Outbox,
        request_id: &str,
        assigns: Payload<'_>,
    ) -> (Arc<Channel>, Seat) {
        loop {
            let found = self.find_or_open(channel);
            // It may have been closed since: then there is room for another.
            if let Some(seat) = found.join(user, outbox, request_id, assigns) {
                return (found, seat);
            }
        }
    }

    fn find_or_open(&self, name: &str) -> Arc<Channel> {
        let mut table = self.table.lock();
        if let Some(channel) = table.get(name) {
            return Arc::clone(channel);
        }
        let link = self.node.as_ref().map(|node| node.link(name));
        let opened = Arc::new(Channel::new(name, link));
        table.insert(name.to_owned(), Arc::clone(&opened));
        opened
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Forgets the channel when nobody is left in it; another of the same name stays.
    pub(crate) fn close_if_empty(&self, channel: &Arc<Channel>) {
        let mut table = self.table.lock();
        let is_this = table.get(channel.name()).is_some_and(|found| Arc::ptr_eq(found, channel));
        if is_this && channel.close_if_empty() {
            table.remove(channel.name());
        }
    }
}
