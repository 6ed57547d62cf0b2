//! Clients behind proxies.

use std::net::SocketAddr;

use pondwire_server::{IpNet, Options, PondServer};
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::event_stream::Requests;
use pondwire_test_support::websocket::{WebSocket, get, read_head};

use crate::fixture::Server;

/// An application that tells each client its address, behind proxies at these addresses.
fn start(proxies: &[&str], connections_per_address: usize) -> Server {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| {
        connect.set_header("x-address", connect.request().address).expect("a valid header");
        connect.accept();
    })
    .channel("/chat/:id", |join| join.accept());
    let trusted_proxies = proxies.iter().map(|text| text.parse::<IpNet>().unwrap()).collect();
    let options = Options { trusted_proxies, connections_per_address, ..Options::default() };
    Server::start_app(pond, options)
}

/// Opens a WebSocket for a client; returns its address, too, or the status of a refusal.
fn open(server: SocketAddr, forwarded: &str) -> Result<(WebSocket, String), String> {
    let headers = format!("x-forwarded-for: {forwarded}\r\n");
    let opened = WebSocket::open_with(server, "/api/socket", &headers);
    let (socket, head) = opened.map_err(|head| head["http/1.1 ".len()..][..3].to_owned())?;
    Ok((socket, header(&head)))
}

fn header(head: &str) -> String {
    let found = head.lines().find_map(|line| line.strip_prefix("x-address: "));
    found.expect("an address").to_owned()
}

#[test]
fn handlers_see_the_client_that_a_trusted_proxy_names() {
    let server = start(&["127.0.0.0/8", "10.0.0.0/8"], usize::MAX);
    let address = |forwarded| open(server.addr, forwarded).unwrap().1;
    assert_eq!(address("203.0.113.1"), "203.0.113.1");
    assert_eq!(address("203.0.113.1, 10.3.2.1"), "203.0.113.1");
    assert_eq!(address("[2001:db8::1]:7"), "2001:db8::1");
    assert!(address("nonsense").starts_with("127.0.0.1:"), "the proxy is all that is known");
    let mut stream = Requests::new(server.addr);
    stream.raw(
        "GET /api/socket HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\
         x-forwarded-for: 198.51.100.1\r\nx-forwarded-for: 203.0.113.1\r\n\r\n",
    );
    assert_eq!(header(&read_head(&mut stream.stream)), "203.0.113.1");
}

#[test]
fn nobody_else_is_believed() {
    for proxies in [&[][..], &["127.0.0.2/32", "10.0.0.0/8"]] {
        let server = start(proxies, 2);
        let (_one, address) = open(server.addr, "203.0.113.1").unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        let _two = open(server.addr, "203.0.113.2").unwrap();
        assert_eq!(open(server.addr, "203.0.113.3").err().unwrap(), "503");
    }
}

#[test]
fn clients_are_counted_by_their_own_addresses() {
    let server = start(&["127.0.0.1/32"], 2);
    let ann = open(server.addr, "203.0.113.1").unwrap();
    let mut client = Client::greeted(open(server.addr, "203.0.113.1").unwrap().0);
    client.join(ROOM);
    // Whatever it sends itself; and an event stream is a connection, too.
    for forwarded in ["203.0.113.1", "203.0.113.9, 203.0.113.1"] {
        assert_eq!(open(server.addr, forwarded).err().unwrap(), "503");
        let mut stream = Requests::new(server.addr);
        stream.raw(&format!(
            "GET /api/socket HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\
             x-forwarded-for: {forwarded}\r\n\r\n"
        ));
        assert_eq!(stream.status(), 503);
    }
    // Others, of whom each /64 network is one.
    let _bob = open(server.addr, "203.0.113.2").unwrap();
    let network: Vec<_> =
        ["2001:db8::1", "2001:db8::2"].map(|address| open(server.addr, address).unwrap()).into();
    assert_eq!(open(server.addr, "2001:db8::3").err().unwrap(), "503");
    // The proxy's own requests are not counted, however many there are.
    let keep: Vec<_> = (0..10)
        .map(|_| {
            let mut requests = Requests::new(server.addr);
            assert_eq!(requests.send("POST", "x-forwarded-for: 203.0.113.1\r\n", b""), 404);
            requests
        })
        .collect();
    assert!(get(server.addr, "/").starts_with("HTTP/1.1 200 "));
    drop((ann, network, keep));
    // Counted out a little later.
    let again = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        open(server.addr, "203.0.113.1").ok()
    });
    assert!(again.is_some());
}
