//! A server that may open few files: it runs as a process of its own.

use std::env;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use pondwire_server::Options;
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::websocket::{connect, get};

use crate::fixture::{Server, listening};

/// Set for the process of the server.
const IS_SERVER: &str = "PONDWIRE_TEST_FEW_DESCRIPTORS";

/// Set if it serves TLS.
#[cfg(feature = "tls")]
const IS_TLS: &str = "PONDWIRE_TEST_TLS";

/// Serves until its standard input ends. The limit is far below the options'.
#[test]
fn serve() {
    if env::var_os(IS_SERVER).is_none() {
        return;
    }
    let options = Options { connections_per_address: usize::MAX, ..Options::default() };
    #[cfg(feature = "tls")]
    let server = if env::var_os(IS_TLS).is_some() {
        crate::tls::start(options)
    } else {
        Server::start_as(options)
    };
    #[cfg(not(feature = "tls"))]
    let server = Server::start_as(options);
    server.serve_parent();
}

/// Starts the server as a process that may open 400 files, with this variable of its environment, too.
fn start(variable: &str) -> (Child, SocketAddr, impl Iterator) {
    let mut process = Command::new("sh")
        .arg("-c")
        // The soft limit is raised to the hard one. `PONDWIRE_TEST_RUNNER` names the emulator for tests of another CPU.
        .arg("ulimit -Sn 100 && ulimit -Hn 400 && exec $PONDWIRE_TEST_RUNNER \"$0\" --exact descriptors::serve --nocapture")
        .arg(env::current_exe().unwrap())
        .envs([(IS_SERVER, "1"), (variable, "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (addr, lines) = listening(process.stdout.take().unwrap());
    (process, addr, lines)
}

/// Ends the server, which must have refused nobody for lack of files.
fn end(mut process: Child) {
    drop(process.stdin.take());
    let ended = process.wait_with_output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{log}");
    assert!(log.contains("at most 272 connections: the process may open no more files\n"), "{log}");
    assert!(!log.contains("accept: "), "{log}");
}

#[test]
fn idle_connections_keep_nobody_out() {
    let (process, addr, _lines) = start(IS_SERVER);
    let mut client = Client::joined(addr, ROOM);
    let idle: Vec<_> = (0..500).map(|_| connect(addr)).collect();
    // More than there were descriptors, so it was not refused.
    assert!(get(addr, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    let clients: Vec<_> = (0..200).map(|_| Client::joined(addr, ROOM)).collect();
    client.expect_alive();
    drop((clients, client, idle));
    end(process);
}

#[cfg(feature = "tls")]
#[test]
fn a_connection_over_tls_is_one_file() {
    let (process, addr, _lines) = start(IS_TLS);
    let tunnel = crate::tls::Tunnel::to(addr);
    let clients: Vec<_> = (0..260).map(|_| Client::joined(tunnel.addr, ROOM)).collect();
    let mut last = Client::joined(tunnel.addr, ROOM);
    last.event("say", r#"{"text":"hi"}"#);
    assert_eq!(last.next()["event"], "say");
    for mut client in clients {
        assert_eq!(client.next()["event"], "say");
    }
    drop(last);
    end(process);
}
