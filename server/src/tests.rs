//! Tests over real sockets that need the event `panic`, which exists only when this crate is compiled as a
//! test.

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pondwire_test_support::client::{Client, ROOM, message};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::Options;

/// A server that serves until it is dropped.
struct Server {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = crate::Server::new(Options::default()).unwrap();
                server.serve(listener, async { drop(stopped.await) }).await;
            });
        });
        Self { addr, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A second panic would hide the first.
            let _ = thread.join();
        }
    }
}

#[test]
fn a_panic_ends_its_connection_alone() {
    let server = Server::start();
    let mut other = Client::joined(server.addr, ROOM);
    let mut client = Client::joined(server.addr, ROOM);
    client.event("panic", "{}");
    client.expect_closed(1011);
    let mut events = EventStream::joined(server.addr, ROOM);
    let panic = message("BROADCAST", ROOM, "panic", "r-1", "{}");
    assert_eq!(events.request("POST", panic.as_bytes()), 500);
    assert_eq!(events.next_text(), None);
    other.expect_alive();
    let began = Instant::now();
    while !websocket::get(server.addr, "/metrics").contains("pondwire_connections 1\n") {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "both panicked connections are counted out"
        );
    }
}
