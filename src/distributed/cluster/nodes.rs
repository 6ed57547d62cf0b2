//! The other nodes: when each was heard last, and how much is kept for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// No server makes longer ids of nodes.
const MAX_ID: usize = 256;

/// A node's place among those known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(u32);

impl NodeIndex {
    /// This very node.
    pub(super) const OWN: Self = Self(u32::MAX);
}

/// Bounds on what other nodes may make this one keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterLimits {
    /// How many other nodes are known at a time. By default 1,024.
    pub nodes: usize,
    /// How many users of one node are known, in all channels together. By default 200,000.
    pub users_per_node: usize,
    /// How much is kept of one user of one node, in one channel, counted as below. By default 64 KiB.
    pub user_bytes: usize,
    /// How much is kept of the users of all nodes: their ids, assigns and presence, and 160 bytes
    /// each. By default 256 MiB. The presence list of a channel takes up to twice its presence on top.
    pub bytes: usize,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        Self { nodes: 1024, users_per_node: 200_000, user_bytes: 64 << 10, bytes: 256 << 20 }
    }
}

/// How often something of another node was refused, and how much is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// Nodes that are alive, this one aside.
    pub nodes: usize,
    /// Users of other nodes, in all channels together.
    pub users: usize,
    /// What is kept of them; see [`ClusterLimits::bytes`].
    pub bytes: usize,
    /// Messages of nodes beyond [`ClusterLimits::nodes`], or whose id is longer than 256 bytes.
    pub refused_nodes: u64,
    /// Users beyond [`ClusterLimits::users_per_node`].
    pub refused_users: u64,
    /// Users and changes beyond [`ClusterLimits::user_bytes`] or [`ClusterLimits::bytes`].
    pub refused_bytes: u64,
    /// Messages that are no envelope within the limits.
    pub malformed: u64,
    /// Nodes whose time was up.
    pub expired: u64,
}

struct Node {
    id: Box<str>,
    heard: Instant,
    alive: bool,
    users: usize,
}

pub(super) struct Nodes {
    by_id: HashMap<Box<str>, NodeIndex, ahash::RandomState>,
    nodes: Vec<Node>,
    limits: ClusterLimits,
    expire_after: Duration,
    /// A node was, since the last one was let in.
    refused: bool,
    pub(super) stats: ClusterStats,
}

/// What hearing from a node means.
pub(super) enum Heard {
    Known(NodeIndex),
    /// It was taken for dead and its users were dropped, or there was no room for it.
    Returned(NodeIndex),
    /// There are too many.
    Refused,
}

impl Nodes {
    pub(super) fn new(limits: ClusterLimits, expire_after: Duration) -> Self {
        Self {
            by_id: HashMap::default(),
            nodes: Vec::new(),
            limits,
            expire_after,
            refused: false,
            stats: ClusterStats::default(),
        }
    }

    /// Any message of a node is a sign of life.
    pub(super) fn heard(&mut self, id: &str, now: Instant) -> Heard {
        if let Some(&index) = self.by_id.get(id) {
            let node = &mut self.nodes[index.0 as usize];
            node.heard = node.heard.max(now);
            if node.alive {
                return Heard::Known(index);
            }
            node.alive = true;
            self.stats.nodes += 1;
            return Heard::Returned(index);
        }
        if id.len() > MAX_ID {
            self.stats.refused_nodes += 1;
            return Heard::Refused;
        }
        let Some(index) = self.free_place() else {
            self.stats.refused_nodes += 1;
            self.refused = true;
            return Heard::Refused;
        };
        let node = Node { id: id.into(), heard: now, alive: true, users: 0 };
        match self.nodes.get_mut(index.0 as usize) {
            Some(dead) => {
                let dead = std::mem::replace(dead, node);
                self.by_id.remove(&dead.id);
            }
            None => self.nodes.push(node),
        }
        self.by_id.insert(id.into(), index);
        self.stats.nodes += 1;
        if std::mem::take(&mut self.refused) {
            // It may be one of those.
            return Heard::Returned(index);
        }
        Heard::Known(index)
    }

    /// A new place, or that of a dead node.
    fn free_place(&self) -> Option<NodeIndex> {
        if self.nodes.len() < self.limits.nodes.min(NodeIndex::OWN.0 as usize) {
            return Some(NodeIndex(self.nodes.len() as u32));
        }
        let dead = self.nodes.iter().position(|node| !node.alive)?;
        Some(NodeIndex(dead as u32))
    }

    pub(super) fn id(&self, index: NodeIndex) -> Option<&str> {
        Some(&self.nodes.get(index.0 as usize)?.id)
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|node| node.alive).map(|node| &*node.id)
    }

    /// When the first of the living dies unless it is heard.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let heard = self.nodes.iter().filter(|node| node.alive).map(|node| node.heard).min();
        heard.map(|heard| heard + self.expire_after)
    }

    /// Takes those for dead that were not heard for too long. Returns those of them that have users,
    /// in order: whoever calls drops these.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<NodeIndex> {
        let (mut expired, mut with_users) = (0, Vec::new());
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.alive && now.saturating_duration_since(node.heard) >= self.expire_after {
                node.alive = false;
                expired += 1;
                if node.users > 0 {
                    with_users.push(NodeIndex(index as u32));
                }
            }
        }
        self.stats.nodes -= expired;
        self.stats.expired += expired as u64;
        with_users
    }

    /// Whether a user of `bytes` may be kept at all.
    pub(super) fn fits(&mut self, index: NodeIndex, bytes: usize) -> bool {
        let fits = index == NodeIndex::OWN || bytes <= self.limits.user_bytes;
        self.stats.refused_bytes += u64::from(!fits);
        fits
    }

    /// Makes room for a user of `bytes`, or a change from `old` to `bytes` of one that is there.
    pub(super) fn admit(&mut self, index: NodeIndex, old: Option<usize>, bytes: usize) -> bool {
        let Some(node) = self.nodes.get_mut(index.0 as usize) else { return true };
        if old.is_none() && node.users >= self.limits.users_per_node {
            self.stats.refused_users += 1;
            return false;
        }
        let total = self.stats.bytes - old.unwrap_or(0) + bytes;
        if total > self.limits.bytes && bytes > old.unwrap_or(0) {
            self.stats.refused_bytes += 1;
            return false;
        }
        self.stats.bytes = total;
        if old.is_none() {
            node.users += 1;
            self.stats.users += 1;
        }
        true
    }

    /// A user of `bytes` is gone.
    pub(super) fn release(&mut self, index: NodeIndex, bytes: usize) {
        if let Some(node) = self.nodes.get_mut(index.0 as usize) {
            node.users -= 1;
            self.stats.users -= 1;
            self.stats.bytes -= bytes;
        }
    }
}
