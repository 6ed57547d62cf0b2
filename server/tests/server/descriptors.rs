//! A server that may open few files: it runs as a process of its own.

use std::env;
use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use pondwire_server::Options;
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::websocket::{connect, get};

use crate::fixture::Server;

/// Set for the process of the server.
const IS_SERVER: &str = "PONDWIRE_TEST_FEW_DESCRIPTORS";

/// Serves until its standard input ends. The limit is far below the options'.
#[test]
fn serve() {
    if env::var_os(IS_SERVER).is_none() {
        return;
    }
    let options = Options { connections_per_address: usize::MAX, ..Options::default() };
    let server = Server::start_as(options);
    // Not `println!`, which tests capture.
    writeln!(io::stdout(), "\nlistening on {}", server.addr).unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Starts the server behind this command of a shell; its standard output must stay open.
fn start(limits: &str, stderr: impl Into<Stdio>) -> (Child, SocketAddr, impl Sized) {
    let mut process = Command::new("sh")
        .arg("-c")
        .arg(format!("{limits} && exec \"$0\" --exact descriptors::serve --nocapture"))
        .arg(env::current_exe().unwrap())
        .env(IS_SERVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let addr = lines
        .find_map(|line| Some(line.unwrap().strip_prefix("listening on ")?.parse().unwrap()))
        .expect("the address");
    (process, addr, lines)
}

#[test]
fn idle_connections_keep_nobody_out() {
    // The soft limit is raised to the hard one.
    let (mut process, addr, _stdout) = start("ulimit -Sn 100 && ulimit -Hn 400", Stdio::piped());
    let mut client = Client::joined(addr, ROOM);
    let idle: Vec<_> = (0..500).map(|_| connect(addr)).collect();
    // More than there were descriptors, so it was not refused.
    assert!(get(addr, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    let clients: Vec<_> = (0..200).map(|_| Client::joined(addr, ROOM)).collect();
    client.expect_alive();
    drop((clients, client, idle));
    drop(process.stdin.take());
    let ended = process.wait_with_output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{log}");
    assert!(log.contains("at most 272 connections: the process may open no more files\n"), "{log}");
    assert!(!log.contains("accept: "), "{log}");
}

/// The server writes a line to standard error at its start, and in this pipe it cannot.
fn serves_with(stderr: PipeWriter) {
    let (mut process, addr, _stdout) = start("ulimit -n 60", stderr);
    let mut client = Client::joined(addr, ROOM);
    let idle: Vec<_> = (0..80).map(|_| connect(addr)).collect();
    assert!(get(addr, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    client.expect_alive();
    drop((idle, client));
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_standard_error_without_a_reader_stops_nothing() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    serves_with(writer);
}

#[test]
fn a_full_standard_error_blocks_nothing() {
    let (reader, writer) = io::pipe().unwrap();
    let mut full = writer.try_clone().unwrap();
    // More than any pipe holds.
    let filling = thread::spawn(move || full.write_all(&vec![b'x'; 4 << 20]));
    serves_with(writer);
    drop(reader);
    assert!(filling.join().unwrap().is_err());
}
