//! Applications on the library: what handlers may do, in which order, and how they fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel as queue};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pondwire::error::PondError;
use pondwire::protocol::{Object, PondEvent, PondSchema};
use pondwire::{Outbox, OutboxOptions, Payload};
use pondwire_server::{Channel, Join, Json, LeaveReason, Options, PondServer, Times};
use pondwire_test_support::client::{Client, ROOM, message};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fixture::Server;

const PATIENCE: Duration = Duration::from_secs(60);

fn start(pond: PondServer) -> Server {
    Server::start_app(pond, Options::default())
}

/// An application with one endpoint and one pattern of channels, whose joins are accepted.
fn with_room(add: impl FnOnce(&mut pondwire_server::ChannelHandlers)) -> PondServer {
    let mut pond = PondServer::new();
    let endpoint = pond.endpoint("/api/socket", |connect| connect.accept());
    let room = endpoint.channel("/chat/:id", |join| join.accept());
    add(room.on("echo", |event| event.reply(event.payload())));
    pond
}

/// Waits until the metrics show this.
fn until_metrics(server: &Server, sample: &str) {
    let began = Instant::now();
    while !websocket::get(server.addr, "/metrics").contains(&format!("{sample}\n")) {
        assert!(began.elapsed() < PATIENCE, "{sample}");
    }
}

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("a call of the handler")
}

/// The event and the payload of the next message.
fn event_of(client: &mut Client) -> (String, Value) {
    let mut message = client.next();
    (message["event"].as_str().unwrap().to_owned(), message["payload"].take())
}

#[test]
fn the_open_channels_are_listed() {
    let mut pond = with_room(|_| {});
    pond.endpoint("/api/games", |connect| connect.accept())
        .channel("/game/:id", |join| join.accept());
    let server = start(pond);
    let names = || {
        let mut names: Vec<_> =
            server.server.channels().iter().map(|it| it.name().to_owned()).collect();
        names.sort();
        names
    };
    assert!(names().is_empty());
    let mut ann = Client::joined(server.addr, ROOM);
    ann.join("/chat/7");
    let games = WebSocket::open(server.addr, "/api/games").expect("an upgrade");
    Client::greeted(games).join("/game/1");
    // The game is over, as its only player is gone.
    until_metrics(&server, "pondwire_channels 2");
    assert_eq!(names(), [ROOM, "/chat/7"]);
    server.server.channels()[0].broadcast("tick", json!({})).unwrap();
    assert_eq!(ann.next()["event"], "tick");
}

#[test]
fn a_panic_ends_its_connection_alone() {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:id", |join| join.accept())
        .on("echo", |event| event.reply(event.payload()))
        .on("panic", |event| assert!(!event.is_member(), "as requested"))
        .on_async("panic-later", |event| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(!event.is_member(), "as requested");
        });
    let server = start(pond);
    let mut other = Client::joined(server.addr, ROOM);
    for event in ["panic", "panic-later"] {
        let mut client = Client::joined(server.addr, ROOM);
        client.event(event, "{}");
        client.expect_closed(1011);
        let mut events = EventStream::joined(server.addr, ROOM);
        let panic = message("BROADCAST", ROOM, event, "r-1", "{}");
        assert_eq!(events.request("POST", panic.as_bytes()), 500);
        assert_eq!(events.next_text(), None);
        other.expect_alive();
    }
    // All that panicked are counted out.
    until_metrics(&server, "pondwire_connections 1");
}

#[test]
fn the_handler_of_an_event_is_found_by_its_name() {
    let which = |which: &'static str| {
        move |event: &pondwire_server::Event<'_>| {
            let params: Vec<_> = ["kind", "*"].iter().map(|name| event.param(name)).collect();
            event.reply(json!({ "which": which, "params": params }))
        }
    };
    let pond = with_room(|room| {
        room.on("message/:kind", which("pattern"))
            .on("message/*", which("rest"))
            .on("message/text", which("exact"));
    });
    let server = start(pond);
    let mut client = Client::joined(server.addr, ROOM);
    for (event, expected) in [
        ("message/text", json!({ "which": "exact", "params": [null, null] })),
        ("message/a%20b", json!({ "which": "pattern", "params": ["a b", null] })),
        ("message/a/b", json!({ "which": "rest", "params": [null, "a/b"] })),
    ] {
        let request = client.event(event, "{}");
        let answer = client.next();
        assert_eq!(answer["payload"], expected);
        assert_eq!((&answer["event"], &answer["requestId"]), (&json!(event), &json!(request)));
    }
    let request = client.event("other", "{}");
    let answer = client.next();
    assert_eq!((&answer["event"], &answer["requestId"]), (&json!("NOT_FOUND"), &json!(request)));
    assert_eq!(answer["channelName"], ROOM);
}

#[test]
fn wrong_patterns_and_double_handlers_are_refused_at_the_start() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let start = |pond: PondServer| pond.start(Options::default()).err().unwrap_or_default();
    let mut pond = PondServer::new();
    pond.endpoint("/api/**", |connect| connect.accept());
    assert!(start(pond).starts_with("`/api/**`: "));
    let mut pond = PondServer::new();
    pond.endpoint("/", |connect| connect.accept()).channel("/:a/:a", |join| join.accept());
    assert!(start(pond).starts_with("`/:a/:a`: "));
    for event in ["echo", "*"] {
        let pond = with_room(|room| {
            room.on(event, |_| ()).on(event, |_| ());
        });
        assert!(start(pond).contains(&format!("`{event}` has two handlers")));
    }
}

#[derive(Serialize, Deserialize)]
struct Move {
    x: i32,
}

struct Step;

impl PondEvent for Step {
    const NAME: &'static str = "step:one";
    type Payload = Move;
    type Response = Move;
}

struct Silent;

impl PondEvent for Silent {
    const NAME: &'static str = "silent";
    type Payload = Move;
    type Response = ();
}

struct Board;

impl PondSchema for Board {
    type Presence = Object;
    type Assigns = Object;
    type JoinParams = Move;
}

#[test]
fn typed_events_and_schemas_need_no_strings() {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/board/:id", |join| {
            let Move { x } = join.params_of::<Board>()?;
            join.accept_with(json!({ "x": x }))
        })
        .on_event::<Step>(|event, step| {
            let x = event.assigns().view().get("x").and_then(|x| x.as_i64()).unwrap_or_default();
            event.emit::<Silent>(&Move { x: step.x })?;
            Ok(Move { x: step.x + x as i32 })
        })
        .on_event::<Silent>(|event, Move { x }| event.assign(json!({ "x": x })));
    let server = start(pond);
    let mut client = Client::connect(server.addr);
    client.send("JOIN_CHANNEL", "/board/1", "JOIN_CHANNEL", "{}");
    let refused = client.next();
    assert_eq!(
        (&refused["event"], &refused["payload"]["code"]),
        (&json!("UNAUTHORIZED"), &json!(400))
    );
    client.send("JOIN_CHANNEL", "/board/1", "JOIN_CHANNEL", r#"{"x":10}"#);
    client.next();
    client.send("BROADCAST", "/board/1", "step:one", r#"{"x":5}"#);
    assert_eq!(event_of(&mut client), ("silent".to_owned(), json!({ "x": 5 })));
    assert_eq!(event_of(&mut client), ("step:one".to_owned(), json!({ "x": 15 })));
    // No reply, and another answer to the next.
    client.send("BROADCAST", "/board/1", "silent", r#"{"x":100}"#);
    client.send("BROADCAST", "/board/1", "step:one", r#"{"x":5}"#);
    client.next();
    assert_eq!(event_of(&mut client).1, json!({ "x": 105 }));
    client.send("BROADCAST", "/board/1", "step:one", r#"{"x":"five"}"#);
    client.expect_invalid(400);
}

#[test]
fn errors_are_answered_with_the_frames_of_the_protocol() {
    let fail = |code: i64| {
        let error = PondError::new("as requested", code).unwrap();
        if code == 503 { error.temporary().with_details(json!({ "retry": 7 })) } else { error }
    };
    let pond = with_room(|room| {
        room.on("fail/:code", move |event| {
            Err::<(), _>(fail(event.param("code").unwrap().parse().unwrap()))
        })
        .on_async("fail-later/:code", move |event| async move {
            tokio::task::yield_now().await;
            Err::<(), _>(fail(event.param("code").unwrap().parse().unwrap()))
        })
        .on("unserializable", |event| {
            event.reply(Json(std::collections::HashMap::from([((1, 2), 3)])))
        });
    });
    let server = start(pond);
    let mut client = Client::joined(server.addr, ROOM);
    for event in ["fail", "fail-later"] {
        let mut answer = |code: i64| {
            let request = client.event(&format!("{event}/{code}"), "{}");
            let answer = client.next();
            assert_eq!(answer["requestId"], request);
            answer
        };
        let invalid = answer(400);
        assert_eq!(
            (&invalid["action"], &invalid["event"]),
            (&json!("ERROR"), &json!("INVALID_MESSAGE"))
        );
        assert_eq!(invalid["payload"]["message"], "as requested");
        let missing = answer(404);
        assert_eq!(
            (&missing["event"], &missing["channelName"]),
            (&json!("NOT_FOUND"), &json!(ROOM))
        );
        let failed = answer(503);
        assert_eq!(
            (&failed["action"], &failed["event"]),
            (&json!("SYSTEM"), &json!("INTERNAL_ERROR"))
        );
        assert_eq!(failed["channelName"], ROOM);
        assert_eq!(
            failed["payload"],
            json!({ "code": 503, "message": "as requested", "temporary": true, "details": { "retry": 7 } })
        );
    }
    client.event("unserializable", "{}");
    assert_eq!(client.next()["payload"]["code"], 500);
    client.expect_alive();
}

#[test]
fn connections_are_accepted_or_declined_by_their_endpoint() {
    let mut pond = PondServer::new();
    pond.endpoint("/v/:version", |connect| {
        if connect.query("mood").as_deref() == Some("a panic") {
            panic!("as requested");
        }
        assert!(connect.request().address.starts_with("127.0.0.1:"));
        match connect.param("version") {
            Some("1") => connect.decline(426),
            Some("2") => {}
            Some(version) => {
                connect.set_header("x-version", version).unwrap();
                assert!(connect.set_header("x-bad", "a\r\nb").is_err());
                let _ = connect.accept_with(json!({
                    "session": connect.cookie("session"), "agent": connect.header("user-agent"),
                }));
                connect.decline(403);
            }
            None => unreachable!(),
        }
    })
    .channel("/*", |join| {
        let session = join.connection_assigns().view().get("session").is_some();
        assert!(session);
        join.accept_with(json!({ "agent": "mine" }))
    })
    .on("me", |event| event.reply(&*event.assigns()));
    pond.endpoint("/other", |connect| connect.accept())
        .channel("/lobby", |join| join.accept())
        .on("say", |event| event.broadcast(event.name(), event.payload()));
    let server = start(pond);
    let open = |path: &str| {
        let opened =
            WebSocket::open_with(server.addr, path, "cookie: session=7\r\nuser-agent: test\r\n");
        opened.map_err(|head| head["http/1.1 ".len()..][..3].to_owned())
    };
    for (path, status) in [
        ("/v/1", "426"),
        ("/v/2", "403"),
        ("/v/3?mood=a%20panic", "500"),
        ("/v", "404"),
        ("/v/3/4", "404"),
    ] {
        assert_eq!(open(path).err().as_deref(), Some(status), "{path}");
    }
    let (socket, head) = open("/v/3?mood=fine").unwrap();
    assert!(head.contains("\r\nx-version: 3\r\n") && !head.contains("x-bad"), "{head}");
    let mut client = Client::greeted(socket);
    client.join("/anything");
    client.send("BROADCAST", "/anything", "me", "{}");
    assert_eq!(event_of(&mut client).1, json!({ "session": "7", "agent": "mine" }));
    // The same name behind another endpoint is another channel.
    client.join("/lobby");
    let mut other = Client::greeted(WebSocket::open(server.addr, "/other").unwrap());
    other.join("/lobby");
    other.send("BROADCAST", "/lobby", "say", "{}");
    assert_eq!(other.next()["event"], "say");
    client.send("BROADCAST", "/lobby", "me", "{}");
    assert_eq!(client.next()["event"], "me");
    // Event streams pass the same handler.
    let mut requests = pondwire_test_support::event_stream::Requests::new(server.addr);
    requests.raw("GET /v/2 HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(requests.status(), 403);
}

#[test]
fn a_connection_may_be_decided_later() {
    let mut pond = PondServer::new();
    pond.endpoint_async("/later", |connect| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            match connect.query("answer").as_deref() {
                Some("yes") => connect.accept(),
                Some("no") => connect.decline(401),
                Some("never") => std::future::pending().await,
                _ => panic!("as requested"),
            }
        })
    })
    .channel("/chat/:id", |join| join.accept());
    let times = Times { request: Duration::from_millis(500), ..Times::default() };
    let server = Server::start_app(pond, Options { times, ..Options::default() });
    let open = |answer: &str| WebSocket::open(server.addr, &format!("/later?answer={answer}"));
    Client::greeted(open("yes").unwrap()).join(ROOM);
    for (answer, status) in [("no", "401"), ("panic", "500")] {
        let head = open(answer).err().expect("no upgrade");
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    }
    let mut never = websocket::connect(server.addr);
    let head = "GET /later?answer=never HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n";
    std::io::Write::write_all(&mut never, head.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut never, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn a_join_is_answered_once_and_first() {
    let (told, results) = queue();
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:how", move |join: &Join<'_>| -> Result<(), PondError> {
            let code = |result: Result<(), PondError>| result.err().map_or(0, |error| error.code());
            match join.param("how") {
                Some("silence") => {}
                Some("error") => return Err(PondError::too_many_requests("", "later")),
                Some("decline") => {
                    join.decline(451, "no");
                    let _ = told.send(vec![code(join.accept()), code(join.track(Payload::EMPTY))]);
                }
                _ => {
                    let early = code(join.reply("early", Payload::EMPTY));
                    join.accept()?;
                    let again = code(join.accept());
                    join.decline(403, "too late");
                    let _ = told.send(vec![early, again]);
                    join.reply("welcome", json!({ "to": join.param("how") }))?;
                    join.track(json!({ "name": join.user_id() }))?;
                    join.broadcast("joined", json!({}))?;
                    join.broadcast_from("newcomer", json!({}))?;
                    return Err(PondError::unavailable("", "after all"));
                }
            }
            Ok(())
        })
        .on("echo", |event| event.reply(event.payload()));
    let server = start(pond);
    let mut client = Client::connect(server.addr);
    for (channel, code, text) in [
        ("/chat/silence", 403, "Join declined"),
        ("/chat/error", 429, "later"),
        ("/chat/decline", 451, "no"),
        ("/chat//silence", 404, "No such channel"),
        ("/chat/silence/", 404, "No such channel"),
        ("chat/silence", 404, "No such channel"),
    ] {
        let request = client.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", "{}");
        let declined = client.next();
        assert_eq!(
            (&declined["event"], &declined["requestId"]),
            (&json!("UNAUTHORIZED"), &json!(request))
        );
        assert_eq!(declined["payload"], json!({ "code": code, "message": text }), "{channel}");
    }
    assert_eq!(next(&results), [409, 409]);
    client.join(ROOM);
    assert_eq!(next(&results), [409, 409]);
    assert_eq!(event_of(&mut client), ("welcome".to_owned(), json!({ "to": "42" })));
    assert_eq!(client.next()["action"], "PRESENCE");
    assert_eq!(client.next()["event"], "joined");
    assert_eq!(client.next()["event"], "INTERNAL_ERROR");
    client.expect_alive();
}

#[test]
fn assigns_are_merged_set_and_kept_from_clients() {
    let pond = with_room(|room| {
        room.on("assign", |event| event.assign(event.payload()))
            .on("set", |event| event.set_assigns(event.payload()))
            .on("get", |event| event.reply(&*event.assigns()));
    });
    let server = start(pond);
    let mut client = Client::joined(server.addr, ROOM);
    for (event, payload, expected) in [
        ("assign", "{}", json!({})),
        ("assign", r#"{"a":1,"b":2}"#, json!({ "a": 1, "b": 2 })),
        ("assign", r#"{"b":{"c":[]}}"#, json!({ "a": 1, "b": { "c": [] } })),
        ("set", r#"{"d":null}"#, json!({ "d": null })),
        ("set", "{}", json!({})),
    ] {
        client.event(event, payload);
        client.event("get", "{}");
        assert_eq!(event_of(&mut client).1, expected);
    }
}

#[test]
fn a_leave_is_handled_once_with_its_reason() {
    let (told, leaves) = queue();
    let pond = with_room(|room| {
        room.on("evict/:id", |event| event.evict(event.param("id").unwrap(), "spam"))
            .on("assign", |event| event.assign(event.payload()))
            .on("track", |event| event.track(event.payload()))
            .on("close", |event| event.channel().close("over"))
            .on_leave(move |leave| {
                let _ = leave.broadcast("left", json!({ "id": leave.user_id() }));
                let seen = (
                    leave.user_id().to_owned(),
                    leave.reason().clone(),
                    leave.assigns().to_string(),
                    leave.presence().map(str::to_owned),
                );
                let _ = told.send(seen);
                assert_ne!(leave.reason(), &LeaveReason::Left, "a panic that is logged");
            });
    });
    let server = start(pond);
    let mut stays = Client::joined(server.addr, ROOM);
    let expect = |client_id: &str, reason: LeaveReason, stays: &mut Client| {
        assert_eq!(event_of(stays), ("left".to_owned(), json!({ "id": client_id })));
        let (id, why, assigns, presence) = next(&leaves);
        assert_eq!((&*id, why), (client_id, reason));
        (assigns, presence)
    };
    let mut leaves_it = Client::joined(server.addr, ROOM);
    leaves_it.event("assign", r#"{"a":1}"#);
    leaves_it.event("track", r#"{"b":2}"#);
    leaves_it.next();
    leaves_it.send("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "{}");
    assert_eq!(leaves_it.next()["event"], "EXIT_ACKNOWLEDGE");
    let had = expect(&leaves_it.id, LeaveReason::Left, &mut stays);
    assert_eq!(had, (r#"{"a":1}"#.to_owned(), Some(r#"{"b":2}"#.to_owned())));
    let vanishes = Client::joined(server.addr, ROOM);
    let id = vanishes.id.clone();
    drop(vanishes);
    assert_eq!(expect(&id, LeaveReason::Disconnected, &mut stays), ("{}".to_owned(), None));
    let mut evicted = Client::joined(server.addr, ROOM);
    stays.event(&format!("evict/{}", evicted.id), "{}");
    expect(&evicted.id, LeaveReason::Evicted("spam".to_owned()), &mut stays);
    assert_eq!(event_of(&mut evicted), ("EVICTED".to_owned(), json!({ "reason": "spam" })));
    drop(evicted);
    leaves_it.expect_nothing();
    leaves_it.join(ROOM);
    stays.event("close", "{}");
    let mut closed: Vec<_> = (0..2).map(|_| next(&leaves)).map(|(id, why, ..)| (id, why)).collect();
    closed.sort_by_key(|(id, _)| id != &stays.id);
    assert_eq!(closed[0], (stays.id.clone(), LeaveReason::Closed));
    assert_eq!(closed[1], (leaves_it.id.clone(), LeaveReason::Closed));
    // The first of the two to be evicted gets no more, the second may still hear of that.
    let mut texts = [stays.next(), leaves_it.next()];
    texts.iter_mut().for_each(|it| assert!(it["event"] == "left" || it["event"] == "EVICTED"));
    assert!(leaves.try_recv().is_err(), "once each");
}

/// The classes of the test below.
const PLAYER: u32 = 0;
const SPECTATOR: u32 = 7;
const MUTED: u32 = 30;

#[test]
fn a_broadcast_differs_by_class() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:id", |join| {
            let class = join.payload().get("class").and_then(|class| class.as_u64()).unwrap_or(0);
            join.set_class(class as u32)?;
            join.accept()?;
            join.catch_up()
        })
        .on("class", |event| {
            let class = event.payload().get("n").and_then(|class| class.as_u64()).unwrap_or(99);
            event.set_class(class as u32)?;
            event.reply(Payload::EMPTY)
        })
        .on("echo", |event| event.reply(event.payload()))
        .on("from", |event| event.broadcast_from(event.name(), event.payload()))
        .on("to/:id", |event| event.broadcast_to(event.param("id"), "to", event.payload()))
        .on("*", |event| event.broadcast(event.name(), event.payload()))
        .on_outgoing(move |outgoing| {
            counted.fetch_add(1, Ordering::Relaxed);
            match outgoing.class() {
                PLAYER => outgoing.pass(),
                SPECTATOR => {
                    assert_ne!(outgoing.event(), "panic", "the class is sent nothing");
                    let n = outgoing.payload().get("n").and_then(|n| n.as_i64());
                    outgoing.replace(json!({ "seen": n }))
                }
                MUTED => outgoing.suppress(),
                class => outgoing.replace(json!({ "class": class })),
            }
        });
    let server = start(pond);
    let join = |class: u32| {
        let mut client = Client::connect(server.addr);
        client.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", &json!({ "class": class }).to_string());
        assert_eq!(client.next()["event"], "ACKNOWLEDGE");
        client
    };
    let mut players = [join(PLAYER), join(PLAYER)];
    let (mut spectator, mut muted) = (join(SPECTATOR), join(MUTED));
    let say = |n: usize| json!({ "n": n }).to_string();
    players[0].event("say", &say(1));
    for player in &mut players {
        assert_eq!(event_of(player).1, json!({ "n": 1 }));
    }
    assert_eq!(event_of(&mut spectator).1, json!({ "seen": 1 }));
    assert_eq!(calls.load(Ordering::Relaxed), 3, "once for each class that has members");
    muted.expect_nothing();
    // Not to the sender, and not to others than those named.
    spectator.event("from", &say(2));
    for player in &mut players {
        assert_eq!(event_of(player).1, json!({ "n": 2 }));
    }
    spectator.expect_nothing();
    for id in [spectator.id.clone(), muted.id.clone(), players[1].id.clone()] {
        players[0].event(&format!("to/{id}"), &say(3));
    }
    assert_eq!(event_of(&mut spectator).1, json!({ "seen": 3 }));
    assert_eq!(event_of(&mut players[1]).1, json!({ "n": 3 }));
    players[0].expect_nothing();
    // The handler panics for one class.
    players[0].event("panic", &say(4));
    for player in &mut players {
        assert_eq!(event_of(player).1, json!({ "n": 4 }));
    }
    // What late members catch up with is of their class, too.
    players[0].event("say", &say(5));
    assert_eq!(event_of(&mut spectator).1, json!({ "seen": 5 }));
    assert_eq!(event_of(&mut join(SPECTATOR)).1, json!({ "seen": 5 }));
    join(MUTED).expect_nothing();
    muted.expect_nothing();
    // There are 31 classes.
    muted.event("class", r#"{"n":31}"#);
    assert_eq!(event_of(&mut muted).0, "INTERNAL_ERROR");
    let fresh = &mut join(PLAYER);
    assert_eq!(event_of(fresh).1, json!({ "n": 5 }));
}

/// A member that changes its class meanwhile gets each broadcast once, as one class or the other.
#[test]
fn a_change_of_class_neither_loses_nor_doubles_a_broadcast() {
    const SENT: usize = 400;
    let pond = with_room(|room| {
        room.on("class", |event| {
            event.set_class(event.payload().get("n").unwrap().as_u64().unwrap() as u32)
        })
        .on("say", |event| event.broadcast("say", event.payload()))
        .on_outgoing(|outgoing| match outgoing.class() {
            0 => outgoing.pass(),
            _ => outgoing.replace(outgoing.payload()),
        });
    });
    let server = start(pond);
    let mut sender = Client::joined(server.addr, ROOM);
    let mut changes = Client::joined(server.addr, ROOM);
    let sending = thread::spawn(move || {
        for n in 0..SENT {
            sender.event("say", &json!({ "n": n }).to_string());
            sender.next();
        }
    });
    for n in 0..SENT {
        changes.event("class", &json!({ "n": n % 3 }).to_string());
        assert_eq!(event_of(&mut changes).1, json!({ "n": n }));
    }
    sending.join().unwrap();
    changes.expect_nothing();
}

#[test]
fn a_channel_is_used_from_outside_of_handlers() {
    let (give, take) = queue();
    let give = Mutex::new(Some(give));
    let pond = with_room(|room| {
        room.on("give", move |event| {
            let _ = give.lock().unwrap().take().expect("once").send(event.channel());
        })
        .on("track", |event| event.track(event.payload()))
        .on("say", |event| event.broadcast("say", event.payload()));
    });
    let server = start(pond);
    let mut client = Client::joined(server.addr, ROOM);
    client.event("give", "{}");
    let channel: Channel = next(&take);
    assert_eq!((channel.name(), channel.len()), (ROOM, 1));
    channel.broadcast("news", json!({ "n": 1 })).unwrap();
    assert_eq!(event_of(&mut client), ("news".to_owned(), json!({ "n": 1 })));
    channel.emit::<Silent>(&Move { x: 7 }).unwrap();
    assert_eq!(event_of(&mut client), ("silent".to_owned(), json!({ "x": 7 })));
    let mut other = Client::joined(server.addr, ROOM);
    channel.broadcast_to([other.id.as_str(), "nobody"], "hint", Payload::EMPTY).unwrap();
    assert_eq!(event_of(&mut other).0, "hint");

    client.event("track", r#"{"who":"ann"}"#);
    client.next();
    assert!(channel.assign(&client.id, json!({ "a": 1 })).unwrap());
    assert!(channel.assign(&client.id, json!({ "b": 2 })).unwrap());
    assert!(!channel.assign("nobody", json!({})).unwrap());
    assert_eq!(channel.assigns(&client.id).unwrap().view().as_str(), r#"{"a":1,"b":2}"#);
    assert_eq!(channel.presence(&client.id).unwrap().view().as_str(), r#"{"who":"ann"}"#);
    assert!(channel.presence(&other.id).is_none() && channel.assigns("nobody").is_none());
    let users = channel.users();
    assert_eq!(users.len(), 2);
    assert_eq!(
        serde_json::to_value(&users).unwrap(),
        json!({
            "assigns": { &client.id: { "a": 1, "b": 2 }, &other.id: {} },
            "presence": { &client.id: { "who": "ann" } },
        })
    );

    // A listener hears what members hear, and keeps the channel open.
    let (outbox, mut heard) = Outbox::new(OutboxOptions::default());
    let listener = channel.listen(&outbox).unwrap();
    other.event("say", "{}");
    assert_eq!(event_of(&mut other).0, "say");
    let batch = heard.try_batch().expect("what members have been sent");
    assert!(batch.frames() == 1 && batch.texts().all(|text| text.contains(r#""event":"say""#)));
    drop(batch);
    assert!(channel.evict(&other.id, "enough") && !channel.evict("nobody", ""));
    assert_eq!(event_of(&mut client).0, "say");
    assert_eq!(event_of(&mut other).0, "EVICTED");
    channel.close("over");
    assert_eq!(event_of(&mut client).1, json!({ "reason": "over" }));
    until_metrics(&server, "pondwire_channels 1");
    drop(listener);
    until_metrics(&server, "pondwire_channels 0");

    // The handle outlives the channel, and finds the next one of its name.
    channel.broadcast("unheard", Payload::EMPTY).unwrap();
    assert!(channel.is_empty());
    client.join(ROOM);
    channel.broadcast("heard", Payload::EMPTY).unwrap();
    assert_eq!(event_of(&mut client).0, "heard");
    let elsewhere = channel.find("/chat/elsewhere").unwrap();
    assert!(channel.find("/nowhere").is_none());
    elsewhere.broadcast("unheard", Payload::EMPTY).unwrap();
    client.join("/chat/elsewhere");
    elsewhere.broadcast("heard", Payload::EMPTY).unwrap();
    assert_eq!(event_of(&mut client).0, "heard");
    client.expect_nothing();
}

#[test]
fn asynchronous_handlers_keep_the_order_and_hold_the_pings() {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel_async("/chat/:id", |join| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if join.param("id") == Some("private") {
                return Err(PondError::forbidden("", "not you"));
            }
            join.accept()?;
            join.reply("welcome", Payload::EMPTY)
        })
        .on("echo", |event| event.reply(event.payload()))
        .on_async("slow", |event| async move {
            let millis = event.payload().get("ms").and_then(|ms| ms.as_u64()).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            event.reply(event.payload())
        });
    let times = Times {
        ping: Duration::from_millis(600),
        pong: Duration::from_millis(500),
        ..Times::default()
    };
    let server = Server::start_app(pond, Options { times, ..Options::default() });
    let mut client = Client::connect(server.addr);
    // Sent at once, while the join's handler waits.
    client.send("JOIN_CHANNEL", "/chat/private", "JOIN_CHANNEL", "{}");
    client.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "{}");
    client.event("slow", r#"{"ms":50,"n":1}"#);
    client.event("echo", r#"{"n":2}"#);
    client.event("slow", r#"{"ms":0,"n":3}"#);
    assert_eq!(client.next()["payload"], json!({ "code": 403, "message": "not you" }));
    assert_eq!(client.next()["event"], "ACKNOWLEDGE");
    assert_eq!(client.next()["event"], "welcome");
    for n in 1..=3 {
        assert_eq!(event_of(&mut client).1["n"], n);
    }
    // Longer than any ping may be unanswered. The client answers, and nobody reads it meanwhile.
    client.event("slow", r#"{"ms":2500}"#);
    loop {
        match client.socket.receive() {
            Received::Ping(_) => client.socket.send(Opcode::Pong, true, b""),
            Received::Text(text) => break assert!(text.contains("2500"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    let mut events = EventStream::open(server.addr);
    events.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "{}");
    assert_eq!(events.next()["event"], "ACKNOWLEDGE");
    assert_eq!(events.next()["event"], "welcome");
    // Two requests at once are carried out one after the other.
    let id = format!("x-connection-id: {}\r\n", events.id);
    let slow = message("BROADCAST", ROOM, "slow", "r-1", r#"{"ms":300}"#);
    let addr = server.addr;
    let first = thread::spawn({
        let id = id.clone();
        move || {
            pondwire_test_support::event_stream::Requests::new(addr).send(
                "POST",
                &id,
                slow.as_bytes(),
            )
        }
    });
    thread::sleep(Duration::from_millis(100));
    let echo = message("BROADCAST", ROOM, "echo", "r-2", "{}");
    let mut requests = pondwire_test_support::event_stream::Requests::new(addr);
    assert_eq!(requests.send("POST", &id, echo.as_bytes()), 204);
    assert_eq!(first.join().unwrap(), 204);
    assert_eq!(
        (&events.next()["requestId"], &events.next()["requestId"]),
        (&json!("r-1"), &json!("r-2"))
    );
}

/// Tells when it is dropped.
struct Dropped(std::sync::mpsc::Sender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

#[test]
fn an_asynchronous_handler_ends_with_its_connection() {
    let (told, seen) = queue();
    let left = told.clone();
    let joins = told.clone();
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel_async("/chat/:id", move |join| {
            let dropped = Dropped(joins.clone());
            async move {
                join.accept()?;
                if join.param("id") == Some("slow") {
                    std::future::pending::<()>().await;
                }
                std::mem::forget(dropped);
                Ok::<(), PondError>(())
            }
        })
        .on_async("forever", move |event| {
            let dropped = Dropped(told.clone());
            async move {
                let _ = dropped.0.send("begun");
                std::future::pending::<()>().await;
                drop(event);
            }
        })
        .on_leave(move |_| {
            let _ = left.send("left");
        });
    let server = Server::start_app(
        pond,
        Options {
            times: Times {
                ping: Duration::from_millis(300),
                pong: Duration::from_millis(200),
                idle: Some(Duration::from_millis(700)),
                ..Times::default()
            },
            ..Options::default()
        },
    );
    let mut client = Client::joined(server.addr, ROOM);
    client.event("forever", "{}");
    assert_eq!(next(&seen), "begun");
    // Idle, and not reading.
    assert_eq!(next(&seen), "dropped");
    assert_eq!(next(&seen), "left");
    // A member that was accepted by a handler that never ended leaves, too.
    let mut client = Client::connect(server.addr);
    client.join("/chat/slow");
    until_metrics(&server, "pondwire_channels 1");
    assert_eq!(next(&seen), "dropped");
    assert_eq!(next(&seen), "left");
    until_metrics(&server, "pondwire_channels 0");
}

#[test]
fn presence_frames_are_fewer_than_changes() {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:id", |join| join.accept())
        .on("echo", |event| event.reply(event.payload()))
        .on("track", |event| event.track(event.payload()))
        .on("untrack", |event| event.untrack());
    let options = Options { presence_interval: Duration::from_millis(500), ..Options::default() };
    let server = Server::start_app(pond, options);
    let mut sees = Client::joined(server.addr, ROOM);
    let mut changes = Client::joined(server.addr, ROOM);
    sees.event("track", r#"{"n":-1}"#);
    sees.expect_presence("JOIN", json!([{ "n": -1 }]), json!({ "n": -1 }));
    let began = Instant::now();
    for n in 0..1000 {
        changes.event("track", &json!({ "n": n }).to_string());
    }
    let mut frames = 0;
    loop {
        let message = sees.next();
        assert_eq!(message["action"], "PRESENCE");
        frames += 1;
        if message["payload"]["changed"]["n"] == 999 {
            assert_eq!(message["payload"]["presence"], json!([{ "n": -1 }, { "n": 999 }]));
            break;
        }
    }
    let most = 2 + began.elapsed().as_millis() as usize / 500;
    assert!(frames <= most, "{frames} frames, at most {most}");
    // The last change is sent, though nothing follows it.
    changes.event("untrack", "{}");
    sees.expect_presence("LEAVE", json!([{ "n": -1 }]), json!({ "n": 999 }));
}
