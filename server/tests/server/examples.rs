//! The examples that people copy: each is started and spoken to, and none is long.

#![allow(dead_code, reason = "their `main` functions, and what those use")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` at the call is the easiest to read")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pondwire_server::Options;
use pondwire_test_support::client::Client;
use serde_json::{Value, json};

use crate::fixture::Server;

#[path = "../../examples/chat.rs"]
mod chat;
#[path = "../../examples/dashboard.rs"]
pub(crate) mod dashboard;
#[path = "../../examples/game.rs"]
mod game;
#[cfg(feature = "tls")]
#[path = "../../examples/tls.rs"]
mod tls;
#[cfg(feature = "redis")]
#[path = "../../examples/two_nodes.rs"]
mod two_nodes;

#[test]
fn each_is_under_150_lines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines < 150, "{}: {lines}", path.display());
            count += 1;
        }
    }
    assert!(count >= 4, "the test finds the examples: {count}");
}

/// A client in a channel.
struct Guest {
    client: Client,
    channel: &'static str,
}

impl Guest {
    /// The guest, and the first `count` messages after its acknowledgement.
    fn join(server: &Server, channel: &'static str, params: Value) -> Self {
        Self::join_at(server.addr, channel, params)
    }

    fn join_at(addr: SocketAddr, channel: &'static str, params: Value) -> Self {
        let mut client = Client::connect(addr);
        client.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", &params.to_string());
        assert_eq!(client.next()["event"], "ACKNOWLEDGE");
        Self { client, channel }
    }

    fn send(&mut self, event: &str, payload: Value) {
        self.client.send("BROADCAST", self.channel, event, &payload.to_string());
    }

    /// The payload of the next message that is no presence, which has this event.
    fn expect(&mut self, event: &str) -> Value {
        loop {
            let mut message = self.client.next();
            if message["action"] != "PRESENCE" {
                assert_eq!(message["event"], event, "{message}");
                return message["payload"].take();
            }
        }
    }

    /// Waits for a presence list.
    fn expect_seen(&mut self, seen: &Value) {
        loop {
            let message = self.client.next();
            if message["action"] == "PRESENCE" && message["payload"]["presence"] == *seen {
                return;
            }
        }
    }
}

#[test]
fn the_chat() {
    let server = Server::start_app(chat::pond(), Options::default());
    let join = |name: &str| Guest::join(&server, "/chat/7", json!({ "name": name }));
    let mut ann = join("ann");
    let (ann_id, seen) = (
        ann.client.id.clone(),
        |id: &str, name: &str, typing: bool| json!({ "id": id, "name": name, "typing": typing }),
    );
    assert_eq!(ann.expect("welcome"), json!({ "host": ann_id, "said": [] }));
    for n in 0..25 {
        ann.send("say", json!({ "text": n.to_string() }));
        assert_eq!(ann.expect("said")["text"], n.to_string());
    }
    let mut bob = join("bob");
    let bob_id = bob.client.id.clone();
    let welcome = bob.expect("welcome");
    assert_eq!(welcome["host"], ann_id);
    let said = welcome["said"].as_array().unwrap();
    assert_eq!((said.len(), &said[0]["text"]), (20, &json!("24")), "the newest first");
    bob.expect_seen(&json!([seen(&ann_id, "ann", false), seen(&bob_id, "bob", false)]));
    bob.send("typing", json!({}));
    ann.expect_seen(&json!([seen(&ann_id, "ann", false), seen(&bob_id, "bob", true)]));
    bob.send("rename", json!({ "name": "rob" }));
    bob.send("say", json!({ "text": "hi" }));
    let hi = json!({ "id": bob_id, "name": "rob", "text": "hi" });
    assert_eq!((ann.expect("said"), bob.expect("said")), (hi.clone(), hi));
    let mut eve = join("eve");
    eve.expect("welcome");
    bob.send(&format!("whisper/{ann_id}"), json!({ "text": "psst" }));
    let psst = json!({ "from": bob_id, "text": "psst" });
    assert_eq!((ann.expect("whispered"), bob.expect("whispered")), (psst.clone(), psst));
    // Nobody but the host, and nothing too long.
    bob.send(&format!("kick/{ann_id}"), json!({}));
    assert_eq!(bob.expect("INTERNAL_ERROR")["code"], 403);
    bob.send("say", json!({ "text": "x".repeat(501) }));
    assert_eq!(bob.expect("INVALID_MESSAGE")["status"], 400);
    ann.send(&format!("kick/{}", eve.client.id), json!({}));
    assert_eq!(eve.expect("EVICTED"), json!({ "reason": "removed by the host" }));
    drop(ann);
    assert_eq!(bob.expect("host"), json!({ "id": bob_id }));
    let mut nameless = Client::connect(server.addr);
    nameless.send("JOIN_CHANNEL", "/chat/7", "JOIN_CHANNEL", r#"{"name":""}"#);
    assert_eq!(nameless.next()["payload"]["code"], 400);
}

#[test]
fn the_dashboard() {
    let server = Server::start_app(dashboard::pond(), dashboard::options());
    let channel = server.server.channel("/dashboard/main").unwrap();
    let publisher = tokio::runtime::Runtime::new().unwrap();
    publisher.spawn(dashboard::publish(channel, Duration::from_millis(10)));
    let join = || Guest::join(&server, "/dashboard/main", json!({}));
    let mut first = join();
    let mut last = 0;
    for _ in 0..20 {
        let tick = first.expect("state")["tick"].as_u64().unwrap();
        assert!(tick > last || last == 0);
        last = tick;
    }
    // One who comes later has a state at once, and it is a new one.
    publisher.shutdown_background();
    let state = join().expect("state");
    assert!(state["tick"].as_u64().unwrap() >= last, "{state} after {last}");
    first.send("anything", json!({}));
    loop {
        let message = first.client.next();
        if message["event"] != "state" {
            break assert_eq!(message["event"], "NOT_FOUND");
        }
    }
}

#[test]
fn the_game() {
    let server = Server::start_app(game::pond(), Options::default());
    let join = |params| Guest::join(&server, "/game/1", params);
    let (mut red, mut blue) = (join(json!({ "team": "red" })), join(json!({ "team": "blue" })));
    let mut watcher = join(json!({}));
    red.send("move", json!({ "unit": 3, "x": 10, "y": 4 }));
    let seen = json!({ "team": 1, "unit": 3, "x": 10, "y": 4 });
    assert_eq!((red.expect("move"), watcher.expect("move")), (seen.clone(), seen));
    assert_eq!(blue.expect("move"), json!({ "team": 1, "unit": 3, "hidden": true }));
    red.send("team", json!({ "plan": "left" }));
    assert_eq!(red.expect("team")["said"], json!({ "plan": "left" }));
    red.send("move", json!({ "unit": 3, "x": 60, "y": 4 }));
    // The team's words were for the team.
    assert_eq!(
        (blue.expect("move")["x"].clone(), watcher.expect("move")["x"].clone()),
        (json!(60), json!(60))
    );
    assert_eq!(red.expect("move")["x"], 60);
    watcher.send("move", json!({ "unit": 3, "x": 60, "y": 4 }));
    assert_eq!(watcher.expect("INTERNAL_ERROR")["code"], 403);
    blue.send("move", json!({ "unit": 3, "x": 100, "y": 4 }));
    assert_eq!(blue.expect("INVALID_MESSAGE")["message"], "Off the board");
    let mut green = Client::connect(server.addr);
    green.send("JOIN_CHANNEL", "/game/1", "JOIN_CHANNEL", r#"{"team":"green"}"#);
    assert_eq!(green.next()["payload"]["code"], 400);
}

#[cfg(feature = "tls")]
#[test]
fn the_chat_over_tls() {
    use crate::tls::{Tunnel, file};

    let config = tls::config(file("certificate.pem"), file("key.pem")).unwrap();
    assert!(tls::config(file("key.pem"), file("certificate.pem")).is_err());
    let server = Server::start_tls(tls::pond(), Options::default(), config);
    let tunnel = Tunnel::to(server.addr);
    let join = |name: &str| Guest::join_at(tunnel.addr, "/chat/7", json!({ "name": name }));
    let mut ann = join("ann");
    ann.expect_seen(&json!([{ "id": ann.client.id, "name": "ann" }]));
    let mut bob = join("bob");
    bob.expect_seen(&json!([
        { "id": ann.client.id, "name": "ann" },
        { "id": bob.client.id, "name": "bob" },
    ]));
    ann.send("say", json!({ "text": "hi" }));
    assert_eq!(bob.expect("said"), json!({ "text": "hi" }));
}

#[cfg(feature = "redis")]
#[test]
fn the_two_nodes() {
    use pondwire_test_support::fake_redis::FakeRedis;
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(FakeRedis::start());
    let (stop, stopped) = oneshot::channel::<()>();
    let (addrs, serving) = runtime.block_on(async {
        let mut addrs = Vec::new();
        let mut node = async |name| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addrs.push(listener.local_addr().unwrap());
            (two_nodes::start(name, &redis.url()).unwrap(), listener)
        };
        let nodes = [node("one").await, node("two").await];
        (addrs, tokio::spawn(two_nodes::serve(nodes, async { drop(stopped.await) })))
    });
    let join = |addr| {
        let mut client = Client::connect(addr);
        client.send("JOIN_CHANNEL", "/room/1", "JOIN_CHANNEL", "{}");
        assert_eq!(client.next()["event"], "ACKNOWLEDGE");
        Guest { client, channel: "/room/1" }
    };
    let (mut ann, mut bob) = (join(addrs[0]), join(addrs[1]));
    // Until each knows the other.
    for guest in [&mut ann, &mut bob] {
        while guest.client.next()["payload"]["presence"].as_array().map(Vec::len) != Some(2) {}
    }
    ann.send("say", json!({ "text": "hi" }));
    assert_eq!(bob.expect("say"), json!({ "text": "hi" }));
    bob.send("users", json!({}));
    assert_eq!(bob.expect("users")["presence"][&ann.client.id]["node"], "one");
    bob.send(&format!("evict/{}", ann.client.id), json!({}));
    assert_eq!(ann.expect("say"), json!({ "text": "hi" }));
    assert_eq!(ann.expect("EVICTED"), json!({ "reason": "" }));
    drop((ann, bob));
    drop(stop);
    runtime.block_on(serving).unwrap();
}
