//! The Redis bus against a server that misbehaves; `tests/interop/redis/` has the real one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pondwire_redis::{
    BusEvent, BusMessage, Overflow, Publish, QueueBounds, RedisBus, RedisOptions, RedisReceiver,
    RedisStats,
};
use pondwire_test_support::fake_redis::{self, FakeRedis, Mode, push};
use tokio::time::{sleep, timeout};

const TOPIC: &str = "pondsocket:v1:default:chat:/chat/[a-z]*?";

/// The default options with short times and a small `max_payload`.
fn hasty() -> RedisOptions {
    RedisOptions::new()
        .with_timeout(Duration::from_secs(1))
        .with_ping_interval(Duration::from_millis(200))
        .with_min_backoff(Duration::from_millis(10))
        .with_max_backoff(Duration::from_millis(50))
        .with_max_payload(1000)
}

fn open(server: &FakeRedis) -> (RedisBus, RedisReceiver) {
    RedisBus::open(&server.url(), hasty()).unwrap()
}

async fn next(receiver: &mut RedisReceiver) -> BusEvent {
    let event = timeout(Duration::from_secs(60), receiver.next()).await;
    event.expect("an event in time").expect("the bus is open")
}

async fn next_payload(receiver: &mut RedisReceiver) -> String {
    match next(receiver).await {
        BusEvent::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// The events before this one, which must arrive.
async fn until(receiver: &mut RedisReceiver, expected: &BusEvent) -> Vec<BusEvent> {
    let mut events = Vec::new();
    loop {
        let event = next(receiver).await;
        if event == *expected {
            return events;
        }
        events.push(event);
    }
}

async fn until_stats(bus: &RedisBus, what: impl Fn(&RedisStats) -> bool) -> RedisStats {
    let waiting = async {
        while !what(&bus.stats()) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let done = timeout(Duration::from_secs(60), waiting).await;
    assert!(done.is_ok(), "{:?} {:?}", bus.stats(), bus.last_error());
    bus.stats()
}

async fn subscribed(server: &FakeRedis) -> (RedisBus, RedisReceiver) {
    let (bus, mut receiver) = open(server);
    assert!(bus.subscribe(TOPIC));
    assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));
    (bus, receiver)
}

#[tokio::test]
async fn messages_go_from_bus_to_bus_in_order() {
    let server = FakeRedis::start().await;
    let (one, mut at_one) = subscribed(&server).await;
    let (other, mut at_other) = subscribed(&server).await;
    for i in 0..2000 {
        assert_eq!(one.publish(TOPIC, i.to_string()), Publish::Queued);
        // Topics are not patterns, so this is another topic.
        one.publish("pondsocket:v1:default:chat:/chat/abc", "elsewhere");
    }
    for i in 0..2000 {
        assert_eq!(next_payload(&mut at_other).await, i.to_string());
        assert_eq!(next_payload(&mut at_one).await, i.to_string());
    }
    let bytes: Vec<u8> = (0..=255).collect();
    other.publish(TOPIC, bytes.clone());
    let BusEvent::Message(message) = next(&mut at_one).await else { panic!("a message") };
    assert_eq!((&*message.topic, &message.payload[..]), (TOPIC, &bytes[..]));
    let stats = until_stats(&one, |stats| stats.published == 4000).await;
    assert_eq!((stats.received, stats.lost(), stats.unpublished()), (2001, 0, 0));
    assert_eq!(stats.unheard, 2000);
    assert!(stats.publisher_connected && stats.subscriber_connected);
    assert_eq!((stats.reconnects, stats.failed_attempts), (0, 0));
    assert_eq!(one.last_error(), None);
    assert_eq!(server.count("PSUBSCRIBE", ""), 0);
}

/// A received message holds no copy of its topic's name, but the one that was subscribed.
#[tokio::test]
async fn messages_share_the_name_of_their_topic() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = open(&server);
    let topic: Arc<str> = TOPIC.into();
    bus.subscribe(Arc::clone(&topic));
    let BusEvent::Subscribed(confirmed) = next(&mut receiver).await else { panic!("no topic") };
    assert!(Arc::ptr_eq(&confirmed, &topic));
    for payload in ["one", "two"] {
        bus.publish(Arc::clone(&topic), payload);
        let BusEvent::Message(message) = next(&mut receiver).await else { panic!("no message") };
        assert!(Arc::ptr_eq(&message.topic, &topic), "{message:?}");
        assert_eq!(message.payload, payload);
    }
}

#[tokio::test]
async fn topics_are_subscribed_and_unsubscribed() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    assert!(!bus.subscribe(TOPIC), "it is already subscribed");
    assert!(bus.unsubscribe(TOPIC));
    assert!(!bus.unsubscribe(TOPIC));
    while server.count("UNSUBSCRIBE", TOPIC) == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(server.subscribers(TOPIC), 0);
    bus.publish(TOPIC, "without a subscriber");
    for i in 0..1000 {
        assert!(bus.subscribe(format!("many:{i}")));
    }
    for _ in 0..1000 {
        assert!(matches!(next(&mut receiver).await, BusEvent::Subscribed(_)));
    }
    assert!(bus.subscribe(TOPIC));
    assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));
    bus.publish(TOPIC, "heard");
    assert_eq!(next_payload(&mut receiver).await, "heard");
}

#[tokio::test]
async fn publishing_while_redis_is_unreachable_is_bounded_and_reported() {
    let addr = FakeRedis::start().await.addr;
    assert!(!fake_redis::listens(addr).await);
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let publish = QueueBounds::new().with_overflow(overflow).with_max_messages(100);
        let options = hasty().with_publish(publish);
        let (bus, mut receiver) = RedisBus::open(&format!("redis://{addr}"), options).unwrap();
        bus.subscribe(TOPIC);
        let full = if overflow == Overflow::DropOldest {
            Publish::DroppedOldest(1)
        } else {
            Publish::DroppedNewest
        };
        for i in 0..250 {
            let expected = if i < 100 { Publish::Queued } else { full };
            assert_eq!(bus.publish("early", i.to_string()), expected);
            assert!(bus.stats().queued_messages <= 100);
        }
        until_stats(&bus, |stats| stats.failed_attempts > 3).await;
        assert!(bus.last_error().is_some());

        let server = FakeRedis::start_at(addr).await;
        let mut events = [next(&mut receiver).await, next(&mut receiver).await];
        // They come over two connections, in either order.
        events.sort_by_key(|event| matches!(event, BusEvent::Unpublished(_)));
        let expected = [BusEvent::Subscribed(TOPIC.into()), BusEvent::Unpublished(150)];
        assert_eq!(events, expected);
        let stats = until_stats(&bus, |stats| stats.published == 100).await;
        assert_eq!(stats.unpublished(), 150);
        assert_eq!(stats.dropped_oldest, if overflow == Overflow::DropOldest { 150 } else { 0 });
        assert_eq!((stats.queued_messages, stats.queued_bytes), (0, 0));
        assert_eq!(server.count("PUBLISH", "early"), 100);
    }
}

#[tokio::test]
async fn a_broken_connection_is_reported_and_topics_are_subscribed_again() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    bus.subscribe("another");
    assert_eq!(next(&mut receiver).await, BusEvent::Subscribed("another".into()));
    bus.subscribe("not:for:long");
    assert_eq!(next(&mut receiver).await, BusEvent::Subscribed("not:for:long".into()));
    for round in 1..=3 {
        server.kill();
        assert_eq!(next(&mut receiver).await, BusEvent::Lost);
        if round == 1 {
            bus.unsubscribe("not:for:long");
        }
        assert_eq!(next(&mut receiver).await, BusEvent::Recovered);
        assert_eq!((server.subscribers(TOPIC), server.subscribers("another")), (1, 1));
        assert_eq!(server.subscribers("not:for:long"), 0);
        bus.publish(TOPIC, "again");
        assert_eq!(next_payload(&mut receiver).await, "again");
    }
    let stats = until_stats(&bus, |stats| stats.reconnects >= 6).await;
    assert_eq!((stats.published, stats.unpublished()), (3, 0));
}

/// Messages handed to a connection that broke may be lost: this is reported to the receiver once there is
/// another.
#[tokio::test]
async fn losses_of_the_publishing_side_are_reported() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    server.set(Mode::Hang);
    for _ in 0..7 {
        bus.publish("elsewhere", "into the void");
    }
    until_stats(&bus, |stats| stats.unconfirmed > 0 && !stats.publisher_connected).await;
    let mut reported = 0;
    while let Some(event) = receiver.try_next() {
        assert!(
            !matches!(event, BusEvent::Unpublished(_)),
            "state could not be published again yet"
        );
    }
    server.set(Mode::Serve);
    server.kill();
    let stats = until_stats(&bus, |stats| stats.published + stats.unconfirmed == 7).await;
    while reported < stats.unconfirmed {
        if let BusEvent::Unpublished(count) = next(&mut receiver).await {
            reported += count;
        }
    }
    assert_eq!(reported, stats.unpublished());
}

/// No `Lost` and no `Recovered` report a first connection that breaks before all topics are subscribed.
#[tokio::test]
async fn topics_of_a_first_connection_that_breaks_are_announced_again() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = open(&server);
    let topics: Vec<String> = (0..5000).map(|n| format!("topic-{n}")).collect();
    for topic in &topics {
        bus.subscribe(&**topic);
    }
    assert!(matches!(next(&mut receiver).await, BusEvent::Subscribed(_)));
    server.kill();
    until_stats(&bus, |stats| stats.subscriber_connected).await;
    let mut announced = std::collections::HashMap::<String, u32>::new();
    while let Some(event) = receiver.try_next() {
        let BusEvent::Subscribed(topic) = event else { panic!("{event:?}") };
        *announced.entry(topic.to_string()).or_default() += 1;
    }
    assert_eq!(announced.len(), topics.len());
    assert!(
        announced.values().all(|times| *times == 1),
        "undelivered confirmations were withdrawn"
    );
}

#[tokio::test]
async fn unread_events_do_not_accumulate() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    for _ in 0..5 {
        let reconnects = bus.stats().reconnects;
        server.kill();
        until_stats(&bus, |stats| stats.reconnects >= reconnects + 2 && stats.subscriber_connected)
            .await;
        for _ in 0..50 {
            bus.unsubscribe("toggled");
            bus.subscribe("toggled");
        }
    }
    bus.publish(TOPIC, "the end");
    let mut events = Vec::new();
    loop {
        match next(&mut receiver).await {
            BusEvent::Message(_) => break,
            event => events.push(event),
        }
    }
    assert!(events.len() <= 3, "{events:?}");
    assert_eq!(events.iter().filter(|event| **event == BusEvent::Lost).count(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_times_out() {
    for mode in [Mode::Hang, Mode::Deaf] {
        let server = FakeRedis::start().await;
        // The server hangs from the start.
        server.set(mode.clone());
        let (bus, mut receiver) = open(&server);
        bus.subscribe(TOPIC);
        until_stats(&bus, |stats| stats.failed_attempts >= 2).await;
        assert!(bus.last_error().unwrap().contains("time"), "{:?}", bus.last_error());
        server.set(Mode::Serve);
        server.kill();
        assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));

        // The server hangs later: a ping detects it, or the missing answer to a batch.
        server.set(mode.clone());
        for _ in 0..10 {
            bus.publish(TOPIC, "into the void");
        }
        assert_eq!(
            until(&mut receiver, &BusEvent::Lost).await.len() as u64,
            bus.stats().received - bus.stats().lost(),
        );
        until_stats(&bus, |stats| !stats.publisher_connected).await;
        server.set(Mode::Serve);
        server.kill();
        until(&mut receiver, &BusEvent::Recovered).await;
        bus.publish(TOPIC, "back");
        let back = BusMessage { topic: TOPIC.into(), payload: "back".into() };
        until(&mut receiver, &BusEvent::Message(back)).await;
        let stats = until_stats(&bus, |stats| stats.published + stats.unconfirmed == 11).await;
        assert_eq!(stats.unpublished(), stats.unconfirmed);
    }
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_retried_with_pauses() {
    let server = FakeRedis::start().await;
    server.set(Mode::Close);
    let options = hasty().with_max_backoff(Duration::from_millis(200));
    let (bus, mut receiver) = RedisBus::open(&server.url(), options).unwrap();
    bus.subscribe(TOPIC);
    let began = Instant::now();
    sleep(Duration::from_millis(500)).await;
    // Pauses of at least 5, 10, 20, 40, 80, 100, … ms on both sides.
    let most = 2 * (6 + began.elapsed().as_millis() as u64 / 100);
    let attempts = bus.stats().failed_attempts;
    assert!((2..=most).contains(&attempts), "{attempts}");
    server.set(Mode::Serve);
    assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));
}

#[tokio::test]
async fn an_idle_connection_is_pinged() {
    let server = FakeRedis::start().await;
    let (bus, _receiver) = open(&server);
    while server.count("PING", "") < 4 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bus.stats().reconnects, 0);
}

#[tokio::test]
async fn a_check_tells_what_no_later_attempt_can_mend() {
    let server = FakeRedis::start().await;
    assert_eq!(RedisBus::check(&server.url(), hasty()).await, Ok(()));
    let until = async {
        while server.connections() > 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), until).await.expect("it disconnects");
    let check = async |url: &str| {
        let error = RedisBus::check(url, hasty()).await.unwrap_err();
        (error.is_final(), error.to_string())
    };
    for answer in ["-WRONGPASS invalid username-password pair", "-NOAUTH no", "-NOPERM no"] {
        // To the greeting, and to what is sent with it.
        server.set(Mode::Garbage(format!("{answer}\r\n").repeat(3).into_bytes()));
        let (is_final, text) = check(&server.url()).await;
        assert!(
            is_final && text.starts_with("Redis: ") && text.to_uppercase().contains(&answer[1..7]),
            "{text}"
        );
    }
    server.set(Mode::Hang);
    assert!(!check(&server.url()).await.0);
    server.set(Mode::Garbage(b"-LOADING later\r\n".repeat(3)));
    assert!(!check(&server.url()).await.0);
    assert!(!check("redis://127.0.0.1:1").await.0, "nobody listens there");
    let (is_final, text) = check("http://127.0.0.1").await;
    assert!(is_final && text.starts_with("Invalid Redis URL"), "{text}");
}

#[tokio::test]
async fn garbage_costs_only_the_connection() {
    let mut deep = b"*1\r\n".repeat(100_000);
    deep.extend_from_slice(b":1\r\n");
    let garbage: Vec<Vec<u8>> = vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        b"$99999999999999999999\r\n".to_vec(),
        b"$9223372036854775807\r\n".to_vec(),
        b"*9223372036854775807\r\n".to_vec(),
        b">2000000000\r\n$7\r\nmessage\r\n".to_vec(),
        b"*-5\r\n>0\r\n>-1\r\n%-1\r\n".to_vec(),
        b">1\r\n:5\r\n".to_vec(),
        deep,
        vec![b'+'; 1 << 20],
    ];
    let server = FakeRedis::start().await;
    for bytes in &garbage {
        // Garbage instead of a greeting.
        server.set(Mode::Garbage(bytes.clone()));
        let (bus, mut receiver) = open(&server);
        bus.subscribe(TOPIC);
        until_stats(&bus, |stats| stats.failed_attempts >= 2).await;
        server.set(Mode::Serve);
        server.kill();
        assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));
        // Garbage on an established connection. Well-formed parts are ignored.
        server.say(bytes);
        bus.publish(TOPIC, "after it");
        let mut seen = false;
        while !seen {
            match next(&mut receiver).await {
                BusEvent::Message(message) => seen = message.payload == "after it",
                BusEvent::Recovered => {
                    bus.publish(TOPIC, "after it");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn an_endless_reply_closes_the_connection() {
    let server = FakeRedis::start().await;
    server.set(Mode::Flood);
    let options = hasty().with_timeout(Duration::from_secs(3600));
    let (bus, mut receiver) = RedisBus::open(&server.url(), options).unwrap();
    bus.subscribe(TOPIC);
    until_stats(&bus, |stats| stats.failed_attempts >= 2).await;
    assert!(bus.last_error().unwrap().contains("too large"), "{:?}", bus.last_error());
    server.set(Mode::Serve);
    assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));
    server.say(format!("${}\r\n{}", 1 << 30, "x".repeat(100_000)).as_bytes());
    assert_eq!(next(&mut receiver).await, BusEvent::Lost);
    assert_eq!(next(&mut receiver).await, BusEvent::Recovered);
}

#[tokio::test]
async fn pushes_of_other_shapes_are_ignored() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    for strings in [
        &[b"message".as_slice()][..],
        &[b"message", b"topic only"],
        &[b"message", b"\xff\xfe", b"payload"],
        &[b"subscribe", b"\xff\xfe"],
        &[b"subscribe", b"unasked"],
        &[b"pmessage", b"*", b"topic", b"payload"],
        &[b"invalidate", b"key"],
        &[b"", b""],
    ] {
        server.say(&push(strings, false));
    }
    server.say(b">3\r\n+message\r\n:1\r\n_\r\n");
    server.say(b">4\r\n+message\r\n$1\r\nt\r\n$1\r\np\r\n:9\r\n");
    assert_eq!(next_payload(&mut receiver).await, "p");
    bus.publish(TOPIC, "well");
    assert_eq!(next_payload(&mut receiver).await, "well");
}

#[tokio::test]
async fn large_payloads_are_dropped_and_counted() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    assert_eq!(bus.publish(TOPIC, vec![b'x'; 1001]), Publish::TooLarge);
    let larger = hasty().with_max_payload(5000);
    let (other, _) = RedisBus::open(&server.url(), larger).unwrap();
    other.publish(TOPIC, vec![b'x'; 1001]);
    other.publish(TOPIC, vec![b'x'; 1000]);
    assert_eq!(next_payload(&mut receiver).await.len(), 1000);
    let stats = bus.stats();
    assert_eq!((stats.too_large, stats.oversized, stats.received), (1, 1, 2));
}

#[tokio::test]
async fn a_slow_receiver_is_bounded_and_its_losses_reported() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let server = FakeRedis::start().await;
        let receive = QueueBounds::new().with_overflow(overflow).with_max_messages(50);
        let options = hasty().with_receive(receive);
        let (bus, mut receiver) = RedisBus::open(&server.url(), options).unwrap();
        bus.subscribe(TOPIC);
        assert_eq!(next(&mut receiver).await, BusEvent::Subscribed(TOPIC.into()));
        for i in 0..300 {
            bus.publish(TOPIC, i.to_string());
        }
        let stats = until_stats(&bus, |stats| stats.received == 300).await;
        assert_eq!((stats.waiting_messages, stats.overflowed), (50, 250));
        assert_eq!(next(&mut receiver).await, BusEvent::Lagged(250));
        let first = if overflow == Overflow::DropOldest { 250 } else { 0 };
        for i in first..first + 50 {
            assert_eq!(next_payload(&mut receiver).await, i.to_string());
        }
        assert_eq!(receiver.try_next(), None);
        drop(receiver);
        bus.publish(TOPIC, "without a receiver");
        let stats = until_stats(&bus, |stats| stats.received == 301).await;
        assert_eq!((stats.waiting_messages, stats.overflowed), (0, 251));
    }
}

#[tokio::test]
async fn messages_that_redis_refuses_are_counted() {
    let server = FakeRedis::start().await;
    let (bus, mut receiver) = subscribed(&server).await;
    bus.subscribe("secret:topic");
    bus.publish("secret:topic", "x");
    bus.publish(TOPIC, "y");
    let stats = until_stats(&bus, |stats| stats.published == 1 && stats.received == 1).await;
    assert_eq!(next(&mut receiver).await, BusEvent::Unpublished(1));
    assert_eq!(next_payload(&mut receiver).await, "y");
    assert_eq!((stats.refused, stats.reconnects), (1, 0));
    assert!(bus.last_error().unwrap().contains("no access"), "{:?}", bus.last_error());
}

#[tokio::test]
async fn shutdown_publishes_queued_messages_and_closes() {
    let server = FakeRedis::start().await;
    let (other, mut at_other) = subscribed(&server).await;
    let (bus, mut receiver) = subscribed(&server).await;
    for i in 0..5000 {
        bus.publish(TOPIC, i.to_string());
    }
    let stats = bus.shutdown(Duration::from_secs(10)).await;
    assert_eq!((stats.published, stats.unpublished(), stats.queued_messages), (5000, 0, 0));
    assert_eq!(bus.publish(TOPIC, "late"), Publish::Closed);
    for i in 0..5000 {
        assert_eq!(next_payload(&mut at_other).await, i.to_string());
    }
    let rest = timeout(Duration::from_secs(60), async { while receiver.next().await.is_some() {} });
    rest.await.expect("the receiver ends");
    assert!(!bus.stats().publisher_connected && !bus.stats().subscriber_connected);
    assert_eq!(bus.shutdown(Duration::ZERO).await.published, 5000);
    drop(other);
    assert_eq!(timeout(Duration::from_secs(60), at_other.next()).await, Ok(None));
    while server.connections() > 0 {
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn shutdown_ends_at_its_deadline() {
    let server = FakeRedis::start().await;
    let (bus, _receiver) = subscribed(&server).await;
    until_stats(&bus, |stats| stats.publisher_connected).await;
    server.set(Mode::Hang);
    for _ in 0..2000 {
        bus.publish(TOPIC, "x");
    }
    let stats = bus.shutdown(Duration::from_millis(50)).await;
    assert_eq!(stats.published + stats.unpublished(), 2000);
    assert!(stats.unconfirmed > 0 && stats.discarded > 0, "{stats:?}");
}

/// Memory that publishes a message when it is dropped.
struct Echoing(RedisBus);

impl AsRef<[u8]> for Echoing {
    fn as_ref(&self) -> &[u8] {
        b"echoing"
    }
}

impl Drop for Echoing {
    fn drop(&mut self) {
        self.0.publish("gone", "x");
    }
}

#[tokio::test]
async fn a_payload_may_publish_when_it_is_dropped() {
    let publish = QueueBounds::new().with_max_messages(4);
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let options = hasty().with_publish(publish.with_overflow(overflow));
        let (bus, _) = RedisBus::open("redis://127.0.0.1:1", options).unwrap();
        for _ in 0..20 {
            bus.publish(TOPIC, Bytes::from_owner(Echoing(bus.clone())));
        }
        bus.shutdown(Duration::ZERO).await;
        bus.publish(TOPIC, Bytes::from_owner(Echoing(bus.clone())));
        assert_eq!(bus.stats().queued_messages, 0);
    }
}

#[tokio::test]
async fn every_message_is_counted_whatever_happens() {
    let server = FakeRedis::start().await;
    let publish = QueueBounds::new().with_max_messages(200).with_max_bytes(5000);
    let options = hasty().with_publish(publish);
    let (bus, receiver) = RedisBus::open(&server.url(), options).unwrap();
    bus.subscribe(TOPIC);
    let reading = tokio::spawn(async move {
        let (mut receiver, mut messages) = (receiver, 0);
        while let Some(event) = receiver.next().await {
            messages += u64::from(matches!(event, BusEvent::Message(_)));
        }
        messages
    });
    let mut offered = 0;
    for round in 0..40 {
        match round % 4 {
            1 => server.kill(),
            2 => server.set(Mode::Hang),
            3 => {
                server.set(Mode::Serve);
                server.kill();
            }
            _ => {}
        }
        for i in 0..500 {
            bus.publish(TOPIC, "x".repeat(i % 90));
            offered += 1;
            let stats = bus.stats();
            assert!(stats.queued_messages <= 200 && stats.queued_bytes <= 5000, "{stats:?}");
        }
        sleep(Duration::from_millis(40)).await;
    }
    server.set(Mode::Serve);
    let stats = bus.shutdown(Duration::from_secs(10)).await;
    assert_eq!(stats.published + stats.unpublished(), offered, "{stats:?}");
    assert!(stats.published > 0 && stats.unconfirmed > 0 && stats.dropped_oldest > 0, "{stats:?}");
    let messages = timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
    assert_eq!(messages, bus.stats().received - bus.stats().lost());
}

#[tokio::test]
async fn urls() {
    let without_tls = ["rediss://host:1"].into_iter().filter(|_| cfg!(not(feature = "tls")));
    let invalid = ["", "redis:/", "http://127.0.0.1", "redis://127.0.0.1:99999"];
    for url in invalid.into_iter().chain(without_tls) {
        let error = RedisBus::open(url, RedisOptions::default()).expect_err(url);
        let error = error.to_string();
        assert!(error.starts_with("Invalid Redis URL: "), "{error}");
        let says_how = error.ends_with("; expected redis://host:port");
        assert_eq!(says_how, !url.starts_with("rediss:"), "{error}");
    }
    let error = RedisBus::open("redis://me:pa55@host:port", RedisOptions::default()).unwrap_err();
    assert!(!error.to_string().contains("pa55"), "{error}");
    // An unreachable host is not an error.
    let (bus, _receiver) = RedisBus::open("redis://host.invalid:1/3", hasty()).unwrap();
    until_stats(&bus, |stats| stats.failed_attempts > 0).await;
}

#[test]
fn a_bus_accepts_as_large_a_payload_as_a_node() {
    let bus = RedisOptions::default();
    let largest = pondwire::distributed::ClusterOptions::default().message_limits.max_bytes;
    assert_eq!(bus.max_payload, largest);
    assert!(bus.publish.max_bytes >= 2 * largest && bus.receive.max_bytes >= 2 * largest);
}
