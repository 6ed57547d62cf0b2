//! The rules for each message and each moment, evictions excepted.

use std::sync::Arc;
use std::time::Duration;

use pondwire::distributed::{
    AssignsChange, ClusterOptions, Effect, Envelope, Message, Origin, UserMessage,
};
use pondwire::protocol::{DistributedMessageType as Type, Recipients, UserIds};
use pondwire::{Payload, ServerMessage};

use super::{Node, STARTED_MS, payload, seconds, set};

#[test]
fn local_changes_are_published() {
    let mut node = Node::new("a");
    let (chat, now) = (node.chat.clone(), node.now);
    assert!(node.cluster.join(&chat, "ann", payload(r#"{"role":"host"}"#), now));
    assert!(
        !node.cluster.join(&chat, "ann", Payload::EMPTY, now),
        "the user is in the channel already"
    );
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
    assert!(matches!(&others[..], [Effect::Presence { .. }]), "bob sees that ann left");
    assert!(!node.cluster.leave(&chat, "ann", now));
    assert!(!node.cluster.set_presence(&chat, "ann", Payload::EMPTY, now));
    assert!(!node.cluster.set_assigns(&chat, "ann", Payload::EMPTY, now));
    assert!(!node.cluster.remove_presence(&chat, "bob", now), "bob has no presence");
    assert!(node.cluster.leave(&chat, "bob", now));
    assert_eq!(node.published(), (vec![Type::UserLeft], vec![Effect::Unsubscribe(chat.clone())]));
    node.cluster.subscribed(chat.topic(), now);
    assert_eq!(node.effects(), [], "the node has no user there");
}

#[test]
fn a_channel_that_is_kept_open_stays_subscribed_without_users() {
    let mut node = Node::joined("a", &["ann"]);
    let (chat, now) = (node.chat.clone(), node.now);
    node.cluster.keep_open(&chat);
    assert!(node.cluster.leave(&chat, "ann", now));
    assert_eq!(node.published(), (vec![Type::UserLeft], vec![]));
    // What others send still arrives.
    node.receive_joined("b", "bob", "{}");
    assert_eq!(node.users(), set(&[("b", "bob")]));
    node.cluster.join(&chat, "ann", Payload::EMPTY, now);
    assert_eq!(node.published(), (vec![Type::UserJoined], vec![]));
    node.cluster.let_close(&chat, now);
    assert_eq!(node.published(), (vec![], vec![]), "ann is there");
    assert!(node.cluster.leave(&chat, "ann", now));
    assert_eq!(node.published(), (vec![Type::UserLeft], vec![Effect::Unsubscribe(chat.clone())]));
    node.cluster.keep_open(&chat);
    node.cluster.let_close(&chat, now);
    assert_eq!(node.effects(), [], "it is not open");
}

#[test]
fn remote_changes_are_stored_and_shown() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", "{}");
    assert_eq!(node.effects(), [], "no presence, no frame");
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]));

    let update = |json| Message::PresenceUpdate { user_id: "bob".into(), presence: payload(json) };
    node.receive("b", &update(r#"{"s":1}"#));
    let effects = node.effects();
    let [Effect::Presence { channel, frame }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(channel, &node.chat);
    assert!(
        frame
            .as_str()
            .starts_with(r#"{"action":"PRESENCE","event":"JOIN","channelName":"/chat/42""#)
    );
    node.receive("b", &update(r#"{"s":1}"#));
    assert_eq!(node.effects(), [], "nothing changed");
    node.receive("b", &update(r#"{"s":2}"#));
    assert!(
        matches!(&node.effects()[..], [Effect::Presence { frame, .. }] if frame.as_str().contains("UPDATE"))
    );

    use AssignsChange::{All, One};
    let values = payload(r#"{"two":2}"#);
    let change = All(payload(r#"{"a":1,"b":1}"#));
    node.receive("b", &Message::AssignsUpdate { user_id: "bob".into(), change });
    let change = One { key: "b".into(), value: values.get("two").unwrap() };
    node.receive("b", &Message::AssignsUpdate { user_id: "bob".into(), change });
    let bob = node.cluster.user(&node.chat, "bob").unwrap();
    assert_eq!(bob.assigns.as_str(), r#"{"a":1,"b":2}"#);

    node.receive("b", &Message::PresenceRemoved { user_id: "bob".into() });
    assert!(
        matches!(&node.effects()[..], [Effect::Presence { frame, .. }] if frame.as_str().contains("LEAVE"))
    );
    assert_eq!((node.presence(), node.users().len()), (vec![], 2));
    node.receive_left("b", "bob");
    assert_eq!(node.users(), set(&[("own", "ann")]));
    node.receive_left("b", "bob");
    assert_eq!(node.effects(), []);
}

#[test]
fn a_remote_event_becomes_a_frame() {
    let mut node = Node::joined("a", &["ann"]);
    let ids = ["ann".into(), "eve".into()];
    let recipients = [
        (Recipients::AllUsers, Recipients::AllUsers),
        (Recipients::AllExceptSender, Recipients::AllExceptSender),
        (Recipients::Users(ids[..].into()), Recipients::users(["ann"])),
        (Recipients::Users(UserIds::default()), Recipients::Users(UserIds::default())),
    ];
    for (recipients, expected) in recipients {
        let message = Message::UserMessage(UserMessage {
            from_user_id: "bob".into(),
            event: "say".into(),
            payload: payload(r#"{"z":1,"a":1.50}"#),
            request_id: "r-7".into(),
            recipients,
        });
        node.receive("b", &message);
        let effects = node.effects();
        let [Effect::Deliver { frame, recipients, from_user_id, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!((recipients, &**from_user_id), (&expected, "bob"));
        let parsed = ServerMessage::parse(frame.json()).unwrap();
        assert_eq!((parsed.event(), parsed.request_id()), ("say", "r-7"));
        assert_eq!(parsed.payload().as_str(), r#"{"z":1,"a":1.50}"#);
    }
}

#[test]
fn a_node_whose_users_see_no_presence_makes_no_list() {
    let options = ClusterOptions::default().with_presence_to_present(true);
    let mut node = Node::with("a", options);
    let (chat, now) = (node.chat.clone(), node.now);
    for user in ["ann", "bob"] {
        node.cluster.join(&chat, user, Payload::EMPTY, now);
    }
    node.receive_joined("b", "eve", r#"{"s":1}"#);
    assert_eq!(node.published().1, [Effect::Subscribe(chat.clone())]);
    let mut changes = |change: &dyn Fn(&mut Node)| {
        change(&mut node);
        let frames = node.published().1.into_iter().filter_map(|effect| match effect {
            Effect::Presence { frame, .. } => Some(frame.payload_str().to_owned()),
            _ => None,
        });
        frames.collect::<Vec<_>>()
    };
    let set = |user: &'static str, presence: &'static str| {
        let chat = chat.clone();
        move |node: &mut Node| {
            node.cluster.set_presence(&chat, user, payload(presence), now);
        }
    };
    // The list is up to date all the same.
    let both = r#"{"presence":[{"s":1},{"s":2}],"changed":{"s":2}}"#;
    assert_eq!(changes(&set("ann", r#"{"s":2}"#)), [both]);
    assert_eq!(changes(&set("bob", r#"{"s":3}"#)).len(), 1);
    let eve = |presence| move |node: &mut Node| node.receive_presence("b", "eve", presence);
    assert_eq!(changes(&eve(r#"{"s":4}"#)).len(), 1);
    assert_eq!(changes(&set("bob", r#"{"s":5}"#)).len(), 1);
    assert_eq!(changes(&|node| assert!(node.cluster.remove_presence(&chat, "bob", now))).len(), 1);
    assert_eq!(changes(&eve(r#"{"s":6}"#)).len(), 1, "ann sees it");
    assert_eq!(changes(&|node| assert!(node.cluster.leave(&chat, "ann", now))), [""; 0]);
    assert_eq!(changes(&eve(r#"{"s":7}"#)), [""; 0]);
    assert_eq!(changes(&set("bob", r#"{"s":8}"#)).len(), 1);
}

/// Its server may keep the event for a user that is away and comes back to this node.
#[test]
fn an_event_of_a_channel_that_is_kept_open_names_all_its_users() {
    let mut node = Node::joined("a", &["ann"]);
    node.cluster.keep_open(&node.chat.clone());
    let ids = ["ann".into(), "eve".into()];
    node.receive(
        "b",
        &Message::UserMessage(UserMessage {
            from_user_id: "bob".into(),
            event: "say".into(),
            payload: Payload::EMPTY,
            request_id: "r-7".into(),
            recipients: Recipients::Users(ids[..].into()),
        }),
    );
    let effects = node.effects();
    let [Effect::Deliver { recipients, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*recipients, Recipients::users(["ann", "eve"]));
}

#[test]
fn commands_reach_the_users_node() {
    let mut node = Node::joined("a", &["ann"]);
    let chat = node.chat.clone();
    for user in ["ann", "eve"] {
        node.receive("b", &Message::EvictUser { user_id: user.into(), reason: "spam".into() });
        node.receive("b", &Message::UserRemove { user_id: user.into() });
    }
    let evict =
        Effect::Evict { channel: chat.clone(), user_id: "ann".into(), reason: "spam".into() };
    let remove = Effect::Remove { channel: chat.clone(), user_id: "ann".into() };
    assert_eq!(node.effects(), [evict, remove]);
    node.cluster.evict_elsewhere(&chat, "bob", "spam", node.now);
    node.cluster.remove_elsewhere(&chat, "bob", node.now);
    assert_eq!(node.published().0, [Type::EvictUser, Type::UserRemove]);
}

#[test]
fn get_user_returns_a_reply_or_times_out() {
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
    assert_eq!(a.effects(), [], "an answer about another user");
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
    a.advance(Duration::from_millis(499));
    assert_eq!(a.effects(), []);
    a.advance(Duration::from_millis(1));
    assert_eq!(a.effects(), [Effect::User { get: lost, user: None }]);
    let waiting = (0..5000).filter(|_| a.cluster.get_user(&chat, "x", a.now).is_some()).count();
    assert_eq!(waiting, 4096);
}

#[test]
fn a_node_expires_after_90_silent_seconds() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.receive_joined("c", "cid", "{}");
    node.advance(seconds(60));
    node.receive("b", &Message::UserRemove { user_id: "nobody".into() });
    node.advance(seconds(29));
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob"), ("c", "cid")]));
    node.advance(seconds(1));
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]), "c stayed silent");
    node.effects();
    node.advance(seconds(50));
    node.receive_heartbeat("b");
    node.advance(seconds(89));
    assert_eq!(node.cluster.nodes().collect::<Vec<_>>(), ["b"]);
    node.effects();
    node.advance(seconds(1));
    assert!(node.effects().iter().any(|effect| matches!(
        effect,
        Effect::Presence { frame, .. } if frame.payload_str() == r#"{"presence":[],"changed":{"s":1}}"#
    )));
    assert_eq!(node.users(), set(&[("own", "ann")]));
    let stats = node.cluster.stats();
    assert_eq!((stats.nodes, stats.users, stats.bytes, stats.expired), (0, 0, 0, 2));

    // Nodes that come back are asked for their users with the next heartbeat.
    node.receive_heartbeat("b");
    node.receive_heartbeat("c");
    node.advance(seconds(30));
    assert_eq!(node.published().0, [Type::NodeHeartbeat, Type::StateRequest]);
}

#[test]
fn heartbeats_are_sent_every_30_seconds() {
    let mut node = Node::new("a");
    let (start, mut beats) = (node.now, Vec::new());
    for _ in 0..240 {
        node.advance(Duration::from_millis(500));
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
fn a_list_replaces_the_users_of_its_node() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", "{}");
    node.receive_joined("b", "ben", r#"{"s":0}"#);
    node.effects();
    node.receive_state("b", &[("bob", r#"{"s":1}"#), ("bea", r#"{"s":2}"#)]);
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob"), ("b", "bea")]));
    assert_eq!(node.presence(), [r#"{"s":1}"#, r#"{"s":2}"#]);
    assert_eq!(node.effects().len(), 1, "one frame for the whole list");
    node.receive_state("b", &[]);
    assert_eq!(node.users(), set(&[("own", "ann")]));
    assert_eq!(node.presence(), [""; 0]);
}

/// JavaScript nodes list users of other nodes too, and two nodes may have the same user.
#[test]
fn a_secondhand_user_is_removed_with_the_firsthand_one_and_queried() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.receive_state("js", &[("jim", r#"{"j":1}"#), ("bob", r#"{"s":1}"#), ("ann", "{}")]);
    let all = [("own", "ann"), ("b", "bob"), ("js", "ann"), ("js", "bob"), ("js", "jim")];
    assert_eq!(node.users(), set(&all));
    assert_eq!(node.presence().len(), 2, "each user is shown once");
    node.effects();
    node.receive_left("b", "bob");
    assert_eq!(node.users(), set(&[("own", "ann"), ("js", "ann"), ("js", "jim")]));
    assert_eq!(node.presence(), [r#"{"j":1}"#]);
    node.effects();
    node.advance(seconds(30));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat, Type::StateRequest], "once");
    node.advance(seconds(30));
    assert_eq!(node.loop_back(), [Type::NodeHeartbeat]);
    let mut asked = Vec::new();
    for _ in 0..3 {
        node.receive_heartbeat("b");
        node.receive_heartbeat("js");
        node.advance(seconds(30));
        asked.extend(node.loop_back());
    }
    assert_eq!(
        asked.iter().filter(|kind| **kind == Type::StateRequest).count(),
        1,
        "and once after 90 s"
    );

    // Two nodes that both report a user firsthand both have it.
    node.receive_joined("b", "two", r#"{"s":1}"#);
    node.receive_joined("js", "two", r#"{"s":2}"#);
    let shown = |node: &Node| node.presence().last().map(|json| (*json).to_owned());
    assert_eq!(shown(&node).as_deref(), Some(r#"{"s":2}"#), "the presence reported last");
    node.receive_left("js", "two");
    assert_eq!(shown(&node).as_deref(), Some(r#"{"s":1}"#));
    assert!(node.users().contains(&("b".to_owned(), "two".to_owned())));
}

#[test]
fn a_resync_drops_unconfirmed_users() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.receive_joined("c", "cid", r#"{"s":1}"#);
    node.advance(Duration::ZERO);
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
    // A message that arrives before the echo may be older than the loss.
    node.receive_joined("c", "cid", r#"{"s":1}"#);
    node.advance(seconds(1));
    for (topic, bytes) in published {
        node.cluster.receive(topic, bytes, node.now).unwrap();
    }
    assert_eq!(node.cluster.due(), node.now + seconds(5));
    node.receive_state("b", &[("bob", r#"{"s":1}"#)]);
    node.advance(Duration::from_millis(4999));
    assert_eq!(node.users().len(), 3);
    node.advance(Duration::from_millis(1));
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]));
    assert_eq!(node.published().1.len(), 1, "one frame");

    // That a left channel is empty is repeated, in case the first message was lost.
    let chat = node.chat.clone();
    node.cluster.leave(&chat, "ann", node.now);
    node.effects();
    node.advance(seconds(20));
    node.effects();
    node.resync();
    assert_eq!(node.published().0, [Type::StateResponse, Type::NodeHeartbeat]);
    node.advance(seconds(160));
    node.effects();
    node.resync();
    assert_eq!(
        node.published().0,
        [Type::NodeHeartbeat],
        "the others have expired the users by now"
    );
    assert_eq!(node.cluster.stats().users, 0);
}

/// A second loss soon after the first: its request has its full time too.
#[test]
fn overlapping_resyncs_keep_users_confirmed_in_time() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", r#"{"s":1}"#);
    node.advance(Duration::ZERO);
    node.resync();
    node.loop_back();
    node.receive_state("b", &[("bob", r#"{"s":1}"#)]);
    node.advance(Duration::from_millis(4900));
    node.resync();
    node.loop_back();
    node.advance(Duration::from_millis(100));
    assert_eq!(node.users().len(), 2, "the first request was answered");
    node.advance(Duration::from_millis(1250));
    assert!(node.loop_back().contains(&Type::StateRequest), "the second request follows the first");
    node.advance(Duration::from_millis(4900));
    assert_eq!(node.users().len(), 2);
    node.receive_state("b", &[("bob", r#"{"s":1}"#)]);
    node.advance(seconds(5));
    assert_eq!(node.users().len(), 2);
    // After a new subscription users must be confirmed too.
    node.cluster.subscribed(&node.chat.topic().clone(), node.now);
    node.loop_back();
    node.advance(Duration::from_millis(4999));
    assert_eq!(node.users().len(), 2);
    node.advance(Duration::from_millis(1));
    assert_eq!(node.users(), set(&[("own", "ann")]));
}

/// A node may publish before it is subscribed, and receives no request until then.
#[test]
fn a_node_that_missed_the_request_is_asked_again() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", "{}");
    node.cluster.subscribed(&node.chat.topic().clone(), node.now);
    node.loop_back();
    node.advance(seconds(5));
    assert_eq!(node.users().len(), 1, "b did not answer");
    node.advance(Duration::ZERO);
    assert!(
        node.loop_back().contains(&Type::StateRequest),
        "b is alive and may be subscribed by now"
    );
    node.advance(seconds(10));
    assert!(!node.loop_back().contains(&Type::StateRequest));
    node.receive("b", &Message::StateRequest { from_node: "b".into() });
    node.advance(seconds(30));
    let types = node.loop_back();
    assert!(types.contains(&Type::StateRequest), "b has users here");
    node.receive_state("b", &[("bob", "{}")]);
    node.receive("b", &Message::StateRequest { from_node: "b".into() });
    node.advance(seconds(30));
    assert!(!node.loop_back().contains(&Type::StateRequest), "its users are known");
    assert_eq!(node.users(), set(&[("own", "ann"), ("b", "bob")]));
}

#[test]
fn a_lost_request_is_repeated_with_growing_intervals() {
    let mut node = Node::joined("a", &["ann"]);
    node.resync();
    node.effects();
    let (start, mut asked) = (node.now, Vec::new());
    for _ in 0..300 {
        node.advance(seconds(1));
        let (types, _) = node.published();
        assert!(!types.contains(&Type::StateResponse), "the list was sent once");
        if types.contains(&Type::StateRequest) {
            asked.push((node.now - start).as_secs());
        }
    }
    assert_eq!(asked, [5, 15, 35, 75, 155, 245]);
    node.advance(seconds(90));
    assert!(node.loop_back().contains(&Type::StateRequest));
    for _ in 0..300 {
        node.advance(seconds(1));
        assert!(!node.loop_back().contains(&Type::StateRequest), "the request came back");
    }
}

#[test]
fn simultaneous_requests_share_one_answer() {
    let mut node = Node::joined("a", &["ann"]);
    node.advance(Duration::ZERO);
    node.effects();
    for other in ["b", "c", "d"] {
        node.receive(other, &Message::StateRequest { from_node: "x".into() });
    }
    assert_eq!(node.published().0, [Type::StateResponse]);
    node.advance(Duration::from_millis(99));
    assert_eq!(node.effects(), []);
    node.advance(Duration::from_millis(1));
    assert_eq!(node.published().0, [Type::StateResponse], "for the later requests");
    node.advance(seconds(1));
    assert_eq!(node.effects(), []);
}

#[test]
fn channels_that_share_a_topic_stay_apart() {
    let mut node = Node::new("a");
    let (one, two) = (node.cluster.channel("/api", "b:/c"), node.cluster.channel("/api:b", "/c"));
    assert_eq!(one.topic(), two.topic());
    assert_ne!(one, two);
    assert!(node.cluster.join(&one, "ann", Payload::EMPTY, node.now));
    assert!(
        !node.cluster.join(&two, "eve", Payload::EMPTY, node.now),
        "another channel has the topic"
    );
    assert!(!node.cluster.leave(&two, "ann", node.now));
    assert_eq!((node.cluster.users(&one).count(), node.cluster.users(&two).count()), (1, 0));
    let message = Message::EvictUser { user_id: "ann".into(), reason: "".into() };
    node.effects();
    let origin = Origin { node_id: "b", endpoint_name: "api:b", channel_name: "b:/c" };
    node.cluster.receive(one.topic(), &origin.encode("m", 1, &message), node.now).unwrap();
    assert_eq!(node.effects(), [], "it concerns another endpoint");
    assert!(node.cluster.leave(&one, "ann", node.now));
    assert!(node.cluster.join(&two, "eve", Payload::EMPTY, node.now));
}

/// A node is killed and started again under its name before it expires.
#[test]
fn a_restarted_node_has_a_new_id() {
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
    assert!(
        first.starts_with("b-") && b.cluster.node_id() != first,
        "even when started at the same moment"
    );
    for _ in 0..90 {
        a.advance(seconds(1));
        b.advance(seconds(1));
        tell(&mut a, &mut b);
    }
    assert_eq!(a.users(), set(&[("own", "ann")]));
    assert_eq!(a.cluster.nodes().collect::<Vec<_>>(), [b.cluster.node_id()]);
}

#[test]
fn presence_removed_for_an_unknown_user_is_ignored() {
    let mut node = Node::joined("a", &["ann"]);
    node.receive_joined("b", "bob", "{}");
    node.receive_left("b", "bob");
    node.receive("b", &Message::PresenceRemoved { user_id: "bob".into() });
    assert_eq!((node.users(), node.effects()), (set(&[("own", "ann")]), vec![]));
}

#[test]
fn irrelevant_messages_change_nothing() {
    let mut node = Node::joined("a", &["ann"]);
    node.advance(Duration::ZERO);
    node.effects();
    let own = node.cluster.node_id().to_owned();
    node.receive_joined(&own, "own", "{}");
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
