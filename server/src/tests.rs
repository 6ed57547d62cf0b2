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
        Self::start_as(Options::default()).0
    }

    /// Starts a server; also returns its listening socket.
    fn start_as(options: Options) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let listening = listener.try_clone().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = crate::Server::new(options).unwrap();
                server.serve(listener, async { drop(stopped.await) }).await;
            });
        });
        (Self { addr, stop: Some(stop), thread: Some(thread) }, listening)
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

/// Linux has `reno` always, and lets everybody use it.
#[cfg(target_os = "linux")]
#[test]
fn the_congestion_control_is_set_on_the_listener_and_inherited() {
    let name_of = |socket: socket2::SockRef<'_>| {
        let name = socket.tcp_congestion().unwrap();
        String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
    };
    let options = Options { congestion_control: Some("reno".to_owned()), ..Options::default() };
    let (server, listening) = Server::start_as(options);
    Client::joined(server.addr, ROOM).expect_alive();
    assert_eq!(name_of((&listening).into()), "reno");
    drop(server);
    // The listener still listens, and this process accepts in the server's stead.
    listening.set_nonblocking(false).unwrap();
    let _client = std::net::TcpStream::connect(listening.local_addr().unwrap()).unwrap();
    let accepted = listening.accept().unwrap().0;
    assert_eq!(name_of((&accepted).into()), "reno");
}

#[test]
fn a_congestion_control_that_the_system_refuses_is_an_error_at_the_start() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    for name in ["no-such-name", ""] {
        let congestion_control = Some(name.to_owned());
        let error = crate::Server::new(Options { congestion_control, ..Options::default() });
        let error = error.expect_err("there is none of this name");
        assert!(error.starts_with(&format!("congestion control {name}: ")), "{error}");
    }
}
