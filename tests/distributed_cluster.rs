//! Clusters that talk: what each effect is, what is refused, and that nodes agree in the end whatever
//! was lost, doubled or died on the way.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pondwire::distributed::{
    AssignsChange, Channel, Cluster, ClusterLimits, ClusterOptions, Effect, Envelope, Message,
    Origin, Recipients, UserMessage, UserState,
};
use pondwire::protocol::{ChannelReceivers, DistributedMessageType as Type};
use pondwire::{Payload, PresenceEvent, PresenceMessage, ServerMessage};
use pondwire_test_support::{Random, cases, mutate};

const STARTED_MS: u64 = 1_795_410_477_000;

fn payload(json: &str) -> Payload<'_> {
    Payload::from_json(json).unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node with a channel, and what it wants done.
struct Node {
    cluster: Cluster,
    chat: Channel,
    now: Instant,
}

impl Node {
    fn new(id: &str) -> Self {
        Self::with(id, ClusterOptions::default())
    }

    fn with(id: &str, options: ClusterOptions) -> Self {
        let now = Instant::now();
        let cluster = Cluster::new(id, options, now, STARTED_MS);
        let chat = cluster.channel("/api/socket", "/chat/42");
        Self { cluster, chat, now }
    }

    /// A node on which `users` have joined, and nothing waits to be done.
    fn joined(id: &str, users: &[&str]) -> Self {
        let mut node = Self::new(id);
        for user in users {
            assert!(node.cluster.join(&node.chat, user, Payload::EMPTY, node.now));
        }
        node.effects();
        node
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.cluster.poll()).collect()
    }

    /// The types of what is to be published, and the other effects.
    fn published(&mut self) -> (Vec<Type>, Vec<Effect>) {
        let (mut types, mut others) = (Vec::new(), Vec::new());
        for effect in self.effects() {
            match effect {
                Effect::Publish { bytes, .. } => {
                    types.push(Envelope::parse(&bytes).unwrap().message().unwrap().kind());
                }
                other => others.push(other),
            }
        }
        (types, others)
    }

    /// Hears a message of another node.
    fn hear(&mut self, node_id: &str, message: &Message<'_>) {
        let origin =
            Origin { node_id, endpoint_name: "api/socket", channel_name: self.chat.name() };
        let bytes = origin.encode("m", STARTED_MS, message);
        self.cluster.receive(self.chat.topic(), &bytes, self.now).unwrap();
    }

    fn hear_joined(&mut self, node_id: &str, user_id: &str, presence: &str) {
        let (presence, assigns) = (payload(presence), Payload::EMPTY);
        let message = Message::UserJoined { user_id: user_id.into(), presence, assigns };
        self.hear(node_id, &message);
    }

    fn hear_left(&mut self, node_id: &str, user_id: &str) {
        self.hear(node_id, &Message::UserLeft { user_id: user_id.into() });
    }

    fn hear_evicted(&mut self, node_id: &str, user_id: &str) {
        self.hear(node_id, &Message::EvictUser { user_id: user_id.into(), reason: "spam".into() });
    }

    fn hear_presence(&mut self, node_id: &str, user_id: &str, presence: &str) {
        let presence = payload(presence);
        self.hear(node_id, &Message::PresenceUpdate { user_id: user_id.into(), presence });
    }

    fn hear_assigns(&mut self, node_id: &str, user_id: &str, assigns: &str) {
        let change = AssignsChange::All(payload(assigns));
        self.hear(node_id, &Message::AssignsUpdate { user_id: user_id.into(), change });
    }

    /// Hears a whole list of users, each with a presence.
    fn hear_state(&mut self, node_id: &str, users: &[(&str, &str)]) {
        let users: Vec<_> = users
            .iter()
            .map(|(id, presence)| UserState {
                id: (*id).into(),
                assigns: Payload::EMPTY,
                presence: payload(presence),
            })
            .collect();
        self.hear(node_id, &Message::StateResponse { users: users[..].into() });
    }

    fn hear_heartbeat(&mut self, node_id: &str) {
        let message = Message::NodeHeartbeat { node_id: node_id.into() };
        let bytes = Origin::heartbeat(node_id).encode("m", STARTED_MS, &message);
        let topic = self.cluster.heartbeat_topic().to_owned();
        self.cluster.receive(&topic, &bytes, self.now).unwrap();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.cluster.tick(self.now);
    }

    /// Hears what it publishes itself, as a bus has it; the types of that.
    fn loop_back(&mut self) -> Vec<Type> {
        let mut types = Vec::new();
        for effect in self.effects() {
            if let Effect::Publish { topic, bytes } = effect {
                types.push(Envelope::parse(&bytes).unwrap().message().unwrap().kind());
                self.cluster.receive(&topic, &bytes, self.now).unwrap();
            }
        }
        types
    }

    /// Loses messages, and does what that asks for.
    fn resync(&mut self) {
        self.cluster.resync(self.now);
        self.wait(Duration::ZERO);
    }

    /// Who is there: node and user.
    fn users(&self) -> BTreeSet<(String, String)> {
        let users = self.cluster.users(&self.chat);
        users.map(|(node, user)| (node.unwrap_or("own").to_owned(), user.id.into_owned())).collect()
    }

    fn presence(&self) -> Vec<&str> {
        self.cluster.presence(&self.chat).collect()
    }
}

fn set(users: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    users.iter().map(|(node, user)| ((*node).to_owned(), (*user).to_owned())).collect()
}

#[test]
fn what_happens_here_is_told_to_the_others() {
    let mut node = Node::new("a");
    let (chat, now) = (node.chat.clone(), node.now);
    assert!(node.cluster.join(&chat, "ann", payload(r#"{"role":"host"}"#), now));
    assert!(!node.cluster.join(&chat, "ann", Payload::EMPTY, now), "is there already");
    assert_eq!(node.published(), (vec![Type::UserJoined], vec![Effect::Subscribe(chat.clone())]));
    node.cluster.subscribed(chat.topic(), now);
    assert_eq!(node.published().0, [Type::StateRequest]);

    assert!(node.cluster.set_presence(&chat, "ann", payload(r#"{"s":"on"}"#), now));
    let (types, others) = node.published();
    assert_eq!(types, [Type::PresenceUpdate]);
    let [Effect::Presence { frame, .. }] = &others[..] else { panic!("{others:?}") };
    assert_eq!(frame.payload_str(), r#"{"presence":[{"s":"on"}],"changed":{"s":"on"}}"#);
    assert!(node.cluster.set_assigns(&chat, "ann", payload(r#"{"role":"guest"}"#), now));
    assert_eq!(node.published(), (vec![Type::AssignsUpdate], vec![]));
    let ann = node.cluster.user(&chat, "ann").unwrap();
    assert_eq!(
        (ann.assigns.as_str(), ann.presence.as_str()),
        (r#"{"role":"guest"}"#, r#"{"s":"on"}"#)
    );

    node.cluster.join(&chat, "bob", Payload::EMPTY, now);
    node.effects();
    assert!(node.cluster.leave(&chat, "ann", now));
    let (types, others) = node.published();
    assert_eq!(types, [Type::PresenceRemoved, Type::UserLeft]);
    assert!(matches!(&others[..], [Effect::Presence { .. }]), "bob sees that ann is gone");
    assert!(!node.cluster.leave(&chat, "ann", now));
    assert!(!node.cluster.set_presence(&chat, "ann", Payload::EMPTY, now));
    assert!(!node.cluster.set_assigns(&chat, "ann", Payload::EMPTY, now));
    assert!(!node.cluster.remove_presence(&chat, "bob", now), "bob has none");
    assert!(node.cluster.leave(&chat, "bob", now));
    assert_eq!(node.published(), (vec![Type::UserLeft], vec![Effect::Unsubscribe(chat.clone())]));
    node.cluster.subscribed(chat.topic(), now);
    assert_eq!(node.effects(), [], "nobody is there to ask for");
}

#[test]
fn what_others_tell_is_known_and_shown() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", "{}");
    assert_eq!(node.effects(), [], "no presence, no frame");
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]));

    let update = |json| Message::PresenceUpdate { user_id: "bob".into(), presence: payload(json) };
    node.hear("b", &update(r#"{"s":1}"#));
    let effects = node.effects();
    let [Effect::Presence { channel, frame }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(channel, &node.chat);
    assert!(
        frame
            .as_str()
            .starts_with(r#"{"action":"PRESENCE","event":"JOIN","channelName":"/chat/42""#)
    );
    node.hear("b", &update(r#"{"s":1}"#));
    assert_eq!(node.effects(), [], "nothing changed");
    node.hear("b", &update(r#"{"s":2}"#));
    assert!(
        matches!(&node.effects()[..], [Effect::Presence { frame, .. }] if frame.as_str().contains("UPDATE"))
    );

    use AssignsChange::{All, One};
    let values = payload(r#"{"two":2}"#);
    let change = All(payload(r#"{"a":1,"b":1}"#));
    node.hear("b", &Message::AssignsUpdate { user_id: "bob".into(), change });
    let change = One { key: "b".into(), value: values.get("two").unwrap() };
    node.hear("b", &Message::AssignsUpdate { user_id: "bob".into(), change });
    let bob = node.cluster.user(&node.chat, "bob").unwrap();
    assert_eq!(bob.assigns.as_str(), r#"{"a":1,"b":2}"#);

    node.hear("b", &Message::PresenceRemoved { user_id: "bob".into() });
    assert!(
        matches!(&node.effects()[..], [Effect::Presence { frame, .. }] if frame.as_str().contains("LEAVE"))
    );
    assert_eq!((node.presence(), node.users().len()), (vec![], 2));
    node.hear_left("b", "bob");
    assert_eq!(node.users(), set(&[("own", "ann")]));
    node.hear_left("b", "bob");
    assert_eq!(node.effects(), []);
}

#[test]
fn an_event_of_another_node_becomes_a_frame() {
    let mut node = Node::joined("a", &["ann"]);
    let ids = ["ann".into(), "eve".into()];
    let recipients = [
        (Recipients::AllUsers, ChannelReceivers::AllUsers),
        (Recipients::AllExceptSender, ChannelReceivers::AllExceptSender),
        (Recipients::Users(ids[..].into()), ChannelReceivers::users(["ann"])),
        (Recipients::Users([][..].into()), ChannelReceivers::Users(vec![])),
    ];
    for (recipients, expected) in recipients {
        let message = Message::UserMessage(UserMessage {
            from_user_id: "bob".into(),
            event: "say".into(),
            payload: payload(r#"{"z":1,"a":1.50}"#),
            request_id: "r-7".into(),
            recipients,
        });
        node.hear("b", &message);
        let effects = node.effects();
        let [Effect::Deliver { frame, receivers, from_user_id, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!((receivers, &**from_user_id), (&expected, "bob"));
        let parsed = ServerMessage::parse(frame.json()).unwrap();
        assert_eq!((parsed.event(), parsed.request_id()), ("say", "r-7"));
        assert_eq!(parsed.payload().as_str(), r#"{"z":1,"a":1.50}"#);
    }
}

#[test]
fn commands_reach_the_node_that_has_the_user() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    for user in ["ann", "eve"] {
        node.hear("b", &Message::EvictUser { user_id: user.into(), reason: "spam".into() });
        node.hear("b", &Message::UserRemove { user_id: user.into() });
    }
    let evict =
        Effect::Evict { channel: chat.clone(), user_id: "ann".into(), reason: "spam".into() };
    let remove = Effect::Remove { channel: chat.clone(), user_id: "ann".into() };
    assert_eq!(node.effects(), [evict, remove]);
    node.cluster.evict_elsewhere(&chat, "bob", "spam", node.now);
    node.cluster.remove_elsewhere(&chat, "bob", node.now);
    assert_eq!(node.published().0, [Type::EvictUser, Type::UserRemove]);
}

/// The presence that left, of the one frame that there is.
fn left(effects: &[Effect]) -> String {
    let [Effect::Presence { frame, .. }] = effects else { panic!("{effects:?}") };
    let frame = PresenceMessage::parse(frame.json()).unwrap();
    assert_eq!(frame.event(), PresenceEvent::Leave);
    frame.changed().to_string()
}

/// As JavaScript nodes have it: they say nothing when they evict.
#[test]
fn an_evicted_user_is_gone_whoever_evicts_it_and_says_so_or_not() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    let others = set(&[("own", "ann"), ("js", "jim")]);
    for evicted_by in ["js", "third", "own"] {
        node.hear_joined("js", "bob", r#"{"s":1}"#);
        node.hear_joined("js", "jim", "{}");
        node.hear_state("js-2", &[("bob", r#"{"s":1}"#)]);
        assert_eq!((node.users().len(), node.presence().len()), (4, 1));
        node.effects();
        if evicted_by == "own" {
            node.cluster.evict_elsewhere(&chat, "bob", "spam", node.now);
            let mut effects = node.effects();
            let Effect::Publish { bytes, .. } = effects.remove(0) else { panic!("{effects:?}") };
            let envelope = Envelope::parse(&bytes).unwrap();
            let message = Message::EvictUser { user_id: "bob".into(), reason: "spam".into() };
            assert_eq!(envelope.message(), Some(&message));
            assert_eq!(left(&effects), r#"{"s":1}"#);
        } else {
            node.hear_evicted(evicted_by, "bob");
            assert_eq!(left(&node.effects()), r#"{"s":1}"#, "by {evicted_by}");
        }
        assert_eq!((node.users(), node.presence()), (others.clone(), vec![]));
        assert_eq!(node.cluster.user(&chat, "bob"), None);
        assert_eq!(node.cluster.stats().users, 1);
        // Once is enough, and what nodes say that do say it changes nothing.
        node.hear_evicted(evicted_by, "bob");
        node.hear("js", &Message::PresenceRemoved { user_id: "bob".into() });
        node.hear_left("js", "bob");
        assert_eq!((node.users(), node.effects()), (others.clone(), vec![]));
        node.wait(seconds(6));
        node.effects();
    }
    node.hear_left("js", "jim");
    let stats = node.cluster.stats();
    assert_eq!((stats.users, stats.bytes), (0, 0));
}

#[test]
fn an_eviction_goes_for_every_node_that_has_the_user() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    node.cluster.set_presence(&chat, "ann", payload(r#"{"of":"a"}"#), node.now);
    node.hear_joined("b", "ann", r#"{"of":"b"}"#);
    node.effects();
    node.hear_evicted("c", "ann");
    assert_eq!(node.users(), set(&[("own", "ann")]), "that one is the server's to let go");
    assert_eq!(node.presence(), [r#"{"of":"a"}"#]);
    let effects = node.effects();
    let [Effect::Evict { user_id, reason, .. }, Effect::Presence { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((&**user_id, &**reason), ("ann", "spam"));
    // This node's own changes are never outdated.
    assert!(node.cluster.set_presence(&chat, "ann", payload(r#"{"of":"us"}"#), node.now));
    assert!(node.cluster.leave(&chat, "ann", node.now));
    assert!(node.cluster.join(&chat, "ann", Payload::EMPTY, node.now), "it may come back");
    assert_eq!(node.users(), set(&[("own", "ann")]));
}

/// As a server has it that lets a user be in one place only.
#[test]
fn a_user_that_is_evicted_elsewhere_stays_here_and_the_others_know() {
    let (mut node, mut other) = (Node::joined("a", &["ann"]), Node::joined("b", &["ann", "bob"]));
    let chat = node.chat.clone();
    node.cluster.set_assigns(&chat, "ann", payload(r#"{"of":"a"}"#), node.now);
    node.cluster.set_presence(&chat, "ann", payload(r#"{"of":"a"}"#), node.now);
    node.effects();
    node.cluster.evict_elsewhere(&chat, "ann", "once is enough", node.now);
    let (mut types, own) = (Vec::new(), node.cluster.node_id().to_owned());
    for effect in node.effects() {
        let Effect::Publish { topic, bytes } = effect else { panic!("{effect:?}") };
        types.push(Envelope::parse(&bytes).unwrap().message().unwrap().kind());
        for at in [&mut node, &mut other] {
            at.cluster.receive(&topic, &bytes, at.now).unwrap();
        }
    }
    assert_eq!(types, [Type::EvictUser, Type::UserJoined, Type::PresenceUpdate]);
    assert_eq!(node.users(), set(&[("own", "ann")]));
    assert!(matches!(&other.effects()[..], [Effect::Evict { .. }, Effect::Presence { .. }]));
    other.cluster.leave(&chat, "ann", other.now);
    assert_eq!(other.users(), set(&[("own", "bob"), (&own, "ann")]));
    let ann = other.cluster.user(&chat, "ann").unwrap();
    assert_eq!((ann.assigns.as_str(), ann.presence.as_str()), (r#"{"of":"a"}"#, r#"{"of":"a"}"#));
}

#[test]
fn what_was_sent_before_an_eviction_brings_nobody_back() {
    let mut node = Node::joined("a", &["ann"]);
    node.wait(Duration::ZERO);
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.hear_evicted("c", "bob");
    node.effects();
    let late = |node: &mut Node| {
        node.hear_presence("b", "bob", r#"{"s":2}"#);
        node.hear_assigns("b", "bob", r#"{"a":2}"#);
        node.hear_state("b", &[("bob", r#"{"s":1}"#), ("ben", "{}")]);
        node.hear_state("third", &[("tom", "{}"), ("bob", r#"{"s":1}"#)]);
        node.hear_presence("third", "bob", r#"{"s":3}"#);
    };
    late(&mut node);
    node.wait(Duration::from_millis(4999));
    late(&mut node);
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "ben"), ("third", "tom")]));
    assert_eq!(node.presence(), [""; 0]);
    assert_eq!(node.effects(), [], "nobody saw it flicker");
    // Should a node have it all the same, that is found out, once.
    node.wait(seconds(26));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest]);
    node.hear_state("b", &[("bob", r#"{"s":4}"#), ("ben", "{}")]);
    node.hear_state("third", &[("tom", "{}")]);
    assert_eq!(node.presence(), [r#"{"s":4}"#]);
    for _ in 0..3 {
        node.hear_heartbeat("b");
        node.hear_heartbeat("third");
        node.wait(seconds(30));
        assert!(!node.loop_back().contains(&Type::StateRequest));
    }
    // After their time changes count as ever.
    node.hear_evicted("c", "bob");
    node.wait(seconds(5));
    node.hear_presence("b", "bob", r#"{"s":5}"#);
    assert_eq!(node.presence(), [r#"{"s":5}"#]);
}

#[test]
fn an_evicted_user_may_come_back_at_once_and_anywhere() {
    for back_on in ["b", "c"] {
        let mut node = Node::joined("a", &["ann"]);
        node.wait(Duration::ZERO);
        node.hear_joined("b", "bob", r#"{"s":1}"#);
        node.hear_evicted("c", "bob");
        node.effects();
        node.hear_joined(back_on, "bob", "{}");
        node.hear_presence(back_on, "bob", r#"{"s":2}"#);
        node.hear_assigns(back_on, "bob", r#"{"a":2}"#);
        // By another node it is still what it was.
        node.hear_state("js", &[("bob", r#"{"s":1}"#)]);
        assert_eq!(node.users(), set(&[("own", "ann"), (back_on, "bob")]));
        let bob = node.cluster.user(&node.chat, "bob").unwrap();
        assert_eq!((bob.assigns.as_str(), bob.presence.as_str()), (r#"{"a":2}"#, r#"{"s":2}"#));
        assert_eq!(node.presence(), [r#"{"s":2}"#]);
        node.hear_state(back_on, &[("bob", r#"{"s":3}"#)]);
        assert_eq!(node.presence(), [r#"{"s":3}"#]);
        // Its node may have said so before it heard of the eviction, and then evicted it in silence.
        node.wait(seconds(30));
        assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest]);
        node.hear_state(back_on, &[]);
        assert_eq!((node.users(), node.presence()), (set(&[("own", "ann")]), vec![]));
        node.hear_joined(back_on, "bob", r#"{"s":1}"#);
        node.hear_evicted("c", "bob");
        node.hear_joined(back_on, "bob", r#"{"s":2}"#);
        assert_eq!(node.presence(), [r#"{"s":2}"#], "as often as it likes");
    }
}

/// A node may send a user's join just before it hears of the eviction, and then evict it in silence. If
/// that was its last user, it does not answer questions about the channel.
#[test]
fn a_user_that_came_back_too_soon_is_forgotten_unless_its_node_names_it() {
    let mut node = Node::joined("a", &["ann"]);
    node.wait(Duration::ZERO);
    node.effects();
    node.hear_joined("other", "olaf", "{}");
    for user in ["bob", "bea"] {
        node.hear_evicted("js", user);
    }
    node.hear_joined("js", "bob", r#"{"s":1}"#);
    node.hear_joined("b", "bea", r#"{"s":2}"#);
    node.wait(seconds(30));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest]);
    node.hear_state("b", &[("bea", r#"{"s":2}"#)]);
    node.wait(Duration::from_millis(4999));
    assert_eq!(node.presence().len(), 2);
    node.wait(Duration::from_millis(1));
    assert_eq!(left(&node.published().1), r#"{"s":1}"#);
    let others = set(&[("own", "ann"), ("b", "bea"), ("other", "olaf")]);
    assert_eq!(node.users(), others, "who was not evicted is not in doubt");
    let mut asked = 0;
    for _ in 0..10 {
        ["b", "other", "js"].iter().for_each(|other| node.hear_heartbeat(other));
        node.wait(seconds(10));
        asked += node.loop_back().iter().filter(|kind| **kind == Type::StateRequest).count();
    }
    assert_eq!((asked, node.users()), (1, others), "once more, should it have heard too late");
}

/// A node knows of its own evictions before the others do.
#[test]
fn what_was_sent_before_others_heard_of_our_eviction_is_gone_when_it_comes_back() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.effects();
    node.cluster.evict_elsewhere(&chat, "bob", "spam", node.now);
    let Some(Effect::Publish { topic, bytes }) = node.cluster.poll() else { panic!() };
    node.effects();
    // It joined another node meanwhile, which will hear of the eviction after this.
    node.hear_joined("c", "bob", r#"{"s":2}"#);
    node.effects();
    node.now += seconds(60);
    node.cluster.receive(&topic, &bytes, node.now).unwrap();
    assert_eq!(node.users(), set(&[("own", "ann")]));
    assert_eq!(left(&node.effects()), r#"{"s":2}"#);
    node.hear_presence("c", "bob", r#"{"s":3}"#);
    assert_eq!(node.presence(), [""; 0], "that was sent before, too");
    node.hear_joined("c", "bob", "{}");
    assert_eq!(node.users(), set(&[("own", "ann"), ("c", "bob")]));
}

#[test]
fn an_eviction_goes_for_its_channel_as_long_as_it_is_open() {
    let mut node = Node::joined("a", &["ann"]);
    let (chat, other) = (node.chat.clone(), node.cluster.channel("/api/socket", "/chat/43"));
    node.cluster.join(&other, "ann", Payload::EMPTY, node.now);
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.cluster.evict_elsewhere(&other, "bob", "spam", node.now);
    node.loop_back();
    assert_eq!(node.presence(), [r#"{"s":1}"#]);
    node.hear_evicted("c", "bob");
    // Whoever opens it again asks, and no answer is older than that.
    node.cluster.leave(&chat, "ann", node.now);
    node.cluster.join(&chat, "ann", Payload::EMPTY, node.now);
    node.hear_state("b", &[("bob", r#"{"s":2}"#)]);
    assert_eq!(node.presence(), [r#"{"s":2}"#]);
    // Of another channel by the same topic nothing is known here.
    let topic = node.chat.topic().clone();
    let clash = node.cluster.channel("/api/socket:/chat", "x");
    let same = node.cluster.channel("/api/socket", "/chat:x");
    assert_eq!(clash.topic(), same.topic());
    node.cluster.join(&same, "ann", Payload::EMPTY, node.now);
    let origin = Origin { node_id: "b", endpoint_name: "api/socket", channel_name: same.name() };
    let joined = Message::UserJoined {
        user_id: "bob".into(),
        presence: Payload::EMPTY,
        assigns: Payload::EMPTY,
    };
    let bytes = origin.encode("m", STARTED_MS, &joined);
    node.cluster.receive(same.topic(), &bytes, node.now).unwrap();
    node.effects();
    node.cluster.evict_elsewhere(&clash, "bob", "spam", node.now);
    node.loop_back();
    assert_eq!(node.cluster.users(&same).count(), 2);
    assert_ne!(topic, *same.topic());
}

/// A node that evicts whom it likes makes others remember no more than so many.
#[test]
fn evictions_without_end_are_forgotten_one_by_one() {
    let mut node = Node::joined("a", &["ann"]);
    for n in 0..=4096 {
        node.hear_evicted("b", &format!("u{n}"));
    }
    for n in [0, 1, 4096] {
        node.hear_presence("b", &format!("u{n}"), "{}");
    }
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "u0")]));
    assert_eq!(node.effects().len(), 1);
}

#[test]
fn a_user_is_asked_for_and_answered_or_given_up() {
    let (mut a, mut b) = (Node::joined("a", &["ann"]), Node::joined("b", &["bob"]));
    let chat = a.chat.clone();
    b.cluster.set_presence(&chat, "bob", payload(r#"{"s":1}"#), b.now);
    b.effects();
    let get = a.cluster.get_user(&chat, "bob", a.now).unwrap();
    let lost = a.cluster.get_user(&chat, "eve", a.now).unwrap();
    let mut answers = Vec::new();
    for effect in a.effects() {
        let Effect::Publish { topic, bytes } = effect else { panic!() };
        b.cluster.receive(&topic, &bytes, b.now).unwrap();
        answers.extend(b.effects());
    }
    let [Effect::Publish { topic, bytes }] = &answers[..] else { panic!("{answers:?}") };
    let other = String::from_utf8(bytes.clone()).unwrap().replace("bob", "bib");
    a.cluster.receive(topic, other.as_bytes(), a.now).unwrap();
    assert_eq!(a.effects(), [], "an answer about somebody else");
    for _ in 0..2 {
        a.cluster.receive(topic, bytes, a.now).unwrap();
    }
    let effects = a.effects();
    let [Effect::User { get: answered, user: Some(user) }] = &effects[..] else {
        panic!("{effects:?}: once")
    };
    let expected = (get, b.cluster.node_id(), r#"{"s":1}"#);
    assert_eq!((*answered, &*user.node_id, &*user.presence), expected);
    a.cluster.tick(a.now);
    a.effects();
    assert_eq!(a.cluster.due(), a.now + Duration::from_millis(500));
    a.wait(Duration::from_millis(499));
    assert_eq!(a.effects(), []);
    a.wait(Duration::from_millis(1));
    assert_eq!(a.effects(), [Effect::User { get: lost, user: None }]);
    let waiting = (0..5000).filter(|_| a.cluster.get_user(&chat, "x", a.now).is_some()).count();
    assert_eq!(waiting, 4096);
}

#[test]
fn a_node_that_is_silent_for_90_seconds_dies_and_any_message_is_life() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.hear_joined("c", "cid", "{}");
    node.wait(seconds(60));
    node.hear("b", &Message::UserRemove { user_id: "nobody".into() });
    node.wait(seconds(29));
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob"), ("c", "cid")]));
    node.wait(seconds(1));
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]), "c was never heard again");
    node.effects();
    node.wait(seconds(50));
    node.hear_heartbeat("b");
    node.wait(seconds(89));
    assert_eq!(node.cluster.nodes().collect::<Vec<_>>(), ["b"]);
    node.effects();
    node.wait(seconds(1));
    assert!(node.effects().iter().any(|effect| matches!(
        effect,
        Effect::Presence { frame, .. } if frame.payload_str() == r#"{"presence":[],"changed":{"s":1}}"#
    )));
    assert_eq!(node.users(), set(&[("own", "ann")]));
    let stats = node.cluster.stats();
    assert_eq!((stats.nodes, stats.users, stats.bytes, stats.expired), (0, 0, 0, 2));

    // It comes back, and is asked whom it has, with our next heartbeat.
    node.hear_heartbeat("b");
    node.hear_heartbeat("c");
    node.wait(seconds(30));
    assert_eq!(node.published().0, [Type::NodeHeartbeat, Type::StateRequest]);
}

#[test]
fn heartbeats_go_out_every_30_seconds() {
    let mut node = Node::new("a");
    let (start, mut beats) = (node.now, Vec::new());
    for _ in 0..240 {
        node.wait(Duration::from_millis(500));
        for effect in node.effects() {
            let Effect::Publish { topic, bytes } = effect else { panic!() };
            assert_eq!(&*topic, "pondsocket:v1:default:__heartbeat__");
            let envelope = Envelope::parse(&bytes).unwrap();
            assert_eq!(envelope.timestamp(), STARTED_MS + (node.now - start).as_millis() as u64);
            beats.push((node.now - start).as_millis());
        }
    }
    assert_eq!(beats, [500, 30_500, 60_500, 90_500]);
}

#[test]
fn a_list_is_the_truth_about_its_node() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", "{}");
    node.hear_joined("b", "ben", r#"{"s":0}"#);
    node.effects();
    node.hear_state("b", &[("bob", r#"{"s":1}"#), ("bea", r#"{"s":2}"#)]);
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob"), ("b", "bea")]));
    assert_eq!(node.presence(), [r#"{"s":1}"#, r#"{"s":2}"#]);
    assert_eq!(node.effects().len(), 1, "one frame for all of it");
    node.hear_state("b", &[]);
    assert_eq!(node.users(), set(&[("own", "ann")]));
    assert_eq!(node.presence(), [""; 0]);
}

/// JavaScript nodes list users of other nodes, too; and two nodes may have the same user.
#[test]
fn whom_a_node_only_listed_goes_with_the_user_and_is_asked_for() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.hear_state("js", &[("jim", r#"{"j":1}"#), ("bob", r#"{"s":1}"#), ("ann", "{}")]);
    let all = [("own", "ann"), ("b", "bob"), ("js", "ann"), ("js", "bob"), ("js", "jim")];
    assert_eq!(node.users(), set(&all));
    assert_eq!(node.presence().len(), 2, "each user is shown once");
    node.effects();
    node.hear_left("b", "bob");
    assert_eq!(node.users(), set(&[("own", "ann"), ("js", "ann"), ("js", "jim")]));
    assert_eq!(node.presence(), [r#"{"j":1}"#]);
    node.effects();
    node.wait(seconds(30));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest], "once");
    node.wait(seconds(30));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat]);
    let mut asked = Vec::new();
    for _ in 0..3 {
        node.hear_heartbeat("b");
        node.hear_heartbeat("js");
        node.wait(seconds(30));
        asked.extend(node.loop_back());
    }
    assert_eq!(asked.iter().filter(|kind| **kind == Type::StateRequest).count(), 1, "and late");

    // Two nodes that tell of the same user themselves both have it.
    node.hear_joined("b", "two", r#"{"s":1}"#);
    node.hear_joined("js", "two", r#"{"s":2}"#);
    let shown = |node: &Node| node.presence().last().map(|json| (*json).to_owned());
    assert_eq!(shown(&node).as_deref(), Some(r#"{"s":2}"#), "the last that was told");
    node.hear_left("js", "two");
    assert_eq!(shown(&node).as_deref(), Some(r#"{"s":1}"#));
    assert!(node.users().contains(&("b".to_owned(), "two".to_owned())));
}

#[test]
fn after_a_loss_who_is_not_confirmed_is_forgotten() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.hear_joined("c", "cid", r#"{"s":1}"#);
    node.wait(Duration::ZERO);
    node.effects();
    node.resync();
    let effects = node.effects();
    let published: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Publish { topic, bytes } => Some((topic, bytes)),
            _ => None,
        })
        .collect();
    let kind = |bytes: &[u8]| Envelope::parse(bytes).unwrap().message().unwrap().kind();
    let kinds: Vec<_> = published.iter().map(|(_, bytes)| kind(bytes)).collect();
    assert_eq!(kinds, [Type::NodeHeartbeat, Type::StateResponse, Type::StateRequest]);
    // What comes before the question may be older than the loss.
    node.hear_joined("c", "cid", r#"{"s":1}"#);
    node.wait(seconds(1));
    for (topic, bytes) in published {
        node.cluster.receive(topic, bytes, node.now).unwrap();
    }
    assert_eq!(node.cluster.due(), node.now + seconds(5));
    node.hear_state("b", &[("bob", r#"{"s":1}"#)]);
    node.wait(Duration::from_millis(4999));
    assert_eq!(node.users().len(), 3);
    node.wait(Duration::from_millis(1));
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]));
    assert_eq!(node.published().1.len(), 1, "one frame");

    // A channel that was left is said to be empty, once more, in case that was lost.
    let chat = node.chat.clone();
    node.cluster.leave(&chat, "ann", node.now);
    node.effects();
    node.wait(seconds(20));
    node.effects();
    node.resync();
    assert_eq!(node.published().0, [Type::StateResponse, Type::NodeHeartbeat]);
    node.wait(seconds(160));
    node.effects();
    node.resync();
    assert_eq!(node.published().0, [Type::NodeHeartbeat], "the others know by now");
    assert_eq!(node.cluster.stats().users, 0);
}

/// Two losses one soon after the other: the second question has its time too.
#[test]
fn doubts_that_overlap_forget_nobody_who_is_named_in_time() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", r#"{"s":1}"#);
    node.wait(Duration::ZERO);
    node.resync();
    node.loop_back();
    node.hear_state("b", &[("bob", r#"{"s":1}"#)]);
    node.wait(Duration::from_millis(4900));
    node.resync();
    node.loop_back();
    node.wait(Duration::from_millis(100));
    assert_eq!(node.users().len(), 2, "the first question was answered");
    node.wait(Duration::from_millis(1250));
    assert!(node.loop_back().contains(&Type::StateRequest), "the second is asked after the first");
    node.wait(Duration::from_millis(4900));
    assert_eq!(node.users().len(), 2);
    node.hear_state("b", &[("bob", r#"{"s":1}"#)]);
    node.wait(seconds(5));
    assert_eq!(node.users().len(), 2);
    // By a topic that is subscribed to anew what was known is in doubt, too.
    node.cluster.subscribed(&node.chat.topic().clone(), node.now);
    node.loop_back();
    node.wait(Duration::from_millis(4999));
    assert_eq!(node.users().len(), 2);
    node.wait(Duration::from_millis(1));
    assert_eq!(node.users(), set(&[("own", "ann")]));
}

/// A node may publish before it is subscribed, and hear no question then.
#[test]
fn a_node_that_hears_late_is_asked_again() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", "{}");
    node.cluster.subscribed(&node.chat.topic().clone(), node.now);
    node.loop_back();
    node.wait(seconds(5));
    assert_eq!(node.users().len(), 1, "b did not answer");
    node.wait(Duration::ZERO);
    assert!(node.loop_back().contains(&Type::StateRequest), "b lives, and may hear by now");
    node.wait(seconds(10));
    assert!(!node.loop_back().contains(&Type::StateRequest));
    node.hear("b", &Message::StateRequest { from_node: "b".into() });
    node.wait(seconds(30));
    let types = node.loop_back();
    assert!(types.contains(&Type::StateRequest), "b has users here");
    node.hear_state("b", &[("bob", "{}")]);
    node.hear("b", &Message::StateRequest { from_node: "b".into() });
    node.wait(seconds(30));
    assert!(!node.loop_back().contains(&Type::StateRequest), "who are known");
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]));
}

#[test]
fn a_question_that_was_lost_is_asked_again_less_and_less_often() {
    let mut node = Node::joined("a", &["ann"]);
    node.resync();
    node.effects();
    let (start, mut asked) = (node.now, Vec::new());
    for _ in 0..300 {
        node.wait(seconds(1));
        let (types, _) = node.published();
        assert!(!types.contains(&Type::StateResponse), "that was told once");
        if types.contains(&Type::StateRequest) {
            asked.push((node.now - start).as_secs());
        }
    }
    assert_eq!(asked, [5, 15, 35, 75, 155, 245]);
    node.wait(seconds(90));
    assert!(node.loop_back().contains(&Type::StateRequest));
    for _ in 0..300 {
        node.wait(seconds(1));
        assert!(!node.loop_back().contains(&Type::StateRequest), "it came back");
    }
}

/// However often the bus says that something was lost, or nodes come back.
#[test]
fn losses_without_end_make_few_questions() {
    let mut node = Node::new("a");
    let channels = (0..1000).map(|n| node.cluster.channel("/api/socket", &format!("/chat/{n}")));
    for channel in channels.collect::<Vec<_>>() {
        node.cluster.join(&channel, "ann", Payload::EMPTY, node.now);
    }
    node.wait(Duration::ZERO);
    node.effects();
    let mut published = Vec::new();
    for _ in 0..200 {
        node.cluster.resync(node.now);
        if node.cluster.due() <= node.now {
            node.wait(Duration::ZERO);
        }
        let types = node.loop_back();
        assert!(types.len() <= 2 * 256 + 1, "a portion");
        published.extend(types);
        node.now += Duration::from_millis(1);
    }
    assert_eq!(published.len(), 2 * 1000 + 1, "each channel once");

    let others: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    others.iter().for_each(|other| node.hear_heartbeat(other));
    for _ in 0..100 {
        node.wait(seconds(1));
        node.loop_back();
    }
    assert_eq!(node.cluster.nodes().count(), 0);
    let mut questions = 0;
    for _ in 0..10 {
        for other in &others {
            node.hear_heartbeat(other);
            node.wait(Duration::from_millis(30));
            questions += node.loop_back().iter().filter(|t| **t == Type::StateRequest).count();
        }
    }
    assert_eq!(questions, 1000, "each channel once in 30 s");
}

#[test]
fn many_who_ask_at_once_get_one_answer_and_late_ones_another() {
    let mut node = Node::joined("a", &["ann"]);
    node.wait(Duration::ZERO);
    node.effects();
    for other in ["b", "c", "d"] {
        node.hear(other, &Message::StateRequest { from_node: "x".into() });
    }
    assert_eq!(node.published().0, [Type::StateResponse]);
    node.wait(Duration::from_millis(99));
    assert_eq!(node.effects(), []);
    node.wait(Duration::from_millis(1));
    assert_eq!(node.published().0, [Type::StateResponse], "after the later questions");
    node.wait(seconds(1));
    assert_eq!(node.effects(), []);
}

#[test]
fn two_channels_of_one_topic_are_not_one() {
    let mut node = Node::new("a");
    let (one, two) = (node.cluster.channel("/api", "b:/c"), node.cluster.channel("/api:b", "/c"));
    assert_eq!(one.topic(), two.topic());
    assert_ne!(one, two);
    assert!(node.cluster.join(&one, "ann", Payload::EMPTY, node.now));
    assert!(!node.cluster.join(&two, "eve", Payload::EMPTY, node.now), "the topic is taken");
    assert!(!node.cluster.leave(&two, "ann", node.now));
    assert_eq!((node.cluster.users(&one).count(), node.cluster.users(&two).count()), (1, 0));
    let message = Message::EvictUser { user_id: "ann".into(), reason: "".into() };
    node.effects();
    let origin = Origin { node_id: "b", endpoint_name: "api:b", channel_name: "b:/c" };
    node.cluster.receive(one.topic(), &origin.encode("m", 1, &message), node.now).unwrap();
    assert_eq!(node.effects(), [], "another endpoint's");
    assert!(node.cluster.leave(&one, "ann", node.now));
    assert!(node.cluster.join(&two, "eve", Payload::EMPTY, node.now));
}

/// Who was refused is asked for once there may be room.
#[test]
fn who_was_refused_is_asked_later() {
    let limits = ClusterLimits { nodes: 1, users_per_node: 1, ..ClusterLimits::default() };
    let mut node = Node::with("a", ClusterOptions { limits, ..ClusterOptions::default() });
    node.cluster.join(&node.chat, "ann", Payload::EMPTY, node.now);
    node.hear_heartbeat("x");
    node.hear_joined("b", "bob", "{}");
    let mut asked = Vec::new();
    for second in 1..200 {
        node.hear_heartbeat("b");
        node.wait(seconds(1));
        if node.loop_back().contains(&Type::StateRequest) {
            node.hear_state("b", &[("bob", "{}")]);
            asked.push(second);
        }
    }
    assert_eq!((asked, node.users()), (vec![91], set(&[("own", "ann"), ("b", "bob")])));
    node.hear_joined("b", "ben", "{}");
    node.hear_left("b", "bob");
    let mut asked = 0;
    for _ in 0..200 {
        node.hear_heartbeat("b");
        node.wait(seconds(1));
        if node.loop_back().contains(&Type::StateRequest) {
            node.hear_state("b", &[("ben", "{}")]);
            asked += 1;
        }
    }
    assert_eq!((asked, node.users()), (1, set(&[("own", "ann"), ("b", "ben")])));
}

#[test]
fn what_others_make_a_node_keep_is_bounded() {
    let limits =
        ClusterLimits { nodes: 2, users_per_node: 3, bytes: 1500, ..ClusterLimits::default() };
    let mut node = Node::with("a", ClusterOptions { limits, ..ClusterOptions::default() });
    node.cluster.join(&node.chat, "ann", Payload::EMPTY, node.now);
    for user in ["1", "2", "3", "4"] {
        node.hear_joined("b", user, "{}");
    }
    assert_eq!(node.cluster.stats().refused_users, 1);
    for other in ["b", "c", "d", "e"] {
        node.hear_joined(other, "x", "{}");
    }
    let stats = node.cluster.stats();
    assert_eq!((stats.nodes, stats.refused_nodes, stats.users), (2, 2, 4));
    let large = format!(r#"{{"s":"{}"}}"#, "x".repeat(1000));
    node.hear_joined("c", "y", &large);
    assert_eq!(node.cluster.stats().refused_bytes, 1);
    node.hear("b", &Message::PresenceUpdate { user_id: "1".into(), presence: payload(&large) });
    assert_eq!(node.cluster.stats().refused_bytes, 2);
    assert_eq!(node.presence(), [""; 0]);
    assert!(node.cluster.stats().bytes <= 1500);
    // What is refused to be kept is delivered all the same.
    node.effects();
    let message = UserMessage {
        from_user_id: "x".into(),
        event: "e".into(),
        payload: Payload::EMPTY,
        request_id: "r".into(),
        recipients: Recipients::AllUsers,
    };
    node.hear("stranger", &Message::UserMessage(message));
    assert!(matches!(node.effects()[..], [Effect::Deliver { .. }]));
    // Its place is free once a node is dead.
    node.wait(seconds(90));
    assert_eq!(node.cluster.stats().bytes, 0);
    node.hear_joined("d", "x", "{}");
    assert_eq!(node.users(), set(&[("own", "ann"), ("d", "x")]));
}

#[test]
fn a_user_a_change_and_an_id_have_a_largest_size() {
    let mut node = Node::joined("a", &["ann"]);
    let most = 64 << 10;
    let large = |n| format!(r#"{{"s":"{}"}}"#, "x".repeat(n));
    node.hear_joined("b", "bob", &large(most));
    assert_eq!((node.users().len(), node.cluster.stats().refused_bytes), (1, 1));
    node.hear_joined("b", "bob", &large(most - 1000));
    assert_eq!((node.users().len(), node.cluster.stats().refused_bytes), (2, 1));
    let bytes = node.cluster.stats().bytes;
    let value = large(most);
    let value = payload(&value);
    for value in [value.get("s").unwrap(), payload(&large(2000)).get("s").unwrap()] {
        let change = AssignsChange::One { key: "k".into(), value };
        node.hear("b", &Message::AssignsUpdate { user_id: "bob".into(), change });
    }
    let stats = node.cluster.stats();
    assert_eq!((stats.refused_bytes, stats.bytes), (3, bytes));
    for second in 1..200 {
        node.wait(seconds(1));
        node.hear_heartbeat("b");
        assert!(!node.loop_back().contains(&Type::StateRequest), "{second}: it fits never");
    }

    node.hear_heartbeat(&"i".repeat(256));
    node.hear_heartbeat(&"i".repeat(257));
    let stats = node.cluster.stats();
    assert_eq!((stats.nodes, stats.refused_nodes), (2, 1));
    assert!(Cluster::new("x", ClusterOptions::default(), node.now, u64::MAX).node_id().len() < 50);
}

/// Killed and started again under its name, before anybody finds it dead.
#[test]
fn a_node_that_starts_again_is_another_one() {
    let (mut a, mut b) = (Node::joined("a", &["ann"]), Node::new("b"));
    b.cluster.join(&b.chat, "bob", Payload::EMPTY, b.now);
    let tell = |a: &mut Node, b: &mut Node| {
        for effect in b.effects() {
            if let Effect::Publish { topic, bytes } = effect {
                a.cluster.receive(&topic, &bytes, a.now).unwrap();
            }
        }
    };
    tell(&mut a, &mut b);
    assert_eq!(a.users().len(), 2);
    let first = b.cluster.node_id().to_owned();
    let mut b = Node::new("b");
    assert!(first.starts_with("b-") && b.cluster.node_id() != first, "even at the same moment");
    for _ in 0..90 {
        a.wait(seconds(1));
        b.wait(seconds(1));
        tell(&mut a, &mut b);
    }
    assert_eq!(a.users(), set(&[("own", "ann")]));
    assert_eq!(a.cluster.nodes().collect::<Vec<_>>(), [b.cluster.node_id()]);
}

#[test]
fn the_presence_of_nobody_ends_without_a_trace() {
    let mut node = Node::joined("a", &["ann"]);
    node.hear_joined("b", "bob", "{}");
    node.hear_left("b", "bob");
    node.hear("b", &Message::PresenceRemoved { user_id: "bob".into() });
    assert_eq!((node.users(), node.effects()), (set(&[("own", "ann")]), vec![]));
}

/// A list that nobody would take is told one by one, which confirms the users too.
#[test]
fn users_of_a_channel_too_large_for_a_list_are_told_all_the_same() {
    let message_limits = pondwire::Limits { max_bytes: 600, ..Default::default() };
    let mut many = Node::with("many", ClusterOptions { message_limits, ..Default::default() });
    let mut node = Node::joined("a", &["ann"]);
    let ids: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
    for id in &ids {
        many.cluster.join(&many.chat, id, payload(r#"{"a":1}"#), many.now);
    }
    many.cluster.set_presence(&many.chat, "u3", payload(r#"{"p":1}"#), many.now);
    let tell = |node: &mut Node, many: &mut Node| {
        let mut largest = 0;
        for effect in many.effects() {
            if let Effect::Publish { topic, bytes } = effect {
                largest = largest.max(bytes.len());
                node.cluster.receive(&topic, &bytes, node.now).unwrap();
            }
        }
        largest
    };
    tell(&mut node, &mut many);
    assert_eq!(node.users().len(), 21);
    node.resync();
    node.loop_back();
    many.resync();
    assert!(tell(&mut node, &mut many) <= 600);
    node.wait(seconds(5));
    assert_eq!((node.users().len(), node.presence()), (21, vec![r#"{"p":1}"#]));
    let u3 = node.cluster.user(&node.chat, "u3").unwrap();
    assert_eq!(u3.assigns.as_str(), r#"{"a":1}"#);
}

#[test]
fn what_is_none_of_its_business_changes_nothing() {
    let mut node = Node::joined("a", &["ann"]);
    node.wait(Duration::ZERO);
    node.effects();
    let own = node.cluster.node_id().to_owned();
    node.hear_joined(&own, "own", "{}");
    let other = node.cluster.channel("/api/socket", "/chat/4");
    let left = Message::UserJoined {
        user_id: "u".into(),
        presence: Payload::EMPTY,
        assigns: Payload::EMPTY,
    };
    let origin = Origin { node_id: "b", endpoint_name: "api/socket", channel_name: other.name() };
    let bytes = origin.encode("m", 1, &left);
    for topic in [other.topic(), node.chat.topic(), &Arc::from("nonsense")] {
        node.cluster.receive(topic, &bytes, node.now).unwrap();
    }
    assert!(node.cluster.receive(node.chat.topic(), b"{}", node.now).is_err());
    let unknown = String::from_utf8(bytes).unwrap().replace("USER_JOINED", "USER_FLEW");
    node.cluster.receive(other.topic(), unknown.as_bytes(), node.now).unwrap();
    assert_eq!(node.users(), set(&[("own", "ann")]));
    assert_eq!(node.effects(), []);
    assert_eq!(node.cluster.stats().malformed, 1);
}

/// Anything that other nodes may send, from many of them, to a node with little room.
#[test]
fn nothing_received_breaks_the_bounds() {
    let mut random = Random::from_env("nothing_received_breaks_the_bounds");
    let file: serde_json::Value =
        serde_json::from_str(include_str!("vectors/distributed.json")).unwrap();
    let records = file["records"].as_array().unwrap().iter();
    let recorded = records.filter(|record| record["kind"] == "envelope");
    let recorded: Vec<&str> = recorded.map(|record| record["bytes"].as_str().unwrap()).collect();
    for _ in 0..cases(100) {
        let limits =
            ClusterLimits { nodes: 3, users_per_node: 4, bytes: 2000, ..ClusterLimits::default() };
        let mut node = Node::with("own", ClusterOptions { limits, ..ClusterOptions::default() });
        let other = node.cluster.channel("/e", "/c");
        for channel in [&node.chat, &other] {
            node.cluster.join(channel, "u1", Payload::EMPTY, node.now);
        }
        for _ in 0..200 {
            let [source, user, value] = [6, 9, 400].map(|bound| random.below(bound));
            let message = random
                .pick(&recorded)
                .replace("node-a", &format!("node-{source}"))
                .replace("\"u1\"", &format!("\"u{user}\""))
                .replace("online", &"x".repeat(value));
            let mut bytes = message.into_bytes();
            if random.below(3) == 0 {
                bytes = mutate(&mut random, &bytes);
            }
            let channel = if random.below(8) == 0 { &other } else { &node.chat };
            let _ = node.cluster.receive(channel.topic(), &bytes, node.now);
            if random.below(50) == 0 {
                node.wait(seconds(40));
            }
            node.effects();
            let stats = node.cluster.stats();
            assert!(stats.nodes <= 3 && stats.users <= 12 && stats.bytes <= 2000, "{stats:?}");
            let of_others = [&node.chat, &other].map(|channel| {
                node.cluster.users(channel).filter(|(node, _)| node.is_some()).count()
            });
            assert_eq!(of_others.iter().sum::<usize>(), stats.users);
        }
        let chat = node.chat.clone();
        assert!(node.cluster.leave(&chat, "u1", node.now));
        assert!(node.cluster.leave(&other, "u1", node.now));
        let stats = node.cluster.stats();
        assert_eq!((stats.users, stats.bytes), (0, 0), "nothing is kept of channels left");
    }
}

/// Nodes and the bus between them: what is published reaches every subscriber in order, or is lost
/// or doubled.
struct World {
    random: Random,
    now: Instant,
    nodes: Vec<Simulated>,
    channels: Vec<Channel>,
    next_id: usize,
    /// Anything may be lost or doubled.
    lossy: bool,
    /// Nodes that are asked to evict a user say nothing of it, as in JavaScript.
    silent: bool,
    outage: Option<Outage>,
}

/// A node that the bus does not hear, or that does not hear the bus.
struct Outage {
    node: String,
    mute: bool,
    deaf: bool,
    /// It could not say something.
    unpublished: bool,
}

/// What a user has: assigns and presence.
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
        (0..3).for_each(|_| world.birth());
        world
    }

    fn birth(&mut self) {
        let name = format!("node-{}", self.next_id);
        self.next_id += 1;
        let cluster = Cluster::new(&name, ClusterOptions::default(), self.now, STARTED_MS);
        let id = cluster.node_id().to_owned();
        let topics = HashSet::from([Arc::from(cluster.heartbeat_topic())]);
        let (arrived, users) = (VecDeque::new(), BTreeMap::new());
        self.nodes.push(Simulated { id, cluster, topics, arrived, users });
    }

    /// Does what node `at` wants done.
    fn serve(&mut self, at: usize) {
        while let Some(effect) = self.nodes[at].cluster.poll() {
            self.carry_out(at, effect);
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Publish { topic, bytes } => {
                let bytes: Arc<[u8]> = bytes.into();
                let mute = self.outage.as_mut().filter(|o| o.mute && o.node == self.nodes[at].id);
                if let Some(outage) = mute {
                    outage.unpublished = true;
                    return;
                }
                let outage = self.outage.as_ref();
                for node in &mut self.nodes {
                    let deaf = outage.is_some_and(|o| o.deaf && o.node == node.id);
                    if deaf || !node.topics.contains(&topic) {
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

    /// Node `at` was asked to evict a user that it has.
    fn evict(&mut self, at: usize, channel: &Channel, user_id: &str) {
        // Of the other effects none is to be lost.
        self.serve(at);
        let node = &mut self.nodes[at];
        assert!(node.cluster.leave(channel, user_id, self.now));
        let number = self.channels.iter().position(|it| it == channel).unwrap();
        node.users.remove(&(number, user_id.to_owned()));
        let told: Vec<_> = std::iter::from_fn(|| self.nodes[at].cluster.poll()).collect();
        for effect in told {
            if !self.silent || !matches!(effect, Effect::Publish { .. }) {
                self.carry_out(at, effect);
            }
        }
    }

    fn deliver_one(&mut self, at: usize) {
        if let Some((topic, bytes)) = self.nodes[at].arrived.pop_front() {
            self.nodes[at].cluster.receive(&topic, &bytes, self.now).unwrap();
            self.serve(at);
        }
    }

    fn deliver_all(&mut self) {
        while let Some(at) = self.nodes.iter().position(|node| !node.arrived.is_empty()) {
            self.deliver_one(at);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for at in 0..self.nodes.len() {
            self.nodes[at].cluster.tick(self.now);
            self.serve(at);
        }
    }

    /// Something happens to a user of some node.
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
        self.serve(at);
    }

    fn begin_outage(&mut self) {
        let at = self.random.below(self.nodes.len());
        let (mute, deaf) = *self.random.pick(&[(true, false), (false, true), (true, true)]);
        let node = self.nodes[at].id.clone();
        self.outage = Some(Outage { node, mute, deaf, unpublished: false });
    }

    /// A bus that is back says what it knows: that it heard nothing for a while (`Recovered`), though
    /// older messages may wait, or that something was not published (`Unpublished`).
    fn end_outage(&mut self) {
        let Some(outage) = self.outage.take() else { return };
        if !outage.deaf && !outage.unpublished {
            return;
        }
        if let Some(at) = self.nodes.iter().position(|node| node.id == outage.node) {
            self.nodes[at].cluster.resync(self.now);
            self.serve(at);
        }
    }

    /// Time for the dead to be found dead, and for what is in doubt to be asked for.
    fn settle(&mut self) {
        self.deliver_all();
        for _ in 0..300 {
            self.wait(Duration::from_millis(800));
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
            37 if self.nodes.len() < 5 => self.birth(),
            38 => {
                let at = self.random.below(self.nodes.len());
                self.nodes[at].cluster.resync(self.now);
                self.serve(at);
            }
            _ => {
                let time = Duration::from_millis(self.random.below(8000) as u64);
                self.wait(time);
            }
        }
    }

    /// Every node knows all users of every node, in each channel in which it has users itself.
    fn agrees(&self) {
        for node in &self.nodes {
            for (number, channel) in self.channels.iter().enumerate() {
                if !node.users.keys().any(|(at, _)| *at == number) {
                    assert_eq!(node.cluster.users(channel).count(), 0, "nothing is kept");
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
                    shown_of.remove(of.expect("somebody's"));
                }
            }
            let users = node.cluster.stats();
            assert_eq!((users.refused_nodes, users.refused_users, users.malformed), (0, 0, 0));
        }
    }
}

#[test]
fn nodes_agree_once_nothing_is_lost_any_more() {
    let mut random = Random::from_env("nodes_agree_once_nothing_is_lost_any_more");
    for _ in 0..cases(150) {
        let mut world = World::new(Random::seeded(random.next()));
        world.lossy = random.below(4) > 0;
        world.silent = random.below(2) > 0;
        for _ in 0..random.below(800) {
            world.step();
        }
        world.lossy = false;
        world.deliver_all();
        // The bus says that something was lost.
        for at in 0..world.nodes.len() {
            world.nodes[at].cluster.resync(world.now);
            world.serve(at);
        }
        world.settle();
        world.agrees();
    }
}

/// The bus fails one node after another; only the one that it failed knows.
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
                    world.wait(time);
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
        world.agrees();
    }
}

/// Without a loss nodes need no more than their heartbeats, though some die.
#[test]
fn nodes_agree_when_nothing_is_lost() {
    let mut random = Random::from_env("nodes_agree_when_nothing_is_lost");
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
                1 if world.nodes.len() < 5 => world.birth(),
                _ => {}
            }
        }
        world.settle();
        world.agrees();
    }
}
