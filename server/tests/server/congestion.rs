//! TCP's congestion control.

use crate::fixture::{Server, demo};
use pondwire_server::{Options, PondServer};
use pondwire_test_support::client::{Client, ROOM};
use tokio::runtime::{Builder, Runtime};

/// Linux has `reno` always, and lets everybody use it.
#[cfg(target_os = "linux")]
#[test]
fn the_congestion_control_is_set_on_the_listener_and_inherited() {
    let name_of = |socket: socket2::SockRef<'_>| {
        let name = socket.tcp_congestion().unwrap();
        String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
    };
    let options = Options { congestion_control: Some("reno".to_owned()), ..Options::default() };
    let runtime = Builder::new_multi_thread();
    let (server, listening) = Server::start_listening(runtime, demo::demo(), options);
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
        let options = Options { congestion_control, ..Options::default() };
        let error = PondServer::new().start(options).expect_err("there is none of this name");
        assert!(error.starts_with(&format!("congestion control {name}: ")), "{error}");
    }
}
