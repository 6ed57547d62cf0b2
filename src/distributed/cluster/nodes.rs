//! The other nodes: the time of each one's last message, and the amount of state stored for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The longest node id accepted, in bytes; no known server makes longer ones.
const MAX_ID: usize = 256;

/// A node's index among the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(u32);

impl NodeIndex {
    /// This node.
    pub(super) const OWN: Self = Self(u32::MAX);
}

/// Bounds on the state that other nodes can make this one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterLimits {
    /// The most other nodes known at a time. By default 1,024.
    pub nodes: usize,
    /// The most users of one node, over all channels. By default 200,000.
    pub users_per_node: usize,
    /// The most bytes for one user of one node in one channel, counted as in
    /// [`bytes`](Self::bytes). By default 64 KiB.
    pub user_bytes: usize,
    /// The most bytes for the users of all other nodes: their ids, assigns and presence, and 160 bytes
    /// each. By default 256 MiB. A channel's presence list takes up to twice the size of its presence
    /// in addition.
    pub bytes: usize,
}

impl ClusterLimits {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { nodes: 1024, users_per_node: 200_000, user_bytes: 64 << 10, bytes: 256 << 20 }
    }

    /// Sets [`nodes`](Self::nodes).
    #[must_use]
    pub const fn with_nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets [`users_per_node`](Self::users_per_node).
    #[must_use]
    pub const fn with_users_per_node(mut self, users_per_node: usize) -> Self {
        self.users_per_node = users_per_node;
        self
    }

    /// Sets [`user_bytes`](Self::user_bytes).
    #[must_use]
    pub const fn with_user_bytes(mut self, user_bytes: usize) -> Self {
        self.user_bytes = user_bytes;
        self
    }

    /// Sets [`bytes`](Self::bytes).
    #[must_use]
    pub const fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

impl Default for ClusterLimits {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// The amount of state stored for other nodes, and the number of refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// Other nodes that are alive.
    pub nodes: usize,
    /// Users of other nodes, over all channels.
    pub users: usize,
    /// Bytes stored for them; see [`ClusterLimits::bytes`].
    pub bytes: usize,
    /// Messages of nodes beyond [`ClusterLimits::nodes`], or whose id is longer than 256 bytes.
    pub refused_nodes: u64,
    /// Users beyond [`ClusterLimits::users_per_node`].
    pub refused_users: u64,
    /// Users and changes beyond [`ClusterLimits::user_bytes`] or [`ClusterLimits::bytes`].
    pub refused_bytes: u64,
    /// Messages that are not an envelope within the limits.
    pub malformed: u64,
    /// Nodes that were found dead.
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
    /// Whether a node was refused since the last one was admitted.
    refused: bool,
    pub(super) stats: ClusterStats,
}

/// The result of noting a node's message.
pub(super) enum Heard {
    Known(NodeIndex),
    /// The node counted as dead, so its users were dropped, or it may have been refused before.
    Returned(NodeIndex),
    /// There are too many nodes.
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

    /// Notes a message of a node; any message shows that it is alive.
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
        let Some(index) = self.free_index() else {
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
            // It may be a node that was refused.
            return Heard::Returned(index);
        }
        Heard::Known(index)
    }

    /// A new index, or that of a dead node.
    fn free_index(&self) -> Option<NodeIndex> {
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

    /// The earliest time at which a live node expires unless it sends a message before.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let heard = self.nodes.iter().filter(|node| node.alive).map(|node| node.heard).min();
        heard.map(|heard| heard + self.expire_after)
    }

    /// Marks nodes that were silent for too long as dead. Returns those of them that have users, in
    /// order; the caller must drop these users.
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

    /// Whether a user of `bytes` may be stored at all.
    pub(super) fn fits(&mut self, index: NodeIndex, bytes: usize) -> bool {
        let fits = index == NodeIndex::OWN || bytes <= self.limits.user_bytes;
        self.stats.refused_bytes += u64::from(!fits);
        fits
    }

    /// Reserves room for a new user of `bytes`, or for the change of a known one from `old` to `bytes`.
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

    /// Gives back the room of a user of `bytes`.
    pub(super) fn release(&mut self, index: NodeIndex, bytes: usize) {
        if let Some(node) = self.nodes.get_mut(index.0 as usize) {
            node.users -= 1;
            self.stats.users -= 1;
            self.stats.bytes -= bytes;
        }
    }
}
