//! Evictions: users that every node removes, messages that were sent before, and users that rejoin.

use std::time::Duration;

use pondwire::distributed::{Effect, Envelope, Message, Origin};
use pondwire::protocol::DistributedMessageType as Type;
use pondwire::{Payload, PresenceEvent, PresenceMessage};

use super::{Node, STARTED_MS, payload, seconds, set};

/// The presence that left, of the only effect, a presence frame.
fn left(effects: &[Effect]) -> String {
    let [Effect::Presence { frame, .. }] = effects else { panic!("{effects:?}") };
    let frame = PresenceMessage::parse(frame.json()).unwrap();
    assert_eq!(frame.event(), PresenceEvent::Leave);
    frame.changed().to_string()
}

/// JavaScript nodes do not confirm an eviction.
#[test]
fn an_evicted_user_is_removed_whether_or_not_its_node_confirms() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    let others = set(&[("own", "ann"), ("js", "jim")]);
    for evicted_by in ["js", "third", "own"] {
        node.receive_joined("js", "bob", r#"{"s":1}"#);
        node.receive_joined("js", "jim", "{}");
        node.receive_state("js-2", &[("bob", r#"{"s":1}"#)]);
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
            node.receive_evicted(evicted_by, "bob");
            assert_eq!(left(&node.effects()), r#"{"s":1}"#, "by {evicted_by}");
        }
        assert_eq!((node.users(), node.presence()), (others.clone(), vec![]));
        assert_eq!(node.cluster.user(&chat, "bob"), None);
        assert_eq!(node.cluster.stats().users, 1);
        // A second eviction and the confirmations of nodes that send them change nothing.
        node.receive_evicted(evicted_by, "bob");
        node.receive("js", &Message::PresenceRemoved { user_id: "bob".into() });
        node.receive_left("js", "bob");
        assert_eq!((node.users(), node.effects()), (others.clone(), vec![]));
        node.advance(seconds(6));
        node.effects();
    }
    node.receive_left("js", "jim");
    let stats = node.cluster.stats();
    assert_eq!((stats.users, stats.bytes), (0, 0));
}

#[test]
fn an_eviction_removes_the_user_of_every_other_node() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    node.cluster.set_presence(&chat, "ann", payload(r#"{"of":"a"}"#), node.now);
    node.receive_joined("b", "ann", r#"{"of":"b"}"#);
    node.effects();
    node.receive_evicted("c", "ann");
    assert_eq!(node.users(), set(&[("own", "ann")]), "the server removes its own user");
    assert_eq!(node.presence(), [r#"{"of":"a"}"#]);
    let effects = node.effects();
    let [Effect::Evict { user_id, reason, .. }, Effect::Presence { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((&**user_id, &**reason), ("ann", "spam"));
    // Changes on this node itself always count.
    assert!(node.cluster.set_presence(&chat, "ann", payload(r#"{"of":"us"}"#), node.now));
    assert!(node.cluster.leave(&chat, "ann", node.now));
    assert!(node.cluster.join(&chat, "ann", Payload::EMPTY, node.now), "it may come back");
    assert_eq!(node.users(), set(&[("own", "ann")]));
}

/// For a server that admits a user on one node only.
#[test]
fn evict_elsewhere_keeps_and_announces_the_local_user() {
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
fn messages_older_than_an_eviction_do_not_restore_the_user() {
    let mut node = Node::joined("a", &["ann"]);
    node.advance(Duration::ZERO);
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.receive_evicted("c", "bob");
    node.effects();
    let late = |node: &mut Node| {
        node.receive_presence("b", "bob", r#"{"s":2}"#);
        node.receive_assigns("b", "bob", r#"{"a":2}"#);
        node.receive_state("b", &[("bob", r#"{"s":1}"#), ("ben", "{}")]);
        node.receive_state("third", &[("tom", "{}"), ("bob", r#"{"s":1}"#)]);
        node.receive_presence("third", "bob", r#"{"s":3}"#);
    };
    late(&mut node);
    node.advance(Duration::from_millis(4999));
    late(&mut node);
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "ben"), ("third", "tom")]));
    assert_eq!(node.presence(), [""; 0]);
    assert_eq!(node.effects(), [], "the presence list did not change");
    // The node asks once, in case another node has the user all the same.
    node.advance(seconds(26));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest]);
    node.receive_state("b", &[("bob", r#"{"s":4}"#), ("ben", "{}")]);
    node.receive_state("third", &[("tom", "{}")]);
    assert_eq!(node.presence(), [r#"{"s":4}"#]);
    for _ in 0..3 {
        node.receive_heartbeat("b");
        node.receive_heartbeat("third");
        node.advance(seconds(30));
        assert!(!node.loop_back().contains(&Type::StateRequest));
    }
    // After that time changes count again.
    node.receive_evicted("c", "bob");
    node.advance(seconds(5));
    node.receive_presence("b", "bob", r#"{"s":5}"#);
    assert_eq!(node.presence(), [r#"{"s":5}"#]);
}

#[test]
fn an_evicted_user_may_rejoin_at_once_on_any_node() {
    for back_on in ["b", "c"] {
        let mut node = Node::joined("a", &["ann"]);
        node.advance(Duration::ZERO);
        node.receive_joined("b", "bob", r#"{"s":1}"#);
        node.receive_evicted("c", "bob");
        node.effects();
        node.receive_joined(back_on, "bob", "{}");
        node.receive_presence(back_on, "bob", r#"{"s":2}"#);
        node.receive_assigns(back_on, "bob", r#"{"a":2}"#);
        // Another node's list still shows the old user: ignored.
        node.receive_state("js", &[("bob", r#"{"s":1}"#)]);
        assert_eq!(node.users(), set(&[("own", "ann"), (back_on, "bob")]));
        let bob = node.cluster.user(&node.chat, "bob").unwrap();
        assert_eq!((bob.assigns.as_str(), bob.presence.as_str()), (r#"{"a":2}"#, r#"{"s":2}"#));
        assert_eq!(node.presence(), [r#"{"s":2}"#]);
        node.receive_state(back_on, &[("bob", r#"{"s":3}"#)]);
        assert_eq!(node.presence(), [r#"{"s":3}"#]);
        // Its node may have sent the join before it received the eviction, and then evicted the user
        // silently.
        node.advance(seconds(30));
        assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest]);
        node.receive_state(back_on, &[]);
        assert_eq!((node.users(), node.presence()), (set(&[("own", "ann")]), vec![]));
        node.receive_joined(back_on, "bob", r#"{"s":1}"#);
        node.receive_evicted("c", "bob");
        node.receive_joined(back_on, "bob", r#"{"s":2}"#);
        assert_eq!(node.presence(), [r#"{"s":2}"#], "any number of times");
    }
}

/// A node may send a user's join just before it receives the eviction, and then evict the user silently.
/// If that was its last user in the channel, it does not answer requests about the channel.
#[test]
fn a_provisional_user_is_dropped_unless_its_node_confirms_it() {
    let mut node = Node::joined("a", &["ann"]);
    node.advance(Duration::ZERO);
    node.effects();
    node.receive_joined("other", "olaf", "{}");
    for user in ["bob", "bea"] {
        node.receive_evicted("js", user);
    }
    node.receive_joined("js", "bob", r#"{"s":1}"#);
    node.receive_joined("b", "bea", r#"{"s":2}"#);
    node.advance(seconds(30));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest]);
    node.receive_state("b", &[("bea", r#"{"s":2}"#)]);
    node.advance(Duration::from_millis(4999));
    assert_eq!(node.presence().len(), 2);
    node.advance(Duration::from_millis(1));
    assert_eq!(left(&node.published().1), r#"{"s":1}"#);
    let others = set(&[("own", "ann"), ("b", "bea"), ("other", "olaf")]);
    assert_eq!(node.users(), others, "users that were not evicted need no confirmation");
    let mut asked = 0;
    for _ in 0..10 {
        ["b", "other", "js"].iter().for_each(|other| node.receive_heartbeat(other));
        node.advance(seconds(10));
        asked += node.loop_back().iter().filter(|kind| **kind == Type::StateRequest).count();
    }
    assert_eq!(
        (asked, node.users()),
        (1, others),
        "once more, in case it received the request too late"
    );
}

/// The evicting node knows of the eviction before the others do.
#[test]
fn the_echo_of_an_eviction_removes_users_reported_before_it() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.effects();
    node.cluster.evict_elsewhere(&chat, "bob", "spam", node.now);
    let Some(Effect::Publish { topic, bytes }) = node.cluster.poll() else { panic!() };
    node.effects();
    // Meanwhile the user joined a node that will receive the eviction later.
    node.receive_joined("c", "bob", r#"{"s":2}"#);
    node.effects();
    node.now += seconds(60);
    node.cluster.receive(&topic, &bytes, node.now).unwrap();
    assert_eq!(node.users(), set(&[("own", "ann")]));
    assert_eq!(left(&node.effects()), r#"{"s":2}"#);
    node.receive_presence("c", "bob", r#"{"s":3}"#);
    assert_eq!(node.presence(), [""; 0], "that was sent before the eviction, too");
    node.receive_joined("c", "bob", "{}");
    assert_eq!(node.users(), set(&[("own", "ann"), ("c", "bob")]));
}

#[test]
fn an_eviction_concerns_one_channel_until_it_is_closed() {
    let mut node = Node::joined("a", &["ann"]);
    let (chat, other) = (node.chat.clone(), node.cluster.channel("/api/socket", "/chat/43"));
    node.cluster.join(&other, "ann", Payload::EMPTY, node.now);
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.cluster.evict_elsewhere(&other, "bob", "spam", node.now);
    node.loop_back();
    assert_eq!(node.presence(), [r#"{"s":1}"#]);
    node.receive_evicted("c", "bob");
    // A channel that is opened again is asked for, so no answer is older than the eviction.
    node.cluster.leave(&chat, "ann", node.now);
    node.cluster.join(&chat, "ann", Payload::EMPTY, node.now);
    node.receive_state("b", &[("bob", r#"{"s":2}"#)]);
    assert_eq!(node.presence(), [r#"{"s":2}"#]);
    // An eviction in another channel of the same topic changes nothing here.
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
