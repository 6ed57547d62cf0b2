//! The members by user, for publishes to users by name.

use std::sync::Arc as StdArc;

use ahash::RandomState;
use smallvec::SmallVec;

use crate::fanout::Closed;
use crate::outbox::Outbox;
use crate::sync::Mutex;

/// A user's id, shared by the table and the members.
pub(super) type UserId = StdArc<str>;

/// The connections of a user, usually one.
type Connections = SmallVec<[Connection; 1]>;

/// The outboxes that a frame will be pushed into.
pub(super) type Outboxes = SmallVec<[Outbox; 8]>;

/// The key of a member in the index.
pub(super) struct IndexKey {
    pub(super) user_id: UserId,
    pub(super) user_hash: u64,
    number: u64,
}

/// The connections of each user.
pub(super) struct Index {
    hasher: RandomState,
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
    outbox: Outbox,
}

impl Index {
    pub(super) fn new() -> Self {
        let hasher = RandomState::new();
        let users = std::collections::HashMap::with_hasher(hasher.clone());
        Self { hasher, table: Mutex::new(Table { users, closed: false, count: 0 }) }
    }

    #[inline]
    pub(super) fn hash(&self, user_id: &str) -> u64 {
        self.hasher.hash_one(user_id)
    }

    pub(super) fn insert(&self, user_id: &str, outbox: Outbox) -> Result<IndexKey, Closed> {
        let user_hash = self.hash(user_id);
        let mut table = self.table.lock();
        if table.closed {
            return Err(Closed);
        }
        table.count += 1;
        let number = table.count;
        let connection = Connection { number, found_by: 0, outbox };
        let user_id = match table.users.get_key_value(user_id) {
            Some((known, _)) => StdArc::clone(known),
            None => UserId::from(user_id),
        };
        table.users.entry(StdArc::clone(&user_id)).or_default().push(connection);
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
        // Unlocked first: an outbox that ends wakes its reader, which runs the caller's code.
        drop(table);
        drop(removed);
    }

    /// The outboxes of these users' connections, each once.
    pub(super) fn outboxes_of(&self, user_ids: &[&str]) -> Outboxes {
        let mut outboxes = Outboxes::new();
        if user_ids.is_empty() {
            return outboxes;
        }
        let mut table = self.table.lock();
        table.count += 1;
        let look_up = table.count;
        for user_id in user_ids {
            for connection in table.users.get_mut(*user_id).into_iter().flatten() {
                if connection.found_by != look_up {
                    connection.found_by = look_up;
                    outboxes.push(connection.outbox.clone());
                }
            }
        }
        outboxes
    }

    pub(super) fn contains(&self, user_id: &str) -> bool {
        self.table.lock().users.contains_key(user_id)
    }

    /// Removes all connections, and refuses further ones.
    pub(super) fn close(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        let users = std::mem::take(&mut table.users);
        drop(table);
        drop(users);
    }
}
