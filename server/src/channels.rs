//! The table of open channels. A channel is open while it has members.
//!
//! Lock order: the table, then a channel, then the node. No code locks the table while it holds a channel's
//! lock.

use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use pondwire::Payload;
use pondwire::room::Seat;

use crate::channel::{Channel, Joined, Link, UserId};

/// Makes the link of a channel from the channel's name.
pub(crate) type MakeLink = Box<dyn Fn(&str) -> Box<dyn Link> + Send + Sync>;

/// All channels by name.
pub(crate) struct Channels {
    table: Mutex<HashMap<String, Arc<Channel>>>,
    /// `None` if the server is not a node of a cluster.
    make_link: Option<MakeLink>,
}

impl Channels {
    pub(crate) fn new(make_link: Option<MakeLink>) -> Self {
        Self { table: Mutex::default(), make_link }
    }

    /// Makes the user a member of the channel, which is opened if needed; see [`Channel::join`]. The table
    /// is unlocked during the join, so that a busy channel does not delay the others.
    pub(crate) fn join(
        &self,
        channel: &str,
        user: &UserId,
        seat: &Seat,
        request_id: &str,
        assigns: Payload<'_>,
    ) -> (Arc<Channel>, Joined) {
        loop {
            let found = self.find_or_open(channel);
            // If it has been closed since, a new one is opened.
            if let Some(joined) = found.join(user, seat, request_id, assigns) {
                return (found, joined);
            }
        }
    }

    fn find_or_open(&self, name: &str) -> Arc<Channel> {
        let mut table = self.table.lock();
        if let Some(channel) = table.get(name) {
            return Arc::clone(channel);
        }
        let link = self.make_link.as_ref().map(|make_link| make_link(name));
        let opened = Arc::new(Channel::new(name, link));
        table.insert(name.to_owned(), Arc::clone(&opened));
        opened
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Closes the channel and removes it if it has no members. A newer channel of the same name is left
    /// alone.
    pub(crate) fn close_if_empty(&self, channel: &Arc<Channel>) {
        let mut table = self.table.lock();
        let is_this = table.get(channel.name()).is_some_and(|found| Arc::ptr_eq(found, channel));
        if is_this && channel.close_if_empty() {
            table.remove(channel.name());
        }
    }
}
