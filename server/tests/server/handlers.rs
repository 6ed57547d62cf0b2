//! Applications on the library: what handlers may do, in which order, and how they fail.

use std::time::{Duration, Instant};

use pondwire_server::{Options, PondServer};
use pondwire_test_support::client::{Client, ROOM, message};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket;

use crate::fixture::Server;

fn start(pond: PondServer) -> Server {
    Server::start_app(pond, Options::default())
}

/// Waits until the metrics show this.
fn until_metrics(server: &Server, sample: &str) {
    let began = Instant::now();
    while !websocket::get(server.addr, "/metrics").contains(&format!("{sample}\n")) {
        assert!(began.elapsed() < Duration::from_secs(10), "{sample}");
    }
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
