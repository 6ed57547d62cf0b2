//! Metrics, the demo page, and the simulated crowd.

use crate::fixture::Server;
use pondwire_server::Times;
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::event_stream::Requests;
use pondwire_test_support::websocket::{get, read_head};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The value of a sample, by its name without the prefix but with its labels.
fn metric(server: SocketAddr, name: &str) -> u64 {
    let page = get(server, "/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("pondwire_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

/// The end of a page is not held back until the client is silent, as that of a refusal is.
#[test]
fn a_page_ends_at_once() {
    let times = Times { closing: Duration::from_secs(60), ..Times::default() };
    let server = Server::start_with(times);
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let (mut sending, has_ended) = (stream.try_clone().unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) && sending.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut page = String::new();
        let read = stream.read_to_string(&mut page);
        has_ended.store(true, Ordering::Relaxed);
        read.expect("the page ends while the client sends");
        assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("pondwire_connections"));
    });
}

/// Waits for a sample to have this value: the end of a connection is counted with a delay.
fn expect_metric(server: SocketAddr, name: &str, value: u64) {
    let began = Instant::now();
    loop {
        let now = metric(server, name);
        if now == value {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{name} is {now}, not {value}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn everything_is_counted_while_connected_and_after() {
    let server = Server::start();
    let mut one = Client::joined(server.addr, ROOM);
    let mut two = Client::joined(server.addr, ROOM);
    for _ in 0..10 {
        one.event("say", r#"{"text":"hi"}"#);
        one.next();
        two.next();
    }
    one.socket.text("{");
    one.expect_invalid(400);
    one.socket.text("{}");
    one.expect_invalid(400);

    assert_eq!(metric(server.addr, "connections"), 2);
    assert_eq!(metric(server.addr, "channels"), 1);
    // Two joins, ten events, two invalid messages.
    assert_eq!(metric(server.addr, "messages_received_total"), 14);
    assert_eq!(metric(server.addr, "malformed_messages_total{kind=\"json\"}"), 1);
    assert_eq!(metric(server.addr, "malformed_messages_total{kind=\"schema\"}"), 1);
    // Two greetings, two acknowledgements, ten events to each of two, two refusals.
    expect_metric(server.addr, "frames_delivered_total", 26);
    assert!(metric(server.addr, "frame_bytes_sent_total") > 26 * 20);

    drop(one);
    expect_metric(server.addr, "connections", 1);
    assert_eq!(metric(server.addr, "connections_total"), 2);
    // The frames sent to the ended connection still count.
    assert_eq!(metric(server.addr, "frames_delivered_total"), 26);
    two.expect_alive();
    expect_metric(server.addr, "frames_delivered_total", 27);
    drop(two);
    expect_metric(server.addr, "connections", 0);
    expect_metric(server.addr, "channels", 0);
    assert_eq!(metric(server.addr, "slow_consumers_total"), 0);
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::start();
    let page = get(server.addr, "/");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-type: text/html; charset=utf-8\r\n"));
    assert!(page.contains("content-security-policy: default-src 'self'"));
    assert!(!page.split_once("\r\n\r\n").unwrap().1.contains("unsafe-inline"));
    for elsewhere in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn heads_are_answered_as_gets_without_the_body() {
    let server = Server::start();
    for (path, status) in [("/", 200), ("/metrics", 200), ("http://test/metrics", 200), ("/x", 404)]
    {
        let mut requests = Requests::new(server.addr);
        requests.raw(&format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let head = read_head(&mut requests.stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {head}");
        assert!(head.contains("\r\ndate: ") && head.contains("\r\ncontent-length: "), "{head}");
        assert_eq!(requests.rest(), "");
    }
    let mut requests = Requests::new(server.addr);
    requests.raw("GET http://test/metrics HTTP/1.1\r\nhost: test\r\n\r\n");
    assert!(requests.rest().contains("pondwire_connections "));
}

/// The next report about a crowd; broadcasts before it are skipped.
fn report(client: &mut Client) -> Value {
    loop {
        let mut message = client.next();
        if message["event"] == "simulation" {
            return message["payload"].take();
        }
    }
}

#[test]
fn a_crowd_joins_reads_and_leaves() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    client.event("simulate", r#"{"viewers":100,"slow":true}"#);
    assert_eq!(report(&mut client)["viewers"], 100);
    assert_eq!(metric(server.addr, "simulated_viewers"), 104);

    for _ in 0..200 {
        client.event("load", r#"{"text":"x"}"#);
    }
    let began = Instant::now();
    let last = loop {
        let last = report(&mut client);
        // Every viewer gets everything.
        if last["delivered"].as_u64() >= Some(20_000) {
            break last;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{last}");
    };
    let slow: Vec<_> = last["slow"].as_array().unwrap().iter().collect();
    let of = |policy: &str| slow.iter().find(|reader| reader["policy"] == policy).unwrap();
    assert_eq!(slow.len(), 4);
    assert_eq!(of("Disconnect")["state"], "cut off: too many frames");
    assert!(of("Drop the oldest")["droppedOldest"].as_u64() > Some(0), "{last}");
    assert!(of("Drop the newest")["droppedNewest"].as_u64() > Some(0), "{last}");
    assert!(of("Conflate by event")["replaced"].as_u64() > Some(0), "{last}");
    for reader in &slow {
        assert_eq!(reader["capacity"], 32);
        assert!(reader["waiting"].as_u64() <= Some(32), "{reader}");
    }

    // Its queue is discarded once its reader learns that it was cut off.
    while report(&mut client)["slow"][3]["discarded"].as_u64() == Some(0) {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is discarded");
    }

    // Another crowd replaces it, then no crowd does.
    client.event("simulate", r#"{"viewers":5000}"#);
    while report(&mut client)["viewers"] != 1000 {}
    client.event("simulate", "{}");
    while report(&mut client)["viewers"] != 0 {}
    expect_metric(server.addr, "simulated_viewers", 0);

    // The crowd leaves with its user, and the channel closes.
    client.event("simulate", r#"{"viewers":10}"#);
    while report(&mut client)["viewers"] != 10 {}
    drop(client);
    expect_metric(server.addr, "simulated_viewers", 0);
    expect_metric(server.addr, "channels", 0);
}

#[test]
fn a_trace_is_a_broadcast_whose_sender_is_told_of_its_steps() {
    let server = Server::start();
    let mut sender = Client::joined(server.addr, ROOM);
    let mut other = Client::joined(server.addr, ROOM);
    let payload = format!(r#"{{"text":"{}"}}"#, "hello ".repeat(100));
    let request = sender.event("trace", &payload);
    for client in [&mut sender, &mut other] {
        let said = client.next();
        assert_eq!((&said["action"], &said["event"]), (&"BROADCAST".into(), &"say".into()));
        assert_eq!(said["payload"], serde_json::from_str::<Value>(&payload).unwrap());
    }
    let answer = sender.next();
    assert_eq!((&answer["event"], &answer["requestId"]), (&"trace".into(), &request.into()));
    let trace = &answer["payload"];
    assert_eq!(trace["recipients"], 2);
    let bytes = |key: &str| trace[key].as_u64().unwrap_or_else(|| panic!("no {key} in {trace}"));
    let runs = bytes("runs");
    assert!(runs > 1 && runs * bytes("messageBytes") <= 64 << 10, "{trace}");
    assert!(bytes("messageBytes") > payload.len() as u64, "{trace}");
    assert!(bytes("frameBytes") > payload.len() as u64, "{trace}");
    assert!(bytes("compressedBytes") < bytes("frameBytes") / 2, "{trace}");
    for step in ["parseNs", "encodeNs", "compressNs", "broadcastNs"] {
        assert!(bytes(step) > 0, "{trace}");
    }
    other.expect_alive();
}

#[test]
fn a_crowd_is_bounded_and_ends_with_its_membership() {
    let server = Server::start();
    let mut clients: Vec<_> = (0..10).map(|_| Client::joined(server.addr, ROOM)).collect();
    for client in &mut clients {
        client.event("simulate", r#"{"viewers":1000}"#);
        while report(client)["viewers"] != 1000 {}
    }
    let mut late = Client::joined(server.addr, ROOM);
    let request = late.event("simulate", r#"{"viewers":1}"#);
    let refusal = late.expect_invalid(429);
    assert_eq!(refusal["requestId"], request);

    clients[0].send("LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "{}");
    expect_metric(server.addr, "simulated_viewers", 9000);
    late.event("simulate", r#"{"viewers":1}"#);
    assert_eq!(report(&mut late)["viewers"], 1);
}
