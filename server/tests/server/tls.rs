//! The server over TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pondwire_server::rustls::pki_types::pem::PemObject;
use pondwire_server::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use pondwire_server::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, Stream,
};
use pondwire_server::{Options, PondServer, Times};
use pondwire_test_support::client::{Client, ROOM, message_of};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{
    Opcode, Received, WebSocket, connect, frame, get, read_head,
};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::fixture::{Server, demo};

const ENDPOINT: &str = "/api/socket";

/// A file of the test's certificate: for `localhost` and 127.0.0.1, until 2120, and nowhere else in use.
pub(crate) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/server/tls").join(name)
}

fn certificates() -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(file("certificate.pem")).unwrap();
    certificates.collect::<Result<_, _>>().unwrap()
}

fn server_config() -> ServerConfig {
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    ServerConfig::builder().with_no_client_auth().with_single_cert(certificates(), key).unwrap()
}

pub(crate) fn start(options: Options) -> Server {
    Server::start_tls(demo::demo(), options, Arc::new(server_config()))
}

/// A client that trusts the test's certificate only, and offers these protocols.
fn client_config(protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates() {
        roots.add(certificate).unwrap();
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A local port whose connections go to a server over TLS, so that clients without TLS can be used.
pub(crate) struct Tunnel {
    pub(crate) addr: SocketAddr,
    _runtime: Runtime,
}

impl Tunnel {
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self::with_header(server, b"")
    }

    /// Sends this before each handshake.
    fn with_header(server: SocketAddr, header: &'static [u8]) -> Self {
        let runtime = Runtime::new().unwrap();
        let connector = TlsConnector::from(client_config(&["http/1.1"]));
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        runtime.spawn(async move {
            loop {
                let mut stream = listener.accept().await.unwrap().0;
                let connector = connector.clone();
                tokio::spawn(async move {
                    let mut tcp = TcpStream::connect(server).await.unwrap();
                    if tcp.write_all(header).await.is_err() {
                        return;
                    }
                    let name = "localhost".try_into().unwrap();
                    let Ok(mut tls) = connector.connect(name, tcp).await else { return };
                    // An error is an end without `close_notify`, which the client must not take for a whole one.
                    if copy_bidirectional(&mut stream, &mut tls).await.is_err() {
                        stream.set_zero_linger().unwrap();
                    }
                });
            }
        });
        Self { addr, _runtime: runtime }
    }
}

#[test]
fn sockets_and_streams_work_and_end_in_order() {
    let mut server = start(Options::default());
    let tunnel = Tunnel::to(server.addr);
    let (mut one, mut two) = (Client::joined(tunnel.addr, ROOM), Client::joined(tunnel.addr, ROOM));
    let mut events = EventStream::joined(tunnel.addr, ROOM);
    one.event("say", r#"{"text":"hi"}"#);
    let text = one.next_text();
    assert_eq!((two.next_text(), events.next_text()), (text.clone(), Some(text)));
    // Larger than a record, and than the sockets between the writers and TLS.
    one.socket.text(&message_of(1 << 20));
    assert_eq!(one.next()["event"], "echo");
    assert_eq!(events.request("POST", message_of(1 << 20).as_bytes()), 204);
    assert_eq!(events.next()["event"], "echo");
    let page = get(tunnel.addr, "/");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("</html>\n"), "{page}");
    assert!(get(tunnel.addr, "/nothing").ends_with("404 Not Found\n"));
    server.stop();
    assert_eq!(one.socket.receive(), Received::Close(1001));
    assert_eq!(two.socket.receive(), Received::Close(1001));
    drop((one, two));
    assert_eq!(events.next_text(), None);
    drop(events);
    server.join();
}

#[test]
fn a_client_that_vanishes_leaves() {
    let server = start(Options::default());
    let tunnel = Tunnel::to(server.addr);
    let mut stays = Client::joined(tunnel.addr, ROOM);
    stays.event("track", r#"{"n":1}"#);
    stays.next();
    let mut goes = Client::joined(tunnel.addr, ROOM);
    goes.event("track", r#"{"n":2}"#);
    assert_eq!(stays.next()["event"], "JOIN");
    drop(goes);
    assert_eq!(stays.next()["event"], "LEAVE");
}

#[test]
fn http_1_1_is_the_only_protocol() {
    let mut config = server_config();
    // An application that shares one configuration between several servers.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = Server::start_tls(demo::demo(), Options::default(), Arc::new(config));
    let runtime = Runtime::new().unwrap();
    let connect = async |protocols: &[&str]| {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let connector = TlsConnector::from(client_config(protocols));
        let tls = connector.connect("localhost".try_into().unwrap(), stream).await?;
        Ok::<_, std::io::Error>(tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    runtime.block_on(async {
        assert_eq!(connect(&["h2", "http/1.1"]).await.unwrap().as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(connect(&[]).await.unwrap(), None);
        let refused = connect(&["h2"]).await.unwrap_err();
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    });
}

#[test]
fn a_client_of_plain_http_is_told_so() {
    let server = start(Options::default());
    let answer = get(server.addr, "/");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{answer}");
    // Something else.
    let mut stream = connect(server.addr);
    stream.write_all(b"\0\0\0\0").unwrap();
    assert_eq!(read_to_end(stream), 0);
}

#[test]
fn a_client_of_plain_http_makes_room() {
    let times = Times { closing: Duration::from_secs(60), ..Times::default() };
    let server = start(Options { times, connections: 1, ..Options::default() });
    let tunnel = Tunnel::to(server.addr);
    let mut plain = connect(server.addr);
    plain.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    assert!(read_head(&mut plain).starts_with("HTTP/1.1 400 "));
    let mut client = Client::joined(tunnel.addr, ROOM);
    // Half of it was closed with the answer.
    let is_closed = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        plain.write_all(b"x").is_err()
    });
    assert!(is_closed);
    client.expect_alive();
}

/// Reads until the connection ends, and returns how much there was.
fn read_to_end(mut stream: std::net::TcpStream) -> usize {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    rest.len()
}

#[test]
fn handshakes_that_do_not_end_are_bounded_in_number_and_in_time() {
    let times = Times { request: Duration::from_millis(1500), ..Times::default() };
    let server = start(Options { times, connections: 4, ..Options::default() });
    let tunnel = Tunnel::to(server.addr);
    let mut client = Client::joined(tunnel.addr, ROOM);
    // Nothing, the beginning of a record, and a record that goes on for ever.
    let mut slow: Vec<_> = [&b""[..], b"\x16\x03", b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"]
        .iter()
        .map(|sent| {
            let mut stream = connect(server.addr);
            stream.write_all(sent).unwrap();
            stream
        })
        .collect();
    let (mut dripping, ended) = (slow[2].try_clone().unwrap(), Arc::new(()));
    let drips = Arc::downgrade(&ended);
    let drip = thread::spawn(move || {
        while drips.strong_count() > 0 && dripping.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    // One more takes the place of the first, which has waited for the longest time.
    let newest = connect(server.addr);
    assert_eq!(read_to_end(slow.remove(0)), 0);
    slow.push(newest);
    for stream in slow.drain(..) {
        assert_eq!(read_to_end(stream), 0);
    }
    drop(ended);
    drip.join().unwrap();
    client.expect_alive();
    // Their permits are free a little later than their sockets.
    let mut later = std::iter::repeat_with(|| get(tunnel.addr, "/").starts_with("HTTP/1.1 200 "));
    assert!(later.by_ref().take(100).any(|is_served| {
        thread::sleep(Duration::from_millis(if is_served { 0 } else { 50 }));
        is_served
    }));
}

/// Opens a WebSocket, and sends a message of 128 KiB in records of so many bytes, with so many updates of the keys before
/// each. Returns whether it was answered; if not, the connection has ended.
fn is_answered(server: SocketAddr, len: usize, updates: usize) -> bool {
    let name = "localhost".try_into().unwrap();
    let mut tls = ClientConnection::new(client_config(&["http/1.1"]), name).unwrap();
    let mut socket = connect(server);
    tls.complete_io(&mut socket).unwrap();
    let mut stream = Stream::new(&mut tls, &mut socket);
    write!(
        stream,
        "GET {ENDPOINT} HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    .unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 101 "));
    // Not a member: the answer is an error.
    let message = frame(Opcode::Text, true, message_of(128 << 10).as_bytes());
    for piece in message.chunks(len) {
        for _ in 0..updates {
            tls.refresh_traffic_keys().unwrap();
        }
        tls.writer().write_all(piece).unwrap();
        while tls.wants_write() {
            if tls.write_tls(&mut socket).is_err() {
                return false;
            }
        }
    }
    let mut stream = Stream::new(&mut tls, &mut socket);
    // The greeting comes first, with the response to the handshake or after it.
    let mut text = String::new();
    while let Ok(read @ 1..) = stream.read(&mut answer) {
        text += &String::from_utf8_lossy(&answer[..read]);
        if text.contains("NOT_FOUND") {
            return true;
        }
    }
    false
}

#[test]
fn records_without_data_end_their_connection() {
    let server = start(Options::default());
    assert!(is_answered(server.addr, 22, 0));
    for (len, updates) in [(1, 0), (100, 30)] {
        let began = Instant::now();
        // In an emulator this may be so slow that it is allowed.
        assert!(
            !is_answered(server.addr, len, updates) || began.elapsed() > Duration::from_secs(2)
        );
    }
    Client::joined(Tunnel::to(server.addr).addr, ROOM).expect_alive();
}

#[test]
fn a_full_server_answers_probes() {
    let server = start(Options { connections: 1, ..Options::default() });
    let tunnel = Tunnel::to(server.addr);
    let mut client = Client::joined(tunnel.addr, ROOM);
    for (path, status, text) in [
        ("/healthz", 200, "\r\n\r\n200 OK\n"),
        ("/metrics", 200, "\npondwire_connections 1\n"),
        ("/readyz", 503, "\r\nretry-after: 5\r\n"),
        ("/", 503, "\r\nretry-after: 5\r\n"),
    ] {
        let answer = get(tunnel.addr, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {answer}");
        assert!(answer.contains(text), "{path} {answer}");
    }
    let refused = WebSocket::open(tunnel.addr, ENDPOINT).err().expect("no place");
    assert!(refused.starts_with("http/1.1 503 "), "{refused}");
    client.expect_alive();
}

#[test]
fn rejections_cost_few_handshakes_at_once() {
    let server = start(Options { connections: 1, ..Options::default() });
    let tunnel = Tunnel::to(server.addr);
    let mut client = Client::joined(tunnel.addr, ROOM);
    // They occupy all there are for a second, unless this machine is slow.
    let is_refused = (0..20).any(|_| {
        let slow: Vec<_> = (0..8).map(|_| connect(server.addr)).collect();
        let mut probe = connect(tunnel.addr);
        write!(probe, "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let is_refused = read_to_end(probe) == 0;
        // None is served for longer, whatever it sends.
        for stream in slow {
            assert_eq!(read_to_end(stream), 0);
        }
        is_refused
    });
    assert!(is_refused);
    // Their permits are free a little later than their sockets.
    let mut later =
        std::iter::repeat_with(|| get(tunnel.addr, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(later.by_ref().take(100).any(|is_served| {
        thread::sleep(Duration::from_millis(if is_served { 0 } else { 50 }));
        is_served
    }));
    client.expect_alive();
}

#[test]
fn a_proxy_names_the_client_before_the_handshake() {
    let mut pond = PondServer::new();
    pond.endpoint(ENDPOINT, |connect| {
        connect.set_header("x-address", connect.request().address).expect("a valid header");
        connect.accept();
    });
    let trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let options = Options {
        trusted_proxies,
        proxy_protocol: true,
        connections: 2,
        connections_per_address: 1,
        ..Options::default()
    };
    let server = Server::start_tls(pond, options, Arc::new(server_config()));
    let open = |header: &'static [u8]| {
        let tunnel = Tunnel::with_header(server.addr, header);
        let opened = WebSocket::open_with(tunnel.addr, ENDPOINT, "");
        opened.map(|(socket, head)| (socket, tunnel, head.contains("x-address: 203.0.113.1:4660")))
    };
    let one = open(b"PROXY TCP4 203.0.113.1 10.0.0.1 4660 443\r\n").unwrap();
    assert!(one.2);
    // The same client has no more: it is disconnected, before a handshake.
    let mut again = connect(server.addr);
    again.write_all(b"PROXY TCP4 203.0.113.1 10.0.0.1 4661 443\r\n").unwrap();
    assert_eq!(read_to_end(again), 0);
    // Without a header.
    let mut without = connect(server.addr);
    without.write_all(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03\0\0\0\0\0").unwrap();
    assert_eq!(read_to_end(without), 0);
    let _two = open(b"PROXY TCP4 203.0.113.2 10.0.0.1 4660 443\r\n").unwrap();
    // A full server skips it.
    let probe = Tunnel::with_header(server.addr, b"PROXY UNKNOWN\r\n");
    assert!(get(probe.addr, "/healthz").starts_with("HTTP/1.1 200 "));
}
