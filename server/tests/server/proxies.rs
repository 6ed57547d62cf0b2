//! Clients behind proxies.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pondwire_server::{IpNet, Options, PondServer, Times};
use pondwire_test_support::client::{Client, ROOM};
use pondwire_test_support::event_stream::Requests;
use pondwire_test_support::websocket::{WebSocket, connect, get, read_head};

use crate::fixture::Server;

/// An application that tells each client its address, behind proxies at these addresses.
fn start(proxies: &[&str], connections_per_address: usize) -> Server {
    start_with(proxies, Options { connections_per_address, ..Options::default() })
}

fn start_with(proxies: &[&str], options: Options) -> Server {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| {
        connect.set_header("x-address", connect.request().address).expect("a valid header");
        connect.accept();
    })
    .channel("/chat/:id", |join| join.accept());
    let trusted_proxies = proxies.iter().map(|text| text.parse::<IpNet>().unwrap()).collect();
    Server::start_app(pond, Options { trusted_proxies, ..options })
}

/// Opens a WebSocket for a client; returns its address, too, or the status of a refusal.
fn open(server: SocketAddr, forwarded: &str) -> Result<(WebSocket, String), String> {
    let headers = format!("x-forwarded-for: {forwarded}\r\n");
    let opened = WebSocket::open_with(server, "/api/socket", &headers);
    let (socket, head) = opened.map_err(|head| head["http/1.1 ".len()..][..3].to_owned())?;
    Ok((socket, header_of(&head)))
}

fn header_of(head: &str) -> String {
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
    assert_eq!(header_of(&read_head(&mut stream.stream)), "203.0.113.1");
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

/// The options of a server whose proxies send the header of the PROXY protocol.
fn with_headers() -> Options {
    Options { proxy_protocol: true, ..Options::default() }
}

/// Opens a WebSocket on a connection that begins with these bytes, as [`open`] does.
fn open_behind(
    server: SocketAddr,
    header: &[u8],
    forwarded: &str,
) -> Result<(WebSocket, String), String> {
    let mut stream = connect(server);
    stream.write_all(header).unwrap();
    let forwarded = if forwarded.is_empty() {
        String::new()
    } else {
        format!("x-forwarded-for: {forwarded}\r\n")
    };
    let opened = WebSocket::open_on(stream, "/api/socket", &forwarded);
    let (socket, head) = opened.map_err(|head| head.get(9..12).unwrap_or_default().to_owned())?;
    Ok((socket, header_of(&head)))
}

/// A header of version 2 for a TCP connection of this client.
fn version_2(client: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match client.ip() {
        IpAddr::V4(address) => {
            header.extend([0x11, 0, 12]);
            header.extend(address.octets());
            header.extend([10, 0, 0, 1]);
        }
        IpAddr::V6(address) => {
            header.extend([0x21, 0, 36]);
            header.extend(address.octets());
            header.extend(std::net::Ipv6Addr::LOCALHOST.octets());
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(80_u16.to_be_bytes());
    header
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let server = start_with(&["127.0.0.1/32", "10.0.0.0/8"], with_headers());
    let address = |header: &[u8], forwarded| open_behind(server.addr, header, forwarded).unwrap().1;
    let v1 = |client| format!("PROXY {client} 80\r\n").into_bytes();
    let v4 = v1("TCP4 203.0.113.1 10.0.0.9 5678");
    assert_eq!(address(&v4, ""), "203.0.113.1:5678");
    assert_eq!(address(&v1("TCP6 2001:db8::1 2001:db8::9 5678"), ""), "[2001:db8::1]:5678");
    for client in ["203.0.113.1:5678", "[2001:db8::1]:5678"] {
        assert_eq!(address(&version_2(client.parse().unwrap()), ""), client);
    }
    // What the client says itself is not believed; what a proxy says that another one names is.
    assert_eq!(address(&v4, "198.51.100.1"), "203.0.113.1:5678");
    assert_eq!(address(&v1("TCP4 10.1.2.3 10.0.0.9 5678"), "198.51.100.1"), "198.51.100.1");
    // The proxy's own connections: it is all that is known.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert!(address(local, "").starts_with("127.0.0.1:"));
    assert!(address(b"PROXY UNKNOWN\r\n", "").starts_with("127.0.0.1:"));
    assert_eq!(address(b"PROXY UNKNOWN\r\n", "198.51.100.1"), "198.51.100.1");
    // An event stream, whose header arrives in pieces.
    let mut stream = Requests::new(server.addr);
    for piece in version_2("203.0.113.1:5678".parse().unwrap()).chunks(5) {
        stream.stream.write_all(piece).unwrap();
    }
    stream.raw("GET /api/socket HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(header_of(&read_head(&mut stream.stream)), "203.0.113.1:5678");
}

#[test]
fn a_proxy_without_a_valid_header_is_disconnected() {
    let times = Times { request: Duration::from_millis(1500), ..Times::default() };
    let server = start_with(&["127.0.0.1/32"], Options { times, ..with_headers() });
    // The last two never end.
    for sent in [
        &b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n"[..],
        b"PROXY TCP4 203.0.113.300 10.0.0.1 1 2\r\nGET /healthz HTTP/1.1\r\nhost: test\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\0\0\0\0GET / HTTP/1.1\r\nhost: test\r\n\r\n",
        b"PROXY TCP4 203.0",
        b"",
    ] {
        let mut stream = connect(server.addr);
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert!(answer.is_empty(), "{}", answer.escape_ascii());
    }
    assert!(open_behind(server.addr, b"PROXY UNKNOWN\r\n", "").is_ok());
}

#[test]
fn a_header_of_nobody_else_is_believed() {
    let header = b"PROXY TCP4 203.0.113.1 10.0.0.1 1 2\r\n";
    // Not trusted; or trusted, but not with this.
    for (proxies, proxy_protocol) in [(&["10.0.0.0/8"][..], true), (&["127.0.0.1/32"], false)] {
        let server = start_with(proxies, Options { proxy_protocol, ..Options::default() });
        assert_eq!(open_behind(server.addr, header, "").err().unwrap(), "400");
        assert!(open(server.addr, "").unwrap().1.starts_with("127.0.0.1:"));
    }
    let nobody = PondServer::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let error = nobody.start(with_headers()).expect_err("nobody to trust");
    assert!(error.starts_with("PROXY protocol: no trusted proxies"), "{error}");
}

#[test]
fn clients_that_the_proxy_protocol_names_are_counted() {
    let options = Options { connections: 4, connections_per_address: 1, ..with_headers() };
    let server = start_with(&["127.0.0.1/32"], options);
    let open = |client: &str| open_behind(server.addr, &version_2(client.parse().unwrap()), "");
    let one = open("203.0.113.1:1").unwrap();
    // Each connection counts, whatever it requests; others' do not.
    assert_eq!(open("203.0.113.1:2").err().unwrap(), "503");
    let get = |header: &[u8], path: &str| {
        let mut stream = connect(server.addr);
        stream.write_all(header).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let first = version_2("203.0.113.1:3".parse().unwrap());
    assert_eq!(get(&first, "/"), "503");
    let _two = open("203.0.113.2:1").unwrap();
    // The proxy's own do not count for an address.
    let _probes = [(); 2].map(|()| open_behind(server.addr, b"PROXY UNKNOWN\r\n", "").unwrap());
    // A full server finds probes behind the header.
    assert_eq!(get(b"PROXY UNKNOWN\r\n", "/healthz"), "200");
    assert_eq!(get(b"PROXY UNKNOWN\r\n", "/"), "503");
    drop(one);
    // Counted out a little later.
    let again = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        open("203.0.113.1:4").ok()
    });
    assert!(again.is_some());
}

#[test]
fn clients_that_are_refused_for_their_address_make_room() {
    let times = Times { closing: Duration::from_secs(60), ..Times::default() };
    let limits = Options { connections: 2, connections_per_address: 1, ..with_headers() };
    let server = start_with(&["127.0.0.1/32"], Options { times, ..limits });
    let open = |client: &str| open_behind(server.addr, &version_2(client.parse().unwrap()), "");
    let _one = open("203.0.113.1:1").unwrap();
    let mut refused = connect(server.addr);
    refused.write_all(&version_2("203.0.113.1:2".parse().unwrap())).unwrap();
    assert!(read_head(&mut refused).starts_with("HTTP/1.1 503 "));
    let _two = open("203.0.113.2:1").unwrap();
    // Half of it was closed with the answer.
    let is_closed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        refused.write_all(b"x").is_err()
    });
    assert!(is_closed);
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
        std::thread::sleep(Duration::from_millis(50));
        open(server.addr, "203.0.113.1").ok()
    });
    assert!(again.is_some());
}
