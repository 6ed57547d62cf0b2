//! Who is in a channel, on which node, and the presence list that is made of it.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use smallvec::SmallVec;

use super::asking::Asking;
use super::effect::Channel;
use super::kept::Kept;
use super::nodes::{NodeIndex, Nodes};
use crate::cache::PresenceRoster;
use crate::payload::Payload;

/// What an entry counts for beside its text.
const ENTRY_BYTES: usize = 160;

/// A user as one node has it.
pub(super) struct Entry {
    pub(super) node: NodeIndex,
    pub(super) assigns: Kept,
    pub(super) presence: Option<Kept>,
    /// Known from a list of users only, which in JavaScript holds those of other nodes too.
    hearsay: bool,
    /// Heard of since the doubt that began last.
    confirmed: bool,
    /// Joined so soon after it was evicted that its node may not have heard of that before.
    pub(super) provisional: bool,
    /// Which change was the last; a list counts as one.
    change: u64,
}

/// What is new about a user.
pub(super) struct News<'a> {
    pub(super) assigns: Option<Payload<'a>>,
    pub(super) presence: Option<Option<Payload<'a>>>,
    pub(super) hearsay: bool,
}

pub(super) struct State {
    pub(super) channel: Channel,
    /// Another one each time that the channel is opened.
    pub(super) number: u64,
    /// One entry for every node that has the user.
    users: HashMap<Box<str>, SmallVec<[Entry; 1]>, ahash::RandomState>,
    /// How many users this node has.
    pub(super) local: usize,
    pub(super) roster: PresenceRoster,
    /// What is known may be wrong: the others are to be asked with the next heartbeat.
    pub(super) ask: bool,
    /// Somebody may be provisional.
    pub(super) verify: bool,
    /// Once more when a node that is silent by then is dead, or there may be room.
    pub(super) ask_again: bool,
    pub(super) ask_late: Option<Instant>,
    /// Nodes that asked: who does has somebody here.
    pub(super) askers: BTreeSet<NodeIndex>,
    pub(super) asking: Asking,
    changes: u64,
}

impl Entry {
    fn bytes(user_id: &str, assigns: usize, presence: usize) -> usize {
        ENTRY_BYTES + user_id.len() + assigns + presence
    }

    fn size(&self, user_id: &str) -> usize {
        Self::bytes(user_id, self.assigns.len(), self.presence.as_ref().map_or(0, Kept::len))
    }
}

impl State {
    pub(super) fn new(channel: &Channel, number: u64) -> Self {
        Self {
            channel: channel.clone(),
            number,
            users: HashMap::default(),
            local: 0,
            roster: PresenceRoster::new(channel.name()),
            ask: false,
            verify: false,
            ask_again: false,
            ask_late: None,
            askers: BTreeSet::new(),
            asking: Asking::new(),
            changes: 0,
        }
    }

    /// The user as `node` has it.
    pub(super) fn entry(&self, node: NodeIndex, user_id: &str) -> Option<&Entry> {
        self.users.get(user_id)?.iter().find(|entry| entry.node == node)
    }

    /// Whether a node that asked since the last time has nobody here, as far as is known. Looks at
    /// every user, if any node asked.
    pub(super) fn take_unknown_askers(&mut self) -> bool {
        let mut askers = std::mem::take(&mut self.askers);
        for entry in self.users.values().flatten() {
            if askers.is_empty() {
                break;
            }
            askers.remove(&entry.node);
        }
        !askers.is_empty()
    }

    /// Every user of every node.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.users.iter().flat_map(|(id, entries)| entries.iter().map(move |entry| (&**id, entry)))
    }

    /// The user as this node has it, or else the one that told of it last, rather by itself than in a
    /// list.
    pub(super) fn best(&self, user_id: &str) -> Option<(&str, &Entry)> {
        let (id, entries) = self.users.get_key_value(user_id)?;
        let rank = |entry: &&Entry| (entry.node == NodeIndex::OWN, !entry.hearsay, entry.change);
        Some((id, entries.iter().max_by_key(rank)?))
    }

    /// Notes what `node` told of a user. False when there is no room.
    pub(super) fn tell(
        &mut self,
        nodes: &mut Nodes,
        node: NodeIndex,
        user_id: &str,
        news: &News<'_>,
    ) -> bool {
        self.changes += 1;
        let change = self.changes;
        let known = self.entry(node, user_id);
        let assigns_len = news.assigns.map(|assigns| assigns.as_str().len());
        let presence_len = news.presence.map(|new| new.map_or(0, |new| new.as_str().len()));
        let bytes = match known {
            Some(entry) => Entry::bytes(
                user_id,
                assigns_len.unwrap_or(entry.assigns.len()),
                presence_len.unwrap_or(entry.presence.as_ref().map_or(0, Kept::len)),
            ),
            None => Entry::bytes(
                user_id,
                assigns_len.unwrap_or(Payload::EMPTY.as_str().len()),
                presence_len.unwrap_or(0),
            ),
        };
        let old = known.map(|entry| entry.size(user_id));
        let fits = nodes.fits(node, bytes);
        let admitted = fits && nodes.admit(node, old, bytes);
        // There may be room later.
        self.ask_again |= fits && !admitted;
        if old.is_none() {
            if !admitted {
                return false;
            }
            let entry = Entry {
                node,
                assigns: Kept::new(news.assigns.unwrap_or(Payload::EMPTY)),
                presence: news.presence.flatten().map(Kept::new),
                hearsay: news.hearsay,
                confirmed: true,
                provisional: false,
                change,
            };
            self.users.entry(user_id.into()).or_default().push(entry);
            self.local += usize::from(node == NodeIndex::OWN);
            return true;
        }
        let entries = self.users.get_mut(user_id).into_iter().flatten();
        let Some(entry) = entries.into_iter().find(|entry| entry.node == node) else {
            return false;
        };
        // What there is no room for stays as it was; that the user is there is known all the same.
        entry.confirmed = true;
        entry.hearsay &= news.hearsay;
        entry.change = change;
        if !admitted {
            return false;
        }
        if let Some(assigns) = news.assigns {
            entry.assigns = Kept::new(assigns);
        }
        if let Some(presence) = news.presence {
            entry.presence = presence.map(Kept::new);
        }
        true
    }

    /// Forgets a user of a node; whether it was known.
    pub(super) fn forget(&mut self, nodes: &mut Nodes, node: NodeIndex, user_id: &str) -> bool {
        let forgotten = self.forget_where(nodes, user_id, |entry| entry.node == node) > 0;
        self.local -= usize::from(forgotten && node == NodeIndex::OWN);
        forgotten
    }

    /// Forgets a user that is gone from a node. Others that have only listed it may have meant that
    /// one: they are forgotten too, and are to be asked.
    pub(super) fn gone(&mut self, nodes: &mut Nodes, node: NodeIndex, user_id: &str) -> bool {
        let forgotten = self.forget(nodes, node, user_id);
        let doubtful = self.forget_where(nodes, user_id, |entry| entry.hearsay);
        self.ask |= doubtful > 0;
        // A node that died unheard may be among those that still list it.
        self.ask_again |= doubtful > 0;
        forgotten
    }

    /// Forgets a user of whatever other nodes: it is evicted there.
    pub(super) fn forget_elsewhere(&mut self, nodes: &mut Nodes, user_id: &str) {
        self.forget_where(nodes, user_id, |entry| entry.node != NodeIndex::OWN);
    }

    fn forget_where(
        &mut self,
        nodes: &mut Nodes,
        user_id: &str,
        which: impl Fn(&Entry) -> bool,
    ) -> usize {
        let Some(entries) = self.users.get_mut(user_id) else { return 0 };
        let before = entries.len();
        entries.retain(|entry| {
            let forgotten = which(entry);
            if forgotten {
                nodes.release(entry.node, entry.size(user_id));
            }
            !forgotten
        });
        let forgotten = before - entries.len();
        if entries.is_empty() {
            self.users.remove(user_id);
        }
        forgotten
    }

    /// Whom `node` has, by those entries that `which` takes.
    pub(super) fn users_of(
        &self,
        node: NodeIndex,
        which: impl Fn(&Entry) -> bool,
    ) -> Vec<Box<str>> {
        let of_node = |entry: &Entry| entry.node == node && which(entry);
        let users = self.users.iter().filter(|(_, entries)| entries.iter().any(of_node));
        users.map(|(id, _)| id.clone()).collect()
    }

    /// Whom the nodes that `which` takes have, each with its node.
    pub(super) fn users_of_nodes(
        &self,
        which: impl Fn(NodeIndex) -> bool,
    ) -> Vec<(NodeIndex, Box<str>)> {
        let users = self.entries().filter(|(_, entry)| which(entry.node));
        users.map(|(id, entry)| (entry.node, id.into())).collect()
    }

    /// The number of the last change: what was told after it has a higher one.
    pub(super) const fn last_change(&self) -> u64 {
        self.changes
    }

    /// A user that is known joined too soon to be sure of it.
    pub(super) fn set_provisional(&mut self, node: NodeIndex, user_id: &str) {
        let mut entries = self.users.get_mut(user_id).into_iter().flatten();
        if let Some(entry) = entries.find(|entry| entry.node == node) {
            entry.provisional = true;
            self.verify = true;
        }
    }

    /// What is known of other nodes and `which` takes is to be confirmed from now on.
    pub(super) fn doubt(&mut self, which: impl Fn(&Entry) -> bool) {
        let others = self.users.values_mut().flatten();
        for entry in others.filter(|entry| entry.node != NodeIndex::OWN) {
            entry.confirmed &= !which(entry);
            entry.provisional = false;
        }
        self.verify = false;
    }

    /// Forgets the users of other nodes that nobody has confirmed. Returns whether there were any, and
    /// whether the presence list changed.
    pub(super) fn drop_unconfirmed(&mut self, nodes: &mut Nodes) -> (bool, bool) {
        let doubted = self.users.iter_mut().filter_map(|(id, entries)| {
            let before = entries.len();
            entries.retain(|entry| {
                if !entry.confirmed {
                    nodes.release(entry.node, entry.size(id));
                }
                entry.confirmed
            });
            (entries.len() < before).then(|| id.clone())
        });
        let doubted: Vec<Box<str>> = doubted.collect();
        self.users.retain(|_, entries| !entries.is_empty());
        let is_shown = doubted.iter().fold(false, |changed, user_id| self.show(user_id) | changed);
        (!doubted.is_empty(), is_shown)
    }

    /// Forgets all, for good.
    pub(super) fn release(&self, nodes: &mut Nodes) {
        for (user_id, entry) in self.entries() {
            nodes.release(entry.node, entry.size(user_id));
        }
    }

    /// Brings the presence list up to date with a user. Returns whether that changed it.
    pub(super) fn show(&mut self, user_id: &str) -> bool {
        let entries = self.users.get(user_id).into_iter().flatten();
        let present = entries.filter(|entry| entry.presence.is_some());
        let shown = present.max_by_key(|entry| (!entry.hearsay, entry.change));
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

impl Entry {
    pub(super) const fn is_older_than(&self, change: u64) -> bool {
        self.change <= change
    }

    /// A list has no way to tell a presence of `{}` from none.
    pub(super) fn is_tracked_as_empty(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.as_str() == "{}")
    }
}
