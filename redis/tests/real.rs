//! The Redis bus against a real Redis, which the tests start and kill: `tests/interop/redis/run.sh`.

#![cfg(unix)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use pondwire_redis::{BusEvent, QueueBounds, RedisBus, RedisOptions, RedisReceiver, RedisStats};
use tokio::time::{sleep, timeout};

const TOPIC: &str = "pondsocket:v1:default:chat:/chat/[a-z]*?";

/// A `redis-server` without persistence in a folder of its own, on a free port.
struct Redis {
    child: Child,
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
}

impl Redis {
    fn start(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("pondwire-redis-{port}"));
        fs::create_dir_all(&folder).unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut redis = Self { child: nothing(), folder, port, arguments };
        redis.restart();
        redis
    }

    fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        let is_tls = self.arguments.iter().any(|argument| argument == "--tls-cert-file");
        let port: &[&str] = if is_tls { &["--port", "0", "--tls-port"] } else { &["--port"] };
        command.args(["--bind", "127.0.0.1", "--save", ""]).args(port).arg(self.port.to_string());
        command.args(["--appendonly", "no", "--dir"]).arg(&self.folder).args(&self.arguments);
        self.child = command.stdout(Stdio::null()).spawn().expect("redis-server");
    }

    /// Kills the server as a crash would.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn open(&self) -> (RedisBus, RedisReceiver) {
        RedisBus::open(&self.url(), hasty()).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// A process that ends at once.
fn nothing() -> Child {
    Command::new("true").spawn().unwrap()
}

fn hasty() -> RedisOptions {
    RedisOptions::new()
        .with_timeout(Duration::from_millis(500))
        .with_ping_interval(Duration::from_millis(500))
        .with_min_backoff(Duration::from_millis(20))
        .with_max_backoff(Duration::from_millis(200))
}

async fn next(receiver: &mut RedisReceiver) -> BusEvent {
    let event = timeout(Duration::from_secs(30), receiver.next()).await;
    event.expect("an event in time").expect("the bus is open")
}

async fn until_stats(bus: &RedisBus, what: impl Fn(&RedisStats) -> bool) -> RedisStats {
    let waiting = async {
        while !what(&bus.stats()) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let done = timeout(Duration::from_secs(30), waiting).await;
    assert!(done.is_ok(), "{:?} {:?}", bus.stats(), bus.last_error());
    bus.stats()
}

async fn subscribe(bus: &RedisBus, receiver: &mut RedisReceiver, topic: &'static str) {
    assert!(bus.subscribe(topic));
    assert_eq!(next(receiver).await, BusEvent::Subscribed(topic.into()));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn everything_arrives_in_order() {
    let redis = Redis::start(&[]);
    let (one, _) = redis.open();
    let (other, mut receiver) = redis.open();
    subscribe(&other, &mut receiver, TOPIC).await;
    for i in 0..30_000_u64 {
        one.publish(TOPIC, i.to_le_bytes().to_vec());
        one.publish("pondsocket:v1:default:chat:/chat/abc", "another topic, not a match");
    }
    for i in 0..30_000_u64 {
        let BusEvent::Message(message) = next(&mut receiver).await else { panic!("a message") };
        assert_eq!((&*message.topic, &message.payload[..]), (TOPIC, &i.to_le_bytes()[..]));
    }
    let stats = one.shutdown(Duration::from_secs(10)).await;
    assert_eq!((stats.published, stats.unpublished(), stats.unheard), (60_000, 0, 30_000));
    assert_eq!((other.stats().received, other.stats().lost()), (30_000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_bus_survives_a_redis_killed_in_a_stream() {
    let mut redis = Redis::start(&[]);
    let options = hasty().with_publish(QueueBounds::new().with_max_messages(2000));
    let (publisher, _) = RedisBus::open(&redis.url(), options).unwrap();
    let (subscriber, mut receiver) = redis.open();
    subscribe(&subscriber, &mut receiver, TOPIC).await;
    until_stats(&publisher, |stats| stats.publisher_connected).await;

    let reading = tokio::spawn(async move {
        let (mut numbers, mut events) = (Vec::new(), Vec::new());
        loop {
            match next(&mut receiver).await {
                BusEvent::Message(message) if message.payload == "end" => return (numbers, events),
                BusEvent::Message(message) => {
                    numbers.push(u64::from_le_bytes(message.payload[..].try_into().unwrap()));
                }
                event => events.push(event),
            }
        }
    });

    let began = Instant::now();
    let mut longest = Duration::ZERO;
    let mut number = 0_u64;
    let (mut killed, mut restarted) = (false, false);
    while began.elapsed() < Duration::from_secs(4) {
        for _ in 0..10 {
            let before = Instant::now();
            publisher.publish(TOPIC, number.to_le_bytes().to_vec());
            longest = longest.max(before.elapsed());
            number += 1;
        }
        assert!(publisher.stats().queued_messages <= 2000);
        if !killed && began.elapsed() > Duration::from_secs(1) {
            redis.kill();
            killed = true;
        }
        if !restarted && began.elapsed() > Duration::from_secs(2) {
            redis.restart();
            restarted = true;
        }
        sleep(Duration::from_millis(1)).await;
    }
    until_stats(&subscriber, |stats| stats.subscriber_connected).await;
    publisher.publish(TOPIC, "end");
    let (numbers, events) = reading.await.unwrap();
    let stats = publisher.shutdown(Duration::from_secs(5)).await;
    let received = numbers.len() as u64;
    println!(
        "{number} published, {received} received, longest publish {longest:?}, {events:?}\n{stats:?}"
    );

    assert_eq!(events, [BusEvent::Lost, BusEvent::Recovered]);
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order, without duplicates");
    assert!(numbers.last() > Some(&(number - 200)), "the stream continues");
    // Every message is accounted for: dropped here, possibly arrived, published without a subscriber, or
    // lost with Redis itself after its answer, which is no more than one batch.
    assert_eq!(stats.published + stats.unpublished(), number + 1);
    assert!(stats.dropped_oldest > 0 && stats.reconnects == 2, "{stats:?}");
    let heard = stats.published - stats.unheard - 1;
    assert!(received <= heard + stats.unconfirmed && heard <= received + 512, "{stats:?}");
    assert_eq!(subscriber.stats().lost(), 0);
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_bus_reconnects_to_a_redis_that_was_stopped() {
    let redis = Redis::start(&[]);
    let (bus, mut receiver) = redis.open();
    subscribe(&bus, &mut receiver, TOPIC).await;
    until_stats(&bus, |stats| stats.publisher_connected).await;
    redis.signal("-STOP");
    bus.publish(TOPIC, "into the void");
    assert_eq!(next(&mut receiver).await, BusEvent::Lost);
    until_stats(&bus, |stats| stats.unconfirmed == 1 && stats.failed_attempts > 2).await;
    redis.signal("-CONT");
    let mut events = [next(&mut receiver).await, next(&mut receiver).await];
    // They come over two connections, in either order.
    events.sort_by_key(|event| matches!(event, BusEvent::Unpublished(_)));
    assert_eq!(events, [BusEvent::Recovered, BusEvent::Unpublished(1)]);
    bus.publish(TOPIC, "back");
    let BusEvent::Message(message) = next(&mut receiver).await else { panic!("a message") };
    assert_eq!(message.payload, "back", "lost messages are not sent again");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn passwords_databases_and_unix_sockets() {
    let redis = Redis::start(&["--requirepass", "pa55", "--unixsocket", "socket"]);
    let socket = redis.folder.join("socket");
    let urls = [
        format!("redis://:pa55@127.0.0.1:{}/3", redis.port),
        format!("redis+unix://{}?pass=pa55", socket.display()),
    ];
    for url in urls {
        let (bus, mut receiver) = RedisBus::open(&url, hasty()).unwrap();
        subscribe(&bus, &mut receiver, TOPIC).await;
        bus.publish(TOPIC, "x");
        assert!(matches!(next(&mut receiver).await, BusEvent::Message(_)), "{url}");
    }
    let (bus, _receiver) = redis.open();
    let waiting = async {
        while !bus.last_error().is_some_and(|error| error.contains("NOAUTH")) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let reported = timeout(Duration::from_secs(10), waiting).await;
    assert!(reported.is_ok(), "{:?}", bus.last_error());
}

/// `tests/interop/redis/run.sh` names the certificate in `SSL_CERT_FILE`, as a user does.
#[cfg(feature = "tls")]
#[tokio::test]
#[ignore = "needs redis-server"]
async fn tls_and_users() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/server/tls");
    let (certificate, key) = (format!("{folder}/certificate.pem"), format!("{folder}/key.pem"));
    let mut arguments = vec!["--tls-cert-file", &certificate, "--tls-key-file", &key];
    arguments.extend(["--tls-auth-clients", "no"]);
    let users = "--user default off --user pond on >pa55 &pondsocket:* \
                 +publish +subscribe +unsubscribe +ping +hello";
    arguments.extend(users.split_whitespace());
    let redis = Redis::start(&arguments);
    let url = |user: &str| format!("rediss://{user}@localhost:{}", redis.port);
    let until = async {
        while RedisBus::check(&url("pond:pa55"), hasty()).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), until).await.expect("it listens");
    for wrong in ["pond:wrong", "default:pa55", ":pa55"] {
        let error = RedisBus::check(&url(wrong), hasty()).await.unwrap_err();
        assert!(error.is_final(), "{error}");
    }
    let (bus, mut receiver) = RedisBus::open(&url("pond:pa55"), hasty()).unwrap();
    subscribe(&bus, &mut receiver, TOPIC).await;
    bus.publish(TOPIC, "x");
    assert!(matches!(next(&mut receiver).await, BusEvent::Message(_)));
    bus.publish("another application's", "x");
    until_stats(&bus, |stats| stats.refused == 1).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_subscriber_disconnected_by_redis_reconnects() {
    // This Redis disconnects a subscriber with more than 32 KiB of pending output, which a burst exceeds.
    let redis = Redis::start(&["--client-output-buffer-limit", "pubsub 32kb 0 0"]);
    let (publisher, _) = redis.open();
    let (subscriber, mut receiver) = redis.open();
    subscribe(&subscriber, &mut receiver, TOPIC).await;
    until_stats(&publisher, |stats| stats.publisher_connected).await;
    for _ in 0..50 {
        publisher.publish(TOPIC, vec![b'x'; 3 << 20]);
    }
    let lost = async { while next(&mut receiver).await != BusEvent::Lost {} };
    timeout(Duration::from_secs(30), lost).await.expect("Redis closes the connection");
    until_stats(&publisher, |stats| stats.queued_messages == 0).await;
    loop {
        publisher.publish(TOPIC, "small");
        match next(&mut receiver).await {
            BusEvent::Message(message) if message.payload == "small" => break,
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn redis_server_is_there() -> io::Result<()> {
    let version = Command::new("redis-server").arg("--version").output()?;
    println!("{}", String::from_utf8_lossy(&version.stdout).trim());
    Ok(())
}
