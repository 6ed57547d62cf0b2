//! Presence lists: a roster that copies entries, beside a server that encodes all of them.

use std::hint::black_box;

use pondwire::{Frame, Payload, PresenceEvent, PresenceRoster};
use serde::Serialize;

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID};
use crate::report::Section;

#[derive(Serialize)]
struct Message<'a> {
    action: &'static str,
    event: &'static str,
    #[serde(rename = "channelName")]
    channel_name: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
    payload: Presence<'a>,
}

#[derive(Serialize)]
struct Presence<'a> {
    presence: &'a [User],
    changed: &'a User,
}

/// About 100 bytes as JSON.
#[derive(Serialize)]
struct User {
    id: String,
    name: String,
    role: &'static str,
    away: bool,
    since: u64,
}

impl User {
    fn new(n: usize) -> Self {
        Self {
            id: format!("user-{n:06}"),
            name: format!("Name of user {n}"),
            role: ["member", "moderator", "guest"][n % 3],
            away: n.is_multiple_of(5),
            since: 1_790_000_000_000 + n as u64,
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("encodes")
    }
}

/// The work of a server without a roster.
fn by_serde_json(event: &'static str, users: &[User], changed: &User) -> Vec<u8> {
    let payload = Presence { presence: users, changed };
    let (action, channel_name, request_id) = ("PRESENCE", CHANNEL, REQUEST_ID);
    let message = Message { action, event, channel_name, request_id, payload };
    serde_json::to_vec(&message).expect("encodes")
}

fn payload(json: &str) -> Payload<'_> {
    Payload::from_json(json).expect("an object")
}

fn filled(users: &[User]) -> PresenceRoster {
    let mut roster = PresenceRoster::new(CHANNEL);
    for user in users {
        assert!(roster.join(&user.id, payload(&user.json())).is_some());
    }
    roster
}

pub fn frames(plan: &Plan) -> Section {
    let rows = [100, 1000, 10_000]
        .map(|users| (format!("presence of {users}"), users))
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, users)| update_row(plan, name, users))
        .collect();
    Section {
        title: "A presence frame after an update, ns",
        size: "bytes",
        note: "Users of about 100 bytes of JSON. PresenceRoster: the update and the frame. \
               serde_json: the typed roster to a `Vec`. `Frame::presence`: from everyone's JSON, \
               one by one. The floor: one allocation and a copy of the document.",
        rows,
    }
}

fn update_row(plan: &Plan, name: String, count: usize) -> Row {
    let users: Vec<_> = (0..count).map(User::new).collect();
    let jsons: Vec<_> = users.iter().map(User::json).collect();
    let payloads: Vec<_> = jsons.iter().map(|json| payload(json)).collect();
    let changed = count / 2;
    let mut roster = filled(&users);
    let document = by_serde_json("UPDATE", &users, &users[changed]);
    let mut by_roster = || {
        let change = roster.update(&users[changed].id, black_box(payloads[changed]));
        change.expect("is there").frame(REQUEST_ID)
    };
    let by_payloads = || {
        let list = black_box(&payloads).iter().copied();
        Frame::presence(CHANNEL, PresenceEvent::Update, REQUEST_ID, list, payloads[changed])
    };
    assert_eq!(by_roster().json(), document);
    assert_eq!(by_payloads().json(), document);
    let contenders = vec![
        Contender::new("PresenceRoster", by_roster),
        Contender::new("serde_json", || {
            by_serde_json("UPDATE", black_box(&users), &users[changed])
        }),
        Contender::new("Frame::presence", by_payloads),
        Contender::new("alloc + memcpy", || black_box(&document).clone()),
    ];
    plan.race(name, 1, document.len(), contenders)
}

pub fn joins(plan: &Plan) -> Section {
    let name = "join into 10000".to_owned();
    let rows = if plan.wants(&name) { vec![join_row(plan, name)] } else { Vec::new() };
    Section {
        title: "A join into a large roster, ns",
        size: "bytes",
        note: "A user joins and leaves again. The join: both changes without a frame, as while \
               frames are coalesced. With its frame: both changes and the join's frame. \
               serde_json: the typed roster to a `Vec`. The floor: one allocation and a copy.",
        rows,
    }
}

fn join_row(plan: &Plan, name: String) -> Row {
    let mut users: Vec<_> = (0..10_000).map(User::new).collect();
    let (mut one, mut two) = (filled(&users), filled(&users));
    users.push(User::new(10_000));
    let new = &users[10_000];
    let json = new.json();
    let document = by_serde_json("JOIN", &users, new);
    let join = |roster: &mut PresenceRoster| {
        let joined = roster.join(&new.id, payload(black_box(&json))).is_some();
        joined && roster.leave(&new.id).is_some()
    };
    let mut with_frame = || {
        let change = two.join(&new.id, payload(black_box(&json)));
        let frame = change.expect("was not there").frame(REQUEST_ID);
        assert!(two.leave(&new.id).is_some());
        frame
    };
    assert!(join(&mut one));
    assert_eq!(with_frame().json(), document);
    let contenders = vec![
        Contender::new("join", || join(&mut one)),
        Contender::new("join with its frame", with_frame),
        Contender::new("serde_json", || by_serde_json("JOIN", black_box(&users), new)),
        Contender::new("alloc + memcpy", || black_box(&document).clone()),
    ];
    plan.race(name, 1, document.len(), contenders)
}
