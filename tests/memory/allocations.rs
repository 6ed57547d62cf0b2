//! The allocations of each step, counted: none to receive, one to send.

use std::hint::black_box;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use pondwire::cache::LastValue;
use pondwire::distributed::{Envelope, Message};
use pondwire::fanout::{BehaviorSubject, Subject};
use pondwire::frame::Form;
use pondwire::message::Client;
use pondwire::protocol::Pattern;
use pondwire::room::Shard;
use pondwire::scan::Tier;
use pondwire::websocket::{Event, MaxPayload, MessageReader};
use pondwire::{
    ChannelEvent, ClientMessage, Frame, Limits, Outbox, OutboxOptions, Payload, Policy,
    PresenceEvent, PresenceRoster, Room, ServerAction, ServerMessage, ValidationError,
};
use pondwire_test_support::counting;

/// How many allocations `run` makes, its result's drop included.
fn allocations<R>(run: impl FnOnce() -> R) -> usize {
    // The first parse of a process reads an environment variable.
    assert!(Tier::current().is_supported());
    let before = counting::count();
    drop(black_box(run()));
    counting::count() - before
}

const FRAME: &[u8] = br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"6de7f22d-a688-49d1-af45-1c4a729d6cd0","event":"say","payload":{"text":"hi \u00e9","n":[1,2.5,{"a":null}]}}"#;

#[test]
fn parsing_allocates_nothing() {
    let large = format!(
        r#"{{"payload":{{"a":{:?}}},"event":"","requestId":"","channelName":"","action":"BROADCAST"}}"#,
        vec![1; 100_000]
    );
    assert_eq!(allocations(|| ClientMessage::parse(FRAME).unwrap()), 0);
    assert_eq!(allocations(|| ServerMessage::parse(FRAME).unwrap()), 0);
    assert_eq!(allocations(|| ChannelEvent::parse(FRAME).unwrap()), 0);
    assert_eq!(allocations(|| ClientMessage::parse(large.as_bytes()).unwrap()), 0);
    let presence = br#"{"action":"PRESENCE","event":"JOIN","channelName":"/c","requestId":"r","payload":{"presence":[{"a":1},{"b":2}],"changed":{"a":1}}}"#;
    assert_eq!(allocations(|| ChannelEvent::parse(presence).unwrap()), 0);
}

#[test]
fn escapes_in_header_strings_cost_one_allocation_and_its_shrinking() {
    for [event, channel, request] in
        [["\\u00e9", "c", "r"], ["e", "a\\nb", "\\/"], ["\\t", "\\t", "\\t"]]
    {
        let frame = format!(
            r#"{{"action":"BROADCAS\u0054","\u0065vent":"{event}","channelName":"{channel}","requestId":"{request}","payload":{{}}}}"#
        );
        assert_eq!(allocations(|| ClientMessage::parse(frame.as_bytes()).unwrap()), 2);
    }
    let frame = br#"{"action":"BROADCAS\u0054","\u0065vent":"e","channelName":"c","requestId":"r","payload":{}}"#;
    assert_eq!(allocations(|| ClientMessage::parse(frame).unwrap()), 0);
}

#[test]
fn refusing_allocates_nothing() {
    let deep = "[".repeat(5000);
    let bad: [&[u8]; 9] = [
        b"",
        b"nope",
        b"[1,2",
        b"{\"event\":\"\xff\"}",
        b"{\"event\":7}",
        br#"{"event":"\ud800","requestId":"","channelName":"","payload":{},"action":"x"}"#,
        br#"{"event":"","requestId":"","channelName":"","payload":{},"action":"PING"}"#,
        br#"{"event":"","requestId":"","channelName":"","payload":[],"action":"BROADCAST"}"#,
        deep.as_bytes(),
    ];
    for frame in bad {
        assert_eq!(allocations(|| ClientMessage::parse(frame).unwrap_err()), 0);
    }
    let presence = br#"{"action":"PRESENCE","event":"JOIN","channelName":"","requestId":"","payload":{"presence":[{},1],"changed":{}}}"#;
    assert_eq!(allocations(|| ChannelEvent::parse(presence).unwrap_err()), 0);
}

#[test]
fn navigating_allocates_nothing() {
    let message = ClientMessage::parse(FRAME).unwrap();
    let payload = message.payload();
    assert_eq!(allocations(|| payload.pointer("/n/1").unwrap().as_f64()), 0);
    assert_eq!(allocations(|| payload.get("missing")), 0);
    assert_eq!(allocations(|| payload.members().count()), 0);
    assert_eq!(allocations(|| Payload::from_json(r#"{"a":"b"}"#).unwrap().get("a")), 0);
}

#[test]
fn a_frame_costs_one_allocation_and_a_clone_none() {
    let message = ClientMessage::parse(FRAME).unwrap();
    let relay =
        || Frame::broadcast(message.channel_name(), message.event(), "id", message.payload());
    assert_eq!(allocations(relay), 1);
    let spread = format!("{{\"a\":\n[{}1]}}", "1,\r\n".repeat(3000));
    let spread = Payload::from_json(&spread).unwrap();
    let escaped = || Frame::broadcast("/c\n", "e\"", "id", spread);
    allocations(escaped);
    assert_eq!(allocations(escaped), 1, "once the thread has its scratch memory");
    let typed = || {
        Frame::serialize(
            ServerAction::Broadcast,
            "/c",
            "e",
            "id",
            &[("a", 1)].into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        )
    };
    let map = allocations(|| [("a", 1)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    allocations(typed);
    assert_eq!(allocations(typed), map + 1, "once the thread has its scratch memory");
    let users = [message.payload(); 20];
    let presence =
        || Frame::presence("/c", PresenceEvent::Join, "id", users.iter().copied(), users[0]);
    assert_eq!(allocations(presence), 1);

    let frame = relay();
    assert_eq!(allocations(|| frame.clone()), 0);
    assert_eq!(allocations(|| frame.sse().len()), 1);
    assert_eq!(allocations(|| frame.clone().sse().len()), 0, "made once");
    assert_eq!(allocations(|| frame.wire_bytes()), 1);
    let bytes = frame.wire_bytes();
    assert_eq!(allocations(|| bytes.slice(4..)), 0);
}

#[test]
fn parsing_an_envelope_allocates_nothing_and_encoding_it_once() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/distributed.json")).unwrap();
    let large = format!(
        r#"{{"protocol":"pondsocket.distributed","version":1,"type":"USER_MESSAGE","messageId":"","sourceNodeId":"","endpointName":"","channelName":"","timestamp":0,"event":"","requestId":"","recipientDescriptor":{:?},"payload":{{"a":{:?}}}}}"#,
        vec!["user\"\\"; 5000],
        vec![1; 100_000],
    );
    let records = file["records"].as_array().unwrap().iter();
    let recorded = records.filter(|record| record["kind"] == "envelope");
    let recorded = recorded.map(|record| record["bytes"].as_str().unwrap().to_owned());
    let mut kinds = std::collections::BTreeSet::new();
    for text in recorded.chain([large]) {
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        assert_eq!(allocations(|| Envelope::parse(text.as_bytes()).unwrap()), 0, "{text}");
        let (id, origin) = (envelope.message_id(), envelope.origin());
        let message = envelope.message().unwrap();
        kinds.insert(message.kind());
        if text.len() < 1000 {
            assert_eq!(allocations(|| origin.encode(id, 1, message)), 1, "{text}");
            let escaped = || origin.encode("\"\n", 1, message);
            allocations(escaped);
            assert_eq!(allocations(escaped), 1, "once the thread has its scratch memory: {text}");
        }
        assert_eq!(allocations(|| envelope.accept("own", "/chat/42").is_ok()), 0);
        if let Message::UserMessage(message) = message {
            assert_eq!(allocations(|| message.frame("/chat/42")), 1);
        }
        for bad in
            [&text[1..], &text[..text.len() - 1], &text.replace("\"version\":1", "\"version\":2")]
        {
            assert_eq!(allocations(|| Envelope::parse(bad.as_bytes()).unwrap_err()), 0);
        }
    }
    assert_eq!(kinds.len(), 13, "every type");
}

#[cfg(feature = "cache")]
#[test]
fn a_cache_hit_allocates_nothing() {
    use pondwire::cache::{FrameCache, FrameKey, LocalFrames};

    let cache = FrameCache::new(1 << 20);
    let key = FrameKey::new("/chat/42", "topic").version(7);
    let make = || Frame::broadcast("/chat/42", "topic", "id", Payload::EMPTY);
    allocations(|| cache.get(key));
    assert_eq!(allocations(|| cache.get(key)), 0, "once the thread has its place to count in");
    let _ = cache.get_or_insert_with(key, make);
    assert_eq!(allocations(|| cache.get(key)), 0);
    assert_eq!(allocations(|| cache.get_or_insert_with(key, make)), 0);
    assert_eq!(allocations(|| cache.stats()), 0);
    assert_eq!(allocations(|| cache.invalidate_channel("/chat/42")), 0);
    let mut local = LocalFrames::new(&cache, 16);
    let _ = local.get_or_insert_with(key, make);
    assert_eq!(allocations(|| local.get_or_insert_with(key, make).wire().len()), 0);
    cache.invalidate_channel("/chat/42");
    let remade = allocations(|| cache.get_or_insert_with(key, make));
    assert!((1..=5).contains(&remade), "{remade}");
}

#[test]
fn another_payload_costs_one_allocation_and_a_last_value_none() {
    let message = ClientMessage::parse(FRAME).unwrap();
    let frame = Frame::broadcast("/c\"", "e", "id", message.payload());
    assert_eq!(allocations(|| frame.with_payload(Payload::EMPTY)), 1);
    assert_eq!(allocations(|| frame.payload_str()), 0);
    let last = LastValue::new();
    last.set(frame.clone());
    last.with(|frame| assert!(frame.is_some(), "the thread has its places now"));
    assert_eq!(allocations(|| last.get()), 0);
    assert_eq!(allocations(|| last.with(|frame| frame.map(Frame::wire).map(<[u8]>::len))), 0);
    assert_eq!(allocations(|| last.set(frame.clone())), 0);
}

#[test]
fn a_presence_frame_costs_one_allocation_for_any_number_of_users() {
    let mut roster = PresenceRoster::new("/chat/42");
    let json = r#"{"id":"user","name":"ann","away":false}"#;
    let payload = Payload::from_json(json).unwrap();
    let ids: Vec<_> = (0..10_001).map(|n| n.to_string()).collect();
    // A storm: every join allocates its id and its share of growing tables.
    let storm = allocations(|| {
        for id in &ids[..10_000] {
            assert!(roster.join(id, payload).is_some());
        }
    });
    println!("10,000 joins: {storm} allocations");
    assert!((10_000..14_000).contains(&storm), "{storm}");
    let list = 10_000 * (json.len() + 1);
    assert_eq!(roster.list_len(), list - 1);
    let live = counting::live();
    let joined = roster.join(&ids[10_000], payload).unwrap();
    let mut frame = None;
    assert_eq!(allocations(|| frame = Some(joined.frame("id"))), 1);
    let frame = frame.unwrap();
    assert!(frame.wire().len() > list);
    let grown = (counting::live() - live) as usize;
    assert!(grown < frame.wire().len() + 10_000, "{grown}");
    assert_eq!(allocations(|| roster.frame("id")), 0, "cached until a user joins or leaves");
    assert_eq!(allocations(|| roster.update("77", payload).map(|change| change.frame("id"))), 1);
    assert_eq!(allocations(|| roster.leave("5000").map(|change| change.frame("id"))), 1);
    let again = allocations(|| roster.join("5000", payload).map(|change| change.frame("id")));
    assert!((2..=4).contains(&again), "the id, the frame, and room that had to grow: {again}");

    let before = counting::live();
    drop((roster, frame));
    let given_back = before - counting::live();
    assert!(given_back as usize > 2 * list, "the list and its last frame");
}

#[test]
fn an_owned_message_clones_without_allocating_and_detaches_with_two() {
    let frame = Bytes::from_static(FRAME);
    let owned = ClientMessage::parse_owned(frame, Limits::default()).unwrap();
    assert_eq!(allocations(|| owned.payload().get("text")), 0);
    assert_eq!(allocations(|| owned.clone()), 0);
    assert!(allocations(|| owned.detach()) <= 2, "the bytes, and their count");
}

#[test]
fn an_owned_message_costs_four_allocations_and_its_frame_one() {
    let view = ClientMessage::parse(FRAME).unwrap();
    let message = Client::from(&view);
    assert_eq!(allocations(|| Client::from(&view)), 4);
    assert_eq!(allocations(|| Frame::from(&message)), 1);
    // Besides these, the text of the whole message and `serde_json`'s stack of brackets.
    let deserialized = allocations(|| serde_json::from_slice::<Client>(FRAME).unwrap());
    assert!(deserialized <= 6, "{deserialized}");
    let error = || ValidationError::of_item("payload.list", 7, "Expected string");
    assert_eq!(allocations(error), 0);
}

#[test]
fn a_path_allocates_only_for_percent_encoded_parts() {
    let pattern = Pattern::new("/chat/:id/*/x-:last").unwrap();
    let matched = |path: &str| allocations(|| pattern.matches(path).unwrap());
    assert_eq!(matched("//chat/7/a/b/x-1/?q=%41"), 0);
    assert_eq!(matched("/chat/%37/a/%62/x-%31"), 3);
    assert_eq!(allocations(|| pattern.matches("/%63hat/%37/%62/x-")), 2, "refused at its end");
    let found = pattern.matches("/chat/7/x-1?q=1&r=%41&s+=2").unwrap();
    assert_eq!(allocations(|| found.query("q").unwrap()), 0);
    assert_eq!(allocations(|| found.query("r").unwrap()), 1);
}

#[test]
fn publishing_allocates_nothing() {
    let subject = Subject::<str>::new();
    assert_eq!(allocations(Subject::<str>::new), 1, "an empty subject is one allocation");
    let kept: Vec<_> = (0..1000).map(|_| subject.subscribe(|text| assert_eq!(text, "x"))).collect();
    assert_eq!(allocations(|| subject.publish("x")), 0);
    // The entry of the closure; its slot needs no memory this time.
    assert_eq!(allocations(|| subject.subscribe(|_| ()).unwrap()), 1);
    assert_eq!(allocations(|| subject.publish("x")), 0);
    drop(kept);
    assert_eq!(allocations(|| subject.publish("x")), 0);

    let topic = BehaviorSubject::new(1);
    let _kept = topic.subscribe(|_| ());
    assert_eq!(allocations(|| topic.publish(2)), 1, "the value");
    assert_eq!(allocations(|| *topic.value().unwrap()), 0);
}

#[test]
fn subjects_free_all_memory() {
    let cycle = |subject: &Subject<str>, members: usize| {
        let kept: Vec<_> = (0..members).map(|_| subject.subscribe(|_| ()).unwrap()).collect();
        subject.publish("x");
        drop(kept);
    };
    let subject = Subject::<str>::new();
    cycle(&subject, 1);
    let before = counting::live();
    cycle(&subject, 2000);
    let kept = counting::live() - before;
    assert!(kept <= 0, "{kept} bytes are kept by a subject without subscriptions");
    // One subscription stays while many others are made and dropped: no slot is used twice, yet memory
    // does not grow.
    let _stays = subject.subscribe(|_| ()).unwrap();
    cycle(&subject, 1);
    let before = counting::live();
    for _ in 0..10_000 {
        cycle(&subject, 1);
    }
    let kept = counting::live() - before;
    assert!(kept.abs() < 200, "{kept} bytes piled up");
    let topic = BehaviorSubject::new(0_u64);
    let before = counting::live();
    for number in 0..1000 {
        topic.publish(number);
    }
    assert_eq!(counting::live(), before, "values go when they are replaced");
}

#[test]
fn frames_free_all_memory() {
    let message = ClientMessage::parse(FRAME).unwrap();
    let cycle = || {
        let frame = Frame::broadcast("/c", "e", "id", message.payload());
        let (wire, json, sse) = (frame.wire_bytes(), frame.json_bytes(), frame.sse_bytes());
        let clone = frame.clone();
        drop(frame);
        assert_eq!(&wire[wire.len() - json.len()..], &json[..]);
        assert_eq!(&sse[6..sse.len() - 2], &json[..]);
        drop((wire, json, sse, clone));
    };
    cycle();
    let before = counting::live();
    for _ in 0..100 {
        cycle();
    }
    assert_eq!(counting::live(), before);
}

/// One reference for each member is counted in advance. Unneeded references are returned; a queued frame's
/// reference is released when the frame is read or dropped.
#[test]
fn a_room_delivers_without_an_allocation_and_frees_all_memory() {
    let room = Room::new();
    let mut members: Vec<_> = (0..100)
        .map(|number| {
            // Every second outbox holds at most one frame.
            let max_frames = if number % 2 == 0 { 1 } else { 1000 };
            let policy = Policy::DropNewest;
            let options = OutboxOptions::new().with_policy(policy).with_max_frames(max_frames);
            let (outbox, reader) = Outbox::new(options);
            (room.join(["ann", "bob"][number % 2], outbox).unwrap(), reader)
        })
        .collect();
    let message = ClientMessage::parse(FRAME).unwrap();
    let cycle = |members: &mut Vec<(_, pondwire::OutboxReader)>| {
        let frame = Frame::broadcast("/c", "e", "id", message.payload());
        let delivering = allocations(|| {
            let all = room.publish(&frame);
            let others = room.publish_except(&frame, "ann");
            let named = room.publish_to(&frame, ["eve"]);
            (all, others, named)
        });
        for (_, reader) in members {
            while let Some(batch) = reader.try_batch() {
                assert!(batch.iter().all(|wire| wire == frame.wire()));
            }
        }
        delivering
    };
    cycle(&mut members);
    let before = counting::live();
    for _ in 0..100 {
        assert_eq!(cycle(&mut members), 0);
    }
    assert_eq!(counting::live(), before);
}

fn shard_round(shard: &mut Shard) -> usize {
    let mut sent = 0;
    while shard.poll_round(&mut Context::from_waker(Waker::noop())).is_ready() {
        sent += shard.sends().map(|send| send.seats.len() * send.bytes.len()).sum::<usize>();
        shard.end_round();
    }
    sent
}

#[test]
fn a_shard_delivers_without_an_allocation() {
    let (mut shard, room) = (Shard::new(OutboxOptions::new()), Room::new());
    let seats: Vec<_> = (0..1000).map(|_| shard.handle().open(Form::WebSocket)).collect();
    let join = |(id, seat)| room.seat(["ann", "bob", "eve"][id % 3], seat, None).unwrap();
    let members: Vec<_> = seats.iter().enumerate().map(join).collect();
    let frame = Frame::acknowledge("/c", "r");
    let cycle = |shard: &mut Shard| {
        allocations(|| {
            room.publish(&frame);
            room.publish_except(&frame, "ann");
            members[0].push(frame.clone());
            seats[7].push(frame.clone());
            assert_eq!(shard_round(shard), (1000 + 666 + 2) * frame.wire().len());
        })
    };
    shard_round(&mut shard);
    // The first rounds grow the memory that later ones use again.
    for _ in 0..3 {
        cycle(&mut shard);
    }
    let before = counting::live();
    assert_eq!((0..100).map(|_| cycle(&mut shard)).sum::<usize>(), 0);
    assert_eq!(counting::live(), before);
}

#[test]
fn a_shard_that_is_dropped_first_leaves_nothing_behind() {
    let run = || {
        let (mut shard, room) = (Shard::new(OutboxOptions::new()), Room::new());
        let seats: Vec<_> = (0..10).map(|_| shard.handle().open(Form::WebSocket)).collect();
        let join = |seat| room.seat("ann", seat, None).unwrap();
        let members: Vec<_> = seats.iter().map(join).collect();
        shard_round(&mut shard);
        drop(shard);
        room.publish(&Frame::acknowledge("/c", "r"));
        (room, members, seats)
    };
    drop(run());
    let before = counting::live();
    for _ in 0..10 {
        let (room, members, seats) = run();
        drop(members);
        room.publish(&Frame::acknowledge("/c", "r"));
        drop((room, seats));
    }
    assert_eq!(counting::live(), before);
}

#[test]
fn a_reader_that_waits_keeps_only_what_it_has_not_read() {
    // `abc` masked with zeros.
    let ping = *b"\x89\x83\0\0\0\0abc";
    let mut reader =
        MessageReader::new(BytesMut::new(), MaxPayload { plain: 1 << 20, compressed: None });
    let before = counting::live();
    reader.buffer().extend_from_slice(&ping);
    assert!(counting::live() - before >= 4096);
    assert_eq!((reader.next_event(), reader.payload()), (Ok(Some(Event::Ping)), &b"abc"[..]));
    reader.release();
    assert_eq!((counting::live(), reader.payload()), (before, &b""[..]));
    // Two frames and the start of a third: the second and the rest are still there.
    reader.buffer().extend_from_slice(&[&ping[..], &ping, &ping[..5]].concat());
    assert_eq!(reader.next_event(), Ok(Some(Event::Ping)));
    reader.release();
    assert_eq!((reader.next_event(), reader.payload()), (Ok(Some(Event::Ping)), &b"abc"[..]));
    reader.release();
    reader.buffer().extend_from_slice(&ping[5..]);
    assert_eq!((reader.next_event(), reader.payload()), (Ok(Some(Event::Ping)), &b"abc"[..]));
}

/// An idle member by its outbox takes 650 bytes.
#[test]
fn an_idle_member_of_a_shard_is_small() {
    const MEMBERS: usize = 1 << 14;
    let (mut shard, room) = (Shard::new(OutboxOptions::new()), Room::new());
    let handle = shard.handle();
    let mut members = Vec::with_capacity(MEMBERS);
    let before = counting::live();
    for id in 0..MEMBERS {
        let seat = handle.open(Form::WebSocket);
        let member = room.seat(&format!("user-{id}"), &seat, None).unwrap();
        members.push((member, seat));
        if id % 64 == 0 {
            shard_round(&mut shard);
        }
    }
    shard_round(&mut shard);
    let handles = size_of_val(&members[0]);
    let each = (counting::live() - before) as usize / MEMBERS;
    println!("{each} bytes for an idle member, and {handles} of handles");
    assert!(each + handles <= 200, "{each}");
    crate::assert_documented(&format!("takes {} bytes with its handles", each + handles));
    // All of it is free again, but for tables, whose memory is used again.
    members.clear();
    shard_round(&mut shard);
    drop((shard, room, handle));
    assert!(counting::live() - before < 1024, "{}", counting::live() - before);
}

/// Every form of every frame is made after it was inserted: the allocated memory stays within the bound
/// plus the documented tenth for tables.
#[cfg(feature = "cache")]
#[test]
fn a_frame_cache_keeps_its_bound_with_all_forms_made() {
    use pondwire::cache::{FrameCache, FrameKey};

    let bound = 4 << 20;
    for size in [0, 100, 500, 3000] {
        let text: String = "a word, another one; ".chars().cycle().take(size).collect();
        let before = counting::live();
        let cache = FrameCache::new(bound);
        let mut most = 0;
        for version in 0..40_000_000 / (1000 + size as u64) {
            let key = FrameKey::new("/chat/42", "topic").version(version);
            let frame = cache.get_or_insert_with(key, || {
                let payload = serde_json::json!({ "text": text });
                Frame::serialize(ServerAction::Broadcast, "/chat/42", "topic", "r", &payload)
                    .unwrap()
            });
            assert!(frame.sse().len() > frame.json().len());
            #[cfg(feature = "deflate")]
            assert_eq!(frame.deflated().is_some(), size > 200);
            drop(frame);
            assert!(cache.stats().bytes <= bound);
            most = most.max(counting::live() - before);
        }
        let stats = cache.stats();
        println!("texts of {size}: {most} bytes at most, {stats:?}");
        assert!(stats.evicted > 1000, "it was full: {stats:?}");
        assert!(most <= (bound + bound / 10) as isize, "{most} bytes");
    }
}
