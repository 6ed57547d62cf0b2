//! Messages from one node to another through a real Redis, at the address in `PONDWIRE_REDIS`.

use std::env;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use pondwire_redis::{BusEvent, RedisBus, RedisOptions};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::bench::{Contender, Plan, Row};
use crate::payloads;
use crate::report::Section;

/// The number of messages that are sent in a pass.
const MESSAGES: usize = 20_000;

/// The number of messages that the bare client sends in one pipeline: the most that the bus sends.
const PIPELINE: usize = 512;

const TOPICS: [&str; 3] = ["pondwire:bus", "pondwire:pubsub", "pondwire:push"];

pub fn section(plan: &Plan) -> Section {
    let rows = [("redis 150 B", 150), ("redis 1 KB", 1024)]
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, bytes)| row(plan, name.to_owned(), bytes))
        .collect();
    Section {
        title: "Through one Redis, ns per message",
        size: "bytes",
        note: "20,000 messages published by one node and received by another, over loopback, both \
               in one process of two threads. The bare client publishes pipelines of 512 \
               `PUBLISH`es, each awaited, and receives from its `PubSub` or from RESP3 pushes \
               into an unbounded channel.",
        rows,
    }
}

fn row(plan: &Plan, name: String, size: usize) -> Row {
    let url = env::var("PONDWIRE_REDIS").expect("PONDWIRE_REDIS is the URL of a Redis");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let payload = Bytes::from(payloads::json(size).into_bytes());
    let info = url.as_str().into_connection_info().expect("a URL");
    // As the bus does.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let client = Client::open(info.set_tcp_settings(tcp)).expect("a URL");

    let mut bus = runtime.block_on(Buses::open(&url));
    let mut pub_sub = runtime.block_on(BarePubSub::open(&client));
    let mut pushes = runtime.block_on(BarePushes::open(&client));
    let contenders = vec![
        Contender::checked("RedisBus", &MESSAGES, || Some(bus.pass(&runtime, &payload))),
        Contender::checked("redis, PubSub", &MESSAGES, || Some(pub_sub.pass(&runtime, &payload))),
        Contender::checked("redis, pushes", &MESSAGES, || Some(pushes.pass(&runtime, &payload))),
    ];
    plan.race(name, MESSAGES, payload.len() * MESSAGES, contenders)
}

/// Two buses: one publishes while the other receives on the calling thread.
struct Buses {
    publisher: RedisBus,
    _subscriber: RedisBus,
    receiver: pondwire_redis::RedisReceiver,
    topic: Arc<str>,
}

impl Buses {
    async fn open(url: &str) -> Self {
        let topic = Arc::<str>::from(TOPICS[0]);
        let (publisher, _) = RedisBus::open(url, RedisOptions::default()).expect("a URL");
        let (subscriber, mut receiver) =
            RedisBus::open(url, RedisOptions::default()).expect("a URL");
        subscriber.subscribe(topic.clone());
        assert_eq!(receiver.next().await, Some(BusEvent::Subscribed(topic.clone())));
        Self { publisher, _subscriber: subscriber, receiver, topic }
    }

    fn pass(&mut self, runtime: &Runtime, payload: &Bytes) -> usize {
        runtime.block_on(async {
            let publishing = tokio::spawn({
                let (publisher, topic) = (self.publisher.clone(), self.topic.clone());
                let payload = payload.clone();
                async move {
                    for _ in 0..MESSAGES {
                        publisher.publish(topic.clone(), payload.clone());
                    }
                }
            });
            let mut received = 0;
            while received < MESSAGES {
                match self.receiver.next().await {
                    Some(BusEvent::Message(message)) => {
                        received += usize::from(message.payload.len() == payload.len());
                    }
                    other => panic!("{other:?}"),
                }
            }
            publishing.await.expect("no panic");
            received
        })
    }
}

struct BarePubSub {
    publisher: MultiplexedConnection,
    subscriber: PubSub,
}

impl BarePubSub {
    async fn open(client: &Client) -> Self {
        let publisher = client.get_multiplexed_async_connection().await.expect("a connection");
        let mut subscriber = client.get_async_pubsub().await.expect("a connection");
        subscriber.subscribe(TOPICS[1]).await.expect("a subscription");
        Self { publisher, subscriber }
    }

    fn pass(&mut self, runtime: &Runtime, payload: &Bytes) -> usize {
        runtime.block_on(async {
            let publishing =
                tokio::spawn(publish(self.publisher.clone(), TOPICS[1], payload.clone()));
            let mut messages = self.subscriber.on_message();
            let mut received = 0;
            while received < MESSAGES {
                let message = messages.next().await.expect("a message");
                assert_eq!(message.get_channel_name(), TOPICS[1]);
                received += usize::from(message.get_payload_bytes().len() == payload.len());
            }
            publishing.await.expect("no panic");
            received
        })
    }
}

struct BarePushes {
    publisher: MultiplexedConnection,
    _subscriber: MultiplexedConnection,
    pushes: UnboundedReceiver<PushInfo>,
}

impl BarePushes {
    async fn open(client: &Client) -> Self {
        let publisher = client.get_multiplexed_async_connection().await.expect("a connection");
        let info = client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).expect("a URL");
        let (sender, pushes) = unbounded_channel();
        let config = AsyncConnectionConfig::new().set_push_sender(sender);
        let mut subscriber = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .expect("a connection");
        subscriber.subscribe(TOPICS[2]).await.expect("a subscription");
        Self { publisher, _subscriber: subscriber, pushes }
    }

    fn pass(&mut self, runtime: &Runtime, payload: &Bytes) -> usize {
        runtime.block_on(async {
            let publishing =
                tokio::spawn(publish(self.publisher.clone(), TOPICS[2], payload.clone()));
            let mut received = 0;
            while received < MESSAGES {
                let push = self.pushes.recv().await.expect("a push");
                received += usize::from(push.kind == PushKind::Message && push.data.len() == 2);
            }
            publishing.await.expect("no panic");
            received
        })
    }
}

async fn publish(mut connection: MultiplexedConnection, topic: &'static str, payload: Bytes) {
    let mut left = MESSAGES;
    while left > 0 {
        let count = left.min(PIPELINE);
        let mut pipeline = redis::Pipeline::with_capacity(count);
        for _ in 0..count {
            pipeline.cmd("PUBLISH").arg(topic).arg(&payload[..]).ignore();
        }
        pipeline.exec_async(&mut connection).await.expect("an answer");
        left -= count;
    }
}
