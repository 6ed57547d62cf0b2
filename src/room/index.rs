//! The members by user, for publishes to users by name.

use std::sync::Arc as StdArc;

use ahash::RandomState;
use smallvec::SmallVec;

use super::shard::Link;
use crate::fanout::Closed;
use crate::log::Cursor;
use crate::outbox::Outbox;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex};

/// A user's id, shared by the table and the members.
pub(super) type UserId = StdArc<str>;

/// The connections of a user, usually one.
type Connections = SmallVec<[Connection; 1]>;

/// The connections that a frame will be sent to, and the numbers of their memberships.
pub(super) type Receivers = SmallVec<[(Receiver, u32); 8]>;

/// The way to a connection.
#[derive(Clone)]
pub(super) enum Receiver {
    Outbox(Outbox),
    Seat { cursor: Arc<Cursor<Link>>, seat: u32 },
}

/// The key of a member in the index.
pub(super) struct IndexKey {
    pub(super) user_id: UserId,
    pub(super) user_hash: u64,
    number: u64,
}

impl IndexKey {
    /// The number of the membership, as shards know it.
    pub(super) const fn member(&self) -> u32 {
        self.number as u32
    }
}

/// The connections of each user.
pub(super) struct Index {
    hasher: RandomState,
    /// The number of connections; changed under the lock.
    len: AtomicUsize,
    table: Mutex<Table>,
}

struct Table {
    users: std::collections::HashMap<UserId, Connections, RandomState>,
    closed: bool,
    /// The number of joins and look-ups so far.
    count: u64,
}

struct Connection {
    /// The number of its join.
    number: u64,
    /// The number of the look-up that found it last.
    found_by: u64,
    receiver: Receiver,
}

impl Index {
    pub(super) fn new() -> Self {
        let hasher = RandomState::new();
        let users = std::collections::HashMap::with_hasher(hasher.clone());
        Self {
            hasher,
            len: AtomicUsize::new(0),
            table: Mutex::new(Table { users, closed: false, count: 0 }),
        }
    }

    #[inline]
    pub(super) fn hash(&self, user_id: &str) -> u64 {
        self.hasher.hash_one(user_id)
    }

    pub(super) fn insert(&self, user_id: &str, receiver: Receiver) -> Result<IndexKey, Closed> {
        let user_hash = self.hash(user_id);
        let mut table = self.table.lock();
        if table.closed {
            return Err(Closed);
        }
        table.count += 1;
        let number = table.count;
        let connection = Connection { number, found_by: 0, receiver };
        let user_id = match table.users.get_key_value(user_id) {
            Some((known, _)) => StdArc::clone(known),
            None => UserId::from(user_id),
        };
        table.users.entry(StdArc::clone(&user_id)).or_default().push(connection);
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(IndexKey { user_id, user_hash, number })
    }

    /// Removes the connection; a second call does nothing.
    pub(super) fn remove(&self, key: &IndexKey) {
        let mut table = self.table.lock();
        let Some(connections) = table.users.get_mut(&key.user_id) else { return };
        let Some(at) = connections.iter().position(|found| found.number == key.number) else {
            return;
        };
        let removed = connections.remove(at);
        if connections.is_empty() {
            table.users.remove(&key.user_id);
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        // Unlocked first: an outbox that ends wakes its reader, which runs the caller's code.
        drop(table);
        drop(removed);
    }

    /// The ways to these users' connections, each once.
    pub(super) fn receivers_of(&self, user_ids: &[&str]) -> Receivers {
        let mut receivers = Receivers::new();
        if user_ids.is_empty() {
            return receivers;
        }
        let mut table = self.table.lock();
        table.count += 1;
        let look_up = table.count;
        for user_id in user_ids {
            for connection in table.users.get_mut(*user_id).into_iter().flatten() {
                if connection.found_by != look_up {
                    connection.found_by = look_up;
                    receivers.push((connection.receiver.clone(), connection.number as u32));
                }
            }
        }
        receivers
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn contains(&self, user_id: &str) -> bool {
        self.table.lock().users.contains_key(user_id)
    }

    /// Removes all connections, and refuses further ones.
    pub(super) fn close(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        let users = std::mem::take(&mut table.users);
        self.len.store(0, Ordering::Relaxed);
        drop(table);
        drop(users);
    }
}
