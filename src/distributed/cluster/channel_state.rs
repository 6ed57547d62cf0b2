//! The users of one channel on all nodes, and the presence list made of them.

use std::borrow::Cow;
use std::collections::HashMap;

use smallvec::SmallVec;

use super::effects::Channel;
use super::nodes::{NodeIndex, Nodes};
use super::sync_requests::{Evidence, StateSync, SyncKind};
use crate::cache::PresenceRoster;
use crate::payload::{Payload, Value};
use crate::scan::skip::Items;
use crate::scan::text;

/// The bytes that an entry counts for in addition to its text.
const ENTRY_BYTES: usize = 160;

/// One node's record of a user.
pub(super) struct Entry {
    pub(super) node: NodeIndex,
    pub(super) assigns: StoredObject,
    pub(super) presence: Option<StoredObject>,
    pub(super) evidence: Evidence,
}

impl Entry {
    fn bytes(user_id: &str, assigns: usize, presence: usize) -> usize {
        ENTRY_BYTES + user_id.len() + assigns + presence
    }

    fn presence_len(&self) -> usize {
        self.presence.as_ref().map_or(0, StoredObject::len)
    }

    fn size(&self, user_id: &str) -> usize {
        Self::bytes(user_id, self.assigns.len(), self.presence_len())
    }

    /// Whether the presence is `{}`, which a list of users cannot tell from no presence.
    pub(super) fn has_empty_presence(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.as_str() == "{}")
    }
}

/// A change of a user; `None` leaves that part as it is.
pub(super) struct UserUpdate<'a> {
    pub(super) assigns: Option<Payload<'a>>,
    pub(super) presence: Option<Option<Payload<'a>>>,
    /// Whether it comes from a list of users.
    pub(super) secondhand: bool,
}

pub(super) struct ChannelState {
    pub(super) channel: Channel,
    /// Differs each time that the channel is opened.
    pub(super) number: u64,
    /// One entry for every node that has the user.
    users: HashMap<Box<str>, SmallVec<[Entry; 1]>, ahash::RandomState>,
    /// The number of this node's users.
    pub(super) local: usize,
    /// The number of those that have a presence.
    pub(super) present: usize,
    /// Whether it stays open without a user.
    pub(super) is_kept_open: bool,
    pub(super) roster: PresenceRoster,
    pub(super) sync: StateSync,
    /// Counts changes, to order them.
    changes: u64,
}

impl ChannelState {
    pub(super) fn new(channel: &Channel, number: u64) -> Self {
        Self {
            channel: channel.clone(),
            number,
            users: HashMap::default(),
            local: 0,
            present: 0,
            is_kept_open: false,
            roster: PresenceRoster::new(channel.name()),
            sync: StateSync::new(),
            changes: 0,
        }
    }

    /// A node's record of a user.
    pub(super) fn entry(&self, node: NodeIndex, user_id: &str) -> Option<&Entry> {
        self.users.get(user_id)?.iter().find(|entry| entry.node == node)
    }

    /// Every user of every node.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.users.iter().flat_map(|(id, entries)| entries.iter().map(move |entry| (&**id, entry)))
    }

    /// This node's record of a user, or else that of the highest [rank](Evidence::rank).
    pub(super) fn best(&self, user_id: &str) -> Option<(&str, &Entry)> {
        let (id, entries) = self.users.get_key_value(user_id)?;
        let rank = |entry: &&Entry| (entry.node == NodeIndex::OWN, entry.evidence.rank());
        Some((id, entries.iter().max_by_key(rank)?))
    }

    /// Whether a node that asked since the last heartbeat has no known user here. Looks at every user
    /// if any node asked.
    pub(super) fn take_unknown_requesters(&mut self) -> bool {
        let mut requesters = self.sync.take_requesters();
        for entry in self.users.values().flatten() {
            if requesters.is_empty() {
                break;
            }
            requesters.remove(&entry.node);
        }
        !requesters.is_empty()
    }

    /// 1 if it is a user of this node that has a presence.
    fn count_present(&self, node: NodeIndex, user_id: &str) -> usize {
        let is_present = |entry: &Entry| entry.presence.is_some();
        let own = (node == NodeIndex::OWN).then(|| self.entry(node, user_id)).flatten();
        own.is_some_and(is_present).into()
    }

    /// Applies a report of `node` about a user. Returns false when there is no room for it.
    pub(super) fn apply(
        &mut self,
        nodes: &mut Nodes,
        node: NodeIndex,
        user_id: &str,
        update: &UserUpdate<'_>,
    ) -> bool {
        self.present -= self.count_present(node, user_id);
        let is_applied = self.store(nodes, node, user_id, update);
        self.present += self.count_present(node, user_id);
        is_applied
    }

    fn store(
        &mut self,
        nodes: &mut Nodes,
        node: NodeIndex,
        user_id: &str,
        update: &UserUpdate<'_>,
    ) -> bool {
        self.changes += 1;
        let change = self.changes;
        let known = self.entry(node, user_id);
        let old_lens = known.map_or((Payload::EMPTY.as_str().len(), 0), |entry| {
            (entry.assigns.len(), entry.presence_len())
        });
        let assigns_len = update.assigns.map_or(old_lens.0, |assigns| assigns.as_str().len());
        let presence_len = update
            .presence
            .map_or(old_lens.1, |presence| presence.map_or(0, |presence| presence.as_str().len()));
        let bytes = Entry::bytes(user_id, assigns_len, presence_len);
        let old = known.map(|entry| entry.size(user_id));
        let fits = nodes.fits(node, bytes);
        let admitted = fits && nodes.admit(node, old, bytes);
        if fits && !admitted {
            // There may be room later.
            self.sync.mark_retry();
        }
        if old.is_none() {
            if !admitted {
                return false;
            }
            let entry = Entry {
                node,
                assigns: StoredObject::new(update.assigns.unwrap_or(Payload::EMPTY)),
                presence: update.presence.flatten().map(StoredObject::new),
                evidence: Evidence::new(update.secondhand, change),
            };
            self.users.entry(user_id.into()).or_default().push(entry);
            self.local += usize::from(node == NodeIndex::OWN);
            return true;
        }
        let Some(entry) = self.entry_mut(node, user_id) else { return false };
        // A change without room leaves the data as it was, but still proves that the user is there.
        entry.evidence.renew(update.secondhand, change);
        if !admitted {
            return false;
        }
        if let Some(assigns) = update.assigns {
            entry.assigns = StoredObject::new(assigns);
        }
        if let Some(presence) = update.presence {
            entry.presence = presence.map(StoredObject::new);
        }
        true
    }

    fn entry_mut(&mut self, node: NodeIndex, user_id: &str) -> Option<&mut Entry> {
        self.users.get_mut(user_id)?.iter_mut().find(|entry| entry.node == node)
    }

    /// Removes a user of a node; returns whether it was known.
    pub(super) fn remove(&mut self, nodes: &mut Nodes, node: NodeIndex, user_id: &str) -> bool {
        self.present -= self.count_present(node, user_id);
        let removed = self.remove_where(nodes, user_id, |entry| entry.node == node) > 0;
        self.local -= usize::from(removed && node == NodeIndex::OWN);
        removed
    }

    /// Removes a user that left a node. A node that has only listed a user of that id may have meant
    /// this one: its record is removed too, and the nodes are asked.
    pub(super) fn remove_departed(&mut self, nodes: &mut Nodes, node: NodeIndex, user_id: &str) {
        self.remove(nodes, node, user_id);
        let doubtful = self.remove_where(nodes, user_id, |entry| entry.evidence.is_secondhand());
        if doubtful > 0 {
            self.sync.mark();
            // A node that died unnoticed may be among those that still list the user.
            self.sync.mark_retry();
        }
    }

    /// Removes a user of all other nodes: it was evicted.
    pub(super) fn remove_elsewhere(&mut self, nodes: &mut Nodes, user_id: &str) {
        self.remove_where(nodes, user_id, |entry| entry.node != NodeIndex::OWN);
    }

    /// Removes those records of a user that `which` selects; returns their number.
    fn remove_where(
        &mut self,
        nodes: &mut Nodes,
        user_id: &str,
        which: impl Fn(&Entry) -> bool,
    ) -> usize {
        let Some(entries) = self.users.get_mut(user_id) else { return 0 };
        let before = entries.len();
        entries.retain(|entry| {
            let removed = which(entry);
            if removed {
                nodes.release(entry.node, entry.size(user_id));
            }
            !removed
        });
        let removed = before - entries.len();
        if entries.is_empty() {
            self.users.remove(user_id);
        }
        removed
    }

    /// The users of `node` whose records `which` selects.
    pub(super) fn users_of(
        &self,
        node: NodeIndex,
        which: impl Fn(&Entry) -> bool,
    ) -> Vec<Box<str>> {
        let of_node = |entry: &Entry| entry.node == node && which(entry);
        let users = self.users.iter().filter(|(_, entries)| entries.iter().any(of_node));
        users.map(|(id, _)| id.clone()).collect()
    }

    /// The users of the nodes that `which` selects, each with its node.
    pub(super) fn users_of_nodes(
        &self,
        which: impl Fn(NodeIndex) -> bool,
    ) -> Vec<(NodeIndex, Box<str>)> {
        let users = self.entries().filter(|(_, entry)| which(entry.node));
        users.map(|(id, entry)| (entry.node, id.into())).collect()
    }

    /// The number of the last change; later changes have higher ones.
    pub(super) const fn last_change(&self) -> u64 {
        self.changes
    }

    /// Marks a known user as one that joined too soon after its eviction to be sure of it.
    pub(super) fn set_provisional(&mut self, node: NodeIndex, user_id: &str) {
        if let Some(entry) = self.entry_mut(node, user_id) {
            entry.evidence.set_provisional();
            self.sync.mark_verify();
        }
    }

    /// A request of `kind` came back: the users of other nodes that it concerns must be confirmed.
    pub(super) fn mark_unconfirmed(&mut self, kind: SyncKind) {
        let entries = self.users.values_mut().flatten();
        for entry in entries.filter(|entry| entry.node != NodeIndex::OWN) {
            entry.evidence.mark_unconfirmed(kind);
        }
    }

    /// Removes the users of other nodes that are still unconfirmed. Returns whether there were any, and
    /// whether the presence list changed.
    pub(super) fn drop_unconfirmed(&mut self, nodes: &mut Nodes) -> (bool, bool) {
        let dropped = self.users.iter_mut().filter_map(|(id, entries)| {
            let before = entries.len();
            entries.retain(|entry| {
                let dropped = entry.evidence.is_unconfirmed();
                if dropped {
                    nodes.release(entry.node, entry.size(id));
                }
                !dropped
            });
            (entries.len() < before).then(|| id.clone())
        });
        let dropped: Vec<Box<str>> = dropped.collect();
        self.users.retain(|_, entries| !entries.is_empty());
        let changed = dropped.iter().fold(false, |changed, id| self.refresh_presence(id) | changed);
        (!dropped.is_empty(), changed)
    }

    /// Gives back the room of all users, as the channel is closed.
    pub(super) fn release(&self, nodes: &mut Nodes) {
        for (user_id, entry) in self.entries() {
            nodes.release(entry.node, entry.size(user_id));
        }
    }

    /// Brings the presence list up to date with a user. Returns whether that changed the list.
    pub(super) fn refresh_presence(&mut self, user_id: &str) -> bool {
        let entries = self.users.get(user_id).into_iter().flatten();
        let present = entries.filter(|entry| entry.presence.is_some());
        let shown = present.max_by_key(|entry| entry.evidence.rank());
        let Some(presence) = shown.and_then(|entry| entry.presence.as_ref()) else {
            return self.roster.leave(user_id).is_some();
        };
        match self.roster.get(user_id) {
            None => self.roster.join(user_id, presence.payload()).is_some(),
            Some(old) if old == presence.as_str() => false,
            Some(_) => self.roster.update(user_id, presence.payload()).is_some(),
        }
    }
}

/// A stored JSON object: validated once, without raw newlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredObject {
    json: Box<str>,
}

impl StoredObject {
    pub(super) fn new(payload: Payload<'_>) -> Self {
        let json = payload.as_str();
        let json: Box<str> = match payload.has_newlines() {
            true => json.replace(['\n', '\r'], " ").into(),
            false => json.into(),
        };
        Self { json }
    }

    pub(super) fn payload(&self) -> Payload<'_> {
        Payload::from_stored(&self.json)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.json
    }

    const fn len(&self) -> usize {
        self.json.len()
    }

    /// The object with `key` set to `value`, as its last member.
    pub(super) fn with(&self, key: &str, value: Value<'_>) -> Self {
        let json = &*self.json;
        let mut merged = String::with_capacity(json.len() + key.len() + value.raw().len() + 8);
        merged.push('{');
        for (name, start, end) in Items::new(json.as_bytes()) {
            let Some(name) = name else { continue };
            let inside = &json[name.start..name.end];
            if text::unescape(inside, name.escaped).is_some_and(|name| name == key) {
                continue;
            }
            // Copied as written, lone surrogates included.
            merged.extend(["\"", inside, "\":", &json[start..end], ","]);
        }
        let name = serde_json::to_string(key).expect("a string serializes");
        let value: Cow<'_, str> = match value.raw().contains(['\n', '\r']) {
            true => value.raw().replace(['\n', '\r'], " ").into(),
            false => value.raw().into(),
        };
        merged.extend([&*name, ":", &value, "}"]);
        Self { json: merged.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_one_key_keeps_the_others() {
        let json = "{\"a\":1,\n\"\\u0062\":{\"c\":[2]},\"\":0}";
        let stored = StoredObject::new(Payload::from_json(json).unwrap());
        let value = Payload::from_json("{\"v\":[3,\r\n4]}").unwrap();
        let value = value.get("v").unwrap();
        let with = |key| stored.with(key, value).as_str().to_owned();
        assert_eq!(with("b"), "{\"a\":1,\"\":0,\"b\":[3,  4]}");
        assert_eq!(with("a\""), "{\"a\":1,\"\\u0062\":{\"c\":[2]},\"\":0,\"a\\\"\":[3,  4]}");
        let empty = StoredObject::new(Payload::EMPTY).with("k", value);
        assert_eq!(empty.as_str(), "{\"k\":[3,  4]}");
    }
}
