//! The bounds on what other nodes can make a node store, and on what it sends.

use std::time::Duration;

use pondwire::Payload;
use pondwire::distributed::{
    AssignsChange, Cluster, ClusterLimits, ClusterOptions, Effect, Message, UserMessage,
};
use pondwire::protocol::{DistributedMessageType as Type, Recipients};

use super::{Node, payload, seconds, set};
use pondwire_test_support::{Random, cases, mutate};

/// However many users a node evicts, 4,096 are remembered.
#[test]
fn remembered_evictions_are_bounded() {
    let mut node = Node::joined("a", &["ann"]);
    for n in 0..=4096 {
        node.receive_evicted("b", &format!("u{n}"));
    }
    for n in [0, 1, 4096] {
        node.receive_presence("b", &format!("u{n}"), "{}");
    }
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "u0")]));
    assert_eq!(node.effects().len(), 1);
}

/// However often the bus reports a loss, or nodes come back.
#[test]
fn requests_are_rate_limited_however_many_losses() {
    let mut node = Node::new("a");
    let channels = (0..1000).map(|n| node.cluster.channel("/api/socket", &format!("/chat/{n}")));
    for channel in channels.collect::<Vec<_>>() {
        node.cluster.join(&channel, "ann", Payload::EMPTY, node.now);
    }
    node.advance(Duration::ZERO);
    node.effects();
    let mut published = Vec::new();
    for _ in 0..200 {
        node.cluster.resync(node.now);
        if node.cluster.due() <= node.now {
            node.advance(Duration::ZERO);
        }
        let types = node.loop_back();
        assert!(types.len() <= 2 * 256 + 1, "256 channels at most");
        published.extend(types);
        node.now += Duration::from_millis(1);
    }
    assert_eq!(published.len(), 2 * 1000 + 1, "each channel once");

    let others: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    others.iter().for_each(|other| node.receive_heartbeat(other));
    for _ in 0..100 {
        node.advance(seconds(1));
        node.loop_back();
    }
    assert_eq!(node.cluster.nodes().count(), 0);
    let mut questions = 0;
    for _ in 0..10 {
        for other in &others {
            node.receive_heartbeat(other);
            node.advance(Duration::from_millis(30));
            questions += node.loop_back().iter().filter(|t| **t == Type::StateRequest).count();
        }
    }
    assert_eq!(questions, 1000, "each channel once in 30 s");
}

/// Refused users are asked for once there may be room.
#[test]
fn refused_users_are_queried_later() {
    let limits = ClusterLimits::new().with_nodes(1).with_users_per_node(1);
    let mut node = Node::with("a", ClusterOptions::new().with_limits(limits));
    node.cluster.join(&node.chat, "ann", Payload::EMPTY, node.now);
    node.receive_heartbeat("x");
    node.receive_joined("b", "bob", "{}");
    let mut asked = Vec::new();
    for second in 1..200 {
        node.receive_heartbeat("b");
        node.advance(seconds(1));
        if node.loop_back().contains(&Type::StateRequest) {
            node.receive_state("b", &[("bob", "{}")]);
            asked.push(second);
        }
    }
    assert_eq!((asked, node.users()), (vec![91], set(&[("own", "ann"), ("b", "bob")])));
    node.receive_joined("b", "ben", "{}");
    node.receive_left("b", "bob");
    let mut asked = 0;
    for _ in 0..200 {
        node.receive_heartbeat("b");
        node.advance(seconds(1));
        if node.loop_back().contains(&Type::StateRequest) {
            node.receive_state("b", &[("ben", "{}")]);
            asked += 1;
        }
    }
    assert_eq!((asked, node.users()), (1, set(&[("own", "ann"), ("b", "ben")])));
}

#[test]
fn stored_remote_state_is_bounded() {
    let limits = ClusterLimits::new().with_nodes(2).with_users_per_node(3).with_bytes(1500);
    let mut node = Node::with("a", ClusterOptions::new().with_limits(limits));
    node.cluster.join(&node.chat, "ann", Payload::EMPTY, node.now);
    for user in ["1", "2", "3", "4"] {
        node.receive_joined("b", user, "{}");
    }
    assert_eq!(node.cluster.stats().refused_users, 1);
    for other in ["b", "c", "d", "e"] {
        node.receive_joined(other, "x", "{}");
    }
    let stats = node.cluster.stats();
    assert_eq!((stats.nodes, stats.refused_nodes, stats.users), (2, 2, 4));
    let large = format!(r#"{{"s":"{}"}}"#, "x".repeat(1000));
    node.receive_joined("c", "y", &large);
    assert_eq!(node.cluster.stats().refused_bytes, 1);
    node.receive("b", &Message::PresenceUpdate { user_id: "1".into(), presence: payload(&large) });
    assert_eq!(node.cluster.stats().refused_bytes, 2);
    assert_eq!(node.presence(), [""; 0]);
    assert!(node.cluster.stats().bytes <= 1500);
    // An event of a refused node is still delivered.
    node.effects();
    let message = UserMessage {
        from_user_id: "x".into(),
        event: "e".into(),
        payload: Payload::EMPTY,
        request_id: "r".into(),
        recipients: Recipients::AllUsers,
    };
    node.receive("stranger", &Message::UserMessage(message));
    assert!(matches!(node.effects()[..], [Effect::Deliver { .. }]));
    // An expired node makes room for another one.
    node.advance(seconds(90));
    assert_eq!(node.cluster.stats().bytes, 0);
    node.receive_joined("d", "x", "{}");
    assert_eq!(node.users(), set(&[("own", "ann"), ("d", "x")]));
}

#[test]
fn users_changes_and_ids_have_a_maximum_size() {
    let mut node = Node::joined("a", &["ann"]);
    let most = 64 << 10;
    let large = |n| format!(r#"{{"s":"{}"}}"#, "x".repeat(n));
    node.receive_joined("b", "bob", &large(most));
    assert_eq!((node.users().len(), node.cluster.stats().refused_bytes), (1, 1));
    node.receive_joined("b", "bob", &large(most - 1000));
    assert_eq!((node.users().len(), node.cluster.stats().refused_bytes), (2, 1));
    let bytes = node.cluster.stats().bytes;
    let value = large(most);
    let value = payload(&value);
    for value in [value.get("s").unwrap(), payload(&large(2000)).get("s").unwrap()] {
        let change = AssignsChange::One { key: "k".into(), value };
        node.receive("b", &Message::AssignsUpdate { user_id: "bob".into(), change });
    }
    let stats = node.cluster.stats();
    assert_eq!((stats.refused_bytes, stats.bytes), (3, bytes));
    for second in 1..200 {
        node.advance(seconds(1));
        node.receive_heartbeat("b");
        assert!(!node.loop_back().contains(&Type::StateRequest), "{second}: it never fits");
    }

    node.receive_heartbeat(&"i".repeat(256));
    node.receive_heartbeat(&"i".repeat(257));
    let stats = node.cluster.stats();
    assert_eq!((stats.nodes, stats.refused_nodes), (2, 1));
    assert!(Cluster::new("x", ClusterOptions::default(), node.now, u64::MAX).node_id().len() < 50);
}

/// A list beyond the message limit is sent user by user, which confirms the users too.
#[test]
fn users_too_many_for_one_list_are_sent_one_by_one() {
    let message_limits = pondwire::Limits::new().with_max_bytes(600);
    let mut many = Node::with("many", ClusterOptions::new().with_message_limits(message_limits));
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
    node.advance(seconds(5));
    assert_eq!((node.users().len(), node.presence()), (21, vec![r#"{"p":1}"#]));
    let u3 = node.cluster.user(&node.chat, "u3").unwrap();
    assert_eq!(u3.assigns.as_str(), r#"{"a":1}"#);
}

/// Arbitrary messages from many nodes, to a node with tight limits.
#[test]
fn no_received_message_breaks_the_bounds() {
    let mut random = Random::from_env("no_received_message_breaks_the_bounds");
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/distributed.json")).unwrap();
    let records = file["records"].as_array().unwrap().iter();
    let recorded = records.filter(|record| record["kind"] == "envelope");
    let recorded: Vec<&str> = recorded.map(|record| record["bytes"].as_str().unwrap()).collect();
    for _ in 0..cases(100) {
        let limits = ClusterLimits::new().with_nodes(3).with_users_per_node(4).with_bytes(2000);
        let mut node = Node::with("own", ClusterOptions::new().with_limits(limits));
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
                node.advance(seconds(40));
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
        assert_eq!(
            (stats.users, stats.bytes),
            (0, 0),
            "nothing is stored for channels that were left"
        );
    }
}

/// However many changes other nodes make, the list is copied as often as the server asks for it.
#[test]
fn presence_lists_are_copied_on_request_only() {
    let options = ClusterOptions::default().with_presence_on_request(true);
    let mut node = Node::with("a", options);
    let (chat, now) = (node.chat.clone(), node.now);
    assert_eq!(node.cluster.presence_frame(&chat), None);
    node.cluster.join(&chat, "ann", Payload::EMPTY, now);
    assert_eq!(node.cluster.presence_frame(&chat), None);
    node.effects();
    for n in 0..1000 {
        node.receive_presence("b", "eve", &format!(r#"{{"n":{n}}}"#));
    }
    assert_eq!(node.effects(), vec![Effect::PresenceChanged(chat.clone()); 1000]);
    let frame = node.cluster.presence_frame(&chat).unwrap();
    assert_eq!(frame.payload_str(), r#"{"presence":[{"n":999}],"changed":{"n":999}}"#);
    let again = node.cluster.presence_frame(&chat).unwrap();
    assert!(std::ptr::eq(frame.wire(), again.wire()), "kept until the list changes");
    node.receive_left("b", "eve");
    let frame = node.cluster.presence_frame(&chat).unwrap();
    assert_eq!(frame.payload_str(), r#"{"presence":[],"changed":{"n":999}}"#);
}
