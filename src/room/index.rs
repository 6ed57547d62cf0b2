//! The members by user, for publishes to users by name.

use std::sync::Arc as StdArc;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

use crate::fanout::Closed;
use crate::outbox::Outbox;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A user's id, shared by a member and its membership.
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
#[derive(Clone, Copy)]
pub(super) struct IndexKey {
    /// The place in the table.
    pub(super) at: u32,
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

struct Table {
    /// The first connection of each user.
    users: HashTable<u32>,
    places: Vec<Place>,
    free: u32,
    /// The outboxes of those that have one, at the same places.
    outboxes: Vec<Option<Outbox>>,
    is_closed: bool,
    /// The number of joins so far.
    joins: u32,
}

/// No place, and the cursor of a connection with an outbox.
pub(super) const NONE: u32 = u32::MAX;

enum Place {
    Taken(Connection),
    /// The next one that is free.
    Free(u32),
}

/// A connection, in the list of its user's.
struct Connection {
    id: Id,
    /// The half of its hash.
    hash: u32,
    cursor: u32,
    seat: u32,
    /// The number of its join.
    number: u32,
    previous: u32,
    next: u32,
}

/// The bytes of a user's id. There is one for each connection, so it is small.
enum Id {
    Short(u8, [u8; SHORT]),
    /// Long enough for a UUID.
    Medium(u8, Box<[u8; MEDIUM]>),
    Long(Box<Box<[u8]>>),
}

const SHORT: usize = 14;
const MEDIUM: usize = 40;

impl Id {
    #[inline]
    fn new(id: &[u8]) -> Self {
        fn padded<const LEN: usize>(id: &[u8]) -> [u8; LEN] {
            let mut bytes = [0; LEN];
            bytes[..id.len()].copy_from_slice(id);
            bytes
        }
        match id.len() {
            len @ ..=SHORT => Self::Short(len as u8, padded(id)),
            len @ ..=MEDIUM => Self::Medium(len as u8, Box::new(padded(id))),
            _ => Self::Long(Box::new(id.into())),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Medium(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

const fn upper_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The half of a hash, which is as random as a hash must be, in both halves.
const fn twice(half: u32) -> u64 {
    (half as u64) << 32 | half as u64
}

impl Place {
    const fn taken(&self) -> Option<&Connection> {
        match self {
            Self::Taken(connection) => Some(connection),
            Self::Free(_) => None,
        }
    }
}

impl Table {
    const fn new() -> Self {
        Self {
            users: HashTable::new(),
            places: Vec::new(),
            free: NONE,
            outboxes: Vec::new(),
            is_closed: false,
            joins: 0,
        }
    }

    fn at(&self, at: u32) -> Option<&Connection> {
        self.places.get(at as usize)?.taken()
    }

    fn at_mut(&mut self, at: u32) -> Option<&mut Connection> {
        match self.places.get_mut(at as usize) {
            Some(Place::Taken(connection)) => Some(connection),
            _ => None,
        }
    }

    /// The first connection of a user.
    fn first_of(&self, half: u32, user_id: &str) -> Option<u32> {
        let is_it = |at: &u32| self.at(*at).is_some_and(|it| it.is_of(half, user_id));
        self.users.find(twice(half), is_it).copied()
    }

    /// Puts a connection at the front of its user's list; returns its place.
    #[inline]
    fn add(&mut self, user_id: &str, mut connection: Connection) -> u32 {
        let Self { users, places, free, .. } = self;
        let half = connection.hash;
        let at = match places.get(*free as usize) {
            Some(&Place::Free(next)) => std::mem::replace(free, next),
            _ => places.len() as u32,
        };
        let taken = |at: &u32| places.get(*at as usize).and_then(Place::taken);
        let is_it = |at: &u32| taken(at).is_some_and(|it| it.is_of(half, user_id));
        let hash = |at: &u32| taken(at).map_or(0, |it| twice(it.hash));
        match users.entry(twice(half), is_it, hash) {
            Entry::Occupied(mut first) => {
                connection.next = std::mem::replace(first.get_mut(), at);
            }
            Entry::Vacant(none) => {
                none.insert(at);
            }
        }
        if let Some(next) = self.at_mut(connection.next) {
            next.previous = at;
        }
        match self.places.get_mut(at as usize) {
            Some(place) => *place = Place::Taken(connection),
            None => self.places.push(Place::Taken(connection)),
        }
        at
    }

    fn remove(&mut self, key: IndexKey) -> Option<(Connection, Option<Outbox>)> {
        if self.at(key.at)?.number != key.member {
            return None;
        }
        let freed = std::mem::replace(&mut self.places[key.at as usize], Place::Free(self.free));
        let Place::Taken(connection) = freed else { return None };
        self.free = key.at;
        let Connection { previous, next, hash, .. } = connection;
        if let Some(next) = self.at_mut(next) {
            next.previous = previous;
        }
        if let Some(previous) = self.at_mut(previous) {
            previous.next = next;
        } else if let Ok(mut first) = self.users.find_entry(twice(hash), |at| *at == key.at) {
            if next == NONE {
                first.remove();
            } else {
                *first.get_mut() = next;
            }
        }
        let outbox = self.outboxes.get_mut(key.at as usize).and_then(Option::take);
        Some((connection, outbox))
    }

    fn receiver(&self, at: u32) -> Option<(Receiver, u32)> {
        let &Connection { cursor, seat, number, .. } = self.at(at)?;
        let receiver = if cursor == NONE {
            Receiver::Outbox(self.outboxes.get(at as usize)?.clone()?)
        } else {
            Receiver::Seat { cursor, seat }
        };
        Some((receiver, number))
    }
}

impl Connection {
    #[inline]
    fn is_of(&self, half: u32, user_id: &str) -> bool {
        self.hash == half && self.id.bytes() == user_id.as_bytes()
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
        // Before the lock: it may allocate.
        let id = Id::new(user_id.as_bytes());
        let (cursor, seat, outbox) = match receiver {
            Receiver::Seat { cursor, seat } => (cursor, seat, None),
            Receiver::Outbox(outbox) => (NONE, 0, Some(outbox)),
        };
        let mut table = self.table.lock();
        if table.is_closed {
            // Unlocked first, as below.
            drop(table);
            return Err(Closed);
        }
        table.joins = table.joins.wrapping_add(1);
        let (hash, number) = (upper_half(hash), table.joins);
        let (previous, next) = (NONE, NONE);
        let at = table.add(user_id, Connection { id, hash, cursor, seat, number, previous, next });
        if outbox.is_some() {
            if table.outboxes.len() <= at as usize {
                table.outboxes.resize_with(at as usize + 1, || None);
            }
            table.outboxes[at as usize] = outbox;
        }
        self.count(|len| len + 1);
        Ok(IndexKey { at, member: number })
    }

    /// Removes the connection; `false`, and nothing is done, if it was removed before.
    pub(super) fn remove(&self, key: IndexKey) -> bool {
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
        let users = user_ids.iter().map(|id| (upper_half(self.hash(id)), *id));
        let mut users: SmallVec<[(u32, &str); 8]> = users.collect();
        users.sort_unstable();
        users.dedup();
        if users.is_empty() {
            return receivers;
        }
        let table = self.table.lock();
        for (half, user_id) in users {
            let mut at = table.first_of(half, user_id).unwrap_or(NONE);
            while let Some(connection) = table.at(at) {
                receivers.extend(table.receiver(at));
                at = connection.next;
            }
        }
        receivers
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn contains(&self, user_id: &str) -> bool {
        let half = upper_half(self.hash(user_id));
        self.table.lock().first_of(half, user_id).is_some()
    }

    /// Removes all connections, and refuses further ones.
    pub(super) fn close(&self) {
        let mut table = self.table.lock();
        let removed = std::mem::replace(&mut *table, Table { is_closed: true, ..Table::new() });
        self.len.store(0, Ordering::Relaxed);
        drop(table);
        drop(removed);
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
        assert!(index.remove(keys[2]) && !index.remove(keys[2]));
        assert_eq!((seats(&index, &["a"]), index.len()), (vec![0, 4], 4));
        // The first of the list, and the last; a place is used again.
        assert!(index.remove(keys[4]) && index.remove(keys[0]));
        assert!(!index.contains("a"));
        let again = index.insert("a", hash, seat(7)).unwrap();
        assert_eq!((again.at, seats(&index, &["a"])), (keys[0].at, vec![7]));
        // The key before it no longer finds it.
        assert!(!index.remove(keys[0]));
        assert_eq!(index.len(), 3);
        for key in [keys[1], keys[3], again] {
            assert!(index.remove(key));
        }
        let table = index.table.lock();
        assert!(index.len() == 0 && table.users.is_empty() && table.places.len() == 5);
    }

    #[test]
    fn ids_of_all_lengths_are_found() {
        let index = Index::new();
        // One is a part of the next one, also with zeros, by which short ones are padded.
        let ids: Vec<_> = (0..100).flat_map(|len| ["x", "\0"].map(|id| id.repeat(len))).collect();
        let insert = |(id, at): (&String, _)| index.insert(id, index.hash(id), seat(at)).unwrap();
        let keys: Vec<_> = ids.iter().zip(0..).map(insert).collect();
        // Both are empty.
        assert_eq!(seats(&index, &[""]), [0, 1]);
        for (id, at) in ids.iter().zip(0..).skip(2) {
            assert_eq!(seats(&index, &[id, id]), [at]);
        }
        let all: Vec<_> = ids.iter().map(String::as_str).collect();
        assert_eq!(seats(&index, &all), (0..200).collect::<Vec<_>>());
        assert!(keys.into_iter().all(|key| index.remove(key)));
        assert!(index.len() == 0 && seats(&index, &all).is_empty());
    }

    #[test]
    fn a_connection_is_small() {
        assert_eq!((size_of::<Id>(), size_of::<Place>()), (16, 40));
    }
}
