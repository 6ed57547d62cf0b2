//! Limits and timeouts: clients that are too many, too fast, silent or unauthorized.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pondwire::{Limits, OutboxOptions, Payload, Policy};

use crate::fixture::Server;
use pondwire_server::{Authorize, Options, PondServer, Rate, StatusCode, Times, by_token};
use pondwire_test_support::client::{Client, ROOM, message, message_of};
use pondwire_test_support::event_stream::{EventStream, Requests};
use pondwire_test_support::websocket::{self, Opcode, Received, WebSocket, frame};
use serde_json::json;
use tokio::sync::Semaphore;

const ENDPOINT: &str = "/api/socket";

const fn in_millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn with_times(times: Times) -> Server {
    Server::start_as(Options { times, ..Options::default() })
}

/// The statuses of attempts to open a WebSocket, to open a stream, and to send and close with one: all pass
/// the same checks.
fn statuses(server: SocketAddr, query: &str, headers: &str) -> [u16; 4] {
    let status = |method: &str, accept: &str| {
        let mut requests = Requests::new(server);
        let length = if method == "GET" { "" } else { "content-length: 0\r\n" };
        requests.raw(&format!(
            "{method} {ENDPOINT}{query} HTTP/1.1\r\nhost: test\r\n{length}{accept}{headers}\r\n"
        ));
        requests.status()
    };
    let upgraded = match WebSocket::open_with(server, &format!("{ENDPOINT}{query}"), headers) {
        Ok(_) => 101,
        Err(head) => head["http/1.1 ".len()..][..3].parse().unwrap(),
    };
    let streams = status("GET", "accept: text/event-stream\r\n");
    [upgraded, streams, status("POST", ""), status("DELETE", "")]
}

const WELCOME: [u16; 4] = [101, 200, 404, 404];

/// Reads until the connection is closed, and returns the close code.
fn close_code(client: &mut Client) -> u16 {
    loop {
        match client.socket.receive() {
            Received::Close(code) => return code,
            Received::End => panic!("an end without a close frame"),
            _ => {}
        }
    }
}

#[test]
fn a_client_that_answers_no_ping_is_disconnected() {
    // Long enough for a busy machine, as are all times here.
    let times = Times { ping: in_millis(1000), pong: in_millis(800), ..Times::default() };
    let server = with_times(times);
    let mut answers = Client::joined(server.addr, ROOM);
    let mut talks = Client::joined(server.addr, ROOM);
    let mut silent = Client::joined(server.addr, ROOM);
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(answers.socket.receive(), Received::Ping(Vec::new()));
        answers.socket.send(Opcode::Pong, true, b"");
        // Any traffic is a sign of life.
        assert_eq!(talks.socket.receive(), Received::Ping(Vec::new()));
        talks.expect_alive();
    }
    assert!(began.elapsed() > in_millis(1500), "pinged more often than configured");
    assert_eq!(silent.socket.receive(), Received::Ping(Vec::new()));
    silent.expect_closed(1011);
}

#[test]
fn a_slow_reader_is_alive() {
    let times = Times { ping: in_millis(1000), pong: in_millis(800), ..Times::default() };
    let server = with_times(times);
    let mut reads = Client::joined(server.addr, ROOM);
    // More data than sockets hold is requested at once and read little by little. While the server writes
    // it does not read, so no pong could reach it.
    for _ in 0..24 {
        reads.socket.text(&message_of(300 << 10));
    }
    let mut echoes = 0;
    while echoes < 24 {
        match reads.socket.receive() {
            Received::Text(_) => {
                echoes += 1;
                thread::sleep(in_millis(150));
            }
            Received::Ping(_) => reads.socket.send(Opcode::Pong, true, b""),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_ping_gets_a_pong() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    let pings: Vec<u8> = (0..10).flat_map(|i| [0x89, 0x81, 0, 0, 0, 0, b'0' + i]).collect();
    client.socket.raw(&pings);
    for i in 0..10 {
        assert_eq!(client.socket.receive(), Received::Pong(vec![b'0' + i]));
    }
}

#[test]
fn queued_frames_are_sent_before_the_close() {
    let mut server = Server::start();
    let mut sender = Client::joined(server.addr, ROOM);
    let mut socket = Client::joined(server.addr, ROOM);
    let mut stream = EventStream::joined(server.addr, ROOM);
    // More than sockets hold, less than may be queued.
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 << 10));
    for _ in 0..110 {
        sender.event("say", &payload);
        sender.next_text();
    }
    server.stop();
    // It closes within 5 seconds.
    for _ in 0..110 {
        assert_eq!(socket.next()["event"], "say");
        assert_eq!(stream.next()["event"], "say");
    }
    assert_eq!(socket.socket.receive(), Received::Close(1001));
    assert_eq!(stream.next_text(), None);
    drop((sender, socket, stream));
    server.join();
}

#[test]
fn a_client_that_reads_nothing_does_not_block_shutdown() {
    let mut server = with_times(Times { closing: in_millis(500), ..Times::default() });
    let mut sender = Client::joined(server.addr, ROOM);
    let _socket = Client::joined(server.addr, ROOM);
    let _stream = EventStream::joined(server.addr, ROOM);
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 << 10));
    for _ in 0..110 {
        sender.event("say", &payload);
        sender.next_text();
    }
    let began = Instant::now();
    server.join();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn there_are_no_more_connections_than_the_limit() {
    let server = Server::start_as(Options { connections: 2, ..Options::default() });
    let mut one = Client::joined(server.addr, ROOM);
    let two = Client::joined(server.addr, ROOM);
    for _ in 0..5 {
        let refused = websocket::get(server.addr, "/");
        assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
        assert!(refused.contains("\r\nretry-after: 5\r\n"), "{refused}");
    }
    let refused = WebSocket::open(server.addr, ENDPOINT).err().expect("no place");
    assert!(refused.starts_with("http/1.1 503 "), "{refused}");
    // A probe must not have a full server restarted, and no more clients be sent to it.
    for (path, status, text) in [
        ("/healthz", 200, "\r\n\r\n200 OK\n"),
        ("/metrics", 200, "\npondwire_connections 2\n"),
        ("/healthzz", 503, "\r\nretry-after: 5\r\n"),
        ("/readyz", 503, "\r\nretry-after: 5\r\n"),
    ] {
        let answer = websocket::get(server.addr, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {answer}");
        assert!(answer.contains(text), "{path} {answer}");
    }
    one.expect_alive();
    drop(two);
    // Its permit is free a little later.
    let began = Instant::now();
    while !websocket::get(server.addr, "/").starts_with("HTTP/1.1 200 ") {
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn connections_that_end_slowly_make_no_room() {
    let times = Times { closing: Duration::from_secs(60), ..Times::default() };
    let server = Server::start_as(Options { connections: 2, times, ..Options::default() });
    let message = "POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n";
    // They were answered, and the server waits until their clients have read it.
    let _ending = [1, 2].map(|messages| {
        let mut requests = Requests::new(server.addr);
        requests.raw(&message.repeat(messages - 1));
        (1..messages).for_each(|_| assert_eq!(requests.status(), 404));
        requests.raw("\0");
        assert_eq!(requests.status(), 400);
        // The server ends its direction, and reads on.
        requests.rest();
        requests
    });
    let refused = websocket::get(server.addr, "/");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
}

/// Reads until the connection ends, and returns how much there was.
fn read_to_end(mut stream: TcpStream) -> usize {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    rest.len()
}

#[test]
fn connections_without_a_request_make_room() {
    let server = Server::start_as(Options { connections: 8, ..Options::default() });
    let mut clients = vec![Client::joined(server.addr, ROOM)];
    let mut events = EventStream::joined(server.addr, ROOM);
    // Nothing, the beginning of a request, and a whole one: it was answered, and waits for another.
    let sent = [
        "",
        "GET / HTTP/1.1\r\nho",
        "POST /api/socket HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n",
    ];
    let mut idle: Vec<_> = sent
        .iter()
        .cycle()
        .take(60)
        .map(|sent| {
            let mut requests = Requests::new(server.addr);
            requests.raw(sent);
            if sent.starts_with("POST") {
                assert_eq!(requests.status(), 404);
            }
            requests.stream
        })
        .collect();
    let kept = idle.split_off(60 - 6);
    for stream in idle {
        assert_eq!(read_to_end(stream), 0);
    }
    // The last ones give way to clients.
    for _ in 0..6 {
        clients.push(Client::joined(server.addr, ROOM));
    }
    for stream in kept {
        assert_eq!(read_to_end(stream), 0);
    }
    // And clients to nobody.
    assert!(websocket::get(server.addr, "/").starts_with("HTTP/1.1 503 "));
    for client in &mut clients {
        client.expect_alive();
    }
    drop(clients);
    // Their permits are free a little later.
    let echo = message("BROADCAST", ROOM, "echo", "r-1", "{}");
    let began = Instant::now();
    while events.request("POST", echo.as_bytes()) != 204 {
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(events.next()["requestId"], "r-1");
}

/// A connection from another address of this machine.
#[cfg(target_os = "linux")]
pub(crate) fn connect_from(address: &str, server: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        socket.connect(server).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn a_full_server_shows_its_counters_to_whom_it_does_otherwise() {
    let authorize = Some(by_token("abc".to_owned()).unwrap());
    let server = Server::start_as(Options { connections: 1, authorize, ..Options::default() });
    let one = WebSocket::open(server.addr, "/api/socket?token=abc").unwrap();
    assert!(websocket::get(server.addr, "/metrics").starts_with("HTTP/1.1 401 "));
    assert!(websocket::get(server.addr, "/metrics?token=abc").starts_with("HTTP/1.1 200 "));
    // A request that does not go on.
    let mut slow = websocket::connect(server.addr);
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    assert!(websocket::get(server.addr, "/healthz").starts_with("HTTP/1.1 200 "));
    drop((one, slow));
}

#[test]
#[cfg(target_os = "linux")]
fn one_address_cannot_take_every_permit() {
    let server = Server::start_as(Options { connections_per_address: 2, ..Options::default() });
    let mut one = Client::joined(server.addr, ROOM);
    let _two = Client::joined(server.addr, ROOM);
    assert!(websocket::get(server.addr, "/").starts_with("HTTP/1.1 503 "));
    let mut other = connect_from("127.0.0.2", server.addr);
    write!(other, "GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut response = String::new();
    other.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    one.expect_alive();
}

#[test]
fn a_client_over_its_rate_limit_is_answered_then_disconnected() {
    let rate = Some(Rate { per_second: 5, burst: 5 });
    let server = Server::start_as(Options { message_rate: rate, ..Options::default() });
    let mut client = Client::joined(server.addr, ROOM);
    let echo = message("BROADCAST", ROOM, "echo", "r-1", "{}");
    let echoes = frame(Opcode::Text, true, echo.as_bytes()).repeat(8);
    // Four messages are left of the burst, or five by now. They arrive at once, however busy the machine is.
    let flood = |client: &mut Client| {
        client.socket.raw(&echoes);
        let answers: Vec<_> = (0..8).map(|_| client.next()).collect();
        let refused = answers.iter().filter(|answer| answer["payload"]["status"] == 429);
        assert!(refused.clone().all(|answer| answer["action"] == "ERROR"));
        (1..=4).contains(&refused.count())
    };
    assert!(flood(&mut client));
    // Pauses reset the count of violations, however often they occur.
    for _ in 0..6 {
        thread::sleep(in_millis(1100));
        client.expect_alive();
        assert!(flood(&mut client));
    }
    thread::sleep(in_millis(1100));
    client.socket.raw(&echoes.repeat(25));
    assert_eq!(close_code(&mut client), 1008);

    // The same holds for pings, pongs, empty fragments, and for an event stream.
    for frame in [b"\x89\x80\0\0\0\0", b"\x8A\x80\0\0\0\0", b"\0\x80\0\0\0\0"] {
        let mut client = Client::joined(server.addr, ROOM);
        client.socket.send(Opcode::Text, false, b"{");
        client.socket.raw(&frame.repeat(100));
        assert_eq!(close_code(&mut client), 1008, "{frame:?}");
    }
    let mut events = EventStream::joined(server.addr, ROOM);
    let mut told = 0;
    let last = loop {
        match events.request("POST", echo.as_bytes()) {
            // More only on a machine so slow that tokens come back meanwhile.
            204 if told < 1000 => told += 1,
            status => break status,
        }
    };
    assert_eq!(last, 429);
    assert!(told >= 24, "{told}");
    assert_eq!(events.request("POST", echo.as_bytes()), 404);
    while events.next_text().is_some() {}
}

#[test]
fn bytes_count_too() {
    let rate = Some(Rate { per_second: 10_000, burst: 30_000 });
    let server = Server::start_as(Options { byte_rate: rate, ..Options::default() });
    let mut client = Client::joined(server.addr, ROOM);
    for _ in 0..100 {
        client.expect_alive();
    }
    // Larger than the bucket: the debt is paid off afterwards.
    client.socket.text(&message_of(40_000));
    assert_eq!(client.next()["event"], "echo");
    client.socket.text(&message_of(200));
    client.expect_invalid(429);
    thread::sleep(in_millis(3000));
    client.expect_alive();
}

/// Tiny frames are mostly heads; here nothing else bounds them.
#[test]
fn heads_of_frames_count() {
    let byte_rate = Some(Rate { per_second: 0, burst: 20_000 });
    let options = || Options { byte_rate, message_rate: None, ..Options::default() };
    let server = Server::start_as(options());
    for empty in [b"\x89\x80\0\0\0\0", b"\x8A\x80\0\0\0\0", b"\0\x80\0\0\0\0"] {
        let mut client = Client::joined(server.addr, ROOM);
        client.socket.send(Opcode::Text, false, b"{");
        client.socket.raw(&empty.repeat(4000));
        assert_eq!(close_code(&mut client), 1008, "{empty:?}");
    }
    // A message in fragments of a byte.
    let mut client = Client::joined(server.addr, ROOM);
    let echo = message("BROADCAST", ROOM, "echo", "r-1", "{}");
    let (last, before) = echo.as_bytes().split_last().unwrap();
    let mut refused = 0;
    for _ in 0..40 {
        for (i, byte) in before.iter().enumerate() {
            let opcode = if i == 0 { Opcode::Text } else { Opcode::Continuation };
            client.socket.send(opcode, false, &[*byte]);
        }
        client.socket.send(Opcode::Continuation, true, &[*last]);
        refused += usize::from(client.next()["payload"]["status"] == 429);
    }
    assert!((1..=20).contains(&refused), "{refused} of 40 messages of {} bytes", echo.len());
    // Chunks of a byte.
    let mut events = EventStream::joined(server.addr, ROOM);
    let chunks: String = echo.chars().map(|char| format!("1\r\n{char}\r\n")).collect();
    let told = (0..80).map(|_| {
        let mut requests = Requests::new(server.addr);
        requests.raw(&format!(
            "POST {ENDPOINT} HTTP/1.1\r\nhost: test\r\nx-connection-id: {}\r\n\
             transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n",
            events.id
        ));
        requests.status()
    });
    assert!(told.collect::<Vec<_>>().contains(&429));
    while events.next_text().is_some() {}
}

/// Long answers to short requests are charged like messages.
#[test]
fn long_answers_count_against_the_byte_rate() {
    let rate = Some(Rate { per_second: 1000, burst: 6000 });
    let server = Server::start_as(Options { byte_rate: rate, ..Options::default() });
    let mut client = Client::joined(server.addr, ROOM);
    client.event("assign", &format!(r#"{{"text":"{}"}}"#, "x".repeat(3000)));
    client.expect_alive();
    client.event("users", "{}");
    assert_eq!(client.next()["event"], "users");
    client.event("echo", "{}");
    client.expect_invalid(429);
    thread::sleep(in_millis(3000));
    client.expect_alive();
}

#[test]
fn an_event_names_no_more_users_than_the_limit() {
    let server = Server::start();
    let mut client = Client::joined(server.addr, ROOM);
    let ids = |count: usize| {
        let others = vec![r#""nobody""#; count - 1].join(",");
        format!(r#"{{"ids":[{others},"{}"]}}"#, client.id)
    };
    let (most, more) = (ids(1024), ids(1025));
    client.event("to-some", &most);
    assert_eq!(client.next()["event"], "to-some");
    let request = client.event("to-some", &more);
    let refusal = client.expect_invalid(400);
    assert_eq!(refusal["requestId"], request);
    client.expect_alive();
}

#[test]
fn a_connection_is_in_no_more_channels_than_the_limit() {
    let server = Server::start_as(Options { channels: 3, ..Options::default() });
    let mut client = Client::connect(server.addr);
    let mut join = |channel: &str| {
        client.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", "{}");
        let answer = client.next();
        (answer["event"].as_str().unwrap().to_owned(), answer["payload"]["code"].as_u64())
    };
    for channel in ["/chat/1", "/chat/2", "/chat/3", "/chat/1"] {
        assert_eq!(join(channel).0, "ACKNOWLEDGE");
    }
    assert_eq!(join("/chat/4"), ("UNAUTHORIZED".to_owned(), Some(429)));
    client.send("LEAVE_CHANNEL", "/chat/2", "LEAVE_CHANNEL", "{}");
    client.next();
    client.join("/chat/4");
}

#[test]
fn slow_heads_and_slow_handshakes_time_out() {
    let server = with_times(Times { request: in_millis(1000), ..Times::default() });
    for sent in ["", "GET", "GET /api/socket HTTP/1.1\r\nupgrade: websocket\r\n"] {
        let mut slow = websocket::connect(server.addr);
        let began = Instant::now();
        // An occasional byte does not extend the timeout.
        slow.write_all(sent.as_bytes()).unwrap();
        thread::sleep(in_millis(400));
        slow.write_all(b"x").unwrap();
        let mut rest = String::new();
        match slow.read_to_string(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert_eq!(rest, "");
        let took = began.elapsed();
        assert!((in_millis(900)..in_millis(6000)).contains(&took), "{sent:?} {took:?}");
    }
}

/// A counter or a gauge of the server, with its labels.
fn metric(server: &Server, name: &str) -> u64 {
    // Not over a connection, which may be refused.
    let page = server.server.metrics();
    let value = page.lines().find_map(|line| line.strip_prefix(&format!("pondwire_{name} ")));
    value.unwrap_or_else(|| panic!("{name} in {page}")).parse().unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(in_millis(10));
    }
}

/// Each client is within its own bounds, all together are not.
#[test]
fn the_longest_queue_ends_when_there_is_no_memory() {
    let waiting = OutboxOptions::new().with_max_frames(1 << 16).with_max_bytes(1 << 30);
    let server = Server::start_as(Options {
        memory_bytes: 4 << 20,
        waiting,
        byte_rate: None,
        ..Options::default()
    });
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 << 10));
    let mut sender = Client::joined(server.addr, "/chat/1");
    let mut longest = Client::joined(server.addr, "/chat/1");
    let mut other = Client::joined(server.addr, "/chat/2");
    let mut sender_to_other = Client::joined(server.addr, "/chat/2");
    for _ in 0..8 {
        sender_to_other.send("BROADCAST", "/chat/2", "say", &text);
        assert_eq!(sender_to_other.next()["event"], "say");
    }
    let shed = r#"ended_for_memory_total{what="slow_consumer"}"#;
    let mut sent = 0;
    while metric(&server, shed) == 0 {
        sender.send("BROADCAST", "/chat/1", "say", &text);
        assert_eq!(sender.next()["event"], "say");
        sent += 1;
        assert!(sent < 1500, "its queue has grown to 90 MB");
    }
    assert_eq!(metric(&server, shed), 1);
    until("memory", || metric(&server, r#"memory_bytes{of="queues"}"#) < 4 << 20);
    let mut got = 0;
    while longest.socket.receive() != Received::Close(1013) {
        got += 1;
    }
    assert!(got < sent, "{got} of {sent}");
    assert_eq!(metric(&server, "slow_consumers_total"), 1);
    for _ in 0..8 {
        assert_eq!(other.next()["event"], "say");
    }
    // At the next check there is memory again, also for another channel.
    until("a welcome", || websocket::get(server.addr, "/").starts_with("HTTP/1.1 200 "));
    for mut client in [sender, other] {
        client.join(ROOM);
        client.expect_alive();
    }
}

#[test]
fn messages_in_part_count_until_their_connection_ends() {
    // The second connection ends when its client has not closed it for this long.
    let times = Times { closing: in_millis(1000), ..Times::default() };
    let server = Server::start_as(Options { memory_bytes: 300 << 10, times, ..Options::default() });
    let mut old = Client::joined(server.addr, ROOM);
    let begin = |len: usize| {
        let mut client = Client::joined(server.addr, ROOM);
        client.socket.announce(1 << 20);
        client.socket.raw(&[0; 4]);
        client.socket.raw(&vec![b' '; len]);
        client
    };
    // Neither is too large by itself.
    let one = begin(200 << 10);
    let partial = r#"memory_bytes{of="partial_messages"}"#;
    until("its bytes", || metric(&server, partial) > 200 << 10);
    let mut two = begin(200 << 10);
    until("a refusal", || websocket::get(server.addr, "/").starts_with("HTTP/1.1 503 "));
    // Those that are there can talk, but send no large message.
    old.expect_alive();
    two.socket.raw(&vec![b' '; 100 << 10]);
    two.expect_closed(1013);
    until("a welcome", || websocket::get(server.addr, "/").starts_with("HTTP/1.1 200 "));
    assert_eq!(metric(&server, r#"ended_for_memory_total{what="partial_message"}"#), 1);
    assert!(metric(&server, r#"ended_for_memory_total{what="new_connection"}"#) > 0);
    drop(one);
    until("no more", || metric(&server, partial) == 0);
}

/// An application whose handler of `wait` ends when it is told to; all other events are passed on.
fn pond_that_waits(ended: &Arc<Semaphore>) -> PondServer {
    let mut pond = PondServer::new();
    let ended = Arc::clone(ended);
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:id", |join| join.accept())
        .on_async("wait", move |_| {
            let ended = Arc::clone(&ended);
            Box::pin(async move { drop(ended.acquire().await) })
        })
        .on("*", |event| event.broadcast(event.name(), event.payload()));
    pond
}

/// A request with a message, whose answer is not awaited.
fn post(server: &Server, id: &str, body: &str) -> Requests {
    let mut requests = Requests::new(server.addr);
    let length = body.len();
    requests.raw(&format!(
        "POST {ENDPOINT} HTTP/1.1\r\nhost: test\r\nx-connection-id: {id}\r\n\
         content-length: {length}\r\n\r\n{body}"
    ));
    requests
}

/// [`post`], which returns once the message is carried out: each request has a connection of its own, so that the next one
/// could come before it.
fn post_first(server: &Server, id: &str, body: &str) -> Requests {
    let received = || metric(server, "messages_received_total");
    let before = received();
    let posted = post(server, id, body);
    until("its turn", || received() > before);
    posted
}

#[test]
fn messages_that_wait_are_counted_and_bounded() {
    const WAITING: usize = 128;
    let ended = Arc::new(Semaphore::new(0));
    let server = Server::start_app(pond_that_waits(&ended), Options::default());
    let mut events = EventStream::joined(server.addr, ROOM);
    let partial = || metric(&server, r#"memory_bytes{of="partial_messages"}"#);
    let wait = message("BROADCAST", ROOM, "wait", "r-1", "{}");
    // So short that each body comes in one piece, and counts no more than its length.
    let padding = " ".repeat(4000);
    let long = |name: &str| message("BROADCAST", ROOM, name, "r-2", "{}") + &padding;

    let mut first = post_first(&server, &events.id, &wait);
    let mut gone: Vec<_> = (0..WAITING).map(|_| post(&server, &events.id, &long("gone"))).collect();
    until("their bytes", || partial() >= (WAITING * long("gone").len()) as u64);
    // None has a place, whether its body is short or not awaited; another stream has places of its own.
    assert_eq!(events.request("POST", long("more").as_bytes()), 429);
    let longer = long("more") + &" ".repeat(20_000);
    assert_eq!(events.request("POST", longer.as_bytes()), 429);
    let mut other = EventStream::joined(server.addr, "/chat/other");
    other.send("BROADCAST", "/chat/other", "say", "{}");
    assert_eq!(other.next()["event"], "say");

    // Nothing is kept of a client that is gone, also if it has closed only its own direction.
    let mut half = gone.pop().unwrap();
    half.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.status(), 503);
    drop(gone);
    until("no bytes", || partial() == 0);

    // Those that stay have their turn.
    let mut kept: Vec<_> = (0..WAITING).map(|_| post(&server, &events.id, &long("kept"))).collect();
    until("their bytes", || partial() >= (WAITING * padding.len()) as u64);
    ended.add_permits(1);
    assert_eq!(first.status(), 204);
    for requests in &mut kept {
        assert_eq!(requests.status(), 204);
        assert_eq!(events.next()["event"], "kept");
    }
    assert_eq!(partial(), 0);
}

#[test]
fn messages_that_wait_end_with_their_stream() {
    let ended = Arc::new(Semaphore::new(0));
    let server = Server::start_app(pond_that_waits(&ended), Options::default());
    let mut events = EventStream::joined(server.addr, ROOM);
    let wait = message("BROADCAST", ROOM, "wait", "r-1", "{}");
    let mut first = post_first(&server, &events.id, &wait);
    let mut second = post(&server, &events.id, &(wait + &" ".repeat(10_000)));
    let partial = || metric(&server, r#"memory_bytes{of="partial_messages"}"#);
    until("its bytes", || partial() >= 10_000);
    assert_eq!(events.request("DELETE", b""), 204);
    assert_eq!(second.status(), 404);
    assert_eq!(partial(), 0);
    assert_eq!(events.next_text(), None);
    ended.add_permits(1);
    assert_eq!(first.status(), 204);
}

/// An application whose members are sent the last broadcast.
fn with_last() -> PondServer {
    let mut pond = PondServer::new();
    pond.endpoint(ENDPOINT, |connect| connect.accept())
        .channel("/chat/:id", |join| {
            join.accept()?;
            join.catch_up()
        })
        .on("say", |event| event.broadcast("say", event.payload()))
        .on("echo", |event| event.reply(event.payload()))
        .on("track", |event| event.track(event.payload()))
        .on("untrack", |event| event.untrack());
    pond
}

#[test]
fn what_a_handler_assigns_is_bounded() {
    let mut pond = PondServer::new();
    pond.endpoint(ENDPOINT, |connect| connect.accept())
        .channel("/chat/:id", |join| join.accept())
        .on("assign", |event| event.assign(event.payload()))
        .on("echo", |event| event.reply(event.assigns().view()));
    let server = Server::start_app(pond, Options::default());
    let mut client = Client::joined(server.addr, ROOM);
    let keys = |first: usize| {
        let members: Vec<_> = (first..first + 3500).map(|key| format!("\"{key:06}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    client.event("assign", &keys(0));
    client.event("assign", &keys(3500));
    assert_eq!(client.next()["payload"]["error"], "assigns: Expected a smaller object");
    // What was assigned before is still there.
    client.event("echo", "{}");
    let assigns = client.next()["payload"].take();
    assert_eq!(assigns.as_object().map(serde_json::Map::len), Some(3500));
}

#[test]
fn the_last_broadcasts_of_all_channels_have_a_bound() {
    let options = Options { last_broadcast_bytes: 300 << 10, ..Options::default() };
    let server = Server::start_app(with_last(), options);
    let last = || metric(&server, r#"memory_bytes{of="last_broadcasts"}"#);
    let text = |len: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(len));
    let mut members = ["/chat/1", "/chat/2"].map(|room| Client::joined(server.addr, room));
    let mut say = |member: usize, len: usize| {
        let client: &mut Client = &mut members[member];
        client.send("BROADCAST", ["/chat/1", "/chat/2"][member], "say", &text(len));
        assert_eq!(client.next()["event"], "say");
    };
    let newcomer_gets = |room: &str| {
        let mut client = Client::joined(server.addr, room);
        client.send("BROADCAST", room, "echo", "{}");
        let length = client.next()["payload"]["text"].as_str().map(str::len);
        if length.is_some() {
            assert_eq!(client.next()["event"], "echo");
        }
        length
    };
    say(0, 200 << 10);
    say(1, 10);
    assert_eq!(newcomer_gets("/chat/1"), Some(200 << 10));
    assert_eq!(newcomer_gets("/chat/2"), Some(10));
    assert!((200 << 10..210 << 10).contains(&last()), "{}", last());
    // Not kept, and neither is the one before.
    say(1, 150 << 10);
    assert_eq!(newcomer_gets("/chat/2"), None);
    assert_eq!(newcomer_gets("/chat/1"), Some(200 << 10));
    say(0, 100 << 10);
    say(1, 150 << 10);
    assert_eq!(newcomer_gets("/chat/2"), Some(150 << 10));
    drop(members);
    until("no more", || last() == 0);
}

#[test]
fn what_channels_keep_counts_and_is_bounded() {
    // Three quarters of it are 99 channels with 100 members, and not the largest presence besides.
    let options = Options { memory_bytes: 470 << 10, ..Options::default() };
    let server = Server::start_app(with_last(), options);
    let kept = |of: &str| metric(&server, &format!("memory_bytes{{of=\"{of}\"}}"));
    let refused =
        |what: &str| metric(&server, &format!("ended_for_memory_total{{what=\"{what}\"}}"));
    let presence = |len: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(len));
    let mut client = Client::joined(server.addr, ROOM);
    let mut other = Client::joined(server.addr, ROOM);
    for room in 1..99 {
        client.join(&format!("/chat/x{room}"));
    }
    assert_eq!(kept("channels"), 99 * (3 << 10));
    client.event("track", &presence(4000));
    assert_eq!(client.next()["action"], "PRESENCE");
    assert!(kept("presence") > 3 * 4000);
    until("a refusal", || {
        client.send("JOIN_CHANNEL", "/chat/new", "JOIN_CHANNEL", "{}");
        let answer = client.next();
        let is_refused = answer["event"] == "UNAUTHORIZED";
        if is_refused {
            assert_eq!(answer["payload"]["code"], 503, "{answer}");
        } else {
            client.send("LEAVE_CHANNEL", "/chat/new", "LEAVE_CHANNEL", "{}");
            client.next();
        }
        is_refused
    });
    assert!(refused("new_channel") > 0);
    // An open channel has no place for more members, nor for the presence of more.
    let mut third = Client::connect(server.addr);
    third.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "{}");
    let answer = third.next();
    assert_eq!(answer["payload"]["code"], 503, "{answer}");
    assert_eq!(refused("new_member"), 1);
    other.event("track", "{}");
    let answer = other.next();
    assert_eq!(answer["payload"]["code"], 503, "{answer}");
    assert_eq!(refused("presence"), 1);
    other.expect_alive();
    // What becomes less is never refused.
    client.event("track", &presence(30));
    assert_eq!(client.next()["event"], "UPDATE");
    assert!(kept("presence") < 1000);
    until("a place", || {
        other.event("track", "{}");
        other.next()["action"] == "PRESENCE"
    });
    third.join(ROOM);
    assert_eq!(kept("members"), 101 * 512);
    client.next();
    client.event("untrack", "{}");
    drop((third, client, other));
    until("no more", || ["presence", "channels", "members"].map(kept) == [0; 3]);
}

#[test]
fn what_handlers_assign_counts_until_the_users_have_left() {
    let mut pond = PondServer::new();
    pond.endpoint(ENDPOINT, |connect| {
        let text = connect.query("assigned");
        let assigns = text.map_or(json!({}), |text| json!({ "text": text }));
        connect.accept_with(assigns).expect("a short text");
    })
    .channel("/chat/:id", |join| join.accept_with(join.payload()))
    .on("assign", |event| {
        event.assign(event.payload())?;
        event.reply(Payload::EMPTY)
    });
    // Three quarters of it are 325 KiB: five rooms, in each a member with 60 KB, and less than a sixth.
    let options = Options { memory_bytes: 433 << 10, ..Options::default() };
    let server = Server::start_app(pond, options);
    let assigned = || metric(&server, r#"memory_bytes{of="assigns"}"#);
    let refused = || metric(&server, r#"ended_for_memory_total{what="assigns"}"#);
    let text = |len: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(len));
    let with_assigns = format!("{ENDPOINT}?assigned={}", "x".repeat(1000));
    let connected = WebSocket::open_with(server.addr, &with_assigns, "").unwrap();
    assert_eq!(assigned(), 1011);
    drop(connected);
    until("no assigns", || assigned() == 0);
    let mut client = Client::connect(server.addr);
    let rooms: Vec<_> = (0..5).map(|room| format!("/chat/{room}")).collect();
    for room in &rooms {
        client.join(room);
        client.send("BROADCAST", room, "assign", &text(60_000));
        assert_eq!(client.next()["event"], "assign");
    }
    assert_eq!(assigned(), 5 * 60_011);
    client.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", &text(20_000));
    assert_eq!(client.next()["event"], "ACKNOWLEDGE");
    until("a refusal", || {
        client.send("BROADCAST", ROOM, "assign", &text(20_001));
        let answer = client.next();
        client.send("BROADCAST", ROOM, "assign", &text(20_000));
        assert_eq!(client.next()["event"], "assign", "what becomes less is never refused");
        answer["payload"]["code"] == 503
    });
    assert_eq!(refused(), 1);
    let refusal = WebSocket::open_with(server.addr, &with_assigns, "").err().expect("no memory");
    assert_eq!(&refusal["http/1.1 ".len()..][..3], "503");
    drop(Client::connect(server.addr));
    for room in &rooms {
        client.send("BROADCAST", room, "assign", &text(0));
        assert_eq!(client.next()["event"], "assign");
    }
    until("a place", || {
        client.send("BROADCAST", ROOM, "assign", &text(30_000));
        client.next()["event"] == "assign"
    });
    drop(client);
    let members = || metric(&server, r#"memory_bytes{of="members"}"#);
    until("no more", || assigned() == 0 && members() == 0);
}

#[test]
fn times_that_make_no_sense_are_refused_at_start() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    for (times, reason) in [
        (Times { keep_alive: zero, ..Times::default() }, "keep-alive time: zero"),
        (Times { ping: zero, pong: zero, ..Times::default() }, "ping time: zero"),
        (Times { request: zero, ..Times::default() }, "request time: zero"),
        (Times { ping: second, pong: 2 * second, ..Times::default() }, "pong time: longer"),
    ] {
        let options = Options { times, ..Options::default() };
        let error = PondServer::new().start(options).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

/// An application that wants no limit may set them.
#[test]
fn the_longest_times_are_harmless() {
    let long = Duration::MAX;
    let times = Times {
        request: long,
        keep_alive: long,
        message_keep_alive: Some(long),
        ping: long,
        pong: long,
        idle: Some(long),
        closing: long,
        ..Times::default()
    };
    let options = Options { times, presence_interval: long, ..Options::default() };
    let server = Server::start_app(with_last(), options);
    let mut client = Client::joined(server.addr, ROOM);
    client.event("track", "{}");
    assert_eq!(client.next()["action"], "PRESENCE");
    client.event("untrack", "{}");
    client.expect_alive();
    drop(EventStream::joined(server.addr, ROOM));
}

#[test]
fn an_idle_client_is_disconnected() {
    let idle = Some(in_millis(1500));
    let times = Times { ping: in_millis(500), pong: in_millis(500), idle, ..Times::default() };
    let server = with_times(times);
    let mut events = EventStream::joined(server.addr, ROOM);
    let mut idle = Client::joined(server.addr, ROOM);
    let began = Instant::now();
    // An answer to a ping is a sign of life, but not a message.
    let code = loop {
        match idle.socket.receive() {
            Received::Ping(_) => idle.socket.send(Opcode::Pong, true, b""),
            Received::Close(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1000);
    assert_eq!(events.next_text(), None);
    let took = began.elapsed();
    assert!((in_millis(1000)..in_millis(9000)).contains(&took), "{took:?}");

    let mut talks = Client::joined(server.addr, ROOM);
    for _ in 0..12 {
        talks.expect_alive();
        thread::sleep(in_millis(200));
    }
}

#[test]
fn messages_and_names_are_no_longer_than_their_limits() {
    let limits = Limits::new().with_max_bytes(500);
    let server = Server::start_as(Options { limits, name_bytes: 20, ..Options::default() });
    let mut client = Client::joined(server.addr, ROOM);
    client.join("/chat/4567890123456!");
    client.send("JOIN_CHANNEL", "/chat/4567890123456!!", "JOIN_CHANNEL", "{}");
    client.expect_invalid(400);
    client.socket.text(&message_of(500));
    assert_eq!(client.next()["event"], "echo");
    client.socket.text(&message_of(501));
    client.expect_invalid(413);
    client.expect_closed(1009);
    let events = EventStream::joined(server.addr, ROOM);
    assert_eq!(events.request("POST", message_of(500).as_bytes()), 204);
    assert_eq!(events.request("POST", message_of(501).as_bytes()), 413);
}

/// What a slow consumer gets with this policy.
fn check_slow_consumer(policy: Policy) {
    let payload = |i: usize| format!(r#"{{"i":{i},"text":"{}"}}"#, "x".repeat(64 << 10));
    const SENT: usize = 200;
    let waiting = OutboxOptions::new().with_policy(policy).with_max_frames(8);
    let server = Server::start_as(Options { waiting, byte_rate: None, ..Options::default() });
    let mut sender = Client::joined(server.addr, ROOM);
    let mut slow = Client::joined(server.addr, ROOM);
    for i in 0..SENT {
        sender.event("say", &payload(i));
        sender.next_text();
    }
    // An answer is never dropped.
    let request = slow.event("echo", "{}");
    // Broadcasts may be dropped while the client reads nothing.
    let sender = thread::spawn(move || {
        for _ in 0..100 {
            sender.event("end", "{}");
            sender.next();
            thread::sleep(in_millis(20));
        }
    });
    let (mut received, mut is_answered, mut is_over) = (Vec::new(), false, false);
    while !(is_answered && is_over) {
        let message = slow.next();
        match message["event"].as_str().unwrap() {
            "say" => received.push(message["payload"]["i"].as_u64().unwrap() as usize),
            "end" => is_over = true,
            _ => is_answered = message["requestId"] == request,
        }
    }
    assert!(received.is_sorted_by(|a, b| a < b), "{policy:?} {received:?}");
    assert!(received.len() < SENT, "{policy:?} dropped nothing");
    // With other policies even the first may be dropped before any is written.
    assert!(policy != Policy::DropNewest || received[0] == 0, "{received:?}");
    let (last, newest) = (*received.last().unwrap(), SENT - 1);
    assert_eq!(last == newest, policy != Policy::DropNewest, "{policy:?} {received:?}");
    sender.join().unwrap();
}

#[test]
fn a_slow_consumer_loses_the_oldest_frames() {
    check_slow_consumer(Policy::DropOldest);
}

#[test]
fn a_slow_consumer_loses_the_newest_frames() {
    check_slow_consumer(Policy::DropNewest);
}

#[test]
fn a_slow_consumer_gets_conflated_frames() {
    check_slow_consumer(Policy::Conflate);
}

/// One frame with a longer list would overflow every member's outbox.
#[test]
fn the_presence_list_is_bounded() {
    let server = Server::start_as(Options { presence_bytes: 100, ..Options::default() });
    let presence = format!(r#"{{"text":"{}"}}"#, "x".repeat(29));
    assert_eq!(presence.len(), 40);
    let mut clients: Vec<_> = (0..3).map(|_| Client::joined(server.addr, ROOM)).collect();
    for client in &mut clients[..2] {
        client.event("track", &presence);
        assert_eq!(client.next()["event"], "JOIN");
    }
    let request = clients[2].event("track", &presence);
    let refusal = clients[2].expect_invalid(400);
    assert_eq!(refusal["requestId"], request);
    clients[2].event("track", r#"{"a":1}"#);
    assert_eq!(clients[2].next()["event"], "JOIN");
}

#[test]
fn pages_of_other_origins_are_refused() {
    let origins = vec!["https://pond.example".to_owned(), "http://localhost:8080".to_owned()];
    let server = Server::start_as(Options { origins, ..Options::default() });
    for (headers, expected) in [
        ("", WELCOME),
        ("origin: https://pond.example\r\n", WELCOME),
        ("origin: HTTPS://Pond.Example\r\n", WELCOME),
        ("origin: http://localhost:8080\r\n", WELCOME),
        ("origin: http://localhost\r\n", [403; 4]),
        ("origin: https://pond.example.evil\r\n", [403; 4]),
        ("origin: http://pond.example\r\n", [403; 4]),
        ("origin: null\r\n", [403; 4]),
        ("origin: \r\n", [403; 4]),
        ("origin: https://pond.example\r\norigin: https://evil.example\r\n", [403; 4]),
    ] {
        assert_eq!(statuses(server.addr, "", headers), expected, "{headers}");
    }
    let any = Server::start();
    assert_eq!(statuses(any.addr, "", "origin: https://evil.example\r\n"), WELCOME);
}

#[test]
fn requests_without_the_token_are_refused() {
    let authorize = Some(by_token("s3cret.T~k-n".to_owned()).ok().unwrap());
    let server = Server::start_as(Options { authorize, ..Options::default() });
    for (query, headers, expected) in [
        ("", "", [401; 4]),
        ("?tokens=s3cret.T~k-n&=s3cret.T~k-n", "", [401; 4]),
        ("", "authorization: Basic s3cret.T~k-n\r\ncookie: tokens=s3cret.T~k-n\r\n", [401; 4]),
        ("?token=", "", [403; 4]),
        ("?token", "", [403; 4]),
        ("?token=s3cret.T~k-N", "", [403; 4]),
        ("?token=s3cret.T~k-", "", [403; 4]),
        ("?token=s3cret.T~k-nn", "", [403; 4]),
        ("?token=s3cret.T~k-n", "authorization: Bearer no\r\n", [403; 4]),
        ("?token=s3cret.T~k-n", "", WELCOME),
        ("?token=s3cret%2eT%7Ek-n", "", WELCOME),
        ("?a=b&token=s3cret.T~k-n", "", WELCOME),
        ("", "authorization: Bearer s3cret.T~k-n\r\n", WELCOME),
        ("", "authorization: bEARER  s3cret.T~k-n\r\n", WELCOME),
        ("", "origin: http://Test\r\ncookie: token=s3cret.T~k-n\r\n", WELCOME),
        ("", "origin: http://evil.test\r\ncookie: token=s3cret.T~k-n\r\n", [401; 4]),
        ("", "origin: null\r\ncookie: token=s3cret.T~k-n\r\n", [401; 4]),
        ("", "cookie: a=b; token=s3cret.T~k-n\r\n", WELCOME),
        ("", "cookie: a=b\r\ncookie: token=s3cret.T~k-n; c=d\r\n", WELCOME),
    ] {
        assert_eq!(statuses(server.addr, query, headers), expected, "{query} {headers}");
    }
    let authorize = Some(by_token("s3cret".to_owned()).ok().unwrap());
    let origins = vec!["https://pond.example".to_owned()];
    let listed = Server::start_as(Options { authorize, origins, ..Options::default() });
    let headers = "origin: https://pond.example\r\ncookie: token=s3cret\r\n";
    assert_eq!(statuses(listed.addr, "", headers), WELCOME);
    let refused = websocket::get(server.addr, ENDPOINT);
    assert!(refused.contains("\r\nwww-authenticate: Bearer\r\n"), "{refused}");
    assert!(websocket::get(server.addr, "/").starts_with("HTTP/1.1 200 "), "the page is for all");
    for wrong in ["", "a b", "é", "a;b", "a&b"] {
        assert!(by_token(wrong.to_owned()).is_err(), "{wrong}");
    }
}

#[test]
fn a_hook_sees_headers_cookies_and_query() {
    let server = Server::start_as(Options {
        authorize: Some(Box::new(|request| {
            let is_known = request.cookie("session") == Some("7");
            let is_new = request.headers().get_str("x-client-version") == Some("2");
            match (is_known, is_new && request.query("room").as_deref() == Some("42")) {
                (true, true) => Ok(()),
                (true, false) => Err(StatusCode::FORBIDDEN),
                (false, _) => Err(StatusCode::UNAUTHORIZED),
            }
        })),
        ..Options::default()
    });
    let (session, version) = ("cookie: session=7\r\n", "x-client-version: 2\r\n");
    assert_eq!(statuses(server.addr, "?room=42", version), [401; 4]);
    assert_eq!(statuses(server.addr, "?room=42", session), [403; 4]);
    assert_eq!(statuses(server.addr, "?room=41", &[session, version].concat()), [403; 4]);
    assert_eq!(statuses(server.addr, "?room=42", &[session, version].concat()), WELCOME);
}

/// What a browser adds by itself does not show that the user wants what a page of another origin requests.
#[test]
fn passwords_count_like_cookies() {
    let start = |origins: &[&str]| {
        let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        let authorize: Authorize =
            Box::new(|request| match request.headers().get_str("authorization") {
                Some(_) => Ok(()),
                None => Err(StatusCode::UNAUTHORIZED),
            });
        Server::start_as(Options { origins, authorize: Some(authorize), ..Options::default() })
    };
    let (all, listed) = (start(&[]), start(&["http://pond.example"]));
    for (scheme, is_ambient) in [
        ("Basic dTpw", true),
        ("bASIC  dTpw", true),
        ("Digest username=\"u\"", true),
        ("Negotiate YII", true),
        ("NTLM TlR", true),
        ("Basic", true),
        ("Basic dTpw\r\nauthorization: Bearer t", true),
        ("Bearer t\r\nauthorization: Basic dTpw", true),
        ("Bearer Basic", false),
        ("Basically t", false),
        ("Token t", false),
    ] {
        let with = |origin: &str| format!("authorization: {scheme}\r\n{origin}");
        let foreign = if is_ambient { [401; 4] } else { WELCOME };
        for (origin, expected) in [
            ("", WELCOME),
            ("origin: http://test\r\n", WELCOME),
            ("origin: http://pond.example\r\n", foreign),
            ("origin: null\r\n", foreign),
        ] {
            assert_eq!(statuses(all.addr, "", &with(origin)), expected, "{scheme} {origin}");
        }
        let origin = "origin: http://pond.example\r\n";
        assert_eq!(statuses(listed.addr, "", &with(origin)), WELCOME, "{scheme}");
    }
}

#[test]
fn the_echo_endpoint_must_be_enabled() {
    let server = Server::start();
    assert!(WebSocket::open(server.addr, "/echo").is_err());
    let server = Server::start_as(Options { echo: true, ..Options::default() });
    let mut echo = WebSocket::open(server.addr, "/echo").expect("an upgrade");
    let long = "é".repeat(50_000);
    for text in ["", "hi", "{}", &"x".repeat(125), &"x".repeat(126), &"x".repeat(65_535), &long] {
        echo.text(text);
        assert_eq!(echo.receive(), Received::Text(text.to_owned()));
    }
    websocket::assert_upgrade_required(&websocket::get(server.addr, "/echo"));
    Client::joined(server.addr, ROOM).expect_alive();
}
