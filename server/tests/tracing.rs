//! Spans and events for a subscriber of `tracing`. It is one for the whole process, so this is one test.

use std::fmt::{Debug, Formatter, Result, Write};
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pondwire_server::{Options, PondServer, Times};
use pondwire_test_support::client::{Client, message};
use pondwire_test_support::event_stream::EventStream;
use pondwire_test_support::websocket::{connect, get};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// The spans that this thread is in.
    static INSIDE: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writes each event as a line: the spans that it is in, its level and its fields.
#[derive(Clone, Default)]
struct Lines {
    spans: Arc<Mutex<Vec<String>>>,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pondwire_server" || metadata.target() == "application"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        assert!(span.is_contextual(), "its parent is the span that the thread is in");
        let mut text = self.current() + "[" + span.metadata().name();
        span.record(&mut Fields(&mut text));
        let mut spans = self.spans.lock().unwrap();
        spans.push(text + "] ");
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = self.current() + event.metadata().level().as_str();
        event.record(&mut Fields(&mut line));
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        assert_eq!(INSIDE.with_borrow_mut(Vec::pop), Some(span.into_u64()));
    }
}

impl Debug for Lines {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.lines.lock().unwrap().fmt(f)
    }
}

impl Lines {
    /// The span that this thread is in, behind its parents.
    fn current(&self) -> String {
        let inside = INSIDE.with_borrow(|inside| inside.last().copied());
        inside.map_or_else(String::new, |number| {
            self.spans.lock().unwrap()[usize::try_from(number).unwrap() - 1].clone()
        })
    }

    /// Waits for a line, and returns the spans that it is in.
    fn spans_of(&self, ending: &str) -> String {
        self.until(ending, |line| line.strip_suffix(ending).map(str::to_owned))
    }

    /// Waits for a line for which `found` returns something.
    fn until<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = self.lines.lock().unwrap().iter().find_map(|line| found(line)) {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "no {what}: {self:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn pond() -> PondServer {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| match connect.query("room") {
        Some(_) => connect.decline(403),
        None => connect.accept(),
    })
    .channel("/chat/:id", |join| match join.param("id") {
        Some("0") => {
            join.decline(404, "No such room");
            Ok(())
        }
        _ => join.accept(),
    })
    .on("plain", |_| tracing::info!(target: "application", "plain"))
    .on_async("later", |_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            tracing::info!(target: "application", "later");
        })
    })
    .on("panic", |event| assert_eq!(event.name(), "none", "on purpose"))
    .on_outgoing(|_| panic!("on purpose"))
    .on("say", |event| event.broadcast("say", event.payload()))
    .on("say/:what", |event| event.broadcast(event.name(), event.payload()));
    pond
}

#[test]
fn connections_and_handlers_are_spans_and_what_happens_to_them_events() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let runtime = Runtime::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = runtime.block_on(async { pond().start(Options::default()) }).unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        server.serve(listener, std::future::pending()).await;
    });

    let mut client = Client::joined(addr, "/chat/1");
    let user = client.id.clone();
    let connection = lines.spans_of("DEBUG connected");
    let begins = format!("[connection transport=\"WebSocket\" path=\"/api/socket\" user={user:?} ");
    assert!(connection.starts_with(&begins), "{connection}");
    assert!(connection.contains(" address=\"127.0.0.1:"), "{connection}");
    assert_eq!(lines.spans_of("DEBUG joined channel=\"/chat/1\""), connection);
    client.send("JOIN_CHANNEL", "/chat/0", "JOIN_CHANNEL", "{}");
    lines.spans_of("DEBUG join declined channel=\"/chat/0\" code=404 text=\"No such room\"");
    for name in ["plain", "later"] {
        client.send("BROADCAST", "/chat/1", name, "{}");
        let handler = format!("{connection}[handler channel=\"/chat/1\" event={name:?}] ");
        assert_eq!(lines.spans_of(&format!("INFO {name}")), handler);
    }
    client.socket.text("nonsense");
    lines.spans_of(
        "DEBUG malformed message error=wireMessage: Invalid JSON: invalid literal at byte 1",
    );
    client.send("LEAVE_CHANNEL", "/chat/1", "LEAVE_CHANNEL", "{}");
    let left = format!("DEBUG left channel=\"/chat/1\" user={user:?} reason=Left");
    assert_eq!(lines.spans_of(&left), connection);

    // What was a line of the log.
    for event in ["UNAUTHORIZED", "INVALID_MESSAGE", "EXIT_ACKNOWLEDGE"] {
        assert_eq!(client.next()["event"], event);
    }
    client.join("/chat/2");
    client.send("BROADCAST", "/chat/2", "say", "{}");
    lines.spans_of("WARN event say: the handler of outgoing broadcasts panicked");
    // A name that a client has chosen begins no line of its own.
    client.send("BROADCAST", "/chat/2", r"say/a\nb", "{}");
    lines.spans_of(r"WARN event say/a\nb: the handler of outgoing broadcasts panicked");
    client.send("BROADCAST", "/chat/2", "panic", "{}");
    assert_eq!(lines.spans_of("ERROR a handler panicked"), connection);
    assert_eq!(lines.spans_of("DEBUG closing reason=Refused(1011)"), connection);
    assert_eq!(lines.spans_of("DEBUG disconnected"), connection);

    let mut events = EventStream::joined(addr, "/chat/3");
    events.send("BROADCAST", "/chat/3", "later", &message("a", "b", "c", "d", "{}"));
    let left = format!("user={:?} reason=Disconnected", events.user_id);
    drop(events);
    let stream = lines.spans_of(&format!("DEBUG left channel=\"/chat/3\" {left}"));
    assert!(stream.starts_with("[connection transport=\"event stream\" "), "{stream}");

    // Clients that never send the rest of a request do not make a server that stops wait beyond its time.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let times = Times { closing: Duration::from_millis(100), ..Times::default() };
    let options = Options { times, ..Options::default() };
    let server = runtime.block_on(async { PondServer::new().start(options) }).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        server.serve(listener, async { drop(stopped.await) }).await;
    });
    let _halves = ["GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: test\r\nx: "].map(|sent| {
        let mut stream = connect(addr);
        stream.write_all(sent.as_bytes()).unwrap();
        stream
    });
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 "));
    drop(stop);
    runtime.block_on(serving).unwrap();
    let late = "some connections did not close in time";
    assert!(!lines.lines.lock().unwrap().iter().any(|line| line.ends_with(late)));

    // A Redis that fails after the start: the operator learns it long before the next heartbeat.
    #[cfg(feature = "redis")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = pondwire_server::NodeOptions {
            redis: vec![format!("redis://{}", listener.local_addr().unwrap())],
            heartbeat: Duration::from_secs(3600),
            ..Default::default()
        };
        let options = Options { node: Some(node), ..Options::default() };
        let _node = runtime.block_on(async { PondServer::new().start(options) }).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(listener);
        lines.until("error", |line| line.starts_with("WARN Redis 0: ").then_some(()));
    }
}
