//! The server as a node: two nodes in this process around a fake Redis. `tests/interop/distributed/` has a
//! real Redis, and nodes of another implementation.

use std::time::Duration;

use pondwire_server::{NodeOptions, Options, PondServer};

/// Options of a node at this Redis.
fn at(redis: &str, node_id: &str) -> NodeOptions {
    let heartbeat = Duration::from_secs(5);
    NodeOptions {
        redis: vec![redis.to_owned()],
        node_id: node_id.to_owned(),
        heartbeat,
        ..NodeOptions::default()
    }
}

fn with(node: NodeOptions) -> Options {
    Options { node: Some(node), ..Options::default() }
}

#[test]
#[cfg(not(feature = "redis"))]
fn without_the_feature_a_node_is_refused() {
    let options = with(at("redis://127.0.0.1:6379", "a"));
    let error = PondServer::new().start(options).expect_err("no node");
    assert!(error.contains("cargo add pondwire-server -F redis"), "{error}");
}

#[cfg(feature = "redis")]
mod nodes {
    use std::net::SocketAddr;
    use std::thread;
    use std::time::{Duration, Instant};

    use pondwire::Payload;
    use pondwire::distributed::{Envelope, Message, Origin, Topics};
    use pondwire_redis::{BusEvent, RedisBus, RedisOptions, RedisReceiver};
    use serde_json::{Value, json};
    use tokio::runtime::Runtime;

    use super::{NodeOptions, Options, PondServer, at, with};
    use crate::fixture::Server;
    use pondwire_server::Json;
    use pondwire_test_support::client::{Client, ROOM};
    use pondwire_test_support::fake_redis::{FakeRedis, Mode};
    use pondwire_test_support::websocket;

    /// A Redis, and the threads that it runs on.
    struct Redis {
        fake: FakeRedis,
        runtime: Runtime,
    }

    impl Redis {
        fn start() -> Self {
            let runtime = Runtime::new().unwrap();
            Self { fake: runtime.block_on(FakeRedis::start()), runtime }
        }

        fn node(&self, name: &str) -> Server {
            Server::start_as(with(self.options(name)))
        }

        fn options(&self, name: &str) -> NodeOptions {
            at(&self.fake.url(), name)
        }

        fn set(&self, mode: Mode) {
            let _runtime = self.runtime.enter();
            self.fake.set(mode);
        }
    }

    fn metric(server: SocketAddr, name: &str) -> u64 {
        metric_of(&websocket::get(server, "/metrics"), name)
    }

    fn metric_of(page: &str, name: &str) -> u64 {
        let value = page.lines().find_map(|line| line.strip_prefix(&format!("pondwire_{name} ")));
        value.unwrap_or_else(|| panic!("{name} in {page}")).parse().unwrap()
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the client's node knows these users and no others.
    fn knows(client: &mut Client, ids: &[&str]) -> Value {
        let mut known = Value::Null;
        until("users", || {
            client.event("users", "{}");
            let answer = client.next();
            assert_eq!(answer["event"], "users", "{answer}");
            known = answer["payload"].clone();
            let users = known["assigns"].as_object().unwrap();
            users.len() == ids.len() && ids.iter().all(|&id| users.contains_key(id))
        });
        known
    }

    fn expect_event(client: &mut Client, event: &str, payload: &Value) {
        let message = client.next();
        assert_eq!((&message["action"], &message["event"]), (&json!("BROADCAST"), &json!(event)));
        assert_eq!(message["payload"], *payload);
    }

    #[test]
    fn a_node_is_ready_once_it_has_been_connected() {
        let redis = Redis::start();
        redis.set(Mode::Close);
        let node = redis.node("a");
        let status = |path| websocket::get(node.addr, path)["HTTP/1.1 ".len()..][..3].to_owned();
        assert_eq!((status("/healthz"), status("/readyz")), ("200".to_owned(), "503".to_owned()));
        redis.set(Mode::Serve);
        until("ready", || status("/readyz") == "200");
        // Its clients need not be sent away if Redis fails later.
        redis.set(Mode::Close);
        until("disconnected", || metric(node.addr, "bus_connected{side=\"publisher\"}") == 0);
        assert_eq!(status("/readyz"), "200");
    }

    #[test]
    fn two_nodes_are_one_room() {
        let redis = Redis::start();
        let (a, b) = (redis.node("a"), redis.node("b"));
        let (mut ann, mut bob) = (Client::connect(a.addr), Client::connect(b.addr));
        let joined = r#"{"assigns":{"name":"ann"}}"#;
        ann.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", joined);
        assert_eq!(ann.next()["event"], "ACKNOWLEDGE");
        bob.join(ROOM);
        let (ann_id, bob_id) = (ann.id.clone(), bob.id.clone());
        knows(&mut ann, &[&ann_id, &bob_id]);
        let users = knows(&mut bob, &[&ann_id, &bob_id]);
        assert_eq!(users["assigns"][&ann_id], json!({ "name": "ann" }));
        assert_eq!(metric(b.addr, "remote_users"), 1);

        ann.event("say", r#"{"n":12345678901234567890}"#);
        for client in [&mut ann, &mut bob] {
            expect_event(client, "say", &json!({ "n": 12_345_678_901_234_567_890_u64 }));
        }
        ann.event("to-others", "{}");
        expect_event(&mut bob, "to-others", &json!({}));
        let ids = json!({ "ids": [bob_id] });
        ann.event("to-some", &ids.to_string());
        expect_event(&mut bob, "to-some", &ids);
        ann.event("to-some", r#"{"ids":[]}"#);
        ann.expect_nothing();

        bob.event("track", r#"{"who":"bob"}"#);
        bob.expect_presence("JOIN", json!([{ "who": "bob" }]), json!({ "who": "bob" }));
        until("presence", || {
            let presence = knows(&mut ann, &[&ann_id, &bob_id])["presence"].clone();
            presence == json!({ &bob_id: { "who": "bob" } })
        });
        ann.event("track", r#"{"who":"ann"}"#);
        let both = json!([{ "who": "bob" }, { "who": "ann" }]);
        for client in [&mut ann, &mut bob] {
            client.expect_presence("JOIN", both.clone(), json!({ "who": "ann" }));
        }
        ann.event("evict", &json!({ "id": bob_id, "reason": "enough" }).to_string());
        let evicted = bob.next();
        assert_eq!(evicted["event"], "EVICTED");
        assert_eq!(evicted["payload"], json!({ "reason": "enough" }));
        ann.expect_presence("LEAVE", json!([{ "who": "ann" }]), json!({ "who": "bob" }));
        ann.event("evict", r#"{"id":"nobody"}"#);
        assert_eq!(ann.next()["event"], "NOT_FOUND");
        bob.expect_nothing();
    }

    /// A node that evicts without a `UserLeft`, as JavaScript nodes do, and sends the messages that the
    /// test asks for.
    struct Silent<'r> {
        redis: &'r Redis,
        bus: RedisBus,
        receiver: RedisReceiver,
        topic: String,
    }

    impl<'r> Silent<'r> {
        fn start(redis: &'r Redis) -> Self {
            let _runtime = redis.runtime.enter();
            let (bus, receiver) =
                RedisBus::open(&redis.fake.url(), RedisOptions::default()).unwrap();
            let topic = Topics::default().channel("/api/socket", ROOM);
            bus.subscribe(&*topic);
            until("a subscription", || redis.fake.subscribers(&topic) == 2);
            Self { redis, bus, receiver, topic }
        }

        fn say(&self, message: &Message<'_>) {
            let origin = Origin { node_id: "js", endpoint_name: "api/socket", channel_name: ROOM };
            let _ = self.bus.publish(self.topic.clone(), origin.encode("m", 1, message));
        }

        fn join(&self, user_id: &str, presence: &str) {
            let presence = Payload::from_json(presence).unwrap();
            let (joined, user_id) = (Payload::EMPTY, user_id.to_owned());
            self.say(&Message::UserJoined {
                user_id: (&*user_id).into(),
                presence: joined,
                assigns: joined,
            });
            self.say(&Message::PresenceUpdate { user_id: (&*user_id).into(), presence });
        }

        /// Waits until it receives an eviction of this user; returns the reason.
        fn receive_eviction(&mut self, user_id: &str) -> String {
            let received = async {
                while let Some(event) = self.receiver.next().await {
                    let BusEvent::Message(message) = event else { continue };
                    let envelope = Envelope::parse(&message.payload).unwrap();
                    if let Some(Message::EvictUser { user_id: whom, reason }) = envelope.message() {
                        assert_eq!(whom, user_id);
                        return reason.to_string();
                    }
                }
                panic!("the bus is closed");
            };
            let patience = Duration::from_secs(60);
            let received = async { tokio::time::timeout(patience, received).await };
            self.redis.runtime.block_on(received).expect("an eviction")
        }
    }

    /// The user disappears from the list of users, clients see it leave, and it may join again.
    #[test]
    fn a_user_evicted_without_a_leave_is_removed() {
        let redis = Redis::start();
        let a = {
            let heartbeat = Duration::from_secs(60);
            Server::start_as(with(NodeOptions { heartbeat, ..redis.options("a") }))
        };
        let mut ann = Client::joined(a.addr, ROOM);
        let ann_id = ann.id.clone();
        let mut js = Silent::start(&redis);
        ann.event("track", r#"{"who":"ann"}"#);
        let alone = json!([{ "who": "ann" }]);
        ann.expect_presence("JOIN", alone.clone(), json!({ "who": "ann" }));
        for evicted_by in ["ann", "its node"] {
            let who = json!({ "who": evicted_by });
            js.join("jim", &who.to_string());
            ann.expect_presence("JOIN", json!([{ "who": "ann" }, who]), who.clone());
            let users = knows(&mut ann, &[&ann_id, "jim"]);
            assert_eq!(users["presence"]["jim"], who);
            if evicted_by == "ann" {
                ann.event("evict", r#"{"id":"jim","reason":"enough"}"#);
                assert_eq!(js.receive_eviction("jim"), "enough");
            } else {
                // The request is all that this node sends: no `UserLeft` follows.
                js.say(&Message::EvictUser { user_id: "jim".into(), reason: "".into() });
            }
            ann.expect_presence("LEAVE", alone.clone(), who);
            ann.event("users", "{}");
            let users = ann.next()["payload"].clone();
            assert_eq!(users["assigns"], json!({ &ann_id: {} }));
            assert_eq!(users["presence"], json!({ &ann_id: { "who": "ann" } }));
            assert_eq!(metric(a.addr, "remote_users"), 0);
            // The user can no longer be evicted, and late messages change nothing.
            js.say(&Message::UserLeft { user_id: "jim".into() });
            let presence = Payload::from_json(r#"{"who":"late"}"#).unwrap();
            js.say(&Message::PresenceUpdate { user_id: "jim".into(), presence });
            ann.event("evict", r#"{"id":"jim"}"#);
            assert_eq!(ann.next()["event"], "NOT_FOUND");
            ann.expect_nothing();
        }
    }

    #[test]
    fn users_leave_other_nodes_with_their_node_or_connection() {
        let redis = Redis::start();
        let (a, mut b) = (redis.node("a"), redis.node("b"));
        let mut ann = Client::joined(a.addr, ROOM);
        let (bob, bea) = (Client::joined(b.addr, ROOM), Client::joined(b.addr, ROOM));
        let ann_id = ann.id.clone();
        knows(&mut ann, &[&ann_id, &bob.id, &bea.id]);
        drop(bob);
        knows(&mut ann, &[&ann_id, &bea.id]);
        b.join();
        knows(&mut ann, &[&ann_id]);
        assert_eq!(
            metric(a.addr, "remote_nodes"),
            1,
            "a node that stops announces the leave of its user, and stays alive until its heartbeats stop"
        );
    }

    #[test]
    fn a_hanging_redis_delays_no_client_and_is_counted() {
        let redis = Redis::start();
        let a = Server::start_as(with(NodeOptions { queue: 100, ..redis.options("a") }));
        let mut ann = Client::joined(a.addr, ROOM);
        until("a connection", || metric(a.addr, r#"bus_connected{side="publisher"}"#) == 1);
        redis.set(Mode::Hang);
        for n in 0..1000 {
            let payload = json!({ "n": n });
            ann.event("say", &payload.to_string());
            expect_event(&mut ann, "say", &payload);
            assert!(metric_of_queue(n, a.addr) <= 100);
        }
        // Messages on their way to Redis are counted only after the timeout.
        until("Redis times out", || metric(a.addr, "bus_unconfirmed_total") > 0);
        redis.set(Mode::Serve);
        until("counters that add up", || {
            let page = websocket::get(a.addr, "/metrics");
            let dropped = metric_of(&page, r#"bus_dropped_total{reason="oldest"}"#);
            let others = ["bus_published_total", "bus_unconfirmed_total"];
            let sum = dropped + others.iter().map(|name| metric_of(&page, name)).sum::<u64>();
            dropped >= 300 && sum == metric_of(&page, "bus_offered_total")
        });
    }

    /// Reads the gauge for every 100th message only, because that takes longer than a message.
    fn metric_of_queue(n: usize, server: SocketAddr) -> u64 {
        if n.is_multiple_of(100) { metric(server, "bus_queued") } else { 0 }
    }

    /// A handle of a channel without members here, as a consumer of a queue has it.
    #[test]
    fn a_node_without_members_broadcasts_to_the_others() {
        let redis = Redis::start();
        let a = redis.node("a");
        let (mut ann, mut bob) = (Client::joined(a.addr, ROOM), Client::joined(a.addr, ROOM));
        let options = with(redis.options("b"));
        let _runtime = redis.runtime.enter();
        let b = crate::fixture::demo::demo().start(options).unwrap();
        let room = b.channel(ROOM).unwrap();
        until("a connection", || {
            metric_of(&b.metrics(), r#"bus_connected{side="publisher"}"#) == 1
        });
        room.broadcast("news", json!({ "n": 1 })).unwrap();
        for client in [&mut ann, &mut bob] {
            expect_event(client, "news", &json!({ "n": 1 }));
        }
        room.broadcast_to([ann.id.as_str()], "hint", json!({})).unwrap();
        expect_event(&mut ann, "hint", &json!({}));
        bob.expect_nothing();
        redis.runtime.block_on(b.shutdown());
    }

    /// The bound holds for the list that is sent, not for what one node adds to it.
    #[test]
    fn the_presence_list_is_bounded_over_all_nodes() {
        let redis = Redis::start();
        let start =
            |name| Server::start_as(Options { presence_bytes: 100, ..with(redis.options(name)) });
        let (a, b) = (start("a"), start("b"));
        let (mut ann, mut bob) = (Client::joined(a.addr, ROOM), Client::joined(b.addr, ROOM));
        let (ann_id, bob_id) = (ann.id.clone(), bob.id.clone());
        knows(&mut bob, &[&ann_id, &bob_id]);
        let presence = json!({ "text": "x".repeat(50) });
        ann.event("track", &presence.to_string());
        ann.expect_presence("JOIN", json!([presence]), presence.clone());
        until("presence", || {
            knows(&mut bob, &[&ann_id, &bob_id])["presence"] == json!({ &ann_id: presence })
        });
        bob.event("track", &presence.to_string());
        bob.expect_invalid(400);
        bob.event("track", r#"{"b":1}"#);
        bob.expect_presence("JOIN", json!([presence, { "b": 1 }]), json!({ "b": 1 }));
    }

    #[test]
    fn a_list_that_other_nodes_made_too_long_cuts_nobody_off() {
        let redis = Redis::start();
        let a = Server::start_as(Options { presence_bytes: 100, ..with(redis.options("a")) });
        let mut ann = Client::joined(a.addr, ROOM);
        let js = Silent::start(&redis);
        ann.event("track", "{\"who\":\"ann\"}");
        assert_eq!(ann.next()["event"], "JOIN");
        let users: Vec<_> = (0..30).map(|n| format!("user {n}")).collect();
        for user in &users {
            js.join(user, &json!({ "text": "x".repeat(4000) }).to_string());
        }
        until("a refusal", || metric(a.addr, "presence_lists_refused_total") > 0);
        for user in &users {
            js.say(&Message::UserLeft { user_id: (&**user).into() });
        }
        // Still a member, and sent the list again once it is short enough.
        while ann.next()["payload"]["presence"] != json!([{ "who": "ann" }]) {}
    }

    /// A broadcast of a handler may be larger than a client's message may be.
    #[test]
    fn outgoing_broadcasts_are_asked_about_by_their_event_however_large() {
        let redis = Redis::start();
        let node = |name| {
            let mut pond = PondServer::new();
            pond.endpoint("/api/socket", |connect| connect.accept())
                .channel("/chat/:id", |join| {
                    join.accept()?;
                    join.catch_up()
                })
                .on("users", |event| event.reply(Json(event.users())))
                .on("secret", |event| {
                    event.broadcast("secret", json!({ "text": "x".repeat(1 << 20) }))
                })
                .on("news", |event| event.broadcast("news", json!({ "text": "x".repeat(1 << 20) })))
                .on_outgoing(|outgoing| match outgoing.event() {
                    "secret" => outgoing.suppress(),
                    "news" => outgoing.replace(json!({ "is": "short" })),
                    _ => outgoing.pass(),
                });
            Server::start_app(pond, with(redis.options(name)))
        };
        let (a, b) = (node("a"), node("b"));
        let (mut ann, mut bob) = (Client::joined(a.addr, ROOM), Client::joined(b.addr, ROOM));
        let (ann_id, bob_id) = (ann.id.clone(), bob.id.clone());
        knows(&mut bob, &[&ann_id, &bob_id]);
        ann.event("secret", "{}");
        ann.event("news", "{}");
        for client in [&mut ann, &mut bob] {
            expect_event(client, "news", &json!({ "is": "short" }));
        }
        for server in [&a, &b] {
            let mut late = Client::joined(server.addr, ROOM);
            expect_event(&mut late, "news", &json!({ "is": "short" }));
        }
    }

    /// They count three times, as presence does, and may take a quarter of the memory themselves.
    #[test]
    fn users_of_other_nodes_count_towards_the_memory() {
        let redis = Redis::start();
        let node = with(redis.options("a"));
        let a = Server::start_as(Options { memory_bytes: 400 << 10, ..node });
        let ann = Client::joined(a.addr, ROOM);
        let js = Silent::start(&redis);
        let counted = || metric(a.addr, "memory_bytes{of=\"other_nodes\"}");
        let users: Vec<_> = (0..30).map(|n| format!("user {n}")).collect();
        let presence = json!({ "text": "x".repeat(4000) }).to_string();
        js.join(&users[0], &presence);
        until("a user", || counted() > 3 * 4000);
        assert!(counted() < 4 * 4000);
        users.iter().for_each(|user| js.join(user, &presence));
        until("a refusal", || metric(a.addr, "remote_refused_total{reason=\"bytes\"}") > 0);
        assert!(counted() <= 3 * (100 << 10));
        users.iter().for_each(|user| js.say(&Message::UserLeft { user_id: (&**user).into() }));
        until("no more", || counted() == 0);
        drop(ann);
        until("no members", || metric(a.addr, "memory_bytes{of=\"members\"}") == 0);
    }

    /// The reason why such a node does not start.
    fn refused(redis: &[&str]) -> String {
        let redis = redis.iter().map(|&url| url.to_owned()).collect();
        let options = with(NodeOptions { redis, ..at("", "a") });
        let runtime = Runtime::new().unwrap();
        let _runtime = runtime.enter();
        PondServer::new().start(options).expect_err("no node")
    }

    #[test]
    fn times_that_make_no_sense_are_refused_or_bounded() {
        let redis = Redis::start();
        let with_heartbeat = |heartbeat| with(NodeOptions { heartbeat, ..redis.options("a") });
        let error = {
            let _runtime = redis.runtime.enter();
            PondServer::new().start(with_heartbeat(Duration::ZERO)).unwrap_err()
        };
        assert_eq!(error, "heartbeat time: zero");
        let a = Server::start_as(with_heartbeat(Duration::MAX));
        let mut ann = Client::joined(a.addr, ROOM);
        let ann_id = ann.id.clone();
        knows(&mut ann, &[&ann_id]);
    }

    #[test]
    fn an_invalid_url_is_refused() {
        assert!(refused(&["localhost"]).starts_with("Invalid Redis URL"));
        assert_eq!(refused(&[]), "a node needs the URL of a Redis");
    }

    /// A node that cannot reach Redis waits for it; one that is not let in would do so for ever.
    #[test]
    fn wrong_credentials_are_told_at_the_start() {
        let (redis, other) = (Redis::start(), Redis::start());
        let wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
        other.set(Mode::Garbage(wrong.repeat(3)));
        let (redis, other) = (redis.fake.url(), other.fake.url());
        let error = refused(&[&redis, &other]);
        assert!(error.starts_with("Redis: ") && error.contains("WRONGPASS"), "{error}");
        // Nobody listens there.
        let options = with(at("redis://127.0.0.1:1", "a"));
        let runtime = Runtime::new().unwrap();
        let _runtime = runtime.enter();
        assert!(PondServer::new().start(options).is_ok());
    }

    /// Nodes with the same list agree on the Redis of each channel, and use all.
    #[test]
    fn channels_are_distributed_over_several_redis() {
        let redis = [Redis::start(), Redis::start(), Redis::start()];
        let urls: Vec<String> = redis.iter().map(|redis| redis.fake.url()).collect();
        let start =
            |name| Server::start_as(with(NodeOptions { redis: urls.clone(), ..at("", name) }));
        let (a, b) = (start("a"), start("b"));
        let channels: Vec<String> = (0..20).map(|number| format!("/chat/{number}")).collect();
        let mut clients = Vec::new();
        for channel in &channels {
            clients.push((Client::joined(a.addr, channel), Client::joined(b.addr, channel)));
        }
        let subscribed = |redis: &Redis| {
            let topics = Topics::default();
            let topic = |channel: &String| topics.channel("/api/socket", channel);
            let is_here = |channel: &&String| redis.fake.subscribers(&topic(channel)) > 0;
            channels.iter().filter(is_here).count()
        };
        until("every channel's topic", || redis.iter().map(subscribed).sum::<usize>() == 20);
        assert!(redis.iter().all(|redis| subscribed(redis) > 0), "20 names over three");
        for (channel, (at_a, at_b)) in channels.iter().zip(&mut clients) {
            let text = json!({ "text": channel });
            at_a.send("BROADCAST", channel, "say", &text.to_string());
            assert_eq!(at_a.next()["payload"]["text"], **channel);
            assert_eq!(at_b.next()["payload"]["text"], **channel);
        }
        assert_eq!(metric(a.addr, r#"bus_connected{side="publisher"}"#), 1);
        assert_eq!(metric(a.addr, "bus_lost_total{reason=\"overflowed\"}"), 0);
        // Without one of them the channels of the others go on.
        redis[0].set(Mode::Close);
        redis[0].fake.kill();
        until("the loss", || metric(a.addr, r#"bus_connected{side="publisher"}"#) == 0);
        let topics = Topics::default();
        let elsewhere = |channel: &&String| {
            redis[0].fake.subscribers(&topics.channel("/api/socket", channel)) == 0
                && redis[1..].iter().any(|redis| {
                    redis.fake.subscribers(&topics.channel("/api/socket", channel)) > 0
                })
        };
        let channel = channels.iter().find(elsewhere).unwrap();
        let number = channels.iter().position(|other| other == channel).unwrap();
        let (at_a, at_b) = &mut clients[number];
        at_a.send("BROADCAST", channel, "say", r#"{"text":"still"}"#);
        assert_eq!(at_a.next()["payload"]["text"], "still");
        assert_eq!(at_b.next()["payload"]["text"], "still");
    }
}
