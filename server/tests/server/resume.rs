//! Clients that come back get what they missed, each broadcast once, or are told of a hole.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pondwire::OutboxOptions;
use pondwire_server::{ChannelHandlers, Options, PondServer, Rate};
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::{Random, cases, websocket};
use serde_json::{Value, json};

use crate::fixture::Server;

const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

/// An application whose channels keep broadcasts.
fn with_history(add: impl FnOnce(&mut ChannelHandlers)) -> PondServer {
    let mut pond = PondServer::new();
    let endpoint = pond.endpoint("/api/socket", |connect| connect.accept());
    let room = endpoint.channel("/chat/:id", |join| {
        if let Some(class) = join.payload().get("class").and_then(|class| class.as_u64()) {
            join.set_class(class as u32)?;
        }
        join.accept()
    });
    add(room
        .on("say", |event| event.broadcast("say", event.payload()))
        .on("others", |event| event.broadcast_from("others", event.payload()))
        .on("to/:user", |event| event.broadcast_to(event.param("user"), "to", event.payload()))
        .on("track", |event| event.track(event.payload()))
        .on("echo", |event| event.reply(event.payload())));
    pond
}

fn start(add: impl FnOnce(&mut ChannelHandlers)) -> Server {
    Server::start_app(with_history(add), Options::default())
}

/// Waits until the metrics show this.
fn until_metrics(server: &Server, sample: &str) {
    let began = Instant::now();
    while !websocket::get(server.addr, "/metrics").contains(&format!("{sample}\n")) {
        assert!(began.elapsed() < PATIENCE, "{sample}");
    }
}

/// Joins with `resume`; returns what came before `RESUME`, and its payload.
fn come_back(client: &mut Client, params: &Value) -> (Vec<Value>, Value) {
    let request = client.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", &params.to_string());
    assert_eq!(client.next()["event"], "ACKNOWLEDGE");
    let mut missed = Vec::new();
    loop {
        let mut message = client.next();
        if message["event"] == "RESUME" {
            assert_eq!(message["requestId"], request);
            assert_eq!(
                (&message["action"], &message["channelName"]),
                (&json!("SYSTEM"), &json!(ROOM))
            );
            return (missed, message["payload"].take());
        }
        missed.push(message);
    }
}

fn after(id: &Value) -> Value {
    json!({ "resume": { "after": id } })
}

/// Has the client say a number and waits for its broadcast; returns its id.
fn say(client: &mut Client, number: usize) -> Value {
    client.event("say", &json!({ "n": number }).to_string());
    let mut message = client.next();
    assert_eq!(
        (&message["action"], &message["payload"]["n"]),
        (&json!("BROADCAST"), &json!(number))
    );
    message["requestId"].take()
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["payload"]["n"].as_u64().unwrap()).collect()
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed() {
    let server = start(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let mut ann = Client::connect(server.addr);
    let (missed, answer) = come_back(&mut ann, &json!({ "resume": {} }));
    assert_eq!(
        (missed.len(), &answer["complete"], &answer["missed"]),
        (0, &json!(true), &json!(0))
    );
    assert_eq!(answer["resume"]["connectionId"], ann.connection_id);
    // A position is known before there is any broadcast.
    let start = answer["resume"]["after"].clone();
    let first = say(&mut bob, 1);
    assert_eq!(ann.next()["requestId"], first);
    drop(ann);
    (2..=4).for_each(|number| drop(say(&mut bob, number)));

    let mut ann = Client::connect(server.addr);
    let (missed, answer) = come_back(&mut ann, &after(&first));
    assert_eq!((numbers(&missed), &answer["missed"]), (vec![2, 3, 4], &json!(3)));
    assert_eq!(answer["complete"], true);
    say(&mut bob, 5);
    assert_eq!(ann.next()["payload"]["n"], 5);
    // A member that joins again has missed nothing.
    let (missed, again) = come_back(&mut ann, &after(&first));
    assert_eq!((missed.len(), &again["complete"]), (0, &json!(true)));
    assert_eq!(again["resume"], json!({ "connectionId": ann.connection_id }));
    // From the answers alone.
    let mut eve = Client::connect(server.addr);
    assert_eq!(numbers(&come_back(&mut eve, &after(&answer["resume"]["after"])).0), [5]);
    let mut eve = Client::connect(server.addr);
    assert_eq!(numbers(&come_back(&mut eve, &after(&start)).0), [1, 2, 3, 4, 5]);
    // Over an event stream.
    let mut events = EventStream::open(server.addr);
    events.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", &after(&first).to_string());
    assert_eq!(events.next()["event"], "ACKNOWLEDGE");
    for number in 2..=5 {
        assert_eq!(events.next()["payload"]["n"], number);
    }
    assert_eq!(events.next()["event"], "RESUME");
    // Without the parameter a client is sent nothing of this.
    let mut carol = Client::joined(server.addr, ROOM);
    carol.expect_nothing();
    until_metrics(&server, "pondwire_resumes_total{outcome=\"complete\"} 4");
}

#[test]
fn a_client_is_told_of_a_hole() {
    let server = start(|room| {
        room.history(2, 1 << 20, MINUTE);
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let first = say(&mut bob, 1);
    let second = say(&mut bob, 2);
    say(&mut bob, 3);
    for (id, missed) in [(first, None), (json!("unknown"), None), (second, Some(1))] {
        let mut ann = Client::connect(server.addr);
        let (got, answer) = come_back(&mut ann, &after(&id));
        assert_eq!(
            (got.len(), &answer["complete"]),
            (missed.unwrap_or(0), &json!(missed.is_some()))
        );
        // It can go on from here.
        assert!(answer["resume"]["after"].is_string(), "{answer}");
        ann.expect_alive();
    }
    until_metrics(&server, "pondwire_resumes_total{outcome=\"hole\"} 2");
    // What is no such parameter is the application's.
    for other in [r#"{"resume":"x"}"#, r#"{"resume":null}"#] {
        let mut ann = Client::connect(server.addr);
        ann.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", other);
        assert_eq!(ann.next()["event"], "ACKNOWLEDGE");
        ann.expect_alive();
    }
}

#[test]
fn without_a_history_a_client_is_told_nothing() {
    let server = start(|_| {});
    let mut ann = Client::connect(server.addr);
    ann.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", r#"{"resume":{"after":"x"}}"#);
    assert_eq!(ann.next()["event"], "ACKNOWLEDGE");
    ann.expect_alive();
}

#[test]
fn only_the_secret_of_a_connection_makes_its_user() {
    let server = start(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let mut ann = Client::joined(server.addr, ROOM);
    let first = say(&mut bob, 1);
    assert_eq!(ann.next()["requestId"], first);
    ann.event("others", r#"{"n":2}"#);
    assert_eq!(bob.next()["payload"]["n"], 2);
    let (id, secret) = (ann.id.clone(), ann.connection_id.clone());
    drop(ann);
    bob.event(&format!("to/{id}"), r#"{"n":3}"#);
    bob.event("others", r#"{"n":4}"#);
    say(&mut bob, 5);
    for (proof, expected) in [
        (json!({ "after": first, "connectionId": secret }), &[3, 4, 5][..]),
        (json!({ "after": first, "connectionId": id }), &[2, 4, 5]),
        (json!({ "after": first }), &[2, 4, 5]),
        (json!({ "after": first, "connectionId": 7 }), &[2, 4, 5]),
    ] {
        let mut client = Client::connect(server.addr);
        assert_eq!(numbers(&come_back(&mut client, &json!({ "resume": proof })).0), expected);
    }
}

#[test]
fn handlers_do_not_see_what_proves_a_user() {
    let mut pond = PondServer::new();
    let endpoint = pond.endpoint("/api/socket", |connect| connect.accept());
    // The usual handler, which shows everybody what a client joins with.
    let joined = |join: &pondwire_server::Join<'_>| {
        join.accept()?;
        join.track(join.payload())
    };
    endpoint.channel("/chat/:id", joined).history(100, 1 << 20, MINUTE);
    // Clients send the same parameters to channels that keep nothing.
    endpoint.channel("/lobby/:id", joined);
    let server = Server::start_app(pond, Options::default());
    for (channel, params, presence) in [
        (
            ROOM,
            r#"{"resume":{"after":"x","connectionId":"secret"},"name":"ann"}"#,
            json!({ "name": "ann" }),
        ),
        (
            ROOM,
            r#"{"name":"ann","resum\u0065":{"connectionId":"secret"}}"#,
            json!({ "name": "ann" }),
        ),
        (ROOM, r#"{"resume":{"connectionId":"secret"},"resume":{}}"#, json!({})),
        (ROOM, r#"{"resume":{"connectionId":"secret"},"resume":"x"}"#, json!({})),
        (
            "/lobby/1",
            r#"{"resume":{"connectionId":"secret"},"name":"ann"}"#,
            json!({ "name": "ann" }),
        ),
        // No such parameter, so the application's.
        (ROOM, r#"{"resume":"x"}"#, json!({ "resume": "x" })),
        (
            "/lobby/1",
            r#"{"resume":{"where":"page 7"}}"#,
            json!({ "resume": { "where": "page 7" } }),
        ),
    ] {
        let mut ann = Client::connect(server.addr);
        ann.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", params);
        let changed = std::iter::repeat_with(|| ann.next())
            .find_map(|message| message["payload"].get("changed").cloned());
        assert_eq!(changed, Some(presence), "{channel} {params}");
    }
}

#[test]
fn each_class_gets_its_own_history() {
    let server = start(|room| {
        room.history(100, 1 << 20, MINUTE).id_in_payload("id").on_outgoing(
            |outgoing| match outgoing.class() {
                1 => outgoing.replace(json!({ "n": outgoing.payload().get("n"), "class": 1 })),
                2 if outgoing.event() == "others" => outgoing.suppress(),
                _ => outgoing.pass(),
            },
        );
    });
    let joined = |class: u32, resume: Value| {
        let mut client = Client::connect(server.addr);
        let came = come_back(&mut client, &json!({ "class": class, "resume": resume }));
        (client, came)
    };
    let (mut bob, _) = joined(0, json!({}));
    let first = say(&mut bob, 1);
    let (one, _) = joined(1, json!({ "after": first }));
    let (two, _) = joined(2, json!({ "after": first }));
    drop((one, two));
    until_metrics(&server, "pondwire_connections 1");
    // Nobody of their classes is here.
    let second = say(&mut bob, 2);
    bob.event("others", r#"{"n":3}"#);
    say(&mut bob, 4);
    let (_one, (missed, answer)) = joined(1, json!({ "after": first }));
    assert_eq!((numbers(&missed), &answer["complete"]), (vec![2, 3, 4], &json!(true)));
    for message in &missed {
        assert_eq!(message["payload"]["class"], 1);
        assert_eq!(message["payload"]["id"], message["requestId"]);
    }
    let (_two, (missed, _)) = joined(2, json!({ "after": first }));
    assert_eq!(numbers(&missed), [2, 4]);
    // No broadcast was ever made for this class.
    let (_three, (missed, answer)) = joined(3, json!({ "after": second }));
    assert_eq!((missed.len(), &answer["complete"]), (0, &json!(false)));
    let (_three, (_, answer)) = joined(3, answer["resume"].clone());
    assert_eq!(answer["complete"], true);
}

/// A broadcast to a user that is away is kept as each class would get it.
#[test]
fn a_private_broadcast_waits_for_its_user_in_the_form_of_its_class() {
    let server = start(|room| {
        room.history(100, 1 << 20, MINUTE).on_outgoing(|outgoing| match outgoing.class() {
            1 => outgoing.replace(json!({ "n": outgoing.payload().get("n"), "class": 1 })),
            2 => outgoing.suppress(),
            _ => outgoing.pass(),
        });
    });
    let join = |class: u32, resume: &Value| {
        let mut client = Client::connect(server.addr);
        let came = come_back(&mut client, &json!({ "class": class, "resume": resume }));
        (client, came)
    };
    let (mut bob, _) = join(0, &json!({}));
    let (mut ann, _) = join(0, &json!({}));
    let others = [1, 2].map(|class| join(class, &json!({})));
    let first = say(&mut bob, 1);
    assert_eq!(ann.next()["requestId"], first);
    let (id, resume) =
        (ann.id.clone(), json!({ "after": first, "connectionId": ann.connection_id }));
    drop((ann, others));
    until_metrics(&server, "pondwire_connections 1");
    bob.event(&format!("to/{id}"), r#"{"n":2}"#);
    say(&mut bob, 3);
    for (class, expected) in [(0, &[2, 3][..]), (1, &[2, 3]), (2, &[])] {
        let (_ann, (missed, answer)) = join(class, &resume);
        assert_eq!((&*numbers(&missed), &answer["complete"]), (expected, &json!(true)));
        assert!(missed.iter().all(|it| it["payload"].get("class").is_some() == (class == 1)));
    }
    // Nobody else gets it.
    let (_eve, (missed, _)) = join(0, &json!({ "after": first }));
    assert_eq!(numbers(&missed), [3]);
}

#[test]
fn the_id_is_in_the_payload_if_asked_for() {
    let server = start(|room| {
        room.id_in_payload("id");
    });
    let mut bob = Client::joined(server.addr, ROOM);
    for payload in [json!({}), json!({ "n": 1.5, "id": { "of": "the client" } })] {
        bob.event("say", &payload.to_string());
        let message = bob.next();
        assert_eq!(message["payload"]["id"], message["requestId"]);
        assert_eq!(message["payload"]["n"], payload["n"]);
    }
}

#[test]
fn presence_is_not_kept() {
    let server = start(|room| {
        room.history(2, 1 << 20, MINUTE);
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let first = say(&mut bob, 1);
    for number in 0..3 {
        bob.event("track", &json!({ "at": number }).to_string());
        assert_eq!(bob.next()["action"], "PRESENCE");
    }
    let mut ann = Client::connect(server.addr);
    let (missed, answer) = come_back(&mut ann, &after(&first));
    assert_eq!((missed.len(), &answer["complete"]), (0, &json!(true)));
}

#[test]
fn a_channel_waits_for_its_members_and_then_closes() {
    let server = start(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let first = say(&mut bob, 1);
    drop(bob);
    until_metrics(&server, "pondwire_connections 0");
    // Nobody is here but the server.
    let channel = server.server.channel(ROOM).unwrap();
    channel.broadcast("say", json!({ "n": 2 })).unwrap();
    let mut bob = Client::connect(server.addr);
    assert_eq!(numbers(&come_back(&mut bob, &after(&first)).0), [2]);

    let server = start(|room| {
        room.history(100, 1 << 20, Duration::from_millis(100));
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let first = say(&mut bob, 1);
    // What is too old goes although nothing happens.
    until_metrics(&server, "pondwire_history_bytes 0");
    drop(bob);
    until_metrics(&server, "pondwire_channels 0");
    let mut bob = Client::connect(server.addr);
    assert_eq!(come_back(&mut bob, &after(&first)).1["complete"], false);
}

/// A channel that keeps nothing has nothing for those that come back.
#[test]
fn a_channel_without_broadcasts_does_not_wait() {
    let server = start(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let mut ann = Client::connect(server.addr);
    let (_, answer) = come_back(&mut ann, &json!({ "resume": {} }));
    drop(ann);
    until_metrics(&server, "pondwire_channels 0");
    let (_, answer) = come_back(&mut Client::connect(server.addr), &answer);
    assert_eq!(
        answer["complete"], false,
        "another channel, which does not know what this one sent"
    );
}

/// The most channels that wait for their members.
const MOST_UNATTENDED: usize = 10_000;

#[test]
fn channels_that_many_clients_leave_do_not_keep_others_from_waiting() {
    let pond = with_history(|room| {
        room.history(100, 1 << 20, 60 * MINUTE);
    });
    let options = Options { message_rate: None, byte_rate: None, ..Options::default() };
    let server = Server::start_app(pond, options);
    let mut eve = Client::connect(server.addr);
    let mut fill = |channels: std::ops::Range<usize>| {
        for number in channels {
            let channel = format!("/chat/eve-{number}");
            eve.join(&channel);
            eve.send("BROADCAST", &channel, "say", "{}");
            assert_eq!(eve.next()["event"], "say");
            eve.send("LEAVE_CHANNEL", &channel, "LEAVE_CHANNEL", "{}");
            assert_eq!(eve.next()["event"], "EXIT_ACKNOWLEDGE");
        }
    };
    fill(0..MOST_UNATTENDED);
    until_metrics(&server, &format!("pondwire_channels {MOST_UNATTENDED}"));
    let mut bob = Client::joined(server.addr, ROOM);
    let first = say(&mut bob, 1);
    say(&mut bob, 2);
    drop(bob);
    until_metrics(&server, "pondwire_connections 1");
    fill(MOST_UNATTENDED..MOST_UNATTENDED + 100);
    let (missed, answer) = come_back(&mut Client::connect(server.addr), &after(&first));
    assert_eq!((numbers(&missed), &answer["complete"]), (vec![2], &json!(true)));
    until_metrics(&server, "pondwire_connections 1");
    until_metrics(&server, &format!("pondwire_channels {MOST_UNATTENDED}"));
}

#[test]
fn what_is_kept_is_bounded() {
    // A channel's bytes.
    let len = 400;
    let pad = "x".repeat(len - 200);
    let server = start(|room| {
        room.history(100, 3 * len, MINUTE);
    });
    let mut bob = Client::joined(server.addr, ROOM);
    let mut ids = Vec::new();
    for number in 1..=5 {
        bob.event("say", &json!({ "n": number, "pad": pad }).to_string());
        ids.push(bob.next()["requestId"].take());
    }
    for (id, expected) in [(0, None), (3, Some(vec![5])), (4, Some(vec![]))] {
        let (missed, answer) = come_back(&mut Client::connect(server.addr), &after(&ids[id]));
        assert_eq!(Some(numbers(&missed)), expected.clone().or(Some(vec![])));
        assert_eq!(answer["complete"], expected.is_some(), "{id}");
    }
    // Those of all together.
    let options = Options { history_bytes: 2 * len, ..Options::default() };
    let pond = with_history(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let server = Server::start_app(pond, options);
    for room in ["/chat/1", "/chat/2", "/chat/3"] {
        let mut client = Client::joined(server.addr, room);
        client.send("BROADCAST", room, "say", &json!({ "pad": pad }).to_string());
        client.next();
        let page = websocket::get(server.addr, "/metrics");
        let bytes = page.split("\npondwire_history_bytes ").nth(1).unwrap();
        let bytes: usize = bytes.lines().next().unwrap().parse().unwrap();
        assert!((len - 200..=2 * len).contains(&bytes), "{bytes}");
    }
    // Whoever keeps most drops it first.
    let options = Options { history_bytes: 10 * len, ..Options::default() };
    let pond = with_history(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let server = Server::start_app(pond, options);
    let mut bob = Client::joined(server.addr, ROOM);
    let mut eve = Client::joined(server.addr, "/chat/eve");
    let mut fill = || {
        for _ in 0..20 {
            eve.send("BROADCAST", "/chat/eve", "say", &json!({ "pad": pad }).to_string());
            assert_eq!(eve.next()["event"], "say");
        }
    };
    fill();
    // More than there may be room for between the frames of the other channel.
    let first = say(&mut bob, 1);
    (2..=7).for_each(|number| drop(say(&mut bob, number)));
    fill();
    let (missed, answer) = come_back(&mut Client::connect(server.addr), &after(&first));
    let expected = (vec![2, 3, 4, 5, 6, 7], &json!(true));
    assert_eq!((numbers(&missed), &answer["complete"]), expected);
    // What an outbox could not take at once.
    let waiting = OutboxOptions::new().with_max_frames(6);
    let pond = with_history(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let server = Server::start_app(pond, Options { waiting, ..Options::default() });
    let mut bob = Client::joined(server.addr, ROOM);
    let ids: Vec<Value> = (1..=4).map(|number| say(&mut bob, number)).collect();
    for (id, is_kept) in [(0, false), (1, true)] {
        let (_, answer) = come_back(&mut Client::connect(server.addr), &after(&ids[id]));
        assert_eq!(answer["complete"], is_kept, "{id}");
    }
}

#[test]
fn a_client_pays_for_what_it_is_sent_again() {
    let options =
        Options { byte_rate: Some(Rate { per_second: 100, burst: 6000 }), ..Options::default() };
    let pond = with_history(|room| {
        room.history(100, 1 << 20, MINUTE);
    });
    let server = Server::start_app(pond, options);
    let channel = server.server.channel(ROOM).unwrap();
    let _keeps_it_open = Client::joined(server.addr, ROOM);
    for number in 0..20 {
        channel.broadcast("say", json!({ "n": number, "pad": "x".repeat(500) })).unwrap();
    }
    let mut ann = Client::connect(server.addr);
    let (_, answer) = come_back(&mut ann, &json!({ "resume": {} }));
    ann.expect_alive();
    drop(ann);
    for number in 0..20 {
        channel.broadcast("say", json!({ "n": number, "pad": "x".repeat(500) })).unwrap();
    }
    let mut ann = Client::connect(server.addr);
    assert_eq!(come_back(&mut ann, &json!({ "resume": answer["resume"] })).0.len(), 20);
    ann.event("echo", "{}");
    ann.expect_invalid(429);
}

/// A user of the property test, over all its connections.
struct User {
    client: Option<Client>,
    /// What it joins with, as the documentation says.
    resume: Value,
    /// The user's id of its last connection.
    id: String,
    /// The first broadcast that was made after what it asks for; what comes after its last connection begins here.
    next: usize,
    got: Vec<u64>,
    /// What it should have got.
    expected: Vec<u64>,
}

impl User {
    /// Takes a message that is a broadcast.
    fn saw(&mut self, message: &Value) {
        let number = message["payload"]["n"].as_u64().unwrap();
        self.got.push(number);
        self.next = number as usize + 1;
        self.resume["after"] = message["requestId"].clone();
    }

    /// Reads all that it was sent so far.
    fn sync(&mut self) {
        let mut client = self.client.take().unwrap();
        let request = client.event("echo", "{}");
        loop {
            let message = client.next();
            if message["requestId"] == request {
                break;
            }
            self.saw(&message);
        }
        self.client = Some(client);
    }
}

/// Users who leave and come back at random, beside lists of what each of them must see; and with a short history, of
/// when there is a hole.
#[test]
fn each_broadcast_is_seen_once_whenever_a_client_leaves() {
    let mut random = Random::from_env("resume");
    for kept in [500, 4] {
        let server = start(|room| {
            room.history(kept, 1 << 20, MINUTE);
        });
        let new = || User {
            client: None,
            resume: json!({}),
            id: String::new(),
            next: 0,
            got: Vec::new(),
            expected: Vec::new(),
        };
        let mut users: Vec<User> = (0..4).map(|_| new()).collect();
        // A channel without broadcasts does not wait.
        let mut keeps_it_open = Some(Client::joined(server.addr, ROOM));
        let (mut published, mut resumed, mut holes) = (0_usize, 0, 0);
        for _ in 0..cases(600) {
            let at = random.below(users.len());
            if users[at].client.is_none() {
                let user = &mut users[at];
                let mut client = Client::connect(server.addr);
                let is_first = user.resume.get("after").is_none();
                let (missed, answer) = come_back(&mut client, &json!({ "resume": user.resume }));
                // The frame of before must be kept, or all that came after a start.
                let dropped = published.saturating_sub(kept);
                let is_kept = user.next > dropped || user.next == 0 && dropped == 0;
                assert_eq!(answer["complete"], is_first || is_kept, "{answer}");
                if is_first || !is_kept {
                    assert_eq!(missed.len(), 0);
                    user.expected.clone_from(&user.got);
                    holes += usize::from(!is_first);
                } else {
                    assert_eq!(answer["missed"], missed.len());
                    missed.iter().for_each(|message| user.saw(message));
                    resumed += missed.len();
                }
                assert_eq!(user.got, user.expected);
                (user.next, user.resume) = (published, answer["resume"].clone());
                user.id.clone_from(&client.id);
                user.client = Some(client);
                continue;
            }
            match random.below(10) {
                0..=2 => {
                    // The server may not know yet, or the last frames may be unread.
                    if random.below(2) == 0 {
                        users[at].sync();
                    }
                    users[at].client = None;
                }
                3 => users[at].sync(),
                what => {
                    let to = random.below(users.len());
                    let event = match what {
                        4 | 5 => "others".to_owned(),
                        6 if !users[to].id.is_empty() => format!("to/{}", users[to].id),
                        _ => "say".to_owned(),
                    };
                    let client = users[at].client.as_mut().unwrap();
                    client.event(&event, &json!({ "n": published }).to_string());
                    // Published when this has been answered, and before anything else.
                    users[at].sync();
                    for (number, user) in users.iter_mut().enumerate() {
                        let is_for = match &*event {
                            "say" => true,
                            "others" => number != at,
                            _ => number == to,
                        };
                        // One that has not come yet has no list.
                        if is_for && !user.id.is_empty() {
                            user.expected.push(published as u64);
                        }
                    }
                    published += 1;
                    keeps_it_open = None;
                }
            }
        }
        drop(keeps_it_open);
        for user in users.iter_mut().filter(|user| user.client.is_some()) {
            user.sync();
            assert_eq!(user.got, user.expected);
        }
        println!("{published} broadcasts, {resumed} sent again, {holes} holes");
        assert!(resumed > 20 && (holes > 5) == (kept == 4));
    }
}

/// The figures of `profiles/records/resume-*.md`: a thousand clients come back at once, while broadcasts go on.
#[test]
#[ignore = "a measurement"]
fn a_thousand_clients_come_back_at_once() {
    const CLIENTS: usize = 1000;
    const MISSED: usize = 200;
    const THREADS: usize = 8;
    for resume in [false, true] {
        let server = start(|room| {
            room.history(512, 1 << 20, MINUTE);
        });
        let channel = server.server.channel(ROOM).unwrap();
        let pad = "x".repeat(200);
        let next = AtomicUsize::new(0);
        let broadcast = || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            channel.broadcast("say", json!({ "n": number, "pad": pad })).unwrap();
        };
        let mut ann = Client::connect(server.addr);
        let position = come_back(&mut ann, &json!({ "resume": {} })).1["resume"].take();
        (0..MISSED).for_each(|_| broadcast());
        let after = if resume { position } else { json!({}) };
        let clients: Vec<Vec<Client>> = thread::scope(|scope| {
            let connect = || {
                let connect = |_| Client::connect(server.addr);
                scope.spawn(move || (0..CLIENTS / THREADS).map(connect).collect())
            };
            let threads: Vec<_> = (0..THREADS).map(|_| connect()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let is_over = AtomicBool::new(false);
        let (cpu, began) = (cpu_time(), Instant::now());
        let (missed, slowest) = thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                    broadcast();
                }
            });
            let threads: Vec<_> = clients
                .into_iter()
                .map(|mut clients| {
                    let after = &after;
                    scope.spawn(move || {
                        let params = json!({ "resume": after }).to_string();
                        for client in &mut clients {
                            client.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", &params);
                        }
                        let mut total = 0;
                        for client in &mut clients {
                            let mut numbers = Vec::new();
                            loop {
                                let message = client.next();
                                match message["event"].as_str() {
                                    Some("RESUME") => break,
                                    Some("say") => numbers.push(message["payload"]["n"].as_u64()),
                                    _ => {}
                                }
                            }
                            total += numbers.len();
                            assert!(!resume || numbers.len() >= MISSED, "{}", numbers.len());
                            assert!(
                                numbers.windows(2).all(|pair| pair[1] == pair[0].map(|n| n + 1))
                            );
                        }
                        (total, Instant::now(), clients)
                    })
                })
                .collect();
            let done: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            is_over.store(true, Ordering::Relaxed);
            publisher.join().unwrap();
            let done: Vec<_> = done.into_iter().map(Result::unwrap).collect();
            let slowest = done.iter().map(|(_, at, _)| *at - began).max().unwrap();
            (done.iter().map(|(total, ..)| total).sum::<usize>(), slowest)
        });
        println!(
            "resume {resume}: {missed} broadcasts sent again to {CLIENTS} clients, all of them back after {slowest:?}, \
             {:?} of CPU time with the clients'",
            cpu_time() - cpu
        );
    }
}

/// This process's, of all threads.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

#[cfg(feature = "redis")]
mod nodes {
    use pondwire_server::NodeOptions;
    use pondwire_test_support::fake_redis::{FakeRedis, Mode};
    use tokio::runtime::Runtime;

    use super::*;

    fn node(redis: &FakeRedis, name: &str) -> Server {
        let node = NodeOptions {
            redis: vec![redis.url()],
            node_id: name.to_owned(),
            ..NodeOptions::default()
        };
        let pond = with_history(|room| {
            room.history(100, 1 << 20, MINUTE);
        });
        Server::start_app(pond, Options { node: Some(node), ..Options::default() })
    }

    fn metric(server: &Server, name: &str) -> u64 {
        let page = websocket::get(server.addr, "/metrics");
        let value = page.split(&format!("\npondwire_{name} ")).nth(1).unwrap();
        value.lines().next().unwrap().parse().unwrap()
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < PATIENCE, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A user at each of two nodes, which both know of both.
    fn a_user_at_each(a: &Server, b: &Server) -> (Client, Client) {
        let users = (Client::joined(a.addr, ROOM), Client::joined(b.addr, ROOM));
        until("both know both", || {
            metric(a, "remote_users") == 1 && metric(b, "remote_users") == 1
        });
        users
    }

    /// Users that are away are no users of any node.
    #[test]
    fn a_private_broadcast_waits_for_its_user_on_every_node() {
        let runtime = Runtime::new().unwrap();
        let redis = runtime.block_on(FakeRedis::start());
        let (a, b) = (node(&redis, "a"), node(&redis, "b"));
        let (mut ann, mut bob) = a_user_at_each(&a, &b);
        let mut eve = Client::joined(a.addr, ROOM);
        let first = say(&mut ann, 1);
        for client in [&mut bob, &mut eve] {
            assert_eq!(client.next()["requestId"], first);
        }
        let (id, secret) = (eve.id.clone(), eve.connection_id.clone());
        drop(eve);
        until_metrics(&a, "pondwire_connections 1");
        ann.event(&format!("to/{id}"), r#"{"n":2}"#);
        say(&mut ann, 3);
        // Behind the private one, as at every node.
        assert_eq!(bob.next()["payload"]["n"], 3);
        for node in [&a, &b] {
            let mut eve = Client::connect(node.addr);
            let resume = json!({ "resume": { "after": first, "connectionId": secret } });
            let (missed, answer) = come_back(&mut eve, &resume);
            assert_eq!((numbers(&missed), &answer["complete"]), (vec![2, 3], &json!(true)));
        }
    }

    /// Whether a client that comes back with this is told that it got all.
    fn is_complete(node: &Server, resume: &Value) -> bool {
        let (_, answer) = come_back(&mut Client::connect(node.addr), &json!({ "resume": resume }));
        answer["complete"] == true
    }

    /// Waits until a client that has just been here is told that it missed nothing.
    fn until_it_hears(node: &Server) {
        until("a node that hears the others", || {
            let (_, answer) = come_back(&mut Client::connect(node.addr), &json!({ "resume": {} }));
            is_complete(node, &answer["resume"])
        });
    }

    #[test]
    fn there_is_a_hole_until_the_node_is_subscribed() {
        let runtime = Runtime::new().unwrap();
        let redis = runtime.block_on(FakeRedis::start());
        let b = node(&redis, "b");
        until("a connection", || metric(&b, "bus_connected{side=\"subscriber\"}") == 1);
        redis.set(Mode::Late);
        let mut bob = Client::joined(b.addr, ROOM);
        let first = json!({ "after": say(&mut bob, 1) });
        assert!(!is_complete(&b, &first), "others may have sent what is not heard here");
        // One that has seen nothing has missed nothing.
        assert!(is_complete(&b, &json!({})));
        redis.set(Mode::Serve);
        until_it_hears(&b);
        assert!(!is_complete(&b, &first), "that was before");
        let second = json!({ "after": say(&mut bob, 2) });
        assert!(is_complete(&b, &second));
    }

    #[test]
    fn there_is_a_hole_while_the_node_is_cut_off() {
        let runtime = Runtime::new().unwrap();
        let redis = runtime.block_on(FakeRedis::start());
        let b = node(&redis, "b");
        let mut bob = Client::joined(b.addr, ROOM);
        until_it_hears(&b);
        let first = json!({ "after": say(&mut bob, 1) });
        assert!(is_complete(&b, &first));
        redis.set(Mode::Close);
        redis.kill();
        until("a hole", || !is_complete(&b, &first));
        assert!(is_complete(&b, &json!({})));
        let second = json!({ "after": say(&mut bob, 2) });
        assert!(!is_complete(&b, &second));
        redis.set(Mode::Serve);
        until_it_hears(&b);
        assert!(!is_complete(&b, &first) && !is_complete(&b, &second), "those were before");
        let third = json!({ "after": say(&mut bob, 3) });
        assert!(is_complete(&b, &third));
    }

    #[test]
    fn a_client_may_come_back_to_another_node() {
        let runtime = Runtime::new().unwrap();
        let redis = runtime.block_on(FakeRedis::start());
        let (a, b) = (node(&redis, "a"), node(&redis, "b"));
        let (mut ann, mut bob) = a_user_at_each(&a, &b);
        let first = say(&mut ann, 1);
        // The same id on both nodes.
        assert_eq!(bob.next()["requestId"], first);
        drop(bob);
        until("nobody is at b", || metric(&a, "remote_users") == 0);
        ann.event("others", r#"{"n":2}"#);
        say(&mut ann, 3);
        let mut bob = Client::connect(a.addr);
        assert_eq!(numbers(&come_back(&mut bob, &after(&first)).0), [2, 3]);
        // A node keeps what the others send while nobody is there.
        let mut kept = 0;
        until("b has all", || {
            let mut bob = Client::connect(b.addr);
            let (missed, answer) = come_back(&mut bob, &after(&first));
            assert_eq!(answer["complete"], true);
            kept = missed.len();
            kept == 2
        });
        // One that may have lost something tells of a hole.
        let before = metric(&b, "bus_reconnects_total");
        redis.kill();
        until("b is back", || metric(&b, "bus_reconnects_total") >= before + 2);
        until("a hole", || {
            let mut bob = Client::connect(b.addr);
            come_back(&mut bob, &after(&first)).1["complete"] == false
        });
    }
}
