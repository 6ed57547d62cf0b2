//! The members by user, for publishes to users by name.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc as StdArc;

use ahash::RandomState;
use smallvec::SmallVec;

use crate::fanout::Closed;
use crate::outbox::Outbox;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A user's id, shared by the table and the members.
pub(super) type UserId = StdArc<str>;

/// The connections that a frame will be sent to, and the numbers of their memberships.
pub(super) type Receivers = SmallVec<[(Receiver, u32); 8]>;

/// The way to a connection.
#[derive(Clone)]
pub(super) enum Receiver {
    Outbox(Outbox),
    /// A seat of the shard that has the cursor of this number.
    Seat {
        cursor: u32,
        seat: u32,
    },
}

/// The key of a member in the index.
pub(super) struct IndexKey {
    pub(super) user_id: UserId,
    /// The upper half of its hash.
    hash: u32,
    /// The place in the table.
    at: u32,
    /// The number of the membership, as shards know it, too.
    pub(super) member: u32,
}

/// The connections of each user.
pub(super) struct Index {
    hasher: RandomState,
    /// The number of connections; changed under the lock.
    len: AtomicUsize,
    table: Mutex<Table>,
}

/// Connections whose users have the same half of a hash are in one list. It is nearly always one user's.
struct Table {
    /// The first of each list.
    lists: HashMap<u32, u32, BuildHasherDefault<Twice>>,
    places: Vec<Place>,
    free: u32,
    is_closed: bool,
    /// The number of joins so far.
    joins: u32,
    /// The number of look-ups so far.
    look_ups: u32,
}

/// No place.
const NONE: u32 = u32::MAX;

enum Place {
    Taken(Connection),
    /// The next one that is free.
    Free(u32),
}

struct Connection {
    user_id: UserId,
    receiver: Receiver,
    /// The number of its join.
    number: u32,
    /// The number of the look-up that found it last.
    found_by: u32,
    previous: u32,
    next: u32,
}

/// The half of a hash, which is as random as a hash must be, in both halves.
#[derive(Default)]
struct Twice(u64);

impl Hasher for Twice {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only `u32`s are hashed")
    }

    fn write_u32(&mut self, hash: u32) {
        self.0 = u64::from(hash) << 32 | u64::from(hash);
    }
}

const fn upper_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Table {
    fn new() -> Self {
        Self {
            lists: HashMap::default(),
            places: Vec::new(),
            free: NONE,
            is_closed: false,
            joins: 0,
            look_ups: 0,
        }
    }

    fn at(&mut self, at: u32) -> Option<&mut Connection> {
        match self.places.get_mut(at as usize) {
            Some(Place::Taken(connection)) => Some(connection),
            _ => None,
        }
    }

    /// Calls `each` with the place and the connection of each of the user's connections, until it returns
    /// `false`.
    fn for_each(
        &mut self,
        hash: u64,
        user_id: &str,
        mut each: impl FnMut(&mut Connection) -> bool,
    ) {
        let mut at = self.lists.get(&upper_half(hash)).copied().unwrap_or(NONE);
        while let Some(connection) = self.at(at) {
            at = connection.next;
            if *connection.user_id == *user_id && !each(connection) {
                return;
            }
        }
    }

    /// Puts a connection at the front of its list; returns its place.
    #[inline]
    fn add(&mut self, hash: u32, mut connection: Connection) -> u32 {
        let at = match self.places.get(self.free as usize) {
            Some(&Place::Free(next)) => std::mem::replace(&mut self.free, next),
            _ => self.places.len() as u32,
        };
        connection.next = self.lists.insert(hash, at).unwrap_or(NONE);
        if let Some(next) = self.at(connection.next) {
            next.previous = at;
        }
        match self.places.get_mut(at as usize) {
            Some(place) => *place = Place::Taken(connection),
            None => self.places.push(Place::Taken(connection)),
        }
        at
    }

    fn remove(&mut self, key: &IndexKey) -> Option<Connection> {
        if self.at(key.at)?.number != key.member {
            return None;
        }
        let freed = std::mem::replace(&mut self.places[key.at as usize], Place::Free(self.free));
        let Place::Taken(connection) = freed else { return None };
        self.free = key.at;
        let Connection { previous, next, .. } = connection;
        if let Some(next) = self.at(next) {
            next.previous = previous;
        }
        match self.at(previous) {
            Some(previous) => previous.next = next,
            None if next == NONE => drop(self.lists.remove(&key.hash)),
            None => drop(self.lists.insert(key.hash, next)),
        }
        Some(connection)
    }

    /// The number of a new look-up, which no connection was found by.
    fn look_up(&mut self) -> u32 {
        self.look_ups = self.look_ups.wrapping_add(1);
        if self.look_ups == 0 {
            self.look_ups = 1;
            for place in &mut self.places {
                if let Place::Taken(connection) = place {
                    connection.found_by = 0;
                }
            }
        }
        self.look_ups
    }
}

impl Index {
    pub(super) fn new() -> Self {
        let (hasher, table) = (RandomState::new(), Mutex::new(Table::new()));
        Self { hasher, len: AtomicUsize::new(0), table }
    }

    #[inline]
    pub(super) fn hash(&self, user_id: &str) -> u64 {
        self.hasher.hash_one(user_id)
    }

    /// Adds a connection of the user with this id and [hash](Self::hash).
    pub(super) fn insert(
        &self,
        user_id: &str,
        hash: u64,
        receiver: Receiver,
    ) -> Result<IndexKey, Closed> {
        let mut table = self.table.lock();
        if table.is_closed {
            return Err(Closed);
        }
        let mut known = None;
        table.for_each(hash, user_id, |connection| {
            known = Some(StdArc::clone(&connection.user_id));
            false
        });
        let user_id = known.unwrap_or_else(|| UserId::from(user_id));
        table.joins = table.joins.wrapping_add(1);
        let (hash, member) = (upper_half(hash), table.joins);
        let connection = Connection {
            user_id: StdArc::clone(&user_id),
            receiver,
            number: member,
            found_by: 0,
            previous: NONE,
            next: NONE,
        };
        let at = table.add(hash, connection);
        self.count(|len| len + 1);
        Ok(IndexKey { user_id, hash, at, member })
    }

    /// Removes the connection; `false`, and nothing is done, if it was removed before.
    pub(super) fn remove(&self, key: &IndexKey) -> bool {
        let mut table = self.table.lock();
        let Some(removed) = table.remove(key) else { return false };
        self.count(|len| len - 1);
        // Unlocked first: an outbox that ends wakes its reader, which runs the caller's code.
        drop(table);
        drop(removed);
        true
    }

    /// Changes the count. The caller holds the lock, so that no read-modify-write is needed.
    fn count(&self, change: impl FnOnce(usize) -> usize) {
        self.len.store(change(self.len()), Ordering::Relaxed);
    }

    /// The ways to these users' connections, each once.
    pub(super) fn receivers_of(&self, user_ids: &[&str]) -> Receivers {
        let mut receivers = Receivers::new();
        if user_ids.is_empty() {
            return receivers;
        }
        let mut table = self.table.lock();
        let look_up = table.look_up();
        for user_id in user_ids {
            table.for_each(self.hash(user_id), user_id, |connection| {
                let found_by = std::mem::replace(&mut connection.found_by, look_up);
                if found_by != look_up {
                    receivers.push((connection.receiver.clone(), connection.number));
                }
                // All of the user's connections were found by this look-up, or none.
                found_by != look_up
            });
        }
        receivers
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn contains(&self, user_id: &str) -> bool {
        let mut found = false;
        self.table.lock().for_each(self.hash(user_id), user_id, |_| {
            found = true;
            false
        });
        found
    }

    /// Removes all connections, and refuses further ones.
    pub(super) fn close(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        let lists = std::mem::take(&mut table.lists);
        let places = std::mem::take(&mut table.places);
        table.free = NONE;
        self.len.store(0, Ordering::Relaxed);
        drop(table);
        drop((lists, places));
    }
}

#[cfg(all(test, not(pondwire_loom)))]
mod tests {
    use super::*;

    fn seat(seat: u32) -> Receiver {
        Receiver::Seat { cursor: 0, seat }
    }

    /// The seats of these users.
    fn seats(index: &Index, user_ids: &[&str]) -> Vec<u32> {
        let seat = |(receiver, _)| match receiver {
            Receiver::Seat { seat, .. } => seat,
            Receiver::Outbox(_) => unreachable!("there is none"),
        };
        let mut seats: Vec<_> = index.receivers_of(user_ids).into_iter().map(seat).collect();
        seats.sort_unstable();
        seats
    }

    #[test]
    fn users_with_the_same_hash_are_told_apart() {
        let index = Index::new();
        // As if both ids had the hash of "a".
        let hash = index.hash("a");
        let keys = ["a", "b", "a", "b", "a"];
        let keys: Vec<_> = keys
            .iter()
            .zip(0..)
            .map(|(id, at)| index.insert(id, hash, seat(at)).unwrap())
            .collect();
        assert_eq!(seats(&index, &["a", "a"]), [0, 2, 4]);
        assert!(index.remove(&keys[2]) && !index.remove(&keys[2]));
        assert_eq!((seats(&index, &["a"]), index.len()), (vec![0, 4], 4));
        // The first of the list, and the last; a place is used again.
        assert!(index.remove(&keys[4]) && index.remove(&keys[0]));
        assert!(!index.contains("a"));
        let again = index.insert("a", hash, seat(7)).unwrap();
        assert_eq!((again.at, seats(&index, &["a"])), (keys[0].at, vec![7]));
        // The key before it no longer finds it.
        assert!(!index.remove(&keys[0]));
        assert_eq!(index.len(), 3);
        for key in [&keys[1], &keys[3], &again] {
            assert!(index.remove(key));
        }
        let table = index.table.lock();
        assert!(index.len() == 0 && table.lists.is_empty() && table.places.len() == 5);
    }

    #[test]
    fn the_number_of_a_look_up_may_come_again() {
        let index = Index::new();
        let _keys = ["a", "b"].map(|id| index.insert(id, index.hash(id), seat(1)).unwrap());
        assert_eq!(seats(&index, &["a"]), [1]);
        // "a" was found by the first one.
        index.table.lock().look_ups = u32::MAX;
        assert_eq!(seats(&index, &["a", "b", "a"]), [1, 1]);
    }
}
