//! Simulated clusters on a bus that loses, duplicates and delays messages: all nodes agree in the end.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pondwire::distributed::{Channel, Cluster, ClusterOptions, Effect};

use super::{STARTED_MS, payload, seconds};
use pondwire_test_support::{Random, cases};

/// Nodes and the bus between them: a published message reaches every subscriber in order, unless it is
/// lost or duplicated.
struct World {
    random: Random,
    now: Instant,
    nodes: Vec<Simulated>,
    channels: Vec<Channel>,
    next_id: usize,
    /// Whether messages may be lost or duplicated.
    lossy: bool,
    /// Whether nodes do not confirm evictions, as in JavaScript.
    silent: bool,
    outage: Option<Outage>,
}

/// A node that is cut off from the bus in one direction or both.
struct Outage {
    node: String,
    cannot_publish: bool,
    cannot_receive: bool,
    /// A message could not be published.
    unpublished: bool,
}

/// A user's assigns and presence.
type Data = (String, Option<String>);

struct Simulated {
    id: String,
    cluster: Cluster,
    topics: HashSet<Arc<str>>,
    arrived: VecDeque<(Arc<str>, Arc<[u8]>)>,
    /// The truth about its own users.
    users: BTreeMap<(usize, String), Data>,
}

const CHANNELS: usize = 3;

impl World {
    fn new(random: Random) -> Self {
        let now = Instant::now();
        let naming = Cluster::new("", ClusterOptions::default(), now, 0);
        let channels = (0..CHANNELS).map(|n| naming.channel("/e", &format!("/c/{n}"))).collect();
        let mut world = Self {
            random,
            now,
            nodes: vec![],
            channels,
            next_id: 0,
            lossy: false,
            silent: false,
            outage: None,
        };
        (0..3).for_each(|_| world.add_node());
        world
    }

    fn add_node(&mut self) {
        let name = format!("node-{}", self.next_id);
        self.next_id += 1;
        let cluster = Cluster::new(&name, ClusterOptions::default(), self.now, STARTED_MS);
        let id = cluster.node_id().to_owned();
        let topics = HashSet::from([Arc::from(cluster.heartbeat_topic())]);
        let (arrived, users) = (VecDeque::new(), BTreeMap::new());
        self.nodes.push(Simulated { id, cluster, topics, arrived, users });
    }

    /// Takes all actions that node `at` asks for.
    fn run_effects(&mut self, at: usize) {
        while let Some(effect) = self.nodes[at].cluster.poll() {
            self.apply(at, effect);
        }
    }

    fn apply(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Publish { topic, bytes } => {
                let bytes: Arc<[u8]> = bytes.into();
                let cannot_publish = self
                    .outage
                    .as_mut()
                    .filter(|o| o.cannot_publish && o.node == self.nodes[at].id);
                if let Some(outage) = cannot_publish {
                    outage.unpublished = true;
                    return;
                }
                let outage = self.outage.as_ref();
                for node in &mut self.nodes {
                    let cannot_receive =
                        outage.is_some_and(|o| o.cannot_receive && o.node == node.id);
                    if cannot_receive || !node.topics.contains(&topic) {
                        continue;
                    }
                    let copies = match self.random.below(12) {
                        0 if self.lossy => 0,
                        1 if self.lossy => 2,
                        _ => 1,
                    };
                    for _ in 0..copies {
                        node.arrived.push_back((Arc::clone(&topic), Arc::clone(&bytes)));
                    }
                }
            }
            Effect::Subscribe(channel) => {
                let node = &mut self.nodes[at];
                node.topics.insert(Arc::clone(channel.topic()));
                node.cluster.subscribed(channel.topic(), self.now);
            }
            Effect::Unsubscribe(channel) => {
                self.nodes[at].topics.remove(channel.topic());
            }
            Effect::Presence { frame, .. } => assert!(frame.as_str().contains("PRESENCE")),
            Effect::Evict { channel, user_id, .. } => self.evict(at, &channel, &user_id),
            other => panic!("{other:?}"),
        }
    }

    /// Evicts a user of node `at`.
    fn evict(&mut self, at: usize, channel: &Channel, user_id: &str) {
        // The effects before the eviction must not be lost.
        self.run_effects(at);
        let node = &mut self.nodes[at];
        assert!(node.cluster.leave(channel, user_id, self.now));
        let number = self.channels.iter().position(|it| it == channel).unwrap();
        node.users.remove(&(number, user_id.to_owned()));
        let pending: Vec<_> = std::iter::from_fn(|| self.nodes[at].cluster.poll()).collect();
        for effect in pending {
            if !self.silent || !matches!(effect, Effect::Publish { .. }) {
                self.apply(at, effect);
            }
        }
    }

    fn deliver_one(&mut self, at: usize) {
        if let Some((topic, bytes)) = self.nodes[at].arrived.pop_front() {
            self.nodes[at].cluster.receive(&topic, &bytes, self.now).unwrap();
            self.run_effects(at);
        }
    }

    fn deliver_all(&mut self) {
        while let Some(at) = self.nodes.iter().position(|node| !node.arrived.is_empty()) {
            self.deliver_one(at);
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        for at in 0..self.nodes.len() {
            self.nodes[at].cluster.tick(self.now);
            self.run_effects(at);
        }
    }

    /// A random change of a user of a random node.
    fn change(&mut self) {
        let at = self.random.below(self.nodes.len());
        let number = self.random.below(CHANNELS);
        let user = format!("u{}", self.random.below(6));
        let data = format!(r#"{{"u":"{user}","v":{}}}"#, self.random.below(1000));
        let (action, now) = (self.random.below(7), self.now);
        let channel = self.channels[number].clone();
        let node = &mut self.nodes[at];
        let key = (number, user.clone());
        let there = node.users.contains_key(&key);
        match action {
            0 | 1 => {
                assert_eq!(node.cluster.join(&channel, &user, payload(&data), now), !there);
                node.users.entry(key).or_insert((data, None));
            }
            2 => {
                assert_eq!(node.cluster.leave(&channel, &user, now), there);
                node.users.remove(&key);
            }
            3 => {
                assert_eq!(node.cluster.set_presence(&channel, &user, payload(&data), now), there);
                node.users.entry(key).and_modify(|user| user.1 = Some(data));
            }
            4 => {
                node.cluster.remove_presence(&channel, &user, now);
                node.users.entry(key).and_modify(|user| user.1 = None);
            }
            5 => node.cluster.evict_elsewhere(&channel, &user, "", now),
            _ => {
                assert_eq!(node.cluster.set_assigns(&channel, &user, payload(&data), now), there);
                node.users.entry(key).and_modify(|user| user.0 = data);
            }
        }
        self.run_effects(at);
    }

    fn begin_outage(&mut self) {
        let at = self.random.below(self.nodes.len());
        let (cannot_publish, cannot_receive) =
            *self.random.pick(&[(true, false), (false, true), (true, true)]);
        let node = self.nodes[at].id.clone();
        self.outage = Some(Outage { node, cannot_publish, cannot_receive, unpublished: false });
    }

    /// A bus that is back reports what it knows: that nothing was received for a while (`Recovered`),
    /// though older messages may wait, or that a message was not published (`Unpublished`).
    fn end_outage(&mut self) {
        let Some(outage) = self.outage.take() else { return };
        if !outage.cannot_receive && !outage.unpublished {
            return;
        }
        if let Some(at) = self.nodes.iter().position(|node| node.id == outage.node) {
            self.nodes[at].cluster.resync(self.now);
            self.run_effects(at);
        }
    }

    /// Lets dead nodes expire and synchronisations finish.
    fn settle(&mut self) {
        self.deliver_all();
        for _ in 0..300 {
            self.advance(Duration::from_millis(800));
            self.deliver_all();
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..18 => self.change(),
            18..36 => {
                let at = self.random.below(self.nodes.len());
                self.deliver_one(at);
            }
            36 if self.nodes.len() > 2 && self.random.below(8) == 0 => {
                let at = self.random.below(self.nodes.len());
                self.nodes.remove(at);
            }
            37 if self.nodes.len() < 5 => self.add_node(),
            38 => {
                let at = self.random.below(self.nodes.len());
                self.nodes[at].cluster.resync(self.now);
                self.run_effects(at);
            }
            _ => {
                let time = Duration::from_millis(self.random.below(8000) as u64);
                self.advance(time);
            }
        }
    }

    /// Asserts that every node knows all users of every node in each channel in which it has users.
    fn assert_agreement(&self) {
        for node in &self.nodes {
            for (number, channel) in self.channels.iter().enumerate() {
                if !node.users.keys().any(|(at, _)| *at == number) {
                    assert_eq!(node.cluster.users(channel).count(), 0, "nothing is stored");
                    continue;
                }
                let known: BTreeMap<(String, String), Data> = node
                    .cluster
                    .users(channel)
                    .map(|(of, user)| {
                        let presence = user.presence.as_str().to_owned();
                        let presence = Some(presence).filter(|presence| presence != "{}");
                        let id = of.unwrap_or(&node.id).to_owned();
                        ((id, user.id.into_owned()), (user.assigns.to_string(), presence))
                    })
                    .collect();
                let mut truth = BTreeMap::new();
                let mut present = BTreeMap::<&str, Vec<&str>>::new();
                for other in &self.nodes {
                    for ((at, user), data) in &other.users {
                        if *at != number {
                            continue;
                        }
                        truth.insert((other.id.clone(), user.clone()), data.clone());
                        if let Some(presence) = &data.1 {
                            present.entry(user).or_default().push(presence);
                        }
                    }
                }
                assert_eq!(known, truth, "{} of {}", channel.name(), node.id);
                let shown: Vec<&str> = node.cluster.presence(channel).collect();
                assert_eq!(shown.len(), present.len(), "each user once");
                let mut shown_of: Vec<&Vec<&str>> = present.values().collect();
                for presence in shown {
                    let of = shown_of.iter().position(|all| all.contains(&presence));
                    shown_of.remove(of.expect("a user's presence"));
                }
            }
            let users = node.cluster.stats();
            assert_eq!((users.refused_nodes, users.refused_users, users.malformed), (0, 0, 0));
        }
    }
}

#[test]
fn nodes_agree_once_losses_end() {
    let mut random = Random::from_env("nodes_agree_once_losses_end");
    for _ in 0..cases(150) {
        let mut world = World::new(Random::seeded(random.next()));
        world.lossy = random.below(4) > 0;
        world.silent = random.below(2) > 0;
        for _ in 0..random.below(800) {
            world.step();
        }
        world.lossy = false;
        world.deliver_all();
        // The bus reports a loss.
        for at in 0..world.nodes.len() {
            world.nodes[at].cluster.resync(world.now);
            world.run_effects(at);
        }
        world.settle();
        world.assert_agreement();
    }
}

/// The bus cuts off one node after another; only that node knows.
#[test]
fn nodes_agree_after_an_outage() {
    let mut random = Random::from_env("nodes_agree_after_an_outage");
    for _ in 0..cases(150) {
        let mut world = World::new(Random::seeded(random.next()));
        for _ in 0..random.below(600) {
            match world.random.below(30) {
                0 if world.outage.is_none() => world.begin_outage(),
                1 => world.end_outage(),
                2 => {
                    let time = seconds(world.random.below(40) as u64);
                    world.advance(time);
                }
                3..10 => {
                    let at = world.random.below(world.nodes.len());
                    world.deliver_one(at);
                }
                10 => world.deliver_all(),
                _ => world.change(),
            }
        }
        world.end_outage();
        world.settle();
        world.assert_agreement();
    }
}

/// Without losses heartbeats suffice, though some nodes die.
#[test]
fn nodes_agree_without_losses() {
    let mut random = Random::from_env("nodes_agree_without_losses");
    for _ in 0..cases(150) {
        let mut world = World::new(Random::seeded(random.next()));
        world.silent = random.below(2) > 0;
        for _ in 0..random.below(300) {
            world.change();
            for at in 0..world.nodes.len() {
                (0..world.random.below(4)).for_each(|_| world.deliver_one(at));
            }
            match world.random.below(50) {
                0 if world.nodes.len() > 2 => {
                    let at = world.random.below(world.nodes.len());
                    world.nodes.remove(at);
                }
                1 if world.nodes.len() < 5 => world.add_node(),
                _ => {}
            }
        }
        world.settle();
        world.assert_agreement();
    }
}
