//! Pages of other origins that use event streams, and the methods of each path.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pondwire_server::{Options, PondServer, by_token};
use pondwire_test_support::client::{ROOM, message};
use pondwire_test_support::event_stream::{EventStream, Requests};
use pondwire_test_support::websocket::read_head;

use crate::fixture::{Server, demo};

const PAGE: &str = "https://its.page";

/// The status of the next response, and its headers by their names in lower case.
fn response(requests: &mut Requests) -> (u16, BTreeMap<String, String>) {
    let head = read_head(&mut requests.stream);
    let mut headers = BTreeMap::new();
    for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let old = headers.insert(name.to_ascii_lowercase(), value.to_owned());
        assert!(old.is_none() || name == "connection", "{name} twice in {head}");
    }
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), headers)
}

fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, BTreeMap<String, String>) {
    let mut requests = Requests::new(server);
    requests.raw(&format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n{headers}\r\n"
    ));
    response(&mut requests)
}

/// The headers of the CORS protocol, and `Vary`.
fn cors(headers: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.filter(|(name, _)| name.starts_with("access-control-") || *name == "vary").collect()
}

/// A server for pages of one origin, with a token.
fn for_its_page() -> Server {
    Server::start_as(Options {
        origins: vec![format!("{PAGE}/")],
        authorize: Some(by_token("abc".to_owned()).unwrap()),
        ..Options::default()
    })
}

const LISTED: [(&str, &str); 4] = [
    ("access-control-allow-credentials", "true"),
    ("access-control-allow-origin", PAGE),
    ("access-control-expose-headers", "X-Connection-ID"),
    ("vary", "Origin"),
];

#[test]
fn a_preflight_is_answered_for_listed_origins_without_credentials() {
    let server = for_its_page();
    let mut requests = Requests::new(server.addr);
    for method in ["POST", "DELETE"] {
        requests.raw(&format!(
            "OPTIONS /api/socket HTTP/1.1\r\nhost: test\r\norigin: {PAGE}\r\n\
             access-control-request-method: {method}\r\n\
             access-control-request-headers: authorization,content-type,x-connection-id\r\n\r\n"
        ));
        let (status, headers) = response(&mut requests);
        let mut expected = LISTED.to_vec();
        expected.extend([
            ("access-control-allow-headers", "authorization,content-type,x-connection-id"),
            ("access-control-allow-methods", "GET, HEAD, POST, DELETE, OPTIONS"),
            ("access-control-max-age", "7200"),
        ]);
        expected.sort_unstable();
        assert_eq!((status, cors(&headers)), (204, expected));
    }
    // The request itself, on the same connection.
    let authorization = "authorization: Bearer abc\r\n";
    assert_eq!(requests.send("POST", authorization, b"{}"), 404);
    let asked = "access-control-request-method: POST\r\n";
    let other = format!("origin: https://other.page\r\n{asked}");
    let (status, headers) = request(server.addr, "OPTIONS", "/api/socket", &other);
    assert_eq!((status, cors(&headers)), (403, Vec::new()));
}

#[test]
fn a_page_of_a_listed_origin_uses_a_stream() {
    let server = for_its_page();
    let authorized = format!("origin: {PAGE}\r\ncookie: token=abc\r\n");
    let accept = format!("accept: text/event-stream\r\n{authorized}");
    let mut stream = Requests::new(server.addr);
    stream.raw(&format!("GET /api/socket HTTP/1.1\r\nhost: test\r\n{accept}\r\n"));
    let (status, headers) = response(&mut stream);
    assert_eq!((status, cors(&headers)), (200, LISTED.to_vec()));
    let id = &headers["x-connection-id"];
    let join = message("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "r-1", "{}");
    for (method, id, body, status) in [
        ("POST", id.as_str(), join.as_str(), 204),
        ("POST", "unknown", "{}", 404),
        ("DELETE", id, "", 204),
    ] {
        let mut requests = Requests::new(server.addr);
        requests.raw(&format!(
            "{method} /api/socket HTTP/1.1\r\nhost: test\r\nx-connection-id: {id}\r\n{authorized}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let (found, headers) = response(&mut requests);
        assert_eq!((found, cors(&headers)), (status, LISTED.to_vec()));
    }
    // A refusal, too, so that the page can tell why.
    let (status, headers) =
        request(server.addr, "POST", "/api/socket", &format!("origin: {PAGE}\r\n"));
    assert_eq!((status, cors(&headers)), (401, LISTED.to_vec()));
    // No page, and a page of another origin.
    let bearer = "authorization: Bearer abc\r\n";
    let (status, headers) = request(server.addr, "POST", "/api/socket", bearer);
    assert_eq!((status, cors(&headers)), (404, Vec::new()));
    let other = format!("origin: https://other.page\r\n{bearer}");
    let (status, headers) = request(server.addr, "POST", "/api/socket", &other);
    assert_eq!((status, cors(&headers)), (403, Vec::new()));
}

#[test]
fn by_default_all_pages_may_use_streams_but_without_credentials() {
    let server = Server::start();
    let events = EventStream::open(server.addr);
    assert!(!events.head.contains("access-control"), "{}", events.head);
    let any = [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "X-Connection-ID"),
        ("vary", "Origin"),
    ];
    let id = format!("origin: {PAGE}\r\nx-connection-id: {}\r\n", events.id);
    let (status, headers) = request(server.addr, "DELETE", "/api/socket", &id);
    assert_eq!((status, cors(&headers)), (204, any.to_vec()));
    let accept = format!("origin: {PAGE}\r\naccept: text/event-stream\r\n");
    let (status, headers) = request(server.addr, "GET", "/api/socket", &accept);
    assert_eq!((status, cors(&headers)), (200, any.to_vec()));
    let two = format!("{accept}origin: https://other.page\r\n");
    let (_, headers) = request(server.addr, "GET", "/api/socket", &two);
    assert_eq!(cors(&headers), Vec::new());
}

#[test]
fn a_handler_may_decide_itself() {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| {
        let origin = connect.set_header("Access-Control-Allow-Origin", "https://chosen.page");
        origin.expect("a valid header");
        connect.accept();
    });
    let server = Server::start_app(pond, Options::default());
    let accept = format!("origin: {PAGE}\r\naccept: text/event-stream\r\n");
    let (_, headers) = request(server.addr, "GET", "/api/socket", &accept);
    assert_eq!(cors(&headers), [("access-control-allow-origin", "https://chosen.page")]);
}

#[test]
fn origins_that_no_browser_sends_are_refused_at_start() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    for origin in ["*", "its.page", "https://its.page/chat", "null"] {
        let options = Options { origins: vec![origin.to_owned()], ..Options::default() };
        let error = demo::demo().start(options).unwrap_err();
        assert!(error.contains(&format!("origin {origin}: ")), "{error}");
    }
}

#[test]
fn allow_names_the_methods_that_a_path_has() {
    let server = Server::start_as(Options { echo: true, ..Options::default() });
    let all = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"];
    for (path, expected) in [
        ("/api/socket", "GET, HEAD, POST, DELETE, OPTIONS"),
        ("/", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/echo", "GET"),
    ] {
        for method in all {
            let (status, headers) = request(server.addr, method, path, "");
            let is_allowed = expected.split(", ").any(|allowed| allowed == method);
            assert_eq!(status != 405, is_allowed, "{method} {path}: {status}");
            if let Some(allow) = headers.get("allow") {
                assert_eq!(allow, expected, "{method} {path}");
            }
            assert_eq!(headers.contains_key("allow"), !is_allowed || method == "OPTIONS", "{path}");
        }
    }
    assert_eq!(request(server.addr, "OPTIONS", "/nowhere", "").0, 404);
}

#[test]
fn the_token_is_required_for_the_metrics() {
    let server = for_its_page();
    for (headers, status) in [
        ("", 401),
        ("authorization: Bearer wrong\r\n", 403),
        ("authorization: Bearer abc\r\n", 200),
        ("authorization: Bearer abc\r\norigin: https://other.page\r\n", 403),
    ] {
        assert_eq!(request(server.addr, "GET", "/metrics", headers).0, status, "{headers}");
    }
}
