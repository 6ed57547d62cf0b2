//! The presence roster against one that encodes the whole list each time, byte for byte.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pondwire::cache::{CoalescedRoster, PresenceRoster};
use pondwire::{ChannelEvent, Frame, Payload, PresenceEvent};
use pondwire_test_support::{Random, cases};
use serde::Serialize;
use serde_json::value::RawValue;

/// The payload as a server without a roster would serialize it.
#[derive(Serialize)]
struct Message<'a> {
    action: &'static str,
    event: &'a str,
    #[serde(rename = "channelName")]
    channel_name: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
    payload: Presence<'a>,
}

#[derive(Serialize)]
struct Presence<'a> {
    presence: Vec<&'a RawValue>,
    changed: &'a RawValue,
}

/// The naive roster: a list of all presences, as text without newlines.
#[derive(Default, Clone)]
struct Naive {
    users: Vec<(String, Box<RawValue>)>,
}

impl Naive {
    fn position(&self, user: &str) -> Option<usize> {
        self.users.iter().position(|(id, _)| id == user)
    }

    fn encode(&self, channel: &str, event: PresenceEvent, id: &str, changed: &RawValue) -> String {
        let presence = self.users.iter().map(|(_, json)| &**json).collect();
        let payload = Presence { presence, changed };
        let event = event.as_str();
        let action = "PRESENCE";
        let message = Message { action, event, channel_name: channel, request_id: id, payload };
        serde_json::to_string(&message).unwrap()
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.replace(['\n', '\r'], " ")).unwrap()
}

/// An object as a client may send it: of any size, sometimes over several lines.
fn presence(random: &mut Random) -> String {
    let value = serde_json::json!({
        "id": random.next(),
        "name": "ann \"é\" 😀\n".repeat(random.below(4)),
        "tags": vec!["a\\b"; random.below(3)],
        "since": random.below(1000) as f64 / 8.0,
    });
    match random.below(6) {
        0 => "{}".to_owned(),
        1 => serde_json::to_string_pretty(&value).unwrap(),
        2 => serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n"),
        3 => format!("{{\"long\":\"{}\"}}", "x".repeat(random.below(3000))),
        _ => value.to_string(),
    }
}

#[test]
fn every_frame_equals_encoding_the_whole_list() {
    let mut random = Random::from_env("every_frame_equals_encoding_the_whole_list");
    let mut frames = 0;
    for case in 0..cases(150) {
        let channel = ["/chat/42", "", "/é\"\n\\"][case % 3];
        let mut roster = PresenceRoster::new(channel);
        let mut naive = Naive::default();
        // Few users with many changes each, or enough users for several segments.
        let many = [3, 40, 300][case % 3];
        for step in 0..600 {
            let user = format!("u{}", random.below(many));
            let json = presence(&mut random);
            let payload = Payload::from_json(&json).unwrap();
            let there = naive.position(&user);
            let id = format!("r-{step}");
            let (event, change, changed) = match random.below(8) {
                0..4 => {
                    let change = roster.join(&user, payload);
                    assert_eq!(change.is_some(), there.is_none());
                    if there.is_none() {
                        naive.users.push((user.clone(), raw(&json)));
                    }
                    (PresenceEvent::Join, change, raw(&json))
                }
                4..6 => {
                    let change = roster.update(&user, payload);
                    assert_eq!(change.is_some(), there.is_some());
                    if let Some(at) = there {
                        naive.users[at].1 = raw(&json);
                    }
                    (PresenceEvent::Update, change, raw(&json))
                }
                _ => {
                    let change = roster.leave(&user);
                    assert_eq!(change.is_some(), there.is_some());
                    let left = there.map(|at| naive.users.remove(at).1);
                    (PresenceEvent::Leave, change, left.unwrap_or_default())
                }
            };
            let Some(change) = change else { continue };
            assert_eq!(change.changed(), changed.get());
            // Some changes' frames are not requested.
            if random.below(3) == 0 {
                continue;
            }
            let frame = change.frame(&id);
            assert_eq!(frame.as_str(), naive.encode(channel, event, &id, &changed));
            let again = roster.frame("another id").unwrap();
            assert_eq!(again.wire().as_ptr(), frame.wire().as_ptr(), "kept until it changes");
            let entries =
                naive.users.iter().map(|(_, json)| Payload::from_json(json.get()).unwrap());
            let changed = Payload::from_json(changed.get()).unwrap();
            assert_eq!(frame, Frame::presence(channel, event, &id, entries, changed));
            frames += 1;
        }
        assert_eq!(roster.len(), naive.users.len());
        assert_eq!(roster.is_empty(), naive.users.is_empty());
        assert!(roster.iter().eq(naive.users.iter().map(|(_, json)| json.get())));
        for (user, json) in &naive.users {
            assert_eq!(roster.get(user), Some(json.get()));
        }
        assert_eq!(roster.get("nobody"), None);
        let list_len = roster.iter().collect::<Vec<_>>().join(",").len();
        assert_eq!(roster.list_len(), list_len);
    }
    println!("every_frame: {frames} frames");
    assert!(frames > 50 * cases(150));
}

/// Recorded from the Python server; the roster before each frame follows from the record.
#[test]
fn recorded_presence_frames_are_reproduced_byte_for_byte() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/frames.json")).unwrap();
    let mut seen = HashMap::new();
    for record in file["records"].as_array().unwrap() {
        let clients = record["received"].as_object().into_iter().flat_map(|c| c.values());
        let messages = clients.filter_map(|client| client.as_array()).flatten();
        for text in messages.filter_map(|message| message["text"].as_str()) {
            let Ok(ChannelEvent::Presence(recorded)) = ChannelEvent::parse(text.as_bytes()) else {
                continue;
            };
            if record["server"] != "python" {
                continue;
            }
            let mut roster = PresenceRoster::new(recorded.channel_name());
            let list: Vec<_> = recorded.presence().collect();
            let changed = recorded.changed();
            let user = |at: usize| at.to_string();
            let change = match recorded.event() {
                PresenceEvent::Join => {
                    let (last, before) = list.split_last().unwrap();
                    for (at, entry) in before.iter().enumerate() {
                        assert!(roster.join(&user(at), *entry).is_some());
                    }
                    assert_eq!(*last, changed);
                    roster.join("new", changed)
                }
                PresenceEvent::Update => {
                    let updated = list.iter().position(|entry| *entry == changed).unwrap();
                    for (at, entry) in list.iter().enumerate() {
                        let before = if at == updated { Payload::EMPTY } else { *entry };
                        assert!(roster.join(&user(at), before).is_some());
                    }
                    roster.update(&user(updated), changed)
                }
                PresenceEvent::Leave => {
                    assert!(roster.join("leaving", changed).is_some());
                    for (at, entry) in list.iter().enumerate() {
                        assert!(roster.join(&user(at), *entry).is_some());
                    }
                    roster.leave("leaving")
                }
            };
            assert_eq!(change.unwrap().frame(recorded.request_id()).as_str(), text);
            *seen.entry(recorded.event().as_str()).or_insert(0) += 1;
        }
    }
    println!("recorded_presence_frames: {seen:?}");
    assert_eq!(seen.len(), 3, "all three events are recorded");
}

/// A client's list, once by the received frames and once by the deltas.
fn apply(list: &mut Vec<(String, String)>, roster: &CoalescedRoster) {
    for delta in roster.deltas() {
        let at = list.iter().position(|(user, _)| user == delta.user_id);
        match (delta.event, at) {
            (PresenceEvent::Leave, Some(at)) => drop(list.remove(at)),
            (PresenceEvent::Update, Some(at)) => list[at].1 = delta.presence.to_owned(),
            (PresenceEvent::Join, None) => {
                list.push((delta.user_id.to_owned(), delta.presence.to_owned()));
            }
            (event, at) => panic!("{event:?} of {}, who is at {at:?}", delta.user_id),
        }
    }
}

#[test]
fn coalesced_frames_respect_the_interval_and_converge() {
    let mut random = Random::from_env("coalesced_frames");
    let (mut changes, mut frames) = (0, 0);
    for case in 0..cases(200) {
        let interval = Duration::from_millis([0, 10, 100][case % 3]);
        let mut roster = CoalescedRoster::new(PresenceRoster::new("/c"), interval);
        let mut now = Instant::now();
        let mut client: Vec<(String, String)> = Vec::new();
        let (mut sent, mut oldest) = (None, None);
        // The users that changed since the last frame, in order.
        let mut changed: Vec<String> = Vec::new();
        for step in 0..300 {
            let user = format!("u{}", random.below(12));
            let json = presence(&mut random);
            let payload = Payload::from_json(&json).unwrap();
            let has_changed = match random.below(4) {
                0 | 1 => roster.join(&user, payload, now),
                2 => roster.update(&user, payload, now),
                _ => roster.leave(&user, now),
            };
            if has_changed {
                changed.push(user);
                changes += 1;
            }
            oldest = roster.due().map(|_| oldest.unwrap_or(now));
            for _ in 0..random.below(3) {
                now += Duration::from_millis(random.below(8) as u64);
                let due = roster.due();
                let mut after = client.clone();
                apply(&mut after, &roster);
                let shows = |user: &&String| roster.deltas().iter().any(|d| d.user_id == **user);
                let last = changed.iter().rev().find(shows).map(|user| {
                    let deltas = roster.deltas();
                    let delta = deltas.iter().rfind(|delta| delta.user_id == user).unwrap();
                    (delta.event, delta.presence.to_owned())
                });
                let Some(frame) = roster.take(now, &step.to_string()) else {
                    assert!(due.is_none_or(|due| due > now));
                    assert_eq!(due.is_none(), last.is_none());
                    continue;
                };
                let due = due.unwrap();
                assert!(due <= now);
                assert!(sent.is_none_or(|sent| now >= sent + interval), "one in an interval");
                assert!(due <= oldest.unwrap() + interval, "an interval late at most");
                let Ok(ChannelEvent::Presence(message)) = ChannelEvent::parse(frame.json()) else {
                    panic!("{frame:?}");
                };
                let list: Vec<_> = message.presence().map(|entry| entry.as_str()).collect();
                let by_deltas: Vec<_> = after.iter().map(|(_, json)| json.as_str()).collect();
                assert_eq!(list, by_deltas);
                assert!(roster.roster().iter().eq(list.iter().copied()), "the last state");
                let says = (message.event(), message.changed().as_str().to_owned());
                assert_eq!(Some(says), last, "the last change that shows");
                assert_eq!(roster.last_frame(), Some(&frame));
                assert_eq!(roster.due(), None);
                assert!(roster.deltas().is_empty());
                (client, sent, oldest) = (after, Some(now), None);
                changed.clear();
                frames += 1;
            }
        }
        // The last state is always sent.
        if let Some(due) = roster.due() {
            apply(&mut client, &roster);
            assert!(roster.take(due, "last").is_some());
        }
        assert!(roster.roster().iter().eq(client.iter().map(|(_, json)| json.as_str())));
    }
    println!("coalesced_frames: {frames} frames for {changes} changes");
    assert!(frames < changes && frames > cases(200));
}

#[test]
fn changes_that_cancel_out_are_not_sent() {
    let interval = Duration::from_millis(100);
    let mut roster = CoalescedRoster::new(PresenceRoster::new("/c"), interval);
    let start = Instant::now();
    let one = Payload::from_json(r#"{"n":1}"#).unwrap();
    let two = Payload::from_json(r#"{"n":2}"#).unwrap();
    assert!(roster.join("u1", one, start));
    assert!(!roster.join("u1", two, start));
    assert!(!roster.update("u2", two, start));
    assert!(!roster.leave("u2", start));
    assert!(roster.take(start, "r").is_some());

    // A user joined and left.
    assert!(roster.join("u2", one, start));
    assert!(roster.leave("u2", start));
    assert_eq!(roster.due(), None);
    assert!(roster.take(start + interval * 9, "r").is_none());

    // A user left and rejoined: it is at the end now, which takes two deltas and one frame.
    assert!(roster.join("u3", two, start + interval * 9));
    assert!(roster.take(start + interval * 9, "r").is_some());
    let later = start + interval * 10;
    assert!(roster.update("u1", two, later));
    assert!(roster.leave("u1", later));
    assert!(roster.join("u1", one, later));
    let events: Vec<_> = roster.deltas().iter().map(|d| (d.event, d.presence)).collect();
    let two_deltas = [(PresenceEvent::Leave, r#"{"n":2}"#), (PresenceEvent::Join, r#"{"n":1}"#)];
    assert_eq!(events, two_deltas);
    let frame = roster.take(later, "r").unwrap();
    assert!(frame.as_str().starts_with(r#"{"action":"PRESENCE","event":"JOIN""#));
    assert_eq!(frame.payload_str(), r#"{"presence":[{"n":2},{"n":1}],"changed":{"n":1}}"#);

    // An interval longer than an `Instant` can hold.
    let mut slow = CoalescedRoster::new(PresenceRoster::new("/c"), Duration::MAX);
    assert!(slow.join("u1", one, start));
    assert!(slow.take(start, "r").is_some());
    assert!(slow.join("u2", one, start));
    assert_eq!(slow.due(), Some(start + Duration::from_secs(24 * 60 * 60)));
}

/// 10,000 users join within a second: the bytes sent to one of them.
#[test]
fn a_storm_of_joins_is_not_quadratic_on_the_wire() {
    let interval = Duration::from_millis(100);
    let mut roster = CoalescedRoster::new(PresenceRoster::new("/chat/42"), interval);
    let start = Instant::now();
    let (mut frames, mut bytes, mut withheld) = (0, 0, 0);
    for n in 0..10_000_u32 {
        let now = start + Duration::from_micros(100) * n;
        let json = format!(r#"{{"id":"user-{n:05}","name":"user {n}","away":false}}"#);
        assert!(roster.join(&n.to_string(), Payload::from_json(&json).unwrap(), now));
        match roster.take(now, "r") {
            Some(frame) => {
                frames += 1;
                bytes += frame.wire().len();
            }
            None => withheld += roster.roster().list_len(),
        }
    }
    let last = roster.take(roster.due().unwrap(), "r").unwrap();
    bytes += last.wire().len();
    println!("a_storm: {frames} frames, {bytes} bytes; withheld at least {withheld} bytes");
    assert_eq!(frames, 10);
    assert_eq!(last.payload_str().matches("user-").count(), 10_000 + 1);
    assert!(bytes * 500 < withheld);
}
